//! What a sweep says of how much it has seen.

use super::*;
use crate::explore::sweep::{Means, Swept, sweep};
use crate::history::History;
use crate::judge::{Judge, JudgeOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use unplug_faults::effect::{Effects, Outcome};
use unplug_faults::state::{CrashState, Space};

/// Sweeps over the whole trace with a budget; gives the states that were visited, too.
fn swept(trace: &Trace, plan: &Plan, memo: &mut Memo, pool: &mut FakePool) -> (Swept, Vec<CrashState>) {
    let history = History::of(trace);
    let oracle = Box::new(MapOracle::new());
    let judge = Judge::new(&history, Contract::No, oracle, JudgeOptions::at(0)).unwrap();
    let effects = Effects::of(trace);
    let space = Space::new(trace, &effects, by_name("posix").unwrap(), &[]);
    let (cancel, mut told) = (AtomicBool::new(false), |_| {});
    let mut means = Means::new(memo, pool, &mut told, &cancel);
    let mut visited = Vec::new();
    let swept = sweep(&mut means, &space, plan, &judge, &mut |state, _, _, _| {
        visited.push(state.clone());
        ControlFlow::Continue(())
    });
    (swept, visited)
}

/// What a state is, however it is written: a prefix without its last effect is the shorter prefix.
fn name(state: &CrashState) -> String {
    let mut there: BTreeMap<u32, Outcome> = (0..state.prefix).map(|id| (id, Outcome::Whole)).collect();
    there.extend(state.except.iter().map(|(id, outcome)| (id.0, *outcome)));
    there.retain(|_, outcome| *outcome != Outcome::Absent);
    format!("{} {there:?}", state.case)
}

/// Whether every legal state of so many deviations was visited.
fn has_all(all: &[CrashState], visited: &BTreeSet<String>, deviations: u8) -> bool {
    all.iter().filter(|s| s.deviations <= deviations).all(|s| visited.contains(&name(s)))
}

/// With budgets of every size: no more is claimed than was seen, and everything at the end.
#[test]
fn a_bound_is_claimed_only_where_all_of_it_was_visited() {
    let trace = log_trace(11, 11, &["append"]);
    let plan = |budget| Plan { bound: 2, budget, seed: 1 };
    let (mut memo, mut pool) = (Memo::new(), FakePool::new(checked));
    let (whole, all) = swept(&trace, &plan(1 << 20), &mut memo, &mut pool);
    assert!(whole.exhaustive && whole.bound >= 2 && all.len() > 40, "{} states", all.len());
    let mut claimed = BTreeSet::new();
    let budgets = std::iter::successors(Some(1), |budget| Some(budget + 1 + budget / 3));
    for budget in budgets.take_while(|budget| *budget < all.len() as u64) {
        let (swept, visited) = swept(&trace, &plan(budget), &mut memo, &mut pool);
        assert!(swept.states == budget && !swept.exhaustive, "budget {budget}");
        let visited: BTreeSet<String> = visited.iter().map(name).collect();
        // Bound 0 claims nothing: it is also what is said where not even that was seen.
        assert!(swept.bound == 0 || has_all(&all, &visited, swept.bound), "budget {budget}: {}", swept.bound);
        claimed.insert(swept.bound);
    }
    let levels: Vec<usize> = (0..9).map(|d| all.iter().filter(|s| s.deviations == d).count()).collect();
    assert!(claimed.contains(&0) && claimed.contains(&1), "{claimed:?} of {levels:?}");
}

/// States that were enumerated, but whose images were not recovered, were not visited.
#[test]
fn what_broke_off_claims_nothing() {
    let trace = log_trace(11, 11, &["append"]);
    let plan = Plan { bound: 2, budget: 1 << 20, seed: 1 };
    let mut pool = FakePool::new(checked);
    pool.fail_after = 3;
    let (swept, _) = swept(&trace, &plan, &mut Memo::new(), &mut pool);
    assert!(swept.error.is_some());
    assert_eq!((swept.bound, swept.exhaustive), (0, false));
}
