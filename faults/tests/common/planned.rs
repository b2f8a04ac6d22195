//! A role of a test, played under a plan: what its calls gave, and what the trace has.
#![allow(dead_code, unreachable_pub, clippy::undocumented_unsafe_blocks)]

use crate::common::{directory, role, wait};
use std::fmt::Write as _;
use unplug_faults::event::Op;
use unplug_faults::gate::GateOptions;
use unplug_faults::plan::Plan;
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::{Meta, Trace};

pub fn open(name: &str, flags: i32) -> i32 {
    let name = std::ffi::CString::new(name).expect("no zero");
    unsafe { libc::open(name.as_ptr(), flags, 0o644) }
}

/// What a call gave, as a word: its result, or its error.
pub fn gave(ret: i64) -> String {
    if ret >= 0 { ret.to_string() } else { format!("{:?}", nix::errno::Errno::last()) }
}

/// Says on standard error, which nobody records, what the calls gave.
pub fn say(results: &[(&str, String)]) {
    let mut text = String::new();
    for (call, result) in results {
        let _ = writeln!(text, "{call} {result}");
    }
    std::fs::write(std::env::var("UNPLUG_TEST_SAY").expect("set"), text).expect("written");
}

/// Plays a role under a plan: its trace, what its calls gave, and how it ended.
pub fn run(name: &str, plan: &str, gated: bool) -> (Trace, Vec<String>, std::process::ExitStatus) {
    run_slow(name, plan, gated, 0)
}

/// The same, where each sync takes so many virtual nanoseconds.
pub fn run_slow(
    name: &str,
    plan: &str,
    gated: bool,
    sync_nanos: u64,
) -> (Trace, Vec<String>, std::process::ExitStatus) {
    let (dir, said) = (directory(), directory());
    for name in ["there", "read-only"] {
        std::fs::write(dir.path().join(name), "content").expect("written");
    }
    let said = said.path().join("said");
    let mut options = Options::new(dir.path());
    options.faults = if plan == "census" { Plan::census(false) } else { plan.parse().expect("a plan") };
    options.gated = gated;
    options.sync_nanos = sync_nanos;
    let recorder = Recorder::start(options).expect("started");
    let mut gate = recorder.gate(GateOptions::default()).expect("a gate");
    let mut command = role(name, dir.path());
    command.env("UNPLUG_TEST_SAY", &said);
    recorder.arm(&mut command);
    std::fs::create_dir_all(said.parent().expect("one")).expect("made");
    let status = match &mut gate {
        None => wait(&mut command),
        Some(gate) => {
            let mut child = command.spawn().expect("started");
            gate.started(child.id());
            let policy = unplug_faults::gate::ClockPolicy::Until(u64::MAX);
            gate.run_until_idle(policy, 1 << 20).expect("ran");
            child.wait().expect("reaped")
        }
    };
    let trace = recorder.finish(Meta::default()).expect("a trace");
    let said = std::fs::read_to_string(said).unwrap_or_default();
    (trace, said.lines().map(str::to_owned).collect(), status)
}

pub fn faults(trace: &Trace) -> Vec<String> {
    let one = |op: &Op| match op {
        Op::Fault { call, path, outcome, role, .. } => {
            Some(format!("{call} {} {outcome} {role:?}", String::from_utf8_lossy(path)))
        }
        _ => None,
    };
    trace.events.iter().filter_map(|e| one(&e.op)).collect()
}
