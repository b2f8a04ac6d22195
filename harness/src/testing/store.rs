//! What a store must be to be tested: a trait of five methods, and a model of what it should hold.

use crate::dump::{Dump, Entry};
use crate::oracle::MapOp;
use crate::target::Meaning;
use crate::worker::store::BoxError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

/// A store under test.
///
/// Each method that returns `Ok` has made a promise: after `apply` returns, the operation survives a power loss
/// (under [`Contract::Always`](crate::contract::Contract::Always), the default of a check).
pub trait Store: Sized + 'static {
    /// What is done to it. [`MapOp`] serves for most stores of keys and values.
    type Op: Serialize + DeserializeOwned + Clone + Debug + 'static;

    /// What it should hold, computed without it. [`Map`] serves with [`MapOp`].
    type Model: StoreModel<Self::Op>;

    /// Opens the store in `dir`, making or recovering what is needed.
    ///
    /// # Errors
    /// The store declines to open.
    fn open(dir: &Path) -> Result<Self, BoxError>;

    /// Does one operation, as durably as the contract under test says.
    ///
    /// # Errors
    /// The operation failed: whether it took effect is then unknown, and both are allowed.
    fn apply(&mut self, op: &Self::Op) -> Result<Reply, BoxError>;

    /// All that the store holds. Pairs of keys and values collect into a [`Dump`].
    ///
    /// # Errors
    /// The store cannot be read.
    fn dump(&mut self) -> Result<Dump, BoxError>;

    /// Closes in order; dropping it is the default.
    ///
    /// # Errors
    /// Closing failed.
    fn close(self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Operations that are written after a recovery, to see that a recovered store takes new writes and keeps
    /// them: in order, and, where it makes no difference to write them again, with another power loss in the middle.
    /// They must not touch what a workload touches. None by default.
    fn probes() -> Vec<Self::Op> {
        Vec::new()
    }

    /// Many lives may be opened, and abandoned by [`Store::abandon`], in one process, which is faster by far than
    /// a process for each: the store keeps no threads, locks or globals that the next life would meet.
    const REUSABLE: bool = false;

    /// Ends a life as SIGKILL would: nothing may be written. Only for [`Store::REUSABLE`] stores; by default the
    /// value is leaked, with its memory and descriptors.
    fn abandon(self) {
        std::mem::forget(self);
    }
}

/// The reference model of a store: its logical state as plain data.
pub trait StoreModel<Op>: Default + Clone + Send + 'static {
    /// Does the operation.
    fn apply(&mut self, op: &Op);

    /// The state.
    fn dump(&self) -> Dump;

    /// What the operation means: it writes, unless said otherwise here.
    fn meaning(op: &Op) -> Meaning {
        let _ = op;
        Meaning::Write
    }

    /// Whether the store should have given this reply in this state (before the operation).
    fn expects(&self, op: &Op, reply: &Reply) -> bool {
        let _ = (op, reply);
        true
    }

    /// Operations that do a part of this one, for the store that tears it.
    fn parts(op: &Op) -> Vec<Op> {
        let _ = op;
        Vec::new()
    }

    /// The operation as a person would write it.
    fn describe(op: &Op) -> String
    where
        Op: Debug,
    {
        format!("{op:?}")
    }
}

/// What an operation returned: bytes of the store's own, empty where it returned nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reply(pub Vec<u8>);

impl Reply {
    /// It was done, and returned nothing.
    pub const DONE: Reply = Reply(Vec::new());

    /// What a read found; nothing found, and something empty found, differ.
    pub fn found(value: Option<&[u8]>) -> Reply {
        Reply(value.map_or(Vec::new(), |v| [&[1], v].concat()))
    }
}

/// A reply in a trace: the store's, or its error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Recorded {
    Done(Reply),
    Error(String),
}

/// Bytes as a person reads them, long ones cut.
fn short(bytes: &[u8]) -> String {
    const MOST: usize = 40;
    let text = bytes[..bytes.len().min(MOST)].escape_ascii();
    match bytes.len() {
        0 => "\"\"".to_owned(),
        len if len > MOST => format!("{text}... ({len} bytes)"),
        _ => text.to_string(),
    }
}

/// The model that goes with [`MapOp`]: keys and values.
pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;

impl StoreModel<MapOp> for Map {
    fn describe(op: &MapOp) -> String {
        let key = |key: &[u8]| short(key);
        let change = |(k, v): &(Vec<u8>, Option<Vec<u8>>)| match v {
            Some(v) => format!("{}={}", key(k), short(v)),
            None => format!("{} removed", key(k)),
        };
        match op {
            MapOp::Put { key: k, value } => format!("put {}={}", key(k), short(value)),
            MapOp::Delete { key: k } => format!("delete {}", key(k)),
            MapOp::Add { key: k, by } => format!("add {by} to {}", key(k)),
            MapOp::Get { key: k } => format!("get {}", key(k)),
            MapOp::Batch(changes) => {
                format!("batch of {}", changes.iter().map(change).collect::<Vec<_>>().join(", "))
            }
            MapOp::Flush => "flush".to_owned(),
        }
    }

    fn apply(&mut self, op: &MapOp) {
        let mut set = |key: &Vec<u8>, value: Option<Vec<u8>>| match value {
            Some(value) => self.insert(key.clone(), value),
            None => self.remove(key),
        };
        match op {
            MapOp::Put { key, value } => drop(set(key, Some(value.clone()))),
            MapOp::Delete { key } => drop(set(key, None)),
            MapOp::Batch(changes) => changes.iter().for_each(|(key, value)| drop(set(key, value.clone()))),
            MapOp::Add { key, by } => {
                let old =
                    self.get(key).and_then(|v| v.as_slice().try_into().ok()).map_or(0, u64::from_le_bytes);
                self.insert(key.clone(), old.wrapping_add(*by).to_le_bytes().to_vec());
            }
            MapOp::Get { .. } | MapOp::Flush => {}
        }
    }

    fn dump(&self) -> Dump {
        self.clone().into_iter().collect()
    }

    fn meaning(op: &MapOp) -> Meaning {
        match op {
            MapOp::Get { .. } => Meaning::Read,
            MapOp::Flush => Meaning::Barrier,
            _ => Meaning::Write,
        }
    }

    fn expects(&self, op: &MapOp, reply: &Reply) -> bool {
        match op {
            MapOp::Get { key } => *reply == Reply::found(self.get(key).map(Vec::as_slice)),
            _ => true,
        }
    }

    fn parts(op: &MapOp) -> Vec<MapOp> {
        let MapOp::Batch(changes) = op else { return Vec::new() };
        let cuts = (1..changes.len()).flat_map(|i| [&changes[..i], &changes[i..]]);
        cuts.map(|part| MapOp::Batch(part.to_vec())).collect()
    }
}

impl MapOp {
    /// Sets a key.
    pub fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> MapOp {
        MapOp::Put { key: key.as_ref().to_vec(), value: value.as_ref().to_vec() }
    }

    /// Removes a key.
    pub fn delete(key: impl AsRef<[u8]>) -> MapOp {
        MapOp::Delete { key: key.as_ref().to_vec() }
    }

    /// Adds to a counter.
    pub fn add(key: impl AsRef<[u8]>, by: u64) -> MapOp {
        MapOp::Add { key: key.as_ref().to_vec(), by }
    }

    /// Several changes that happen together or not at all.
    pub fn batch<'a>(changes: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> MapOp {
        let change = |(k, v): (&str, Option<&str>)| (k.as_bytes().to_vec(), v.map(|v| v.as_bytes().to_vec()));
        MapOp::Batch(changes.into_iter().map(change).collect())
    }
}

/// Keys and values as a logical state without expiries.
impl<K: Into<Vec<u8>>, V: Into<Vec<u8>>> FromIterator<(K, V)> for Dump {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let entry = |value: V| Entry { value: value.into(), expires_at_ms: None };
        Dump(pairs.into_iter().map(|(key, value)| (key.into(), entry(value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::MapOracle;
    use crate::target::Oracle;

    #[test]
    fn the_map_model_agrees_with_the_map_oracle() {
        let ops = [
            MapOp::put("a", "1"),
            MapOp::add("n", 5),
            MapOp::add("n", u64::MAX),
            MapOp::batch([("a", None), ("b", Some("2")), ("c", Some(""))]),
            MapOp::Get { key: b"b".to_vec() },
            MapOp::delete("c"),
        ];
        let (mut model, mut oracle) = (Map::default(), MapOracle::new());
        for op in &ops {
            model.apply(op);
            oracle.apply(&op.encode(), None, 0);
            assert_eq!(model.dump(), oracle.dump(), "{op:?}");
        }
        assert_eq!(model.len(), 2);
    }

    #[test]
    fn a_read_is_checked_and_an_empty_value_is_not_none() {
        let mut model = Map::default();
        let get = MapOp::Get { key: b"k".to_vec() };
        assert!(model.expects(&get, &Reply::found(None)));
        model.apply(&MapOp::put("k", ""));
        assert!(model.expects(&get, &Reply::found(Some(b""))) && !model.expects(&get, &Reply::found(None)));
    }

    #[test]
    fn a_batch_has_parts() {
        let parts = Map::parts(&MapOp::batch([("a", Some("1")), ("b", Some("2")), ("c", None)]));
        assert_eq!(parts.len(), 4);
        assert!(parts.contains(&MapOp::batch([("b", Some("2")), ("c", None)])));
    }
}
