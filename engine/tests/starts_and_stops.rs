//! How the engine refuses to start, and what it leaves when it stops.

// A failure in a helper is its test's.
#![allow(clippy::unwrap_used)]

#[path = "starts_and_stops/guests.rs"]
mod guests;
#[path = "starts_and_stops/refused.rs"]
mod refused;
mod server_support;
#[path = "starts_and_stops/spared.rs"]
mod spared;
#[path = "starts_and_stops/stopped.rs"]
mod stopped;
#[path = "starts_and_stops/taken.rs"]
mod taken;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A directory in memory, where there is one: nothing is pulled here, so that the time of a disk's syncs is wasted.
pub(crate) fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Every file below a directory: its content, its number and when it was written.
pub(crate) fn contents(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u64, i64, i64)> {
    fn walk(at: &Path, all: &mut BTreeMap<PathBuf, (Vec<u8>, u64, i64, i64)>) {
        use std::os::unix::fs::MetadataExt;
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            let (seconds, nanos) = if meta.is_file() { (meta.mtime(), meta.mtime_nsec()) } else { (0, 0) };
            all.insert(path.clone(), (content, meta.ino(), seconds, nanos));
            if meta.is_dir() {
                walk(&path, all);
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(dir, &mut all);
    all
}
