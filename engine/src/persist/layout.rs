//! Which layout a directory has, and the steps from one to the other.
//!
//! Both layouts are there while one is made from the other, so a marker says which one counts. It is durable before
//! the first file of the new layout is, and goes when the last one of the old layout is durably gone.

use super::disk;
use super::error::{At, FileError, OpenError};
use super::files::Place;
use super::load::corrupt;
use super::log::{is_temporary, parse_name};
use crate::aof::{FileKind, Manifest};
use crate::config::{AofLayout, Config};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const BY_HAND: &str = "Move away what is not wanted";

/// What there is.
pub(super) struct Found {
    /// The single file, under its name or its second one.
    pub(super) single: Option<PathBuf>,
    /// The manifest, the same. Not one that an upgrade of Redis's has left, which the single file precedes.
    pub(super) manifest: Option<PathBuf>,
    /// The layout that was being made.
    pub(super) towards: Option<AofLayout>,
    /// There is a manifest that does not count.
    pub(super) half_upgraded: bool,
}

fn name(layout: AofLayout) -> &'static str {
    match layout {
        AofLayout::Multi => "multi",
        AofLayout::Single => "single",
    }
}

fn other(layout: AofLayout) -> AofLayout {
    match layout {
        AofLayout::Multi => AofLayout::Single,
        AofLayout::Single => AofLayout::Multi,
    }
}

fn marker_path(config: &Config) -> PathBuf {
    config.dir.join(format!("{}.converting", config.appendfilename))
}

fn marker_text(towards: AofLayout) -> String {
    format!("#unplug:1 towards aof-layout {}\n", name(towards))
}

impl Found {
    pub(super) fn look(config: &Config) -> Result<Found, OpenError> {
        let multi = Place::of(config, AofLayout::Multi);
        let single = disk::current(&Place::of(config, AofLayout::Single).single_path())?;
        let manifest = disk::current(&multi.manifest_path())?;
        let marker = marker_path(config);
        let towards = if disk::exists(&marker)? {
            let text = fs::read(&marker).at("read", &marker)?;
            let layouts = [AofLayout::Multi, AofLayout::Single];
            let known = layouts.into_iter().find(|l| marker_text(*l).as_bytes() == text);
            Some(match (known, &single, &manifest) {
                (Some(layout), _, _) => layout,
                // The marker is whole and durable before the other layout is there: a crash has torn it, and what
                // it would have said is plain.
                (None, Some(_), None) => AofLayout::Multi,
                (None, None, _) => AofLayout::Single,
                (None, Some(_), Some(_)) => {
                    let what = "it says which layout was being made, and is damaged";
                    let repair = "Remove it, and of the two layouts the one that is not wanted";
                    return Err(corrupt(&marker, 0, what, repair));
                }
            })
        } else {
            None
        };
        let mut found = Found { single, manifest, towards, half_upgraded: false };
        if let (Some(_), Some(manifest), None) = (&found.single, &found.manifest, towards)
            && half_upgraded(&multi, manifest)?
        {
            found.manifest = None;
            found.half_upgraded = true;
        }
        Ok(found)
    }

    /// Before the marker is made to name `towards`: where both layouts are there and the marker would then be about the
    /// other one, what does not count goes. Otherwise it would count until the change ends, or the marker, torn while both
    /// are there, would be refused. What Redis's own upgrade has left half done does not count either.
    pub(super) fn drop_what_does_not_count(
        &self,
        config: &Config,
        towards: AofLayout,
    ) -> Result<(), FileError> {
        let both = self.single.is_some() && self.manifest.is_some();
        match self.towards {
            Some(unfinished) if both && unfinished != towards => clear(config, unfinished),
            None if self.half_upgraded => clear(config, AofLayout::Multi),
            _ => Ok(()),
        }
    }

    /// The layout that holds the data; `None` if there is nothing.
    pub(super) fn source(&self, config: &Config) -> Result<Option<AofLayout>, OpenError> {
        Ok(match (&self.single, &self.manifest, self.towards) {
            (None, None, _) => None,
            (Some(_), None, _) => Some(AofLayout::Single),
            (None, Some(_), _) => Some(AofLayout::Multi),
            // The old one is whole until the new one is, and then goes first.
            (Some(_), Some(_), Some(towards)) => Some(other(towards)),
            (Some(single), Some(manifest), None) => {
                let what = format!(
                    "{} is there, too: of two append-only files it cannot be told which is the newer one \
                     (aof-layout is {})",
                    manifest.display(),
                    name(config.aof_layout)
                );
                return Err(corrupt(single, 0, what, BY_HAND));
            }
        })
    }
}

/// Whether a crash has left Redis's own upgrade half done: its manifest lists the single file, which has not been
/// moved to it.
fn half_upgraded(multi: &Place, manifest: &Path) -> Result<bool, FileError> {
    let bytes = fs::read(manifest).at("read", manifest)?;
    let lists_it = Manifest::parse(&bytes).is_ok_and(|m| {
        m.foreign && matches!(&m.files[..], [f] if f.kind == FileKind::Base && f.name == multi.prefix)
    });
    Ok(lists_it && !disk::exists(&multi.dir.join(&multi.prefix))?)
}

/// From here on, until [`end`], the other layout counts if it is there.
pub(super) fn begin(config: &Config, towards: AofLayout) -> Result<(), FileError> {
    let (text, marker) = (marker_text(towards), marker_path(config));
    match fs::read(&marker) {
        // A change that was broken off. Both layouts may be there, so the marker must not go, even to come again.
        Ok(there) if there == text.as_bytes() => {
            File::open(&marker).and_then(|f| f.sync_all()).at("sync", &marker)?;
        }
        _ => disk::write_synced(&marker, |out| out.write_all(text.as_bytes()))?,
    }
    disk::sync_dir(&config.dir)
}

/// The new layout is whole and durable: the old one goes, and then the marker.
pub(super) fn end(config: &Config, made: AofLayout) -> Result<(), FileError> {
    clear(config, other(made))?;
    disk::remove_if_there(&marker_path(config))?;
    disk::sync_dir(&config.dir)
}

/// Removes every file of a layout, durably: what makes it count first.
pub(super) fn clear(config: &Config, layout: AofLayout) -> Result<(), FileError> {
    let place = Place::of(config, layout);
    if layout == AofLayout::Single {
        disk::remove_replaced(&place.dir, &place.single_path())?;
        return disk::remove_replaced(&place.dir, &place.seal_path());
    }
    if !disk::exists(&place.dir)? {
        return Ok(());
    }
    disk::remove_replaced(&place.dir, &place.manifest_path())?;
    remove_files(&place)?;
    // Where something else lies in it, it stays.
    let _ = fs::remove_dir(&place.dir);
    Ok(())
}

/// Removes every file that a manifest could list, and temporary ones, durably. There is no manifest.
pub(super) fn remove_files(multi: &Place) -> Result<(), FileError> {
    for file in disk::names(&multi.dir)? {
        let ours = parse_name(&multi.prefix, &file).is_some() || file == multi.prefix;
        if ours || is_temporary(&multi.prefix, &file) {
            disk::remove_if_there(&multi.dir.join(&file))?;
        }
    }
    disk::sync_dir(&multi.dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// Found by reading, after the test below: CONFIG SET appendonly yes began a change of the layout in a directory with
    /// both layouts and a marker towards the other one. It wrote the marker anew, so that for a while the layout counted
    /// that had not counted before, and a crash in the middle of the write was refused at the next start.
    #[test]
    fn a_marker_is_turned_round_only_where_one_layout_is_left() {
        for (unfinished, towards) in
            [(AofLayout::Multi, AofLayout::Single), (AofLayout::Single, AofLayout::Multi)]
        {
            let dir = tempfile::tempdir().unwrap();
            let config = Config { dir: dir.path().into(), ..Config::default() };
            let multi = Place::of(&config, AofLayout::Multi);
            let single = Place::of(&config, AofLayout::Single).single_path();
            fs::create_dir(&multi.dir).unwrap();
            fs::write(multi.manifest_path(), "m").unwrap();
            fs::write(&single, "s").unwrap();
            begin(&config, unfinished).unwrap();
            let found = Found::look(&config).unwrap();
            let counts = found.source(&config).unwrap();
            assert_eq!(counts, Some(other(unfinished)));
            // The same way on: both stay.
            found.drop_what_does_not_count(&config, unfinished).unwrap();
            assert!(multi.manifest_path().exists() && single.exists());
            // The other way.
            found.drop_what_does_not_count(&config, towards).unwrap();
            assert_eq!(multi.manifest_path().exists(), counts == Some(AofLayout::Multi));
            assert_eq!(single.exists(), counts == Some(AofLayout::Single));
            // Whole or torn, from here on the marker changes nothing.
            for marker in [marker_text(towards), "#unpl".to_owned(), String::new()] {
                fs::write(marker_path(&config), marker).unwrap();
                assert_eq!(Found::look(&config).unwrap().source(&config).unwrap(), counts);
            }
        }
    }

    /// Redis's own upgrade, interrupted: its manifest lists the single file, which is not beside it yet. A marker towards
    /// a single file would have made that manifest the one that counts.
    #[test]
    fn what_redis_has_left_half_done_goes_before_the_marker_comes() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { dir: dir.path().into(), ..Config::default() };
        let multi = Place::of(&config, AofLayout::Multi);
        fs::create_dir(&multi.dir).unwrap();
        fs::write(multi.manifest_path(), "file appendonly.aof seq 1 type b\n").unwrap();
        fs::write(Place::of(&config, AofLayout::Single).single_path(), "s").unwrap();
        // Where it is beside it, two logs are there.
        fs::write(multi.dir.join("appendonly.aof"), "s").unwrap();
        let found = Found::look(&config).unwrap();
        assert!(!found.half_upgraded && found.source(&config).is_err());
        fs::remove_file(multi.dir.join("appendonly.aof")).unwrap();
        let found = Found::look(&config).unwrap();
        assert!(found.half_upgraded);
        found.drop_what_does_not_count(&config, AofLayout::Single).unwrap();
        begin(&config, AofLayout::Single).unwrap();
        assert_eq!(Found::look(&config).unwrap().source(&config).unwrap(), Some(AofLayout::Single));
    }

    /// Found by `unplug check --variant upgrade`: removed and written again, it was missing or torn for a moment, in
    /// which both layouts were there.
    #[test]
    fn a_marker_that_says_the_same_is_never_away() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { dir: dir.path().into(), ..Config::default() };
        begin(&config, AofLayout::Multi).unwrap();
        let inode = || fs::metadata(marker_path(&config)).unwrap().ino();
        // Held open, so that its number is not given away again.
        let _held = File::open(marker_path(&config)).unwrap();
        let first = inode();
        begin(&config, AofLayout::Multi).unwrap();
        assert_eq!(inode(), first);
        begin(&config, AofLayout::Single).unwrap();
        assert_ne!(inode(), first);
        fs::write(marker_path(&config), "#unpl").unwrap();
        begin(&config, AofLayout::Single).unwrap();
        assert_eq!(fs::read_to_string(marker_path(&config)).unwrap(), marker_text(AofLayout::Single));
    }
}
