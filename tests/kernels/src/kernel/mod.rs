//! Real file systems: which there are, what a machine lacks for them, and one that is mounted.

mod bench;
mod helper;
mod kinds;
mod needs;

pub use bench::{Bench, PREFIX, sweep};
pub use helper::serve_commands;
pub use kinds::{Kind, kind, kinds};
pub use needs::{missing, release};
