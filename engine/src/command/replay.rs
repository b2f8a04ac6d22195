//! Applying logged commands while a file is loaded.

use super::args;
use super::context::NoJournal;
use super::hooks::Hooks;
use super::table::{self, DataCommand, Run, Spec, WRITE};
use crate::engine::loading_context;
use crate::keyspace::Keyspace;
use crate::rdb::no_database;
use crate::resp::{Out, parse_integer};

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

/// Applies logged commands, one after the other. What a command needs besides the data is made once, not for each.
#[derive(Default)]
pub struct Replayer {
    /// The database that is selected.
    pub db: usize,
    /// The last command, and its name as it was spelt: mostly the next one is the same.
    last: Option<Known>,
    spelt: Vec<u8>,
    journal: NoJournal,
    hooks: Hooks,
    out: Out,
}

/// A command that can be replayed.
#[derive(Clone, Copy)]
struct Known {
    spec: &'static Spec,
    /// `None` for SELECT.
    run: Option<DataCommand>,
    /// It is SET: without options it replaces whatever there is.
    plain_set: bool,
}

/// Replies that nobody reads are thrown away when they have grown to this.
const KEEP_REPLIES: usize = 4096;

impl Replayer {
    /// Applies one: no logging, and no key is deleted because its time has come (the log holds the DEL). SELECT
    /// moves `db`; MULTI and EXEC are the reader's to bracket and are refused here.
    pub fn apply(&mut self, keyspace: &mut Keyspace, argv: &[&[u8]], now_ms: u64) -> Result<(), ReplayError> {
        let name = || String::from_utf8_lossy(argv.first().unwrap_or(&b"".as_slice())).into_owned();
        let refused = |error: String| ReplayError::Refused { command: name(), error };
        let first = argv.first().copied().unwrap_or_default();
        let known = match self.last {
            Some(known) if self.spelt == first => known,
            _ => {
                let known = known(first)?;
                self.last = Some(known);
                self.spelt.clear();
                self.spelt.extend_from_slice(first);
                known
            }
        };
        if !known.spec.takes(argv.len()) {
            return Err(ReplayError::Arity(name()));
        }
        let Some(run) = known.run else {
            self.db = args::database(keyspace, argv[1]).map_err(|e| match parse_integer(argv[1]) {
                Some(number @ 0..) => refused(no_database(number, keyspace.dbs.len())),
                _ => refused(e.to_string()),
            })?;
            return Ok(());
        };
        if self.db >= keyspace.dbs.len() {
            return Err(refused("ERR DB index is out of range".into()));
        }
        if let ([_, key, value], true) = (argv, known.plain_set) {
            // What most logs mostly consist of: one look-up instead of several, no reply, and nobody who watches.
            keyspace.dbs[self.db].put(key, value);
            return Ok(());
        }
        let mut cx = loading_context(keyspace, &mut self.journal, &mut self.hooks, self.db, now_ms);
        let ran = run(&mut cx, argv, &mut self.out);
        if self.out.bytes().len() > KEEP_REPLIES {
            self.out = Out::default();
        } else {
            self.out.clear();
        }
        ran.map_err(|e| refused(e.to_string()))
    }
}

/// The command of that name, if it is one that is logged.
fn known(first: &[u8]) -> Result<Known, ReplayError> {
    let name = || String::from_utf8_lossy(first).into_owned();
    let spec = table::find(first).ok_or_else(|| ReplayError::Unknown(name()))?;
    let plain_set = spec.name == "set";
    match spec.run {
        _ if spec.name == "select" => Ok(Known { spec, run: None, plain_set }),
        Run::Data(run) if spec.is(WRITE) => Ok(Known { spec, run: Some(run), plain_set }),
        _ => Err(ReplayError::NotLogged(name())),
    }
}

/// Applies one logged command: see [`Replayer::apply`].
pub fn replay(
    keyspace: &mut Keyspace,
    db: &mut usize,
    argv: &[&[u8]],
    now_ms: u64,
) -> Result<(), ReplayError> {
    let mut replayer = Replayer { db: *db, ..Replayer::default() };
    let applied = replayer.apply(keyspace, argv, now_ms);
    *db = replayer.db;
    applied
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
    fn set_replaces_whatever_there_is_and_its_expiry() {
        let (mut ks, mut db) = (Keyspace::default(), 0);
        for line in ["RPUSH k a", "SET s v PX 5000", "PEXPIREAT k 20", "SET k w", "set s x"] {
            assert_eq!(run(&mut ks, &mut db, line), Ok(()), "{line}");
        }
        for (key, value) in [(b"k", b"w"), (b"s", b"x")] {
            let entry = ks.dbs[0].get(key).unwrap();
            assert_eq!((&entry.value, entry.expires_at_ms()), (&Value::Str(value.as_slice().into()), None));
        }
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
