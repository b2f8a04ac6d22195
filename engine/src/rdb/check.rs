//! Checking a snapshot without loading it, as redis-check-rdb does.

use super::read::{Visit, walk};
use super::{RdbError, values};
use crate::keyspace::{Entry, Keyspace};
use std::collections::{HashMap, HashSet};

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The format's version; 0 if the reading did not come to the end.
    pub version: u32,
    /// Length of the snapshot; the file may go on behind it. 0 if the reading did not come to the end.
    pub len: u64,
    /// A checksum was there, and right.
    pub verified: bool,
    /// Keys read.
    pub keys: u64,
    /// Those with an expiry.
    pub expires: u64,
    /// Those whose expiry has passed.
    pub expired: u64,
    /// What is wrong.
    pub error: Option<RdbError>,
    /// What was being read when that was found: the key, and the number and name of its type.
    pub reading: Option<(Vec<u8>, u8, &'static str)>,
}

struct Check<'s> {
    say: &'s mut dyn FnMut(u64, String),
    now_ms: u64,
    found: Checked,
    seen: HashMap<usize, HashSet<Vec<u8>>>,
}

impl Visit for Check<'_> {
    fn aux(&mut self, at: usize, name: &[u8], value: &[u8]) {
        let text = format!("AUX FIELD {} = '{}'", name.escape_ascii(), value.escape_ascii());
        (self.say)(at as u64, text);
    }

    fn select(&mut self, at: usize, db: usize) {
        (self.say)(at as u64, format!("Selecting DB ID {db}"));
    }

    /// The module's data are passed over, as redis-check-rdb does, which has no modules either.
    fn module_aux(&mut self, _name: &str) -> Result<(), String> {
        Ok(())
    }

    fn begin(&mut self, _at: usize, kind: u8, key: &[u8]) {
        let name = values::type_name(kind).unwrap_or_default();
        self.found.reading = Some((key.to_vec(), kind, name));
    }

    fn key(&mut self, db: usize, key: &[u8], entry: Entry) -> Result<(), String> {
        self.found.keys += 1;
        self.found.expires += u64::from(entry.expires_at_ms().is_some());
        self.found.expired += u64::from(entry.is_due(self.now_ms));
        if !self.seen.entry(db).or_default().insert(key.to_vec()) {
            return Err("it stands there twice".into());
        }
        self.found.reading = None;
        Ok(())
    }

    fn empty(&mut self) {
        self.found.reading = None;
    }
}

/// Reads the snapshot at the beginning of `bytes`, which is of a server with so many databases, and tells `say` what
/// stands where.
pub fn check(bytes: &[u8], now_ms: u64, databases: usize, say: &mut dyn FnMut(u64, String)) -> Checked {
    let mut check = Check { say, now_ms, found: Checked::default(), seen: HashMap::new() };
    let end = walk(bytes, databases, &mut check);
    let mut found = check.found;
    match end {
        Ok(end) => {
            (found.version, found.len, found.verified) = (end.version, end.len, end.verified);
            found.reading = None;
        }
        Err(error) => found.error = Some(error),
    }
    found
}

/// The keys in front of the first error.
struct Salvage {
    keyspace: Keyspace,
    keys: u64,
}

impl Visit for Salvage {
    fn module_aux(&mut self, _name: &str) -> Result<(), String> {
        Ok(())
    }

    fn key(&mut self, db: usize, key: &[u8], entry: Entry) -> Result<(), String> {
        if self.keyspace.dbs[db].get(key).is_some() {
            return Err("it stands there twice".into());
        }
        self.keyspace.dbs[db].insert(key, entry);
        self.keys += 1;
        Ok(())
    }
}

/// What can be read of a snapshot in front of the first error, and how many keys that are.
pub fn salvage(bytes: &[u8], databases: usize) -> (Keyspace, u64) {
    let mut salvage = Salvage { keyspace: Keyspace::new(databases), keys: 0 };
    // The error is what `check` tells.
    let _ = walk(bytes, databases, &mut salvage);
    (salvage.keyspace, salvage.keys)
}
