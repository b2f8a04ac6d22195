//! Loading up to an instant (`recover-until`), and keeping what is left out.

use super::disk;
use super::error::{At, FileError, OpenError};
use super::load::corrupt;
use crate::aof::Times;
use std::fs;
use std::path::{Path, PathBuf};

const WHY: &str = "Take `recover-until` away, name a later second, or restore older files from a copy";

/// Refuses a snapshot that was begun behind the instant: what it holds of later writes cannot be taken out.
pub(super) fn check_snapshot(path: &Path, bytes: &[u8], until: Option<u64>) -> Result<(), OpenError> {
    let Some(until) = until else { return Ok(()) };
    match snapshot_time(bytes) {
        Some(time) if time <= until => Ok(()),
        Some(time) => {
            let what = format!(
                "the snapshot that the log goes on from was made at {time}, and that is behind {until}"
            );
            Err(corrupt(path, 0, what, WHY))
        }
        None => {
            Err(corrupt(path, 0, "the snapshot that the log goes on from does not say when it was made", WHY))
        }
    }
}

/// Refuses a log that holds commands and no times, and one that begins later. `based`: on a snapshot, which was looked
/// at before.
pub(super) fn check_log(path: &Path, times: &Times, commands: u64, based: bool) -> Result<(), OpenError> {
    let Some(until) = times.until else { return Ok(()) };
    if times.first.is_none() && commands > 0 {
        let what = "the log holds no times: it was written without aof-timestamp-enabled";
        return Err(corrupt(path, 0, what, WHY));
    }
    if !based && times.first.is_some_and(|first| first > until) {
        return Err(corrupt(path, 0, format!("nothing in it is as old as {until}"), WHY));
    }
    Ok(())
}

/// The second in which a snapshot was begun.
fn snapshot_time(bytes: &[u8]) -> Option<u64> {
    number_in(bytes, b"ctime")
}

/// The number in a snapshot's field of that name.
pub(super) fn number_in(bytes: &[u8], field: &[u8]) -> Option<u64> {
    const AUX: u8 = 250;
    let mut at = 9;
    while *bytes.get(at)? == AUX {
        let (name, after) = short_string(bytes, at + 1)?;
        let (value, after) = short_string(bytes, after)?;
        if name == field {
            return std::str::from_utf8(&value).ok()?.parse().ok();
        }
        at = after;
    }
    None
}

/// A string of the kinds that such fields hold: short ones, and numbers.
fn short_string(bytes: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let first = *bytes.get(at)?;
    let number = |len: usize| {
        let digits = bytes.get(at + 1..at + 1 + len)?;
        let value = digits.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        Some((value.to_string().into_bytes(), at + 1 + len))
    };
    match first {
        0..=63 => {
            let end = at + 1 + usize::from(first);
            Some((bytes.get(at + 1..end)?.to_vec(), end))
        }
        0xc0 => number(1),
        0xc1 => number(2),
        0xc2 => number(4),
        _ => None,
    }
}

/// Gives `files` second names in a new directory `<dir>/<prefix>.before-<what>`, durably, so that writing the
/// data anew destroys nothing.
pub(super) fn keep_aside(
    dir: &Path,
    prefix: &str,
    what: &str,
    files: &[PathBuf],
) -> Result<PathBuf, FileError> {
    let mut n = 1;
    let aside = loop {
        let suffix = if n == 1 { String::new() } else { format!("-{n}") };
        let aside = dir.join(format!("{prefix}.before-{what}{suffix}"));
        if !disk::exists(&aside)? {
            break aside;
        }
        n += 1;
    };
    fs::create_dir(&aside).at("create the directory", &aside)?;
    for file in files {
        fs::File::open(file).and_then(|f| f.sync_all()).at("sync", file)?;
        disk::link_or_copy(file, &aside.join(file.file_name().unwrap_or_default()))?;
    }
    disk::sync_dir(&aside)?;
    disk::sync_dir(dir)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Keyspace;
    use crate::rdb;

    #[test]
    fn a_log_begins_at_the_instant_or_before_it_or_on_a_snapshot() {
        let fits = |until, first, commands, based| {
            let times = Times { until, first, stopped_at: None };
            check_log(Path::new("x"), &times, commands, based).is_ok()
        };
        assert!(fits(None, None, 5, false) && fits(None, Some(9), 5, false));
        assert!(fits(Some(7), Some(7), 5, false) && fits(Some(7), Some(6), 5, false));
        assert!(!fits(Some(7), Some(8), 5, false) && fits(Some(7), Some(8), 5, true));
        assert!(!fits(Some(7), None, 5, false) && !fits(Some(7), None, 5, true));
        assert!(fits(Some(7), None, 0, false), "there is nothing in it");
    }

    #[test]
    fn a_snapshot_says_when_it_was_made() {
        let mut ours = Vec::new();
        let options =
            rdb::WriteOptions { now_ms: 1_700_000_000_123, aof_base: true, checksum: true, compress: true };
        rdb::write(&mut ours, &Keyspace::default(), options, &mut |_, _| ()).unwrap();
        assert_eq!(snapshot_time(&ours), Some(1_700_000_000));
        let redis = b"REDIS0010\xfa\x09redis-ver\x057.0.0\xfa\x0aredis-bits\xc0\x40\xfa\x05ctime\xc2\x00\xf1\x53\x65\xff";
        assert_eq!(snapshot_time(redis), Some(0x6553_f100));
        for len in 0..redis.len() - 1 {
            assert_eq!(snapshot_time(&redis[..len]), None, "{len}");
        }
        let path = Path::new("x");
        assert!(
            check_snapshot(path, b"REDIS0010\xfa\x04repl\x01x\xff", Some(u64::MAX)).is_err(),
            "it has no time"
        );
        // A time that was written as text, as other programs do, and as a number of one byte and of two.
        for (value, time) in [(&b"\x03123"[..], 123), (b"\xc0\x7b", 123), (b"\xc1\x39\x30", 12_345)] {
            let snapshot = [b"REDIS0010\xfa\x05ctime", value, b"\xff"].concat();
            assert_eq!(snapshot_time(&snapshot), Some(time));
        }
        assert!(check_snapshot(path, redis, Some(0x6553_f0ff)).is_err());
        assert!(check_snapshot(path, redis, Some(0x6553_f100)).is_ok());
    }
}
