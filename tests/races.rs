//! Races of a rewrite, recorded: something arrives before each call that a rewrite makes, and the power goes at every
//! moment of what follows.
//!
//! A run is recorded for each call between BGREWRITEAOF and the rewrite's end, of the server and of the child alike: the
//! gate holds the task that is about to make it, sends what is to arrive, and lets the call be made when that is answered
//! (a child's), or when nothing else can go on (the server's own: what arrived is executed behind the step). Before the
//! next call is after this one, and crash states lie within calls, too. The calls are found by trying: the first number
//! that no call has is the end. That every step which `engine/src/persist/mod.rs` numbers was among them is
//! checked by name.

mod binary;
mod race;
mod race_steps;
mod sabotaged;

use race::{Kind, MULTI, PROGRAM, SINGLE, before, crash, every_call, invoke, op, target, workers};
use race_steps::{MULTI_STEPS, SINGLE_STEPS, missing};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use unplug::record::RecordError;
use unplug::target::Target;
use unplug::target::policy::Policy;
use unplug::target::resp_stop::Stop;
use unplug::target::rig::Arrival;
use unplug::workload::{Step, Workload};
use unplug_faults::event::{Op, SyncKind};
use unplug_faults::trace::Trace;

/// Runs that are recorded and crashed at a time.
const AT_ONCE: usize = 2;
/// The operation that arrives: the first of the race is BGREWRITEAOF.
const ARRIVES: u32 = 5;
/// No rewrite makes so many calls.
const MOST_CALLS: u32 = 200;

/// What happens at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Write,
    Transaction,
    Rewrite,
    Save,
    Flush,
    /// Settings change: the kind of base, and time stamps.
    Configure,
    /// A write arrives, and the child dies before its next call.
    ChildDies,
    /// A write arrives, the child hangs from then on, and the server is shut down.
    Shutdown,
}

impl What {
    fn operation(self, kind: Kind) -> &'static str {
        match self {
            What::Write | What::ChildDies | What::Shutdown => "SET racer 1",
            What::Transaction => "INCR n; RPUSH l racer; SET racer 2",
            What::Rewrite => "BGREWRITEAOF",
            What::Save => "BGSAVE",
            What::Flush => "FLUSHALL",
            What::Configure if kind.rdb => "CONFIG SET aof-use-rdb-preamble no aof-timestamp-enabled yes",
            What::Configure => "CONFIG SET aof-use-rdb-preamble yes aof-timestamp-enabled yes",
        }
    }

    fn workload(self, kind: Kind) -> Workload {
        let mut steps = before();
        steps.extend([
            Step::Together(vec![(0, op("BGREWRITEAOF")), (1, op(self.operation(kind)))]),
            invoke(0, "INCR n"),
        ]);
        if self != What::Shutdown {
            steps.extend([Step::Settle, invoke(1, "SET after 1")]);
        }
        if self == What::ChildDies {
            // The next one must not be hurt by what the first has left.
            steps.extend([invoke(0, "BGREWRITEAOF"), Step::Settle, invoke(0, "INCR n")]);
        }
        Workload { steps, seed: 7 }
    }
}

/// Records the run in which it arrives before call number `call`; `None`: there are fewer. `dies`: which of its calls
/// the child does not survive.
fn record(kind: Kind, what: What, call: u32, dies: Option<u64>) -> Option<Trace> {
    let mut target = target(kind);
    if let Some(nth) = dies {
        let plan = format!("{} * kill nth={nth} in=child", every_call());
        target.conditions.faults = plan.parse().expect("a plan");
    }
    target.conditions.arrival = Some(Arrival { operation: ARRIVES, call, hangs: what == What::Shutdown });
    let workload = what.workload(kind);
    let dir = binary::directory();
    let recorded = match what {
        What::Shutdown => {
            target.record_what_it_can(dir.path(), &workload, Stop::Clean).and_then(|survived| {
                // A server that is not asked in time has no result, and that is none.
                survived.ended.map_or(Ok(survived.trace), Err)
            })
        }
        _ => target.record(dir.path(), &workload),
    };
    match recorded {
        Ok(trace) => Some(trace),
        Err(RecordError::NeverCame { .. }) => None,
        Err(error) => panic!("{kind:?}, {what:?}, before call {call}: {error}"),
    }
}

/// What a sweep came to.
#[derive(Debug, Default)]
struct Swept {
    /// The calls before which it arrived, in their order.
    calls: Vec<String>,
    wrong: Vec<String>,
    states: u64,
}

/// Lets it arrive before each call in turn.
fn sweep(kind: Kind, what: What) -> Swept {
    let next = AtomicU32::new(1);
    let end = AtomicU32::new(MOST_CALLS);
    let worker = || {
        let mut workers = workers(kind);
        let mut done = Vec::new();
        loop {
            let call = next.fetch_add(1, Ordering::SeqCst);
            if call >= end.load(Ordering::SeqCst) {
                return done;
            }
            let Some(trace) = record(kind, what, call, None) else {
                end.fetch_min(call, Ordering::SeqCst);
                return done;
            };
            let at = trace.meta.options["arrival"].clone();
            let (wrong, states) = crash(kind, &trace, &mut workers);
            done.push((call, at, wrong, states));
        }
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a sweep")).collect()
    });
    all.sort_by_key(|(call, ..)| *call);
    let mut swept = Swept::default();
    for (call, at, wrong, states) in all {
        swept.wrong.extend(wrong.into_iter().map(|w| format!("before call {call}, {at}: {w}")));
        swept.calls.push(at);
        swept.states += states;
    }
    swept
}

/// The child dies before each of its calls, which a write has come before, and then another rewrite has to be none the
/// worse; or it hangs there, and the server is shut down. `calls` are those of a run in which it lives.
fn child(kind: Kind, what: What, calls: &[String]) -> Swept {
    let mut workers = workers(kind);
    // It begins with the name of its file, and ends with its sync.
    let first = calls.iter().position(|call| call.contains("temp-rewriteaof")).expect("a child");
    let count = calls[first..].iter().position(|call| call.starts_with("fsync")).expect("a sync") + 1;
    let mut swept = Swept::default();
    for nth in 0..count {
        let call = u32::try_from(first + nth + 1).expect("few calls");
        let dies = (what == What::ChildDies).then_some(nth as u64 + 1);
        let trace = record(kind, what, call, dies).expect("there is such a call");
        let kills = trace.events.iter().filter(|e| matches!(e.op, Op::Fault { .. })).count();
        assert_eq!(
            (kills, &trace.meta.options["arrival"]),
            (usize::from(dies.is_some()), &calls[first + nth]),
            "{kind:?}, call {call}"
        );
        let (wrong, states) = crash(kind, &trace, &mut workers);
        swept.wrong.extend(wrong.into_iter().map(|w| format!("before call {call}: {w}")));
        swept.calls.push(calls[first + nth].clone());
        swept.states += states;
    }
    swept
}

fn every_step(swept: &Swept, kind: Kind) {
    let steps = if kind.single { SINGLE_STEPS } else { MULTI_STEPS };
    let missing = missing(&swept.calls, steps);
    assert!(missing.is_empty(), "{kind:?}: {missing:?} not among {:#?}", swept.calls);
}

const WHATS: [What; 8] = [
    What::Write,
    What::Transaction,
    What::Rewrite,
    What::Save,
    What::Flush,
    What::Configure,
    What::ChildDies,
    What::Shutdown,
];

fn holds(kind: Kind) {
    let mut table = String::new();
    let mut calls = Vec::new();
    for what in WHATS {
        let of_child = matches!(what, What::ChildDies | What::Shutdown);
        let swept = if of_child { child(kind, what, &calls) } else { sweep(kind, what) };
        table += &format!("{what:?}: {} runs, {} states\n", swept.calls.len(), swept.states);
        assert!(swept.wrong.is_empty(), "{kind:?}, {what:?}: {:#?}", swept.wrong);
        assert!(swept.states > 20 * swept.calls.len() as u64, "{kind:?}, {what:?}: {swept:?}");
        match what {
            What::ChildDies | What::Shutdown => {
                assert!(swept.calls.len() >= 3, "{kind:?}: {:?}", swept.calls)
            }
            _ => every_step(&swept, kind),
        }
        if what == What::Write {
            calls = swept.calls;
        }
    }
    eprintln!("{kind:?}\n{table}");
}

#[test]
fn several_files_with_a_snapshot_as_base() {
    holds(MULTI);
}

#[test]
fn several_files_with_commands_as_base() {
    holds(Kind { rdb: false, ..MULTI });
}

#[test]
fn a_single_file_that_begins_with_a_snapshot() {
    holds(SINGLE);
}

#[test]
fn a_single_file_of_commands() {
    holds(Kind { rdb: false, ..SINGLE });
}

/// With a thread that syncs beside the others, and writes that no sync covers when the rewrite begins.
#[test]
fn every_second() {
    for single in [false, true] {
        let kind = Kind { single, rdb: true, policy: Policy::EverySec };
        for what in [What::Write, What::Flush, What::Rewrite] {
            let swept = sweep(kind, what);
            assert!(swept.wrong.is_empty(), "{kind:?}, {what:?}: {:#?}", swept.wrong);
            every_step(&swept, kind);
        }
    }
}

/// The run does not depend on anything but what it is told.
#[test]
fn a_race_is_recorded_twice_as_the_same() {
    for kind in [MULTI, SINGLE] {
        for call in [1, 14, 16] {
            let traces =
                [0; 2].map(|_| record(kind, What::Transaction, call, None).map(|trace| trace.meta.options));
            assert_eq!(traces[0], traces[1], "{kind:?} before call {call}");
            let events =
                [0; 2].map(|_| record(kind, What::Transaction, call, None).map(|trace| trace.events));
            assert!(events[0] == events[1], "{kind:?} before call {call}");
        }
    }
}

/// The header of the new incr file tells how the one before it ends. Unsynced, it is not there when what follows is: the
/// sweep finds that in what it explores by itself.
#[test]
fn an_unsynced_header_is_found() {
    let mut found = BTreeSet::new();
    let mut workers = workers(MULTI);
    for call in [1, 5, 16] {
        let mut trace = record(MULTI, What::Write, call, None).expect("there is such a call");
        // All before is synced: the first fdatasync behind BGREWRITEAOF is the header's.
        let race = trace.events.iter().position(|e| matches!(&e.op, Op::Phase(name) if name == "race"));
        let from = race.expect("the phase");
        let is_header = |op: &Op| matches!(op, Op::Sync { kind: SyncKind::Fdatasync, .. });
        let sync = trace.events[from..].iter().position(|e| is_header(&e.op)).expect("a sync");
        trace.events.remove(from + sync);
        let (wrong, _) = crash(MULTI, &trace, &mut workers);
        found.extend(wrong);
    }
    assert!(!found.is_empty(), "nothing was found");
    assert!(found.iter().all(|w| w.contains("Loss") || w.contains("RefusesToOpen")), "{found:#?}");
}

/// What the sweep of a program with a bug finds, a line each; in a process of its own, which is told of the bug by its
/// environment. Without one it is what the tests above do.
#[test]
fn what_is_found() {
    if std::env::var_os(PROGRAM).is_none() {
        return;
    }
    for kind in [MULTI, SINGLE] {
        for wrong in sweep(kind, What::Write).wrong {
            println!("found in {kind:?}: {wrong}");
        }
    }
}

/// A child that is forked late has what arrives in between twice: in its base, and in the log.
#[test]
fn a_child_that_is_forked_late_is_found() {
    let built = sabotaged::build();
    let sweep = |bug: &str| {
        let this = std::env::current_exe().expect("this program");
        let mut command = Command::new(this);
        command.args(["--exact", "what_is_found", "--nocapture"]).env(PROGRAM, &built);
        command.env("UNPLUG_SABOTAGE", bug);
        let output = command.output().expect("this program can be started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let found: Vec<String> =
            text.lines().filter(|l| l.contains("found in ")).map(str::to_owned).collect();
        (output.status.success(), found, text + &String::from_utf8_lossy(&output.stderr))
    };
    let (ended, found, said) = sweep("");
    assert!(ended && found.is_empty(), "without a bug: {said}");
    let (_, found, said) = sweep("base-forked-late");
    for kind in ["single: false", "single: true"] {
        assert!(found.iter().any(|l| l.contains(kind)), "{kind}: {said}");
    }
    assert!(found.iter().any(|l| l.contains("DuplicatedOperation")), "{found:#?}");
}
