//! The logical state: numbered databases of typed values with expiry.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use crate::value::{Hash, Set, SortedSet};

/// How many databases there are (redis.conf's `databases` default).
pub const DATABASES: usize = 16;

/// A string as a value.
pub type Str = Vec<u8>;

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

impl Entry {
    /// An entry that expires at a moment in milliseconds since 1970, or never.
    pub fn new(value: Value, expires_at_ms: Option<u64>) -> Entry {
        Entry { value, expires_at_ms }
    }

    /// When it expires, in milliseconds since 1970.
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.expires_at_ms
    }

    /// Whether its time has come.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|at| at < now_ms)
    }
}

macro_rules! from {
    ($type:ty, $variant:ident) => {
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$variant(value.into())
            }
        }
    };
}

from!(&[u8], Str);
from!(Vec<u8>, Str);
from!(VecDeque<Vec<u8>>, List);
from!(Set, Set);
from!(Hash, Hash);
from!(SortedSet, SortedSet);

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

    /// Keys in the order of their hashes, from the hash `cursor` on, `count` of them or a few more (keys of one
    /// hash come together), and the cursor to go on with; 0 is the beginning and the end. A key that is there
    /// throughout a walk is in it, whatever is added or taken away in between, and nothing is remembered of one.
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<(&[u8], &Entry)>) {
        let hasher = BuildHasherDefault::<FixedHasher>::default();
        let hashed = self.iter().map(|(key, entry)| (hasher.hash_one(key).max(1), key, entry));
        let mut rest: Vec<_> = hashed.filter(|(hash, _, _)| *hash >= cursor).collect();
        rest.sort_unstable_by_key(|(hash, key, _)| (*hash, *key));
        let last = rest.get(count.max(1) - 1).map_or(u64::MAX, |(hash, _, _)| *hash);
        let end = rest.partition_point(|(hash, _, _)| *hash <= last);
        let next = rest.get(end).map_or(0, |(hash, _, _)| *hash);
        (next, rest.into_iter().take(end).map(|(_, key, entry)| (key, entry)).collect())
    }

    /// Some key, which follows from `seed`.
    pub fn pick(&self, seed: u64) -> Option<(&[u8], &Entry)> {
        let place = usize::try_from(seed % (self.len() as u64).max(1)).unwrap_or(0);
        self.iter().nth(place)
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
