//! Reference models of targets' logical states, independent of any target's code.

pub mod map;
pub(crate) mod onward;
pub mod resp;
#[cfg(test)]
pub(crate) mod testing;

pub use map::{MapOp, MapOracle, MapReply};
pub use resp::{RespOracle, UnknownCommand};
