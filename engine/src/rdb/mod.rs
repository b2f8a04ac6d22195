//! The snapshot's bytes, in Redis's RDB format. Nothing here does I/O but through the sink that it is given.
//!
//! Written: version 9, the auxiliary fields `redis-ver`, `redis-bits`, `ctime`, `used-mem` and `aof-base`
//! (and in a base `aof-first-incr`),
//! then per database SELECTDB, RESIZEDB and its keys (EXPIRETIME_MS, and each type in its plain form), EOF and a
//! CRC-64/Jones. Strings that are integers are written as such, and long ones compressed, as Redis does both.
//! `used-mem` is always 0: what it would hold is not a matter of the data, and files are to be equal for equal
//! operations.
//!
//! Read: versions 1 to 11, which is what Redis up to 7.2 writes for strings, lists, sets, hashes and sorted sets, in
//! every encoding: ziplists, listpacks, quicklists of either, intsets, zipmaps, scores as text and as doubles.
//! Keys without elements are left out and reported; streams, functions and what belongs to modules is refused by name:
//! the next rewrite would be without it. No length that the bytes claim is believed before the bytes behind it are there, and every
//! packed array is checked in both directions, so that damage is seen even where there is no checksum. One that is
//! there is verified, whatever `rdbchecksum` says.

mod check;
mod input;
mod lzf;
mod packed;
mod read;
mod values;
mod write;

pub use check::{Checked, check, salvage};
pub(crate) use read::no_database;
pub use read::{Loaded, RdbError, read, read_for};
pub use write::{WriteOptions, write};

/// First bytes of every snapshot.
pub const MAGIC: &[u8; 5] = b"REDIS";
/// The version that is written: every Redis since 5.0 loads it.
pub const WRITE_VERSION: u32 = 9;
/// The newest version that is read (Redis 7.0 writes 10, 7.2 writes 11).
pub const READ_VERSION_MAX: u32 = 11;

const OP_SLOT_INFO: u8 = 244;
const OP_FUNCTION2: u8 = 245;
const OP_FUNCTION: u8 = 246;
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
const TYPE_ZSET: u8 = 3;
const TYPE_HASH: u8 = 4;
const TYPE_ZSET_2: u8 = 5;
const TYPE_MODULE: u8 = 6;
const TYPE_MODULE_2: u8 = 7;
const TYPE_HASH_ZIPMAP: u8 = 9;
const TYPE_LIST_ZIPLIST: u8 = 10;
const TYPE_SET_INTSET: u8 = 11;
const TYPE_ZSET_ZIPLIST: u8 = 12;
const TYPE_HASH_ZIPLIST: u8 = 13;
const TYPE_LIST_QUICKLIST: u8 = 14;
const TYPE_STREAM: u8 = 15;
const TYPE_HASH_LISTPACK: u8 = 16;
const TYPE_ZSET_LISTPACK: u8 = 17;
const TYPE_LIST_QUICKLIST_2: u8 = 18;
const TYPE_STREAM_2: u8 = 19;
const TYPE_SET_LISTPACK: u8 = 20;
const TYPE_STREAM_3: u8 = 21;
