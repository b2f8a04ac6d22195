//! What a target holds, in a form that can be compared: the logical state.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One key's content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The value in the target's canonical form (for RESP targets: the type's name, a space, the value).
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
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        let alive = |e: &Entry| e.expires_at_ms.is_none_or(|t| t > now_ms);
        for (key, entry) in self.0.iter().filter(|(_, e)| alive(e)) {
            for part in [key.as_slice(), entry.value.as_slice()] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
            // 0 stands for "never": a real expiry at 0 is in the past and was filtered out.
            hasher.update(&entry.expires_at_ms.unwrap_or(0).to_le_bytes());
        }
        Digest(hasher.digest128())
    }
}
