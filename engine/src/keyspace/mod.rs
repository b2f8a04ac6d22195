//! The logical state: numbered databases of typed values with expiry.
//!
//! Nothing here has a random seed, an address or a clock in it: equal operations leave equal databases, which
//! are walked in an equal order, so that every file that is written from them is equal byte by byte.

mod db;
mod entry;
mod hasher;
mod key;
mod places;
mod raw;
mod segment;
mod string;

pub use db::{Db, Keyspace};
pub use entry::{Entry, Value};
pub use hasher::{FixedHasher, hash};
pub use key::Key;
pub use string::{Origin, Str};

/// How many databases there are if nothing else is configured (redis.conf's `databases` default).
pub const DATABASES: usize = 16;

/// How many databases there can be.
pub const MOST_DATABASES: usize = 1_000_000;
