//! `unplug-engine check-rdb FILE`: what redis-check-rdb is to Redis.

use crate::{clock, rdb};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Nothing is wrong with the file.
const GOOD: u8 = 0;
/// Something is, or it cannot be read.
const BAD: u8 = 1;
/// Wrong arguments.
const USAGE: u8 = 2;

const HELP: &str = "\
Usage: unplug-engine check-rdb FILE

Reads a snapshot, of the engine or of Redis, and says what stands where. If something is wrong: at which offset, what,
and in which key, and the exit code is 1. There is no --fix: a snapshot is whole or it is not; restore it from a copy.
";

/// Checks the file that `args` (after `check-rdb`) name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let file = match args.as_slice() {
        [one] if one == "--help" || one == "-h" => {
            print!("{HELP}");
            return ExitCode::from(GOOD);
        }
        [one] if !one.to_string_lossy().starts_with("--") => PathBuf::from(one),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(USAGE);
        }
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    // Whoever reads this may have gone; the exit code says it all the same.
    let code = check(&file, &mut out).unwrap_or(BAD);
    let _ = out.flush();
    ExitCode::from(code)
}

/// Writes what stands in `file` to `out`; gives the exit code.
fn check(file: &Path, out: &mut dyn Write) -> io::Result<u8> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("unplug-engine: cannot open {}: {error}", file.display());
            return Ok(BAD);
        }
    };
    writeln!(out, "[offset 0] Checking RDB file {}", file.display())?;
    let mut written = Ok(());
    let found = rdb::check(&bytes, clock::now_ms(), &mut |offset, text| {
        if written.is_ok() {
            written = writeln!(out, "[offset {offset}] {text}");
        }
    });
    written?;
    if let Some(error) = &found.error {
        writeln!(out, "--- RDB ERROR DETECTED ---")?;
        writeln!(out, "[offset {}] {error}", error.offset)?;
        if let Some((key, kind, name)) = &found.reading {
            writeln!(out, "[additional info] Reading key '{}'", key.escape_ascii())?;
            writeln!(out, "[additional info] Reading type {kind} ({name})")?;
        }
    } else {
        let checksum = if found.verified { "Checksum OK" } else { "There is no checksum: none was compared" };
        writeln!(out, "[offset {}] {checksum}", found.len)?;
        writeln!(out, "[offset {}] \\o/ RDB looks OK! \\o/", found.len)?;
        if found.len < bytes.len() as u64 {
            writeln!(out, "[info] {} bytes follow the end", bytes.len() as u64 - found.len)?;
        }
        writeln!(out, "[info] version {}", found.version)?;
    }
    writeln!(out, "[info] {} keys read", found.keys)?;
    writeln!(out, "[info] {} expires", found.expires)?;
    writeln!(out, "[info] {} already expired", found.expired)?;
    Ok(if found.error.is_some() { BAD } else { GOOD })
}
