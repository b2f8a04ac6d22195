//! A target of snapshots that goes on after a kill: from which of them, nobody has recorded.
//!
//! A kill leaves the page cache, so that the next life finds what the disk would show if no power were lost: one of the
//! snapshots that the contract allows at that moment. Each is followed, as long as the replies of the new life agree with
//! it. What had been done behind it is lost, as if it had taken no effect. Whatever is allowed at the kill stays so until
//! the new life acknowledges a snapshot: a power loss may bring back an older one than the kill has.

use super::allowed::snapshots;
use super::court::Judge;
use super::orders::{Frontier, Node, Orders, Search, Source, Way, alive};
use crate::contract::Contract;
use crate::dump::Digest;
use crate::target::Oracle;
use std::collections::{BTreeMap, HashMap};
use unplug_faults::event::Clock;

impl Search<'_> {
    /// The first prefixes of the life after a kill.
    pub(super) fn go_on(
        &self,
        contract: &Contract,
        oracle: &dyn Oracle,
        orders: &mut Orders,
        frontier: &Frontier,
        (kill, from): (Clock, Source),
    ) -> Frontier {
        let possible = alive(&orders.nodes, frontier.iter().map(|(index, _)| *index));
        let Some(Node { progress, life, .. }) =
            frontier.first().map(|(index, _)| orders.nodes[*index].clone())
        else {
            return Vec::new();
        };
        let mut found: BTreeMap<usize, bool> = BTreeMap::new();
        for interval in snapshots(self.history, contract, orders) {
            let node = &orders.nodes[interval.node];
            let lawful = node.lawful && interval.to >= kill;
            // What an earlier life began with is the first of a later one's: older ones are gone with it.
            let there = possible[interval.node] && node.life == life && interval.from <= kill;
            if there && (lawful || from == Source::Any) {
                *found.entry(interval.node).or_default() |= lawful;
            }
        }
        let mut next: Frontier = Vec::new();
        let mut known: HashMap<Digest, usize> = HashMap::new();
        let sum = |progress: &[u32]| progress.iter().map(|p| u64::from(*p)).sum::<u64>();
        for (taken, lawful) in found {
            let mut model = orders.content(self.history, oracle, taken);
            let (digest, identity) = (model.digest(self.now_ms), model.digest(0));
            let slot = *known.entry(identity).or_insert_with(|| {
                let snapshot = &orders.nodes[taken];
                let lost = snapshot.lost + sum(&progress) - sum(&snapshot.progress);
                let (progress, life) = (progress.clone(), life + 1);
                orders.nodes.push(Node { progress, digest, life, lost, lawful, via: Vec::new() });
                next.push((orders.nodes.len() - 1, model));
                orders.nodes.len() - 1
            });
            orders.nodes[slot].lawful |= lawful;
            orders.nodes[slot].via.push((taken, Way::Kill));
        }
        next
    }
}

impl Orders {
    /// The life of a moment.
    pub(super) fn life_at(&self, at: Clock) -> usize {
        self.kills.iter().filter(|kill| **kill < at).count()
    }

    /// The life in which the one order ends.
    pub(super) fn life(&self) -> usize {
        self.ends.len().saturating_sub(1)
    }

    /// When the life began in which the one order ends.
    pub(super) fn began(&self) -> Clock {
        self.life().checked_sub(1).and_then(|k| self.kills.get(k)).copied().unwrap_or(0)
    }

    /// The state after a prefix.
    fn content(
        &self,
        history: &crate::history::History,
        oracle: &dyn Oracle,
        node: usize,
    ) -> Box<dyn Oracle> {
        let mut steps = Vec::new();
        let mut at = node;
        while let Some((from, way)) = self.nodes[at].via.first() {
            steps.extend(if let Way::Step(step) = way { Some(*step) } else { None });
            at = *from;
        }
        let mut model = oracle.fork();
        for step in steps.into_iter().rev().filter(|s| s.applied) {
            let o = &history.operations[step.operation];
            model.apply(&o.op, self.reply(history, step), history.wall_ms(o.invoked_at));
        }
        model
    }

    /// The same up to the end of a life, with an order that ends there.
    fn until(&self, life: usize) -> Orders {
        let there = self.nodes.partition_point(|node| node.life <= life);
        let ends = self.ends[..=life].to_vec();
        let end = ends[life];
        let mut orders = Orders {
            clients: self.clients.clone(),
            nodes: self.nodes[..there].to_vec(),
            path: Vec::new(),
            path_nodes: Vec::new(),
            meanings: self.meanings.clone(),
            good: self.good.clone(),
            saved_behind: self.saved_behind.clone(),
            outcomes: self.outcomes.clone(),
            kills: self.kills.clone(),
            ends,
        };
        orders.walk_to(end);
        orders
    }
}

impl Judge {
    /// Judges of the lives before the last one, each with the kill that ended it. What a life did that the next one
    /// lost has no place in the order that ends with the next one.
    pub(super) fn of_earlier_lives(&self) -> Vec<(Clock, Judge)> {
        let of = |(life, kill): (usize, &Clock)| {
            let (history, contract) = (self.history.clone(), self.contract.clone());
            let orders = self.orders.until(life);
            (*kill, Judge::with_orders(history, contract, self.oracle.fork(), orders, self.now_ms))
        };
        self.orders.kills.iter().enumerate().map(of).collect()
    }

    /// The judge of the life in which a crash at this point is.
    pub(super) fn at(&self, point: Clock) -> &Judge {
        self.earlier.iter().find(|(kill, _)| point < *kill).map_or(self, |(_, judge)| judge)
    }
}
