//! Reading a snapshot.

use super::input::{Input, module_name};
use super::values::{self, Found};
use super::*;
use crate::keyspace::{DATABASES, Entry, Keyspace};
use crc_fast::{CrcAlgorithm, Digest};

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
    /// The version of the format.
    pub version: u32,
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

/// How a snapshot ended.
pub(super) struct End {
    pub(super) version: u32,
    pub(super) len: u64,
    pub(super) verified: bool,
}

/// Takes what stands in a snapshot, in its order. An error ends the reading.
pub(super) trait Visit {
    /// An auxiliary field.
    fn aux(&mut self, _at: usize, _name: &[u8], _value: &[u8]) {}
    /// Database `db` begins.
    fn select(&mut self, _at: usize, _db: usize) {}
    /// How many keys the database is said to have; not to be believed.
    fn sizes(&mut self, _db: usize, _keys: u64) {}
    /// A function library.
    fn function(&mut self) -> Result<(), String> {
        Ok(())
    }
    /// A key whose value has no elements.
    fn empty(&mut self) {}
    /// What a module has written beside the keys.
    fn module_aux(&mut self, name: &str) -> Result<(), String>;
    /// A key begins.
    fn begin(&mut self, _at: usize, _kind: u8, _key: &[u8]) {}
    /// A key and its entry.
    fn key(&mut self, db: usize, key: &[u8], entry: Entry) -> Result<(), String>;
}

fn version(input: &mut Input<'_>) -> Result<u32, RdbError> {
    if input.array::<5>()? != *MAGIC {
        return Err(RdbError { offset: 0, what: "it does not begin with REDIS".into() });
    }
    let digits = input.array::<4>()?;
    let known = std::str::from_utf8(&digits).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
    match known.and_then(|v| v.parse::<u32>().ok()) {
        Some(version @ 1..=READ_VERSION_MAX) => Ok(version),
        Some(version) => {
            let what =
                format!("its version is {version}, and the newest that is known is {READ_VERSION_MAX}");
            Err(RdbError { offset: 5, what })
        }
        None => Err(RdbError { offset: 5, what: "its version is no number".into() }),
    }
}

/// Says in which key an error was found.
fn within(error: RdbError, kind: u8, key: &[u8], db: usize) -> RdbError {
    let name = values::type_name(kind).unwrap_or("value of an unknown type");
    let shown = key[..key.len().min(64)].escape_ascii();
    let what = format!("{} (the key '{shown}' of database {db}, a {name})", error.what);
    RdbError { what, ..error }
}

/// Reads the snapshot at the beginning of `bytes`, part by part. What a visitor is given has been checked.
pub(super) fn walk(bytes: &[u8], databases: usize, visit: &mut dyn Visit) -> Result<End, RdbError> {
    let mut input = Input::new(bytes);
    let version = version(&mut input)?;
    let mut db = 0;
    let mut expires_at_ms = None;
    loop {
        let begin = input.at();
        let refused = |what: String| RdbError { offset: begin as u64, what };
        match input.byte()? {
            OP_EOF => break,
            OP_AUX => {
                let (name, value) = (input.string()?, input.string()?);
                visit.aux(begin, &name, &value);
            }
            OP_RESIZEDB => {
                let keys = input.len()?;
                input.len()?;
                visit.sizes(db, keys);
            }
            OP_SLOT_INFO => {
                for _ in 0..3 {
                    input.len()?;
                }
            }
            OP_SELECTDB => {
                let number = i64::try_from(input.len()?).unwrap_or(i64::MAX);
                let there = usize::try_from(number).ok().filter(|number| *number < databases);
                db = there.ok_or_else(|| refused(no_database(number, databases)))?;
                visit.select(begin, db);
            }
            OP_EXPIRETIME_MS => expires_at_ms = expiry(i64::from_le_bytes(input.array()?)),
            OP_EXPIRETIME => {
                let seconds = i32::from_le_bytes(input.array()?);
                expires_at_ms = expiry(i64::from(seconds).saturating_mul(1000));
            }
            OP_FREQ => drop(input.byte()?),
            OP_IDLE => drop(input.len()?),
            OP_FUNCTION2 => {
                input.string()?;
                visit.function().map_err(refused)?;
            }
            OP_FUNCTION => {
                return Err(refused("functions as a release candidate had them are not supported".into()));
            }
            OP_MODULE_AUX => {
                let (name, _) = module_name(input.len()?);
                visit.module_aux(&name).map_err(refused)?;
                // When it was written: a number, tagged as such.
                if input.len()? != 2 {
                    return input.fail("a module's data do not begin with their time");
                }
                input.len()?;
                input.skip_module_parts()?;
            }
            kind => {
                if values::type_name(kind).is_none() {
                    return Err(refused(format!("nothing that is known begins with the byte {kind}")));
                }
                let key = input.string()?;
                visit.begin(begin, kind, &key);
                let value = values::value(&mut input, kind).map_err(|e| within(e, kind, &key, db))?;
                let expires_at_ms = expires_at_ms.take();
                match value {
                    Found::Value(value) => visit
                        .key(db, &key, Entry::new(value, expires_at_ms))
                        .map_err(|what| within(refused(what), kind, &key, db))?,
                    Found::Nothing => visit.empty(),
                }
            }
        }
    }
    let mut verified = false;
    if version >= 5 {
        let body = input.at();
        let sum = u64::from_le_bytes(input.array()?);
        verified = sum != 0;
        if verified {
            let mut digest = Digest::new(CrcAlgorithm::Crc64Redis);
            digest.update(&bytes[..body]);
            if sum != digest.finalize() {
                return Err(RdbError {
                    offset: body as u64,
                    what: "its checksum does not fit its bytes".into(),
                });
            }
        }
    }
    Ok(End { version, len: input.at() as u64, verified })
}

/// That a server with so many databases cannot have what is in that one.
pub(crate) fn no_database(number: i64, databases: usize) -> String {
    format!(
        "it has a database {number}, and there are only {databases} databases: the option `databases` must be {} at least",
        number.saturating_add(1)
    )
}

/// As Redis has it: -1 is no expiry. What lies before 1970 has passed.
fn expiry(at_ms: i64) -> Option<u64> {
    (at_ms != -1).then(|| u64::try_from(at_ms).unwrap_or(0))
}

/// Puts a snapshot into a keyspace.
struct Load {
    keyspace: Keyspace,
    drop_before_ms: Option<u64>,
    keys: u64,
    expired: u64,
    empty: u64,
    /// Keys that room may still be made for: no more than the bytes can hold, whatever they claim.
    room: usize,
}

/// A key, its length and its value take this many bytes, or hardly fewer.
const SMALLEST_KEY: usize = 8;

impl Visit for Load {
    fn sizes(&mut self, db: usize, keys: u64) {
        let keys = usize::try_from(keys).unwrap_or(usize::MAX).min(self.room);
        self.room -= keys;
        self.keyspace.dbs[db].reserve(keys);
    }

    fn function(&mut self) -> Result<(), String> {
        Err("a function library stands there; functions are not supported (FUNCTION FLUSH removes them)"
            .into())
    }

    fn empty(&mut self) {
        self.empty += 1;
    }

    fn module_aux(&mut self, name: &str) -> Result<(), String> {
        Err(format!("it holds data of the module '{name}'; modules are not supported"))
    }

    fn key(&mut self, db: usize, key: &[u8], entry: Entry) -> Result<(), String> {
        self.keys += 1;
        if self.drop_before_ms.is_some_and(|now| entry.is_due(now)) {
            self.expired += 1;
            return Ok(());
        }
        match self.keyspace.dbs[db].insert(key, entry) {
            None => Ok(()),
            Some(_) => Err("it stands there twice".into()),
        }
    }
}

/// Reads the snapshot at the beginning of `bytes`. Keys whose expiry lies before `drop_before_ms` are left out.
pub fn read(bytes: &[u8], drop_before_ms: Option<u64>) -> Result<Loaded, RdbError> {
    read_for(bytes, drop_before_ms, DATABASES)
}

/// The same, for a server with so many databases: one that has others is refused.
pub fn read_for(bytes: &[u8], drop_before_ms: Option<u64>, databases: usize) -> Result<Loaded, RdbError> {
    let mut load = Load {
        keyspace: Keyspace::new(databases),
        drop_before_ms,
        keys: 0,
        expired: 0,
        empty: 0,
        room: bytes.len() / SMALLEST_KEY,
    };
    let end = walk(bytes, databases, &mut load)?;
    let mut skipped = Vec::new();
    if load.empty > 0 {
        skipped.push(format!("keys without elements ({})", load.empty));
    }
    Ok(Loaded {
        keyspace: load.keyspace,
        version: end.version,
        len: end.len,
        keys: load.keys,
        expired: load.expired,
        verified: end.verified,
        skipped,
    })
}
