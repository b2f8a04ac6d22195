//! A ready reference model for Rust stores that map keys to values.

use crate::dump::{Digest, Dump, Entry};
use crate::target::{Meaning, Oracle};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One operation on a map-like store; its encoding is postcard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MapOp {
    /// Sets a key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
    /// Several changes that happen together or not at all: a value is set, `None` is removed.
    Batch(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// Adds to a counter, as eight bytes little-endian, wrapping: twice is not once.
    Add {
        /// The key.
        key: Vec<u8>,
        /// By how much.
        by: u64,
    },
    /// Reads a key.
    Get {
        /// The key.
        key: Vec<u8>,
    },
    /// An explicit promise: what was acknowledged before is durable when this returns.
    Flush,
}

/// What a map-like store replied; its encoding is postcard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MapReply {
    /// Done.
    Done,
    /// What a read found.
    Value(Option<Vec<u8>>),
    /// It failed: whether it took effect is not known.
    Error(String),
}

impl MapOp {
    /// The operation's bytes. Encoding plain byte strings cannot fail.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// The operation that `bytes` encode.
    ///
    /// # Errors
    /// Where they encode none.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }

    /// The keys that the operation sets or removes; a counter's new value depends on the old one.
    fn changes(&self, map: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        match self {
            MapOp::Put { key, value } => vec![(key.clone(), Some(value.clone()))],
            MapOp::Delete { key } => vec![(key.clone(), None)],
            MapOp::Batch(changes) => changes.clone(),
            MapOp::Add { key, by } => {
                let old =
                    map.get(key).and_then(|v| v.as_slice().try_into().ok()).map_or(0, u64::from_le_bytes);
                vec![(key.clone(), Some(old.wrapping_add(*by).to_le_bytes().to_vec()))]
            }
            MapOp::Get { .. } | MapOp::Flush => Vec::new(),
        }
    }
}

impl MapReply {
    /// The reply's bytes. Encoding plain byte strings cannot fail.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }
}

/// The reference model for [`MapOp`]s.
#[derive(Clone, Debug, Default)]
pub struct MapOracle {
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    sum: u128,
}

impl MapOracle {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn share(key: &[u8], value: &[u8]) -> u128 {
        Entry { value: value.to_vec(), expires_at_ms: None }.identity(key)
    }
}

impl Oracle for MapOracle {
    fn apply(&mut self, op: &[u8], _reply: Option<&[u8]>, _at_ms: u64) {
        let Ok(op) = MapOp::decode(op) else { return };
        for (key, value) in op.changes(&self.map) {
            if let Some(new) = &value {
                self.sum = self.sum.wrapping_add(Self::share(&key, new));
            }
            let old = match value {
                Some(new) => self.map.insert(key.clone(), new),
                None => self.map.remove(&key),
            };
            if let Some(old) = old {
                self.sum = self.sum.wrapping_sub(Self::share(&key, &old));
            }
        }
    }

    fn meaning(&self, op: &[u8], reply: Option<&[u8]>) -> Meaning {
        match MapOp::decode(op) {
            Ok(MapOp::Get { .. }) | Err(_) => Meaning::Read,
            Ok(MapOp::Flush) if reply.is_some_and(|r| !self.is_error(r)) => Meaning::Barrier,
            Ok(MapOp::Flush) => Meaning::Read,
            Ok(_) => Meaning::Write,
        }
    }

    fn is_error(&self, reply: &[u8]) -> bool {
        !matches!(postcard::from_bytes(reply), Ok(MapReply::Done | MapReply::Value(_)))
    }

    fn dump(&self) -> Dump {
        let entry = |v: &Vec<u8>| Entry { value: v.clone(), expires_at_ms: None };
        Dump(self.map.iter().map(|(k, v)| (k.clone(), entry(v))).collect())
    }

    fn digest(&mut self, _now_ms: u64) -> Digest {
        Digest(self.sum)
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }

    fn describe(&self, op: &[u8]) -> String {
        let text = |b: &[u8]| b.escape_ascii().to_string();
        match MapOp::decode(op) {
            Ok(MapOp::Put { key, value }) => format!("put {} = {}", text(&key), text(&value)),
            Ok(MapOp::Delete { key }) => format!("delete {}", text(&key)),
            Ok(MapOp::Add { key, by }) => format!("add {by} to {}", text(&key)),
            Ok(MapOp::Get { key }) => format!("get {}", text(&key)),
            Ok(MapOp::Flush) => "flush".to_string(),
            Ok(MapOp::Batch(changes)) => {
                let one = |(k, v): &(Vec<u8>, Option<Vec<u8>>)| match v {
                    Some(v) => format!("put {} = {}", text(k), text(v)),
                    None => format!("delete {}", text(k)),
                };
                format!("batch {{ {} }}", changes.iter().map(one).collect::<Vec<_>>().join("; "))
            }
            Err(e) => format!("({e})"),
        }
    }

    fn expects(&self, op: &[u8], reply: &[u8], _at_ms: u64) -> bool {
        match (MapOp::decode(op), postcard::from_bytes(reply)) {
            (Ok(_), Ok(MapReply::Error(_))) => true,
            (Ok(MapOp::Get { key }), Ok(MapReply::Value(value))) => self.map.get(&key) == value.as_ref(),
            (Ok(MapOp::Get { .. }), _) | (Err(_), _) => false,
            (Ok(_), Ok(MapReply::Done)) => true,
            (Ok(_), _) => false,
        }
    }

    fn parts(&self, op: &[u8]) -> Vec<Vec<u8>> {
        let Ok(MapOp::Batch(changes)) = MapOp::decode(op) else { return Vec::new() };
        let cuts = 1..changes.len();
        cuts.flat_map(|i| [&changes[..i], &changes[i..]]).map(|c| MapOp::Batch(c.to_vec()).encode()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> MapOp {
        MapOp::Put { key: key.into(), value: value.into() }
    }

    #[test]
    fn identity_is_kept_up_to_date() {
        let mut o = MapOracle::new();
        let batch = MapOp::Batch(vec![(b"a".to_vec(), Some(b"3".to_vec())), (b"b".to_vec(), None)]);
        let add = MapOp::Add { key: b"n".to_vec(), by: 2 };
        for op in [put("a", "1"), put("b", "2"), put("a", "2"), add.clone(), add, batch] {
            o.apply(&op.encode(), Some(&MapReply::Done.encode()), 0);
            assert_eq!(o.digest(0), o.dump().digest(0), "{op:?}");
        }
        assert_eq!(o.map[b"n".as_slice()], 4u64.to_le_bytes());
        assert_eq!(o.map.len(), 2);
    }

    #[test]
    fn meanings_replies_and_parts() {
        let o = MapOracle::new();
        let done = MapReply::Done.encode();
        assert_eq!(o.meaning(&MapOp::Flush.encode(), Some(&done)), Meaning::Barrier);
        assert_eq!(o.meaning(&MapOp::Flush.encode(), None), Meaning::Read);
        assert_eq!(o.meaning(&put("a", "1").encode(), None), Meaning::Write);
        assert!(o.is_error(&MapReply::Error("disk".into()).encode()));
        assert!(o.is_error(b"") && !o.is_error(&done));
        let get = MapOp::Get { key: b"a".to_vec() }.encode();
        assert!(o.expects(&get, &MapReply::Value(None).encode(), 0));
        assert!(!o.expects(&get, &MapReply::Value(Some(vec![])).encode(), 0));
        let batch = MapOp::Batch(vec![(b"a".to_vec(), None), (b"b".to_vec(), None)]).encode();
        assert_eq!(o.parts(&batch).len(), 2);
        assert!(o.describe(&batch).contains("delete a; delete b"));
    }
}
