//! SHUTDOWN while the end of a rewrite is at work: the thread that puts a base in its place and removes the old files, or,
//! of a single file, the server itself.
//!
//! A run is recorded for each call of the server, which is made to last half a minute. Where SHUTDOWN comes within it, the
//! run is crashed at every moment: what had been acknowledged is to be there, nothing half-made is to stay, and the next
//! life, which is a part of the run, begins as if nothing had been.

mod binary;
mod race;
mod race_steps;

use race::{Kind, MULTI, SINGLE, before, crash, every_call, invoke, target, workers};
use race_steps::{MULTI_STEPS, SINGLE_STEPS, missing};
use std::path::Path;
use unplug::target::Target;
use unplug::workload::{Ending, Step, Workload};
use unplug_faults::event::{Nanos, Op};
use unplug_faults::trace::Trace;

/// How long the call lasts, by the target's clock: longer than everything else.
const LASTS: Nanos = 30_000_000_000;
/// No run makes so many calls.
const MOST_CALLS: u64 = 300;

fn workload(kind: Kind) -> Workload {
    let mut steps = before();
    steps.extend([invoke(0, "BGREWRITEAOF"), invoke(1, "INCR n")]);
    // The child ends, and the timer finds that out.
    steps.push(Step::Advance { nanos: 250_000_000 });
    if !kind.single {
        // The log goes on meanwhile.
        steps.push(invoke(0, "INCR n"));
    }
    steps.push(Step::Restart { how: Ending::Stop, set: Vec::new() });
    steps.extend([invoke(0, "INCR n"), Step::Settle]);
    Workload { steps, seed: 7 }
}

/// Records the run in which the server's call number `nth` lasts; `None` if there are fewer.
fn record(kind: Kind, saves: bool, nth: u64, dir: &Path) -> Option<Trace> {
    let mut target = target(kind);
    // With save points SHUTDOWN is SHUTDOWN SAVE, without them SHUTDOWN NOSAVE.
    target.extra.push(("save".into(), if saves { "3600 100000" } else { "" }.into()));
    let plan = format!("{} * delay={}s nth={nth} in=main", every_call(), LASTS / 1_000_000_000);
    target.conditions.faults = plan.parse().expect("a plan");
    let trace = target.record(dir, &workload(kind));
    let trace = trace.unwrap_or_else(|e| panic!("{kind:?}, call {nth}: {e}"));
    (target.conditions.faults.fired(&trace).rules() > 0).then_some(trace)
}

/// The call that lasts, if SHUTDOWN comes while it does.
fn during(trace: &Trace) -> Option<String> {
    let (at, fault) = trace.events.iter().enumerate().find(|(_, e)| matches!(e.op, Op::Fault { .. }))?;
    let Op::Fault { call, path, .. } = &fault.op else { return None };
    let asked =
        trace.events.iter().position(|e| matches!(&e.op, Op::Invoke { op, .. } if is_shutdown(op)))?;
    let goes_on = trace.events[at + 1..].iter().find(|e| e.task == fault.task)?;
    let within = at < asked && trace.events[asked].begin < goes_on.end.min(u64::MAX - 1);
    let within = within && trace.events[asked].at < fault.at + LASTS;
    within.then(|| format!("{} {}", call.name(), String::from_utf8_lossy(path)))
}

fn is_shutdown(op: &[u8]) -> bool {
    op.windows(8).any(|w| w == b"SHUTDOWN")
}

/// What nobody needs any more, and what is only half there.
fn left_over(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for dir in [dir.to_owned(), dir.join("appendonlydir")] {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        names.extend(entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()));
    }
    let wanted = |name: &str| {
        !name.starts_with("temp-")
            && !name.ends_with(".prev")
            && !name.contains(".1.")
            && !name.contains(".cut-")
    };
    names.retain(|name| !wanted(name));
    names
}

/// Has each call of a run last in turn, and gives those within which SHUTDOWN came.
fn sweep(kind: Kind, saves: bool) -> Vec<String> {
    let mut workers = workers(kind);
    let (mut calls, mut states) = (Vec::new(), 0);
    for nth in 1..MOST_CALLS {
        let dir = binary::directory();
        let Some(trace) = record(kind, saves, nth, dir.path()) else { break };
        let Some(call) = during(&trace) else { continue };
        let (wrong, looked_at) = crash(kind, &trace, &mut workers);
        assert!(wrong.is_empty(), "{kind:?}, SHUTDOWN within {call}: {wrong:#?}");
        assert_eq!(left_over(dir.path()), [""; 0], "{kind:?}, SHUTDOWN within {call}");
        assert_eq!(dir.path().join("dump.rdb").exists(), saves);
        states += looked_at;
        calls.push(call);
    }
    assert!(states > 20 * calls.len() as u64, "{kind:?}: {states} states, {calls:#?}");
    eprintln!("{kind:?}, saves: {saves}: {} runs, {states} states", calls.len());
    calls
}

/// The steps from the renaming of the base on.
fn ends_with(calls: &[String], steps: &[&[&'static str]], first: usize) {
    let missing = missing(calls, &steps[first..]);
    assert!(missing.is_empty(), "{missing:?} not among {calls:#?}");
}

#[test]
fn several_files() {
    for saves in [false, true] {
        let first =
            MULTI_STEPS.iter().position(|group| group[0].starts_with("rename* appendonlydir/temp-rewrite"));
        ends_with(&sweep(MULTI, saves), MULTI_STEPS, first.expect("a step"));
    }
}

#[test]
fn a_single_file() {
    for saves in [false, true] {
        let first = SINGLE_STEPS.iter().rposition(|group| group[0].starts_with("open*"));
        ends_with(&sweep(SINGLE, saves), SINGLE_STEPS, first.expect("a step"));
    }
}
