//! Values of more than one element.

mod chunk;
mod hash;
mod list;
mod order;
mod packed;
mod set;
mod sorted_set;

pub use hash::Hash;
pub use list::List;
pub use set::{Gathered, Set};
pub use sorted_set::{Score, SortedSet};

// Most values are small: each of these stands in memory once for every one.
const _: () = assert!(size_of::<Hash>() <= 24 && size_of::<Set>() <= 32 && size_of::<SortedSet>() <= 24);
const _: () = assert!(size_of::<List>() <= 32);
