//! First logs: in an empty directory, from a snapshot, or switched on while running.

use super::core::Aof;
use super::cure::Cure;
use super::disk;
use super::error::{At, FileError, OpenError};
use super::files::Place;
use super::layout::{self, Found};
use super::load::{Loader, corrupt};
use super::log::{is_temporary, parse_name};
use super::open::{holds_commands, is_temp_manifest, new_aof, next_numbers};
use super::open_single::{begin_single, tidy_single};
use super::rewrite::write_anew;
use crate::aof::Manifest;
use crate::config::{AofLayout, Config};
use crate::keyspace::Keyspace;
use std::fs;
use std::path::Path;

/// Nothing was ever listed: begins with the snapshot's data, or with none.
pub(super) fn first_start(
    loader: &mut Loader<'_>,
    place: Place,
    snapshot: &Path,
    read_only: bool,
) -> Result<Option<Aof>, OpenError> {
    let config = loader.config;
    let multi = Place::of(config, AofLayout::Multi);
    let names = disk::names(&multi.dir)?;
    for name in names.iter().filter(|n| parse_name(&place.prefix, n).is_some_and(|(_, incr)| incr)) {
        // Before the first manifest is durable no incr file is written to.
        if holds_commands(&multi.dir.join(name))? {
            let repair = Cure::Manifest.text();
            return Err(corrupt(
                &multi.manifest_path(),
                0,
                format!("it is missing, and {name} holds data"),
                repair,
            ));
        }
    }
    if place.read_seal()?.is_some() && place.layout == AofLayout::Single {
        let what = "it is missing, and its seal says that it was there when the server stopped";
        let repair = "Restore it from a copy, or remove the file with the suffix .seal to begin without data";
        return Err(corrupt(&place.single_path(), 0, what, repair));
    }
    if config.recover_until.is_some() {
        return Err(OpenError::Config("recover-until: there is no append-only file".into()));
    }
    loader.snapshot(snapshot)?;
    if read_only {
        return Ok(None);
    }
    if place.layout == AofLayout::Single {
        tidy_single(&place)?;
        return Ok(begin_single(place, &loader.keyspace, 1, loader.now_ms).map(Some)?);
    }
    let stale = names.iter().filter(|n| {
        parse_name(&place.prefix, n).is_some()
            || is_temporary(&place.prefix, n)
            || is_temp_manifest(&place, n)
    });
    for name in stale {
        disk::remove_if_there(&place.dir.join(name))?;
    }
    let next = next_numbers(&place.prefix, &names);
    Ok(begin(place, &Manifest::default(), &loader.keyspace, next, loader.now_ms).map(Some)?)
}

/// Creates the directory and everything in it from `keyspace`.
pub(super) fn begin(
    place: Place,
    old: &Manifest,
    keyspace: &Keyspace,
    next: (u64, u64),
    now_ms: u64,
) -> Result<Aof, FileError> {
    if !disk::exists(&place.dir)? {
        fs::create_dir(&place.dir).at("create the directory", &place.dir)?;
    }
    // Also where it was there: a beginning that failed may have made it, and not have come to its sync.
    if let Some(parent) = place.dir.parent() {
        disk::sync_dir(parent)?;
    }
    let (log, mut manifest) = write_anew(&place, old, next, keyspace, now_ms)?;
    place.purge(&mut manifest)?;
    let mut aof = new_aof(place, manifest, log, (next.0 + 1, next.1 + 1), now_ms);
    aof.settled_size = aof.place.base_size(&aof.manifest);
    aof.rewritten_size = aof.size();
    Ok(aof)
}

/// The log is switched on while running: what older files hold is replaced by the data in memory.
pub(super) fn switch_on(config: &Config, keyspace: &Keyspace, now_ms: u64) -> Result<Aof, OpenError> {
    let place = Place::new(config);
    let found = Found::look(config)?;
    if sabotaged!("switched-on-with-old-base")
        && found.manifest.is_some()
        && let Some(aof) = super::Persistence::open(config, now_ms)?.0.aof.take()
    {
        return Ok(aof);
    }
    let other_there = match place.layout {
        AofLayout::Multi => found.single.is_some(),
        AofLayout::Single => found.manifest.is_some(),
    };
    let change = other_there || found.towards.is_some() || found.half_upgraded;
    if change {
        found.drop_what_does_not_count(config, place.layout)?;
        layout::begin(config, place.layout)?;
    }
    let aof = match place.layout {
        AofLayout::Single => {
            let next = place.next_generation(0)?;
            begin_single(place, keyspace, next, now_ms)?
        }
        AofLayout::Multi => {
            let names = disk::names(&place.dir)?;
            let old = match &found.manifest {
                Some(found) => {
                    let bytes = fs::read(found).at("read", found)?;
                    Manifest::parse(&bytes).map_err(|e| corrupt(found, 0, e.to_string(), "Move it away"))?
                }
                None => Manifest::default(),
            };
            let next = next_numbers(&place.prefix, &names);
            begin(place, &old, keyspace, next, now_ms)?
        }
    };
    if change {
        layout::end(config, config.aof_layout)?;
    }
    Ok(aof)
}
