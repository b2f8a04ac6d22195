//! Running steps on a mounted file system.

use super::Step;
use crate::raw;
use nix::fcntl::{FallocateFlags, RenameFlags};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;
use unplug_faults::event::{AllocateMode, WriteSync};

/// Runs steps below a directory.
pub struct Runner {
    root: PathBuf,
    handles: BTreeMap<String, File>,
    background: Vec<JoinHandle<io::Result<()>>>,
}

impl Runner {
    /// For this directory.
    pub fn new(root: &Path) -> Runner {
        Runner { root: root.to_owned(), handles: BTreeMap::new(), background: Vec::new() }
    }

    fn at(&self, path: &str) -> PathBuf {
        if path == "." { self.root.clone() } else { self.root.join(path) }
    }

    fn handle(&self, name: &str) -> io::Result<File> {
        let found = self.handles.get(name).ok_or(io::ErrorKind::NotFound)?;
        found.try_clone()
    }

    /// A file for reading and writing: the descriptor of this name, or one of its own.
    fn file(&self, path: &str) -> io::Result<File> {
        if path.starts_with('@') {
            return self.handle(path);
        }
        OpenOptions::new().read(true).write(true).open(self.at(path))
    }

    /// For syncing: directories open for reading alone.
    fn any(&self, path: &str) -> io::Result<File> {
        if path.starts_with('@') { self.handle(path) } else { File::open(self.at(path)) }
    }

    /// Runs one step; those that concern the disk (hold, release, jitter) are not for it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn run(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::Create(path) => {
                OpenOptions::new().write(true).create_new(true).open(self.at(path)).map(drop)
            }
            Step::Mkdir(path) => fs::create_dir(self.at(path)),
            Step::Symlink(target, path) => symlink(target, self.at(path)),
            Step::Remove { path, dir: true } => fs::remove_dir(self.at(path)),
            Step::Remove { path, dir: false } => fs::remove_file(self.at(path)),
            Step::Link(from, to) if from.starts_with('@') => {
                raw::link_descriptor(&self.handle(from)?, &self.at(to))
            }
            Step::Link(from, to) => fs::hard_link(self.at(from), self.at(to)),
            Step::Rename(from, to) => fs::rename(self.at(from), self.at(to)),
            Step::Exchange(a, b) => {
                let cwd = nix::fcntl::AT_FDCWD;
                let (a, b) = (self.at(a), self.at(b));
                nix::fcntl::renameat2(cwd, &a, cwd, &b, RenameFlags::RENAME_EXCHANGE).map_err(io::Error::from)
            }
            Step::Open { handle, path, truncate } => {
                let file =
                    OpenOptions::new().read(true).write(true).truncate(*truncate).open(self.at(path))?;
                self.handles.insert(handle.clone(), file);
                Ok(())
            }
            Step::Tmpfile { handle, dir } => {
                let mut options = OpenOptions::new();
                options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o644);
                self.handles.insert(handle.clone(), options.open(self.at(dir))?);
                Ok(())
            }
            Step::Close(handle) => {
                drop(self.handles.remove(handle));
                Ok(())
            }
            Step::Write { file, offset, letter, len, sync } => {
                self.write(file, *offset, *letter, *len, *sync)
            }
            Step::Truncate(file, size) => self.file(file)?.set_len(*size),
            Step::Allocate { file, mode, offset, len } => self.allocate(file, *mode, *offset, *len),
            Step::Fsync(path) => self.any(path)?.sync_all(),
            Step::Fdatasync(path) => self.any(path)?.sync_data(),
            Step::Syncfs => raw::syncfs(&self.any(".")?),
            Step::WriteBack { file, offset, len, wait } => {
                raw::write_back(&self.file(file)?, *offset, *len, *wait)
            }
            Step::BackgroundSync => {
                let root = self.any(".")?;
                self.background.push(std::thread::spawn(move || raw::syncfs(&root)));
                Ok(())
            }
            Step::Commit => raw::commit_btrfs(&self.any(".")?),
            Step::Sleep(ms) => {
                std::thread::sleep(Duration::from_millis(*ms));
                Ok(())
            }
            Step::Hold(..) | Step::Release | Step::Jitter(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn write(
        &self,
        path: &str,
        offset: Option<u64>,
        letter: char,
        len: u64,
        sync: WriteSync,
    ) -> io::Result<()> {
        let file = if path.starts_with('@') {
            let file = self.handle(path)?;
            if sync != WriteSync::None {
                // The flag of the one write, beside those by path, which open with the flag.
                let offset = offset.map_or_else(|| file.metadata().map(|meta| meta.len()), Ok)?;
                return raw::write_synced(
                    &file,
                    &vec![letter as u8; len as usize],
                    offset,
                    sync == WriteSync::Full,
                );
            }
            file
        } else {
            let flags = match sync {
                WriteSync::None => 0,
                WriteSync::Data => libc::O_DSYNC,
                WriteSync::Full => libc::O_SYNC,
            };
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(self.at(path))?
        };
        let offset = match offset {
            Some(offset) => offset,
            None => file.metadata()?.len(),
        };
        file.write_all_at(&vec![letter as u8; len as usize], offset)
    }

    fn allocate(&self, path: &str, mode: AllocateMode, offset: u64, len: u64) -> io::Result<()> {
        let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let flags = match mode {
            AllocateMode::Extend => FallocateFlags::empty(),
            AllocateMode::KeepSize => keep,
            AllocateMode::Punch => FallocateFlags::FALLOC_FL_PUNCH_HOLE | keep,
            AllocateMode::Zero { keep_size: false } => FallocateFlags::FALLOC_FL_ZERO_RANGE,
            AllocateMode::Zero { keep_size: true } => FallocateFlags::FALLOC_FL_ZERO_RANGE | keep,
            AllocateMode::Collapse => FallocateFlags::FALLOC_FL_COLLAPSE_RANGE,
            AllocateMode::Insert => FallocateFlags::FALLOC_FL_INSERT_RANGE,
        };
        let file = self.file(path)?;
        nix::fcntl::fallocate(&file, flags, offset as i64, len as i64).map_err(io::Error::from)
    }

    /// Waits for what runs in the background and closes every descriptor.
    ///
    /// # Errors
    /// That of a sync in the background.
    pub fn finish(&mut self) -> io::Result<()> {
        self.handles.clear();
        for thread in self.background.drain(..) {
            thread.join().map_err(|_| io::ErrorKind::Other)??;
        }
        Ok(())
    }

    /// How many descriptors are open.
    pub fn open(&self) -> usize {
        self.handles.values().filter(|file| file.as_raw_fd() >= 0).count()
    }
}
