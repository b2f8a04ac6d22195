//! Whole calls that are lost or early, wholly or in part: what comes first where not every state will be given.
//!
//! A write of some megabytes is thousands of effects, and a level of deviations goes through them page by page. What a
//! missing sync leaves is rarely one page of them: it is all of the call's, or all of its data, or one half. So a share of
//! the budget is spent on these, at the ends of calls; the pages have the rest.

use crate::effect::{EffectId, EffectKind, Outcome};
use crate::state::level::prefixes;
use crate::state::sample::below;
use crate::state::work::{Choice, Work};
use crate::state::{CrashState, Space};
use rand_core::SeedableRng;
use rand_pcg::Pcg64Mcg;
use std::sync::atomic::{AtomicBool, Ordering};

/// At the most so many prefixes are looked at, evenly over the trace, the last one among them.
const PREFIXES: usize = 256;

/// Which of a call's effects are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// All are lost.
    All,
    /// Of a write the bytes are lost, but the file has its size.
    Data,
    /// The first half is lost.
    Head,
    /// The second half is lost.
    Tail,
    /// All are there, though what came before is not.
    Early,
}

const LOST: [Part; 4] = [Part::All, Part::Data, Part::Tail, Part::Head];

/// How many deviations a level goes through one by one tells what is left to do here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Not every prefix will be given.
    pub(crate) plain: bool,
    /// Calls of so many effects or more; those of fewer have a level of their own.
    pub(crate) least: usize,
    /// So many states at the most.
    pub(crate) most: u64,
}

/// A run of effects of one call.
#[derive(Clone, Copy)]
struct Group {
    from: u32,
    to: u32,
}

/// Gives the states of whole calls.
pub(crate) struct Calls<'s> {
    space: &'s Space<'s>,
    room: Room,
    case: usize,
    work: Work<'s>,
    places: Vec<u32>,
    at: usize,
    /// What is tried at the present prefix.
    todo: Vec<(Group, Part)>,
    done: usize,
    /// Nothing before this effect can be lost any more at the present prefix, nor at a later one.
    open: u32,
    /// How many tries there are in all. Where that is too many, each has the same chance: one of so many in a row would
    /// be the same part of each call.
    total: u64,
    rng: Pcg64Mcg,
    plain: bool,
}

impl<'s> Calls<'s> {
    pub(crate) fn new(space: &'s Space<'s>, seed: u64, room: Room) -> Calls<'s> {
        let mut calls = Calls {
            space,
            room,
            case: 0,
            work: Work::new(&space.cases[0].graph),
            places: Vec::new(),
            at: 0,
            todo: Vec::new(),
            done: 0,
            open: 0,
            total: 0,
            rng: Pcg64Mcg::seed_from_u64(seed ^ 0xCA11 << 40),
            plain: false,
        };
        calls.total = calls.count();
        calls.enter_case(0);
        calls
    }

    /// How many tries there are in all.
    fn count(&mut self) -> u64 {
        let mut total = 0;
        for case in 0..self.space.cases.len() {
            self.enter_case(case);
            while self.at < self.places.len() {
                total += u64::from(self.room.plain) + self.todo.len() as u64;
                self.at += 1;
                self.enter();
            }
        }
        total
    }

    fn enter_case(&mut self, case: usize) {
        self.case = case;
        self.work = Work::new(&self.space.cases[case].graph);
        self.places = self.ends_of_calls();
        (self.at, self.open) = (0, 0);
        self.enter();
    }

    /// The prefixes that end with a call, or some of them.
    fn ends_of_calls(&self) -> Vec<u32> {
        let case = &self.space.cases[self.case];
        let list = &self.space.effects.list;
        let event = |id: u32| list.get(id as usize).map(|effect| effect.event);
        let is_end = |p: &u32| {
            let before = p.checked_sub(1).and_then(event);
            case.closed[*p as usize] && (before.is_none() || before != event(*p))
        };
        let all: Vec<u32> = prefixes(self.space, case).filter(is_end).collect();
        let step = all.len().div_ceil(PREFIXES).max(1);
        let skipped = all.len().saturating_sub(1) % step;
        all.into_iter().skip(skipped).step_by(step).collect()
    }

    fn enter(&mut self) {
        self.done = 0;
        self.plain = self.room.plain;
        match self.places.get(self.at).copied() {
            Some(prefix) => self.list(prefix),
            None => self.todo.clear(),
        }
    }

    /// What can be tried at a prefix: the latest call that is lost first, then the nearest that is early.
    fn list(&mut self, prefix: u32) {
        let case = &self.space.cases[self.case];
        let (facts, effects) = (&case.graph.facts, &self.space.effects.list);
        let now = prefix.checked_sub(1).map_or(0, |id| facts[id as usize].issued).max(self.space.range.0);
        while self.open < prefix && facts[self.open as usize].whole_from <= now {
            self.open += 1;
        }
        let mut todo = std::mem::take(&mut self.todo);
        todo.clear();
        let mut end = prefix;
        while end > self.open {
            let event = effects[end as usize - 1].event;
            let mut from = end;
            while from > 0 && effects[from as usize - 1].event == event {
                from -= 1;
            }
            let group = Group { from, to: end };
            // What is forced in part cannot be lost whole.
            if self.is_large(group) && (from..end).all(|id| facts[id as usize].whole_from > now) {
                todo.extend(LOST.into_iter().filter(|part| self.differs(group, *part)).map(|p| (group, p)));
            }
            end = from;
        }
        // The next call is no early one: with it the prefix is a longer one.
        let mut from = self.end_of_call(prefix);
        let beyond = self.space.range.1;
        let mut forced = (prefix..from).map(|id| facts[id as usize].absent_until).min();
        while let Some(fact) = facts.get(from as usize) {
            if fact.issued > beyond || forced.is_some_and(|forced| forced <= fact.issued) {
                break;
            }
            let to = self.end_of_call(from);
            let group = Group { from, to };
            if self.is_large(group) {
                todo.push((group, Part::Early));
            }
            let own = (from..to).map(|id| facts[id as usize].absent_until).min();
            forced = forced.into_iter().chain(own).min();
            from = to;
        }
        self.todo = todo;
    }

    fn end_of_call(&self, from: u32) -> u32 {
        let effects = &self.space.effects.list;
        let event = effects.get(from as usize).map(|effect| effect.event);
        let mut to = from;
        while effects.get(to as usize).map(|effect| effect.event) == event && event.is_some() {
            to += 1;
        }
        to
    }

    fn is_large(&self, group: Group) -> bool {
        (group.to - group.from) as usize >= self.room.least
    }

    /// Whether a part of a call is neither none nor all of it.
    fn differs(&self, group: Group, part: Part) -> bool {
        let all = (group.to - group.from) as usize;
        let some = self.members(group, part).count();
        part == Part::All || (some > 0 && some < all)
    }

    fn members(&self, group: Group, part: Part) -> impl Iterator<Item = u32> + '_ {
        let half = group.from + (group.to - group.from) / 2;
        (group.from..group.to).filter(move |id| match part {
            Part::All | Part::Early => true,
            Part::Data => {
                let kind = &self.space.effects.list[*id as usize].kind;
                matches!(kind, EffectKind::Data { .. })
            }
            Part::Head => *id < half,
            Part::Tail => *id >= half,
        })
    }

    pub(crate) fn next(&mut self, stop: Option<&AtomicBool>) -> Option<CrashState> {
        loop {
            if stop.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                return None;
            }
            let Some(prefix) = self.places.get(self.at).copied() else {
                if self.case + 1 >= self.space.cases.len() {
                    return None;
                }
                self.enter_case(self.case + 1);
                continue;
            };
            let of_call = if std::mem::take(&mut self.plain) {
                None
            } else if let Some(next) = self.todo.get(self.done) {
                self.done += 1;
                Some(*next)
            } else {
                self.at += 1;
                self.enter();
                continue;
            };
            if below(&mut self.rng, self.total) < self.room.most
                && let Some(state) = self.build(prefix, of_call)
            {
                return Some(state);
            }
        }
    }

    fn build(&mut self, prefix: u32, of_call: Option<(Group, Part)>) -> Option<CrashState> {
        self.work.start(prefix);
        let mut chosen = 0u8;
        if let Some((group, part)) = of_call {
            let members: Vec<u32> = self.members(group, part).collect();
            for id in members {
                let (id, early) = (EffectId(id), part == Part::Early);
                let was = self.work.get(id.0);
                if (was == Outcome::Absent) != early {
                    continue;
                }
                chosen = chosen.saturating_add(1);
                let outcome = if early { Outcome::Whole } else { Outcome::Absent };
                if !early {
                    self.work.lose(Choice { id, outcome });
                } else if !self.work.early(Choice { id, outcome }) {
                    return None;
                }
            }
        }
        if !self.work.is_closed() {
            return None;
        }
        let case = &self.space.cases[self.case];
        self.work.state(self.case as u32, chosen, &case.soon, self.space.range)
    }
}
