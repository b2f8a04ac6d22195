//! The judge of one history under one contract.

use super::allowed::Allowed;
use super::classify::Table;
use super::gaps::Known;
use super::mixture::Versions;
use super::orders::{Caps, Orders, Step};
use super::seen::{First, Seen};
use super::slack::{self, Lens, Slack};
use crate::contract::Contract;
use crate::dump::{Digest, Dump};
use crate::history::History;
use crate::oracle::onward::Onward;
use crate::recovery::{Lives, Outcome};
use crate::target::Oracle;
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
    pub(super) history: History,
    pub(super) contract: Contract,
    pub(super) oracle: Box<dyn Oracle>,
    pub(super) orders: Orders,
    pub(super) allowed: Allowed,
    /// A node for each state that some prefix gives: the earliest.
    pub(super) prefixes: HashMap<Digest, usize>,
    pub(super) table: OnceLock<Table>,
    pub(super) versions: OnceLock<Versions>,
    pub(super) gaps: Known,
    pub(super) slack: Slack,
    pub(super) now_ms: u64,
    /// Judges of the lives before the last, each with the kill that ended it.
    pub(super) earlier: Vec<(Clock, Judge)>,
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
        let caps = Caps { width: options.width, nodes: options.prefixes };
        let orders = Orders::search(history, &contract, oracle.as_ref(), options.now_ms, caps)?;
        let mut judge = Self::with_orders(history.clone(), contract, oracle, orders, options.now_ms);
        judge.earlier = judge.of_earlier_lives();
        judge.earlier.iter().for_each(|(_, earlier)| judge.slack.join(&earlier.slack));
        Ok(judge)
    }

    /// A judge of what was done after a recovery that came to this content. It looks at images as this one does.
    ///
    /// # Errors
    /// As [`Judge::new`].
    pub fn following(&self, history: &History, contract: Contract, content: Dump) -> Result<Judge, Blind> {
        let oracle = Box::new(Onward::new(content, self.oracle.fork()));
        let judge = Judge::new(history, contract, oracle, JudgeOptions::at(self.now_ms))?;
        Ok(Judge { slack: self.slack.clone(), ..judge })
    }

    pub(super) fn with_orders(
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
        let slack = Slack::of(&history, &orders, oracle.as_ref(), now_ms);
        let (table, versions, gaps) = (OnceLock::new(), OnceLock::new(), Known::default());
        let earlier = Vec::new();
        Judge {
            history,
            contract,
            oracle,
            orders,
            allowed,
            prefixes,
            table,
            versions,
            gaps,
            slack,
            now_ms,
            earlier,
        }
    }

    /// A judge that does not know of one operation in the middle of those that change the state between two
    /// crash points, as if the target had made it up. `wrote` says whether the target wrote between two crash points:
    /// an operation that waits in memory shows on no disk. `None` where there is none whose absence would show.
    pub fn hiding_one(
        &self,
        begin: Clock,
        end: Clock,
        wrote: impl Fn(Clock, Clock) -> bool,
    ) -> Option<(Judge, u32)> {
        if let Some((_, earlier)) = self.earlier.iter().find(|(kill, _)| end < *kill) {
            return earlier.hiding_one(begin, end, wrote);
        }
        // What the order holds of an earlier life is not all that was done in it.
        let begin = begin.max(self.orders.began());
        let changes = |k: &usize| {
            let (a, b) = (self.orders.path_nodes[*k], self.orders.path_nodes[*k + 1]);
            let o = &self.history.operations[self.orders.path[*k].operation];
            self.orders.nodes[a].digest != self.orders.nodes[b].digest
                && (begin..=end).contains(&o.invoked)
                && wrote(o.invoked, o.acked.unwrap_or(end).min(end))
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
        let path_nodes = (0..nodes.len()).collect();
        nodes.extend(self.orders.nodes.iter().filter(|n| n.life < self.orders.life()).cloned());
        let orders = Orders {
            clients: self.orders.clients.clone(),
            path: self.orders.path.clone(),
            path_nodes,
            nodes,
            meanings: self.orders.meanings.clone(),
            good: self.orders.good.clone(),
            saved_behind: self.orders.saved_behind.clone(),
            outcomes: self.orders.outcomes.clone(),
            kills: self.orders.kills.clone(),
            ends: self.orders.ends.clone(),
        };
        let id = self.history.operations[self.orders.path[hidden].operation].id;
        let (history, contract) = (self.history.clone(), self.contract.clone());
        Some((Self::with_orders(history, contract, self.oracle.fork(), orders, self.now_ms), id))
    }

    pub(super) fn apply(&self, model: &mut dyn Oracle, step: Step) {
        let o = &self.history.operations[step.operation];
        model.apply(&o.op, self.orders.reply(&self.history, step), self.history.wall_ms(o.invoked_at));
    }

    /// How this judge looks at what came back: who shares results with another judge must have the same.
    pub fn lens(&self) -> Lens {
        Lens { now_ms: self.now_ms, slack: self.slack.clone() }
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
        let mut lives = lives.clone();
        let seen = self.sum_up(&mut lives);
        let dump = match &lives.first {
            Outcome::Recovered(dump) => Some(dump),
            _ => None,
        };
        self.check_seen(first, last, &seen, dump)
    }

    /// Sums up lives as this judge looks at them: deadlines that nobody saw being worked out are set to what the
    /// reference model has, of several to the newest; the others are among what it cannot be told from.
    pub fn sum_up(&self, lives: &mut Lives) -> Seen {
        let readings = self.slack.settle(lives);
        let others = slack::others(&lives.first, &readings, self.now_ms);
        Seen { others, ..Seen::of(lives, self.now_ms) }
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
        let broke = |class, point, text: String| Violation::of(class, point, text);
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
        if let Some(point) = self.first_forbidden(seen, first, last) {
            return Some(self.at(point).classify(digest, dump, point, self.in_its_life(point, last)));
        }
        seen.across.as_ref().map(|(class, text)| broke(*class, first, text.clone()))
    }

    /// As [`check_seen`](Judge::check_seen), without finding out which mistake explains a state: what is no prefix is
    /// [`SilentCorruption`](Class::SilentCorruption).
    pub fn forbids(&self, first: Clock, last: Clock, seen: &Seen) -> Option<Class> {
        let digest = match &seen.first {
            First::Broke(class, _) => return Some(*class),
            First::Holds(digest) => *digest,
        };
        if let Some(point) = self.first_forbidden(seen, first, last) {
            return Some(self.at(point).class_at_once(digest, point, self.in_its_life(point, last)));
        }
        seen.across.as_ref().map(|(class, _)| *class)
    }

    /// The end of an interval as far as it lies in the life of this point: what a later life has lost is no part of
    /// its order.
    fn in_its_life(&self, point: Clock, last: Clock) -> Clock {
        let kill = self.earlier.iter().map(|(kill, _)| *kill).find(|kill| point < *kill);
        kill.map_or(last, |kill| last.min(kill.saturating_sub(1)))
    }

    /// The first point in an interval at which none of what the state may be is allowed.
    fn first_forbidden(&self, seen: &Seen, first: Clock, last: Clock) -> Option<Clock> {
        let mut point = first;
        loop {
            let forbidden = seen.readings().map(|digest| self.allowed.first_forbidden(digest, point, last));
            // None comes before all points: it is allowed to the end.
            let ends: Option<Vec<Clock>> = forbidden.collect();
            match ends?.into_iter().max() {
                Some(next) if next > point => point = next,
                _ => return Some(point),
            }
        }
    }

    /// The worst loss of a state that is legal up to `last`, in nanoseconds: how long ago the oldest operation
    /// that it lacks had been acknowledged. `None` where the contract does not speak of time.
    pub fn loss(&self, digest: Digest, last: Clock) -> Option<u64> {
        if !matches!(self.contract, Contract::EverySec { .. } | Contract::Written { .. }) {
            return None;
        }
        let intervals = self.allowed.by_digest.get(&digest)?;
        let possible = &intervals[..intervals.partition_point(|i| i.from <= last)];
        // The newest prefixes with this content lack least; looking at some of them is enough.
        let of = |i: &super::allowed::Interval| {
            self.allowed.loss(&self.history, &self.orders, i.node, last).unwrap_or(0)
        };
        possible.iter().rev().take(16).map(of).min()
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
            let operations = node.progress.iter().map(|p| u64::from(*p)).sum::<u64>() - node.lost;
            let s = if operations == 1 { "" } else { "s" };
            AllowedState {
                label: format!("after {operations} operation{s}"),
                digest: node.digest,
                operations,
            }
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
        self.earlier.iter().find_map(|(_, earlier)| earlier.dump_of(digest))
    }
}
