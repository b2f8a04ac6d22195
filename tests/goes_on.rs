//! Servers that keep snapshots alone, are killed in the middle of a run, and go on from a snapshot.

mod binary;
mod real;

use std::sync::atomic::AtomicBool;
use unplug::cell::CellResult;
use unplug::explore::{Memo, Search, explore_deep};
use unplug::target::Target;
use unplug::target::policy::Policy;
use unplug::target::resp::RespTarget;
use unplug::target::resp_op::RespOp;
use unplug::verdict::Verdict;
use unplug::worker::{Limits, Workers};
use unplug::workload::resp::{SAVE, Shape};
use unplug::workload::{Step, Workload};
use unplug_faults::event::Op;
use unplug_faults::model;
use unplug_faults::mutate::drop_all_syncs;
use unplug_faults::state::Plan;
use unplug_faults::trace::Trace;

fn targets() -> Vec<RespTarget> {
    let mut all = vec![RespTarget::engine(env!("CARGO_BIN_EXE_unplug"), Policy::Snapshot)];
    if real::redis_version().is_some() {
        let unplug = env!("CARGO_BIN_EXE_unplug");
        all.push(RespTarget::server(unplug, None, Policy::Snapshot).expect("there is one"));
    }
    all
}

fn run(args: &[&str]) -> Step {
    Step::Invoke { client: 0, op: RespOp::command(args).encode() }
}

/// A kill while a child saves, one behind a snapshot, and writes that are lost by each. Where nobody says when the child
/// makes its calls, it is killed amid one now and then, of which nobody knows whether it was made: there the snapshot is
/// done, and no client knows it.
fn killed_amid_a_save(gated: bool) -> Workload {
    let mut steps = vec![Step::Phase(SAVE.into()), run(&["SET", "a", "1"]), run(&["SAVE"])];
    steps.extend([run(&["INCR", "a"]), run(&["BGSAVE"]), run(&["INCR", "a"])]);
    steps.extend((!gated).then_some(Step::Settle));
    steps.push(Step::KillAndRestart);
    steps.extend([run(&["INFO", "persistence"]), run(&["RPUSH", "l", "1"]), run(&["INCR", "a"])]);
    steps.extend([run(&["SAVE"]), run(&["RPUSH", "l", "2"]), Step::KillAndRestart]);
    steps.extend([run(&["RPUSH", "l", "3"]), run(&["BGSAVE"]), Step::Settle, run(&["INFO", "persistence"])]);
    steps.push(run(&["SET", "b", "1"]));
    Workload { steps, seed: 1 }
}

fn recorded(target: &RespTarget, workload: &Workload, kills: usize) -> Trace {
    let trace = target.record(binary::directory().path(), workload).expect("recorded");
    assert_eq!(trace.blind, []);
    assert_eq!(trace.events.iter().filter(|e| e.op == Op::Kill).count(), kills);
    trace
}

fn explored(target: &RespTarget, trace: &Trace) -> Vec<CellResult> {
    let contract = target.policy.contract();
    let mut pool = Workers::start(2, Limits::default(), || target.worker(&contract)).expect("workers");
    let mut memo = Memo::new();
    let of = |name: &&str| {
        let search = Search {
            trace,
            target,
            contract: contract.clone(),
            model: model::by_name(name).expect("a model"),
            plan: Plan { bound: 2, budget: 200, seed: 1 },
            assume: &[],
            repro_dir: None,
        };
        let never = AtomicBool::new(false);
        explore_deep(&search, 0, &mut memo, &mut pool, &mut |_| {}, &never)
    };
    ["posix", "ext4-ordered", "prefix"].iter().flat_map(of).collect()
}

fn assert_hold(target: &RespTarget, trace: &Trace) {
    let cells = explored(target, trace);
    assert!(cells.iter().any(|c| c.phase == SAVE));
    for cell in cells {
        assert_eq!(cell.verdict, Verdict::Holds, "{}: {cell:#?}", target.title());
    }
}

#[test]
fn they_hold_with_a_kill_behind_a_snapshot() {
    for target in targets() {
        for seed in 1..=2 {
            let workload = Shape { restart: true, ..Shape::new(Policy::Snapshot, 40) }.generate(seed);
            assert_hold(&target, &recorded(&target, &workload, 1));
        }
    }
}

#[test]
fn they_hold_with_a_kill_amid_a_snapshot() {
    for target in targets() {
        let trace = recorded(&target, &killed_amid_a_save(target.is_repeatable()), 2);
        assert_hold(&target, &trace);
        // And what holds could be violated.
        let found = explored(&target, &drop_all_syncs(&trace).0);
        assert!(found.iter().any(|c| c.verdict == Verdict::Violated), "{}: {found:#?}", target.title());
    }
}
