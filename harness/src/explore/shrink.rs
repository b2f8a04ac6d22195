//! The fewest operations: where a run can be recorded again, a violation is shown by a workload without the steps
//! that do not matter for it.

use super::hearing::Hearing;
use super::memo::Memo;
use super::run::{How, TeethCheck, explore_with, with_names};
use super::search::Search;
use super::sweep::{Means, sweep};
use crate::cell::{AFTER_RECOVERY, CellResult, DURING_RECOVERY, Finding};
use crate::cluster::mechanism;
use crate::minimise::fewest_steps;
use crate::pool::Pool;
use crate::repro::Repro;
use crate::verdict::Class;
use crate::workload::{Step, Workload};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use unplug_faults::state::{Plan, Space};
use unplug_faults::trace::Trace;

/// How often a run is recorded again for one finding.
const RECORDINGS: usize = 32;
/// The same of one that needs a crash during recovery: each time recoveries are recorded as well.
const RECOVERY_RECORDINGS: usize = 16;
/// How many states of a run are tried there: no more recoveries are recorded for so many than for fewer.
const RECOVERY_BUDGET: u64 = 2000;
/// The violation is known: it is to be met again, and no more.
const BARE: How = How { teeth: TeethCheck::Skipped, depth: 0, last_only: false };
/// How many findings of one policy are made small: the first of each mechanism and phase.
const MOST_FINDINGS: usize = 4;
/// How many states more than the first run needed are tried before a mechanism counts as gone.
const MARGIN: u64 = 200;

/// How a run is recorded again. Only for targets whose recordings are repeatable.
pub struct Again<'a> {
    /// What was run.
    pub workload: &'a Workload,
    /// Records another workload under the same conditions; `None` where it cannot be run.
    pub record: &'a dyn Fn(&Workload) -> Option<Trace>,
}

/// The findings of one policy that were made small already, under whatever model.
#[derive(Default)]
pub struct Shrunk(BTreeSet<(String, Class, String)>);

/// Replaces findings by what the same mechanism looks like in a run of fewer operations.
pub fn fewest_operations(
    search: &Search<'_>,
    again: &Again<'_>,
    cells: &mut [CellResult],
    done: &mut Shrunk,
    pool: &mut dyn Pool,
    cancel: &AtomicBool,
) {
    for cell in cells {
        for finding in &mut cell.findings {
            let key = (cell.phase.clone(), finding.violation.class, finding.mechanism.clone());
            // Every state that hangs costs the whole limit, twice.
            let dear = finding.violation.class == Class::RecoveryHang;
            if dear || done.0.len() >= MOST_FINDINGS || cancel.load(Ordering::Relaxed) || !done.0.insert(key)
            {
                continue;
            }
            if let Some(small) = shrink(search, again, finding, pool, cancel) {
                let also = finding.also.union(&small.also).copied().collect();
                let old = std::mem::replace(finding, Finding { states: finding.states, also, ..small });
                discard(search, &old, Some(finding));
            }
        }
    }
}

fn shrink(
    search: &Search<'_>,
    again: &Again<'_>,
    finding: &Finding,
    pool: &mut dyn Pool,
    cancel: &AtomicBool,
) -> Option<Finding> {
    let wanted = (finding.violation.class, finding.mechanism.as_str());
    if [DURING_RECOVERY, AFTER_RECOVERY].iter().any(|begin| finding.mechanism.starts_with(begin)) {
        return shrink_recovery(search, again, finding, pool, cancel);
    }
    let needed = states_until(search, search.trace, wanted, search.plan.budget, pool, cancel)?;
    let mut shows = |workload: &Workload| {
        let trace = (again.record)(workload)?;
        states_until(search, &trace, wanted, needed * 2 + MARGIN, pool, cancel).map(|_| trace)
    };
    let cut = until_crash(search, again, finding);
    let start = if shows(&cut).is_some() { cut } else { again.workload.clone() };
    let small = fewest_steps(&start, RECORDINGS, |w| shows(w).is_some());
    let trace = (again.record)(&small)?;
    told(search, &trace, wanted, BARE, pool, cancel)
}

/// As [`shrink`], of a finding that needs a crash during recovery: it is looked for anew in the recoveries of every
/// smaller run.
fn shrink_recovery(
    search: &Search<'_>,
    again: &Again<'_>,
    finding: &Finding,
    pool: &mut dyn Pool,
    cancel: &AtomicBool,
) -> Option<Finding> {
    let wanted = (finding.violation.class, finding.mechanism.as_str());
    let plan = Plan { budget: search.plan.budget.min(RECOVERY_BUDGET), ..search.plan.clone() };
    let quick = Search { plan, contract: search.contract.clone(), ..*search };
    let deep = How { depth: 1, ..BARE };
    let mut best = None;
    let mut shows = |workload: &Workload| {
        let shown =
            (again.record)(workload).and_then(|trace| told(&quick, &trace, wanted, deep, pool, cancel));
        let shows = shown.is_some();
        if let Some(worse) = best.take_if(|_| shows) {
            discard(search, &worse, shown.as_ref());
        }
        best = shown.or(best.take());
        shows
    };
    let cut = until_crash(search, again, finding);
    let start = match shows(&cut) {
        true => cut,
        false if shows(again.workload) => again.workload.clone(),
        false => return None,
    };
    fewest_steps(&start, RECOVERY_RECORDINGS, shows);
    best
}

/// Removes the repro of a finding in whose place another stands, unless it is the same file: left behind it would only
/// confuse.
fn discard(search: &Search<'_>, old: &Finding, new: Option<&Finding>) {
    let kept = new.and_then(|f| f.repro.as_ref());
    if let Some(path) = old.repro.as_ref().filter(|p| search.repro_dir.is_some() && Some(*p) != kept) {
        let _ = std::fs::remove_file(path);
    }
}

/// The workload up to the finding's crash. What is issued after it cannot matter, except to the seeded scheduler.
fn until_crash(search: &Search<'_>, again: &Again<'_>, finding: &Finding) -> Workload {
    let before = search.trace.events.iter().filter(|e| {
        e.begin <= finding.violation.crash_point && matches!(e.op, unplug_faults::event::Op::Invoke { .. })
    });
    first_operations(again.workload, before.count())
}

/// The workload up to the step that issues its n-th operation.
fn first_operations(workload: &Workload, n: usize) -> Workload {
    let mut left = n;
    let wanted = |step: &&Step| {
        let more = left > 0;
        left -= match step {
            Step::Invoke { .. } => left.min(1),
            Step::Together(calls) => left.min(calls.len()),
            _ => 0,
        };
        more
    };
    Workload { steps: workload.steps.iter().take_while(wanted).cloned().collect(), seed: workload.seed }
}

/// How many states of a whole run are visited until one shows the mechanism.
fn states_until(
    search: &Search<'_>,
    trace: &Trace,
    (class, how): (Class, &str),
    budget: u64,
    pool: &mut dyn Pool,
    cancel: &AtomicBool,
) -> Option<u64> {
    let search = &Search { trace, contract: search.contract.clone(), plan: search.plan.clone(), ..*search };
    let hearing = Hearing::of(search);
    let judge = hearing.sound(search).ok()?;
    let (history, trace) = (&hearing.history, hearing.orders.traces.first()?);
    let (effects, names) = with_names(search.model, trace);
    let space = Space::new(trace, &effects, search.model, search.assume);
    let plan = Plan { budget, ..search.plan.clone() };
    let (mut memo, mut progress) = (Memo::new(), |_| {});
    let mut means = Means::new(&mut memo, pool, &mut progress, cancel);
    let mut found = false;
    let swept = sweep(&mut means, &space, &plan, judge, &mut |state, _, seen, memo| {
        let violation = judge.check_seen(state.first, state.last, seen, memo.dump_of(seen));
        found = violation.is_some_and(|v| {
            v.class.family() == class.family()
                && mechanism(trace, history, &effects, &names, state, &v).text == how
        });
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found.then_some(swept.states)
}

/// The mechanism's finding in this run, with its story, and its repro where repros are kept.
fn told(
    search: &Search<'_>,
    trace: &Trace,
    (class, how): (Class, &str),
    with: How,
    pool: &mut dyn Pool,
    cancel: &AtomicBool,
) -> Option<Finding> {
    // The run's other findings are not asked for: their repros are written where they go by themselves.
    let scratch = tempfile::tempdir().ok()?;
    let repro_dir = search.repro_dir.map(|_| scratch.path());
    let (contract, plan) = (search.contract.clone(), search.plan.clone());
    let small = Search { trace, contract, plan, repro_dir, ..*search };
    let cells = explore_with(&small, &Hearing::of(&small), &mut Memo::new(), pool, &mut |_| {}, cancel, with);
    // As which class a mistake of recovery shows itself depends on how far the recovery had come.
    let of_class = |f: &Finding| {
        with.depth > 0 || f.violation.class.family() == class.family() || f.also.contains(&class)
    };
    let same = |f: &Finding| of_class(f) && f.mechanism == how;
    let mut finding = cells.into_iter().flat_map(|c| c.findings).find(same)?;
    if let (Some(dir), Some(path)) = (search.repro_dir, &finding.repro) {
        finding.repro = Some(Repro::load(path).ok()?.save(dir).ok()?);
    }
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoke(n: u8) -> Step {
        Step::Invoke { client: 0, op: vec![n] }
    }

    #[test]
    fn steps_after_the_last_operation_that_was_issued_go() {
        let steps = vec![
            Step::Phase("a".into()),
            invoke(1),
            Step::Together(vec![(0, vec![2]), (1, vec![3])]),
            Step::Settle,
            invoke(4),
            Step::Advance { nanos: 1 },
        ];
        let workload = Workload { steps, seed: 3 };
        assert_eq!(first_operations(&workload, 1).steps, workload.steps[..2]);
        assert_eq!(first_operations(&workload, 2).steps, workload.steps[..3], "half a step cannot be issued");
        assert_eq!(first_operations(&workload, 4).steps, workload.steps[..5]);
    }
}
