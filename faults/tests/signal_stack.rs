//! A trapped call is handled on the stack that it was made on: not on a thread's alternate stack, which is small, and
//! has no room for the handlers of other signals on top of a call that blocks. Where the stacks themselves are
//! small, as Go's are, it is the other way round.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

mod common;
mod gate_support;

use common::directory;
use gate_support::{cc, run_gated};
use std::process::{Command, ExitStatus, Stdio};
use unplug_faults::plan::Plan;
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::{Meta, Trace};

/// Runs the target's part under the shim, as `options` says.
fn run(part: &str, options: impl FnOnce(&mut Options)) -> (ExitStatus, Trace) {
    let (dir, programs) = (directory(), directory());
    let program = cc("signal_stack", include_str!("signal_stack.c"), programs.path());
    let mut asked = Options::new(dir.path());
    options(&mut asked);
    let gated = asked.gated;
    let recorder = Recorder::start(asked).unwrap();
    let mut command = Command::new(program);
    command.arg(part).current_dir(dir.path()).stdin(Stdio::null());
    let status = if gated {
        run_gated(&recorder, &mut command, 1)
    } else {
        recorder.arm(&mut command);
        common::wait(&mut command)
    };
    (status, recorder.finish(Meta::default()).unwrap())
}

fn goes_well(part: &str, how: &str, options: impl FnOnce(&mut Options)) -> Trace {
    let (status, trace) = run(part, options);
    assert!(status.success(), "{part}, {how}: {status}");
    trace
}

#[test]
fn no_call_is_handled_on_the_alternate_stack() {
    let plan = || "write no-such-file EIO".parse::<Plan>().unwrap();
    let traces = [
        goes_well("calls", "recorded", |_| {}),
        goes_well("calls", "in virtual time", |o| o.virtual_epoch_ms = Some(1_700_000_000_000)),
        goes_well("calls", "under a plan", |o| o.faults = plan()),
        goes_well("calls", "gated", |o| o.gated = true),
    ];
    for trace in &traces {
        assert!(trace.events.len() > 25, "{}", trace.events.len());
    }
}

#[test]
fn a_handler_in_a_call_that_blocks_has_the_threads_stack() {
    goes_well("interrupt", "recorded", |_| {});
    goes_well("interrupt", "under a plan", |o| o.faults = "fsync no-such-file EIO".parse().unwrap());
}

#[test]
fn small_stacks_are_left_alone() {
    for part in ["go", "go-library"] {
        let trace = goes_well(part, "recorded", |_| {});
        assert_eq!(trace.blind, [], "{part}");
        assert_eq!(
            common::lines(&trace),
            ["create ./g File", "write g 0 \"from a small stack\" None"],
            "{part}"
        );
    }
}
