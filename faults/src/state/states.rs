//! Enumeration: one number of deviations after the other, then the rest, or samples of it.

use crate::state::calls::{Calls, Room};
use crate::state::level::{Level, level_size};
use crate::state::rest::Rest;
use crate::state::sample::Sampler;
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
pub(crate) type Seen = HashSet<u64, BuildHasherDefault<AsIs>>;

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
    /// The walk over the rest came to its end.
    covered: bool,
    shard: Option<(u64, u64)>,
    index: u64,
    stop: Option<&'s AtomicBool>,
}

enum Stage<'s> {
    Calls(Box<Calls<'s>>),
    Level(Box<Level<'s>>),
    Sample(Box<Sampler<'s>>),
    Rest(Box<Rest<'s>>),
    Done,
}

/// How many candidates for each new state are tried, and how many more.
const CANDIDATES: u64 = 4;
const MORE: u64 = 64;

/// One of so many states that may be given is one of whole calls, where not all can be given.
const OF_CALLS: u64 = 4;

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
            covered: false,
            shard: None,
            index: 0,
            stop: None,
        };
        match states.of_calls() {
            Some(room) => states.stage = Stage::Calls(Box::new(Calls::new(space, plan.seed, room))),
            None => states.begin(0),
        }
        states
    }

    /// What is to be given of whole calls, before anything else; nothing where every state will be given.
    fn of_calls(&self) -> Option<Room> {
        let most = self.plan.budget / OF_CALLS;
        if self.all.is_some() || most == 0 {
            return None;
        }
        let left = self.plan.budget - most;
        let plain = level_size(self.space, 0, left, self.stop);
        let fits = plain <= left && level_size(self.space, 1, left - plain, self.stop) <= left - plain;
        Some(Room { plain: plain > left, least: if fits { 2 } else { 1 }, most })
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
        self.covered || count.exact && count.states == BigUint::from(self.emitted)
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
        // Where everything will be given, a level is worth while that has not many more candidates than states
        // are left: fewer deviations come first. The rest is walked state by state.
        let most = match self.all {
            Some(all) => (all - self.emitted).saturating_mul(CANDIDATES).saturating_add(MORE),
            None if level > self.plan.bound => 0,
            None => self.left(),
        };
        self.stage = if level_size(self.space, level, most, self.stop) <= most {
            Stage::Level(Box::new(Level::new(self.space, level)))
        } else if self.all.is_none() && level <= self.plan.bound && self.left() > 0 {
            Stage::Sample(Box::new(Sampler::new(self.space, self.plan.seed, level, self.left())))
        } else {
            self.rest(self.all.is_some())
        };
    }

    fn rest(&self, all: bool) -> Stage<'s> {
        if self.left() == 0 {
            return Stage::Done;
        }
        let least = self.whole.unwrap_or(0).saturating_add(1);
        let room = (self.left(), all);
        Stage::Rest(Box::new(Rest::new(self.space, self.plan.seed, least, room, &self.seen, self.stop)))
    }

    fn next_any(&mut self) -> Option<CrashState> {
        loop {
            let stopped = self.stop.is_some_and(|flag| flag.load(Ordering::Relaxed));
            if stopped || self.left() == 0 || self.all == Some(self.emitted) {
                return None;
            }
            let next = match &mut self.stage {
                Stage::Calls(calls) if self.emitted < self.plan.budget / OF_CALLS => calls.next(self.stop),
                Stage::Calls(_) => None,
                Stage::Level(level) => level.next(self.stop),
                Stage::Sample(sampler) => sampler.next(self.stop),
                Stage::Rest(rest) => match rest.next(&self.seen, self.stop) {
                    Some((state, identity)) => {
                        self.seen.insert(identity);
                        self.emitted += 1;
                        return Some(state);
                    }
                    None => None,
                },
                Stage::Done => return None,
            };
            let Some(next) = next else {
                if self.stop.is_none_or(|flag| !flag.load(Ordering::Relaxed)) {
                    self.next_stage();
                }
                continue;
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

    fn next_stage(&mut self) {
        match &self.stage {
            Stage::Calls(_) => self.begin(0),
            Stage::Level(level) => {
                let done = level.deviations;
                self.whole = Some(done);
                match done.checked_add(1) {
                    Some(next) => self.begin(next),
                    None => self.stage = self.rest(self.all.is_some()),
                }
            }
            Stage::Sample(_) => self.stage = self.rest(false),
            Stage::Rest(rest) => {
                self.covered = rest.is_whole();
                // What could not be spent where it was meant to be may find room elsewhere; if not even that,
                // everything is walked until the budget is spent.
                self.stage = match (self.covered || rest.is_all(), rest.gave()) {
                    (true, _) => Stage::Done,
                    (false, 0) => self.rest(true),
                    (false, _) => self.rest(false),
                };
            }
            Stage::Done => {}
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
