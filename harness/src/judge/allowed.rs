//! When each state is allowed: the intervals of crash points that a contract gives to every allowed prefix.

use super::orders::{Node, Orders, Way};
use crate::contract::Contract;
use crate::dump::Digest;
use crate::history::History;
use crate::target::{Meaning, Oracle};
use std::collections::HashMap;
use unplug_faults::event::{Clock, Nanos};

/// One node's interval: from the moment at which all its operations had been invoked, to the last at which
/// the contract demands nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) from: Clock,
    /// Inclusive; smaller than `from`: the node is never allowed.
    pub(super) to: Clock,
    pub(super) node: usize,
}

/// The contract over one history.
pub(super) struct Allowed {
    /// By state, sorted by `from`.
    pub(super) by_digest: HashMap<Digest, Vec<Interval>>,
    /// Per client, per number of operations held: the acknowledgement of the first good one not held.
    missing: Vec<Vec<Option<(Clock, Nanos)>>>,
    /// The same: the first crash point at which one of those not held is promised, where no window speaks of it.
    promised: Vec<Vec<Option<Clock>>>,
    /// Per client, per number held: when an explicit promise first demands more.
    barriers: Vec<Vec<Clock>>,
    /// When the target told a client of an error of its storage; ascending.
    told: Vec<Nanos>,
}

impl Allowed {
    pub(super) fn new(history: &History, contract: &Contract, orders: &Orders, oracle: &dyn Oracle) -> Self {
        let mut allowed = Allowed {
            by_digest: HashMap::new(),
            missing: missing(history, orders),
            promised: promised(history, contract, orders),
            barriers: barriers(history, contract, orders),
            told: told(history, oracle),
        };
        let intervals: Vec<Interval> = match contract {
            Contract::Snapshot => {
                let lawful = |i: &Interval| orders.nodes[i.node].lawful;
                snapshots(history, contract, orders).into_iter().filter(lawful).collect()
            }
            _ => {
                (0..orders.nodes.len()).map(|node| allowed.prefix(history, contract, orders, node)).collect()
            }
        };
        for interval in intervals {
            allowed.by_digest.entry(orders.nodes[interval.node].digest).or_default().push(interval);
        }
        allowed.by_digest.values_mut().for_each(|list| list.sort_by_key(|i| (i.from, i.to, i.node)));
        allowed
    }

    /// When a prefix is allowed under a contract that allows prefixes.
    fn prefix(&self, history: &History, contract: &Contract, orders: &Orders, node: usize) -> Interval {
        let from = issued(history, orders, node);
        let mut to = Clock::MAX;
        for (client, held) in orders.nodes[node].progress.iter().enumerate() {
            to = to.min(self.barriers[client][*held as usize].saturating_sub(1));
            if let Some(point) = self.promised[client][*held as usize] {
                to = to.min(point.saturating_sub(1));
            }
            if let (Contract::EverySec { window }, Some((acked, acked_at))) =
                (contract, self.missing[client][*held as usize])
            {
                to = to.min(self.window_ends(history, acked, acked_at, *window));
            }
        }
        Interval { from, to, node }
    }

    /// The last crash point at which an operation may be missing under a window.
    fn window_ends(&self, history: &History, acked: Clock, acked_at: Nanos, window: u64) -> Clock {
        let limit = history.deadline(acked_at, window);
        // A client is told of an error before the window is over: the loss grows no more. What is acknowledged later is
        // promised as ever.
        if self.told_after(acked_at).is_some_and(|told| told <= limit) {
            return Clock::MAX;
        }
        let end = match history.last_point_within(limit) {
            Some(point) if point >= history.end => Clock::MAX,
            Some(point) => point,
            None => 0,
        };
        end.max(acked.saturating_sub(1))
    }

    /// How long ago, at this crash point, the oldest operation that a node lacks had been acknowledged.
    pub(super) fn loss(&self, history: &History, orders: &Orders, node: usize, point: Clock) -> Option<u64> {
        let held = orders.nodes[node].progress.iter().enumerate();
        let missing = held.filter_map(|(client, held)| self.missing[client][*held as usize]);
        let oldest = missing.filter(|(acked, _)| *acked <= point).map(|(_, at)| at).min()?;
        let now = history.latest_time(point);
        Some(self.told_after(oldest).map_or(now, |told| told.min(now)).saturating_sub(oldest))
    }

    /// When a client was next told of an error of the storage.
    fn told_after(&self, acked_at: Nanos) -> Option<Nanos> {
        self.told.get(self.told.partition_point(|told| *told < acked_at)).copied()
    }

    /// The first point in an interval at which the state is not allowed.
    pub(super) fn first_forbidden(&self, digest: Digest, first: Clock, last: Clock) -> Option<Clock> {
        let mut point = first;
        // Sorted by beginning: each interval either covers the point, lies before it, or leaves a hole.
        for interval in self.by_digest.get(&digest).map_or(&[][..], Vec::as_slice) {
            if interval.from > point {
                break;
            }
            if interval.to >= last {
                return None;
            }
            point = point.max(interval.to.saturating_add(1));
        }
        (point <= last).then_some(point)
    }

    /// Whether the contract demands this operation at this crash point.
    pub(super) fn demands(
        &self,
        history: &History,
        contract: &Contract,
        orders: &Orders,
        operation: usize,
        point: Clock,
    ) -> bool {
        let place = |(c, list): (usize, &Vec<usize>)| list.binary_search(&operation).ok().map(|i| (c, i));
        let Some((client, index)) = orders.clients.iter().enumerate().find_map(place) else { return false };
        if self.barriers[client][index] <= point {
            return true;
        }
        let o = &history.operations[operation];
        let (true, Some(acked), Some(acked_at)) = (counts(orders, operation), o.acked, o.acked_at) else {
            return false;
        };
        match contract {
            Contract::EverySec { window } => self.window_ends(history, acked, acked_at, *window) < point,
            other => promised_from(history, other, (acked, acked_at)).is_some_and(|from| from <= point),
        }
    }

    /// Whether an explicit promise (not the policy) forbids the node at this point.
    pub(super) fn barrier_broken(&self, orders: &Orders, node: usize, point: Clock) -> bool {
        let held = orders.nodes[node].progress.iter().enumerate();
        held.into_iter().any(|(client, held)| self.barriers[client][*held as usize] <= point)
    }
}

/// The crash point from which all operations of a node may be on the disk.
pub(super) fn issued(history: &History, orders: &Orders, node: usize) -> Clock {
    let last = |(client, held): (usize, &u32)| {
        let index = (*held as usize).checked_sub(1)?;
        Some(history.operations[orders.clients[client][index]].invoked)
    };
    orders.nodes[node].progress.iter().enumerate().filter_map(last).max().unwrap_or(0)
}

/// Whether a policy promises an operation by itself, once it is acknowledged: it went well, and may have changed something.
/// A read promises nothing. What it shows may be a write that has no reply yet, or an error for one: a policy speaks of
/// what was acknowledged, and to have shown a write is not to have acknowledged it.
fn counts(orders: &Orders, operation: usize) -> bool {
    orders.good[operation] && orders.meanings[operation] != Meaning::Read
}

fn missing(history: &History, orders: &Orders) -> Vec<Vec<Option<(Clock, Nanos)>>> {
    from_each_on(orders, |operation| {
        let o = &history.operations[operation];
        o.acked.zip(o.acked_at).filter(|_| counts(orders, operation))
    })
}

fn promised(history: &History, contract: &Contract, orders: &Orders) -> Vec<Vec<Option<Clock>>> {
    from_each_on(orders, |operation| {
        let o = &history.operations[operation];
        let acked = o.acked.zip(o.acked_at).filter(|_| counts(orders, operation))?;
        promised_from(history, contract, acked)
    })
}

/// The first crash point at which what was acknowledged then is promised by itself: what is acknowledged later may
/// promise it before. `None` where it never is, or a window says when.
fn promised_from(history: &History, contract: &Contract, (acked, at): (Clock, Nanos)) -> Option<Clock> {
    match contract {
        Contract::Always => history.promised_again(acked),
        Contract::Written { postponed } => {
            let from = history.promised_again(acked)?;
            match history.written_by(at, *postponed) {
                None => Some(from),
                Some(limit) => match history.last_point_within(limit) {
                    Some(last) if last >= history.end => None,
                    last => Some(from.max(last.map_or(0, |last| last + 1))),
                },
            }
        }
        Contract::EverySec { .. } | Contract::No | Contract::Snapshot => None,
    }
}

/// Per client, per number of operations held: the least of what `of` says of those not held.
fn from_each_on<T: Copy + Ord>(orders: &Orders, of: impl Fn(usize) -> Option<T>) -> Vec<Vec<Option<T>>> {
    let of_client = |list: &Vec<usize>| {
        let mut out = vec![None; list.len() + 1];
        for (i, operation) in list.iter().enumerate().rev() {
            out[i] = [of(*operation), out[i + 1]].into_iter().flatten().min();
        }
        out
    };
    orders.clients.iter().map(of_client).collect()
}

/// The promises made so far: when each was made, and the crash point before which every acknowledged
/// operation is covered by it.
fn promises(history: &History, contract: &Contract, orders: &Orders) -> Vec<(Clock, Clock)> {
    let mut promises = Vec::new();
    // Of a log, a fork that nobody asked for says nothing: it may be a snapshot's.
    let own = if *contract == Contract::Snapshot { own_snapshots(history, orders) } else { Vec::new() };
    for (index, o) in history.operations.iter().enumerate() {
        let Some(acked) = o.acked else { continue };
        match orders.meanings[index] {
            Meaning::Barrier => promises.push((acked, o.invoked)),
            Meaning::SaveSeen => {
                let asked = newest_background(history, orders, o.invoked);
                let asked = asked.map(|b| history.operations[b].invoked);
                let own = own.iter().copied().rfind(|fork| *fork < o.invoked);
                // A life that has begun anew says nothing of what the one before it had under way.
                let began = history.kills.iter().copied().rfind(|kill| *kill < o.invoked);
                let taken = asked.max(own).filter(|taken| Some(*taken) > began);
                promises.extend(taken.map(|taken| (acked, taken)));
            }
            _ => {}
        }
    }
    promises.sort_unstable();
    promises
}

/// The newest background save or rewrite whose good reply came before this point.
fn newest_background(history: &History, orders: &Orders, before: Clock) -> Option<usize> {
    let asked = |i: &usize| {
        orders.meanings[*i] == Meaning::Background
            && orders.good[*i]
            && history.operations[*i].acked.is_some_and(|a| a < before)
    };
    (0..history.operations.len()).rev().find(asked)
}

fn barriers(history: &History, contract: &Contract, orders: &Orders) -> Vec<Vec<Clock>> {
    let promises = promises(history, contract, orders);
    let of_client = |list: &Vec<usize>| {
        let mut out = vec![Clock::MAX; list.len() + 1];
        for (made, covers) in promises.iter().rev() {
            let covered = |i: &usize| {
                orders.good[*i] && history.operations[*i].acked.is_some_and(|acked| acked < *covers)
            };
            let needed = list.iter().rposition(covered).map_or(0, |i| i + 1);
            // Going back in time, an earlier promise overrules a later one wherever it demands something.
            out[..needed].fill(*made);
        }
        out
    };
    orders.clients.iter().map(of_client).collect()
}

fn told(history: &History, oracle: &dyn Oracle) -> Vec<Nanos> {
    let told = |o: &&crate::history::Operation| {
        o.reply.as_deref().is_some_and(|r| oracle.is_error(r) && oracle.is_storage_error(r))
    };
    let mut all: Vec<Nanos> = history.operations.iter().filter(told).filter_map(|o| o.acked_at).collect();
    all.sort_unstable();
    all
}

/// When each snapshot's content is allowed: from its taking until a newer one is known to be saved.
pub(super) fn snapshots(history: &History, contract: &Contract, orders: &Orders) -> Vec<Interval> {
    // When a snapshot became known to be saved, and when it was taken.
    let mut saved: Vec<(Clock, Clock)> = promises(history, contract, orders);
    saved.sort_unstable();
    let until = |taken: Clock| {
        let newer = saved.iter().find(|(_, other)| *other > taken);
        newer.map_or(Clock::MAX, |(known, _)| known.saturating_sub(1))
    };
    // Nothing that a node lacks had been acknowledged by then.
    let is_complete = |node: &Node, by: Clock| {
        let next = |(client, held): (usize, &u32)| orders.clients[client].get(*held as usize);
        let mut lacking = node.progress.iter().enumerate().filter_map(next);
        lacking.all(|i| history.operations[*i].acked.is_none_or(|acked| acked >= by))
    };
    let over = super::orders::over(history);
    let in_time = |node: usize, operation: usize| {
        orders.nodes[node].life == orders.life_at(history.operations[operation].invoked)
            && issued(history, orders, node) <= over[operation]
    };
    let from = |taken: Clock, node: usize| Interval { from: taken, to: until(taken), node };
    let mut out = vec![from(0, 0)];
    for (node, content) in orders.nodes.iter().enumerate() {
        // The content at a snapshot is that at its operation's place in the order.
        for (client, held) in content.progress.iter().enumerate() {
            let Some(operation) = orders.clients[client].get(*held as usize).copied() else { continue };
            let o = &history.operations[operation];
            if takes(orders, operation) && in_time(node, operation) && is_complete(content, o.invoked) {
                out.push(from(o.invoked, node));
            }
        }
        // Behind an operation, with whatever of the other clients could be there by then.
        for (client, held) in content.progress.iter().enumerate() {
            let Some(last) = held.checked_sub(1) else { continue };
            let operation = orders.clients[client][last as usize];
            if orders.saved_behind[operation] && in_time(node, operation) {
                out.push(from(history.operations[operation].invoked, node));
            }
        }
        // What a life began with stays until a newer one is saved.
        if content.via.iter().any(|(_, way)| *way == Way::Kill) {
            out.extend(orders.kills.get(content.life.saturating_sub(1)).map(|kill| from(*kill, node)));
        }
    }
    for fork in &own_snapshots(history, orders) {
        for (node, content) in orders.nodes.iter().enumerate() {
            let same_life = content.life == orders.life_at(*fork);
            if same_life && is_complete(content, *fork) && issued(history, orders, node) <= *fork {
                out.push(from(*fork, node));
            }
        }
    }
    out
}

/// Whether an operation takes a snapshot.
fn takes(orders: &Orders, operation: usize) -> bool {
    matches!(orders.meanings[operation], Meaning::Barrier | Meaning::Background)
}

/// The forks that nobody asked for: they may be snapshots by the target's own decision.
fn own_snapshots(history: &History, orders: &Orders) -> Vec<Clock> {
    let asked_for = |fork: &Clock| {
        let around = |(i, o): (usize, &crate::history::Operation)| {
            takes(orders, i) && o.invoked <= *fork && o.acked.is_none_or(|a| *fork <= a)
        };
        history.operations.iter().enumerate().any(around)
    };
    history.forks.iter().copied().filter(|fork| !asked_for(fork)).collect()
}
