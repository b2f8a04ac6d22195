//! Logs that lie there and are not loaded: a start that goes without one says so.
//!
//! No error: a log may be switched off, and another store's files may lie beside. Only what the files themselves say is
//! told. Whether a snapshot is newer than a log they do not say: the last lines of a log have no time, and a file's own
//! is that of whoever copied it.

use super::disk;
use super::error::{At, OpenError};
use super::files::Place;
use crate::aof::Manifest;
use crate::config::{AofLayout, Config};
use std::fs;
use std::path::{Path, PathBuf};

/// What to say where `appendonly` is off and a log is there. `names` are those in the directory of the data.
pub(super) fn log_that_is_off(config: &Config, names: &[String]) -> Result<Option<String>, OpenError> {
    let there = |name: &str| names.iter().any(|n| n == name);
    let single = Place::of(config, AofLayout::Single).single_path();
    let manifest = Place::of(config, AofLayout::Multi).manifest_path();
    let log = if there(&config.appendfilename) && single.is_file() {
        single
    } else if there(&config.appenddirname) && disk::exists(&manifest)? {
        manifest
    } else {
        return Ok(None);
    };
    Ok(Some(format!(
        "{}: not loaded, as appendonly is no. What is written from now on will not be in it when appendonly is yes",
        log.display()
    )))
}

/// What to say where there is no log of the names that are configured, and one of other names.
pub(super) fn log_of_another_name(config: &Config) -> Result<Option<String>, OpenError> {
    let mut found = Vec::new();
    look_in(&config.dir, &mut found);
    for entry in fs::read_dir(&config.dir).at("list", &config.dir)? {
        let entry = entry.at("list", &config.dir)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            look_in(&entry.path(), &mut found);
        }
    }
    found.sort();
    Ok(found.first().map(|log| {
        format!(
            "{}: not loaded. There is no append-only file of the names that appenddirname and appendfilename give; \
             are they right?",
            log.display()
        )
    }))
}

/// Notes manifests, and sealed single files. What cannot be read is nobody's.
fn look_in(dir: &Path, found: &mut Vec<PathBuf>) {
    for name in disk::names(dir).unwrap_or_default() {
        if name.starts_with("temp-") {
            continue;
        }
        let path = dir.join(&name);
        if name.ends_with(".manifest") {
            let parsed = fs::read(&path).ok().and_then(|bytes| Manifest::parse(&bytes).ok());
            if parsed.is_some_and(|manifest| !manifest.files.is_empty()) {
                found.push(path);
            }
        } else if let Some(log) = name.strip_suffix(".seal") {
            let log = dir.join(log);
            if log.is_file() {
                found.push(log);
            }
        }
    }
}
