//! The logical state: numbered databases of typed values with expiry.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// How many databases there are (redis.conf's `databases` default).
pub const DATABASES: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string; counters are strings that hold a decimal number.
    Str(Vec<u8>),
    /// A list.
    List(VecDeque<Vec<u8>>),
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

/// One database.
pub type Db = HashMap<Vec<u8>, Entry, BuildHasherDefault<FixedHasher>>;

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
