//! What the shim remembers of a descriptor's number is never believed of another thing with that number. Each
//! target closes by raw system calls, which nobody sees; a write that went to the wrong file's record would make
//! the trace contradict the directory, and one that was left out or put in shows in the lines.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

mod common;
mod gate_support;

use common::{directory, lines};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use unplug_faults::event::Op;
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::{Meta, Trace};

/// The target, compiled once; `None` without a C compiler.
fn program() -> Option<&'static PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compile = || {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let program = dir.join(format!("descriptors-{}", std::process::id()));
        let source = dir.join(format!("descriptors-{}.c", std::process::id()));
        std::fs::write(&source, include_str!("edges/descriptors.c")).unwrap();
        let status = Command::new("cc").args(["-O1", "-pthread", "-o"]).arg(&program).arg(&source).status();
        std::fs::remove_file(&source).unwrap();
        match status {
            Ok(status) => {
                assert!(status.success());
                Some(program)
            }
            Err(_) => {
                eprintln!("not measured: no C compiler");
                None
            }
        }
    };
    PROGRAM.get_or_init(compile).as_ref()
}

fn run(args: &[&str]) -> Option<Trace> {
    run_as(args, false)
}

fn run_as(args: &[&str], gated: bool) -> Option<Trace> {
    let dir = directory();
    let mut options = Options::new(dir.path());
    options.gated = gated;
    let recorder = Recorder::start(options).unwrap();
    let mut command = Command::new(program()?);
    command.args(args).current_dir(dir.path());
    let status = if gated {
        gate_support::run_gated(&recorder, &mut command, 1)
    } else {
        recorder.arm(&mut command);
        common::wait(&mut command)
    };
    assert!(status.success(), "{args:?}: {status}");
    Some(recorder.finish(Meta::default()).unwrap())
}

fn assert_lines(args: &[&str], expected: &[&str]) {
    let Some(trace) = run(args) else { return };
    assert_eq!(trace.blind, [], "{args:?}");
    assert_eq!(lines(&trace), expected, "{args:?}");
}

/// Every call that makes a descriptor to write through, by symbol and from inside the C library.
#[test]
fn a_number_that_means_another_thing_is_not_taken_for_the_old_one() {
    // The bytes that are written through the number's new meaning.
    const ONE: &str = r#""\u{1}\0\0\0\0\0\0\0" None"#;
    let elsewhere = [
        "socket",
        "socketpair-raw",
        "pipe",
        "pipe2-raw",
        "dup-of-pipe",
        "eventfd",
        "memfd",
        "memfd-raw",
        "accept",
        "accept4",
        "recvmsg",
        "recvmsg-raw",
        "recvmmsg",
        "recvmmsg-raw",
        "null",
        "terminal",
    ];
    let start =
        ["create ./g File", "create ./f File", "write f 0 \"first   \" None", "write f 8 \"second  \" None"];
    let end = "write f 16 \"third   \" None";
    for how in elsewhere {
        assert_lines(&["reuse", how], &[&start[..], &[end]].concat());
    }
    let to_g = format!("write g 0 {ONE}");
    for how in ["dup", "dup-raw", "dup2", "dup2-raw", "dup3", "dupfd", "dupfd-cloexec"] {
        assert_lines(&["reuse", how], &[&start[..], &[&to_g, end]].concat());
    }
    let to_h = format!("write h 0 {ONE}");
    for how in ["open", "creat", "openat2", "fopen"] {
        assert_lines(&["reuse", how], &[&start[..], &["create ./h File", &to_h, end]].concat());
    }
    let Some(trace) = run(&["reuse", "mkstemp"]) else { return };
    assert_eq!(trace.blind, []);
    assert_eq!(lines(&trace).len(), 8);
}

/// In a gated run the gate makes these calls, since they may wait: what they give away is forgotten as well.
#[test]
fn a_number_that_the_gate_gives_away_is_not_taken_for_the_old_one() {
    let kept = ["write f 0 \"first   \" None", "write f 8 \"second  \" None", "write f 16 \"third   \" None"];
    for how in ["recvmsg", "recvmsg-raw", "recvmmsg", "recvmmsg-raw", "accept", "accept4"] {
        let Some(trace) = run_as(&["reuse", how], true) else { return };
        assert_eq!(trace.blind, [], "{how}");
        let mut lines = lines(&trace);
        lines.retain(|line| line.starts_with("write"));
        assert_eq!(lines, kept, "{how}");
    }
}

/// While a child shares the memory, what a number stands for differs between it and its parent's other threads.
#[test]
fn a_child_and_a_thread_beside_it_mean_different_things() {
    for (role, order) in [
        // The thread writes first: what it has found out is not the child's.
        ("beside-vfork", ["write g 0 \"thread  \" None", "write f 8 \"child   \" None"]),
        // The child writes first: what it has found out is not the thread's.
        ("beside-clone", ["write f 8 \"child   \" None", "write g 0 \"thread  \" None"]),
    ] {
        let before = ["create ./g File", "create ./f File", "write f 0 \"parent  \" None"];
        assert_lines(&[role], &[&before[..], &order].concat());
    }
}

#[test]
fn what_was_not_recorded_is_when_its_number_becomes_a_file() {
    for role in ["pipe-then-file", "socket-then-file"] {
        assert_lines(&[role], &["create ./f File", "write f 0 \"first   \" None"]);
    }
}

#[test]
fn a_failed_write_is_not_the_old_files() {
    let Some(trace) = run(&["failing"]) else { return };
    assert_eq!(trace.blind, []);
    let lines = lines(&trace);
    assert_eq!(lines[..3], ["create ./f File", "create ./r File", "write f 0 \"first   \" None"]);
    // The closed number is nothing; then both calls go to what the number is now.
    assert_eq!(lines[3..], ["write r 0 \"\" None errno 9", "sync r Fsync"]);
}

#[test]
fn flags_that_change_are_seen_by_all_who_have_the_file_open() {
    assert_lines(
        &["flags"],
        &[
            "create ./f File",
            "open f",
            "write f 0 \"aaaaaaaa\" None",
            "write f 0 \"b\" None",
            "write f 8 \"c\" None",
            "write f 1 \"d\" None",
            "write f 2 \"e\" None",
        ],
    );
}

#[test]
fn processes_keep_their_own_meanings() {
    assert_lines(
        &["forked"],
        &[
            "create ./f File",
            "write f 0 \"parent  \" None",
            "create ./g File",
            "write g 0 \"child   \" None",
            "write f 8 \"again   \" None",
        ],
    );
    for role in ["vforked", "vforked-exec-fails"] {
        assert_lines(
            &[role],
            &[
                "create ./g File",
                "create ./f File",
                "write f 0 \"parent  \" None",
                "write g 0 \"child---\" None",
                "write f 8 \"again   \" None",
                "write g 8 \"after   \" None",
                "write f 16 \"last    \" None",
            ],
        );
    }
    assert_lines(
        &["executed"],
        &[
            "create ./f File",
            "create ./kept File",
            "write f 0 \"before  \" None",
            "write kept 0 \"before  \" None",
            "create ./g File",
            "write g 0 \"after   \" None",
            "write kept 8 \"after   \" None",
        ],
    );
    let Some(trace) = run(&["spawned"]) else { return };
    assert_eq!(trace.blind, []);
    let mut lines = lines(&trace);
    lines.sort();
    assert_eq!(
        lines,
        [
            "create ./f File",
            "create ./g File",
            "write f 0 \"parent  \" None",
            "write f 16 \"last    \" None",
            "write f 8 \"again   \" None",
            "write g 0 \"spawned\\n\" None",
        ]
    );
}

#[test]
fn a_thread_may_have_descriptors_of_its_own() {
    assert_lines(
        &["unshared"],
        &[
            "create ./f File",
            "write f 0 \"main    \" None",
            "create ./g File",
            "write g 0 \"thread  \" None",
            "write f 8 \"main2   \" None",
            "write g 8 \"thread2 \" None",
            "write f 16 \"main3   \" None",
        ],
    );
}

/// Four threads that take each other's numbers: each file gets what its thread wrote, in its order.
#[test]
fn threads_that_reuse_each_others_numbers_are_told_apart() {
    let Some(trace) = run(&["threads"]) else { return };
    assert_eq!(trace.blind, []);
    let mut names = std::collections::BTreeMap::new();
    let mut seen = 0;
    for event in &trace.events {
        match &event.op {
            Op::Create { file, name, .. } => {
                drop(names.insert(*file, String::from_utf8(name.clone()).unwrap()))
            }
            Op::Write { file, data, .. } => {
                let text = String::from_utf8(data.clone()).unwrap();
                if text != "stdio;" {
                    let (thread, rest) = text.split_once('/').unwrap();
                    let round: usize = rest.split_once('/').unwrap().0.parse().unwrap();
                    assert_eq!(names[file], format!("t{thread}-{}", round % 3));
                }
                seen += 1;
            }
            _ => {}
        }
    }
    assert_eq!(seen, 4 * (150 * 3 + 50));
}
