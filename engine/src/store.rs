//! The engine as a library: one client, no sockets.

use crate::clock;
use crate::command;
use crate::config::Config;
use crate::engine::{Engine, StartError};
use crate::keyspace::{Entry, Keyspace};
use crate::persist::{LoadReport, WriteError};
use crate::resp::{Out, Reply};
use crate::session::{Outcome, Session};

/// Why a command was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The log could not be written under a policy that promises it. The command is indeterminate and the
    /// store must not be used further.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The reply could not be decoded; the engine is at fault.
    #[error("malformed reply: {0}")]
    Reply(String),
}

/// A store on a directory.
pub struct Store {
    engine: Engine,
    session: Session,
    report: LoadReport,
    out: Out,
}

impl Store {
    /// Opens a directory, recovering whatever a crash left in it.
    pub fn open(config: Config) -> Result<Store, StartError> {
        let (engine, report) = Engine::open(config)?;
        Ok(Store { engine, session: Session::new(1), report, out: Out::default() })
    }

    /// What opening found.
    pub fn load_report(&self) -> &LoadReport {
        &self.report
    }

    /// Executes one command in a turn of its own: it returns when the policy's acknowledgement is due.
    pub fn execute(&mut self, argv: &[&[u8]]) -> Result<Reply, StoreError> {
        let replies = self.execute_pipeline(&[argv])?;
        replies.into_iter().next().ok_or_else(|| StoreError::Reply("none".into()))
    }

    /// Executes several commands in one turn: one write, and under `always` one sync, serve all replies.
    pub fn execute_pipeline(&mut self, commands: &[&[&[u8]]]) -> Result<Vec<Reply>, StoreError> {
        self.engine.begin_turn(clock::now_ms());
        self.out.clear();
        for argv in commands {
            if argv.is_empty() {
                self.out.error("ERR empty command");
                continue;
            }
            match command::execute(&mut self.engine, &mut self.session, argv, &mut self.out) {
                Outcome::Done | Outcome::Close => {}
                Outcome::Shutdown(_) => {
                    self.out.error("ERR SHUTDOWN is for servers: close the store instead")
                }
                // As in a transaction: nobody else could bring what it waits for.
                Outcome::Block(block) => block.refuse(&mut self.out),
                // One client and no timer: the answer is how things stand, after what was logged is written.
                Outcome::AwaitDurable { .. } => {
                    self.engine.end_turn()?;
                    self.out.array(2);
                    self.out.int(i64::from(self.engine.persistence.waitaof_durable()));
                    self.out.int(0);
                }
            }
        }
        self.engine.end_turn()?;
        self.decode(commands.len())
    }

    /// Executes a transaction in one turn: MULTI, the commands, EXEC. Gives EXEC's reply.
    pub fn execute_multi(&mut self, commands: &[&[&[u8]]]) -> Result<Reply, StoreError> {
        let (multi, exec): ([&[u8]; 1], [&[u8]; 1]) = ([b"MULTI"], [b"EXEC"]);
        let mut all: Vec<&[&[u8]]> = vec![&multi];
        all.extend_from_slice(commands);
        all.push(&exec);
        self.execute_pipeline(&all)?.pop().ok_or_else(|| StoreError::Reply("none".into()))
    }

    fn decode(&self, count: usize) -> Result<Vec<Reply>, StoreError> {
        let (mut replies, mut rest) = (Vec::with_capacity(count), self.out.bytes());
        while !rest.is_empty() {
            let decoded = Reply::decode(rest).map_err(StoreError::Reply)?;
            let (reply, used) = decoded.ok_or_else(|| StoreError::Reply("cut off".into()))?;
            replies.push(reply);
            rest = &rest[used..];
        }
        Ok(replies)
    }

    /// Does the timer's work: expiry, background syncs, rewrites and saves. To be called `hz` times a second.
    pub fn tick(&mut self) -> Result<(), WriteError> {
        self.engine.begin_turn(clock::now_ms());
        self.engine.cron()?;
        self.engine.end_turn()
    }

    /// Everything in the store, by database and then by key. Keys past their expiry that were not deleted
    /// yet are among it.
    pub fn dump(&self) -> impl Iterator<Item = (usize, &[u8], &Entry)> {
        let mut all = Vec::new();
        for (number, db) in self.engine.keyspace.dbs.iter().enumerate() {
            let start = all.len();
            all.extend(db.iter().map(|(key, entry)| (number, key, entry)));
            all[start..].sort_unstable_by_key(|(_, key, _)| *key);
        }
        all.into_iter()
    }

    /// The data.
    pub fn keyspace(&self) -> &Keyspace {
        &self.engine.keyspace
    }

    /// Whether a child is saving or rewriting.
    pub fn background_running(&self) -> bool {
        self.engine.persistence.background_running()
    }

    /// Ends the store as SIGKILL ends a server: nothing more is written; memory and descriptors are freed. (No
    /// part of the engine writes when it is dropped; a sync that was already under way runs to its end.)
    pub fn abandon(self) {
        drop(self);
    }

    /// Ends the store as SHUTDOWN ends a server: the log is written and synced, and a snapshot is made if
    /// save points are configured.
    pub fn close(mut self) -> Result<(), WriteError> {
        self.engine.begin_turn(clock::now_ms());
        self.engine.end_turn()?;
        let now_ms = self.engine.now_ms;
        self.engine.persistence.shutdown(&self.engine.keyspace, None, now_ms)
    }
}
