//! Judging what came back from a crash state by what the history and the contract allow.

mod allowed;
mod classify;
mod court;
mod decide;
mod gaps;
mod go_on;
#[cfg(test)]
mod go_on_tests;
mod impostor;
mod mixture;
mod orders;
#[cfg(test)]
mod promise_tests;
mod seen;
mod slack;
#[cfg(test)]
mod tests;

pub use court::{AllowedState, Judge, JudgeOptions};
pub use impostor::{FOREIGN, LIVE};
pub(crate) use seen::differences;
pub use seen::{First, Seen};
pub use slack::Lens;
