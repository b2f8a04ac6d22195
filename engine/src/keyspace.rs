//! The logical state: numbered databases of typed values with expiry.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::value::{Hash, Set, SortedSet};

/// How many databases there are (redis.conf's `databases` default).
pub const DATABASES: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string; counters are strings that hold a decimal number.
    Str(Vec<u8>),
    /// A list.
    List(VecDeque<Vec<u8>>),
    /// A set.
    Set(Set),
    /// A hash.
    Hash(Hash),
    /// A sorted set.
    SortedSet(SortedSet),
}

/// A value and its expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// When it expires, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

/// FNV-1a: a fixed seed, so that iteration order, and with it every file that is written, depends on nothing
/// but the operations.
#[derive(Clone, Copy)]
pub struct FixedHasher(u64);

impl Default for FixedHasher {
    fn default() -> Self {
        FixedHasher(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for FixedHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// One database: keys and their entries. Its order depends on nothing but the operations on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Db(HashMap<Vec<u8>, Entry, BuildHasherDefault<FixedHasher>>);

impl Db {
    /// The entry of `key`.
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.0.get(key)
    }

    /// The entry of `key`, to be changed.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.0.get_mut(key)
    }

    /// Whether `key` is there.
    pub fn contains_key(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    /// Puts an entry; gives the one that was there.
    pub fn insert(&mut self, key: &[u8], entry: Entry) -> Option<Entry> {
        match self.0.get_mut(key) {
            Some(old) => Some(std::mem::replace(old, entry)),
            None => self.0.insert(key.to_vec(), entry),
        }
    }

    /// Makes room for so many more keys.
    pub fn reserve(&mut self, keys: usize) {
        self.0.reserve(keys);
    }

    /// Takes a key away; gives its entry.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        self.0.remove(key)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many keys have an expiry.
    pub fn expiring(&self) -> usize {
        self.0.values().filter(|e| e.expires_at_ms.is_some()).count()
    }

    /// All keys and entries.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.0.iter().map(|(key, entry)| (key.as_slice(), entry))
    }
}

/// All databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    /// The databases, by number.
    pub dbs: Vec<Db>,
}

impl Default for Keyspace {
    fn default() -> Self {
        Keyspace { dbs: vec![Db::default(); DATABASES] }
    }
}
