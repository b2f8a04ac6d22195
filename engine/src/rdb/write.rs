//! Writing a snapshot.

use super::lzf::Compressor;
use super::*;
use crate::keyspace::{Db, Entry, Keyspace, Value};
use crate::resp::parse_integer;
use crc_fast::{CrcAlgorithm, Digest};
use std::io::{self, Write};

/// How a snapshot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// The time that it is to bear.
    pub now_ms: u64,
    /// It is the base of an append-only file.
    pub aof_base: bool,
    /// Number of the first incr file behind it, where it is a base that has one.
    pub first_incr: Option<u64>,
    /// It ends with its checksum (`rdbchecksum`).
    pub checksum: bool,
    /// Long strings are compressed (`rdbcompression`).
    pub compress: bool,
}

/// What is handed to the file at once, and added to the checksum at once.
const CHUNK: usize = 64 << 10;
/// Strings of up to this many bytes are not compressed, as in Redis.
const NOT_COMPRESSED: usize = 20;
/// Every so many keys the caller is told how many are written.
const KEYS_PER_REPORT: u64 = 1 << 16;

struct Sink<'w> {
    out: &'w mut dyn Write,
    buffer: Vec<u8>,
    /// Bytes handed to `out`.
    len: u64,
    /// `None` without `rdbchecksum`: the trailer is then 0, which readers take as "none".
    digest: Option<Digest>,
    compressor: Option<Compressor>,
}

impl Sink<'_> {
    fn flush(&mut self) -> io::Result<()> {
        if let Some(digest) = &mut self.digest {
            digest.update(&self.buffer);
        }
        self.out.write_all(&self.buffer)?;
        self.len += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() >= CHUNK {
            self.flush()?;
            if let Some(digest) = &mut self.digest {
                digest.update(bytes);
            }
            self.len += bytes.len() as u64;
            return self.out.write_all(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn byte(&mut self, byte: u8) {
        self.buffer.push(byte);
    }

    fn length(&mut self, len: u64) {
        if len < 1 << 6 {
            self.buffer.push(len as u8);
        } else if len < 1 << 14 {
            self.buffer.extend([0x40 | (len >> 8) as u8, len as u8]);
        } else if let Ok(short) = u32::try_from(len) {
            self.buffer.push(0x80);
            self.buffer.extend(short.to_be_bytes());
        } else {
            self.buffer.push(0x81);
            self.buffer.extend(len.to_be_bytes());
        }
    }

    /// A string: as an integer if it is one of up to 32 bits, else compressed if that pays, else as it is.
    fn string(&mut self, bytes: &[u8]) -> io::Result<()> {
        // -2147483648 has 11 characters.
        if bytes.len() <= 11
            && let Some(number) = parse_integer(bytes)
        {
            if let Ok(n) = i8::try_from(number) {
                self.buffer.extend([0xc0, n.to_le_bytes()[0]]);
                return Ok(());
            }
            if let Ok(n) = i16::try_from(number) {
                self.byte(0xc1);
                return self.put(&n.to_le_bytes());
            }
            if let Ok(n) = i32::try_from(number) {
                self.byte(0xc2);
                return self.put(&n.to_le_bytes());
            }
        }
        if bytes.len() > NOT_COMPRESSED
            && let Some(mut compressor) = self.compressor.take()
        {
            let done = match compressor.compress(bytes) {
                Some(packed) => {
                    self.byte(0xc3);
                    self.length(packed.len() as u64);
                    self.length(bytes.len() as u64);
                    self.put(packed).map(|()| true)
                }
                None => Ok(false),
            };
            self.compressor = Some(compressor);
            if done? {
                return Ok(());
            }
        }
        self.length(bytes.len() as u64);
        self.put(bytes)
    }

    fn aux(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.byte(OP_AUX);
        self.string(name.as_bytes())?;
        self.string(value.as_bytes())
    }

    fn entry(&mut self, key: &[u8], entry: &Entry) -> io::Result<()> {
        let left_out = sabotaged!("expiry-of-collections-not-saved") && !matches!(entry.value, Value::Str(_));
        if let Some(at) = entry.expires_at_ms().filter(|_| !left_out) {
            self.byte(OP_EXPIRETIME_MS);
            self.put(&at.to_le_bytes())?;
        }
        match &entry.value {
            Value::Str(value) => {
                self.byte(TYPE_STRING);
                self.string(key)?;
                self.string(value)?;
            }
            Value::List(list) => {
                self.byte(TYPE_LIST);
                self.string(key)?;
                self.length(list.len() as u64);
                list.iter().try_for_each(|item| self.string(item))?;
            }
            Value::Set(set) => {
                self.byte(TYPE_SET);
                self.string(key)?;
                self.length(set.len() as u64);
                set.iter().try_for_each(|member| self.string(member))?;
            }
            Value::Hash(hash) => {
                self.byte(TYPE_HASH);
                self.string(key)?;
                let short = sabotaged!("last-field-not-saved") && hash.len() > 3;
                let len = hash.len() - usize::from(short);
                self.length(len as u64);
                for (field, value) in hash.iter().take(len) {
                    self.string(field)?;
                    self.string(value)?;
                }
            }
            Value::SortedSet(set) => {
                self.byte(TYPE_ZSET_2);
                self.string(key)?;
                self.length(set.len() as u64);
                for (member, score) in set.iter() {
                    self.string(member)?;
                    let score = if sabotaged!("score-rounded") { score.get().round() } else { score.get() };
                    self.put(&score.to_le_bytes())?;
                }
            }
        }
        Ok(())
    }

    fn db(&mut self, n: usize, db: &Db, report: &mut dyn FnMut(u64)) -> io::Result<()> {
        self.byte(OP_SELECTDB);
        self.length(n as u64);
        self.byte(OP_RESIZEDB);
        self.length(db.len() as u64);
        self.length(db.expiring() as u64);
        for (key, entry) in db.iter() {
            self.entry(key, entry)?;
            report(self.len);
        }
        Ok(())
    }
}

/// Writes `keyspace` to `out`. `progress` is told how many keys and bytes are written: every so many keys, and at the
/// end.
pub fn write(
    out: &mut dyn Write,
    keyspace: &Keyspace,
    options: WriteOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<()> {
    let digest = options.checksum.then(|| Digest::new(CrcAlgorithm::Crc64Redis));
    let compressor = options.compress.then(Compressor::new);
    let mut sink = Sink { out, buffer: Vec::with_capacity(2 * CHUNK), len: 0, digest, compressor };
    sink.put(MAGIC)?;
    sink.put(format!("{WRITE_VERSION:04}").as_bytes())?;
    sink.aux("redis-ver", "7.0.15")?;
    sink.aux("redis-bits", "64")?;
    sink.aux("ctime", &(options.now_ms / 1000).to_string())?;
    sink.aux("used-mem", "0")?;
    sink.aux("aof-base", if options.aof_base { "1" } else { "0" })?;
    if let Some(seq) = options.first_incr {
        sink.aux("aof-first-incr", &seq.to_string())?;
    }
    let mut keys = 0;
    for (n, db) in keyspace.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        sink.db(n, db, &mut |len| {
            keys += 1;
            if keys % KEYS_PER_REPORT == 0 {
                progress(keys, len);
            }
        })?;
    }
    sink.byte(OP_EOF);
    sink.flush()?;
    progress(keys, sink.len);
    let sum = sink.digest.take().map_or(0, |d| d.finalize());
    sink.put(&sum.to_le_bytes())?;
    sink.flush()
}
