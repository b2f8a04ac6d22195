//! `check-aof`: says whether append-only files are whole, and repairs them.
//!
//! Files of either layout, with a checksum chain or without, and Redis's. Every change is made so that a crash at any
//! moment leaves the old files or the new ones, by the same steps as the engine's own; what is cut or replaced is kept
//! aside. See [`HELP`] for the command line and its exit codes.

mod cli;
mod fix;
mod inspect;
mod listed;
mod rebuild;
mod resign;

pub(crate) use cli::databases;
pub use cli::{HELP, check, run};
pub(crate) use fix::replace_kept;
