//! Cutting: a torn tail off, or everything behind an instant.

use super::inspect::{Checked, Role, manifest_of};
use crate::aof::{Manifest, Times, scan_chained, time_of};
use crate::persist::disk::{self, ReplaceError};
use crate::persist::error::{At, FileError};
use crate::persist::files::put_manifest_at;
use crate::persist::log::sibling;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

/// A repair that was not made; the text says why.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFixed {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}")]
    Refused(String),
}

/// A name for what is kept aside that nothing has yet.
pub(super) fn aside(path: &Path, suffix: &str) -> Result<PathBuf, FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut kept = sibling(path, &format!("{name}.{suffix}"));
    for n in 2.. {
        if !disk::exists(&kept)? {
            break;
        }
        kept = sibling(path, &format!("{name}.{suffix}-{n}"));
    }
    Ok(kept)
}

fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Keeps the bytes from `at` on aside, durably.
fn keep(path: &Path, bytes: &[u8], at: u64) -> Result<PathBuf, FileError> {
    disk::keep_cut(path, at, bytes.get(at as usize..).unwrap_or_default())
}

/// What says how long the file was at a stop in order is taken back, durably, before the file gets shorter.
fn unseal(file: &Checked, len: u64) -> Result<(), NotFixed> {
    if file.role == Role::Single {
        let mut seal = file.path.clone().into_os_string();
        seal.push(".seal");
        disk::remove_replaced(dir_of(&file.path), Path::new(&seal))?;
    }
    let Some(path) = manifest_of(&file.path) else { return Ok(()) };
    let bytes = fs::read(&path).at("read", &path)?;
    let manifest = Manifest::parse(&bytes)
        .map_err(|e| NotFixed::Refused(format!("{}: the manifest is damaged: {e}", path.display())))?;
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    if manifest
        .incrs()
        .next_back()
        .is_some_and(|last| last.name != name && manifest.files.iter().any(|f| f.name == name))
    {
        return Err(NotFixed::Refused(format!(
            "{name} is not the last file that {} lists: what follows it would not fit any more",
            path.display()
        )));
    }
    if manifest.sealed.as_ref().is_some_and(|(sealed, sealed_len)| *sealed == name && *sealed_len > len) {
        put_manifest_at(&path, &Manifest { sealed: None, ..manifest }).map_err(ReplaceError::into_inner)?;
    }
    Ok(())
}

/// Cuts the file at what is good. Gives the path of what was cut.
pub(super) fn cut(file: &Checked) -> Result<PathBuf, NotFixed> {
    let kept = keep(&file.path, &file.bytes, file.good)?;
    unseal(file, file.good)?;
    shorten(&file.path, file.good)?;
    Ok(kept)
}

/// Takes away what stands from `at` on, where a line names a later second, of a file without a chain: in its place.
pub(super) fn cut_plain(file: &Checked, at: u64) -> Result<PathBuf, NotFixed> {
    let kept = keep(&file.path, &file.bytes, at)?;
    unseal(file, at)?;
    shorten(&file.path, at)?;
    Ok(kept)
}

/// The same of a single file with a chain: the batch in which the line stands gets a new annotation.
pub(super) fn cut_chained_single(file: &Checked, at: u64) -> Result<PathBuf, NotFixed> {
    let mut new = file.bytes.get(..at as usize).unwrap_or_default().to_vec();
    let scanned = scan_chained(&new, file.preamble, Times::default(), &mut |_| Ok::<(), ()>(()));
    let whole = scanned.ok().filter(|s| s.end_line.is_some()).ok_or_else(|| {
        NotFixed::Refused("the line stands in what a rewrite has written: nothing can be cut there".into())
    })?;
    let mut rest = new.split_off(whole.chain.len as usize);
    if !rest.is_empty() {
        whole.chain.seal(&mut rest, whole.chain.len);
        new.append(&mut rest);
    }
    let kept = keep(&file.path, &file.bytes, at)?;
    unseal(file, new.len() as u64)?;
    replace(&file.path, &new)?;
    Ok(kept)
}

fn shorten(path: &Path, len: u64) -> Result<(), FileError> {
    let open = OpenOptions::new().write(true).open(path).at("open", path)?;
    open.set_len(len).and_then(|()| open.sync_all()).at("cut", path)
}

/// Puts new content in a file's place.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temp = sibling(path, &format!("temp-{name}"));
    disk::write_synced(&temp, |out| out.write_all(content))?;
    disk::replace(dir_of(path), &temp, path).map_err(ReplaceError::into_inner)
}

/// The second that a line at `at` names.
pub(super) fn second_at(file: &Checked, at: u64) -> Option<u64> {
    let line = file.bytes.get(at as usize..)?;
    let end = line.iter().position(|b| *b == b'\n')?;
    time_of(&line[..end])
}

/// Puts `content` at `path`; the file as it was is kept under the name that this gives.
pub(crate) fn replace_kept(path: &Path, suffix: &str, content: &[u8]) -> Result<PathBuf, FileError> {
    let kept = aside(path, suffix)?;
    disk::link_or_copy(path, &kept)?;
    disk::sync_dir(dir_of(path))?;
    // A start removes a temporary file of this name without reading it.
    disk::replace_with(path, &sibling(path, "temp-unplug-0.rdb"), content)?;
    Ok(kept)
}
