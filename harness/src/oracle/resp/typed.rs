//! Reading and changing a key's content as a type.

use super::RespOracle;
use std::collections::{BTreeMap, BTreeSet};

/// A key's content.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A string.
    Str(Vec<u8>),
    /// A list.
    List(Vec<Vec<u8>>),
    /// A set.
    Set(Members),
    /// A hash.
    Hash(Fields),
    /// A sorted set.
    Sorted(Scores),
}

/// A set's members.
pub(super) type Members = BTreeSet<Vec<u8>>;
/// A hash's fields with their values.
pub(super) type Fields = BTreeMap<Vec<u8>, Vec<u8>>;
/// A sorted set's members with their scores. There is no -0: Redis's small sorted sets have none, and which are small is
/// not the model's affair.
pub(super) type Scores = BTreeMap<Vec<u8>, f64>;

/// The key holds another type than the command is for.
#[derive(Debug)]
pub(super) struct WrongType;

/// A type that a key can hold.
pub(super) trait Typed: Clone + Default + PartialEq {
    /// The content, if it is of this type.
    fn of(value: &Value) -> Option<&Self>;
    /// As a key's content.
    fn value(self) -> Value;
    /// Whether nothing is in it: only a string stays.
    fn vanishes(&self) -> bool;
}

macro_rules! typed {
    ($type:ty, $variant:ident, $vanishes:expr) => {
        impl Typed for $type {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$variant(of) = value { Some(of) } else { None }
            }

            fn value(self) -> Value {
                Value::$variant(self)
            }

            fn vanishes(&self) -> bool {
                $vanishes(self)
            }
        }
    };
}

typed!(Vec<u8>, Str, |_| false);
typed!(Vec<Vec<u8>>, List, Vec::is_empty);
typed!(Members, Set, BTreeSet::is_empty);
typed!(Fields, Hash, BTreeMap::is_empty);
typed!(Scores, Sorted, BTreeMap::is_empty);

/// What the key holds, if it exists.
pub(super) fn read<'o, T: Typed>(o: &'o RespOracle, key: &[u8], at: u64) -> Result<Option<&'o T>, WrongType> {
    o.get(key, at).map(|slot| T::of(&slot.value).ok_or(WrongType)).transpose()
}

/// What the key holds, or an empty value.
pub(super) fn copy<T: Typed>(o: &RespOracle, key: &[u8], at: u64) -> Result<T, WrongType> {
    Ok(read::<T>(o, key, at)?.cloned().unwrap_or_default())
}

/// Changes what the key holds (or an empty value) in place, keeping its expiry. Collections without members vanish.
pub(super) fn change<T: Typed, R>(
    o: &mut RespOracle,
    key: &[u8],
    at: u64,
    change: impl FnOnce(&mut T) -> R,
) -> Result<R, WrongType> {
    let mut value: T = copy(o, key, at)?;
    let result = change(&mut value);
    let same = read::<T>(o, key, at)?.is_some_and(|old| *old == value);
    if value.vanishes() {
        o.remove(key, at);
    } else if !same {
        let expires = expiry(o, key, at);
        o.put(key, value.value(), expires);
    }
    Ok(result)
}

/// Puts what a command has computed in the place of whatever was there, its expiry too.
pub(super) fn store<T: Typed>(o: &mut RespOracle, key: &[u8], value: T, at: u64) {
    if value.vanishes() {
        o.remove(key, at);
    } else {
        o.put(key, value.value(), None);
    }
}

/// When the key expires.
pub(super) fn expiry(o: &RespOracle, key: &[u8], at: u64) -> Option<u64> {
    o.get(key, at).and_then(|s| s.expires_at_ms)
}
