//! Applying logged commands while a file is loaded.

use super::args;
use super::context::NoJournal;
use super::hooks::Hooks;
use super::table::{self, Run, WRITE};
use crate::engine::loading_context;
use crate::keyspace::Keyspace;
use crate::resp::Out;

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
    let name = || String::from_utf8_lossy(argv.first().unwrap_or(&b"".as_slice())).into_owned();
    let refused = |error: String| ReplayError::Refused { command: name(), error };
    let spec = argv.first().and_then(|n| table::find(n)).ok_or_else(|| ReplayError::Unknown(name()))?;
    if !spec.takes(argv.len()) {
        return Err(ReplayError::Arity(name()));
    }
    if spec.name == "select" {
        *db = args::database(argv[1]).map_err(|e| refused(e.to_string()))?;
        return Ok(());
    }
    let Run::Data(run) = spec.run else { return Err(ReplayError::NotLogged(name())) };
    if !spec.is(WRITE) {
        return Err(ReplayError::NotLogged(name()));
    }
    if *db >= keyspace.dbs.len() {
        return Err(refused("ERR DB index is out of range".into()));
    }
    let (mut journal, mut hooks, mut out) = (NoJournal, Hooks::default(), Out::default());
    let mut cx = loading_context(keyspace, &mut journal, &mut hooks, *db, now_ms);
    run(&mut cx, argv, &mut out).map_err(|e| refused(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Value;

    fn run(keyspace: &mut Keyspace, db: &mut usize, line: &str) -> Result<(), ReplayError> {
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        replay(keyspace, db, &argv, 1_000)
    }

    #[test]
    fn what_has_expired_stays_until_its_del() {
        let (mut ks, mut db) = (Keyspace::default(), 0);
        for line in ["SELECT 3", "SET k v PXAT 10", "APPEND k w", "PEXPIREAT k 20", "RPUSH l a b"] {
            assert_eq!(run(&mut ks, &mut db, line), Ok(()), "{line}");
        }
        let entry = &ks.dbs[3].get(b"k").unwrap();
        assert_eq!((&entry.value, entry.expires_at_ms()), (&Value::Str(b"vw".into()), Some(20)));
        assert_eq!(run(&mut ks, &mut db, "DEL k"), Ok(()));
        assert_eq!(ks.dbs[3].len(), 1);
    }

    #[test]
    fn what_no_server_logs_is_an_error() {
        let (mut ks, mut db) = (Keyspace::default(), 0);
        assert!(matches!(run(&mut ks, &mut db, "GET k"), Err(ReplayError::NotLogged(_))));
        assert!(matches!(run(&mut ks, &mut db, "SHUTDOWN"), Err(ReplayError::NotLogged(_))));
        assert!(matches!(run(&mut ks, &mut db, "MULTI"), Err(ReplayError::NotLogged(_))));
        assert!(matches!(run(&mut ks, &mut db, "NOPE"), Err(ReplayError::Unknown(_))));
        assert!(matches!(run(&mut ks, &mut db, "SET k"), Err(ReplayError::Arity(_))));
        assert!(matches!(run(&mut ks, &mut db, "SELECT 16"), Err(ReplayError::Refused { .. })));
        assert_eq!(ks, Keyspace::default());
    }
}
