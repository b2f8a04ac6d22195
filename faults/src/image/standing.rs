//! Whether a directory still holds exactly an image.

use crate::effect::PAGE;
use crate::event::FileId;
use crate::image::SharedImage;
use crate::image::disk::{Content, Page};
use crate::image::shared::Entry;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Read at once.
const CHUNK: usize = 32 * PAGE as usize;

impl SharedImage {
    /// Whether `dir` holds exactly this image. It is looked at byte by byte: a write through a mapping may leave no
    /// trace in a time stamp.
    ///
    /// # Errors
    /// What stands there cannot be read.
    pub fn stands_in(&self, dir: &Path) -> io::Result<bool> {
        let mut found = Found::default();
        if !self.names_stand(dir, &mut Vec::new(), &mut found)? || found.names != self.entries.len() {
            return Ok(false);
        }
        for (file, (path, links)) in &found.files {
            let names = self.entries.values().filter(|entry| **entry == Entry::File(*file)).count();
            let Some(content) = self.files.get(file) else { return Ok(false) };
            if *links != names as u64 || !holds(File::open(path)?, content)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether every name below `dir` is the image's, stands for what it should, and has the right size.
    fn names_stand(&self, dir: &Path, prefix: &mut Vec<u8>, found: &mut Found) -> io::Result<bool> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let before = prefix.len();
            if before > 0 {
                prefix.push(b'/');
            }
            prefix.extend_from_slice(entry.file_name().as_bytes());
            found.names += 1;
            let at = entry.path();
            let kind = entry.file_type()?;
            let same = match self.entries.get(prefix.as_slice()) {
                Some(Entry::Dir) => kind.is_dir() && self.names_stand(&at, prefix, found)?,
                Some(Entry::Symlink(target)) => {
                    kind.is_symlink() && fs::read_link(&at)?.as_os_str().as_bytes() == target
                }
                Some(Entry::File(file)) => {
                    kind.is_file() && {
                        let meta = fs::symlink_metadata(&at)?;
                        found.files.entry(*file).or_insert_with(|| (at.clone(), meta.nlink()));
                        *found.inodes.entry(meta.ino()).or_insert(*file) == *file
                            && self.files.get(file).is_some_and(|content| content.size == meta.len())
                    }
                }
                None => false,
            };
            if !same {
                return Ok(false);
            }
            prefix.truncate(before);
        }
        Ok(true)
    }
}

/// What a walk has met.
#[derive(Default)]
struct Found {
    names: usize,
    /// One name of each file, and how many the file says that it has.
    files: BTreeMap<FileId, (std::path::PathBuf, u64)>,
    inodes: BTreeMap<u64, FileId>,
}

/// Whether a file holds exactly this content.
fn holds(mut file: File, content: &Content) -> io::Result<bool> {
    static ZEROS: Page = [0; PAGE as usize];
    let mut buffer = vec![0; CHUNK.min(content.size as usize)];
    let mut at = 0;
    while at < content.size {
        let chunk = &mut buffer[..(content.size - at).min(CHUNK as u64) as usize];
        match file.read_exact(chunk) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        for (n, bytes) in chunk.chunks(PAGE as usize).enumerate() {
            let page = content.pages.get(&(at / PAGE + n as u64)).map_or(&ZEROS, |page| page);
            if page[..bytes.len()] != *bytes {
                return Ok(false);
            }
        }
        at += chunk.len() as u64;
    }
    Ok(true)
}
