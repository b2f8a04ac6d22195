//! Power lost once more, while a recovered store is written to.
//!
//! That a store recovers says nothing of what it does with the files it has found: whether it still syncs the log that it
//! goes on with, whether what it writes stands behind a tail that was cut but is still there. So it is written to, right
//! behind its recovery, and power is lost at every point of that. It must hold what the recovery had come to, and of what
//! was written since what the contract promises. Recoveries from power losses during recovery are written to as well,
//! those from the deepest of these losses, too. Not looked at: a loss in the recovery from what was written.

use super::crashed::Branch;
use super::keep::repro_of;
use super::run::with_names;
use super::search::Search;
use super::sweep::{Means, Swept, sweep};
use crate::cell::{Finding, Story};
use crate::cluster::{Case, Clusters, Kin, Mechanism, in_recovery, mechanism};
use crate::dump::Dump;
use crate::history::{History, Phase};
use crate::judge::{First, Judge, Seen};
use crate::minimise::{Scope, local_minimum};
use crate::pool::PoolError;
use crate::repro::{Repro, cut};
use crate::story::{Subject, outcome_of, tell};
use crate::verdict::{Class, Violation};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use unplug_faults::effect::Outcome::Whole;
use unplug_faults::effect::{Effects, Names, Orders};
use unplug_faults::event::{Clock, Op};
use unplug_faults::state::{CrashState, Plan, Space};
use unplug_faults::trace::{Blind, Trace};

/// How many states are tried of what is written after one recovery.
const STATES_EACH: u64 = 256;

/// A recording of a recovery and of what was written after it.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    /// The recovery by itself.
    pub(super) alone: Trace,
    /// All of it, and when the first operation came; `None` where none did.
    pub(super) written: Option<(Trace, Clock)>,
}

impl Recovery {
    /// Tells the two parts of a recording apart.
    pub(super) fn of(trace: Trace) -> Recovery {
        let first = trace.events.iter().find(|event| matches!(event.op, Op::Invoke { .. })).map(|e| e.begin);
        let Some(first) = first else { return Recovery { alone: trace, written: None } };
        let alone = cut(&trace, first.saturating_sub(1));
        Recovery { alone, written: Some((trace, first)) }
    }
}

/// What was found by writing on, made small.
pub(super) struct Later {
    pub(super) how: String,
    pub(super) violation: Violation,
    pub(super) states: u64,
    pub(super) story: Story,
    /// To be saved if a repro is wanted.
    pub(super) repro: Repro,
    /// The simplest first.
    rank: (usize, Class, u8, u8, u32),
}

impl Later {
    /// Adds another case of the same mechanism.
    pub(super) fn join(&mut self, other: Later) {
        let states = self.states + other.states;
        if other.rank < self.rank {
            *self = other;
        }
        self.states = states;
    }

    /// The finding, by this name; its repro is saved if there is a directory for it.
    pub(super) fn finding(self, mechanism: String, dir: Option<&Path>, blind: &mut Vec<Blind>) -> Finding {
        let repro = dir.and_then(|dir| {
            let saved = Repro { mechanism: mechanism.clone(), ..self.repro }.save(dir);
            saved.map_err(|e| blind.push(Blind { what: "a repro file".into(), detail: e.to_string() })).ok()
        });
        let also = BTreeSet::new();
        Finding { violation: self.violation, states: self.states, mechanism, also, story: self.story, repro }
    }
}

/// Who judges what is written after one recovery.
struct Bench<'a> {
    /// Of what was written.
    onward: Judge,
    /// Of the run before.
    before: &'a Judge,
    /// The crash that the recovery followed, or the first of those that it followed.
    crash: &'a CrashState,
}

impl Bench<'_> {
    /// How an image breaks what was promised since the recovery. A second loss that takes what the first one might have
    /// taken, while nothing new is promised, breaks nothing.
    fn judge(&self, first: Clock, last: Clock, seen: &Seen, dump: Option<&Dump>) -> Option<Violation> {
        let mut violation = self.onward.check_seen(first, last, seen, dump)?;
        if !self.onward.forbids_nothing_kept(first, last)
            && self.before.check_seen(self.crash.first, self.crash.last, seen, dump).is_none()
        {
            return None;
        }
        violation.explanation = format!("written to after a recovery: {}", violation.explanation);
        Some(violation)
    }
}

/// One order of a recording.
struct Written<'t> {
    trace: &'t Trace,
    /// The recovery by itself, whose last moment was `ready`.
    alone: Trace,
    ready: Clock,
    effects: &'t Effects,
    names: &'t Names,
    space: &'t Space<'t>,
}

/// What came of one recovery that was written to.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) found: Vec<Later>,
    pub(super) states: u64,
    pub(super) images: u64,
    pub(super) blind: Vec<Blind>,
}

/// Loses power at every point of what was written after the recovery of a root.
pub(super) fn write_on(
    at: (&Search<'_>, &Phase),
    (means, kin): (&mut Means<'_>, &mut Kin),
    before: &Judge,
    branch: &Branch<'_>,
    (trace, begin): &(Trace, Clock),
) -> Outcome {
    let search = at.0;
    let mut outcome = Outcome::default();
    let unclear = |detail: String| Blind { what: "writes after a recovery".into(), detail };
    let history = History::of(trace);
    let held = means.memo.get(branch.hash).and_then(|seen| {
        let known = means.memo.dump_of(seen).cloned();
        let by_model = |seen: &Seen| match &seen.first {
            First::Holds(digest) => before.dump_of(*digest),
            First::Broke(..) => None,
        };
        known.or_else(|| by_model(seen))
    });
    let Some(held) = held else {
        outcome.blind.push(unclear("what the recovery came to is not known any more".into()));
        return outcome;
    };
    let contract = search.target.contract_after_recovery(before.contract());
    let onward = match before.following(&history, contract, held) {
        Ok(onward) => onward,
        Err(blind) => {
            outcome.blind.push(unclear(format!("{}: {}", blind.what, blind.detail)));
            return outcome;
        }
    };
    let bench = Bench { onward, before, crash: &branch.root.state };
    let orders = Orders::of(trace);
    outcome.blind.extend(orders.blind.iter().map(|b| unclear(format!("{}: {}", b.what, b.detail))));
    let share = STATES_EACH / orders.traces.len().max(1) as u64;
    for trace in &orders.traces {
        let (effects, names) = with_names(search.model, trace);
        let space = Space::new(trace, &effects, search.model, search.assume).within(*begin..=Clock::MAX);
        let plan = Plan { budget: share, ..search.plan.clone() };
        let ready = begin.saturating_sub(1);
        let alone = cut(trace, ready);
        let written = Written { trace, alone, ready, effects: &effects, names: &names, space: &space };
        let known = means.memo.recovered();
        let mut clusters = Clusters::default();
        let swept = sweep_written(means, &bench, &written, &plan, &mut clusters);
        for cluster in clusters.into_sorted() {
            let found = told(at, (means, kin), &bench, &written, branch, cluster.case);
            outcome.found.extend(found.map(|later| Later { states: cluster.states, ..later }));
        }
        outcome.states += swept.states;
        outcome.images += (means.memo.recovered() - known) as u64;
        outcome.blind.extend(swept.error.map(|error| unclear(error.to_string())));
    }
    outcome
}

fn sweep_written(
    means: &mut Means<'_>,
    bench: &Bench<'_>,
    written: &Written<'_>,
    plan: &Plan,
    clusters: &mut Clusters,
) -> Swept {
    sweep(means, written.space, plan, &bench.onward, &mut |state, image, seen, memo| {
        if let Some(violation) = bench.judge(state.first, state.last, seen, memo.dump_of(seen)) {
            let how = mechanism_of(bench, written, state, &violation).text;
            clusters.add(how, Case { state: state.clone(), image, violation, order: 0 });
        }
        ControlFlow::Continue(())
    })
}

/// The mechanism of a case. Where all that is not as it should be is the recovery's, it is that of a crash in it.
fn mechanism_of(
    bench: &Bench<'_>,
    Written { trace, alone, ready, effects, names, .. }: &Written<'_>,
    state: &CrashState,
    violation: &Violation,
) -> Mechanism {
    let issued = effects.list.partition_point(|e| e.issued <= violation.crash_point);
    let mut odd = (0..issued).filter(|i| outcome_of(state, *i) != Whole).peekable();
    if odd.peek().is_some() && odd.all(|i| effects.list[i].issued <= *ready) {
        let in_it = CrashState { first: *ready, ..state.clone() };
        return in_recovery(alone, effects, names, &in_it);
    }
    mechanism(trace, bench.onward.history(), effects, names, state, violation)
}

/// A case made small, with its story.
fn told(
    (search, phase): (&Search<'_>, &Phase),
    (means, kin): (&mut Means<'_>, &mut Kin),
    bench: &Bench<'_>,
    written: &Written<'_>,
    branch: &Branch<'_>,
    case: Case,
) -> Option<Later> {
    let space = written.space;
    // Every state that hangs costs the whole limit, twice.
    let case = match case.violation.class {
        Class::RecoveryHang => case,
        _ => local_minimum(space, case, Scope::Run, |states| {
            let hashes: Vec<_> = states.iter().map(|s| space.hash(s)).collect();
            means.recover(space, states, &hashes, &bench.onward)?;
            let one = |(state, image): (&CrashState, &_)| {
                let seen = means.memo.get(*image)?;
                let violation = bench.judge(state.first, state.last, seen, means.memo.dump_of(seen))?;
                Some(Case { state: state.clone(), image: *image, violation, order: 0 })
            };
            Ok::<_, PoolError>(states.iter().zip(&hashes).map(one).collect())
        }),
    };
    let seen = means.memo.get(case.image)?;
    let how = mechanism_of(bench, written, &case.state, &case.violation);
    let how = kin.name(case.violation.class, how);
    let subject = Subject {
        trace: written.trace,
        effects: written.effects,
        judge: &bench.onward,
        space,
        state: &case.state,
        violation: &case.violation,
        seen,
        dump: means.memo.dump_of(seen),
    };
    let mut story = tell(&subject);
    let after = if branch.path.is_empty() { "a first loss" } else { "these losses" };
    let since = format!("power was back after {after}, and the store was recovered and written to");
    story.disk.splice(0..0, branch.path.iter().cloned().chain([since]));
    let repro = repro_of(search, &subject, phase, &how, space.image(&case.state), &story);
    let (crashes, before) = branch.simplicity();
    let rank = (crashes, case.violation.class, before, case.state.deviations, case.state.prefix);
    Some(Later { how, violation: case.violation, states: 1, story, repro, rank })
}
