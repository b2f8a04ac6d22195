//! Bytes to values and back; no files here.

use super::error::CodecError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

const MAGIC: [u8; 8] = *b"\x89UNPLUG\n";
const KIND_AT: usize = 8;
const VERSION_AT: usize = 9;
const WRITER_AT: usize = 11;
const LENGTH_AT: usize = 32;
const HEADER_SUM_AT: usize = 40;
const HEADER: usize = 48;
const TRAILER: usize = 8;

/// Which kind of file it is. Each kind has its own format version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A recorded run.
    Trace,
    /// One violation whole.
    Repro,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Trace, Kind::Repro];

    fn byte(self) -> u8 {
        match self {
            Kind::Trace => b't',
            Kind::Repro => b'r',
        }
    }

    /// The format that is written. Any change of a type that the body holds is a new one.
    pub fn version(self) -> u16 {
        match self {
            Kind::Trace => 1,
            Kind::Repro => 2,
        }
    }

    /// The oldest format that is read.
    fn oldest(self) -> u16 {
        1
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Trace => "trace",
            Kind::Repro => "repro",
        })
    }
}

/// Encodes a value as a whole file.
///
/// # Errors
/// [`CodecError::Encode`] if the value has no postcard form.
pub fn encode<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, CodecError> {
    let body = postcard::to_stdvec(value).map_err(CodecError::Encode)?;
    let mut out = Vec::with_capacity(HEADER + body.len() + TRAILER);
    out.extend_from_slice(&MAGIC);
    out.push(kind.byte());
    out.extend_from_slice(&kind.version().to_le_bytes());
    let writer = env!("CARGO_PKG_VERSION").as_bytes();
    out.extend(writer.iter().copied().chain(std::iter::repeat(0)).take(LENGTH_AT - WRITER_AT));
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    out.extend_from_slice(&checksum(&out).to_le_bytes());
    out.extend_from_slice(&body);
    out.extend_from_slice(&checksum(&out).to_le_bytes());
    Ok(out)
}

/// Decodes a whole file of the format that is written.
///
/// # Errors
/// One [`CodecError`] that names what is wrong: foreign, another kind, older or newer, truncated, damaged.
pub fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, CodecError> {
    match open(kind, bytes)? {
        (found, _) if found < kind.version() => {
            Err(CodecError::Older { found, known: kind.version(), by: writer(bytes) })
        }
        (_, body) => postcard::from_bytes(body).map_err(CodecError::Body),
    }
}

/// The format and the body of a whole file, of any format that is read.
pub(super) fn open(kind: Kind, bytes: &[u8]) -> Result<(u16, &[u8]), CodecError> {
    let found = identify(bytes)?;
    if found != kind {
        return Err(CodecError::WrongKind { found, wanted: kind });
    }
    let version = check_version(kind, bytes)?;
    let cut = |want: u64, at_least| CodecError::Truncated { have: bytes.len() as u64, want, at_least };
    if bytes.len() < HEADER {
        return Err(cut((HEADER + TRAILER) as u64, "at least "));
    }
    verify("header", &bytes[..HEADER_SUM_AT], u64_at(bytes, HEADER_SUM_AT))?;
    let body = u64_at(bytes, LENGTH_AT);
    let want = body.saturating_add((HEADER + TRAILER) as u64);
    let have = bytes.len() as u64;
    if have < want {
        return Err(cut(want, ""));
    }
    if have > want {
        return Err(CodecError::TooLong { extra: have - want, want });
    }
    let end = bytes.len() - TRAILER;
    verify("file", &bytes[..end], u64_at(bytes, end))?;
    Ok((version, &bytes[HEADER..end]))
}

/// Which kind of file these are the first bytes of; nothing else is verified.
///
/// # Errors
/// [`CodecError::Foreign`], or [`CodecError::Truncated`] where too little is there to tell.
pub fn identify(bytes: &[u8]) -> Result<Kind, CodecError> {
    let seen = bytes.len().min(MAGIC.len());
    if bytes[..seen] != MAGIC[..seen] {
        return Err(CodecError::Foreign { found: bytes[..seen].escape_ascii().to_string() });
    }
    let Some(byte) = bytes.get(KIND_AT) else {
        let want = (HEADER + TRAILER) as u64;
        return Err(CodecError::Truncated { have: bytes.len() as u64, want, at_least: "at least " });
    };
    Kind::ALL
        .into_iter()
        .find(|k| k.byte() == *byte)
        .ok_or_else(|| CodecError::Foreign { found: bytes[..=KIND_AT].escape_ascii().to_string() })
}

fn check_version(kind: Kind, bytes: &[u8]) -> Result<u16, CodecError> {
    let Some(pair) = bytes.get(VERSION_AT..VERSION_AT + 2) else {
        let want = (HEADER + TRAILER) as u64;
        return Err(CodecError::Truncated { have: bytes.len() as u64, want, at_least: "at least " });
    };
    let found = u16::from_le_bytes([pair[0], pair[1]]);
    let known = kind.version();
    if (kind.oldest()..=known).contains(&found) {
        return Ok(found);
    }
    let by = writer(bytes);
    match found > known {
        true => Err(CodecError::Newer { found, known, by }),
        false => Err(CodecError::Older { found, known, by }),
    }
}

/// Who wrote a file whose format is not read, for a person.
fn writer(bytes: &[u8]) -> String {
    // A flipped bit in the version is damage, not a newer format. A truly newer format may have another
    // header, so a checksum that is wrong proves nothing there; one that is right proves that all else is.
    match bytes.get(WRITER_AT..LENGTH_AT) {
        Some(name) if header_is_sound(bytes) => {
            let name: Vec<u8> = name.iter().copied().take_while(|b| *b != 0).collect();
            format!(" (written by Unplug {})", name.escape_ascii())
        }
        _ => String::new(),
    }
}

fn header_is_sound(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && checksum(&bytes[..HEADER_SUM_AT]) == u64_at(bytes, HEADER_SUM_AT)
}

fn verify(part: &'static str, covered: &[u8], stored: u64) -> Result<(), CodecError> {
    let computed = checksum(covered);
    if computed == stored { Ok(()) } else { Err(CodecError::Checksum { part, computed, stored }) }
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut digest = crc64fast::Digest::new();
    digest.write(bytes);
    digest.sum64()
}

/// The caller has checked that eight bytes stand there.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
