//! The reference model of a Redis-compatible server, written from Redis's documentation and independent of
//! any server's code.

mod combine;
mod commands;
mod hashes;
mod keys;
mod lists;
mod number;
mod parts;
mod reply;
mod sets;
mod sort;
mod sorted_sets;
mod strings;
mod typed;

use self::commands::Meta;
use self::reply::{Reply, Said};
use self::sets::Draws;
use self::typed::Value;
use crate::contract::Contract;
use crate::dump::{Digest, Dump, Entry};
use crate::target::resp_op::{
    RespOp, RespOpError, canonical_hash, canonical_key, canonical_list, canonical_set, canonical_sorted_set,
    canonical_string,
};
use crate::target::{Meaning, Oracle, Outcomes};
use crate::workload::{Step, Workload};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A key's content, its expiry, and its share of the state's identity.
#[derive(Clone, Debug)]
struct Slot {
    value: Value,
    expires_at_ms: Option<u64>,
    share: u128,
}

type Key = (u32, Vec<u8>);

/// More ways than this in which one operation may have ended are not followed.
const MOST_OUTCOMES: usize = 1 << 12;

/// The reference model. SELECT is followed for one client only (see [`RespOracle::validate`]).
#[derive(Clone, Debug, Default)]
pub struct RespOracle {
    slots: BTreeMap<Key, Arc<Slot>>,
    database: u32,
    /// The sum of the shares of keys that are alive at an instant, once somebody has asked.
    counted: Option<(u64, u128)>,
    /// Whether snapshots are made by save points: FLUSHALL makes one then, too.
    pub(crate) save_points: bool,
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
                    let name = commands::name(command);
                    if !commands::is_known(command) {
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
    fn get(&self, key: &[u8], at_ms: u64) -> Option<&Slot> {
        let slot = self.slots.get(&(self.database, key.to_vec()))?;
        // Redis expires a key when the time is *past* its expiry.
        slot.expires_at_ms.is_none_or(|t| t >= at_ms).then_some(slot)
    }

    /// Sets the key's content.
    fn put(&mut self, key: &[u8], value: Value, expires_at_ms: Option<u64>) {
        let full = (self.database, key.to_vec());
        let share = entry(&value, expires_at_ms).identity(&canonical_key(full.0, &full.1));
        let slot = Arc::new(Slot { value, expires_at_ms, share });
        self.count(&slot, true);
        if let Some(old) = self.slots.insert(full, slot) {
            self.count(&old, false);
        }
    }

    /// Removes the key; whether it was there.
    fn remove(&mut self, key: &[u8], at_ms: u64) -> bool {
        let was = self.get(key, at_ms).is_some();
        if let Some(old) = self.slots.remove(&(self.database, key.to_vec())) {
            self.count(&old, false);
        }
        was
    }

    /// Removes every key of one database, or of all.
    fn flush(&mut self, all: bool) {
        let database = self.database;
        self.slots.retain(|(d, _), _| !all && *d != database);
        self.counted = None;
    }

    /// Does something in another database.
    fn within<R>(&mut self, database: u32, what: impl FnOnce(&mut RespOracle) -> R) -> R {
        let selected = std::mem::replace(&mut self.database, database);
        let result = what(self);
        self.database = selected;
        result
    }

    /// Exchanges two databases.
    fn swap(&mut self, a: u32, b: u32) {
        let slots = std::mem::take(&mut self.slots);
        self.counted = None;
        for ((database, key), slot) in slots {
            if database == a || database == b {
                let to = if database == a { b } else { a };
                let value = slot.value.clone();
                self.within(to, |o| o.put(&key, value, slot.expires_at_ms));
            } else {
                self.slots.insert((database, key), slot);
            }
        }
    }

    fn count(&mut self, slot: &Slot, add: bool) {
        if let Some((now, sum)) = &mut self.counted
            && slot.expires_at_ms.is_none_or(|t| t > *now)
        {
            *sum = if add { sum.wrapping_add(slot.share) } else { sum.wrapping_sub(slot.share) };
        }
    }

    /// Runs one operation; the reply is that of the command, or of EXEC. `said` is what the server is known to have
    /// replied.
    fn run(&mut self, op: &RespOp, at_ms: u64, said: Option<&[u8]>) -> Reply {
        // Only where members are drawn does it matter.
        let draws = op.commands.iter().any(|c| commands::name(c) == "SPOP");
        let said = said.filter(|_| draws).and_then(Said::read).map(|(said, _)| said);
        if !op.is_transaction() {
            let mut replies = op.commands.iter().map(|c| commands::run(self, c, at_ms, said.as_ref()));
            return replies.next().unwrap_or(Reply::Any);
        }
        let said = said.map(Said::each).unwrap_or_default();
        let one = |(i, c): (usize, &Vec<Vec<u8>>)| commands::run(self, c, at_ms, said.get(i));
        Reply::Array(op.commands.iter().enumerate().map(one).collect())
    }

    /// A model that holds only the keys that `op` speaks of: enough to work out its reply.
    fn excerpt(&self, op: &RespOp) -> RespOracle {
        let mut small = RespOracle { database: self.database, ..RespOracle::default() };
        // SELECT inside a transaction moves what follows it: take the keys from every database.
        let databases = || self.slots.keys().map(|(d, _)| *d).collect::<std::collections::BTreeSet<_>>();
        let several = op.commands.iter().any(|c| commands::crosses_databases(c));
        let databases = if several { databases() } else { [self.database].into() };
        for key in op.commands.iter().flat_map(|c| commands::keys_of(c)) {
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
        Value::Set(s) => canonical_set(s.iter().map(Vec::as_slice)),
        Value::Hash(h) => canonical_hash(h.iter().map(|(f, v)| (f.as_slice(), v.as_slice()))),
        Value::Sorted(s) => canonical_sorted_set(s.iter().map(|(m, score)| (m.as_slice(), *score))),
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
        if op.commands.iter().any(|c| matches!(commands::name(c).as_str(), "BGSAVE" | "BGREWRITEAOF")) {
            self.background_ms = Some(at_ms);
        }
        self.run(&op, at_ms, reply);
    }

    fn meaning(&self, op: &[u8], reply: Option<&[u8]>) -> Meaning {
        self.meaning_under(op, reply, &Contract::Snapshot, 0)
    }

    fn meaning_under(&self, op: &[u8], reply: Option<&[u8]>, contract: &Contract, _at_ms: u64) -> Meaning {
        let Ok(op) = RespOp::decode(op) else { return Meaning::Read };
        let mut meaning = Meaning::Read;
        for command in &op.commands {
            let of = match commands::meta(&commands::name(command)) {
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

    fn may_save_behind(&self, op: &[u8]) -> bool {
        let flushes = |op: RespOp| op.commands.iter().any(|c| commands::name(c) == "FLUSHALL");
        self.save_points && RespOp::decode(op).is_ok_and(flushes)
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
        self.excerpt(&op).run(&op, at_ms, Some(reply)).matches(reply)
    }

    fn outcomes(&self, op: &[u8], at_ms: u64) -> Outcomes {
        let Ok(op) = RespOp::decode(op) else { return Outcomes::One };
        let mut ways = vec![(self.excerpt(&op), Vec::<Said>::new())];
        for command in &op.commands {
            let args: Vec<&[u8]> = command.iter().skip(1).map(Vec::as_slice).collect();
            let mut next = Vec::new();
            for (model, replies) in ways {
                let several = match sets::draws(&model, &commands::name(command), &args, at_ms) {
                    Draws::One => None,
                    Draws::Several(all) => Some(all),
                    Draws::TooMany => return Outcomes::TooMany,
                };
                let said = |draw: Vec<Vec<u8>>| Said::array(draw.into_iter().map(Said::bulk).collect());
                // What is said to the others is not looked at.
                let said = several.map_or(vec![Said::nothing()], |all| all.into_iter().map(said).collect());
                for said in said {
                    let mut model = model.clone();
                    commands::run(&mut model, command, at_ms, Some(&said));
                    next.push((model, [replies.as_slice(), &[said]].concat()));
                }
            }
            ways = next;
            if ways.len() > MOST_OUTCOMES {
                return Outcomes::TooMany;
            }
        }
        if ways.len() < 2 {
            return Outcomes::One;
        }
        let reply = |mut said: Vec<Said>| {
            let one =
                if op.is_transaction() { Said::array(said) } else { said.pop().unwrap_or(Said::nothing()) };
            one.encode()
        };
        Outcomes::Several(ways.into_iter().map(|(_, said)| reply(said)).collect())
    }

    fn parts(&self, op: &[u8]) -> Vec<Vec<u8>> {
        let Ok(op) = RespOp::decode(op) else { return Vec::new() };
        parts::parts(&op).iter().map(RespOp::encode).collect()
    }
}

impl RespOracle {
    /// What a command of the persistence family means. SAVE writes the RDB file, which an append-only
    /// target does not read at its start, so that it promises nothing there; and the reverse.
    fn persistence(&self, command: &[Vec<u8>], reply: Option<&[u8]>, contract: &Contract) -> Meaning {
        let rdb = matches!(contract, Contract::Snapshot);
        let Some(reply) = reply.filter(|r| !r.starts_with(b"-")) else {
            // Asked for but not answered: a snapshot may have been taken here.
            return match commands::name(command).as_str() {
                "SAVE" | "BGSAVE" | "SHUTDOWN" if rdb => Meaning::Background,
                "BGREWRITEAOF" if !rdb => Meaning::Background,
                _ => Meaning::Read,
            };
        };
        match commands::name(command).as_str() {
            "SAVE" if rdb => Meaning::Barrier,
            "BGSAVE" if rdb => Meaning::Background,
            "BGREWRITEAOF" if !rdb => Meaning::Background,
            "LASTSAVE" if rdb => {
                // Only one save runs at a time: one that ended in a later second than that in which the
                // newest was asked for is that one or a newer.
                let seconds = reply::integer(reply).unwrap_or(0);
                let newer = self.background_ms.is_some_and(|ms| seconds > (ms / 1000) as i64);
                if newer { Meaning::SaveSeen } else { Meaning::Read }
            }
            "INFO" => {
                let shown = reply::info_shows_success(reply, rdb);
                // A snapshot may have been the server's own decision: whether there was one its forks tell.
                if shown && (rdb || self.background_ms.is_some()) { Meaning::SaveSeen } else { Meaning::Read }
            }
            // Answered by the end of the server, with status 0: the log is synced, and what was to be saved is saved.
            "SHUTDOWN" if !rdb || command.iter().any(|word| word == b"SAVE") => Meaning::Barrier,
            "WAITAOF" if !rdb && reply::first_integer(reply).is_some_and(|n| n >= 1) => Meaning::Barrier,
            _ => Meaning::Read,
        }
    }
}

#[cfg(test)]
mod differential_tests;
#[cfg(test)]
mod tests;
