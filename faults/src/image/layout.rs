//! Laying images out in a directory, one after the other.

use crate::effect::PAGE;
use crate::image::SharedImage;
use crate::image::disk::{Content, Page};
use crate::image::shared::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What kept an image from being laid out.
#[derive(Debug, thiserror::Error)]
pub enum LayOutError {
    /// The disk is full; the directory was emptied.
    #[error("no space left for an image in {}", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// Any other error.
    #[error("cannot lay out {}: {source}", path.display())]
    Io {
        /// What was being written or removed.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<LayOutError> for io::Error {
    fn from(error: LayOutError) -> io::Error {
        let kind = match &error {
            LayOutError::Full { .. } => io::ErrorKind::StorageFull,
            LayOutError::Io { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

/// Lays images out in one directory. It trusts nothing that stands there: a recovery may have changed it, and
/// through a mapping without a trace in any time stamp. A regular file with one name is written over in place, which
/// is cheaper than making it anew; everything that the image does not hold goes.
#[derive(Debug)]
pub struct LayOut {
    dir: PathBuf,
}

/// Pages that are written in one call.
const MOST_PAGES: usize = 512;

impl LayOut {
    /// For this directory, which must exist.
    pub fn new(dir: &Path) -> LayOut {
        LayOut { dir: dir.to_owned() }
    }

    /// Makes the directory hold exactly the image.
    ///
    /// # Errors
    /// [`LayOutError`], with the path. After [`LayOutError::Full`] the directory is empty.
    pub fn lay(&mut self, image: &SharedImage) -> Result<(), LayOutError> {
        match self.try_lay(image) {
            Err(LayOutError::Full { path }) => {
                // Nothing half-written may be taken for an image.
                self.clear(&self.dir, b"", &BTreeMap::new())?;
                Err(LayOutError::Full { path })
            }
            other => other,
        }
    }

    fn try_lay(&self, image: &SharedImage) -> Result<(), LayOutError> {
        let wanted: BTreeMap<&[u8], Wanted<'_>> =
            image.walk().map(|(path, e, first)| (path, (e, first))).collect();
        let kept = self.clear(&self.dir, b"", &wanted)?;
        for (path, (entry, first)) in wanted {
            let at = self.at(path);
            let put = match (entry, first) {
                (Entry::Dir, _) if kept.contains(path) => Ok(()),
                (Entry::Dir, _) => fs::create_dir(&at),
                (Entry::Symlink(target), _) => std::os::unix::fs::symlink(OsStr::from_bytes(target), &at),
                (Entry::File(_), Some(first)) => fs::hard_link(self.at(first), &at),
                (Entry::File(file), None) => write_file(&at, image.files.get(file), kept.contains(path)),
            };
            put.map_err(|e| failed(&at, e))?;
        }
        Ok(())
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.dir.join(OsStr::from_bytes(path))
    }

    /// Removes from `dir` what is not wanted or cannot be written over; gives what was kept.
    fn clear(
        &self,
        dir: &Path,
        prefix: &[u8],
        wanted: &BTreeMap<&[u8], Wanted<'_>>,
    ) -> Result<BTreeSet<Vec<u8>>, LayOutError> {
        let mut kept = BTreeSet::new();
        for entry in fs::read_dir(dir).map_err(|e| failed(dir, e))? {
            let entry = entry.map_err(|e| failed(dir, e))?;
            let mut path = prefix.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.file_name().as_bytes());
            let at = entry.path();
            let kind = entry.file_type().map_err(|e| failed(&at, e))?;
            let same = match wanted.get(path.as_slice()) {
                Some((Entry::Dir, _)) => kind.is_dir(),
                Some((Entry::File(_), None)) => {
                    kind.is_file() && fs::symlink_metadata(&at).map_err(|e| failed(&at, e))?.nlink() == 1
                }
                _ => false,
            };
            if !same {
                let gone = if kind.is_dir() { fs::remove_dir_all(&at) } else { fs::remove_file(&at) };
                gone.map_err(|e| failed(&at, e))?;
                continue;
            }
            if kind.is_dir() {
                kept.extend(self.clear(&at, &path, wanted)?);
            }
            kept.insert(path);
        }
        Ok(kept)
    }
}

/// What a path is to be, and the file's first name where this is a further one.
type Wanted<'a> = (&'a Entry, Option<&'a [u8]>);

/// Writes a file, over the one that stands there or anew.
fn write_file(at: &Path, content: Option<&Arc<Content>>, kept: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(!kept).open(at)?;
    let Some(content) = content else { return file.set_len(0) };
    let pages: Vec<(u64, &Arc<Page>)> =
        content.pages.range(..content.size.div_ceil(PAGE)).map(|(page, bytes)| (*page, bytes)).collect();
    let holes = (pages.len() as u64) < content.size.div_ceil(PAGE);
    if kept && holes {
        // What is no page of the image is zeros, whatever stood there.
        file.set_len(0)?;
    }
    for run in pages.chunk_by(|(a, _), (b, _)| a + 1 == *b) {
        if holes {
            file.seek(SeekFrom::Start(run[0].0 * PAGE))?;
        }
        for part in run.chunks(MOST_PAGES) {
            let inside = |page: u64| (content.size - page * PAGE).min(PAGE) as usize;
            let mut slices: Vec<IoSlice<'_>> =
                part.iter().map(|(page, bytes)| IoSlice::new(&bytes[..inside(*page)])).collect();
            write_all(&mut file, &mut slices)?;
        }
    }
    if kept || holes { file.set_len(content.size) } else { Ok(()) }
}

fn write_all(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn failed(path: &Path, source: io::Error) -> LayOutError {
    let path = path.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => LayOutError::Full { path },
        _ => LayOutError::Io { path, source },
    }
}
