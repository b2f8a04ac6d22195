//! What stands under a key.

use super::Str;
use crate::value::{Hash, List, Set, SortedSet};

/// A value: 16 bytes, with a short string in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string; counters are strings that hold a decimal number.
    Str(Str),
    /// A list.
    List(Box<List>),
    /// A set.
    Set(Box<Set>),
    /// A hash.
    Hash(Box<Hash>),
    /// A sorted set.
    SortedSet(Box<SortedSet>),
}

/// A value and its expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// `NEVER`, or a moment.
    expires_at_ms: u64,
}

/// The moment that does not come.
const NEVER: u64 = u64::MAX;

// A million keys are a million of these: an `Option` would be a sixth more of everything.
const _: () = assert!(size_of::<Value>() == 16 && size_of::<Entry>() == 24);

impl Entry {
    /// An entry that expires at a moment in milliseconds since 1970, or never.
    pub fn new(value: Value, expires_at_ms: Option<u64>) -> Entry {
        Entry { value, expires_at_ms: expires_at_ms.unwrap_or(NEVER) }
    }

    /// When it expires, in milliseconds since 1970.
    pub fn expires_at_ms(&self) -> Option<u64> {
        (self.expires_at_ms != NEVER).then_some(self.expires_at_ms)
    }

    /// Whether it expires at all.
    pub fn expires(&self) -> bool {
        self.expires_at_ms != NEVER
    }

    /// Whether its time has come.
    pub fn is_due(&self, now_ms: u64) -> bool {
        // `NEVER` is later than any clock.
        self.expires_at_ms < now_ms
    }

    /// For the table, which counts.
    pub(super) fn set_expiry(&mut self, at_ms: Option<u64>) {
        self.expires_at_ms = at_ms.unwrap_or(NEVER);
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
from!(Str, Str);
from!(List, List);
from!(Set, Set);
from!(Hash, Hash);
from!(SortedSet, SortedSet);
