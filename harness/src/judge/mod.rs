//! Judging what came back from a crash state by what the history and the contract allow.

mod allowed;
mod classify;
mod judge;
mod mixture;
mod orders;
mod seen;
#[cfg(test)]
mod tests;

pub use judge::{AllowedState, Judge, JudgeOptions};
pub use seen::{First, Seen};
pub(crate) use seen::differences;
