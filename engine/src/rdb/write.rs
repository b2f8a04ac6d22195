//! Writing a snapshot.

use super::*;
use crate::keyspace::{Db, Keyspace, Value};
use crc_fast::{CrcAlgorithm, Digest};
use std::io::{self, Write};

struct Sink<'w> {
    out: &'w mut dyn Write,
    /// `None` without `rdbchecksum`: the trailer is then 0, which readers take as "none".
    digest: Option<Digest>,
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        self.out.write_all(bytes)
    }

    fn len(&mut self, len: u64) -> io::Result<()> {
        if len < 1 << 6 {
            self.put(&[len as u8])
        } else if len < 1 << 14 {
            self.put(&[0x40 | (len >> 8) as u8, len as u8])
        } else if let Ok(short) = u32::try_from(len) {
            self.put(&[0x80])?;
            self.put(&short.to_be_bytes())
        } else {
            self.put(&[0x81])?;
            self.put(&len.to_be_bytes())
        }
    }

    fn string(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.len(bytes.len() as u64)?;
        self.put(bytes)
    }

    fn aux(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.put(&[OP_AUX])?;
        self.string(name.as_bytes())?;
        self.string(value.as_bytes())
    }

    fn db(&mut self, n: usize, db: &Db) -> io::Result<()> {
        self.put(&[OP_SELECTDB])?;
        self.len(n as u64)?;
        self.put(&[OP_RESIZEDB])?;
        self.len(db.len() as u64)?;
        self.len(db.expiring() as u64)?;
        for (key, entry) in db.iter() {
            if let Some(at) = entry.expires_at_ms() {
                self.put(&[OP_EXPIRETIME_MS])?;
                self.put(&at.to_le_bytes())?;
            }
            match &entry.value {
                Value::Str(value) => {
                    self.put(&[TYPE_STRING])?;
                    self.string(key)?;
                    self.string(value)?;
                }
                Value::List(list) => {
                    self.put(&[TYPE_LIST])?;
                    self.string(key)?;
                    self.len(list.len() as u64)?;
                    list.iter().try_for_each(|item| self.string(item))?;
                }
                Value::Set(set) => {
                    self.put(&[TYPE_SET])?;
                    self.string(key)?;
                    self.len(set.len() as u64)?;
                    set.iter().try_for_each(|member| self.string(member))?;
                }
                Value::Hash(hash) => {
                    self.put(&[TYPE_HASH])?;
                    self.string(key)?;
                    self.len(hash.len() as u64)?;
                    for (field, value) in hash.iter() {
                        self.string(field)?;
                        self.string(value)?;
                    }
                }
                Value::SortedSet(set) => {
                    self.put(&[TYPE_ZSET_2])?;
                    self.string(key)?;
                    self.len(set.len() as u64)?;
                    for (member, score) in set.iter() {
                        self.string(member)?;
                        self.put(&score.get().to_le_bytes())?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Writes `keyspace` to `out`, as the base of an append-only file if `aof_base`.
pub fn write(
    out: &mut dyn Write,
    keyspace: &Keyspace,
    now_ms: u64,
    aof_base: bool,
    checksum: bool,
) -> io::Result<()> {
    let digest = checksum.then(|| Digest::new(CrcAlgorithm::Crc64Redis));
    let mut sink = Sink { out, digest };
    sink.put(MAGIC)?;
    sink.put(format!("{WRITE_VERSION:04}").as_bytes())?;
    sink.aux("redis-ver", "7.0.15")?;
    sink.aux("redis-bits", "64")?;
    sink.aux("ctime", &(now_ms / 1000).to_string())?;
    sink.aux("used-mem", "0")?;
    sink.aux("aof-base", if aof_base { "1" } else { "0" })?;
    for (n, db) in keyspace.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        sink.db(n, db)?;
    }
    sink.put(&[OP_EOF])?;
    let sum = sink.digest.take().map_or(0, |d| d.finalize());
    sink.put(&sum.to_le_bytes())
}
