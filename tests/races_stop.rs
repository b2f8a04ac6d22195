//! SHUTDOWN while the end of a rewrite is at work.
//!
//! Of several files that is a thread, which puts a base in its place and removes the old files. A run is recorded for each
//! call of the server, which is made to last half a minute. Where SHUTDOWN comes within it, the run is crashed at every
//! moment: what had been acknowledged is to be there, nothing half-made is to stay, and the next life, which is a part of
//! the run, begins as if nothing had been. A single file is put in its place by the server itself, and whatever comes
//! meanwhile is executed behind that: SHUTDOWN comes before, when the child has ended and nobody knows, and after.

mod binary;
mod race;
mod race_steps;
mod sabotaged;

use race::{Kind, MULTI, PROGRAM, SINGLE, before, crash, every_call, invoke, target, workers};
use race_steps::{MULTI_STEPS, missing};
use std::path::Path;
use std::process::Command;
use unplug::record::RecordError;
use unplug::target::Target;
use unplug::workload::{Ending, Step, Workload};
use unplug_faults::event::{Event, Nanos, Op, ProcessEvent};
use unplug_faults::trace::Trace;

/// How long the call lasts, by the target's clock: longer than everything else.
const LASTS: Nanos = 30_000_000_000;
/// No run makes so many calls.
const MOST_CALLS: u64 = 300;

/// When the child has ended, and the timer has found that out.
const NOTICED: Nanos = 250_000_000;
/// When the child has ended, and the timer has not.
const ENDED: Nanos = 1_000_000;

fn workload(kind: Kind, until: Nanos) -> Workload {
    let mut steps = before();
    steps.extend([invoke(0, "BGREWRITEAOF"), invoke(1, "INCR n"), Step::Advance { nanos: until }]);
    if !kind.single {
        // The log goes on meanwhile.
        steps.push(invoke(0, "INCR n"));
    }
    steps.push(Step::Restart { how: Ending::Stop, set: Vec::new() });
    steps.extend([invoke(0, "INCR n"), Step::Settle]);
    Workload { steps, seed: 7 }
}

/// Records a run with SHUTDOWN after so long. With `lasts` the server's call of that number lasts; `None` if there are fewer.
fn record(
    kind: Kind,
    saves: bool,
    until: Nanos,
    lasts: Option<u64>,
    dir: &Path,
) -> Result<Option<Trace>, RecordError> {
    let mut target = target(kind);
    // With save points SHUTDOWN is SHUTDOWN SAVE, without them SHUTDOWN NOSAVE.
    target.extra.push(("save".into(), if saves { "3600 100000" } else { "" }.into()));
    if let Some(nth) = lasts {
        let plan = format!("{} * delay={}s nth={nth} in=main", every_call(), LASTS / 1_000_000_000);
        target.conditions.faults = plan.parse().expect("a plan");
    }
    let trace = target.record(dir, &workload(kind, until))?;
    Ok((target.conditions.faults.fired(&trace).never().count() == 0).then_some(trace))
}

/// The call that lasts, if SHUTDOWN comes while it does.
fn during(trace: &Trace) -> Option<String> {
    let (at, fault) = trace.events.iter().enumerate().find(|(_, e)| matches!(e.op, Op::Fault { .. }))?;
    let Op::Fault { call, path, .. } = &fault.op else { return None };
    let asked = shutdown(trace)?;
    let goes_on = trace.events[at + 1..].iter().find(|e| e.task == fault.task)?;
    let within = at < asked && trace.events[asked].begin < goes_on.end.min(u64::MAX - 1);
    let within = within && trace.events[asked].at < fault.at + LASTS;
    within.then(|| format!("{} {}", call.name(), String::from_utf8_lossy(path)))
}

/// Where SHUTDOWN is asked for.
fn shutdown(trace: &Trace) -> Option<usize> {
    let asks = |op: &Op| matches!(op, Op::Invoke { op, .. } if op.windows(8).any(|w| w == b"SHUTDOWN"));
    trace.events.iter().position(|e| asks(&e.op))
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

/// What a sweep came to.
#[derive(Default)]
struct Swept {
    /// The calls within which SHUTDOWN came.
    calls: Vec<String>,
    wrong: Vec<String>,
    states: u64,
}

/// Has each call of a run last in turn.
fn sweep(kind: Kind, saves: bool) -> Swept {
    let (mut workers, mut swept) = (workers(kind), Swept::default());
    for nth in 1..MOST_CALLS {
        let dir = binary::directory();
        let trace = match record(kind, saves, NOTICED, Some(nth), dir.path()) {
            Ok(Some(trace)) => trace,
            Ok(None) => break,
            Err(error) => {
                swept.wrong.push(format!("call {nth}: {error}"));
                continue;
            }
        };
        let Some(call) = during(&trace) else { continue };
        let (wrong, states) = crash(kind, &trace, &mut workers);
        swept.wrong.extend(wrong.into_iter().map(|w| format!("within {call}: {w}")));
        swept.wrong.extend(left_over(dir.path()).iter().map(|w| format!("within {call}: {w} is left over")));
        if dir.path().join("dump.rdb").exists() != saves {
            swept.wrong.push(format!("within {call}: SHUTDOWN saves, or does not"));
        }
        swept.states += states;
        swept.calls.push(call);
    }
    swept
}

#[test]
fn several_files() {
    for saves in [false, true] {
        let Swept { calls, wrong, states } = sweep(MULTI, saves);
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(states > 20 * calls.len() as u64, "{states} states, {calls:#?}");
        let first = |group: &&[&str]| group[0].starts_with("rename* appendonlydir/temp-rewriteaof");
        let steps = &MULTI_STEPS[MULTI_STEPS.iter().position(first).expect("the base gets its name")..];
        let missing = missing(&calls, steps);
        assert!(missing.is_empty(), "{missing:?} not among {calls:#?}");
        eprintln!("SHUTDOWN, saves: {saves}: {} runs, {states} states", calls.len());
    }
}

#[test]
fn a_single_file_and_a_child_that_has_ended() {
    for kind in [SINGLE, MULTI] {
        let mut workers = workers(kind);
        for (saves, until) in [(false, ENDED), (true, ENDED), (false, NOTICED), (true, NOTICED)] {
            let dir = binary::directory();
            let trace = record(kind, saves, until, None, dir.path());
            let trace = trace.expect("recorded").expect("nothing is to last");
            let before = &trace.events[..shutdown(&trace).expect("it is asked for")];
            let child_ended =
                |e: &Event| e.task.process != 0 && matches!(e.op, Op::Process(ProcessEvent::Exit { .. }));
            let renamed = before.iter().rposition(|e| matches!(e.op, Op::Rename { .. }));
            let ended = before.iter().position(child_ended).expect("the child has ended");
            assert_eq!(renamed > Some(ended), until == NOTICED, "whether its file is in its place");
            let (wrong, states) = crash(kind, &trace, &mut workers);
            assert!(wrong.is_empty() && states > 50, "{kind:?}, {until}: {states} states, {wrong:#?}");
            let left = left_over(dir.path());
            // Without an end of the rewrite the first files are in force.
            let first = |name: &String| name.contains(".1.");
            assert!(left.iter().all(|name| until == ENDED && first(name)), "{kind:?}, {until}: {left:?}");
            assert_eq!(dir.path().join("dump.rdb").exists(), saves);
        }
    }
}

/// What the sweep of a program with a bug finds, a line each; in a process of its own, which is told of the bug by its
/// environment.
#[test]
fn what_is_found() {
    if std::env::var_os(PROGRAM).is_some() {
        sweep(MULTI, false).wrong.iter().for_each(|wrong| println!("found: {wrong}"));
    }
}

/// A stop that does not wait for the thread leaves whatever that has done by then.
#[test]
fn a_stop_that_does_not_wait_is_found() {
    let built = sabotaged::build();
    let found = |bug: &str| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "what_is_found", "--nocapture"]).env(PROGRAM, &built);
        let output = command.env("UNPLUG_SABOTAGE", bug).output().expect("this program can be started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{bug}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text.lines().filter(|l| l.contains("found: ")).count()
    };
    assert_eq!(found(""), 0);
    assert!(found("stop-does-not-wait") > 0);
}
