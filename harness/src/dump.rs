//! What a target holds, in a form that can be compared: the logical state.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One key's content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The value in the target's canonical form (for RESP targets: the type's name, a space, the value).
    #[serde(with = "unplug_faults::bytes")]
    pub value: Vec<u8>,
    /// When the key expires, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

/// A whole logical state: key to content. RESP targets prefix keys with the database's number and `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dump(pub BTreeMap<Vec<u8>, Entry>);

/// Identity of a logical state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub u128);

impl Dump {
    /// The identity of this state. Keys whose expiry is at or before `now_ms` are ignored, on both sides of a
    /// comparison: whether a store still shows them is its own affair.
    pub fn digest(&self, now_ms: u64) -> Digest {
        let alive = |e: &Entry| e.expires_at_ms.is_none_or(|t| t > now_ms);
        let live = self.0.iter().filter(|(_, e)| alive(e));
        Digest(live.fold(0, |sum, (key, entry)| sum.wrapping_add(entry.identity(key))))
    }
}

impl Entry {
    /// This entry's share of a state's identity. A state's identity is the sum over its keys, so that a
    /// reference model can keep it up to date key by key.
    pub fn identity(&self, key: &[u8]) -> u128 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for part in [key, self.value.as_slice()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        // 0 stands for "never": a real expiry at 0 is in the past and is filtered out.
        hasher.update(&self.expires_at_ms.unwrap_or(0).to_le_bytes());
        hasher.digest128()
    }
}
