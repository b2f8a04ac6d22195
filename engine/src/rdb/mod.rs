//! The snapshot's bytes, in Redis's RDB format. Nothing here does I/O but through the sink that it is given.
//!
//! Written: version 9, the auxiliary fields `redis-ver`, `redis-bits`, `ctime`, `used-mem` and `aof-base`,
//! then per database SELECTDB, RESIZEDB and its keys (EXPIRETIME_MS, plain strings, plain lists), EOF and a
//! CRC-64/Jones. `used-mem` is always 0: what it would hold is not a matter of the data, and files are to be
//! equal for equal operations.
//!
//! Read: that, and what Redis up to 7.0 writes for strings and lists: integer and LZF strings, ziplists,
//! quicklists of ziplists and of listpacks. Everything else is refused by name. No length that the bytes
//! claim is believed before the bytes behind it are there.

mod lists;
mod lzf;
mod read;
mod write;

pub use read::{Loaded, RdbError, read};
pub use write::write;

/// First bytes of every snapshot.
pub const MAGIC: &[u8; 5] = b"REDIS";
/// The version that is written: every Redis since 5.0 loads it.
pub const WRITE_VERSION: u32 = 9;
/// The newest version that is read (Redis 7.0 writes 10, 7.2 writes 11).
pub const READ_VERSION_MAX: u32 = 11;

const OP_FUNCTION2: u8 = 245;
const OP_MODULE_AUX: u8 = 247;
const OP_IDLE: u8 = 248;
const OP_FREQ: u8 = 249;
const OP_AUX: u8 = 250;
const OP_RESIZEDB: u8 = 251;
const OP_EXPIRETIME_MS: u8 = 252;
const OP_EXPIRETIME: u8 = 253;
const OP_SELECTDB: u8 = 254;
const OP_EOF: u8 = 255;

const TYPE_STRING: u8 = 0;
const TYPE_LIST: u8 = 1;
const TYPE_SET: u8 = 2;
const TYPE_HASH: u8 = 4;
const TYPE_ZSET_2: u8 = 5;
const TYPE_LIST_ZIPLIST: u8 = 10;
const TYPE_LIST_QUICKLIST: u8 = 14;
const TYPE_LIST_QUICKLIST_2: u8 = 18;
