//! What can go wrong, each with the file that it went wrong with.

use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried.
    pub doing: &'static str,
    /// With which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Names file and attempt of an I/O error.
pub(super) trait At<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError { doing, path: path.to_owned(), source })
    }
}

/// Why the data cannot be loaded. Nothing was changed on the disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not what a crash can leave.
    #[error("{}: at offset {offset}: {what}. Nothing was changed. {repair}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
        /// What a person can do.
        repair: String,
    },
    /// The configuration cannot be served.
    #[error("{0}")]
    Config(String),
}

/// The log could not be written: under `always` the server must stop before any reply leaves.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A write or a sync failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// An earlier failure left the log unusable.
    #[error("the append-only file is unusable since: {0}")]
    Broken(String),
}

/// A snapshot was not made.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// One is being made.
    #[error("Background save already in progress")]
    InProgress,
    /// A rewrite is running; BGSAVE has to wait for its child.
    #[error("Another child process is active (AOF?): can't BGSAVE right now")]
    RewriteInProgress,
    /// A transaction is being executed; half of it must not be saved.
    #[error("a transaction is being executed")]
    InTransaction,
    /// The data were loaded from a place that cannot be written.
    #[error("the directory is read-only")]
    ReadOnly,
}

/// What became of BGREWRITEAOF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewriteStart {
    /// It runs.
    Started,
    /// It will be started by [`super::Persistence::cron`] when no transaction and no other child stands in its way.
    Scheduled,
}

/// A rewrite was not started.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// One is running.
    #[error("Background append only file rewriting already in progress")]
    InProgress,
    /// There is no log to rewrite.
    #[error("the append-only file is off")]
    Off,
}
