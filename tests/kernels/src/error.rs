//! What can go wrong, with the words that a person needs.

use std::path::{Path, PathBuf};

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A script, or a fixture, does not read.
    #[error("{place}:{line}: {what}")]
    Text {
        /// Which file.
        place: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The process at the mounted file system gave an error, or is gone.
    #[error("{what}: {answer}")]
    Helper {
        /// What it was asked for.
        what: String,
        /// What it said.
        answer: String,
    },
    /// A tool failed.
    #[error("{tool} failed: {stderr}")]
    Tool {
        /// Which.
        tool: String,
        /// Its last words.
        stderr: String,
    },
    /// The trees that a model allows are too many to be enumerated, so that no answer is possible.
    #[error("{workload} has more than {budget} states under {model}: no tree can be said to be outside")]
    TooMany {
        /// The script.
        workload: String,
        /// The model.
        model: String,
        /// How many were looked at.
        budget: u64,
    },
    /// Something else that must not happen.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// For `map_err`: an I/O error with what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    /// For `map_err`: an I/O error at a path.
    pub fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path: PathBuf = path.to_owned();
        move |source| Error::Io { what: path.display().to_string(), source }
    }

    /// For `map_err`: an error of a system call, with what was tried.
    pub fn os(what: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Error {
        let what = what.into();
        move |errno| Error::Io { what, source: std::io::Error::from(errno) }
    }
}
