//! `unplug-engine check-rdb [--fix] FILE`: what redis-check-rdb is to Redis.

use crate::keyspace::DATABASES;
use crate::lock::DirLock;
use crate::persist::check::{databases, replace_kept};
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
Usage: unplug-engine check-rdb [--fix] [--databases N] FILE

Reads a snapshot, of the engine or of Redis, and says what stands where. If something is wrong: at which offset, what,
and in which key, and the exit code is 1.

  --fix  put a snapshot of the keys in front of the error in the file's place; the file as it was is kept in
         FILE.broken, or FILE.broken-2 and so on
  --databases N
         the server has `databases N`, and not 16

Exit code: 0 valid, or repaired; 1 not valid, or not repaired; 2 wrong arguments.
";

/// Checks the file that `args` (after `check-rdb`) name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let mut out = io::BufWriter::new(io::stdout().lock());
    if let [one] = args.as_slice()
        && (one == "--help" || one == "-h")
    {
        let _ = out.write_all(HELP.as_bytes()).and_then(|()| out.flush());
        return ExitCode::from(GOOD);
    }
    let Some((file, repair, databases)) = parse(args) else {
        let _ = io::stderr().write_all(HELP.as_bytes());
        return ExitCode::from(USAGE);
    };
    // Whoever reads this may have gone; the exit code says it all the same.
    let code = if repair { fix(&file, databases, &mut out) } else { check(&file, databases, &mut out) };
    let _ = out.flush();
    ExitCode::from(code)
}

/// The file, whether it is to be repaired, and how many databases there are.
fn parse(args: Vec<OsString>) -> Option<(PathBuf, bool, usize)> {
    let (mut files, mut repair, mut number) = (Vec::new(), false, DATABASES);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--fix") => repair = true,
            Some("--databases") => number = databases(args.next()).ok()?,
            Some(other) if other.starts_with("--") => return None,
            _ => files.push(PathBuf::from(arg)),
        }
    }
    let [file] = <[PathBuf; 1]>::try_from(files).ok()?;
    Some((file, repair, number))
}

fn wrong(what: impl std::fmt::Display) -> u8 {
    let _ = writeln!(io::stderr(), "unplug-engine: {what}");
    BAD
}

/// Writes what stands in `file` to `out`; gives the exit code.
fn check(file: &Path, databases: usize, out: &mut dyn Write) -> u8 {
    match fs::read(file) {
        Ok(bytes) => {
            let found = look(&bytes, databases);
            let _ = tell(file, &bytes, &found, out);
            if found.0.error.is_some() { BAD } else { GOOD }
        }
        Err(error) => wrong(format!("cannot open {}: {error}", file.display())),
    }
}

/// The same; a snapshot that is not whole makes room for one of what can be read of it.
fn fix(file: &Path, databases: usize, out: &mut dyn Write) -> u8 {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A server could replace it meanwhile.
    let _lock = match DirLock::take(dir) {
        Ok(lock) => lock,
        Err(e) => return wrong(e),
    };
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => return wrong(format!("cannot open {}: {error}", file.display())),
    };
    let found = look(&bytes, databases);
    let _ = tell(file, &bytes, &found, out);
    if found.0.error.is_none() {
        return GOOD;
    }
    let (keyspace, keys) = rdb::salvage(&bytes, databases);
    if keys == 0 {
        return wrong(format!("{}: no key can be read: nothing was changed", file.display()));
    }
    let options = rdb::WriteOptions {
        now_ms: clock::now_ms(),
        aof_base: false,
        first_incr: None,
        checksum: true,
        compress: true,
    };
    let mut new = Vec::new();
    let written = rdb::write(&mut new, &keyspace, options, &mut |_, _| ()).map_err(|e| e.to_string());
    match written.and_then(|()| replace_kept(file, "broken", &new).map_err(|e| e.to_string())) {
        Ok(kept) => {
            let _ = writeln!(
                out,
                "[info] The {keys} keys in front of the error are in {} now; the file as it was is {}",
                file.display(),
                kept.display()
            );
            GOOD
        }
        Err(e) => wrong(e),
    }
}

/// What was found, and what was said of it on the way.
fn look(bytes: &[u8], databases: usize) -> (rdb::Checked, Vec<(u64, String)>) {
    let mut said = Vec::new();
    let found = rdb::check(bytes, clock::now_ms(), databases, &mut |offset, text| said.push((offset, text)));
    (found, said)
}

fn tell(
    file: &Path,
    bytes: &[u8],
    (found, said): &(rdb::Checked, Vec<(u64, String)>),
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "[offset 0] Checking RDB file {}", file.display())?;
    for (offset, text) in said {
        writeln!(out, "[offset {offset}] {text}")?;
    }
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
    writeln!(out, "[info] {} already expired", found.expired)
}
