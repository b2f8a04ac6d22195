//! Files: read whole; written so that a crash of the machine leaves the old file or the new one.

use super::error::CodecError;
use super::frame::{Kind, decode, encode, open};
use crate::trace::Trace;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Reads a trace.
///
/// # Errors
/// As [`read_file`].
pub fn read_trace(path: &Path) -> Result<Trace, CodecError> {
    read_file(Kind::Trace, path)
}

/// Writes a trace.
///
/// # Errors
/// As [`write_file`].
pub fn write_trace(path: &Path, trace: &Trace) -> Result<(), CodecError> {
    write_file(Kind::Trace, path, trace)
}

/// Reads a file of one kind.
///
/// # Errors
/// [`CodecError::File`], with the path and what is wrong.
pub fn read_file<T: DeserializeOwned>(kind: Kind, path: &Path) -> Result<T, CodecError> {
    let bytes = fs::read(path).map_err(|source| CodecError::Io { what: "read it", source }.of(path))?;
    decode(kind, &bytes).map_err(|e| e.of(path))
}

/// Reads a file of one kind, in whichever of the formats that are read; `decode` is given the format and the body.
///
/// # Errors
/// [`CodecError::File`], with the path and what is wrong.
pub fn read_file_with<T>(
    kind: Kind,
    path: &Path,
    decode: impl FnOnce(u16, &[u8]) -> postcard::Result<T>,
) -> Result<T, CodecError> {
    let bytes = fs::read(path).map_err(|source| CodecError::Io { what: "read it", source }.of(path))?;
    let (format, body) = open(kind, &bytes).map_err(|e| e.of(path))?;
    decode(format, body).map_err(|e| CodecError::Body(e).of(path))
}

/// Writes a file of one kind: a temporary file beside it, synced, renamed over it, and the directory synced.
///
/// # Errors
/// [`CodecError::File`], with the path and what went wrong; the temporary file is gone then.
pub fn write_file<T: Serialize>(kind: Kind, path: &Path, value: &T) -> Result<(), CodecError> {
    let bytes = encode(kind, value).map_err(|e| e.of(path))?;
    replace(path, &bytes).map_err(|e| e.of(path))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), CodecError> {
    let io = |what| move |source| CodecError::Io { what, source };
    let no_name = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path names no file");
    let name = path.file_name().ok_or_else(no_name).map_err(io("write it"))?;
    let dir = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(format!(".{}.tmp", std::process::id()));
    let at = dir.join(temporary_name);
    let temporary = Temporary(Some(at.clone()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&at)
        .map_err(io("create a file beside it"))?;
    file.write_all(bytes).map_err(io("write it"))?;
    file.sync_all().map_err(io("sync it"))?;
    drop(file);
    fs::rename(&at, path).map_err(io("rename the finished file to it"))?;
    temporary.keep();
    File::open(dir).and_then(|d| d.sync_all()).map_err(io("sync its directory"))
}

/// Removes the temporary file on every way out but the good one.
struct Temporary(Option<PathBuf>);

impl Temporary {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // The error that brought us here is the one to report, not a failure to clean up after it.
            let _ = fs::remove_file(path);
        }
    }
}
