//! Seeded samples, spread evenly over the prefixes: of one number of deviations, or of any.

use crate::effect::{EffectId, Outcome};
use crate::state::choice::Window;
use crate::state::space::build;
use crate::state::states::{at_prefix, prefixes};
use crate::state::work::{Choice, Work};
use crate::state::{CrashState, Space};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often the trace is gone over: many candidates are illegal or have been given already.
const PASSES: u32 = 6;

pub(crate) struct Sampler<'s> {
    space: &'s Space<'s>,
    rng: Pcg64Mcg,
    level: Option<u8>,
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
    prefix: Option<u32>,
    work: Work<'s>,
    window: Window<'s>,
}

impl<'s> Sampler<'s> {
    /// Of one level it takes half of the budget, so that the rest goes to states of every kind.
    pub(crate) fn new(space: &'s Space<'s>, seed: u64, level: Option<u8>, budget: u64) -> Self {
        let share = if level.is_some_and(|level| level > 0) { budget.div_ceil(2) } else { budget };
        let salt = level.map_or(0, |level| u64::from(level) + 1);
        Sampler {
            space,
            rng: Pcg64Mcg::seed_from_u64(seed ^ salt.rotate_left(32)),
            level,
            share: share.div_ceil(space.cases.len().max(1) as u64),
            accepted: 0,
            draws: share.div_ceil(space.cases.len().max(1) as u64),
            drawn: 0,
            pass: 0,
            before: 0,
            case: 0,
            prefix: None,
            work: Work::new(&space.cases[0].graph),
            window: Window::new(&space.cases[0].graph, &space.cases[0].odd, space.range),
        }
    }

    pub(crate) fn level(&self) -> Option<u8> {
        self.level
    }

    fn below(&mut self, n: u64) -> u64 {
        // The bias of the remainder is far below what matters for choosing samples.
        self.rng.next_u64() % n.max(1)
    }

    /// The last state was a new one.
    pub(crate) fn accept(&mut self) {
        self.accepted += 1;
    }

    /// Goes over the trace again for what is still wanting, then on to the next case.
    fn next_pass(&mut self) -> bool {
        self.pass += 1;
        self.draws = self.share.saturating_sub(self.accepted);
        // A pass that found nothing new: what is left is too rare to be drawn.
        let in_vain = self.accepted == self.before;
        self.before = self.accepted;
        if self.pass >= PASSES || self.draws == 0 || in_vain {
            if self.case + 1 >= self.space.cases.len() {
                return false;
            }
            self.case += 1;
            (self.pass, self.accepted, self.before, self.draws) = (0, 0, 0, self.share);
        }
        self.drawn = 0;
        self.prefix = None;
        let case = &self.space.cases[self.case];
        self.work = Work::new(&case.graph);
        self.window = Window::new(&case.graph, &case.odd, self.space.range);
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
            let end = u64::from(*prefixes(self.space, case).end()) + 1;
            // In ascending order, so that the window only goes forward; somewhere in its own slice.
            let slice = |n: u64| (u128::from(n) * u128::from(end) / u128::from(self.draws)) as u64;
            let (from, to) = (slice(self.drawn), slice(self.drawn + 1));
            self.drawn += 1;
            let within = self.below((to - from).max(1));
            let Some(prefix) = (from + within..end).find(|prefix| case.closed[*prefix as usize]) else {
                continue;
            };
            let prefix = prefix as u32;
            if self.prefix.is_some_and(|at| at > prefix) {
                continue;
            }
            if self.prefix != Some(prefix) {
                self.prefix = Some(prefix);
                self.window.advance(prefix);
            }
            let chosen = self.draw();
            let like = at_prefix(self.case, prefix);
            if let Some(state) = build(&mut self.work, case, &like, &chosen, self.space.range) {
                return Some(state);
            }
        }
    }

    /// Some choices: as many as the level says, or a share of all from one to half of them.
    fn draw(&mut self) -> Vec<Choice> {
        let n = self.window.width();
        let wanted = match self.level {
            Some(level) => u64::from(level).min(n),
            None => {
                // From one choice to half of them, each order of magnitude as often as the next.
                let most = (64 - n.leading_zeros()).min(9);
                let scale = self.below(u64::from(most) + 1);
                (1 + self.below(1 << scale.min(20))).min(n)
            }
        };
        let mut chosen: Vec<Choice> = Vec::new();
        for _ in 0..wanted {
            let Some(choice) = self.window.pick(self.rng.next_u64()) else { break };
            if chosen.iter().all(|other| other.id != choice.id) {
                chosen.push(choice);
            }
        }
        chosen.sort_unstable();
        self.thin(chosen)
    }

    /// Takes out what another choice implies, so that a draw of many is not in vain.
    fn thin(&mut self, chosen: Vec<Choice>) -> Vec<Choice> {
        let graph = &self.space.cases[self.case].graph;
        let prefix = self.prefix.unwrap_or(0);
        self.work.start(prefix);
        let mut kept = Vec::with_capacity(chosen.len());
        for choice in chosen.iter().filter(|c| c.id.0 < prefix) {
            let needs_met =
                |id: EffectId| graph.needs(id).iter().all(|n| self.work.get(n.on.0) == Outcome::Whole);
            if self.work.get(choice.id.0) == Outcome::Whole
                && (choice.outcome == Outcome::Absent || needs_met(choice.id))
            {
                self.work.lose(*choice);
                kept.push(*choice);
            }
        }
        kept.extend(chosen.iter().filter(|c| c.id.0 >= prefix));
        kept
    }
}
