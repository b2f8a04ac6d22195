//! Reading a snapshot.

use super::*;
use crate::keyspace::{DATABASES, Entry, Keyspace, Value};
use crc_fast::{CrcAlgorithm, Digest};
use std::collections::VecDeque;

/// Why a snapshot cannot be loaded: where, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct RdbError {
    /// Offset in the file.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The data.
    pub keyspace: Keyspace,
    /// Length of the snapshot; the file may go on behind it.
    pub len: u64,
    /// Keys.
    pub keys: u64,
    /// Keys left out because their time had come.
    pub expired: u64,
    /// A checksum was there, and right.
    pub verified: bool,
    /// Parts that were skipped, by name.
    pub skipped: Vec<String>,
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn fail<T>(&self, what: impl Into<String>) -> Result<T, RdbError> {
        Err(RdbError { offset: self.at as u64, what: what.into() })
    }

    fn take(&mut self, len: u64) -> Result<&'b [u8], RdbError> {
        let left = &self.bytes[self.at..];
        match usize::try_from(len).ok().and_then(|len| left.get(..len)) {
            Some(part) => {
                self.at += part.len();
                Ok(part)
            }
            None => self.fail(format!("{len} bytes are wanted and {} are left", left.len())),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, RdbError> {
        Ok(self.array::<1>()?[0])
    }

    /// A length, or (`Err`) the number of a special encoding.
    fn len_or_encoding(&mut self) -> Result<Result<u64, u8>, RdbError> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Ok(u64::from(first)),
            1 => Ok((u64::from(first & 0x3f) << 8) | u64::from(self.byte()?)),
            3 => Err(first & 0x3f),
            _ if first == 0x80 => Ok(u64::from(u32::from_be_bytes(self.array()?))),
            _ if first == 0x81 => Ok(u64::from_be_bytes(self.array()?)),
            _ => return self.fail(format!("{first:#x} begins no length")),
        })
    }

    fn len(&mut self) -> Result<u64, RdbError> {
        match self.len_or_encoding()? {
            Ok(len) => Ok(len),
            Err(code) => self.fail(format!("a length, not the string encoding {code}, belongs here")),
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, RdbError> {
        let number = match self.len_or_encoding()? {
            Ok(len) => return Ok(self.take(len)?.to_vec()),
            Err(0) => i64::from(i8::from_le_bytes(self.array()?)),
            Err(1) => i64::from(i16::from_le_bytes(self.array()?)),
            Err(2) => i64::from(i32::from_le_bytes(self.array()?)),
            Err(3) => {
                let packed = self.len()?;
                let len = self.len()?;
                let input = self.take(packed)?;
                let out = usize::try_from(len).ok().and_then(|len| lzf::decompress(input, len));
                return out.map_or_else(|| self.fail("a compressed string is broken"), Ok);
            }
            Err(code) => return self.fail(format!("unknown string encoding {code}")),
        };
        Ok(number.to_string().into_bytes())
    }

    fn value(&mut self, kind: u8) -> Result<Value, RdbError> {
        if kind == TYPE_STRING {
            return Ok(Value::from(self.string()?));
        }
        let mut list = VecDeque::new();
        let mut push = |item| list.push_back(item);
        match kind {
            TYPE_LIST => {
                for _ in 0..self.len()? {
                    push(self.string()?);
                }
            }
            TYPE_LIST_ZIPLIST | TYPE_LIST_QUICKLIST => {
                let nodes = if kind == TYPE_LIST_ZIPLIST { 1 } else { self.len()? };
                for _ in 0..nodes {
                    let node = self.string()?;
                    if lists::ziplist(&node, &mut push).is_none() {
                        return self.fail("a ziplist is broken");
                    }
                }
            }
            TYPE_LIST_QUICKLIST_2 => {
                for _ in 0..self.len()? {
                    // 1 is a node that holds one element as it stands, 2 a listpack.
                    match self.len()? {
                        1 => push(self.string()?),
                        2 => {
                            let node = self.string()?;
                            if lists::listpack(&node, &mut push).is_none() {
                                return self.fail("a listpack is broken");
                            }
                        }
                        other => return self.fail(format!("unknown quicklist container {other}")),
                    }
                }
            }
            other => {
                return self
                    .fail(format!("values of type {other} are not supported (only strings and lists are)"));
            }
        }
        if list.is_empty() {
            return self.fail("a list is empty");
        }
        Ok(Value::from(list))
    }
}

/// Reads the snapshot at the beginning of `bytes`. Keys whose expiry lies before `drop_before_ms` are left out.
pub fn read(bytes: &[u8], drop_before_ms: Option<u64>) -> Result<Loaded, RdbError> {
    let mut r = Reader { bytes, at: 0 };
    if r.array::<5>()? != *MAGIC {
        return Err(RdbError { offset: 0, what: "it does not begin with REDIS".into() });
    }
    let version = std::str::from_utf8(&r.array::<4>()?).ok().and_then(|v| v.parse::<u32>().ok());
    let Some(version) = version.filter(|v| (1..=READ_VERSION_MAX).contains(v)) else {
        return r.fail("its version is unknown");
    };
    let mut loaded = Loaded {
        keyspace: Keyspace::default(),
        len: 0,
        keys: 0,
        expired: 0,
        verified: false,
        skipped: Vec::new(),
    };
    let mut db = 0;
    let mut expires_at_ms = None;
    loop {
        match r.byte()? {
            OP_EOF => break,
            OP_AUX => {
                r.string()?;
                r.string()?;
            }
            OP_RESIZEDB => {
                r.len()?;
                r.len()?;
            }
            OP_SELECTDB => match usize::try_from(r.len()?) {
                Ok(n) if n < DATABASES => db = n,
                _ => return r.fail(format!("there are only {DATABASES} databases")),
            },
            OP_EXPIRETIME_MS => expires_at_ms = Some(u64::from_le_bytes(r.array()?)),
            OP_EXPIRETIME => expires_at_ms = Some(u64::from(u32::from_le_bytes(r.array()?)) * 1000),
            OP_FREQ => drop(r.byte()?),
            OP_IDLE => drop(r.len()?),
            OP_FUNCTION2 => {
                r.string()?;
                loaded.skipped.push("a function library".into());
            }
            OP_MODULE_AUX => return r.fail("data of a module are not supported"),
            kind => {
                let key = r.string()?;
                let value = r.value(kind)?;
                let expires_at_ms = expires_at_ms.take();
                loaded.keys += 1;
                if expires_at_ms.is_some_and(|at| drop_before_ms.is_some_and(|now| at < now)) {
                    loaded.expired += 1;
                } else if loaded.keyspace.dbs[db].insert(&key, Entry::new(value, expires_at_ms)).is_some() {
                    return r.fail("a key stands there twice");
                }
            }
        }
    }
    if version >= 5 {
        let body = r.at;
        let sum = u64::from_le_bytes(r.array()?);
        let mut digest = Digest::new(CrcAlgorithm::Crc64Redis);
        digest.update(&bytes[..body]);
        if sum != 0 && sum != digest.finalize() {
            return Err(RdbError { offset: body as u64, what: "its checksum does not fit its bytes".into() });
        }
        loaded.verified = sum != 0;
    }
    loaded.len = r.at as u64;
    Ok(loaded)
}
