//! Laying images out in a directory, one after the other.

use crate::event::NodeKind;
use crate::image::{Image, ImageNode};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

/// Lays images out in one directory. It trusts nothing that stands there: a recovery may have changed it. A
/// regular file with one name is written over in place, which is cheaper than making it anew; everything that
/// the image does not hold goes.
#[derive(Debug)]
pub struct LayOut {
    dir: PathBuf,
}

impl LayOut {
    /// For this directory, which must exist.
    pub fn new(dir: &Path) -> LayOut {
        LayOut { dir: dir.to_owned() }
    }

    /// Makes the directory hold exactly the image.
    ///
    /// # Errors
    /// [`LayOutError`], with the path. After [`LayOutError::Full`] the directory is empty.
    pub fn lay(&mut self, image: &Image) -> Result<(), LayOutError> {
        match self.try_lay(image) {
            Err(LayOutError::Full { path }) => {
                // Nothing half-written may be taken for an image.
                self.clear(&self.dir, &Image::default(), b"")?;
                Err(LayOutError::Full { path })
            }
            other => other,
        }
    }

    fn try_lay(&self, image: &Image) -> Result<(), LayOutError> {
        let kept = self.clear(&self.dir, image, b"")?;
        for (path, node) in &image.nodes {
            let at = self.at(path);
            self.put(&at, node, kept.contains(path)).map_err(|e| failed(&at, e))?;
        }
        Ok(())
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.dir.join(std::ffi::OsStr::from_bytes(path))
    }

    /// Removes from `dir` what the image does not hold or cannot be written over; gives what was kept.
    fn clear(&self, dir: &Path, image: &Image, prefix: &[u8]) -> Result<BTreeSet<Vec<u8>>, LayOutError> {
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
            let wanted = image.nodes.get(&path);
            let same = match wanted.map(|node| (&node.kind, node.link_to.is_some())) {
                Some((NodeKind::Dir, _)) => kind.is_dir(),
                Some((NodeKind::File, false)) => {
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
                kept.extend(self.clear(&at, image, &path)?);
            }
            kept.insert(path);
        }
        Ok(kept)
    }

    fn put(&self, at: &Path, node: &ImageNode, kept: bool) -> io::Result<()> {
        if let Some(first) = &node.link_to {
            return fs::hard_link(self.at(first), at);
        }
        match &node.kind {
            NodeKind::Dir if kept => Ok(()),
            NodeKind::Dir => fs::create_dir(at),
            NodeKind::Symlink(target) => std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), at),
            NodeKind::File => {
                let mut file = OpenOptions::new().write(true).create_new(!kept).open(at)?;
                file.write_all(&node.data)?;
                if kept {
                    file.set_len(node.data.len() as u64)?;
                }
                Ok(())
            }
        }
    }
}

fn failed(path: &Path, source: io::Error) -> LayOutError {
    let path = path.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => LayOutError::Full { path },
        _ => LayOutError::Io { path, source },
    }
}
