//! One rewrite, recorded while something arrives or while a call lasts, and crashed.
#![allow(dead_code, unreachable_pub)]

use std::cell::OnceCell;
use std::sync::atomic::AtomicBool;
use unplug::explore::{Hearing, Memo, Search, TeethCheck, explore_last};
use unplug::target::Target;
use unplug::target::policy::Policy;
use unplug::target::resp::RespTarget;
use unplug::target::resp_op::RespOp;
use unplug::worker::{Limits, Workers};
use unplug::workload::Step;
use unplug_faults::model;
use unplug_faults::plan::Call;
use unplug_faults::state::Plan;
use unplug_faults::trace::Trace;

pub const MODELS: [&str; 4] = ["ext4-ordered", "xfs", "btrfs", "posix-split"];
/// States of a run under one model.
pub const BUDGET: u64 = 40;

/// How the engine keeps its log.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub single: bool,
    pub rdb: bool,
    pub policy: Policy,
}

pub const MULTI: Kind = Kind { single: false, rdb: true, policy: Policy::Always };
pub const SINGLE: Kind = Kind { single: true, rdb: true, policy: Policy::Always };

pub fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

pub fn op(line: &str) -> Vec<u8> {
    RespOp { commands: line.split(';').map(|command| words(command.trim())).collect() }.encode()
}

/// The program to be recorded, where it is not the ordinary one.
pub const PROGRAM: &str = "UNPLUG_RACES_PROGRAM";

/// The engine of a kind; one with a bug built in, if this process is told so.
pub fn target(kind: Kind) -> RespTarget {
    let program = std::env::var(PROGRAM).unwrap_or_else(|_| env!("CARGO_BIN_EXE_unplug").to_owned());
    let mut target = RespTarget::engine(program, kind.policy);
    let layout = if kind.single { "single" } else { "multi" };
    target.extra = vec![
        ("aof-layout".into(), layout.into()),
        ("aof-use-rdb-preamble".into(), if kind.rdb { "yes" } else { "no" }.into()),
    ];
    target
}

/// The kinds of calls that a run records, as a rule of a fault plan has them.
pub fn every_call() -> String {
    let names: Vec<&str> = Call::recorded().map(Call::name).collect();
    names.join(",")
}

/// Someone to recover what such an engine has left.
pub fn workers(kind: Kind) -> Workers<'static> {
    let contract = kind.policy.contract();
    Workers::start(1, Limits::default(), move || target(kind).worker(&contract)).expect("a worker")
}

/// An operation of a client's.
pub fn invoke(client: u32, line: &str) -> Step {
    Step::Invoke { client, op: op(line) }
}

/// What comes before the rewrite.
pub fn before() -> Vec<Step> {
    vec![
        Step::Phase("start".into()),
        invoke(0, "SET before 1"),
        invoke(1, "RPUSH l a b c"),
        invoke(0, "INCR n"),
        invoke(1, "SET expiring x PXAT 4102444999000"),
        Step::Phase("race".into()),
    ]
}

/// Crashes a run; what is wrong with it, and how many states were looked at.
pub fn crash(kind: Kind, trace: &Trace, workers: &mut Workers) -> (Vec<String>, u64) {
    let target = target(kind);
    let (mut memo, mut wrong, mut states) = (Memo::new(), Vec::new(), 0);
    let hearing = OnceCell::new();
    for name in MODELS {
        let search = Search {
            trace,
            target: &target,
            contract: kind.policy.contract(),
            model: model::by_name(name).expect("a model"),
            plan: Plan { bound: 2, budget: BUDGET, seed: 1 },
            assume: &[],
            repro_dir: None,
        };
        let hearing = hearing.get_or_init(|| Hearing::of(&search));
        let never = AtomicBool::new(false);
        let cell =
            explore_last(&search, hearing, &mut memo, workers, &mut |_| {}, &never, TeethCheck::Skipped)
                .expect("a phase");
        assert_eq!(cell.phase, "race");
        states += cell.states_checked;
        wrong.extend(
            cell.not_measured.iter().map(|b| format!("{name}: not measured: {}: {}", b.what, b.detail)),
        );
        for finding in &cell.findings {
            let violation = &finding.violation;
            wrong.push(format!("{name}: {:?}: {}", violation.class, violation.explanation));
        }
    }
    (wrong, states)
}
