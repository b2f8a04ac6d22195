//! The engine: data, persistence and counters, driven turn by turn by a server or by the library.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use crate::clients::Clients;
use crate::clock;
use crate::command::{self, Ctx, Hooks, Journal, NoJournal};
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::lock::{DirLock, LockError};
use crate::persist::{LoadReport, OpenError, Persistence, WriteError};
use crate::session::Session;

impl Journal for Persistence {
    fn log(&mut self, db: usize, argv: &[&[u8]]) {
        Persistence::log(self, db, argv);
    }
}

/// Why an engine could not be started on a directory.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory is not there, or in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its files could not be loaded.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Counters for INFO.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections taken.
    pub connections: u64,
    /// Commands executed.
    pub commands: u64,
    /// Clients now.
    pub clients: usize,
    /// Error replies.
    pub errors: u64,
    /// Clients turned away because there were too many, or because they may not come from there.
    pub rejected: u64,
    /// Bytes that clients sent.
    pub input_bytes: u64,
    /// Bytes that were sent to them.
    pub output_bytes: u64,
    /// Commands executed in the last second.
    pub ops_per_s: u64,
    /// When that second ended, and how many commands had been executed by then.
    pub sampled: (u64, u64),
}

/// One engine on one directory.
pub struct Engine {
    /// The configuration in force.
    pub config: Config,
    /// The file that it came from.
    pub config_file: Option<PathBuf>,
    /// The data.
    pub keyspace: Keyspace,
    /// The files.
    pub persistence: Persistence,
    /// Watched keys and expiries.
    pub hooks: Hooks,
    /// Counters.
    pub stats: Stats,
    /// Who is connected.
    pub clients: Clients,
    /// The time of this turn.
    pub now_ms: u64,
    /// When it started.
    pub started_ms: u64,
    /// BGSAVE SCHEDULE waits for another child to end.
    pub save_scheduled: bool,
    /// Whether the timer deletes keys whose time has come; whoever looks at one does so in any case.
    pub active_expire: bool,
    _lock: DirLock,
}

/// Expired keys deleted in one tick at most, so that clients do not wait.
const EXPIRED_PER_TICK: usize = 10_000;

impl Engine {
    /// Locks the directory and loads it.
    pub fn open(config: Config) -> Result<(Engine, LoadReport), StartError> {
        let lock = DirLock::take(&config.dir)?;
        Engine::open_locked(config, lock)
    }

    /// Loads the directory, which was locked before.
    pub fn open_locked(config: Config, lock: DirLock) -> Result<(Engine, LoadReport), StartError> {
        let now_ms = clock::now_ms();
        let (mut persistence, keyspace, report) = Persistence::open(&config, now_ms)?;
        persistence.keep_from_children([lock.as_raw_fd()]);
        let mut hooks = Hooks::default();
        hooks.expiries.rebuild(&keyspace);
        let engine = Engine {
            // Once is enough: what it left out is kept aside, and the log begins anew.
            config: Config { recover_until: None, ..config },
            config_file: None,
            keyspace,
            persistence,
            hooks,
            stats: Stats::default(),
            clients: Clients::default(),
            now_ms,
            started_ms: now_ms,
            save_scheduled: false,
            active_expire: true,
            _lock: lock,
        };
        Ok((engine, report))
    }

    /// Begins a turn: all commands in it see this time.
    pub fn begin_turn(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.persistence.begin_turn(now_ms);
    }

    /// Ends a turn: what it logged is written, and under `always` synced. No reply may leave before this.
    pub fn end_turn(&mut self) -> Result<(), WriteError> {
        self.persistence.end_turn(self.now_ms)
    }

    /// A context for data commands on database `db`.
    pub fn context(&mut self, db: usize) -> Ctx<'_> {
        Ctx {
            keyspace: &mut self.keyspace,
            journal: &mut self.persistence,
            hooks: &mut self.hooks,
            db,
            now_ms: self.now_ms,
            loading: false,
            changed: false,
            counted: None,
            translated: false,
            flushed_all: false,
        }
    }

    /// Counts the last second's commands.
    fn sample(&mut self) {
        const PERIOD_MS: u64 = 1000;
        let (at, before) = self.stats.sampled;
        let passed = self.now_ms.saturating_sub(at);
        if passed >= PERIOD_MS || self.now_ms < at {
            self.stats.ops_per_s = self.stats.commands.saturating_sub(before) * 1000 / passed.max(1);
            self.stats.sampled = (self.now_ms, self.stats.commands);
        }
    }

    /// Timer work: expired keys are deleted and logged, then persistence does its own.
    pub fn cron(&mut self) -> Result<(), WriteError> {
        self.sample();
        self.expire_keys();
        self.persistence.cron(&self.keyspace, self.now_ms)?;
        if self.save_scheduled && !self.persistence.background_running() {
            self.save_scheduled = false;
            // A failure shows in INFO and LASTSAVE, as for every background save.
            let _ = self.persistence.begin_bgsave(&self.keyspace, self.now_ms);
        }
        Ok(())
    }

    fn expire_keys(&mut self) {
        for _ in 0..if self.active_expire { EXPIRED_PER_TICK } else { 0 } {
            let Some((db, key)) = self.hooks.expiries.pop_due(self.now_ms) else { break };
            self.context(db).expire_if_due(db, &key);
        }
        if self.hooks.expiries.wants_rebuild() {
            self.hooks.expiries.rebuild(&self.keyspace);
        }
    }

    /// Loads the snapshot anew, in the place of the data.
    pub fn reload_snapshot(&mut self) -> Result<(), OpenError> {
        let keyspace = self.persistence.reload_snapshot()?;
        self.reloaded(keyspace);
        Ok(())
    }

    /// Loads the append-only files anew, in the place of the data, if they are on.
    pub fn reload_aof(&mut self) -> Result<(), OpenError> {
        if let Some(keyspace) = self.persistence.reload_aof(self.now_ms)? {
            self.reloaded(keyspace);
        }
        Ok(())
    }

    /// Takes other data. As in Redis, a watched key has changed if it was there; so has one that has come.
    fn reloaded(&mut self, keyspace: Keyspace) {
        let before = std::mem::replace(&mut self.keyspace, keyspace);
        self.hooks.expiries.rebuild(&self.keyspace);
        for (db, (old, new)) in before.dbs.iter().zip(&self.keyspace.dbs).enumerate() {
            self.hooks.watched.touch_db(db, |key| old.contains_key(key) || new.contains_key(key));
        }
    }

    /// Forgets a client: what it watched is no longer watched.
    pub fn forget(&mut self, session: &mut Session) {
        command::unwatch_all(&mut self.hooks, session);
        self.hooks.blocked.remove(session.id);
        session.transaction = None;
        self.persistence.feed().forget(session.id);
    }
}

/// A context for replay: nothing is logged, nothing expires.
pub(crate) fn loading_context<'a>(
    keyspace: &'a mut Keyspace,
    journal: &'a mut NoJournal,
    hooks: &'a mut Hooks,
    db: usize,
    now_ms: u64,
) -> Ctx<'a> {
    Ctx {
        keyspace,
        journal,
        hooks,
        db,
        now_ms,
        loading: true,
        changed: false,
        counted: None,
        translated: false,
        flushed_all: false,
    }
}
