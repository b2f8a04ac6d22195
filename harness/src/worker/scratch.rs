//! Directories for images and logs: in memory where there is room, unique, removed whatever happens.

use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Names the directory under which scratch directories are made.
pub const ENV_TMP: &str = "UNPLUG_TMP";

const PREFIX: &str = "unplug-";
const LOCK: &str = ".lock";

/// A directory of this process, removed when dropped. Should the process be killed, the next one that makes a
/// scratch directory beside it removes it: the lock inside tells that its owner is gone.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Scratch {
    /// A fresh directory under [`base`], after the remains of killed processes are removed there.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new() -> io::Result<Scratch> {
        let base = base()?;
        sweep(&base);
        Scratch::under(&base)
    }

    /// A fresh directory under `base`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn under(base: &Path) -> io::Result<Scratch> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let path = base.join(name(std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
            match fs::create_dir(&path) {
                // Another process with this number, in another container that shares the directory.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let file = File::create(path.join(LOCK))?;
            if let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
                && path.join(LOCK).exists()
            {
                return Ok(Scratch { path, _lock });
            }
            // A sweep came between, before the file was locked: the directory is gone, or goes now.
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// The name of a process's nth directory. All are of one length: targets name files in what they answer and log, and how
/// long an answer is, is part of a recording. (A process's number has seven digits at the most, proc_sys_kernel(5).)
fn name(pid: u32, n: u64) -> String {
    format!("{PREFIX}{pid:07}-{n:07}")
}

/// Removes a directory in which processes that were killed a moment ago may still be making files: a server dies by
/// its worker's death, not before it.
pub(crate) fn remove(dir: &Path) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let start = Instant::now();
    while let Err(error) = fs::remove_dir_all(dir) {
        // What cannot be removed is left to the next sweep.
        if error.kind() == io::ErrorKind::NotFound || start.elapsed() > PATIENCE {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Where scratch directories are made: `UNPLUG_TMP`, else `/dev/shm`, else the system's temporary directory.
///
/// # Errors
/// When `UNPLUG_TMP` names no directory.
pub fn base() -> io::Result<PathBuf> {
    if let Some(dir) = std::env::var_os(ENV_TMP) {
        let dir = PathBuf::from(dir);
        if !dir.is_dir() {
            return Err(io::Error::other(format!("{ENV_TMP}={}: not a directory", dir.display())));
        }
        return fs::canonicalize(dir);
    }
    let memory = Path::new("/dev/shm");
    let usable = nix::unistd::access(memory, nix::unistd::AccessFlags::W_OK).is_ok();
    if usable { Ok(memory.to_path_buf()) } else { fs::canonicalize(std::env::temp_dir()) }
}

/// Removes directories whose owners are gone.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // One without a lock file is being made at this moment, or is not ours.
        let Ok(file) = File::options().write(true).open(entry.path().join(LOCK)) else { continue };
        if let Ok(_held) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether the file system that holds `path` is full, or nearly so: what a target does then is not what it
/// would do on a disk with room.
pub fn is_full(path: &Path) -> bool {
    const ENOUGH: u64 = 1 << 20;
    nix::sys::statvfs::statvfs(path).is_ok_and(|s| s.blocks_available() * s.fragment_size() < ENOUGH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_owner_keeps_its_directory_and_a_dead_one_does_not() {
        let base = tempfile::tempdir().unwrap();
        let alive = Scratch::under(base.path()).unwrap();
        let dead = base.path().join("unplug-1-0");
        let foreign = base.path().join("unplug-notes");
        for dir in [&dead, &foreign] {
            fs::create_dir(dir).unwrap();
        }
        File::create(dead.join(LOCK)).unwrap();
        sweep(base.path());
        assert!(alive.path().exists() && foreign.exists() && !dead.exists());
        let path = alive.path().to_path_buf();
        drop(alive);
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_in_which_files_are_still_made_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("busy");
        fs::create_dir(&path).unwrap();
        let busy = path.clone();
        let maker = std::thread::spawn(move || {
            for n in 0..2000 {
                let _ = File::create(busy.join(n.to_string()));
            }
        });
        remove(&path);
        maker.join().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn names_are_of_one_length() {
        assert_eq!(name(7, 0), "unplug-0000007-0000000");
        assert_eq!(name(4_194_304, 9_999_999).len(), name(1, 1).len());
    }

    #[test]
    fn two_directories_differ() {
        let base = tempfile::tempdir().unwrap();
        let (a, b) = (Scratch::under(base.path()).unwrap(), Scratch::under(base.path()).unwrap());
        assert_ne!(a.path(), b.path());
    }
}
