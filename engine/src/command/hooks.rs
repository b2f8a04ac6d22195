//! What hangs on keys besides their values: WATCH, the order of expiries, and counters.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::blocked::Blocked;
use super::random::Random;
use crate::keyspace::{Key, Keyspace};

/// Watched keys and expiries, and what happened to keys.
#[derive(Debug, Default)]
pub struct Hooks {
    /// Keys that clients watch.
    pub watched: Watched,
    /// Keys that have an expiry, soonest first.
    pub expiries: Expiries,
    /// Keys that were deleted because their time had come.
    pub expired_keys: u64,
    /// Look-ups of reading commands that found their key.
    pub hits: u64,
    /// Look-ups of reading commands that did not.
    pub misses: u64,
    /// Where SPOP and its like draw from.
    pub random: Random,
    /// Clients that wait for keys.
    pub blocked: Blocked,
}

/// Versions of the keys that are watched: a change moves the version, EXEC compares.
#[derive(Debug, Default)]
pub struct Watched {
    keys: BTreeMap<(usize, Vec<u8>), Slot>,
    changes: u64,
}

#[derive(Debug)]
struct Slot {
    version: u64,
    watchers: usize,
}

impl Watched {
    /// One more client watches `key`; gives the version to compare with later.
    pub fn watch(&mut self, db: usize, key: &[u8]) -> u64 {
        let version = self.changes;
        let slot = self.keys.entry((db, key.to_vec())).or_insert(Slot { version, watchers: 0 });
        slot.watchers += 1;
        slot.version
    }

    /// A client no longer watches `key`.
    pub fn unwatch(&mut self, db: usize, key: &[u8]) {
        let at = (db, key.to_vec());
        if let Some(slot) = self.keys.get_mut(&at) {
            slot.watchers -= 1;
            if slot.watchers == 0 {
                self.keys.remove(&at);
            }
        }
    }

    /// `key` changed.
    pub fn touch(&mut self, db: usize, key: &[u8]) {
        if self.keys.is_empty() {
            return;
        }
        if let Some(slot) = self.keys.get_mut(&(db, key.to_vec())) {
            self.changes += 1;
            slot.version = self.changes;
        }
    }

    /// Database `db` is emptied or swapped: the watched keys for which `exists` says that they are there
    /// before or after count as changed.
    pub fn touch_db(&mut self, db: usize, exists: impl Fn(&[u8]) -> bool) {
        for ((at, key), slot) in &mut self.keys {
            if *at == db && exists(key) {
                self.changes += 1;
                slot.version = self.changes;
            }
        }
    }

    /// The version of a watched key now.
    pub fn version(&self, db: usize, key: &[u8]) -> Option<u64> {
        self.keys.get(&(db, key.to_vec())).map(|s| s.version)
    }
}

/// A heap of expiries. Entries go stale when an expiry is changed; they are skipped when they come up, and
/// the heap is rebuilt once most of it is stale.
#[derive(Debug, Default)]
pub struct Expiries {
    heap: BinaryHeap<Reverse<(u64, Key, u8)>>,
    rebuild_at: usize,
}

/// Below this the heap is not worth rebuilding.
const SMALLEST_REBUILD: usize = 1024;

impl Expiries {
    /// Notes that `key` expires at `at_ms`.
    pub fn add(&mut self, at_ms: u64, db: usize, key: &[u8]) {
        self.heap.push(Reverse((at_ms, Key::from(key), db as u8)));
    }

    /// Whether so many entries were added since the last rebuild that one is due.
    pub fn wants_rebuild(&self) -> bool {
        self.heap.len() > self.rebuild_at.max(SMALLEST_REBUILD)
    }

    /// Builds the heap anew from the keys: after loading, and after databases changed places.
    pub fn rebuild(&mut self, keyspace: &Keyspace) {
        self.heap.clear();
        for (db, keys) in keyspace.dbs.iter().enumerate() {
            if keys.expiring() == 0 {
                continue;
            }
            let expiring = keys.iter().filter_map(|(key, e)| e.expires_at_ms().map(|at| (at, key)));
            self.heap.extend(expiring.map(|(at, key)| Reverse((at, Key::from(key), db as u8))));
        }
        self.rebuild_at = self.heap.len() * 2;
    }

    /// Takes the next key whose time has come, if any. The caller checks that the entry is not stale.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<(usize, Key)> {
        match self.heap.peek() {
            Some(Reverse((at, _, _))) if *at < now_ms => {
                self.heap.pop().map(|Reverse((_, key, db))| (usize::from(db), key))
            }
            _ => None,
        }
    }
}
