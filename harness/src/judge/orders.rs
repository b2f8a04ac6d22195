//! The orders in which a history's operations can have taken effect, and the state after each allowed prefix.
//!
//! A prefix is a number of operations for each client, closed under real-time order: what had been
//! acknowledged before an operation was invoked comes before it. An operation without a good reply may or may
//! not have taken effect: both are followed, up to a cap.

use crate::contract::Contract;
use crate::dump::Digest;
use crate::history::{CLIENTS, History, Operation};
use crate::target::{Meaning, Oracle, Outcomes};
use std::collections::{BTreeMap, HashMap};
use unplug_faults::event::Clock;
use unplug_faults::trace::Blind;

/// One step on the way from one prefix to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Index into [`History::operations`].
    pub(super) operation: usize,
    /// Whether it took effect.
    pub(super) applied: bool,
    /// Of an operation whose reply does not say how it ended: in which of its ways (index into [`Orders::outcomes`]).
    pub(super) outcome: Option<u32>,
}

/// One allowed prefix with the state after it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// How many operations of each client it holds.
    pub(super) progress: Box<[u32]>,
    /// The state's identity at the instant of recovery.
    pub(super) digest: Digest,
    /// How many kills the target has gone on from.
    pub(super) life: usize,
    /// How many of its operations took effect in an earlier life, and were not in the snapshot that this one began with.
    pub(super) lost: u64,
    /// Every life began with something that the contract allowed.
    pub(super) lawful: bool,
    /// From where it is reached.
    pub(super) via: Vec<(usize, Way)>,
}

/// How a prefix is reached from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By one more operation.
    Step(Step),
    /// By a kill, after which the target went on from the other one's content: all that came behind it is lost.
    Kill,
}

/// All allowed prefixes of a history.
pub(super) struct Orders {
    /// For each client, its operations (indexes into the history).
    pub(super) clients: Vec<Vec<usize>>,
    /// The prefixes that lie on a way to the whole history, the empty one first.
    pub(super) nodes: Vec<Node>,
    /// One whole order: the first of the possible ones.
    pub(super) path: Vec<Step>,
    /// The nodes along it: `path_nodes[k]` is the state before `path[k]`.
    pub(super) path_nodes: Vec<usize>,
    /// What each operation means to the contract.
    pub(super) meanings: Vec<Meaning>,
    /// Whether each operation was acknowledged, and well.
    pub(super) good: Vec<bool>,
    /// Whether the target may have taken a snapshot of its own right behind each operation.
    pub(super) saved_behind: Vec<bool>,
    /// The replies that would have told how an operation ended.
    pub(super) outcomes: Vec<Vec<u8>>,
    /// The kills after which the target went on from another state than that before them.
    pub(super) kills: Vec<Clock>,
    /// For each life, a prefix that is the whole of it.
    pub(super) ends: Vec<usize>,
}

/// Bounds on the search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    pub(super) width: usize,
    pub(super) nodes: usize,
}

impl Orders {
    pub(super) fn search(
        history: &History,
        contract: &Contract,
        oracle: &dyn Oracle,
        now_ms: u64,
        caps: Caps,
    ) -> Result<Orders, Blind> {
        let mut by_client: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, operation) in history.operations.iter().enumerate() {
            by_client.entry(operation.client).or_default().push(index);
        }
        let (meanings, good) = meanings(history, contract, oracle);
        let clients: Vec<Vec<usize>> = by_client.into_values().collect();
        let saved_behind = history.operations.iter().map(|o| oracle.may_save_behind(&o.op)).collect();
        // Of a log nothing is lost by a kill; memory, of which only snapshots are kept, is.
        let kills = if *contract == Contract::Snapshot { history.kills.clone() } else { Vec::new() };
        let (nodes, path, path_nodes, outcomes, ends) = (vec![], vec![], vec![], vec![], vec![]);
        let mut orders =
            Orders { clients, nodes, path, path_nodes, meanings, good, saved_behind, outcomes, kills, ends };
        let search = |orders: &mut Orders, from: Source| {
            let clients = orders.clients.clone();
            let mut search =
                Search { history, clients, over: over(history), now_ms, caps, outcomes: Vec::new() };
            let lasts = search.run(contract, oracle, orders, from)?;
            orders.outcomes = search.outcomes;
            Ok(lasts)
        };
        let lasts =
            search(&mut orders, Source::Allowed).or_else(|blind: Blind| match orders.kills.len() {
                0 => Err(blind),
                // The target went on from less than it had promised? Then what it said can be followed all the same.
                _ => search(&mut orders, Source::Any).map_err(|_| blind),
            })?;
        orders.prune(&lasts);
        Ok(orders)
    }

    /// What is to be taken for the reply to a step's operation.
    pub(super) fn reply<'a>(&'a self, history: &'a History, step: Step) -> Option<&'a [u8]> {
        let own = history.operations[step.operation].reply.as_deref();
        step.outcome.map_or(own, |outcome| Some(&self.outcomes[outcome as usize]))
    }

    /// Drops the prefixes from which the whole of their life cannot be reached any more, and picks one order.
    fn prune(&mut self, lasts: &[Vec<usize>]) {
        let alive = alive(&self.nodes, lasts.iter().flatten().copied());
        let mut new_index = vec![usize::MAX; self.nodes.len()];
        let mut kept = Vec::with_capacity(self.nodes.len());
        for (index, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if alive[index] {
                node.via.iter_mut().for_each(|(from, _)| *from = new_index[*from]);
                new_index[index] = kept.len();
                kept.push(node);
            }
        }
        self.nodes = kept;
        self.ends = lasts.iter().map(|last| last.first().map_or(0, |i| new_index[*i])).collect();
        self.walk_to(self.ends.last().copied().unwrap_or(0));
    }

    /// Takes an order that ends there for the one.
    pub(super) fn walk_to(&mut self, mut at: usize) {
        (self.path, self.path_nodes) = (Vec::new(), vec![at]);
        while let Some((from, way)) = self.nodes.get(at).and_then(|n| n.via.first()).copied() {
            let steps = match way {
                Way::Step(step) => vec![step],
                Way::Kill => self.lost(from, at),
            };
            self.path_nodes.extend(steps.iter().map(|_| from));
            self.path.extend(steps.into_iter().rev());
            at = from;
        }
        self.path.reverse();
        self.path_nodes.reverse();
    }

    /// The operations between two prefixes, in their order, as such that took no effect.
    fn lost(&self, from: usize, to: usize) -> Vec<Step> {
        let held = self.nodes[from].progress.iter().zip(&self.nodes[to].progress);
        let of =
            |(list, (from, to)): (&Vec<usize>, (&u32, &u32))| list[*from as usize..*to as usize].to_vec();
        let mut lost: Vec<usize> = self.clients.iter().zip(held).flat_map(of).collect();
        lost.sort_unstable();
        let step = |operation| Step { operation, applied: false, outcome: None };
        lost.into_iter().map(step).collect()
    }
}

/// From what a life may go on after a kill, as far as it is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From what the contract allows.
    Allowed,
    /// From every snapshot there ever was.
    Any,
}

/// Which of the nodes lie on a way to one of these.
pub(super) fn alive(nodes: &[Node], ends: impl Iterator<Item = usize>) -> Vec<bool> {
    let mut alive = vec![false; nodes.len()];
    ends.for_each(|index| alive[index] = true);
    // Every node stands after those from which it is reached.
    for index in (0..nodes.len()).rev() {
        if alive[index] {
            nodes[index].via.iter().for_each(|(from, _)| alive[*from] = true);
        }
    }
    alive
}

/// What each operation means, and whether it was acknowledged and well. Asked along the order of invocation.
fn meanings(history: &History, contract: &Contract, oracle: &dyn Oracle) -> (Vec<Meaning>, Vec<bool>) {
    let mut model = oracle.fork();
    let mut meanings = Vec::with_capacity(history.operations.len());
    let mut good = Vec::with_capacity(history.operations.len());
    for o in &history.operations {
        let reply = o.reply.as_deref();
        let at_ms = history.wall_ms(o.invoked_at);
        let ok = reply.is_some_and(|r| !model.is_error(r));
        let meaning = match model.meaning_under(&o.op, reply, contract, at_ms) {
            Meaning::Barrier | Meaning::SaveSeen if !ok => Meaning::Read,
            meaning => meaning,
        };
        meanings.push(meaning);
        good.push(ok);
        model.apply(&o.op, reply, at_ms);
    }
    (meanings, good)
}

pub(super) struct Search<'h> {
    pub(super) history: &'h History,
    clients: Vec<Vec<usize>>,
    /// When each operation can take effect no more.
    over: Vec<Clock>,
    pub(super) now_ms: u64,
    caps: Caps,
    outcomes: Vec<Vec<u8>>,
}

/// When each operation can take effect no more: its reply has left, its target was killed, or its connection was closed.
/// By whom is not recorded. But all clients connect anew then, as others; and where one operation alone had no answer, it
/// was the one that was waited for when the target closed the connection.
pub(super) fn over(history: &History) -> Vec<Clock> {
    let mut first: BTreeMap<u32, Clock> = BTreeMap::new();
    let mut unanswered: BTreeMap<u32, u32> = BTreeMap::new();
    for o in &history.operations {
        first.entry(o.client / CLIENTS).or_insert(o.invoked);
        *unanswered.entry(o.client / CLIENTS).or_default() += u32::from(o.acked.is_none());
    }
    let of = |o: &Operation| {
        let generation = o.client / CLIENTS;
        let killed = history.kills.iter().copied().find(|k| *k > o.invoked);
        let alone = unanswered.get(&generation) == Some(&1);
        let closed = first.get(&(generation + 1)).copied().filter(|_| alone);
        o.acked.or_else(|| killed.into_iter().chain(closed).min()).unwrap_or(Clock::MAX)
    };
    history.operations.iter().map(of).collect()
}

pub(super) type Frontier = Vec<(usize, Box<dyn Oracle>)>;

impl Search<'_> {
    /// All prefixes, level by level; of each life those of the last level.
    fn run(
        &mut self,
        contract: &Contract,
        oracle: &dyn Oracle,
        orders: &mut Orders,
        from: Source,
    ) -> Result<Vec<Vec<usize>>, Blind> {
        let mut first = oracle.fork();
        let digest = first.digest(self.now_ms);
        let progress = vec![0; self.clients.len()].into_boxed_slice();
        orders.nodes = vec![Node { progress, digest, life: 0, lost: 0, lawful: true, via: Vec::new() }];
        let mut frontier: Frontier = vec![(0, first)];
        let mut lasts = Vec::new();
        let last_of = |frontier: &Frontier| frontier.iter().map(|(index, _)| *index).collect::<Vec<_>>();
        for done in 0..=self.history.operations.len() {
            let next = self.history.operations.get(done);
            // All that were invoked before a kill have been followed then: nothing of them comes later.
            let over = |kill: &Clock| next.is_none_or(|o| *kill < o.invoked);
            while let Some(kill) = orders.kills.get(lasts.len()).copied().filter(over) {
                lasts.push(last_of(&frontier));
                frontier = self.go_on(contract, oracle, orders, &frontier, (kill, from));
            }
            if next.is_some() {
                frontier = self.level(&mut orders.nodes, frontier)?;
            }
            if frontier.len() > self.caps.width || orders.nodes.len() > self.caps.nodes {
                return Err(self.too_many());
            }
        }
        lasts.push(last_of(&frontier));
        Ok(lasts)
    }

    fn too_many(&self) -> Blind {
        Blind {
            what: "too many possible orders".to_string(),
            detail: format!(
                "concurrent or unanswered operations leave more than {} states at once: use fewer clients, or a \
                 shorter history",
                self.caps.width
            ),
        }
    }

    fn level(&mut self, nodes: &mut Vec<Node>, frontier: Frontier) -> Result<Frontier, Blind> {
        let mut next: Frontier = Vec::with_capacity(frontier.len());
        let mut found: HashMap<(Box<[u32]>, Digest), usize> = HashMap::new();
        let mut refused = None;
        let alone = frontier.len() == 1;
        for (index, oracle) in frontier {
            let mut steps = Vec::new();
            for client in 0..self.clients.len() {
                let before = steps.len();
                let Some(operation) = self.eligible(&nodes[index].progress, client) else { continue };
                let choices = self.choices(operation, oracle.as_ref())?;
                steps.extend(choices.into_iter().map(|step| (client, step)));
                if steps.len() == before {
                    refused = Some(operation);
                }
            }
            let (alone, count) = (alone && steps.len() == 1, steps.len());
            let mut oracle = Some(oracle);
            for (nth, (client, step)) in steps.into_iter().enumerate() {
                // The last way on may use the model up.
                let model = if nth + 1 == count { oracle.take() } else { oracle.as_ref().map(|o| o.fork()) };
                let Some(mut model) = model else { break };
                if step.applied {
                    let o = &self.history.operations[step.operation];
                    let drawn = step.outcome.map(|outcome| self.outcomes[outcome as usize].as_slice());
                    model.apply(&o.op, drawn.or(o.reply.as_deref()), self.history.wall_ms(o.invoked_at));
                }
                let mut progress = nodes[index].progress.clone();
                progress[client] += 1;
                // States that differ only in keys that will have expired may still go different ways.
                let identity = if alone { Digest(0) } else { model.digest(0) };
                let Node { life, lost, lawful, .. } = nodes[index];
                let slot = *found.entry((progress.clone(), identity)).or_insert_with(|| {
                    let digest = model.digest(self.now_ms);
                    nodes.push(Node { progress, digest, life, lost, lawful, via: Vec::new() });
                    next.push((nodes.len() - 1, model));
                    nodes.len() - 1
                });
                nodes[slot].lawful |= lawful;
                nodes[slot].via.push((index, Way::Step(step)));
            }
        }
        if next.is_empty() {
            let operation = refused.and_then(|i| self.history.operations.get(i));
            return Err(Blind {
                what: "the reference model disagrees with the target's replies".to_string(),
                detail: operation.map_or_else(String::new, |o| {
                    let reply = o.reply.as_deref().unwrap_or_default();
                    let reply = reply[..reply.len().min(80)].escape_ascii();
                    format!("operation {} cannot have been answered by \"{reply}\"", o.id)
                }),
            });
        }
        Ok(next)
    }

    /// The client's next operation, unless another client's next one was over before it was invoked.
    fn eligible(&self, progress: &[u32], client: usize) -> Option<usize> {
        let next = |c: usize| self.clients[c].get(progress[c] as usize).copied();
        let operation = next(client)?;
        let invoked = self.history.operations[operation].invoked;
        // Its connection closed is seen by the first who connects anew, at the latest.
        let over_before = |other: usize| {
            let over = self.over[other];
            over < invoked || over == invoked && other != operation
        };
        let blocked = (0..self.clients.len()).filter(|c| *c != client).filter_map(next).any(over_before);
        (!blocked).then_some(operation)
    }

    /// In which ways the operation can have taken effect, and whether it can have taken none.
    fn choices(&mut self, operation: usize, oracle: &dyn Oracle) -> Result<Vec<Step>, Blind> {
        let o = &self.history.operations[operation];
        let at_ms = self.history.wall_ms(o.invoked_at);
        let step = |applied| Step { operation, applied, outcome: None };
        Ok(match o.reply.as_deref() {
            Some(reply) if !oracle.is_error(reply) => {
                if oracle.expects(&o.op, reply, at_ms) {
                    vec![step(true)]
                } else {
                    Vec::new()
                }
            }
            Some(reply) if oracle.is_refusal(reply) => vec![step(false)],
            // An error that the model gives too is an answer like any other.
            Some(reply) if !oracle.is_storage_error(reply) && oracle.expects(&o.op, reply, at_ms) => {
                vec![step(true)]
            }
            _ => {
                let mut steps = match oracle.outcomes(&o.op, at_ms) {
                    Outcomes::One => vec![step(true)],
                    Outcomes::Several(replies) => {
                        let numbers = (self.outcomes.len() as u32..).take(replies.len());
                        self.outcomes.extend(replies);
                        numbers.map(|n| Step { outcome: Some(n), ..step(true) }).collect()
                    }
                    Outcomes::TooMany => return Err(self.too_many()),
                };
                steps.push(step(false));
                steps
            }
        })
    }
}
