//! Reference models of targets' logical states, independent of any target's code.

mod list;
pub mod map;
pub mod resp;
mod resp_commands;
mod resp_reply;
#[cfg(test)]
pub(crate) mod testing;

pub use map::{MapOp, MapOracle, MapReply};
pub use resp::{RespOracle, UnknownCommand};
