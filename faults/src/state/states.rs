//! Enumeration: deviation bound by deviation bound, then samples.

use crate::effect::{EffectId, Outcome};
use crate::model::heads;
use crate::state::choice::Window;
use crate::state::sample::Sampler;
use crate::state::space::{SpaceCase, build};
use crate::state::work::{Choice, Work};
use crate::state::{CrashState, Plan, Space};
use num_bigint::BigUint;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};

/// Identities are mixed already.
#[derive(Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Only ever asked whether it holds something; its order is never seen.
type Seen = HashSet<u64, BuildHasherDefault<AsIs>>;

/// The states of a space in canonical order.
pub struct States<'s> {
    space: &'s Space<'s>,
    plan: Plan,
    stage: Stage<'s>,
    seen: Seen,
    emitted: u64,
    /// The number of legal states, where it is known and small enough to be reached.
    all: Option<u64>,
    whole: Option<u8>,
    shard: Option<(u64, u64)>,
    index: u64,
    stop: Option<&'s AtomicBool>,
}

enum Stage<'s> {
    Level(Box<Level<'s>>),
    Sample(Box<Sampler<'s>>),
    Done,
}

/// How many states in a row belong to one shard: neighbours share most of their hash's work.
const SHARD_BLOCK: u64 = 256;

impl<'s> States<'s> {
    pub(crate) fn new<'t: 's>(space: &'s Space<'t>, plan: &Plan) -> Self {
        let space: &'s Space<'s> = space;
        let count = space.count();
        let all = if count.exact { u64::try_from(&count.states).ok() } else { None };
        let mut states = States {
            space,
            plan: plan.clone(),
            stage: Stage::Done,
            seen: Seen::default(),
            emitted: 0,
            all: all.filter(|all| *all <= plan.budget),
            whole: None,
            shard: None,
            index: 0,
            stop: None,
        };
        states.begin(0);
        states
    }

    /// Only every `n`th block of the same states: the shards `0..n` together give each state once.
    #[must_use]
    pub fn shard(mut self, k: u64, n: u64) -> Self {
        self.shard = Some((k, n.max(1)));
        self
    }

    /// Ends early, as if there were no more states, once the flag is set: with a budget far above what can be
    /// reached, the search for one more new state may take long.
    #[must_use]
    pub fn stopped_by(mut self, flag: &'s AtomicBool) -> Self {
        self.stop = Some(flag);
        self
    }

    /// Whether every legal state has been given (by all shards together).
    pub fn is_exhaustive(&self) -> bool {
        let count = self.space.count();
        count.exact && count.states == BigUint::from(self.emitted)
    }

    /// The greatest number of deviations that has been enumerated whole so far.
    pub fn completed_bound(&self) -> Option<u8> {
        if self.is_exhaustive() { Some(self.plan.bound.max(self.whole.unwrap_or(0))) } else { self.whole }
    }

    /// How many states have been given so far (by all shards together).
    pub fn emitted(&self) -> u64 {
        self.emitted
    }

    fn left(&self) -> u64 {
        self.plan.budget.saturating_sub(self.emitted)
    }

    fn begin(&mut self, level: u8) {
        if level > self.plan.bound {
            self.stage = self.sampler(None);
            return;
        }
        let size = level_size(self.space, level, self.left());
        self.stage = if size <= self.left() {
            Stage::Level(Box::new(Level::new(self.space, level)))
        } else {
            self.sampler(Some(level))
        };
    }

    fn sampler(&self, level: Option<u8>) -> Stage<'s> {
        if self.left() == 0 {
            return Stage::Done;
        }
        Stage::Sample(Box::new(Sampler::new(self.space, self.plan.seed, level, self.left())))
    }

    fn next_any(&mut self) -> Option<CrashState> {
        loop {
            let stopped = self.stop.is_some_and(|flag| flag.load(Ordering::Relaxed));
            if stopped || self.left() == 0 || self.all == Some(self.emitted) {
                return None;
            }
            let next = match &mut self.stage {
                Stage::Level(level) => match level.next() {
                    Some(state) => state,
                    None => {
                        let done = level.deviations;
                        self.whole = Some(done);
                        match done.checked_add(1) {
                            Some(next) => self.begin(next),
                            None => self.stage = Stage::Done,
                        }
                        continue;
                    }
                },
                Stage::Sample(sampler) => match sampler.next(self.stop) {
                    Some(state) => state,
                    None => {
                        self.stage = match sampler.level() {
                            Some(_) => self.sampler(None),
                            None => Stage::Done,
                        };
                        continue;
                    }
                },
                Stage::Done => return None,
            };
            if self.seen.insert(self.space.identity(&next)) {
                self.emitted += 1;
                if let Stage::Sample(sampler) = &mut self.stage {
                    sampler.accept();
                }
                return Some(next);
            }
        }
    }
}

impl Iterator for States<'_> {
    type Item = CrashState;

    fn next(&mut self) -> Option<CrashState> {
        loop {
            let state = self.next_any()?;
            let index = self.index;
            self.index += 1;
            match self.shard {
                Some((k, n)) if (index / SHARD_BLOCK) % n != k => {}
                _ => return Some(state),
            }
        }
    }
}

/// How many candidates a level has, or a number above `limit`.
fn level_size(space: &Space<'_>, level: u8, limit: u64) -> u64 {
    let mut size = 0u64;
    for case in &space.cases {
        let mut window = Window::new(&case.graph, &case.odd, space.range);
        for prefix in prefixes(space, case) {
            window.advance(prefix);
            size = size.saturating_add(match level {
                0 => 1 + heads_at(case, prefix).len() as u64,
                _ => choose(window.breadth(), u64::from(level)),
            });
            if size > limit {
                return size;
            }
        }
    }
    size
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

/// The prefixes that a case has in the space's range.
pub(crate) fn prefixes(space: &Space<'_>, case: &SpaceCase) -> std::ops::RangeInclusive<u32> {
    let facts = &case.graph.facts;
    let last = facts.partition_point(|fact| fact.issued <= space.range.1) as u32;
    0..=last
}

/// The tears of a prefix's last effect in which its first sectors were written.
pub(crate) fn heads_at(case: &SpaceCase, prefix: u32) -> Vec<u8> {
    match prefix.checked_sub(1).map(|id| case.graph.facts[id as usize]) {
        Some(fact) if fact.tears => heads(fact.sectors),
        _ => Vec::new(),
    }
}

/// All states with one number of deviations, repetitions included.
struct Level<'s> {
    space: &'s Space<'s>,
    deviations: u8,
    case: usize,
    prefix: u32,
    work: Work<'s>,
    window: Window<'s>,
    choices: Vec<Choice>,
    /// The next combination, as indices into the choices; `None`: the next prefix is to be begun.
    combo: Option<Vec<usize>>,
    chosen: Vec<Choice>,
    ended: bool,
}

impl<'s> Level<'s> {
    fn new(space: &'s Space<'s>, deviations: u8) -> Self {
        let mut level = Level {
            space,
            deviations,
            case: 0,
            prefix: 0,
            work: Work::new(&space.cases[0].graph),
            window: Window::new(&space.cases[0].graph, &space.cases[0].odd, space.range),
            choices: Vec::new(),
            combo: None,
            chosen: Vec::new(),
            ended: false,
        };
        level.enter();
        level
    }

    /// Begins the present prefix.
    fn enter(&mut self) {
        let case = &self.space.cases[self.case];
        self.combo = None;
        if !case.closed[self.prefix as usize] {
            return;
        }
        if self.deviations == 0 {
            let id = EffectId(self.prefix.saturating_sub(1));
            let torn = heads_at(case, self.prefix).into_iter().map(Outcome::Sectors);
            self.choices = torn.map(|outcome| Choice { id, outcome }).collect();
            // Here the combination is empty (the prefix itself) or one index.
            self.combo = Some(Vec::new());
            return;
        }
        self.window.advance(self.prefix);
        self.choices = self.window.choices();
        let k = usize::from(self.deviations);
        if self.choices.len() >= k {
            self.combo = Some((0..k).collect());
        }
    }

    fn step(&mut self) {
        let n = self.choices.len();
        let Some(combo) = &mut self.combo else { return };
        if self.deviations == 0 {
            let next = combo.first().map_or(0, |i| i + 1);
            *combo = vec![next];
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
            self.prefix = 0;
            let case = &self.space.cases[self.case];
            self.work = Work::new(&case.graph);
            self.window = Window::new(&case.graph, &case.odd, self.space.range);
        } else {
            self.ended = true;
            return;
        }
        self.enter();
    }

    fn next(&mut self) -> Option<CrashState> {
        while !self.ended {
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
