//! The file form of traces and repros: a framed, versioned, checksummed postcard body.
//!
//! ```text
//! offset  bytes  what
//!      0      8  magic: 89 55 4E 50 4C 55 47 0A   (\x89 U N P L U G \n)
//!      8      1  kind: 't' trace, 'r' repro
//!      9      2  format version, little endian
//!     11     21  version of the crate that wrote it, ASCII, padded with NUL: information only
//!     32      8  length of the body, little endian
//!     40      8  CRC-64/XZ of the 40 bytes before, little endian
//!     48      n  body: postcard
//!   48+n      8  CRC-64/XZ of everything before, little endian
//! ```
//! The magic, the kind and the version keep their places in every future version, so that an old reader can
//! always say *newer*. The header has a checksum of its own: without one a flipped bit in the length would be
//! told as a truncation, and a person would look for the wrong fault.
//!
//! Formats: a repro's body is the repro, and since format 2 the recoveries between its power losses behind it. Format 1
//! is still read.

mod error;
mod file;
mod frame;

pub use error::CodecError;
pub use file::{read_file, read_file_with, read_trace, write_file, write_trace};
pub use frame::{Kind, decode, encode, identify};
