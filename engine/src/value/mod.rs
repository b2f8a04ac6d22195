//! Values of more than one element.

mod hash;
mod order;
mod packed;
mod set;
mod sorted_set;

pub use hash::Hash;
pub use set::Set;
pub use sorted_set::{Score, SortedSet};
