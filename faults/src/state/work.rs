//! A working set of outcomes: a prefix with deviations, closed under a graph.

use crate::effect::{EffectId, Outcome};
use crate::event::Clock;
use crate::model::{Grain, Graph};
use crate::state::CrashState;

/// One chosen deviation from a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Choice {
    pub(crate) id: EffectId,
    pub(crate) outcome: Outcome,
}

/// Outcomes over a prefix, with room to change some and forget it all cheaply.
pub(crate) struct Work<'g> {
    graph: &'g Graph,
    prefix: u32,
    now: u32,
    stamp: Vec<u32>,
    out: Vec<Outcome>,
    touched: Vec<u32>,
    todo: Vec<u32>,
}

impl<'g> Work<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Self {
        let n = graph.len();
        Work {
            graph,
            prefix: 0,
            now: 0,
            stamp: vec![0; n],
            out: vec![Outcome::Absent; n],
            touched: Vec::new(),
            todo: Vec::new(),
        }
    }

    /// Starts again from a prefix.
    pub(crate) fn start(&mut self, prefix: u32) {
        self.prefix = prefix;
        self.touched.clear();
        self.now = self.now.wrapping_add(1);
        if self.now == 0 {
            self.stamp.fill(0);
            self.now = 1;
        }
    }

    pub(crate) fn get(&self, id: u32) -> Outcome {
        if self.stamp[id as usize] == self.now {
            self.out[id as usize]
        } else if id < self.prefix {
            Outcome::Whole
        } else {
            Outcome::Absent
        }
    }

    pub(crate) fn set(&mut self, id: u32, outcome: Outcome) {
        if self.stamp[id as usize] != self.now {
            self.stamp[id as usize] = self.now;
            self.touched.push(id);
        }
        self.out[id as usize] = outcome;
    }

    /// The sectors that an outcome puts on the disk, of all that the effect has.
    pub(crate) fn mask(&self, id: u32, outcome: Outcome) -> u8 {
        mask(self.graph.facts[id as usize].sectors, outcome)
    }

    fn outcome(&self, id: u32, mask: u8) -> Outcome {
        let all = self.graph.facts[id as usize].sectors;
        match mask {
            0 => Outcome::Absent,
            mask if mask == all => Outcome::Whole,
            mask => Outcome::Sectors(mask),
        }
    }

    /// Applies a choice below the prefix: the effect loses what the outcome lacks, and so does what needs it.
    pub(crate) fn lose(&mut self, choice: Choice) {
        self.set(choice.id.0, choice.outcome);
        self.todo.push(choice.id.0);
        while let Some(id) = self.todo.pop() {
            let have = self.get(id);
            let have_mask = self.mask(id, have);
            for user in self.graph.users(EffectId(id)) {
                let other = user.on.0;
                let was = self.get(other);
                if was == Outcome::Absent {
                    continue;
                }
                let new = match user.grain {
                    Grain::Whole if have == Outcome::Whole => was,
                    Grain::Whole => Outcome::Absent,
                    Grain::Sectors => {
                        let missing = self.graph.facts[id as usize].sectors & !have_mask;
                        if missing == 0 {
                            continue;
                        }
                        let left = self.mask(other, was) & !missing;
                        let torn = left != self.graph.facts[other as usize].sectors;
                        let whole_only = !self.graph.facts[other as usize].tears;
                        self.outcome(other, if torn && whole_only { 0 } else { left })
                    }
                };
                if new != was {
                    self.set(other, new);
                    self.todo.push(other);
                }
            }
        }
    }

    /// What is left of an effect before the prefix if nothing but its needs takes anything from it.
    pub(crate) fn left_of(&self, id: EffectId) -> Outcome {
        let fact = self.graph.facts[id.0 as usize];
        let mut left = fact.sectors;
        for need in self.graph.needs(id) {
            let on = self.get(need.on.0);
            let missing = self.graph.facts[need.on.0 as usize].sectors & !self.mask(need.on.0, on);
            match need.grain {
                Grain::Whole if on != Outcome::Whole => left = 0,
                Grain::Whole => {}
                Grain::Sectors if left & missing != 0 && !fact.tears => left = 0,
                Grain::Sectors => left &= !missing,
            }
        }
        self.outcome(id.0, left)
    }

    /// What of an effect behind the prefix is there because of what needs it.
    pub(crate) fn dragged(&self, id: EffectId) -> Outcome {
        let fact = self.graph.facts[id.0 as usize];
        let mut have = 0;
        for user in self.graph.users(id) {
            let other = self.get(user.on.0);
            let wanted = match user.grain {
                Grain::Whole if other == Outcome::Absent => 0,
                Grain::Whole => fact.sectors,
                Grain::Sectors => self.mask(user.on.0, other) & fact.sectors,
            };
            have |= if wanted != 0 && !fact.tears { fact.sectors } else { wanted };
        }
        self.outcome(id.0, have)
    }

    /// Applies a choice at or behind the prefix: the effect is there early, and so is what it needs. `false`:
    /// something that it needs has been lost by choice.
    pub(crate) fn early(&mut self, choice: Choice) -> bool {
        self.set(choice.id.0, choice.outcome);
        self.todo.push(choice.id.0);
        let mut possible = true;
        while let Some(id) = self.todo.pop() {
            let have = self.mask(id, self.get(id));
            for need in self.graph.needs(EffectId(id)) {
                let other = need.on.0;
                let was = self.get(other);
                let new = match need.grain {
                    Grain::Whole => Outcome::Whole,
                    Grain::Sectors => {
                        let fact = self.graph.facts[other as usize];
                        let wanted = have & fact.sectors;
                        let both = self.mask(other, was) | wanted;
                        if wanted == 0 || self.mask(other, was) == both {
                            was
                        } else if fact.tears {
                            self.outcome(other, both)
                        } else {
                            Outcome::Whole
                        }
                    }
                };
                if new != was {
                    // Only what is absent because nobody chose it may come along.
                    possible &= self.stamp[other as usize] != self.now || was == Outcome::Absent;
                    possible &= other >= self.prefix;
                    self.set(other, new);
                    self.todo.push(other);
                }
            }
        }
        possible
    }

    /// Whether everything touched has what it needs.
    pub(crate) fn is_closed(&self) -> bool {
        self.touched.iter().all(|id| self.is_closed_at(*id))
    }

    /// Whether one effect has what it needs.
    pub(crate) fn is_closed_at(&self, id: u32) -> bool {
        let have = self.get(id);
        have == Outcome::Absent || self.graph.needs(EffectId(id)).iter().all(|need| self.has(id, have, need))
    }

    fn has(&self, id: u32, have: Outcome, need: &crate::model::Need) -> bool {
        let other = self.get(need.on.0);
        match need.grain {
            Grain::Whole => other == Outcome::Whole,
            Grain::Sectors => {
                let wanted = self.mask(id, have) & self.graph.facts[need.on.0 as usize].sectors;
                wanted & !self.mask(need.on.0, other) == 0
            }
        }
    }

    /// The working set as a state with its interval within `range`; `None` where no crash point of the range
    /// allows it.
    pub(crate) fn state(
        &mut self,
        case: u32,
        deviations: u8,
        soon: &Soon,
        range: (Clock, Clock),
    ) -> Option<CrashState> {
        let mut prefix = self.prefix;
        while prefix > 0 && self.get(prefix - 1) == Outcome::Absent {
            prefix -= 1;
        }
        if prefix == self.prefix {
            while (prefix as usize) < self.graph.len() && self.get(prefix) == Outcome::Whole {
                prefix += 1;
            }
        }
        let mut except = Vec::with_capacity(self.touched.len());
        let mut last = Clock::MAX;
        let mut top: Option<u32> = prefix.checked_sub(1);
        self.touched.sort_unstable();
        for &id in &self.touched {
            let outcome = self.get(id);
            let usual = if id < prefix { Outcome::Whole } else { Outcome::Absent };
            if outcome != Outcome::Whole {
                last = last.min(self.graph.legal_until(EffectId(id), outcome));
            }
            if outcome != usual {
                except.push((EffectId(id), outcome));
                if outcome != Outcome::Absent {
                    top = top.max(Some(id));
                }
            }
        }
        last = last.min(self.absent_until(prefix, top, soon));
        let first = top.map_or(0, |id| self.graph.facts[id as usize].issued).max(range.0);
        let last = last.saturating_sub(1).min(range.1);
        (first <= last).then_some(CrashState { case, prefix, except, deviations, first, last })
    }

    /// When the first of the absent effects at or behind the prefix is forced.
    fn absent_until(&self, prefix: u32, top: Option<u32>, soon: &Soon) -> Clock {
        let behind = soon.from(prefix);
        let Some(top) = top.filter(|top| *top >= prefix) else { return behind };
        // Effects that are there early do not count; only if one of them is the first must all be looked at.
        let early_is_first = (prefix..=top).any(|id| {
            self.get(id) != Outcome::Absent && self.graph.facts[id as usize].absent_until == behind
        });
        if !early_is_first {
            return behind;
        }
        let absent = (prefix..=top).filter(|id| self.get(*id) == Outcome::Absent);
        let among = absent.map(|id| self.graph.facts[id as usize].absent_until).min();
        among.unwrap_or(Clock::MAX).min(soon.from(top + 1))
    }
}

/// The sectors that an outcome puts on the disk, of all that an effect has.
pub(crate) fn mask(all: u8, outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Whole | Outcome::Parts(_) => all,
        Outcome::Sectors(mask) => mask & all,
        Outcome::Absent | Outcome::Zeros | Outcome::Stale => 0,
    }
}

/// For every prefix: when the first of the effects behind it is forced.
pub(crate) struct Soon(Vec<Clock>);

impl Soon {
    pub(crate) fn of(graph: &Graph) -> Soon {
        let mut from = vec![Clock::MAX; graph.len() + 1];
        for id in (0..graph.len()).rev() {
            from[id] = from[id + 1].min(graph.facts[id].absent_until);
        }
        Soon(from)
    }

    pub(crate) fn from(&self, prefix: u32) -> Clock {
        self.0.get(prefix as usize).copied().unwrap_or(Clock::MAX)
    }
}
