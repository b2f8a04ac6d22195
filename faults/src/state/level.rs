//! All states with one number of deviations.

use crate::effect::{EffectId, Outcome};
use crate::model::{Grain, Graph, Need, heads};
use crate::state::choice::Window;
use crate::state::space::{SpaceCase, build};
use crate::state::work::{Choice, Work};
use crate::state::{CrashState, Space};
use std::sync::atomic::{AtomicBool, Ordering};

/// How many candidates a level has, or a number above `limit`.
pub(crate) fn level_size(space: &Space<'_>, level: u8, limit: u64, stop: Option<&AtomicBool>) -> u64 {
    let mut size = 0u64;
    for case in &space.cases {
        let mut window = Window::new(&case.graph, &case.odd, space.range);
        let mut near = Near::new(case.graph.len());
        for prefix in prefixes(space, case) {
            window.advance(prefix);
            size = size.saturating_add(match level {
                0 => plain_at(space, case, prefix),
                // A rough number is enough where it is small; in a long window it is worth while to look.
                _ if window.breadth() <= CLOSE_LOOK => choose(window.breadth(), u64::from(level)),
                _ => {
                    near.look(case, &window);
                    choose(window.wanted(|id| near.is_wanted(id)), u64::from(level))
                }
            });
            if size > limit {
                return size;
            }
            if stop.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                return u64::MAX;
            }
        }
    }
    size
}

/// So many choices are not looked at one by one to be counted.
const CLOSE_LOOK: u64 = 64;

/// What need not be chosen at a prefix, because the same set comes up at a neighbouring one: the loss of what
/// the prefix's last effect cannot be without (a shorter prefix), and what cannot be early without the next
/// effect (a longer one).
struct Near {
    stamp: Vec<u32>,
    now: u32,
    todo: Vec<u32>,
}

impl Near {
    fn new(n: usize) -> Near {
        Near { stamp: vec![u32::MAX; n], now: 0, todo: Vec::new() }
    }

    /// Only among what the window can choose: chains lead far beyond it.
    fn look(&mut self, case: &SpaceCase, window: &Window<'_>) {
        let (prefix, facts) = (window.prefix(), &case.graph.facts);
        self.now = prefix;
        let is_closed = |prefix: u32| case.closed.get(prefix as usize).copied().unwrap_or(false);
        if let Some(last) = prefix.checked_sub(1)
            && is_closed(last)
        {
            let now = facts[last as usize].issued;
            let on = |id: u32| id < prefix && facts[id as usize].whole_from > now;
            self.close(&case.graph, last, Graph::needs, on);
        }
        if prefix < window.early_end() && is_closed(prefix + 1) {
            let on = |id: u32| id > prefix && id < window.early_end();
            self.close(&case.graph, prefix, Graph::users, on);
        }
    }

    fn close(
        &mut self,
        graph: &Graph,
        from: u32,
        step: fn(&Graph, EffectId) -> &[Need],
        on: impl Fn(u32) -> bool,
    ) {
        self.todo.push(from);
        while let Some(id) = self.todo.pop() {
            for need in step(graph, EffectId(id)) {
                let other = need.on.0;
                if need.grain == Grain::Whole && on(other) && self.stamp[other as usize] != self.now {
                    self.stamp[other as usize] = self.now;
                    self.todo.push(other);
                }
            }
        }
    }

    fn is_wanted(&self, id: EffectId) -> bool {
        self.stamp[id.0 as usize] != self.now
    }
}

fn choose(n: u64, k: u64) -> u64 {
    if k > n {
        return 0;
    }
    let mut total = 1u64;
    for i in 0..k {
        // Exact at every step: a product of i + 1 neighbouring numbers is divisible by (i + 1)!.
        match total.checked_mul(n - i) {
            Some(product) => total = product / (i + 1),
            None => return u64::MAX,
        }
    }
    total
}

/// The prefixes that a case has in the space's range. What the first crash point forces from the beginning on
/// is in all of them.
pub(crate) fn prefixes(space: &Space<'_>, case: &SpaceCase) -> std::ops::RangeInclusive<u32> {
    let facts = &case.graph.facts;
    let last = facts.partition_point(|fact| fact.issued <= space.range.1) as u32;
    let first = facts.iter().position(|fact| fact.whole_from > space.range.0).unwrap_or(facts.len());
    (first as u32).min(last)..=last
}

/// How many states without a deviation a prefix gives at the most.
fn plain_at(space: &Space<'_>, case: &SpaceCase, prefix: u32) -> u64 {
    let issued = prefix.checked_sub(1).map_or(0, |id| case.graph.facts[id as usize].issued);
    let forced = case.soon.from(prefix) <= issued.max(space.range.0);
    if forced || !case.closed[prefix as usize] { 0 } else { 1 + heads_at(case, prefix).len() as u64 }
}

/// The tears of a prefix's last effect in which its first sectors were written.
pub(crate) fn heads_at(case: &SpaceCase, prefix: u32) -> Vec<u8> {
    match prefix.checked_sub(1).map(|id| case.graph.facts[id as usize]) {
        Some(fact) if fact.tears => heads(fact.sectors),
        _ => Vec::new(),
    }
}

/// All states with one number of deviations, repetitions included.
pub(crate) struct Level<'s> {
    space: &'s Space<'s>,
    pub(crate) deviations: u8,
    case: usize,
    prefix: u32,
    work: Work<'s>,
    window: Window<'s>,
    near: Near,
    choices: Vec<Choice>,
    /// The next combination, as indices into the choices; `None`: the next prefix is to be begun.
    combo: Option<Vec<usize>>,
    chosen: Vec<Choice>,
    spare: Vec<usize>,
    ended: bool,
}

impl<'s> Level<'s> {
    pub(crate) fn new(space: &'s Space<'s>, deviations: u8) -> Self {
        let mut level = Level {
            space,
            deviations,
            case: 0,
            prefix: *prefixes(space, &space.cases[0]).start(),
            work: Work::new(&space.cases[0].graph),
            window: Window::new(&space.cases[0].graph, &space.cases[0].odd, space.range),
            near: Near::new(space.cases[0].graph.len()),
            choices: Vec::new(),
            combo: None,
            chosen: Vec::new(),
            spare: Vec::new(),
            ended: false,
        };
        level.enter();
        level
    }

    /// Begins the present prefix.
    fn enter(&mut self) {
        let case = &self.space.cases[self.case];
        self.spare = self.combo.take().unwrap_or_default();
        if !case.closed[self.prefix as usize] {
            return;
        }
        if self.deviations == 0 {
            let id = EffectId(self.prefix.saturating_sub(1));
            let torn = heads_at(case, self.prefix).into_iter().map(Outcome::Sectors);
            self.choices = torn.map(|outcome| Choice { id, outcome }).collect();
            // Here the combination is empty (the prefix itself) or one index.
            self.set_combo(0);
            return;
        }
        self.window.advance(self.prefix);
        let k = usize::from(self.deviations);
        if self.window.width() == 0 {
            return;
        }
        self.near.look(case, &self.window);
        self.window.choices(|id| self.near.is_wanted(id), &mut self.choices);
        if self.choices.len() >= k {
            self.set_combo(k);
        }
    }

    fn set_combo(&mut self, k: usize) {
        let mut combo = std::mem::take(&mut self.spare);
        combo.clear();
        combo.extend(0..k);
        self.combo = Some(combo);
    }

    fn step(&mut self) {
        let n = self.choices.len();
        let Some(combo) = &mut self.combo else { return };
        if self.deviations == 0 {
            let next = combo.first().map_or(0, |i| i + 1);
            combo.clear();
            combo.push(next);
            if next >= n {
                self.combo = None;
            }
            return;
        }
        let k = combo.len();
        match (0..k).rev().find(|i| combo[*i] < n - k + i) {
            Some(at) => {
                combo[at] += 1;
                for i in at + 1..k {
                    combo[i] = combo[i - 1] + 1;
                }
            }
            None => self.combo = None,
        }
    }

    fn next_prefix(&mut self) {
        let last = *prefixes(self.space, &self.space.cases[self.case]).end();
        if self.prefix < last {
            self.prefix += 1;
        } else if self.case + 1 < self.space.cases.len() {
            self.case += 1;
            let case = &self.space.cases[self.case];
            self.work = Work::new(&case.graph);
            self.window = Window::new(&case.graph, &case.odd, self.space.range);
            self.near = Near::new(case.graph.len());
            self.prefix = *prefixes(self.space, case).start();
        } else {
            self.ended = true;
            return;
        }
        self.enter();
    }

    pub(crate) fn next(&mut self, stop: Option<&AtomicBool>) -> Option<CrashState> {
        while !self.ended {
            if stop.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                return None;
            }
            let Some(combo) = &self.combo else {
                self.next_prefix();
                continue;
            };
            self.chosen.clear();
            self.chosen.extend(combo.iter().map(|i| self.choices[*i]));
            let like = at_prefix(self.case, self.prefix);
            let case = &self.space.cases[self.case];
            let built = build(&mut self.work, case, &like, &self.chosen, self.space.range);
            self.step();
            if let Some(mut state) = built {
                state.deviations = self.deviations;
                return Some(state);
            }
        }
        None
    }
}

/// A state with nothing but a case and a prefix, to build others on.
pub(crate) fn at_prefix(case: usize, prefix: u32) -> CrashState {
    CrashState { case: case as u32, prefix, except: Vec::new(), deviations: 0, first: 0, last: 0 }
}
