//! Exploring one trace: crash states in, judged cells out.

mod alike;
mod bite;
mod crashed;
mod dumps;
mod hearing;
mod keep;
mod memo;
mod onward;
mod phases;
mod roots;
mod run;
mod search;
mod shrink;
mod sweep;
#[cfg(test)]
mod tests;
mod tree;

pub use hearing::Hearing;
pub use memo::Memo;
pub use run::{TeethCheck, explore, explore_deep, explore_last, explore_sharing};
pub use search::Search;
pub use shrink::{Again, Shrunk, fewest_operations};
pub use sweep::Progress;
