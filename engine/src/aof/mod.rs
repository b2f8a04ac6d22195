//! The append-only file's bytes: commands, checksum annotations, and the manifest. Nothing here does I/O.
//!
//! # Files
//! As Redis 7: the directory `appenddirname` holds `<name>.<seq>.base.rdb` (or `.base.aof`), any number of
//! `<name>.<seq>.incr.aof` and `<name>.manifest`. Commands are RESP arrays of bulk strings.
//!
//! # The checksum chain (`aof-checksum yes`)
//! Redis 7 skips lines that begin with `#` between commands, so the chain lives in such lines.
//!
//! A chained file begins with `#UNPLUG:1 <seq> <prev-len> <prev-crc>\r\n`: its sequence number (decimal), and
//! length and last checksum (hexadecimal) of the incr file before it (a predecessor without a chain has the
//! checksum 0). That line is the file's first *batch*. A batch is what one turn of the server logged, and ends
//! with
//!
//! ```text
//! #CRC64:<crc> <mark> <check>\r\n
//! ```
//!
//! - `crc`, 16 hexadecimal digits: CRC-64/XZ over sequence number, offset of the batch's first byte, `crc` of
//!   the batch before (`prev-crc` for the first one), `mark` (each 8 bytes, little-endian) and the batch's
//!   bytes without the annotation. An old batch, a batch of another file, or one at another offset fails.
//! - `mark`, hexadecimal: the length of the file that was *known to be synced* when the batch was written.
//! - `check`, 8 hexadecimal digits: half a CRC-64 over the file's key (`crc` of its first batch), the
//!   annotation's own offset, `mark` and `crc`. It lets an annotation be trusted behind a hole.
//!
//! # What load may cut
//! Load takes batches until one fails, at offset B. Bytes that were never synced may come back short, as
//! zeros, torn by sector, or with a later page present and an earlier one missing; so a failing batch is a
//! legal crash state, *unless* an annotation anywhere behind it carries a mark above B: then bytes that a sync
//! had covered are gone, no crash does that, and cutting would lose what was promised. Marks never count bytes
//! whose sync had not returned, so a legal crash state is never refused. A file that is not the last one was
//! synced whole before the next one was listed, so nothing may be cut there.
//!
//! A base that holds commands (`aof-use-rdb-preamble no`) is chained too, and its last batch is the line
//! `#UNPLUG-END\r\n`, so that a base cut between batches is seen.
//!
//! A base says which incr file goes on from it, so that a lost manifest can be written anew: in the field
//! `aof-first-incr` of a snapshot, or in the place of the header's length.
//!
//! # A single file (`aof-layout single`)
//! As Redis 6: one file `<name>` that begins with a snapshot (the *preamble*) or not, and goes on with commands. The
//! chain begins behind the preamble; its header holds the preamble's length and its CRC-64, and the number of the
//! file's generation: one more with each rewrite. What the file held when it got its name, the base and the writes
//! made while that was written, ends with the batch `#UNPLUG-END\r\n`: up to there it was synced before it had a
//! name, so nothing may be missing there. A preamble whose field `aof-base` is 1 has a chain behind it.
//!
//! `<name>.seal`, written by a stop in order, says how long the synced file was: the line
//! `#unplug:1 closed <len> <generation> <crc of the first batch>` (the last one hexadecimal) and a checksum as in the
//! manifest. It speaks of no other file than the one with that first batch. From the next start on, before its first
//! write, it says `seal` instead of `closed`: at least so long, no longer just so long.
//!
//! # The manifest
//! Redis's lines, then (when written by this engine) `#unplug:1 chained <file>` for each chained file,
//! `#unplug:1 base <len> <crc> <file>` for a base that is a snapshot (the checksum that it ends with), after a stop in
//! order `#unplug:1 closed <len> <file>` for the last one (from the next start on `sealed`, as with a single file), and
//! last `#unplug:1 crc64 <16 hex digits>` over everything before that line. A manifest without `#unplug`
//! lines is *foreign*: Redis wrote it.

mod chain;
mod encode;
mod manifest;
mod resp;
mod scan;
mod seal;

pub use chain::{Annotation, Chain, END_LINE, Header, OUR_LINES};
pub use encode::{annotation_len_max, encode_command, encode_time};
pub use manifest::{FileEntry, FileKind, Manifest, ManifestError};
pub use resp::{Item, Parsed, RespError, next_item};
pub use scan::{
    Apply, ChainScan, PlainScan, ScanFault, Times, scan_chained, scan_plain, time_of, vouched_behind,
};
pub use seal::Seal;
