//! The recorder over a gated run: one seed, one trace.
#![allow(clippy::unwrap_used)]

mod gate_support;

use gate_support::{Started, cc};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use unplug_faults::gate::{ClockPolicy, GateOptions, Step};
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::{Meta, Trace};

/// Records one gated run of a program in a fresh directory.
fn record(program: &Path, seed: u64, sync_nanos: u64) -> (Trace, u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.gated = true;
    options.sync_nanos = sync_nanos;
    let recorder = Recorder::start(options).unwrap();
    let mut gate = recorder.gate(GateOptions { seed, ..GateOptions::default() }).unwrap().unwrap();
    let mut command = Command::new(program);
    command.current_dir(dir.path()).stdin(Stdio::null());
    recorder.arm(&mut command);
    let mut child = Started(command.spawn().unwrap());
    gate.started(child.0.id());
    let ran = gate.run_until_idle(ClockPolicy::Until(1 << 60), 1_000_000).unwrap();
    assert_eq!(ran.end, Step::Exited);
    assert_eq!(child.code(), Some(0));
    let meta = Meta { seed, ..Meta::default() };
    (recorder.finish(meta).unwrap(), ran.steps)
}

#[test]
fn one_seed_gives_one_trace() {
    let dir = tempfile::tempdir().unwrap();
    let program = cc("threads", include_str!("gate_threads.c"), dir.path());
    let (first, _) = record(&program, 7, 1_000_000);
    assert_eq!(first.blind, []);
    assert!(first.meta.gated && first.meta.virtual_time);
    assert!(first.events.len() > 30);
    for _ in 0..5 {
        let (again, _) = record(&program, 7, 1_000_000);
        for (a, b) in first.events.iter().zip(&again.events) {
            assert_eq!(a, b);
        }
        assert_eq!(again, first);
    }
    assert_ne!(record(&program, 8, 1_000_000).0.events, first.events);
}

#[test]
fn a_run_that_is_not_gated_has_no_gate() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(Options::new(dir.path())).unwrap();
    assert!(recorder.gate(GateOptions::default()).unwrap().is_none());
    assert!(recorder.clock().is_none());
}

/// Prints what a granted call costs.
#[test]
#[ignore = "a measurement, not a test"]
fn cost_of_a_grant() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #include <fcntl.h>
        #include <pthread.h>
        #include <unistd.h>
        static int fd;
        static void *run(void *x) { for (int i = 0; i < 20000; i++) if (write(fd, "x", 1) != 1) _exit(1); return x; }
        int main(void) {
            pthread_t t;
            fd = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644);
            pthread_create(&t, 0, run, 0); run(0); return pthread_join(t, 0);
        }"#;
    let program = cc("cost", source, dir.path());
    let began = Instant::now();
    let (trace, steps) = record(&program, 1, 0);
    let each = began.elapsed() / u32::try_from(steps).unwrap();
    println!("{steps} steps, {} events, {each:?} a step", trace.events.len());
}
