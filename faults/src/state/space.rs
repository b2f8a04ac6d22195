//! The crash states of one trace under one model.

use crate::effect::{EffectId, Effects, OldPage, Outcome};
use crate::event::{Clock, Event};
use crate::image::{Disk, Image, ImageHash, Kinds, SharedImage};
use crate::model::{Count, Counter, Graph, Model};
use crate::state::choice::OddCounts;
use crate::state::hasher::{Hasher, Index};
use crate::state::leftover::Reuse;
use crate::state::order::Order;
use crate::state::states::States;
use crate::state::work::{Choice, Soon, Work, mask};
use crate::state::{Assumption, CrashState, Plan};
use crate::trace::Trace;
use num_bigint::BigUint;
use std::ops::RangeInclusive;
use std::sync::{Mutex, OnceLock, PoisonError};

/// One case of the model, with what enumeration looks up.
pub(crate) struct SpaceCase {
    pub(crate) graph: Graph,
    pub(crate) soon: Soon,
    pub(crate) odd: OddCounts,
    /// For every prefix: whether it holds all that it needs.
    pub(crate) closed: Vec<bool>,
    /// `None` where the states cannot be walked one by one.
    pub(crate) order: Option<Order>,
}

impl SpaceCase {
    fn of(graph: Graph) -> SpaceCase {
        SpaceCase {
            soon: Soon::of(&graph),
            odd: OddCounts::of(&graph),
            closed: closed_prefixes(&graph),
            order: Order::of(&graph),
            graph,
        }
    }

    /// The sectors that an effect touches.
    pub(crate) fn sectors(&self, id: u32) -> u8 {
        self.graph.facts[id as usize].sectors
    }

    /// The sectors that an outcome puts on the disk, of all that the effect has.
    pub(crate) fn mask(&self, id: u32, outcome: Outcome) -> u8 {
        mask(self.sectors(id), outcome)
    }
}

/// The crash states of one trace under one model, over all crash points or those of one phase.
pub struct Space<'t> {
    pub(crate) trace: &'t Trace,
    pub(crate) effects: &'t Effects,
    pub(crate) cases: Vec<SpaceCase>,
    /// First and last crash point that count.
    pub(crate) range: (Clock, Clock),
    pub(crate) kinds: Kinds,
    pub(crate) index: OnceLock<Index>,
    /// `None`: what shows something old shows rubbish.
    reuse: Option<Reuse>,
    /// Sums of the effects' keys, so that a prefix's identity is a look-up.
    keys: Vec<u64>,
    count: OnceLock<Count>,
    hasher: Mutex<Option<crate::state::cursor::Cursor>>,
}

impl<'t> Space<'t> {
    /// Prepares the states of `trace` under `model`.
    pub fn new(trace: &'t Trace, effects: &'t Effects, model: &dyn Model, assume: &[Assumption]) -> Self {
        let given = model.cases(trace, effects);
        // By the model's own rules: what is assumed beside them makes no page legal.
        let old_pages = !assume.contains(&Assumption::NoOldPages);
        let reuse = old_pages.then(|| Reuse::of(effects, given.iter().map(|case| case.graph()))).flatten();
        let mut cases = Vec::new();
        for case in &given {
            let mut graph = case.graph().clone();
            graph.assume(effects, assume);
            cases.push(SpaceCase::of(graph));
        }
        let mut keys = vec![0u64];
        let mut sum = 0u64;
        for id in 0..effects.list.len() as u32 {
            sum = sum.wrapping_add(key(id, Outcome::Whole));
            keys.push(sum);
        }
        Space {
            trace,
            effects,
            cases,
            range: (0, end_of(trace)),
            kinds: Disk::kinds(trace),
            index: OnceLock::new(),
            reuse,
            keys,
            count: OnceLock::new(),
            hasher: Mutex::new(None),
        }
    }

    /// Only the states that are legal at some crash point of this range; their intervals are cut to it.
    #[must_use]
    pub fn within(mut self, points: RangeInclusive<Clock>) -> Self {
        self.range = (*points.start(), (*points.end()).min(end_of(self.trace)));
        self.count = OnceLock::new();
        self
    }

    /// How many legal states there are: distinct sets.
    pub fn count(&self) -> Count {
        let count = || {
            if self.range.0 > self.range.1 {
                return Count { states: BigUint::ZERO, exact: true };
            }
            let mut total = Count { states: BigUint::ZERO, exact: self.cases.len() == 1 };
            for case in &self.cases {
                let one = Counter::new(&case.graph).over(self.range.0, self.range.1);
                total.states += one.states;
                total.exact &= one.exact;
            }
            total
        };
        self.count.get_or_init(count).clone()
    }

    /// How many crash points there are: the begins and ends of events, and the moment before them all.
    pub fn crash_points(&self) -> u64 {
        let mut points: Vec<Clock> = vec![0];
        points.extend(self.trace.events.iter().flat_map(|event| [event.begin, event.end]));
        points.retain(|point| (self.range.0..=self.range.1).contains(point));
        points.sort_unstable();
        points.dedup();
        points.len() as u64
    }

    /// The states in canonical order: deviation bound first, then seeded samples.
    pub fn states(&self, plan: &Plan) -> States<'_> {
        States::new(self, plan)
    }

    /// The effects of the trace.
    pub fn effects(&self) -> &'t Effects {
        self.effects
    }

    /// The rules of a case.
    pub fn graph(&self, case: u32) -> Option<&Graph> {
        self.cases.get(case as usize).map(|case| &case.graph)
    }

    /// The hash of the state's image; cheap when neighbouring states are asked for in canonical order. A loop
    /// over many states is quicker with a [`Hasher`] of its own.
    pub fn hash(&self, state: &CrashState) -> ImageHash {
        let mut held = self.hasher.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hasher = Hasher::resume(self, held.take());
        let hash = hasher.hash(state);
        *held = Some(hasher.suspend());
        hash
    }

    /// A hasher for a loop over many states.
    pub fn hasher(&self) -> Hasher<'_> {
        Hasher::resume(self, None)
    }

    /// The state's image.
    pub fn image(&self, state: &CrashState) -> Image {
        self.shared_image(state).image()
    }

    /// The state's image, in pages that it shares with its neighbours'.
    pub fn shared_image(&self, state: &CrashState) -> SharedImage {
        let low = state.except.first().map_or(state.prefix, |(id, _)| id.0.min(state.prefix));
        let (from, mut disk) = self.index().checkpoint(low);
        let mut except = state.except.iter().skip_while(|(id, _)| id.0 < from).peekable();
        let end = state.except.last().map_or(state.prefix, |(id, _)| state.prefix.max(id.0 + 1));
        for id in from..end.min(self.effects.list.len() as u32) {
            let usual = if id < state.prefix { Outcome::Whole } else { Outcome::Absent };
            let outcome = except.next_if(|(e, _)| e.0 == id).map_or(usual, |(_, outcome)| *outcome);
            let old = self.index().old(id);
            disk.apply(self.trace, &self.effects.list[id as usize], outcome, old);
        }
        SharedImage::of_disk(&disk, &self.kinds)
    }

    /// The page that the effect shows where its outcome is [`Outcome::Stale`]: one that the trace has set free; `None`
    /// where it is rubbish.
    pub fn old_page(&self, id: EffectId) -> Option<OldPage> {
        self.index().left(id.0).map(|left| left.was)
    }

    pub(crate) fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(self.trace, self.effects, self.reuse.as_ref()))
    }

    /// A number that two different sets share only by a rare accident.
    pub(crate) fn identity(&self, state: &CrashState) -> u64 {
        let mut sum = self.keys.get(state.prefix as usize).copied().unwrap_or(0);
        for (id, outcome) in &state.except {
            if id.0 < state.prefix {
                sum = sum.wrapping_sub(key(id.0, Outcome::Whole));
            }
            if *outcome != Outcome::Absent {
                sum = sum.wrapping_add(key(id.0, *outcome));
            }
        }
        sum.wrapping_add(salt(state.case))
    }

    /// The identity of a case's prefix.
    pub(crate) fn identity_of(&self, case: u32, prefix: u32) -> u64 {
        self.keys.get(prefix as usize).copied().unwrap_or(0).wrapping_add(salt(case))
    }

    /// Whether the state is one of this space: closed, with legal outcomes and exactly this interval.
    pub fn is_legal(&self, state: &CrashState) -> bool {
        let Some(case) = self.cases.get(state.case as usize) else { return false };
        let mut work = Work::new(&case.graph);
        if state.prefix as usize > case.graph.len() {
            return false;
        }
        work.start(state.prefix);
        for (id, outcome) in &state.except {
            let odd = !matches!(outcome, Outcome::Absent | Outcome::Whole);
            if id.0 as usize >= case.graph.len() || odd && !case.graph.other_outcomes(*id).contains(outcome) {
                return false;
            }
            work.set(id.0, *outcome);
        }
        let all = (0..case.graph.len() as u32).all(|id| work.is_closed_at(id));
        let found = work.state(state.case, state.deviations, &case.soon, self.range);
        all && found.is_some_and(|found| (found.first, found.last) == (state.first, state.last))
    }

    /// The choices that make up a state: what is not implied by the rest.
    pub(crate) fn roots(&self, state: &CrashState) -> Vec<Choice> {
        let Some(case) = self.cases.get(state.case as usize) else { return Vec::new() };
        let mut work = Work::new(&case.graph);
        work.start(state.prefix);
        state.except.iter().for_each(|(id, outcome)| work.set(id.0, *outcome));
        let mut roots = Vec::new();
        for &(id, outcome) in &state.except {
            let implied = outcome == if id.0 < state.prefix { work.left_of(id) } else { work.dragged(id) };
            if !implied {
                roots.push(Choice { id, outcome });
            }
        }
        roots
    }

    /// Legal states with fewer deviations than this one, simplest first: what the minimiser tries.
    pub fn simpler(&self, state: &CrashState) -> Vec<CrashState> {
        let Some(case) = self.cases.get(state.case as usize) else { return Vec::new() };
        let roots = self.roots(state);
        let mut work = Work::new(&case.graph);
        let mut found: Vec<CrashState> = Vec::new();
        for subset in subsets(roots.len()) {
            let choices: Vec<Choice> = subset.iter().map(|n| roots[*n]).collect();
            let simpler = build(&mut work, case, state, &choices, self.range);
            found.extend(simpler.filter(|new| self.identity(new) != self.identity(state)));
        }
        found.sort_by_key(|new| (new.deviations, new.except.len()));
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|new| seen.insert(self.identity(new)));
        found
    }

    /// The effects that make this state differ from "everything in order up to the crash": each missing or odd
    /// effect that was issued before the latest effect that is there.
    pub fn missing(&self, state: &CrashState) -> Vec<(EffectId, Outcome)> {
        let early = state.except.iter().rev().find(|(_, outcome)| *outcome != Outcome::Absent);
        let top = early.map_or(state.prefix, |(id, _)| state.prefix.max(id.0 + 1));
        let mut except = state.except.iter().peekable();
        let mut missing = Vec::new();
        for id in 0..top.min(self.effects.list.len() as u32) {
            let usual = if id < state.prefix { Outcome::Whole } else { Outcome::Absent };
            let outcome = except.next_if(|(e, _)| e.0 == id).map_or(usual, |(_, outcome)| *outcome);
            if outcome != Outcome::Whole {
                missing.push((EffectId(id), outcome));
            }
        }
        missing
    }
}

/// A state from a prefix and choices; a choice that another implies makes it `None`, since the same set comes
/// up with fewer.
pub(crate) fn build(
    work: &mut Work<'_>,
    case: &SpaceCase,
    like: &CrashState,
    choices: &[Choice],
    range: (Clock, Clock),
) -> Option<CrashState> {
    work.start(like.prefix);
    let absent_first = |odd: bool| choices.iter().filter(move |c| (c.outcome != Outcome::Absent) == odd);
    for choice in absent_first(false).chain(absent_first(true)).filter(|c| c.id.0 < like.prefix) {
        if work.get(choice.id.0) != Outcome::Whole {
            return None;
        }
        work.lose(*choice);
    }
    for choice in choices.iter().filter(|c| c.id.0 >= like.prefix) {
        if work.get(choice.id.0) != Outcome::Absent || !work.early(*choice) {
            return None;
        }
    }
    // The closure of a later choice may have changed what an earlier one set.
    if choices.iter().any(|c| work.get(c.id.0) != c.outcome) || !work.is_closed() {
        return None;
    }
    work.state(like.case, choices.len().min(255) as u8, &case.soon, range)
}

/// The proper subsets that a minimiser tries: all of a few; of many: none, one, all but one, and halves.
fn subsets(n: usize) -> Vec<Vec<usize>> {
    if n <= 8 {
        return (0..(1usize << n).saturating_sub(1))
            .map(|bits| (0..n).filter(|i| bits & (1 << i) != 0).collect())
            .collect();
    }
    let mut all = vec![Vec::new()];
    all.extend((0..n).map(|i| vec![i]));
    let mut size = n;
    while size > 1 {
        size = size.div_ceil(2);
        for start in (0..n).step_by(size) {
            all.push((0..n).filter(|i| (start..start + size).contains(i)).collect());
            all.push((0..n).filter(|i| !(start..start + size).contains(i)).collect());
        }
    }
    all
}

fn closed_prefixes(graph: &Graph) -> Vec<bool> {
    let mut furthest = 0u32;
    let mut closed = vec![true];
    for id in 0..graph.len() as u32 {
        let needs = graph.needs(EffectId(id)).iter().map(|need| need.on.0 + 1).max();
        furthest = furthest.max(needs.unwrap_or(0));
        closed.push(furthest <= id + 1);
    }
    closed
}

/// The last tick of the trace: nothing changes after it.
fn end_of(trace: &Trace) -> Clock {
    let ticks = trace.events.iter().flat_map(|event| [event.begin, event.end]);
    ticks.filter(|tick| *tick != Event::NEVER).max().unwrap_or(0)
}

fn salt(case: u32) -> u64 {
    u64::from(case).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// A fixed pseudo-random number for an outcome of an effect (the finaliser of MurmurHash3 and SplitMix64).
pub(crate) fn key(id: u32, outcome: Outcome) -> u64 {
    let outcome = match outcome {
        Outcome::Absent => 0u64,
        Outcome::Whole => 1,
        Outcome::Zeros => 2,
        Outcome::Stale => 3,
        Outcome::Sectors(mask) => 0x100 | u64::from(mask),
        Outcome::Parts(parts) => 0x200 | u64::from(parts),
    };
    let mut x = (u64::from(id) << 16 | outcome).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
