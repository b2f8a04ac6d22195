//! Counting legal states without enumerating them.
//!
//! Between two moments at which a sync begins to force something, the forced set is constant; call that an
//! epoch. The states of an epoch are the closed sets between what is forced in it and what is issued by its
//! end. A state that is legal in several epochs is legal in neighbouring ones, so the distinct states are,
//! summed over the epochs, its states less those that hold only effects issued before the epoch began.
//!
//! Closed sets are counted by choosing one effect in the middle (of the journal first, then of the sizes, then
//! of the data), trying its outcomes, and multiplying over the parts into which the rest falls. That is quick
//! for the shapes that real traces have; where it is not, the product of all options stands as an upper bound.

use crate::effect::{EffectId, Outcome};
use crate::event::{Clock, Event};
use crate::model::Count;
use crate::model::graph::{Grain, Graph};
use num_bigint::BigUint;

/// Steps after which a count becomes a bound: about a second of work.
const EFFORT: u64 = 20_000_000;
/// Depth at which a count becomes a bound, so that the stack holds.
const DEPTH: u32 = 500;

/// The sectors of the node that stands for the rest of a rename: nothing needs it but who needs all.
const REMOVAL: u8 = 0;

/// Counts the legal states of one graph.
pub(crate) struct Counter<'g> {
    graph: &'g Graph,
    effort: u64,
}

impl<'g> Counter<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Self {
        Counter { graph, effort: EFFORT }
    }

    /// How many distinct states are legal at some crash point from `first` to `last`.
    pub(crate) fn over(mut self, first: Clock, last: Clock) -> Count {
        let mut starts: Vec<Clock> = vec![first];
        for (id, fact) in self.graph.facts.iter().enumerate() {
            starts.extend([fact.absent_until, fact.whole_from]);
            if let Some((a, b)) = self.graph.halves.get(&EffectId(id as u32)) {
                starts.extend([*a, *b]);
            }
        }
        starts.retain(|at| (first..=last).contains(at) && *at != Event::NEVER);
        starts.sort_unstable();
        starts.dedup();
        let mut total = BigUint::ZERO;
        let mut exact = true;
        let mut before: Option<usize> = None;
        let mut open: Vec<u32> = Vec::new();
        let mut seen = 0usize;
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).map_or(last, |next| next - 1);
            let issued = self.graph.facts.partition_point(|fact| fact.issued <= end);
            open.extend(seen as u32..issued as u32);
            seen = issued;
            open.retain(|id| self.graph.facts[*id as usize].whole_from > *start);
            let (all, sure) = self.sets(&open, *start);
            total += all;
            exact &= sure;
            // Where something that is there from the beginning was issued, no state from before is left.
            let lost = |fact: &super::graph::Fact| fact.given && fact.absent_until <= *start;
            if let Some(before) = before.filter(|before| !self.graph.facts[*before..issued].iter().any(lost))
            {
                let old: Vec<u32> = open.iter().copied().filter(|id| (*id as usize) < before).collect();
                let (again, sure_again) = self.sets(&old, *start);
                // Only an exact number may be taken away from a bound.
                if sure_again {
                    total -= again.min(total.clone());
                } else {
                    exact = false;
                }
            }
            before = Some(issued);
        }
        Count { states: total, exact }
    }

    /// The closed sets over the open effects when all others before them are whole.
    fn sets(&mut self, open: &[u32], at: Clock) -> (BigUint, bool) {
        let mut problem = Problem::of(self.graph, open, at);
        if problem.rough {
            return (problem.bound, false);
        }
        let all: Vec<u32> = (0..problem.nodes.len() as u32).collect();
        match problem.parts(all, &mut self.effort, 0) {
            Some(count) => (count, true),
            None => (problem.bound, false),
        }
    }
}

#[derive(Clone)]
struct Node {
    /// How many outcomes are neither absent nor whole.
    odd: u32,
    /// Absent is legal.
    absent: bool,
    rank: u8,
    needs: Vec<u32>,
    users: Vec<u32>,
}

/// A set of nodes, each absent, odd or whole. A data effect that others need by sector is a node per sector; a
/// rename of which others need the new name alone is that name and, needing it, the removal of the old one.
struct Problem {
    nodes: Vec<Node>,
    alive: Vec<bool>,
    /// As many as there would be if no effect needed another.
    bound: BigUint,
    /// The nodes say less than the graph: only the bound is right.
    rough: bool,
}

impl Problem {
    fn of(graph: &Graph, open: &[u32], at: Clock) -> Problem {
        let mut atoms: Vec<(u32, u8)> = Vec::new();
        let mut nodes: Vec<Node> = Vec::new();
        let mut from: Vec<u32> = Vec::with_capacity(open.len() + 1);
        let mut rough = false;
        let mut bound = BigUint::from(1u8);
        for &id in open {
            from.push(atoms.len() as u32);
            let effect = EffectId(id);
            let fact = graph.facts[id as usize];
            let absent = graph.legal_until(effect, Outcome::Absent) > at;
            bound *= u32::from(absent) + 1 + graph.odd_at(effect, at);
            let sectorwise = |need: &crate::model::Need| need.grain == Grain::Sectors;
            let nested = graph.needs(effect).iter().chain(graph.users(effect)).any(sectorwise);
            let split = fact.tears && !fact.stale && nested;
            // What shows old content has none of its sectors, and is there all the same: as nodes it is neither absent
            // nor some of them. No model has both today.
            rough |= fact.stale && nested;
            let masks: Vec<u8> = match split {
                true => (0..8).map(|bit| 1u8 << bit).filter(|bit| bit & fact.sectors != 0).collect(),
                false => vec![fact.sectors],
            };
            let odd = if split { 0 } else { graph.odd_at(effect, at) };
            if fact.parts != 0 && graph.users(effect).iter().any(sectorwise) {
                rough |= graph.other_outcomes(effect).len() != 1;
                for (mask, absent) in [(fact.sectors, absent), (REMOVAL, absent || odd > 0)] {
                    atoms.push((id, mask));
                    nodes.push(Node {
                        odd: 0,
                        absent,
                        rank: fact.rank,
                        needs: Vec::new(),
                        users: Vec::new(),
                    });
                }
                continue;
            }
            for mask in masks {
                atoms.push((id, mask));
                nodes.push(Node { odd, absent, rank: fact.rank, needs: Vec::new(), users: Vec::new() });
            }
        }
        from.push(atoms.len() as u32);
        for node in 0..atoms.len() {
            let (id, mask) = atoms[node];
            if mask == REMOVAL {
                nodes[node].needs.push(node as u32 - 1);
                nodes[node - 1].users.push(node as u32);
            }
            for need in graph.needs(EffectId(id)) {
                let Ok(place) = open.binary_search(&need.on.0) else { continue };
                for on in from[place]..from[place + 1] {
                    if need.grain == Grain::Whole || atoms[on as usize].1 & mask != 0 {
                        nodes[node].needs.push(on);
                        nodes[on as usize].users.push(node as u32);
                    }
                }
            }
        }
        let alive = vec![true; nodes.len()];
        Problem { nodes, alive, bound, rough }
    }

    /// The product over the connected parts of some living nodes.
    fn parts(&mut self, nodes: Vec<u32>, effort: &mut u64, depth: u32) -> Option<BigUint> {
        *effort = effort.checked_sub(nodes.len() as u64 + 1)?;
        if depth > DEPTH {
            return None;
        }
        let mut seen = vec![false; self.nodes.len().min(nodes.last().map_or(0, |n| *n as usize + 1))];
        let mut total = BigUint::from(1u8);
        for &start in &nodes {
            if seen[start as usize] {
                continue;
            }
            let part = self.reach(start, &mut seen);
            total *= self.part(part, effort, depth)?;
        }
        Some(total)
    }

    fn reach(&self, start: u32, seen: &mut [bool]) -> Vec<u32> {
        let mut part = vec![start];
        seen[start as usize] = true;
        let mut next = 0;
        while next < part.len() {
            let node = &self.nodes[part[next] as usize];
            for &other in node.needs.iter().chain(&node.users) {
                if self.alive[other as usize] && !seen[other as usize] {
                    seen[other as usize] = true;
                    part.push(other);
                }
            }
            next += 1;
        }
        part.sort_unstable();
        part
    }

    fn part(&mut self, part: Vec<u32>, effort: &mut u64, depth: u32) -> Option<BigUint> {
        if let [one] = part[..] {
            let node = &self.nodes[one as usize];
            // An edge to itself does not occur; what it needs or what needs it is settled.
            return Some(BigUint::from(u32::from(node.absent) + 1 + node.odd));
        }
        if self.is_chain(&part) {
            return Some(BigUint::from(part.len() + 1));
        }
        let rank = part.iter().map(|n| self.nodes[*n as usize].rank).min().unwrap_or(0);
        let same: Vec<u32> = part.iter().copied().filter(|n| self.nodes[*n as usize].rank == rank).collect();
        let pivot = same[same.len() / 2];
        let up = self.closure(pivot, |node| &node.users);
        let down = self.closure(pivot, |node| &node.needs);
        *effort = effort.checked_sub((up.len() + down.len()) as u64)?;
        let mut total = BigUint::ZERO;
        if up.iter().all(|n| self.nodes[*n as usize].absent) {
            total += self.without(&part, &up, effort, depth)?;
        }
        total += self.without(&part, &down, effort, depth)?;
        let odd = self.nodes[pivot as usize].odd;
        let others_up = up.iter().filter(|n| **n != pivot);
        let possible = others_up.clone().all(|n| self.nodes[*n as usize].absent && !down.contains(n));
        if odd > 0 && possible {
            let mut both = up.clone();
            both.extend(&down);
            total += self.without(&part, &both, effort, depth)? * odd;
        }
        Some(total)
    }

    /// The count of what is left of the part when some of its nodes are settled.
    fn without(&mut self, part: &[u32], gone: &[u32], effort: &mut u64, depth: u32) -> Option<BigUint> {
        gone.iter().for_each(|n| self.alive[*n as usize] = false);
        let rest: Vec<u32> = part.iter().copied().filter(|n| self.alive[*n as usize]).collect();
        let count = self.parts(rest, effort, depth + 1);
        gone.iter().for_each(|n| self.alive[*n as usize] = true);
        count
    }

    fn closure(&self, start: u32, step: fn(&Node) -> &Vec<u32>) -> Vec<u32> {
        let mut found = vec![start];
        let mut inside = std::collections::BTreeSet::from([start]);
        let mut next = 0;
        while next < found.len() {
            for &other in step(&self.nodes[found[next] as usize]) {
                if self.alive[other as usize] && inside.insert(other) {
                    found.push(other);
                }
            }
            next += 1;
        }
        found
    }

    /// Whether the part is one chain of nodes that are absent or whole: then its closed sets are its prefixes.
    fn is_chain(&self, part: &[u32]) -> bool {
        let living = |list: &[u32]| list.iter().filter(|n| self.alive[**n as usize]).count();
        let mut edges = 0;
        for &n in part {
            let node = &self.nodes[n as usize];
            let (needs, users) = (living(&node.needs), living(&node.users));
            if needs > 1 || users > 1 || node.odd > 0 || !node.absent {
                return false;
            }
            edges += needs;
        }
        edges == part.len() - 1
    }
}
