//! One engine per directory.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Why the directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another engine has it.
    #[error("directory '{0}' is in use by another engine")]
    InUse(String),
    /// It cannot be opened or locked.
    #[error("can't open directory '{0}': {1}")]
    Io(String, io::Error),
}

/// The lock on a directory, let go when dropped. It is taken on the directory itself, so that no file of its
/// own lies among the data.
///
/// A forked child shares it until it closes its descriptor, as the engine's do first: one that outlives its
/// server, if only for a moment, would keep the next one out.
#[derive(Debug)]
pub struct DirLock {
    flock: Flock<File>,
}

impl AsRawFd for DirLock {
    fn as_raw_fd(&self) -> RawFd {
        self.flock.as_raw_fd()
    }
}

impl DirLock {
    /// Takes `dir`, or says who is in the way.
    pub fn take(dir: &Path) -> Result<DirLock, LockError> {
        let name = || dir.display().to_string();
        let file = File::open(dir).map_err(|e| LockError::Io(name(), e))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(flock) => Ok(DirLock { flock }),
            Err((_, Errno::EWOULDBLOCK)) => Err(LockError::InUse(name())),
            Err((_, e)) => Err(LockError::Io(name(), e.into())),
        }
    }
}
