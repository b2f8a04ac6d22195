//! Start with a single file, and from one layout to the other.

use super::core::Aof;
use super::disk::{self, ReplaceError};
use super::error::{At, FileError, OpenError};
use super::files::Place;
use super::foreign;
use super::layout::{self, Found};
use super::load::{Loader, Tail, corrupt};
use super::log::Log;
use super::open::{cut, keep_aside, new_aof, next_numbers, note_unkept_cut};
use crate::aof::{FileEntry, FileKind, Manifest, Seal};
use crate::config::AofLayout;
use crate::keyspace::Keyspace;
use std::fs::{self, File};

/// A single file, and no manifest that counts. It is gone on with, or taken over as the base of a directory.
pub(super) fn open_single(
    loader: &mut Loader<'_>,
    wanted: Place,
    found: &Found,
    read_only: bool,
) -> Result<Option<Aof>, OpenError> {
    let Some(path) = &found.single else { return Ok(None) };
    let place = Place::of(loader.config, AofLayout::Single);
    let seal = match place.read_seal()? {
        Some(Err(path)) => {
            let repair = "If the append-only file is trusted, remove it";
            return Err(corrupt(&path, 0, "the seal is damaged", repair));
        }
        other => other.and_then(Result::ok),
    };
    let tail = loader.single(path, seal.as_ref())?;
    if read_only {
        note_unkept_cut(loader, Some(&tail));
        return Ok(None);
    }
    let tail = Tail { path: place.single_path(), ..tail };
    disk::settle_name(&place.dir, &tail.path)?;
    let next = place.next_generation(tail.seq)?;
    if let Some(until) = loader.config.recover_until {
        keep_aside(loader, until, std::slice::from_ref(&tail.path))?;
        return Ok(begin_single(place, &loader.keyspace, next, loader.now_ms).map(Some)?);
    }
    if !sabotaged!("tail-not-cut") {
        cut(loader, &tail)?;
    }
    File::open(&tail.path).and_then(|f| f.sync_all()).at("sync", &tail.path)?;
    tidy_single(&place)?;
    if wanted.layout == AofLayout::Multi {
        return take_over(loader, wanted, tail).map(Some);
    }
    let as_wanted = tail.chain.is_some() == place.chained;
    if !as_wanted {
        return Ok(begin_single(place, &loader.keyspace, next, loader.now_ms).map(Some)?);
    }
    if let Some(seal) = seal.filter(|s| s.closed && tail.chain.is_some_and(|c| s.speaks_of(&c))) {
        // Durable before the first write: from here on what stands behind it can be ours.
        place.put_seal(Seal { closed: false, ..seal })?;
    }
    let log = Log::resume(tail.path, tail.seq, tail.good, tail.chain)?;
    Ok(Some(single_aof(place, log, next, loader.now_ms)))
}

/// Writes the single file anew from memory.
pub(super) fn begin_single(
    place: Place,
    keyspace: &Keyspace,
    seq: u64,
    now_ms: u64,
) -> Result<Aof, FileError> {
    let log = place.anew_single(keyspace, seq, now_ms).map_err(ReplaceError::into_inner)?;
    Ok(single_aof(place, log, seq + 1, now_ms))
}

fn single_aof(place: Place, log: Log, next: u64, now_ms: u64) -> Aof {
    let mut aof = new_aof(place, Manifest::default(), log, (next, 1), now_ms);
    aof.rewritten_size = aof.size();
    aof
}

/// Removes what interrupted steps have left beside a single file.
pub(super) fn tidy_single(place: &Place) -> Result<(), FileError> {
    disk::settle_name(&place.dir, &place.seal_path())?;
    // No sync: what comes back is removed by the next start, and never read.
    for name in disk::names(&place.dir)?.iter().filter(|n| place.is_single_temp(n)) {
        disk::remove_if_there(&place.dir.join(name))?;
    }
    Ok(())
}

/// As Redis 7's upgrade: the single file becomes the base of a directory, under its own name and without a copy.
fn take_over(loader: &Loader<'_>, place: Place, tail: Tail) -> Result<Aof, OpenError> {
    let config = loader.config;
    layout::begin(config, AofLayout::Multi)?;
    if !disk::exists(&place.dir)? {
        fs::create_dir(&place.dir).at("create the directory", &place.dir)?;
        disk::sync_dir(&config.dir)?;
    }
    let names = disk::names(&place.dir)?;
    let (base_seq, incr_seq) = next_numbers(&place.prefix, &names);
    // Of an interrupted upgrade, Redis's or ours.
    disk::remove_replaced(&place.dir, &place.manifest_path())?;
    layout::remove_files(&place)?;
    disk::link_or_copy(&tail.path, &place.dir.join(&place.prefix))?;
    let predecessor = (tail.good, tail.chain.map_or(0, |c| c.crc));
    let (log, incr) = place.new_incr(incr_seq, Some(predecessor))?;
    let base = FileEntry {
        name: place.prefix.clone(),
        seq: base_seq,
        kind: FileKind::Base,
        chained: tail.chain.is_some(),
        tie: None,
    };
    let manifest = Manifest { files: vec![base, incr], foreign: !place.chained, ..Manifest::default() };
    place.put_manifest(&manifest).map_err(ReplaceError::into_inner)?;
    layout::end(config, AofLayout::Multi)?;
    let mut aof = new_aof(place, manifest, log, (base_seq + 1, incr_seq + 1), loader.now_ms);
    aof.settled_size = tail.good;
    aof.rewritten_size = aof.size();
    Ok(aof)
}

/// The other way: what the directory's files hold is written to a single file.
pub(super) fn join(
    loader: &mut Loader<'_>,
    place: Place,
    found: &Found,
    read_only: bool,
) -> Result<Option<Aof>, OpenError> {
    let Some(path) = &found.manifest else { return Ok(None) };
    let config = loader.config;
    let multi = Place::of(config, AofLayout::Multi);
    let (manifest, tail) = super::open::load_multi(loader, &multi, path)?;
    if read_only {
        note_unkept_cut(loader, tail.as_ref());
        return Ok(None);
    }
    foreign::set_aside(&multi.dir, &multi.prefix, &manifest)?;
    if let Some(tail) = &tail {
        cut(loader, tail)?;
    }
    layout::begin(config, AofLayout::Single)?;
    tidy_single(&place)?;
    disk::remove_replaced(&place.dir, &place.seal_path())?;
    let aof = begin_single(place, &loader.keyspace, 1, loader.now_ms)?;
    layout::end(config, AofLayout::Single)?;
    Ok(Some(aof))
}
