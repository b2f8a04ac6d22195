//! A set of byte strings.

use indexmap::IndexSet;
use std::hash::BuildHasherDefault;

use crate::keyspace::FixedHasher;

/// A set. Its order depends on nothing but the operations on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(IndexSet<Vec<u8>, BuildHasherDefault<FixedHasher>>);

impl Set {
    /// Adds a member; says whether it is new.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        !self.contains(member) && self.0.insert(member.to_vec())
    }

    /// Takes a member away; says whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        self.0.swap_remove(member)
    }

    /// Whether `member` is in it.
    pub fn contains(&self, member: &[u8]) -> bool {
        self.0.contains(member)
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its members.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// The member at a place, for picking one at random.
    pub fn at(&self, place: usize) -> Option<&[u8]> {
        self.0.get_index(place).map(Vec::as_slice)
    }
}
