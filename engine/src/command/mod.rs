//! The commands: what each does to the data, what it replies, and in which form it is logged.

mod emit;
mod replay;

pub use emit::emit;
pub use replay::{ReplayError, replay};
