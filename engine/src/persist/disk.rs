//! File operations that the protocol is made of.

use super::error::{At, FileError};
use super::raw;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How much a writer of large files writes before it pushes that to the disk, so that the sync at the end is short.
/// Redis 7.0 has the same figure (REDIS_AUTOSYNC_BYTES).
const SYNC_EVERY: u64 = 4 << 20;

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), FileError> {
    File::open(dir).and_then(|d| d.sync_all()).at("sync the directory", dir)
}

/// Removes a name that may be gone already.
pub(super) fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).at("remove", path),
        _ => Ok(()),
    }
}

/// The names in a directory, sorted; empty if there is no directory.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).at("list", dir),
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is not UTF-8 is none of ours.
        if let Ok(name) = entry.at("list", dir)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Creates a file, lets `fill` write it, and syncs it. Its name is not yet durable.
///
/// A file of that name is removed, never emptied: where a rename was split by a crash, the name that it came
/// from may still stand for the file that is now in use under the other one.
pub(super) fn write_synced(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    write_synced_by(path, true, fill)
}

/// The same; without `steadily` nothing is pushed to the disk before the end.
pub(super) fn write_synced_by(
    path: &Path,
    steadily: bool,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    let file = write(path, steadily, fill)?;
    if sabotaged!("rename-before-fsync") {
        return Ok(());
    }
    file.sync_all().at("write", path)
}

/// Creates a file and writes it, not synced: whoever gives it a name that counts has to sync it before.
pub(super) fn write_unsynced(path: &Path, bytes: &[u8]) -> Result<File, FileError> {
    write(path, false, |out| out.write_all(bytes))
}

fn write(
    path: &Path,
    steadily: bool,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<File, FileError> {
    let file = create(path)?;
    let mut out = Spaced { file, steadily, pushed: 0, len: 0, buffer: Vec::with_capacity(1 << 16) };
    fill(&mut out).and_then(|()| out.flush()).at("write", path)?;
    Ok(out.file)
}

/// Creates a file; one of that name is removed: see [`write_synced`].
pub(super) fn create(path: &Path) -> Result<File, FileError> {
    remove_if_there(path)?;
    OpenOptions::new().write(true).create_new(true).open(path).at("create", path)
}

/// Buffers, and pushes every [`SYNC_EVERY`] bytes to the disk.
struct Spaced {
    file: File,
    steadily: bool,
    /// The first of the bytes that were not pushed yet.
    pushed: u64,
    len: u64,
    buffer: Vec<u8>,
}

impl Spaced {
    fn put(&mut self, len: usize) -> io::Result<()> {
        self.len += len as u64;
        let due = self.len - self.pushed;
        if self.steadily && due >= SYNC_EVERY {
            raw::begin_write_out(&self.file, self.pushed, due)?;
            self.pushed = self.len;
        }
        Ok(())
    }
}

impl Write for Spaced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > 1 << 16 {
            self.flush()?;
        }
        if bytes.len() >= 1 << 16 {
            self.file.write_all(bytes)?;
            self.put(bytes.len())?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_all(&self.buffer)?;
            self.put(self.buffer.len())?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// How far a replacement came before it failed.
#[derive(Debug)]
pub(super) enum ReplaceError {
    /// The old file stands as before.
    Before(FileError),
    /// After a crash either may be there.
    Unknown(FileError),
}

impl ReplaceError {
    pub(super) fn into_inner(self) -> FileError {
        match self {
            ReplaceError::Before(e) | ReplaceError::Unknown(e) => e,
        }
    }
}

/// The second name that holds the old file while [`replace`] runs.
pub(super) fn prev_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".prev");
    PathBuf::from(name)
}

/// Puts the synced file `temp` at `path`, both in `dir`, so that no crash leaves neither the old nor the new
/// one even where a rename is not atomic over a crash: the old one has a durable second name until the new
/// one's name is durable. [`current`] finds what this leaves.
///
/// The first directory sync also makes durable whatever else was created in `dir` before.
pub(super) fn replace(dir: &Path, temp: &Path, path: &Path) -> Result<(), ReplaceError> {
    let prepared = keep_second_name(dir, path)
        .and_then(|()| if sabotaged!("no-directory-sync-before-rename") { Ok(()) } else { sync_dir(dir) });
    prepared.map_err(ReplaceError::Before)?;
    put_in_place(dir, temp, path)
}

/// The first step of [`replace`]: a second name for the old file. A sync of the directory has to follow.
pub(super) fn keep_second_name(dir: &Path, path: &Path) -> Result<(), FileError> {
    let prev = prev_name(path);
    if exists(path)? {
        // A second name that is still there is of a replacement whose end failed: of the two names it may be the
        // only one that is durable, until the directory has been synced.
        if exists(&prev)? {
            if !sabotaged!("second-name-removed-unsynced") {
                sync_dir(dir)?;
            }
            remove_if_there(&prev)?;
        }
        match fs::hard_link(path, &prev) {
            // A file system without links: its rename has to be atomic by itself.
            Err(e) if no_links(&e) => {}
            other => other.at("link", &prev)?,
        }
    }
    Ok(())
}

/// The last step of [`replace`]: the synced file gets the old one's name.
pub(super) fn put_in_place(dir: &Path, temp: &Path, path: &Path) -> Result<(), ReplaceError> {
    let renamed = fs::rename(temp, path).at("rename", temp);
    if !sabotaged!("failed-rename-ignored") {
        renamed.map_err(ReplaceError::Before)?;
    }
    if !sabotaged!("no-directory-sync-after-rename") {
        sync_dir(dir).map_err(ReplaceError::Unknown)?;
    }
    // Needs no sync: a second name that comes back is ignored while the first one is there.
    let _ = fs::remove_file(prev_name(path));
    Ok(())
}

fn no_links(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::Unsupported || e.raw_os_error() == Some(libc::EPERM)
}

/// Gives a file another name, or, on a file system without links, a synced copy one. The name is not yet durable.
pub(super) fn link_or_copy(from: &Path, to: &Path) -> Result<(), FileError> {
    match fs::hard_link(from, to) {
        Err(e) if no_links(&e) => {
            let mut source = File::open(from).at("open", from)?;
            write_synced(to, |out| io::copy(&mut source, out).map(drop))
        }
        other => other.at("link", to),
    }
}

/// Gives the file that [`replace`] keeps at `path` that name again, durably, where a crash has left it under its
/// second name only; else takes a second name away that is not needed.
pub(super) fn settle_name(dir: &Path, path: &Path) -> Result<(), FileError> {
    let prev = prev_name(path);
    if exists(&prev)? {
        if !exists(path)? {
            link_or_copy(&prev, path)?;
            sync_dir(dir)?;
        }
        remove_if_there(&prev)?;
    }
    Ok(())
}

/// Removes the file that [`replace`] keeps at `path`, durably: its second name first, lest an old file is found under
/// it when the new one is gone. `dir` is the directory of both.
///
/// The last name is not removed but changed, and only under a temporary one does the file go. On ext4 with
/// data=writeback the blocks of a removed file are used anew before the removal is durable (ext4_free_blocks): the
/// name that counts would come back with what another process has written there meanwhile.
pub(super) fn remove_replaced(dir: &Path, path: &Path) -> Result<(), FileError> {
    let prev = prev_name(path);
    let last = if exists(path)? {
        remove_if_there(&prev)?;
        // It may have been removed before, and that not be durable.
        sync_dir(dir)?;
        path
    } else if exists(&prev)? {
        &prev
    } else {
        return Ok(());
    };
    let gone = temp_name(path);
    // Of two names of one file rename(2) would leave both.
    remove_if_there(&gone)?;
    fs::rename(last, &gone).at("rename", last)?;
    sync_dir(dir)?;
    remove_if_there(&gone)?;
    sync_dir(dir)
}

/// A name in the same directory that the next start removes without reading it.
fn temp_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from("temp-");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

/// Replaces a file that is not among the data, by way of a file called `temp` beside it. It keeps its permissions.
pub(crate) fn replace_with(path: &Path, temp: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = write_synced(temp, |out| out.write_all(bytes)).and_then(|()| match fs::metadata(path) {
        Ok(old) => fs::set_permissions(temp, old.permissions()).at("set permissions of", temp),
        Err(_) => Ok(()),
    });
    written.map_err(ReplaceError::Before).and_then(|()| replace(dir, temp, path)).map_err(|e| {
        let _ = remove_if_there(temp);
        e.into_inner()
    })
}

/// Whether a name is there. That it cannot be told is an error: "absent" would be taken for a first start.
pub(super) fn exists(path: &Path) -> Result<bool, FileError> {
    path.try_exists().at("look for", path)
}

/// The file that [`replace`] keeps at `path`: the name under which it is now.
pub(crate) fn current(path: &Path) -> Result<Option<PathBuf>, FileError> {
    if exists(path)? {
        return Ok(Some(path.to_owned()));
    }
    let prev = prev_name(path);
    Ok(exists(&prev)?.then_some(prev))
}

/// Keeps `bytes`, which are to be cut from the file at `path` from offset `at` on, under a name of their own, durably.
/// What was cut before is never written over: a second cut at the same offset gets a number. The same bytes are kept
/// once, so that a cut that a crash has interrupted can be done again.
pub(super) fn keep_cut(path: &Path, at: u64, bytes: &[u8]) -> Result<PathBuf, FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut kept = path.with_file_name(format!("{name}.cut-{at}"));
    let mut number = 1u64;
    let same = loop {
        if !exists(&kept)? {
            break false;
        }
        let long = fs::metadata(&kept).at("look at", &kept)?.len();
        if long == bytes.len() as u64 && fs::read(&kept).at("read", &kept)? == bytes {
            break true;
        }
        number += 1;
        kept = path.with_file_name(format!("{name}.cut-{at}-{number}"));
    };
    if same {
        File::open(&kept).and_then(|file| file.sync_all()).at("sync", &kept)?;
    } else {
        write_synced(&kept, |out| out.write_all(bytes))?;
    }
    sync_dir(dir)?;
    Ok(kept)
}

/// Opens a file for appending.
pub(super) fn open_append(path: &Path) -> Result<File, FileError> {
    OpenOptions::new().append(true).read(true).open(path).at("open", path)
}

/// Creates a file for appending.
pub(super) fn create_append(path: &Path) -> Result<File, FileError> {
    OpenOptions::new().append(true).read(true).create_new(true).open(path).at("create", path)
}
