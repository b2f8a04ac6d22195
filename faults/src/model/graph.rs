//! The rules of one case as a graph over effects.

use crate::effect::{EffectId, EffectKind, Effects, Meta, Outcome, RETURNED};
use crate::event::{Clock, Event};
use crate::model::Rule;
use fixedbitset::FixedBitSet;
use std::collections::BTreeMap;

/// How much of the needed effect is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// All of it.
    Whole,
    /// The sectors that both effects touch, as far as the one that needs them is there. A rename counts as there
    /// with any of its parts.
    Sectors,
}

/// One edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The effect at the other end.
    pub on: EffectId,
    /// How much of it.
    pub grain: Grain,
    /// Why.
    pub rule: Rule,
}

/// Which odd outcomes a model has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Oddities {
    /// Data over an allocated block tear by sector.
    pub(crate) tear_old: bool,
    /// Data in a fresh block tear by sector.
    pub(crate) tear_fresh: bool,
    /// A fresh block may show what stood there before.
    pub(crate) stale: bool,
    /// A rename may be half done.
    pub(crate) parts: bool,
    /// A rename between directories may leave both names.
    pub(crate) both: bool,
    /// A block that is set free may show what another file wrote there, until that is durable.
    pub(crate) reuse: bool,
}

impl Oddities {
    pub(crate) const NONE: Oddities = Oddities {
        tear_old: false,
        tear_fresh: false,
        stale: false,
        parts: false,
        both: false,
        reuse: false,
    };
}

/// What the graph keeps of each effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fact {
    pub(crate) issued: Clock,
    /// Sectors that a data effect touches; 0xFF for all other kinds.
    pub(crate) sectors: u8,
    pub(crate) tears: bool,
    pub(crate) stale: bool,
    /// The parts that a split rename has; 0 where it cannot be split.
    pub(crate) parts: u8,
    /// Of the split, only that with both names.
    pub(crate) both: bool,
    /// The effect is there from the beginning: it only says what a block may show.
    pub(crate) given: bool,
    /// The absent effect is legal before this clock.
    pub(crate) absent_until: Clock,
    /// From here on only whole is legal.
    pub(crate) whole_from: Clock,
    /// For the counter: names first, then sizes, then data.
    pub(crate) rank: u8,
}

/// The rules of one case.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) facts: Vec<Fact>,
    needs: Csr,
    users: Csr,
    /// For half-done renames: from when on the target's entry and the source's entry are forced.
    pub(crate) halves: BTreeMap<EffectId, (Clock, Clock)>,
    edges: Vec<(EffectId, Need)>,
    /// What syncs force by themselves, before it is carried over the edges.
    forced: Vec<Clock>,
}

#[derive(Clone, Debug, Default)]
struct Csr {
    start: Vec<u32>,
    to: Vec<Need>,
}

impl Csr {
    fn of(n: usize, mut pairs: Vec<(EffectId, Need)>) -> Csr {
        pairs.sort_unstable();
        pairs.dedup_by(|a, b| a.0 == b.0 && a.1.on == b.1.on && a.1.grain == b.1.grain);
        let mut start = vec![0u32; n + 1];
        for (from, _) in &pairs {
            start[from.0 as usize + 1] += 1;
        }
        for i in 0..n {
            start[i + 1] += start[i];
        }
        Csr { start, to: pairs.into_iter().map(|(_, need)| need).collect() }
    }

    fn of_one(&self, id: EffectId) -> &[Need] {
        let i = id.0 as usize;
        match (self.start.get(i), self.start.get(i + 1)) {
            (Some(&from), Some(&to)) => &self.to[from as usize..to as usize],
            _ => &[],
        }
    }
}

impl Graph {
    /// A graph without forced points as yet.
    pub(crate) fn new(effects: &Effects, odd: Oddities, edges: Vec<(EffectId, Need)>) -> Graph {
        let facts = effects.list.iter().map(|effect| fact(effect.issued, &effect.kind, odd)).collect();
        let (needs, users, halves) = (Csr::default(), Csr::default(), BTreeMap::new());
        let mut graph = Graph { facts, needs, users, halves, edges, forced: Vec::new() };
        graph.index();
        graph
    }

    fn index(&mut self) {
        let n = self.facts.len();
        self.needs = Csr::of(n, self.edges.clone());
        let back = self.edges.iter().map(|(from, need)| (need.on, Need { on: *from, ..*need }));
        self.users = Csr::of(n, back.collect());
    }

    /// Sets from when on effects are forced, and carries it over the edges: what a forced effect needs is
    /// forced with it.
    pub(crate) fn force(&mut self, forced: &[Clock]) {
        self.forced = forced.to_vec();
        for (fact, at) in self.facts.iter_mut().zip(forced) {
            fact.absent_until = if fact.given { fact.issued } else { *at };
            fact.whole_from = if fact.given && !fact.stale && fact.parts == 0 { fact.issued } else { *at };
        }
        for (id, (target, source)) in &self.halves {
            let fact = &mut self.facts[id.0 as usize];
            fact.absent_until = fact.absent_until.min(*target).min(*source);
            fact.whole_from = fact.whole_from.min(*target.max(source));
        }
        self.carry();
    }

    /// The graph as it would be without one of the rules.
    pub(crate) fn without(&self, rule: Rule) -> Graph {
        let mut graph = self.clone();
        graph.edges.retain(|(_, need)| need.rule != rule);
        graph.index();
        graph.force(&self.forced);
        graph
    }

    /// More edges, from assumptions.
    pub(crate) fn add_edges(&mut self, more: Vec<(EffectId, Need)>) {
        self.edges.extend(more);
        self.index();
        self.carry();
    }

    fn carry(&mut self) {
        // Nearly all edges lead to smaller ids, so one pass downwards is enough but for the few cycles.
        loop {
            let mut changed = false;
            for id in (0..self.facts.len()).rev() {
                let until = self.facts[id].absent_until;
                if until == Event::NEVER {
                    continue;
                }
                for need in self.needs.of_one(EffectId(id as u32)) {
                    let fact = &mut self.facts[need.on.0 as usize];
                    // Of a rename that is needed only in part, nothing says that the rest is there.
                    let in_part = need.grain == Grain::Sectors && fact.parts != 0;
                    if in_part {
                        changed |= fact.absent_until > until;
                        fact.absent_until = fact.absent_until.min(until);
                    } else if fact.whole_from > until {
                        fact.whole_from = until;
                        fact.absent_until = fact.absent_until.min(until);
                        changed = true;
                    }
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// How many effects.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// What the effect cannot be on the disk without.
    pub fn needs(&self, id: EffectId) -> &[Need] {
        self.needs.of_one(id)
    }

    /// What cannot be on the disk without the effect ([`Need::on`] is the one that needs it).
    pub fn users(&self, id: EffectId) -> &[Need] {
        self.users.of_one(id)
    }

    /// From this crash point on the effect must be whole.
    pub fn forced_at(&self, id: EffectId) -> Clock {
        self.facts.get(id.0 as usize).map_or(Event::NEVER, |fact| fact.whole_from)
    }

    /// From this crash point on the outcome is illegal.
    pub fn legal_until(&self, id: EffectId, outcome: Outcome) -> Clock {
        let Some(fact) = self.facts.get(id.0 as usize) else { return Event::NEVER };
        match outcome {
            Outcome::Whole => Event::NEVER,
            Outcome::Absent => fact.absent_until,
            Outcome::Parts(bits) => match self.halves.get(&id) {
                Some((target, source)) => {
                    let target = if bits & 4 == 0 { *target } else { Event::NEVER };
                    let source = if bits & 2 == 0 { *source } else { Event::NEVER };
                    // A sync of everything, or of what needs the rename, wants all of it.
                    target.min(source).min(fact.whole_from)
                }
                None => fact.whole_from,
            },
            _ => fact.whole_from,
        }
    }

    /// The odd outcomes that the effect may have: torn with the first sectors written, then other tears, then
    /// stale; or the parts of a rename.
    pub fn other_outcomes(&self, id: EffectId) -> Vec<Outcome> {
        let Some(fact) = self.facts.get(id.0 as usize) else { return Vec::new() };
        let mut out = Vec::new();
        if fact.tears {
            let heads = heads(fact.sectors);
            out.extend(heads.iter().map(|mask| Outcome::Sectors(*mask)));
            let rest =
                (1..0xFFu8).filter(|m| m & !fact.sectors == 0 && *m != fact.sectors && !heads.contains(m));
            out.extend(rest.map(Outcome::Sectors));
        }
        if fact.stale {
            out.push(Outcome::Stale);
        }
        let parts = fact.parts;
        if parts == RETURNED {
            out.push(Outcome::Parts(RETURNED));
        } else if parts != 0 {
            // With the new name there, nothing shows whether the old target's went before: counted as gone.
            let canonical = |m: &u8| m & 4 == 0 || m & (parts & 1) == parts & 1;
            let wanted = |m: &u8| !fact.both || *m == parts & 5;
            let some = (1..8u8).filter(|m| m & !parts == 0 && *m != parts && canonical(m) && wanted(m));
            out.extend(some.map(Outcome::Parts));
        }
        out
    }

    /// How many odd outcomes are still legal at a crash point.
    pub(crate) fn odd_at(&self, id: EffectId, at: Clock) -> u32 {
        let fact = self.facts[id.0 as usize];
        if fact.parts != 0 {
            let legal = |o: &&Outcome| self.legal_until(id, **o) > at;
            return self.other_outcomes(id).iter().filter(legal).count() as u32;
        }
        if fact.whole_from <= at {
            return 0;
        }
        let tears = if fact.tears { (1u32 << fact.sectors.count_ones()) - 2 } else { 0 };
        tears + u32::from(fact.stale)
    }

    pub(crate) fn close(&self, set: &mut FixedBitSet, step: fn(&Graph, EffectId) -> &[Need]) {
        let mut todo: Vec<usize> = set.ones().collect();
        while let Some(id) = todo.pop() {
            for need in step(self, EffectId(id as u32)) {
                let on = need.on.0 as usize;
                if !set.put(on) {
                    todo.push(on);
                }
            }
        }
    }
}

impl super::Case for Graph {
    fn graph(&self) -> &Graph {
        self
    }
}

/// The masks of a page whose first sectors were written: what a write in order leaves.
pub(crate) fn heads(sectors: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut mask = 0u8;
    for bit in 0..8 {
        if sectors & (1 << bit) != 0 {
            mask |= 1 << bit;
            if mask != sectors {
                out.push(mask);
            }
        }
    }
    out
}

fn fact(issued: Clock, kind: &EffectKind, odd: Oddities) -> Fact {
    let sectors = kind.sectors();
    let (tears, stale) = match kind {
        EffectKind::Data { .. } if kind.is_freed() => (false, odd.reuse),
        EffectKind::Data { fresh: true, .. } => (odd.tear_fresh, odd.stale),
        EffectKind::Data { fresh: false, .. } => (odd.tear_old, false),
        _ => (false, false),
    };
    let parts = match kind {
        EffectKind::Meta(Meta::Return { .. }) => RETURNED,
        EffectKind::Meta(Meta::Rename { replaced, .. }) if odd.parts => 6 | u8::from(replaced.is_some()),
        EffectKind::Meta(Meta::Rename { replaced, from_dir, to_dir, .. })
            if odd.both && from_dir != to_dir =>
        {
            6 | u8::from(replaced.is_some())
        }
        _ => 0,
    };
    let (sectors, rank) = match kind {
        // A freed block is all or nothing.
        EffectKind::Data { .. } if kind.is_freed() => (0xFF, 2),
        EffectKind::Data { .. } => (sectors, 2),
        EffectKind::Size { .. } => (0xFF, 1),
        EffectKind::Meta(_) => (0xFF, 0),
    };
    Fact {
        issued,
        sectors,
        tears: tears && sectors.count_ones() > 1,
        stale,
        parts,
        both: odd.both,
        given: kind.is_given(),
        absent_until: Event::NEVER,
        whole_from: Event::NEVER,
        rank,
    }
}
