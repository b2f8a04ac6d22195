//! Applying logged commands while a file is loaded.

use crate::keyspace::Keyspace;

/// Why a logged command could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The file names a command that the engine does not have.
    #[error("unknown command '{0}'")]
    Unknown(String),
    /// The command is one that no server logs (it changes no data).
    #[error("command '{0}' is not one that is logged")]
    NotLogged(String),
    /// The command has the wrong number of arguments.
    #[error("wrong number of arguments for '{0}' command")]
    Arity(String),
    /// The command was refused, with Redis's error text.
    #[error("command '{command}' was refused: {error}")]
    Refused {
        /// The command's name.
        command: String,
        /// The error that a client would have been given.
        error: String,
    },
}

/// Applies one logged command: no logging, and no key is deleted because its time has come (the log holds the
/// DEL). SELECT moves `db`; MULTI and EXEC are the reader's to bracket and are refused here.
pub fn replay(
    keyspace: &mut Keyspace,
    db: &mut usize,
    argv: &[&[u8]],
    now_ms: u64,
) -> Result<(), ReplayError> {
    let _ = (keyspace, db, now_ms);
    let name = argv.first().map(|n| String::from_utf8_lossy(n).into_owned()).unwrap_or_default();
    Err(ReplayError::Unknown(name))
}
