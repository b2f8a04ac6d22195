//! The recorder over a gated run: one seed, one trace.
#![allow(clippy::unwrap_used)]

mod gate_support;

use gate_support::{cc, run_gated};
use std::path::Path;
use std::process::{Command, Stdio};
use unplug_faults::gate::GateOptions;
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::{Meta, Trace};

/// Records one gated run of a program in a fresh directory.
fn record(program: &Path, seed: u64, sync_nanos: u64) -> Trace {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.gated = true;
    options.sync_nanos = sync_nanos;
    let recorder = Recorder::start(options).unwrap();
    let mut command = Command::new(program);
    command.current_dir(dir.path()).stdin(Stdio::null());
    assert_eq!(run_gated(&recorder, &mut command, seed).code(), Some(0));
    let meta = Meta { seed, ..Meta::default() };
    recorder.finish(meta).unwrap()
}

#[test]
fn one_seed_gives_one_trace() {
    let dir = tempfile::tempdir().unwrap();
    let program = cc("threads", include_str!("gate_threads.c"), dir.path());
    let first = record(&program, 7, 1_000_000);
    assert_eq!(first.blind, []);
    assert!(first.meta.gated && first.meta.virtual_time);
    assert!(first.events.len() > 30);
    for _ in 0..5 {
        let again = record(&program, 7, 1_000_000);
        for (a, b) in first.events.iter().zip(&again.events) {
            assert_eq!(a, b);
        }
        assert_eq!(again, first);
    }
    assert_ne!(record(&program, 8, 1_000_000).events, first.events);
}

#[test]
fn a_run_that_is_not_gated_has_no_gate() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(Options::new(dir.path())).unwrap();
    assert!(recorder.gate(GateOptions::default()).unwrap().is_none());
    assert!(recorder.clock().is_none());
}
