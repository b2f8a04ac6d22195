//! Which deviations are possible at a prefix.

use crate::effect::{EffectId, Outcome};
use crate::event::Clock;
use crate::model::Graph;
use crate::state::work::Choice;

/// The effects before a prefix that nothing forces yet. Only goes forward, so that a trace of any length
/// costs no more than its open windows.
pub(crate) struct Window<'g> {
    graph: &'g Graph,
    odd: &'g OddCounts,
    range: (Clock, Clock),
    prefix: u32,
    open: Vec<u32>,
    /// How many choices the open effects give.
    weight: u64,
    next: Clock,
    early_end: u32,
}

impl<'g> Window<'g> {
    /// At prefix 0; `range` are the crash points that count.
    pub(crate) fn new(graph: &'g Graph, odd: &'g OddCounts, range: (Clock, Clock)) -> Self {
        Window { graph, odd, range, prefix: 0, open: Vec::new(), weight: 0, next: Clock::MAX, early_end: 0 }
    }

    /// Moves on to a prefix.
    pub(crate) fn advance(&mut self, prefix: u32) {
        for id in self.prefix..prefix {
            let fact = self.graph.facts[id as usize];
            let now = fact.issued.max(self.range.0);
            if self.next <= now {
                self.expire(now);
            }
            if fact.whole_from > now {
                self.open.push(id);
                self.weight += 1 + self.odd.sum(id, id + 1);
                self.next = self.next.min(fact.whole_from);
            }
        }
        self.prefix = self.prefix.max(prefix);
        self.early_end = self.find_early_end();
    }

    fn expire(&mut self, now: Clock) {
        let facts = &self.graph.facts;
        self.open.retain(|id| facts[*id as usize].whole_from > now);
        self.next = self.open.iter().map(|id| facts[*id as usize].whole_from).min().unwrap_or(Clock::MAX);
        self.weight = self.open.iter().map(|id| 1 + self.odd.sum(*id, id + 1)).sum();
    }

    /// The end of the effects that may be early at this prefix: nothing from the prefix on may have been
    /// forced when the early one was issued. (What is forced came along; such a set is a longer prefix with
    /// something lost.)
    fn find_early_end(&self) -> u32 {
        let mut until = self.range.1.saturating_add(1);
        let behind = self.graph.facts.iter().skip(self.prefix as usize);
        let early = behind.take_while(|fact| {
            let here = fact.issued < until;
            until = until.min(fact.absent_until);
            here
        });
        self.prefix + early.count() as u32
    }

    /// One choice at this prefix, by a random number.
    pub(crate) fn pick(&self, random: u64) -> Option<Choice> {
        let early = u64::from(self.early_end.saturating_sub(self.prefix + 1));
        let open = self.open.len() as u64;
        let at = (random >> 16) % (open + early).max(1);
        let (id, usual) = match self.open.get(at as usize) {
            Some(id) => (EffectId(*id), Outcome::Absent),
            None if early > 0 => (EffectId(self.prefix + 1 + (at - open) as u32), Outcome::Whole),
            None => return None,
        };
        // As often the plain outcome as an odd one: a page has hundreds of tears and only one loss.
        let odd = self.odd.sum(id.0, id.0 + 1);
        if odd == 0 || random & 1 == 0 {
            return Some(Choice { id, outcome: usual });
        }
        let all = self.graph.other_outcomes(id);
        let outcome = all.get(((random >> 1 & 0x7FFF) % odd) as usize).copied();
        Some(Choice { id, outcome: outcome.unwrap_or(usual) })
    }

    /// How many effects a choice can be about.
    pub(crate) fn width(&self) -> u64 {
        self.open.len() as u64 + u64::from(self.early_end.saturating_sub(self.prefix + 1))
    }

    /// How many choices there are at this prefix, without listing them.
    pub(crate) fn breadth(&self) -> u64 {
        let end = self.early_end;
        let start = (self.prefix + 1).min(end);
        self.weight + self.odd.sum(start, end) + u64::from(end - start)
    }

    /// All choices at this prefix in canonical order: what is lost or odd before it, the latest first, then
    /// what is early behind it, the nearest first.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        let mut all = Vec::new();
        for &id in self.open.iter().rev() {
            let id = EffectId(id);
            all.push(Choice { id, outcome: Outcome::Absent });
            all.extend(self.graph.other_outcomes(id).into_iter().map(|outcome| Choice { id, outcome }));
        }
        for id in self.prefix + 1..self.early_end {
            let id = EffectId(id);
            all.push(Choice { id, outcome: Outcome::Whole });
            all.extend(self.graph.other_outcomes(id).into_iter().map(|outcome| Choice { id, outcome }));
        }
        all
    }
}

/// How many odd outcomes effects have, as running sums.
pub(crate) struct OddCounts(Vec<u64>);

impl OddCounts {
    pub(crate) fn of(graph: &Graph) -> OddCounts {
        let mut sums = vec![0u64];
        let mut sum = 0u64;
        for id in 0..graph.len() as u32 {
            sum += u64::from(graph.odd_at(EffectId(id), 0));
            sums.push(sum);
        }
        OddCounts(sums)
    }

    pub(crate) fn sum(&self, from: u32, to: u32) -> u64 {
        self.0[to as usize] - self.0[from as usize]
    }
}
