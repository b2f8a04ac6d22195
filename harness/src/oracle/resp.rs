//! The reference model of a Redis-compatible server, written from Redis's documentation and independent of
//! any server's code.

use super::resp_commands::{self, Meta};
use super::resp_reply::{self, Reply};
use crate::contract::Contract;
use crate::dump::{Digest, Dump, Entry};
use crate::target::resp_op::{RespOp, RespOpError, canonical_key, canonical_list, canonical_string};
use crate::target::{Meaning, Oracle};
use crate::workload::{Step, Workload};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A key's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A string.
    Str(Vec<u8>),
    /// A list.
    List(Vec<Vec<u8>>),
}

/// A key's content, its expiry, and its share of the state's identity.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) value: Value,
    pub(super) expires_at_ms: Option<u64>,
    share: u128,
}

type Key = (u32, Vec<u8>);

/// The reference model. SELECT is followed for one client only (see [`RespOracle::validate`]).
#[derive(Clone, Debug, Default)]
pub struct RespOracle {
    slots: BTreeMap<Key, Arc<Slot>>,
    pub(super) database: u32,
    /// The sum of the shares of keys that are alive at an instant, once somebody has asked.
    counted: Option<(u64, u128)>,
    /// When the newest background save or rewrite was asked for.
    background_ms: Option<u64>,
}

/// A workload holds something that the reference model does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCommand {
    /// Not an operation at all.
    #[error("step {step}: {error}")]
    Encoding {
        /// The step's index.
        step: usize,
        /// What is wrong with it.
        error: RespOpError,
    },
    /// A command without a model.
    #[error("step {step}: the reference model does not know the command {name}")]
    Command {
        /// The step's index.
        step: usize,
        /// The command's name.
        name: String,
    },
    /// A command of one connection's state in a workload of several clients.
    #[error("step {step}: SELECT cannot be followed with several clients")]
    SelectWithSeveralClients {
        /// The step's index.
        step: usize,
    },
}

impl RespOracle {
    /// An empty server.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks that every operation of a workload is known to the model, before anything is run.
    ///
    /// # Errors
    /// [`UnknownCommand`] for the first that is not.
    pub fn validate(workload: &Workload) -> Result<(), UnknownCommand> {
        let mut clients = std::collections::BTreeSet::new();
        let mut select = None;
        for (step, what) in workload.steps.iter().enumerate() {
            let operations: Vec<(u32, &[u8])> = match what {
                Step::Invoke { client, op } => vec![(*client, op)],
                Step::Together(all) => all.iter().map(|(c, o)| (*c, o.as_slice())).collect(),
                _ => continue,
            };
            for (client, op) in operations {
                clients.insert(client);
                let op = RespOp::decode(op).map_err(|error| UnknownCommand::Encoding { step, error })?;
                for command in &op.commands {
                    let name = resp_commands::name(command);
                    if !resp_commands::is_known(&name) {
                        return Err(UnknownCommand::Command { step, name });
                    }
                    if name == "SELECT" {
                        select.get_or_insert(step);
                    }
                }
            }
        }
        match select {
            Some(step) if clients.len() > 1 => Err(UnknownCommand::SelectWithSeveralClients { step }),
            _ => Ok(()),
        }
    }

    /// The key's content, unless it has expired by `at_ms`.
    pub(super) fn get(&self, key: &[u8], at_ms: u64) -> Option<&Slot> {
        let slot = self.slots.get(&(self.database, key.to_vec()))?;
        // Redis expires a key when the time is *past* its expiry.
        slot.expires_at_ms.is_none_or(|t| t >= at_ms).then_some(slot)
    }

    /// Sets the key's content.
    pub(super) fn put(&mut self, key: &[u8], value: Value, expires_at_ms: Option<u64>) {
        let full = (self.database, key.to_vec());
        let share = entry(&value, expires_at_ms).identity(&canonical_key(full.0, &full.1));
        let slot = Arc::new(Slot { value, expires_at_ms, share });
        self.count(&slot, true);
        if let Some(old) = self.slots.insert(full, slot) {
            self.count(&old, false);
        }
    }

    /// Removes the key; whether it was there.
    pub(super) fn remove(&mut self, key: &[u8], at_ms: u64) -> bool {
        let was = self.get(key, at_ms).is_some();
        if let Some(old) = self.slots.remove(&(self.database, key.to_vec())) {
            self.count(&old, false);
        }
        was
    }

    /// Removes every key of one database, or of all.
    pub(super) fn flush(&mut self, all: bool) {
        let database = self.database;
        self.slots.retain(|(d, _), _| !all && *d != database);
        self.counted = None;
    }

    fn count(&mut self, slot: &Slot, add: bool) {
        if let Some((now, sum)) = &mut self.counted
            && slot.expires_at_ms.is_none_or(|t| t > *now)
        {
            *sum = if add { sum.wrapping_add(slot.share) } else { sum.wrapping_sub(slot.share) };
        }
    }

    /// Runs one operation; the reply is that of the command, or of EXEC.
    fn run(&mut self, op: &RespOp, at_ms: u64) -> Reply {
        let mut replies: Vec<Reply> =
            op.commands.iter().map(|c| resp_commands::run(self, c, at_ms)).collect();
        if op.is_transaction() { Reply::Array(replies) } else { replies.pop().unwrap_or(Reply::Any) }
    }

    /// A model that holds only the keys that `op` speaks of: enough to work out its reply.
    fn excerpt(&self, op: &RespOp) -> RespOracle {
        let mut small = RespOracle { database: self.database, ..RespOracle::default() };
        // SELECT inside a transaction moves what follows it: take the key from every database.
        let databases = || self.slots.keys().map(|(d, _)| *d).collect::<std::collections::BTreeSet<_>>();
        let several = op.commands.iter().any(|c| resp_commands::name(c) == "SELECT");
        let databases = if several { databases() } else { [self.database].into() };
        for key in op.commands.iter().flat_map(|c| resp_commands::keys(c)) {
            for database in &databases {
                let full = (*database, key.to_vec());
                if let Some(slot) = self.slots.get(&full) {
                    small.slots.insert(full, Arc::clone(slot));
                }
            }
        }
        small
    }
}

fn entry(value: &Value, expires_at_ms: Option<u64>) -> Entry {
    let value = match value {
        Value::Str(s) => canonical_string(s),
        Value::List(l) => canonical_list(l.iter().map(Vec::as_slice)),
    };
    Entry { value, expires_at_ms }
}

impl Oracle for RespOracle {
    fn apply(&mut self, op: &[u8], reply: Option<&[u8]>, at_ms: u64) {
        // A workload is validated before it runs: what does not decode was never sent.
        let Ok(op) = RespOp::decode(op) else { return };
        // EXEC that was aborted changed nothing.
        if op.is_transaction() && reply.is_some_and(|r| r.starts_with(b"*-1") || r.starts_with(b"$-1")) {
            return;
        }
        if op.commands.iter().any(|c| matches!(resp_commands::name(c).as_str(), "BGSAVE" | "BGREWRITEAOF")) {
            self.background_ms = Some(at_ms);
        }
        self.run(&op, at_ms);
    }

    fn meaning(&self, op: &[u8], reply: Option<&[u8]>) -> Meaning {
        self.meaning_under(op, reply, &Contract::Snapshot, 0)
    }

    fn meaning_under(&self, op: &[u8], reply: Option<&[u8]>, contract: &Contract, _at_ms: u64) -> Meaning {
        let Ok(op) = RespOp::decode(op) else { return Meaning::Read };
        let mut meaning = Meaning::Read;
        for command in &op.commands {
            let of = match resp_commands::meta(&resp_commands::name(command)) {
                Some(Meta::Write) => Meaning::Write,
                Some(Meta::Persistence) => self.persistence(command, reply, contract),
                _ => Meaning::Read,
            };
            if of != Meaning::Read {
                meaning = of;
            }
        }
        meaning
    }

    fn is_error(&self, reply: &[u8]) -> bool {
        // Redis runs the other commands of a transaction in which one fails: EXEC's array is no error, and
        // the model fails the same commands.
        reply.starts_with(b"-")
    }

    fn is_refusal(&self, reply: &[u8]) -> bool {
        // Documented of MISCONF: "Commands that may modify the data set are disabled". A transaction in which one
        // is refused is discarded whole.
        reply.starts_with(b"-MISCONF") || reply.starts_with(b"-EXECABORT")
    }

    fn is_storage_error(&self, reply: &[u8]) -> bool {
        reply.starts_with(b"-MISCONF") || reply.starts_with(b"-ERR Errors writing")
    }

    fn dump(&self) -> Dump {
        let one = |((d, k), s): (&Key, &Arc<Slot>)| (canonical_key(*d, k), entry(&s.value, s.expires_at_ms));
        Dump(self.slots.iter().map(one).collect())
    }

    fn digest(&mut self, now_ms: u64) -> Digest {
        if self.counted.is_none_or(|(now, _)| now != now_ms) {
            let live = self.slots.values().filter(|s| s.expires_at_ms.is_none_or(|t| t > now_ms));
            self.counted = Some((now_ms, live.fold(0u128, |sum, s| sum.wrapping_add(s.share))));
        }
        Digest(self.counted.map_or(0, |(_, sum)| sum))
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }

    fn describe(&self, op: &[u8]) -> String {
        RespOp::decode(op).map_or_else(|e| format!("({e})"), |op| op.to_string())
    }

    fn expects(&self, op: &[u8], reply: &[u8], at_ms: u64) -> bool {
        let Ok(op) = RespOp::decode(op) else { return false };
        if reply.starts_with(b"-") && self.is_storage_error(reply) {
            return true;
        }
        self.excerpt(&op).run(&op, at_ms).matches(reply)
    }

    fn parts(&self, op: &[u8]) -> Vec<Vec<u8>> {
        let Ok(op) = RespOp::decode(op) else { return Vec::new() };
        resp_commands::parts(&op).iter().map(RespOp::encode).collect()
    }
}

impl RespOracle {
    /// What a command of the persistence family means. SAVE writes the RDB file, which an append-only
    /// target does not read at its start, so that it promises nothing there; and the reverse.
    fn persistence(&self, command: &[Vec<u8>], reply: Option<&[u8]>, contract: &Contract) -> Meaning {
        let rdb = matches!(contract, Contract::Snapshot);
        let Some(reply) = reply.filter(|r| !r.starts_with(b"-")) else {
            // Asked for but not answered: a snapshot may have been taken here.
            return match resp_commands::name(command).as_str() {
                "SAVE" | "BGSAVE" | "SHUTDOWN" if rdb => Meaning::Background,
                "BGREWRITEAOF" if !rdb => Meaning::Background,
                _ => Meaning::Read,
            };
        };
        match resp_commands::name(command).as_str() {
            "SAVE" if rdb => Meaning::Barrier,
            "BGSAVE" if rdb => Meaning::Background,
            "BGREWRITEAOF" if !rdb => Meaning::Background,
            "LASTSAVE" if rdb => {
                // Only one save runs at a time: one that ended in a later second than that in which the
                // newest was asked for is that one or a newer.
                let seconds = resp_reply::integer(reply).unwrap_or(0);
                let newer = self.background_ms.is_some_and(|ms| seconds > (ms / 1000) as i64);
                if newer { Meaning::SaveSeen } else { Meaning::Read }
            }
            "INFO" => {
                let shown = resp_reply::info_shows_success(reply, rdb);
                // A snapshot may have been the server's own decision: whether there was one its forks tell.
                if shown && (rdb || self.background_ms.is_some()) { Meaning::SaveSeen } else { Meaning::Read }
            }
            // Answered by the end of the server, with status 0: the log is synced, and what was to be saved is saved.
            "SHUTDOWN" if !rdb || command.iter().any(|word| word == b"SAVE") => Meaning::Barrier,
            "WAITAOF" if !rdb && resp_reply::first_integer(reply).is_some_and(|n| n >= 1) => Meaning::Barrier,
            _ => Meaning::Read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<u8> {
        RespOp::command(&text.split(' ').collect::<Vec<_>>()).encode()
    }

    fn run(oracle: &mut RespOracle, text: &str, reply: &str, at_ms: u64) {
        let op = line(text);
        assert!(oracle.expects(&op, reply.as_bytes(), at_ms), "{text} -> {reply:?} is not expected");
        assert!(!oracle.expects(&op, b"$5\r\nwrong\r\n", at_ms), "{text}: any reply would do");
        oracle.apply(&op, Some(reply.as_bytes()), at_ms);
        let mut fresh = oracle.clone();
        fresh.counted = None;
        assert_eq!(oracle.digest(7), fresh.dump().digest(7), "{text}: the identity is not kept up");
    }

    #[test]
    fn strings_counters_and_lists() {
        let o = &mut RespOracle::new();
        for (command, reply) in [
            ("SET a 1", "+OK\r\n"),
            ("INCR a", ":2\r\n"),
            ("INCRBY a 40", ":42\r\n"),
            ("DECR a", ":41\r\n"),
            ("APPEND a x", ":3\r\n"),
            ("GET a", "$3\r\n41x\r\n"),
            ("INCR a", "-ERR value is not an integer or out of range\r\n"),
            ("SETRANGE a 4 z", ":5\r\n"),
            ("RPUSH l a b c", ":3\r\n"),
            ("LPUSH l x y", ":5\r\n"),
            ("LRANGE l 0 -2", "*4\r\n$1\r\ny\r\n$1\r\nx\r\n$1\r\na\r\n$1\r\nb\r\n"),
            ("LPOP l", "$1\r\ny\r\n"),
            ("RPOP l 2", "*2\r\n$1\r\nc\r\n$1\r\nb\r\n"),
            ("LLEN l", ":2\r\n"),
            ("INCR l", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
            ("SET a 2 NX", "$-1\r\n"),
            ("SET n 2 NX", "+OK\r\n"),
            ("MSET p 1 q 2", "+OK\r\n"),
            ("RENAME p q", "+OK\r\n"),
            ("GETDEL q", "$1\r\n1\r\n"),
            ("DEL q n l", ":2\r\n"),
            ("RENAME none q", "-ERR no such key\r\n"),
        ] {
            run(o, command, reply, 0);
        }
        assert_eq!(o.dump().0.len(), 1);
        assert_eq!(o.dump().0[b"0/a".as_slice()].value, b"string 41x\0z");
        run(o, "SELECT 3", "+OK\r\n", 0);
        run(o, "SET a other", "+OK\r\n", 0);
        assert_eq!(o.dump().0[b"3/a".as_slice()].value, b"string other");
        run(o, "FLUSHDB", "+OK\r\n", 0);
        assert_eq!(o.dump().0.len(), 1);
        run(o, "FLUSHALL", "+OK\r\n", 0);
        assert_eq!(o.dump(), Dump::default());
    }

    #[test]
    fn expiry() {
        let o = &mut RespOracle::new();
        run(o, "SET a 1 PX 100", "+OK\r\n", 1000);
        run(o, "INCR a", ":2\r\n", 1100);
        run(o, "INCR a", ":1\r\n", 1101);
        assert_eq!(o.dump().0[b"0/a".as_slice()].expires_at_ms, None);
        run(o, "EXPIRE a 10", ":1\r\n", 2000);
        assert_eq!(o.dump().0[b"0/a".as_slice()].expires_at_ms, Some(12_000));
        run(o, "PEXPIREAT a 13000 GT", ":1\r\n", 2000);
        run(o, "PEXPIREAT a 12000 GT", ":0\r\n", 2000);
        run(o, "SET a 5 KEEPTTL", "+OK\r\n", 2000);
        assert_eq!(o.dump().0[b"0/a".as_slice()].expires_at_ms, Some(13_000));
        run(o, "PERSIST a", ":1\r\n", 2000);
        run(o, "PERSIST a", ":0\r\n", 2000);
        run(o, "EXPIREAT a 1", ":1\r\n", 2000);
        run(o, "GET a", "$-1\r\n", 2000);
    }

    #[test]
    fn transactions_replies_and_parts() {
        let o = &mut RespOracle::new();
        let words = |t: &str| t.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
        let tx = RespOp::transaction(vec![words("RPUSH l a b"), words("INCR l"), words("INCR c")]);
        let reply = b"*3\r\n:2\r\n-WRONGTYPE Operation\r\n:1\r\n";
        assert!(o.expects(&tx.encode(), reply, 0));
        assert!(!o.expects(&tx.encode(), b"*3\r\n:2\r\n:7\r\n:1\r\n", 0));
        o.apply(&tx.encode(), Some(b"*-1\r\n"), 0);
        assert_eq!(o.dump(), Dump::default());
        o.apply(&tx.encode(), Some(reply), 0);
        assert_eq!(o.dump().0.len(), 2);
        let parts = o.parts(&tx.encode());
        assert!(parts.contains(&RespOp::command(&["RPUSH", "l", "a", "b"]).encode()));
        assert!(o.parts(&line("RPUSH l a b c")).contains(&line("RPUSH l a b")));
        assert!(o.parts(&line("MSET a 1 b 2")).contains(&line("MSET a 1")));
        assert!(o.parts(&line("SET a 1")).is_empty());
        assert!(o.expects(&line("SET a 1"), b"-MISCONF Errors writing to the AOF file\r\n", 0));
    }

    #[test]
    fn meanings_follow_the_contract() {
        let o = &mut RespOracle::new();
        let m = |o: &RespOracle, c: &str, r: &str, k: &Contract| {
            o.meaning_under(&line(c), Some(r.as_bytes()), k, 0)
        };
        let info = "rdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok\r\naof_rewrite_in_progress:0\r\n\
                    aof_rewrite_scheduled:0\r\naof_last_bgrewrite_status:ok\r\n";
        let info = format!("${}\r\n{info}\r\n", info.len());
        assert_eq!(m(o, "SET a 1", "+OK\r\n", &Contract::Always), Meaning::Write);
        assert_eq!(m(o, "GET a", "$-1\r\n", &Contract::Always), Meaning::Read);
        assert_eq!(m(o, "SAVE", "+OK\r\n", &Contract::Snapshot), Meaning::Barrier);
        assert_eq!(m(o, "SAVE", "+OK\r\n", &Contract::No), Meaning::Read);
        assert_eq!(m(o, "INFO persistence", &info, &Contract::Snapshot), Meaning::Read);
        assert_eq!(
            m(o, "BGSAVE", "+Background saving started\r\n", &Contract::Snapshot),
            Meaning::Background
        );
        o.apply(&line("BGSAVE"), Some(b"+Background saving started\r\n"), 5500);
        assert_eq!(m(o, "INFO persistence", &info, &Contract::Snapshot), Meaning::SaveSeen);
        assert_eq!(m(o, "LASTSAVE", ":5\r\n", &Contract::Snapshot), Meaning::Read);
        assert_eq!(m(o, "LASTSAVE", ":6\r\n", &Contract::Snapshot), Meaning::SaveSeen);
        let busy = info.replace("in_progress:0", "in_progress:1");
        assert_eq!(m(o, "INFO persistence", &busy, &Contract::Snapshot), Meaning::Read);
        assert_eq!(m(o, "WAITAOF 1 0 0", "*2\r\n:1\r\n:0\r\n", &Contract::No), Meaning::Barrier);
        assert_eq!(m(o, "WAITAOF 1 0 0", "*2\r\n:0\r\n:0\r\n", &Contract::No), Meaning::Read);
    }

    #[test]
    fn unknown_commands_are_told_before_anything_runs() {
        let step = |client, text: &str| Step::Invoke { client, op: line(text) };
        let workload = |steps| Workload { steps, seed: 0 };
        assert_eq!(RespOracle::validate(&workload(vec![step(0, "SET a 1"), step(0, "SELECT 1")])), Ok(()));
        assert_eq!(
            RespOracle::validate(&workload(vec![step(0, "SET a 1"), step(0, "sadd a 1")])),
            Err(UnknownCommand::Command { step: 1, name: "SADD".to_string() })
        );
        assert_eq!(
            RespOracle::validate(&workload(vec![step(0, "SELECT 1"), step(1, "SET a 1")])),
            Err(UnknownCommand::SelectWithSeveralClients { step: 0 })
        );
    }
}
