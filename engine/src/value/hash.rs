//! A map of byte strings.

use either::Either;
use indexmap::IndexMap;
use std::hash::BuildHasherDefault;

use super::packed::{Counted, LONGEST, Packed, scan_page};
use crate::keyspace::FixedHasher;

type Table = IndexMap<Box<[u8]>, Box<[u8]>, BuildHasherDefault<FixedHasher>>;

/// Fields of a small hash, as the default of hash-max-listpack-entries.
const SMALL: usize = 512;

/// A hash: fields and their values. Its order depends on nothing but the operations on it.
#[derive(Clone, Debug)]
pub struct Hash(Repr);

#[derive(Clone, Debug)]
enum Repr {
    /// Fields and values in turns, and how many fields.
    Small(Packed, usize),
    Large(Table),
}

impl Default for Hash {
    fn default() -> Self {
        Hash(Repr::Small(Packed::default(), 0))
    }
}

impl PartialEq for Hash {
    fn eq(&self, other: &Hash) -> bool {
        self.len() == other.len() && self.iter().all(|(field, value)| other.get(field) == Some(value))
    }
}

impl Eq for Hash {}

fn pairs(packed: &Packed) -> impl Iterator<Item = (usize, &[u8], &[u8])> + Clone {
    let mut items = packed.iter();
    std::iter::from_fn(move || {
        let (at, field) = items.next()?;
        Some((at, field, items.next()?.1))
    })
}

impl Hash {
    /// Sets a field; says whether it is new.
    pub fn insert(&mut self, field: &[u8], value: Vec<u8>) -> bool {
        if field.len().max(value.len()) > LONGEST {
            self.grow();
        }
        match &mut self.0 {
            Repr::Large(table) => match table.get_mut(field) {
                Some(old) => {
                    *old = value.into_boxed_slice();
                    false
                }
                None => table.insert(field.into(), value.into_boxed_slice()).is_none(),
            },
            Repr::Small(packed, len) => {
                let found = pairs(packed).find(|(_, f, _)| *f == field).map(|(at, _, _)| at);
                let at = found.unwrap_or(packed.end());
                if found.is_some() {
                    packed.remove(at, 2);
                }
                packed.insert(at, [field, &value]);
                *len += usize::from(found.is_none());
                if *len > SMALL {
                    self.grow();
                }
                found.is_none()
            }
        }
    }

    /// Takes the large form. As in Redis, it keeps that whatever comes after.
    fn grow(&mut self) {
        if let Repr::Small(packed, _) = &self.0 {
            self.0 = Repr::Large(pairs(packed).map(|(_, f, v)| (f.into(), v.into())).collect());
        }
    }

    /// A field's value.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match &self.0 {
            Repr::Small(packed, _) => pairs(packed).find(|(_, f, _)| *f == field).map(|(_, _, v)| v),
            Repr::Large(table) => table.get(field).map(|v| &**v),
        }
    }

    /// Takes a field away; says whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Small(packed, len) => {
                let found = pairs(packed).find(|(_, f, _)| *f == field).map(|(at, _, _)| at);
                if let Some(at) = found {
                    packed.remove(at, 2);
                    *len -= 1;
                }
                found.is_some()
            }
            Repr::Large(table) => table.swap_remove(field).is_some(),
        }
    }

    /// How many fields it has.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Small(_, len) => *len,
            Repr::Large(table) => table.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its fields and their values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        match &self.0 {
            Repr::Small(packed, len) => Either::Left(Counted(pairs(packed).map(|(_, f, v)| (f, v)), *len)),
            Repr::Large(table) => Either::Right(table.iter().map(|(field, value)| (&**field, &**value))),
        }
    }

    /// The field at a place, for picking one at random.
    pub fn at(&self, place: usize) -> Option<(&[u8], &[u8])> {
        match &self.0 {
            Repr::Small(packed, _) => pairs(packed).nth(place).map(|(_, f, v)| (f, v)),
            Repr::Large(table) => table.get_index(place).map(|(field, value)| (&**field, &**value)),
        }
    }

    /// One page of a walk over all fields, and the cursor of the next page (0 at the end). What is there throughout
    /// the walk is given, whatever comes and goes meanwhile.
    pub fn scan(&self, cursor: u64, count: usize) -> (impl Iterator<Item = (&[u8], &[u8])>, u64) {
        match &self.0 {
            Repr::Small(..) => (Either::Left(self.iter()), 0),
            Repr::Large(table) => {
                let (page, next) = scan_page(cursor, count, table.len());
                (Either::Right(page.filter_map(|place| self.at(place))), next)
            }
        }
    }

    /// What Redis calls the way in which it would be stored there.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Small(..) => "listpack",
            Repr::Large(_) => "hashtable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_hashes_behave_alike() {
        let mut hash = Hash::default();
        for i in 0..700u32 {
            let (field, value) = (format!("f{}", i % 600), format!("v{i}").into_bytes());
            assert_eq!(hash.insert(field.as_bytes(), value), i < 600);
            assert_eq!(hash.len(), 600.min(i as usize + 1));
            assert_eq!(hash.encoding() == "listpack", i < 512);
        }
        assert_eq!(
            (hash.get(b"f0"), hash.get(b"f599"), hash.get(b"x")),
            (Some(&b"v600"[..]), Some(&b"v599"[..]), None)
        );
        for i in 0..600u32 {
            assert!(hash.remove(format!("f{i}").as_bytes()));
            assert!(!hash.remove(format!("f{i}").as_bytes()));
        }
        assert!(hash.is_empty() && hash.encoding() == "hashtable");
        let mut other = Hash::default();
        assert!(other.insert(b"a", vec![b'x'; LONGEST]));
        assert!(!other.insert(b"a", b"y".to_vec()) && other.encoding() == "listpack");
        assert!(other.insert(&[b'f'; LONGEST + 1], Vec::new()) && other.encoding() == "hashtable");
        let mut equal = Hash::default();
        equal.insert(&[b'f'; LONGEST + 1], Vec::new());
        assert!(equal != other);
        equal.insert(b"a", b"y".to_vec());
        assert!(equal == other && other.remove(b"a") && equal.iter().len() == 2);
    }
}
