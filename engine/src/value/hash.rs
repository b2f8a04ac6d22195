//! A map of byte strings.

use indexmap::IndexMap;
use std::hash::BuildHasherDefault;

use crate::keyspace::FixedHasher;

/// A hash: fields and their values. Its order depends on nothing but the operations on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hash(IndexMap<Vec<u8>, Vec<u8>, BuildHasherDefault<FixedHasher>>);

impl Hash {
    /// Sets a field; says whether it is new.
    pub fn insert(&mut self, field: &[u8], value: Vec<u8>) -> bool {
        match self.0.get_mut(field) {
            Some(old) => {
                *old = value;
                false
            }
            None => self.0.insert(field.to_vec(), value).is_none(),
        }
    }

    /// A field's value.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        self.0.get(field).map(Vec::as_slice)
    }

    /// Takes a field away; says whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        self.0.swap_remove(field).is_some()
    }

    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its fields and their values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(field, value)| (field.as_slice(), value.as_slice()))
    }

    /// The field at a place, for picking one at random.
    pub fn at(&self, place: usize) -> Option<(&[u8], &[u8])> {
        self.0.get_index(place).map(|(field, value)| (field.as_slice(), value.as_slice()))
    }
}
