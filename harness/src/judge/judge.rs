//! The judge of one history under one contract.

use super::allowed::{Allowed, issued};
use super::classify::{Hit, Table};
use super::mixture::Versions;
use super::orders::{Caps, Orders, Step};
use super::seen::{First, Seen};
use crate::contract::Contract;
use crate::dump::{Digest, Dump};
use crate::history::History;
use crate::recovery::{Lives, Outcome};
use crate::target::{Meaning, Oracle};
use crate::verdict::{Class, Violation};
use std::collections::HashMap;
use std::sync::OnceLock;
use unplug_faults::event::Clock;
use unplug_faults::trace::Blind;

/// Bounds on what the judge follows.
#[derive(Clone, Copy, Debug)]
pub struct JudgeOptions {
    /// The instant at which every recovery happens, in milliseconds since 1970.
    pub now_ms: u64,
    /// How many states may be possible at once, of concurrent or unanswered operations.
    pub width: usize,
    /// How many prefixes may be followed in all.
    pub prefixes: usize,
}

impl JudgeOptions {
    /// The usual bounds, with recoveries at this instant.
    pub fn at(now_ms: u64) -> Self {
        JudgeOptions { now_ms, width: 4096, prefixes: 1 << 19 }
    }
}

/// Judges crash states of one history under one contract.
pub struct Judge {
    history: History,
    contract: Contract,
    oracle: Box<dyn Oracle>,
    orders: Orders,
    allowed: Allowed,
    /// A node for each state that some prefix gives: the earliest.
    prefixes: HashMap<Digest, usize>,
    table: OnceLock<Table>,
    versions: OnceLock<Versions>,
    now_ms: u64,
}

/// A state that the contract allows at a crash point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedState {
    /// What it is, for a person.
    pub label: String,
    /// Its identity.
    pub digest: Digest,
    /// How many operations it holds.
    pub operations: u64,
}

impl Judge {
    /// Works out every allowed prefix of the history, and when each is allowed.
    ///
    /// # Errors
    /// What keeps the history from being judged, by name: the run is *not measured*.
    pub fn new(
        history: &History,
        contract: Contract,
        oracle: Box<dyn Oracle>,
        options: JudgeOptions,
    ) -> Result<Judge, Blind> {
        if let Some(blind) = history.blind.first() {
            return Err(blind.clone());
        }
        if contract == Contract::Snapshot && !history.kills.is_empty() {
            return Err(Blind {
                what: "a kill under a snapshot contract".to_string(),
                detail: "which snapshot the next life began with is not recorded".to_string(),
            });
        }
        let caps = Caps { width: options.width, nodes: options.prefixes };
        let orders = Orders::search(history, &contract, oracle.as_ref(), options.now_ms, caps)?;
        Ok(Self::with_orders(history.clone(), contract, oracle, orders, options.now_ms))
    }

    fn with_orders(
        history: History,
        contract: Contract,
        oracle: Box<dyn Oracle>,
        orders: Orders,
        now_ms: u64,
    ) -> Judge {
        let allowed = Allowed::new(&history, &contract, &orders, oracle.as_ref());
        let mut prefixes = HashMap::new();
        for (index, node) in orders.nodes.iter().enumerate() {
            prefixes.entry(node.digest).or_insert(index);
        }
        let (table, versions) = (OnceLock::new(), OnceLock::new());
        Judge { history, contract, oracle, orders, allowed, prefixes, table, versions, now_ms }
    }

    /// A judge that does not know of one operation in the middle of those that change the state between two
    /// crash points, as if the target had made it up: the teeth check's last resort. `None` where there is
    /// none whose absence would show.
    pub fn hiding_one(&self, begin: Clock, end: Clock) -> Option<(Judge, u32)> {
        let changes = |k: &usize| {
            let (a, b) = (self.orders.path_nodes[*k], self.orders.path_nodes[*k + 1]);
            let invoked = self.history.operations[self.orders.path[*k].operation].invoked;
            self.orders.nodes[a].digest != self.orders.nodes[b].digest && (begin..=end).contains(&invoked)
        };
        let candidates: Vec<usize> = (0..self.orders.path.len()).filter(changes).collect();
        let hidden = *candidates.get(candidates.len() / 2)?;
        let mut nodes = Vec::with_capacity(self.orders.path_nodes.len());
        let mut model = self.oracle.fork();
        for (k, node) in self.orders.path_nodes.iter().enumerate() {
            let mut node = self.orders.nodes[*node].clone();
            node.digest = model.digest(self.now_ms);
            nodes.push(node);
            if let Some(step) = self.orders.path.get(k).filter(|s| s.applied && k != hidden) {
                self.apply(model.as_mut(), *step);
            }
        }
        let orders = Orders {
            clients: self.orders.clients.clone(),
            path: self.orders.path.clone(),
            path_nodes: (0..nodes.len()).collect(),
            nodes,
            meanings: self.orders.meanings.clone(),
            good: self.orders.good.clone(),
        };
        let id = self.history.operations[self.orders.path[hidden].operation].id;
        let (history, contract) = (self.history.clone(), self.contract.clone());
        Some((Self::with_orders(history, contract, self.oracle.fork(), orders, self.now_ms), id))
    }

    fn apply(&self, model: &mut dyn Oracle, step: Step) {
        let o = &self.history.operations[step.operation];
        model.apply(&o.op, o.reply.as_deref(), self.history.wall_ms(o.invoked_at));
    }

    /// The history that is judged by.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The contract that is judged by.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The reference model, before the first operation.
    pub fn oracle(&self) -> &dyn Oracle {
        self.oracle.as_ref()
    }

    /// The instant of every recovery, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Whether some prefix of the history gives this state: then no dump is needed to judge it.
    pub fn is_prefix(&self, digest: Digest) -> bool {
        self.prefixes.contains_key(&digest)
    }

    /// Whether the contract forbids the state before the first operation somewhere in this interval: then a
    /// target that keeps nothing at all must be found out there.
    pub fn forbids_nothing_kept(&self, first: Clock, last: Clock) -> bool {
        let nothing = self.orders.nodes.first().map_or(Digest(0), |n| n.digest);
        self.allowed.first_forbidden(nothing, first, last).is_some()
    }

    /// Judges what came back from a crash state that is legal from `first` to `last`.
    pub fn check(&self, first: Clock, last: Clock, lives: &Lives) -> Option<Violation> {
        let dump = match &lives.first {
            Outcome::Recovered(dump) => Some(dump),
            _ => None,
        };
        self.check_seen(first, last, &Seen::of(lives, self.now_ms), dump)
    }

    /// As [`Judge::check`], where the lives were summed up before. Without a dump, a state that is no prefix
    /// is classified as far as its identity tells.
    pub fn check_seen(
        &self,
        first: Clock,
        last: Clock,
        seen: &Seen,
        dump: Option<&Dump>,
    ) -> Option<Violation> {
        let broke = |class, point, text: String| Violation {
            class,
            crash_point: point,
            stricter_than_documented: false,
            operation: None,
            loss: None,
            explanation: text,
        };
        let digest = match &seen.first {
            First::Broke(class, message) => {
                let what = match class {
                    Class::RefusesToOpen => "the target declines to open what a power loss may leave",
                    Class::RecoveryCrash => "the target dies while recovering",
                    _ => "the target does not finish recovering",
                };
                return Some(broke(*class, first, format!("{what}: {message}")));
            }
            First::Holds(digest) => *digest,
        };
        if let Some(point) = self.allowed.first_forbidden(digest, first, last) {
            return Some(self.classify(digest, dump, point, last));
        }
        seen.across.as_ref().map(|(class, text)| broke(*class, first, text.clone()))
    }

    /// The worst loss of a state that is legal up to `last`, in nanoseconds: how long ago the oldest operation
    /// that it lacks had been acknowledged. `None` where the contract does not speak of time.
    pub fn loss(&self, digest: Digest, last: Clock) -> Option<u64> {
        let Contract::EverySec { .. } = self.contract else { return None };
        let intervals = self.allowed.by_digest.get(&digest)?;
        let possible = &intervals[..intervals.partition_point(|i| i.from <= last)];
        // The newest prefixes with this content lack least; looking at some of them is enough.
        let of = |i: &super::allowed::Interval| {
            self.allowed.loss(&self.history, &self.orders, i.node, last).unwrap_or(0)
        };
        possible.iter().rev().take(16).map(of).min()
    }

    fn may_be_there(&self, operation: usize, point: Clock) -> bool {
        self.history.operations[operation].invoked <= point
    }

    fn classify(&self, digest: Digest, dump: Option<&Dump>, point: Clock, last: Clock) -> Violation {
        if let Some(node) = self.prefixes.get(&digest).copied()
            && issued(&self.history, &self.orders, node) <= last
        {
            return self.older_prefix(digest, point, last);
        }
        let table = self.table.get_or_init(|| {
            Table::build(&self.history, &self.orders, &self.prefixes, self.oracle.as_ref(), self.now_ms)
        });
        if let Some(hit) = table.find(digest, |newest| self.may_be_there(newest, last)) {
            return self.from_table(hit, point, last);
        }
        match dump {
            Some(dump) => self.mixed(dump, point, last),
            None => self.violation(
                Class::SilentCorruption,
                point,
                None,
                false,
                "no operation gives this state".into(),
            ),
        }
    }

    fn violation(
        &self,
        class: Class,
        point: Clock,
        operation: Option<usize>,
        stricter: bool,
        explanation: String,
    ) -> Violation {
        Violation {
            class,
            crash_point: point,
            stricter_than_documented: stricter,
            operation: operation.map(|o| self.history.operations[o].id),
            loss: None,
            explanation,
        }
    }

    /// What came back is a prefix, but not one of those allowed.
    fn older_prefix(&self, digest: Digest, point: Clock, last: Clock) -> Violation {
        // Of the prefixes with this content the newest lacks least.
        let nodes = (0..self.orders.nodes.len()).rev();
        let node = nodes
            .filter(|n| self.orders.nodes[*n].digest == digest)
            .find(|n| issued(&self.history, &self.orders, *n) <= last)
            .unwrap_or(0);
        let loss = self.allowed.loss(&self.history, &self.orders, node, point);
        let lost = self.oldest_lost(node, digest, point);
        let barrier = self.allowed.barrier_broken(&self.orders, node, point);
        if self.contract == Contract::Snapshot && !barrier {
            let text = "the content is that of a moment at which no snapshot was taken".to_string();
            return self.violation(Class::SilentCorruption, point, lost, true, text);
        }
        let (class, stricter) = match (&self.contract, barrier) {
            (Contract::EverySec { .. }, false) => (Class::WindowExceeded, false),
            // Redis documents nothing of what a rewrite makes durable where nothing else is.
            (Contract::No, _) => (Class::AcknowledgedLoss, !self.promised_outright(point)),
            _ => (Class::AcknowledgedLoss, false),
        };
        let what = lost.map_or_else(|| "an operation".to_string(), |o| self.name(o));
        let text = match class {
            Class::WindowExceeded => {
                format!("{what} was acknowledged {} before the crash and is gone", seconds(loss.unwrap_or(0)))
            }
            _ => format!("{what} was promised to be durable and is gone"),
        };
        Violation { loss, ..self.violation(class, point, lost, stricter, text) }
    }

    /// Whether an operation's own reply, up to this point, promised durability.
    fn promised_outright(&self, point: Clock) -> bool {
        let outright = |(i, o): (usize, &crate::history::Operation)| {
            self.orders.meanings[i] == Meaning::Barrier && o.acked.is_some_and(|a| a <= point)
        };
        self.history.operations.iter().enumerate().any(outright)
    }

    /// The first acknowledged operation after a node that changes the state.
    fn oldest_lost(&self, node: usize, digest: Digest, point: Clock) -> Option<usize> {
        let held = &self.orders.nodes[node].progress;
        let beyond = |s: &Step| {
            let place =
                |(c, list): (usize, &Vec<usize>)| list.binary_search(&s.operation).ok().map(|i| (c, i));
            let place = self.orders.clients.iter().enumerate().find_map(place);
            place.is_some_and(|(c, i)| i >= held[c] as usize)
        };
        let steps = self.orders.path.iter().enumerate().filter(|(_, s)| s.applied && beyond(s));
        let mut acked = steps.filter(|(_, s)| {
            self.orders.good[s.operation]
                && self.orders.meanings[s.operation] == Meaning::Write
                && self.history.operations[s.operation].acked.is_some_and(|a| a <= point)
        });
        let changes = |k: usize| self.orders.nodes[self.orders.path_nodes[k + 1]].digest != digest;
        acked.find(|(k, _)| changes(*k)).map(|(_, s)| s.operation)
    }

    fn from_table(&self, hit: Hit, point: Clock, last: Clock) -> Violation {
        let run = match hit.count {
            1 => self.name(hit.operation),
            n => format!("{n} operations from {} on", self.name(hit.operation)),
        };
        let newest = self.name(hit.newest);
        let (text, stricter) = match hit.class {
            Class::DuplicatedOperation => (format!("twice applied: {run}"), false),
            Class::Gap => (
                format!("missing, while the later {newest} is there: {run}"),
                !self.demanded(&[hit.operation], last),
            ),
            _ => (format!("only a part is there of {run}"), false),
        };
        self.violation(hit.class, point, Some(hit.operation), stricter, text)
    }

    fn mixed(&self, dump: &Dump, point: Clock, last: Clock) -> Violation {
        let versions = self
            .versions
            .get_or_init(|| Versions::of(&self.history, &self.orders, self.oracle.as_ref(), self.now_ms));
        let may =
            self.orders.path.iter().rposition(|s| self.may_be_there(s.operation, last)).map_or(0, |k| k + 1);
        let mut mixture = versions.explain(dump, may, self.now_ms);
        let operation = |k: &usize| self.orders.path[*k].operation;
        let missing: Vec<usize> = mixture.missing.iter().map(operation).collect();
        // One run left out is a gap, also where it was too long for the table.
        if mixture.class == Class::Resurrection && self.is_one_run(&mixture.missing, dump, may) {
            mixture.class = Class::Gap;
            mixture.step = mixture.missing.first().copied();
        }
        let key = mixture.key.escape_ascii();
        let at = mixture.step.as_ref().map(operation);
        let name = at.map_or_else(String::new, |o| self.name(o));
        let (text, stricter) = match mixture.class {
            Class::Gap => (
                format!(
                    "missing, while later operations are there: {name} and {} more",
                    missing.len().saturating_sub(1)
                ),
                !self.demanded(&missing, last),
            ),
            Class::Resurrection => (
                format!("an old value of {key} came back, although {name} had replaced it"),
                !self.demanded(&missing, last),
            ),
            Class::TornOperation => (format!("{key} holds a part of what {name} wrote"), false),
            _ if mixture.key.is_empty() => ("no order of the operations gives this state".to_string(), false),
            _ => (format!("{key} holds what no operation ever wrote"), false),
        };
        self.violation(mixture.class, point, at, stricter, text)
    }

    /// Whether the contract itself, not only the strict order, demands one of these operations.
    fn demanded(&self, operations: &[usize], point: Clock) -> bool {
        let demands =
            |o: &usize| self.allowed.demands(&self.history, &self.contract, &self.orders, *o, point);
        operations.iter().any(demands)
    }

    /// Whether leaving out the run from the first to the last of these steps gives the state.
    fn is_one_run(&self, missing: &[usize], dump: &Dump, may: usize) -> bool {
        let (Some(from), Some(to)) = (missing.first(), missing.last()) else { return false };
        let wanted = dump.digest(self.now_ms);
        let mut model = self.oracle.fork();
        for (k, step) in self.orders.path[..may].iter().enumerate() {
            if step.applied && !(*from..=*to).contains(&k) {
                self.apply(model.as_mut(), *step);
                if k > *to && model.digest(self.now_ms) == wanted {
                    return true;
                }
            }
        }
        false
    }

    /// An operation as a person would name it.
    pub fn name(&self, operation: usize) -> String {
        let o = &self.history.operations[operation];
        format!("operation {} ({})", o.id, self.oracle.describe(&o.op))
    }

    /// The states that the contract allows at a crash point, the newest first, and how many there are: at
    /// most `at_most` are listed.
    pub fn allowed_at(&self, point: Clock, at_most: usize) -> (Vec<AllowedState>, usize) {
        let all = self.allowed.by_digest.values().flatten();
        let mut nodes: Vec<usize> =
            all.filter(|i| i.from <= point && point <= i.to).map(|i| i.node).collect();
        nodes.sort_unstable_by(|a, b| b.cmp(a));
        let mut seen = std::collections::HashSet::new();
        nodes.retain(|n| seen.insert(self.orders.nodes[*n].digest));
        let state = |n: &usize| {
            let node = &self.orders.nodes[*n];
            let operations = node.progress.iter().map(|p| u64::from(*p)).sum();
            AllowedState { label: format!("after {operations} operations"), digest: node.digest, operations }
        };
        (nodes.iter().take(at_most).map(state).collect(), nodes.len())
    }

    /// The content after the first prefix with this identity along the one order that is followed.
    pub fn dump_of(&self, digest: Digest) -> Option<Dump> {
        let mut model = self.oracle.fork();
        for (k, node) in self.orders.path_nodes.iter().enumerate() {
            if self.orders.nodes[*node].digest == digest {
                return Some(model.dump());
            }
            if let Some(step) = self.orders.path.get(k).filter(|s| s.applied) {
                self.apply(model.as_mut(), *step);
            }
        }
        None
    }
}

/// Nanoseconds as seconds, for a person.
fn seconds(nanos: u64) -> String {
    format!("{}.{:03} s", nanos / 1_000_000_000, nanos / 1_000_000 % 1000)
}
