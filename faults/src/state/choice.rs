//! Which deviations are possible at a prefix.

use crate::effect::{EffectId, Outcome};
use crate::event::Clock;
use crate::model::Graph;
use crate::state::work::Choice;
use std::collections::{BTreeMap, VecDeque};

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
    /// When something of `prefix..early_end` is forced first: the minima of a sliding window, the front being
    /// that of all of it, each later one that of what stands behind the one before.
    forced: VecDeque<(u32, Clock)>,
}

impl<'g> Window<'g> {
    /// At prefix 0; `range` are the crash points that count.
    pub(crate) fn new(graph: &'g Graph, odd: &'g OddCounts, range: (Clock, Clock)) -> Self {
        Window {
            graph,
            odd,
            range,
            prefix: 0,
            open: Vec::new(),
            weight: 0,
            next: Clock::MAX,
            early_end: 0,
            forced: VecDeque::new(),
        }
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
        self.find_early_end();
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
    ///
    /// A longer prefix leaves out some of what ends the window, so the end only goes forward.
    fn find_early_end(&mut self) {
        while self.forced.front().is_some_and(|(id, _)| *id < self.prefix) {
            self.forced.pop_front();
        }
        self.early_end = self.early_end.max(self.prefix);
        let beyond = self.range.1.saturating_add(1);
        while let Some(fact) = self.graph.facts.get(self.early_end as usize) {
            let until = self.forced.front().map_or(beyond, |(_, forced)| beyond.min(*forced));
            if fact.issued >= until {
                break;
            }
            while self.forced.back().is_some_and(|(_, forced)| *forced >= fact.absent_until) {
                self.forced.pop_back();
            }
            self.forced.push_back((self.early_end, fact.absent_until));
            self.early_end += 1;
        }
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
        let all = self.odd.list(id);
        let outcome = all.get(((random >> 1 & 0x7FFF) % odd) as usize).copied();
        Some(Choice { id, outcome: outcome.unwrap_or(usual) })
    }

    pub(crate) fn prefix(&self) -> u32 {
        self.prefix
    }

    /// Effects from here on cannot be early.
    pub(crate) fn early_end(&self) -> u32 {
        self.early_end
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
    /// what is early behind it, the nearest first; as far as `wanted`.
    pub(crate) fn choices(&self, wanted: impl Fn(EffectId) -> bool, all: &mut Vec<Choice>) {
        all.clear();
        let mut add = |id: u32, usual: Outcome| {
            let id = EffectId(id);
            if wanted(id) {
                all.push(Choice { id, outcome: usual });
                all.extend(self.odd.list(id).iter().map(|outcome| Choice { id, outcome: *outcome }));
            }
        };
        self.open.iter().rev().for_each(|id| add(*id, Outcome::Absent));
        (self.prefix + 1..self.early_end).for_each(|id| add(id, Outcome::Whole));
    }

    /// How many choices [`Window::choices`] would list.
    pub(crate) fn wanted(&self, wanted: impl Fn(EffectId) -> bool) -> u64 {
        let all = self.open.iter().copied().chain(self.prefix + 1..self.early_end);
        all.filter(|id| wanted(EffectId(*id))).map(|id| 1 + self.odd.sum(id, id + 1)).sum()
    }
}

/// The odd outcomes of all effects, and how many they are as running sums.
pub(crate) struct OddCounts {
    sums: Vec<u64>,
    /// Effects with the same odd outcomes share a list.
    lists: Vec<Vec<Outcome>>,
    of: Vec<u32>,
}

impl OddCounts {
    pub(crate) fn of(graph: &Graph) -> OddCounts {
        let mut odd = OddCounts { sums: vec![0u64], lists: Vec::new(), of: Vec::new() };
        let mut known: BTreeMap<(bool, bool, u8, u8), u32> = BTreeMap::new();
        let mut sum = 0u64;
        for (id, fact) in graph.facts.iter().enumerate() {
            let kind = (fact.tears, fact.stale, fact.sectors, fact.parts);
            let list = *known.entry(kind).or_insert_with(|| {
                odd.lists.push(graph.other_outcomes(EffectId(id as u32)));
                odd.lists.len() as u32 - 1
            });
            odd.of.push(list);
            sum += odd.lists[list as usize].len() as u64;
            odd.sums.push(sum);
        }
        odd
    }

    pub(crate) fn sum(&self, from: u32, to: u32) -> u64 {
        self.sums[to as usize] - self.sums[from as usize]
    }

    /// What [`Graph::other_outcomes`] says.
    pub(crate) fn list(&self, id: EffectId) -> &[Outcome] {
        &self.lists[self.of[id.0 as usize] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Effects;
    use crate::event::{Event, FileId, NodeKind, Op, SyncKind, Task, WriteSync};
    use crate::model;
    use crate::trace::Trace;

    /// The definition, from the beginning at every prefix.
    fn early_end(graph: &Graph, range: (Clock, Clock), prefix: u32) -> u32 {
        let mut until = range.1.saturating_add(1);
        let behind = graph.facts.iter().skip(prefix as usize);
        let early = behind.take_while(|fact| {
            let here = fact.issued < until;
            until = until.min(fact.absent_until);
            here
        });
        prefix + early.count() as u32
    }

    #[test]
    fn the_sliding_end_is_that_of_the_definition() {
        let (a, b) = (FileId(1), FileId(2));
        let mut trace = Trace::default();
        let mut push = |op: Op| {
            let begin = 1 + trace.events.len() as u64 * 2;
            let task = Task::default();
            trace.events.push(Event { begin, end: begin + 1, at: 0, task, site: None, errno: 0, op });
        };
        for (file, name) in [(a, b"a"), (b, b"b")] {
            push(Op::Create { dir: FileId::ROOT, name: name.to_vec(), file, kind: NodeKind::File });
        }
        for n in 0..120u64 {
            // Two logs, synced at times that have nothing to do with each other, the second one never at the end.
            let (file, every) = if n % 3 == 0 { (b, 7) } else { (a, 11) };
            push(Op::Write { file, offset: n * 700, data: vec![1; 700], sync: WriteSync::None });
            if n % every == 0 && n < 90 {
                push(Op::Sync { file, kind: SyncKind::Fdatasync });
            }
        }
        let end = trace.events.last().map_or(0, |event| event.end);
        let effects = Effects::of(&trace);
        for name in ["posix", "ext4-ordered", "prefix"] {
            for case in model::by_name(name).unwrap().cases(&trace, &effects) {
                let graph = case.graph();
                let odd = OddCounts::of(graph);
                for range in [(0, end), (40, 150), (end, end)] {
                    for step in [1, 2, 13] {
                        let mut window = Window::new(graph, &odd, range);
                        for prefix in (0..=graph.len() as u32).step_by(step) {
                            window.advance(prefix);
                            assert_eq!(
                                window.early_end,
                                early_end(graph, range, prefix),
                                "{name} at {prefix}"
                            );
                        }
                    }
                }
            }
        }
    }
}
