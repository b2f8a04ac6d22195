//! Start: load, cut, tidy up, go on. Each step leaves a directory that the next start recovers from.

use super::begin::{begin, first_start};
use super::beside;
use super::core::{Aof, Persistence, RewriteStats};
use super::cure::Cure;
use super::disk::{self, ReplaceError};
use super::error::{At, FileError, OpenError};
use super::files::{Place, writable};
use super::foreign;
use super::layout::{self, Found};
use super::load::{Loader, Tail, corrupt};
use super::log::{Log, is_temporary, parse_name};
use super::open_single::{join, open_single};
use super::report::LoadReport;
use super::snapshot::is_snapshot_temp;
use super::snapshot_state::Snapshots;
use super::sync::Syncer;
use super::until;
use crate::aof::{FileKind, Manifest, Times, scan_plain};
use crate::config::{AofLayout, Config, check_file_name};
use crate::keyspace::Keyspace;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

impl Persistence {
    /// Loads the data and makes ready for writes. On `Err` nothing was changed on the disk, unless the error
    /// is the disk's own.
    pub fn open(config: &Config, now_ms: u64) -> Result<(Persistence, Keyspace, LoadReport), OpenError> {
        check_names(config)?;
        fs::metadata(&config.dir).at("open the directory", &config.dir)?;
        let place = Place::new(config);
        let multi_dir = Place::of(config, AofLayout::Multi).dir;
        let read_only = !writable(&config.dir) || (disk::exists(&multi_dir)? && !writable(&multi_dir));
        let snapshot = config.dir.join(&config.dbfilename);
        let mut loader = Loader::new(config, now_ms);
        if !read_only {
            // After a kill the names that are seen here may not be durable. From here on they are, so what is
            // built on them cannot lose its ground.
            disk::sync_dir(&config.dir)?;
            if config.appendonly && disk::exists(&multi_dir)? {
                disk::sync_dir(&multi_dir)?;
            }
        }
        let aof = if config.appendonly {
            open_aof(&mut loader, place, &snapshot, read_only)?
        } else {
            loader.snapshot(&snapshot)?;
            None
        };
        if read_only {
            warn_of_read_only(&mut loader)?;
        } else {
            let names = tidy_snapshots(&config.dir, &snapshot)?;
            if !config.appendonly {
                loader.report.warnings.extend(beside::log_that_is_off(config, &names)?);
            }
        }
        let persistence = Persistence {
            config: Config { recover_until: None, ..config.clone() },
            aof,
            syncer: Syncer::default(),
            child: None,
            install: None,
            snapshots: Snapshots::new(snapshot, now_ms, loader.report.snapshot_keys),
            rewrite_scheduled: false,
            rewrite_failed: false,
            rewrite_failures: 0,
            rewrite_not_before_ms: 0,
            read_only,
            now_s: now_ms / 1000,
            stats: RewriteStats::default(),
            told: None,
            not_for_children: Vec::new(),
        };
        Ok((persistence, loader.keyspace, loader.report))
    }
}

/// What is there is served, and nothing is where there is nothing.
fn warn_of_read_only(loader: &mut Loader<'_>) -> Result<(), OpenError> {
    let dir = loader.config.dir.display();
    if loader.report.files.is_empty() {
        return Err(OpenError::Config(format!(
            "the directory {dir} cannot be written, and there is nothing in it that could be served"
        )));
    }
    let warning =
        format!("the directory {dir} cannot be written: what it holds is served, and writes are refused");
    loader.report.warnings.push(warning);
    Ok(())
}

fn check_names(config: &Config) -> Result<(), OpenError> {
    let named = [
        ("appendfilename", &config.appendfilename),
        ("appenddirname", &config.appenddirname),
        ("dbfilename", &config.dbfilename),
    ];
    for (option, name) in named {
        check_file_name(name).map_err(|why| OpenError::Config(format!("{option} '{name}': {why}")))?;
    }
    config.check_names().map_err(OpenError::Config)
}

/// Highest base and incr number in the directory, plus one.
pub(super) fn next_numbers(prefix: &str, names: &[String]) -> (u64, u64) {
    let mut next = (1, 1);
    for (seq, incr) in names.iter().filter_map(|n| parse_name(prefix, n)) {
        let which = if incr { &mut next.1 } else { &mut next.0 };
        *which = (*which).max(seq.saturating_add(1));
    }
    next
}

fn open_aof(
    loader: &mut Loader<'_>,
    place: Place,
    snapshot: &Path,
    read_only: bool,
) -> Result<Option<Aof>, OpenError> {
    let config = loader.config;
    let found = Found::look(config)?;
    let source = found.source(config)?;
    if let (Some(source), Some(_)) = (source, config.recover_until)
        && source != place.layout
    {
        let text = "recover-until needs the aof-layout that the files have: change that before or after it";
        return Err(OpenError::Config(text.into()));
    }
    let aof = match (source, place.layout) {
        (None, _) => {
            loader.report.warnings.extend(beside::log_of_another_name(config)?);
            first_start(loader, place, snapshot, read_only)?
        }
        (Some(AofLayout::Single), _) => open_single(loader, place, &found, read_only)?,
        (Some(AofLayout::Multi), AofLayout::Multi) => open_multi(loader, place, &found, read_only)?,
        (Some(AofLayout::Multi), AofLayout::Single) => join(loader, place, &found, read_only)?,
    };
    if !read_only && (found.towards.is_some() || found.half_upgraded) {
        // What an interrupted change of the layout has left of the one that does not count.
        layout::end(config, config.aof_layout)?;
    }
    Ok(aof)
}

/// The directory of files, and no single file that counts.
fn open_multi(
    loader: &mut Loader<'_>,
    place: Place,
    found: &Found,
    read_only: bool,
) -> Result<Option<Aof>, OpenError> {
    let Some(path) = &found.manifest else { return Ok(None) };
    let names = disk::names(&place.dir)?;
    let (manifest, tail) = load_multi(loader, &place, path)?;
    let had_checksums = !manifest.foreign;
    let leftovers = leftovers(&place, &manifest, &names)?;
    if read_only {
        note_unkept_cut(loader, tail.as_ref());
        return Ok(None);
    }
    if place.chained {
        foreign::set_aside(&place.dir, &place.prefix, &manifest)?;
    }
    if let Some(until) = loader.config.recover_until {
        let mut files = vec![path.clone()];
        files.extend(manifest.files.iter().map(|f| place.dir.join(&f.name)).filter(|f| f.exists()));
        keep_aside(loader, until, &files)?;
        let next = next_numbers(&place.prefix, &names);
        return Ok(begin(place, &manifest, &loader.keyspace, next, loader.now_ms).map(Some)?);
    }
    if let Some(tail) = tail.as_ref().filter(|_| !sabotaged!("tail-not-cut")) {
        cut(loader, tail)?;
    }
    for f in manifest.files.iter().filter(|f| f.kind != FileKind::History) {
        // After a kill their bytes may not be durable; Redis leaves its own so at times.
        let path = place.dir.join(&f.name);
        File::open(&path).and_then(|f| f.sync_all()).at("sync", &path)?;
    }
    let at_its_name = *path == place.manifest_path();
    for name in &leftovers {
        disk::remove_if_there(&place.dir.join(name))?;
    }
    if at_its_name {
        disk::remove_if_there(&disk::prev_name(&place.manifest_path()))?;
    }
    if !leftovers.is_empty() {
        // Their numbers may be used again by a start that no longer sees them.
        disk::sync_dir(&place.dir)?;
    }
    let as_wanted = at_its_name && had_checksums == place.chained;
    resume(loader, place, manifest, tail, as_wanted, &names).map(Some)
}

/// Loads the files that the manifest at `found` lists.
pub(super) fn load_multi(
    loader: &mut Loader<'_>,
    place: &Place,
    found: &Path,
) -> Result<(Manifest, Option<Tail>), OpenError> {
    let bytes = fs::read(found).at("read", found)?;
    let manifest = Manifest::parse(&bytes)
        .map_err(|e| corrupt(found, 0, format!("the manifest is damaged: {e}"), Cure::Manifest.text()))?;
    foreign::refuse_what_is_missing(found, &place.dir, &place.prefix, &manifest)?;
    if manifest.foreign && place.chained {
        loader.report.warnings.push(format!(
            "{}: written by another program; what has no checksums is loaded without",
            found.display()
        ));
    }
    let tail = loader.aof(&place.dir, &manifest)?;
    Ok((manifest, tail))
}

pub(super) fn is_temp_manifest(place: &Place, name: &str) -> bool {
    name.strip_prefix("temp-").and_then(|n| n.strip_suffix(".manifest")) == Some(place.prefix.as_str())
}

pub(super) fn holds_commands(path: &Path) -> Result<bool, OpenError> {
    let bytes = fs::read(path).at("read", path)?;
    let mut commands = 0u64;
    let scanned = scan_plain(&bytes, 0, Times::default(), &mut |_| {
        commands += 1;
        Ok::<(), ()>(())
    });
    // MULTI without EXEC, and a lone EXEC, are commands too.
    Ok(commands > 0 || !scanned.is_ok_and(|s| s.good == bytes.len() as u64 || s.stop.is_some()))
}

/// Files that no manifest will list again. An unlisted incr file is written to only by a history that the
/// manifest does not know, which no crash leaves.
fn leftovers(place: &Place, manifest: &Manifest, names: &[String]) -> Result<Vec<String>, OpenError> {
    let mut all = Vec::new();
    let last = manifest.incrs().next_back().map_or(0, |f| f.seq);
    for name in names {
        if is_temporary(&place.prefix, name) || is_temp_manifest(place, name) {
            all.push(name.clone());
            continue;
        }
        if manifest.foreign || manifest.files.iter().any(|f| f.name == *name) {
            continue;
        }
        if *name == place.prefix {
            // A single file that was once taken over as a base.
            all.push(name.clone());
            continue;
        }
        let Some((seq, incr)) = parse_name(&place.prefix, name) else { continue };
        if incr && seq > last && holds_commands(&place.dir.join(name))? {
            let what = format!("it is older than {name}, which holds data and is not listed");
            return Err(corrupt(&place.manifest_path(), 0, what, Cure::Manifest.text()));
        }
        all.push(name.clone());
    }
    Ok(all)
}

pub(super) fn note_unkept_cut(loader: &mut Loader<'_>, tail: Option<&Tail>) {
    if let Some(tail) = tail.filter(|t| !t.rest.is_empty()) {
        loader.report.cuts.push(tail.cut(None));
    }
}

/// Cuts the tail: first kept aside, durably; then cut, durably, so that new batches never stand behind old
/// bytes. After a crash in between it is simply done again.
pub(super) fn cut(loader: &mut Loader<'_>, tail: &Tail) -> Result<(), OpenError> {
    if tail.rest.is_empty() {
        return Ok(());
    }
    let zeros = tail.rest.iter().all(|b| *b == 0);
    let kept = (!zeros).then(|| disk::keep_cut(&tail.path, tail.good, &tail.rest)).transpose()?;
    if sabotaged!("log-rewritten-to-cut") {
        // Emptied, then written again: in between a power loss takes all of it.
        let bytes = fs::read(&tail.path).at("read", &tail.path)?;
        fs::write(&tail.path, &bytes[..tail.good as usize]).at("write", &tail.path)?;
    }
    let file = OpenOptions::new().write(true).open(&tail.path).at("open", &tail.path)?;
    file.set_len(tail.good).and_then(|()| file.sync_all()).at("cut", &tail.path)?;
    loader.report.cuts.push(tail.cut(kept));
    Ok(())
}

/// Goes on in the last incr file, or in a new one where that cannot be.
fn resume(
    loader: &Loader<'_>,
    place: Place,
    manifest: Manifest,
    tail: Option<Tail>,
    as_wanted: bool,
    names: &[String],
) -> Result<Aof, OpenError> {
    let (next_base, mut next_incr) = next_numbers(&place.prefix, names);
    let usable = |t: &Tail| t.chain.is_some() == place.chained;
    let history = manifest.files.iter().any(|f| f.kind == FileKind::History);
    // What a stop in order has closed is opened again, durably, before the first write: see `Part::sealed`.
    let changed = !as_wanted || history || manifest.closed;
    let tied = manifest.foreign && place.chained;
    let mut manifest = Manifest { foreign: !place.chained, closed: false, ..manifest };
    if let Some(base) = manifest.files.iter_mut().find(|f| tied && f.kind == FileKind::Base) {
        base.tie = foreign::tie(&place.dir.join(&base.name))?;
    }
    let log = match tail {
        Some(t) if usable(&t) => {
            if changed {
                place.put_manifest(&manifest).map_err(ReplaceError::into_inner)?;
            }
            Log::resume(t.path, t.seq, t.good, t.chain)?
        }
        other => {
            let predecessor = other.map(|t| (t.good, t.chain.map_or(0, |c| c.crc)));
            let (log, entry) = place.new_incr(next_incr, predecessor)?;
            next_incr += 1;
            manifest.files.push(entry);
            place.put_manifest(&manifest).map_err(ReplaceError::into_inner)?;
            log
        }
    };
    place.purge(&mut manifest)?;
    let sizes = manifest.files.iter().filter(|f| f.seq != log.seq || f.kind != FileKind::Incr);
    let settled_size =
        sizes.filter_map(|f| fs::metadata(place.dir.join(&f.name)).ok()).map(|m| m.len()).sum();
    let mut aof = new_aof(place, manifest, log, (next_base, next_incr), loader.now_ms);
    aof.settled_size = settled_size;
    aof.rewritten_size = aof.size();
    Ok(aof)
}

pub(super) fn new_aof(place: Place, manifest: Manifest, log: Log, next: (u64, u64), now_ms: u64) -> Aof {
    Aof {
        place,
        manifest,
        log,
        next_base: next.0,
        next_incr: next.1,
        trouble: None,
        last_sync_ms: now_ms,
        oldest_unsynced_ms: None,
        postponed_since_ms: None,
        delayed_syncs: 0,
        retry_not_before_ms: 0,
        rewritten_size: 0,
        settled_size: 0,
    }
}

/// Keeps the files from which only a part was loaded.
pub(super) fn keep_aside(loader: &mut Loader<'_>, until: u64, files: &[PathBuf]) -> Result<(), FileError> {
    let config = loader.config;
    let aside = until::keep_aside(&config.dir, &config.appendfilename, &until.to_string(), files)?;
    let left_out = loader.times.stopped_at.is_some();
    let what = if left_out { "what is later was left out" } else { "nothing is later" };
    let warning =
        format!("loaded up to the second {until}: {what}. The files as they were are in {}", aside.display());
    loader.report.warnings.push(warning);
    Ok(())
}

/// Removes unfinished snapshots, and gives the snapshot its name back where a crash took it. The directory was
/// synced when the start began. Gives the names that are in it.
fn tidy_snapshots(dir: &Path, path: &Path) -> Result<Vec<String>, OpenError> {
    let prev = disk::prev_name(path);
    if disk::exists(&prev)? {
        if !disk::exists(path)? {
            fs::hard_link(&prev, path).at("link", path)?;
            disk::sync_dir(dir)?;
        }
        disk::remove_if_there(&prev)?;
    }
    // No sync: what comes back is removed by the next start, and never read.
    let names = disk::names(dir)?;
    for name in names.iter().filter(|n| is_snapshot_temp(n)) {
        disk::remove_if_there(&dir.join(name))?;
    }
    Ok(names)
}
