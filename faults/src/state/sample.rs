//! Seeded samples, spread evenly over the prefixes.

use crate::effect::{EffectId, Outcome};
use crate::state::choice::Window;
use crate::state::level::{at_prefix, prefixes};
use crate::state::space::build;
use crate::state::work::{Choice, Work};
use crate::state::{CrashState, Space};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often the trace is gone over: many candidates are illegal or have been given already.
const PASSES: u32 = 6;
/// A pass that gives fewer than one new state in so many candidates is the last.
const VAIN: u64 = 4;

/// Draws states at prefixes of one case, which must not fall.
pub(crate) struct Drawer<'s> {
    space: &'s Space<'s>,
    case: usize,
    prefix: Option<u32>,
    work: Work<'s>,
    window: Window<'s>,
    chosen: Vec<Choice>,
    kept: Vec<Choice>,
}

impl<'s> Drawer<'s> {
    pub(crate) fn new(space: &'s Space<'s>, case: usize) -> Self {
        let of = &space.cases[case];
        Drawer {
            space,
            case,
            prefix: None,
            work: Work::new(&of.graph),
            window: Window::new(&of.graph, &of.odd, space.range),
            chosen: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Goes to the first prefix from this one on that holds what it needs; `false`: there is none any more.
    pub(crate) fn go(&mut self, prefix: u32) -> bool {
        let closed = &self.space.cases[self.case].closed;
        let Some(prefix) = (prefix..closed.len() as u32).find(|prefix| closed[*prefix as usize]) else {
            return false;
        };
        if self.prefix.is_some_and(|at| at > prefix) {
            return false;
        }
        if self.prefix != Some(prefix) {
            self.prefix = Some(prefix);
            self.window.advance(prefix);
        }
        true
    }

    /// A state with some deviations: `least`, or more on every scale as often as on the next.
    pub(crate) fn draw(&mut self, rng: &mut Pcg64Mcg, least: u64, more: bool) -> Option<CrashState> {
        let n = self.window.width();
        let mut wanted = least;
        if more {
            // More than a few dozen tell little that fewer do not, and make states that take long to lay out.
            let most = (64 - n.leading_zeros()).min(6);
            let scale = below(rng, u64::from(most) + 1);
            wanted += below(rng, 1 << scale);
        }
        self.chosen.clear();
        for _ in 0..wanted.min(n) {
            let Some(choice) = self.window.pick(rng.next_u64()) else { break };
            self.chosen.push(choice);
        }
        // Of several choices about one effect, one.
        self.chosen.sort_unstable();
        self.chosen.dedup_by_key(|choice| choice.id);
        self.thin();
        let case = &self.space.cases[self.case];
        let like = at_prefix(self.case, self.prefix.unwrap_or(0));
        build(&mut self.work, case, &like, &self.kept, self.space.range)
    }

    /// Takes out what another choice implies, so that a draw of many is not in vain.
    fn thin(&mut self) {
        let graph = &self.space.cases[self.case].graph;
        let prefix = self.prefix.unwrap_or(0);
        self.kept.clear();
        if let [_] = self.chosen[..] {
            self.kept.extend_from_slice(&self.chosen);
            return;
        }
        self.work.start(prefix);
        for choice in self.chosen.iter().filter(|c| c.id.0 < prefix) {
            let needs_met =
                |id: EffectId| graph.needs(id).iter().all(|n| self.work.get(n.on.0) == Outcome::Whole);
            if self.work.get(choice.id.0) == Outcome::Whole
                && (choice.outcome == Outcome::Absent || needs_met(choice.id))
            {
                self.work.lose(*choice);
                self.kept.push(*choice);
            }
        }
        self.kept.extend(self.chosen.iter().filter(|c| c.id.0 >= prefix));
    }
}

/// A random number below `n`. The bias of the remainder is far below what matters for choosing samples.
pub(crate) fn below(rng: &mut Pcg64Mcg, n: u64) -> u64 {
    rng.next_u64() % n.max(1)
}

/// Samples of one number of deviations.
pub(crate) struct Sampler<'s> {
    space: &'s Space<'s>,
    rng: Pcg64Mcg,
    level: u8,
    /// How many states each case should give.
    share: u64,
    /// How many of them were new.
    accepted: u64,
    /// How many candidates are drawn in this pass, evenly over the prefixes.
    draws: u64,
    drawn: u64,
    pass: u32,
    /// What had been accepted when this pass began.
    before: u64,
    case: usize,
    drawer: Drawer<'s>,
}

impl<'s> Sampler<'s> {
    /// It takes half of the budget, so that the rest goes to states of every kind.
    pub(crate) fn new(space: &'s Space<'s>, seed: u64, level: u8, budget: u64) -> Self {
        let share = if level > 0 { budget.div_ceil(2) } else { budget };
        let share = share.div_ceil(space.cases.len().max(1) as u64);
        Sampler {
            space,
            rng: Pcg64Mcg::seed_from_u64(seed ^ (u64::from(level) + 1).rotate_left(32)),
            level,
            share,
            accepted: 0,
            draws: share,
            drawn: 0,
            pass: 0,
            before: 0,
            case: 0,
            drawer: Drawer::new(space, 0),
        }
    }

    /// The last state was a new one.
    pub(crate) fn accept(&mut self) {
        self.accepted += 1;
    }

    /// Goes over the trace again for what is still wanting, then on to the next case.
    fn next_pass(&mut self) -> bool {
        self.pass += 1;
        let in_vain = (self.accepted - self.before) * VAIN <= self.draws;
        self.draws = self.share.saturating_sub(self.accepted);
        self.before = self.accepted;
        if self.pass >= PASSES || self.draws == 0 || in_vain {
            if self.case + 1 >= self.space.cases.len() {
                return false;
            }
            self.case += 1;
            (self.pass, self.accepted, self.before, self.draws) = (0, 0, 0, self.share);
        }
        self.drawn = 0;
        self.drawer = Drawer::new(self.space, self.case);
        self.draws > 0
    }

    pub(crate) fn next(&mut self, stop: Option<&AtomicBool>) -> Option<CrashState> {
        loop {
            if stop.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                return None;
            }
            if self.drawn >= self.draws && !self.next_pass() {
                return None;
            }
            let case = &self.space.cases[self.case];
            let prefixes = prefixes(self.space, case);
            let (start, end) = (u64::from(*prefixes.start()), u64::from(*prefixes.end()) + 1);
            // In ascending order, so that the window only goes forward; somewhere in its own slice.
            let spread = |n: u64| u128::from(n) * u128::from(end - start) / u128::from(self.draws);
            let slice = |n: u64| start + spread(n) as u64;
            let (from, to) = (slice(self.drawn), slice(self.drawn + 1));
            self.drawn += 1;
            let prefix = from + below(&mut self.rng, (to - from).max(1));
            if self.drawer.go(prefix.min(end - 1) as u32) {
                let drawn = self.drawer.draw(&mut self.rng, u64::from(self.level), false);
                if drawn.is_some() {
                    return drawn;
                }
            }
        }
    }
}
