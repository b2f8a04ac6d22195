//! The recorder sees every call in the list, with the right file, offset and bytes.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;
mod roles;

use common::{lines, record, record_in};
use unplug_faults::event::Op;
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::Meta;

/// Plays a role when this binary was started for it; as a test of its own it checks that every role is known.
#[test]
fn play() {
    if let Ok(role) = std::env::var(common::ROLE) {
        roles::play(&role);
        std::process::exit(0);
    }
    assert!(roles::ROLES.iter().all(|(name, _)| !name.is_empty()));
}

fn assert_lines(role: &str, expected: &[&str]) {
    let trace = record(role);
    assert_eq!(trace.blind, [], "role {role}");
    assert_eq!(lines(&trace), expected, "role {role}");
}

#[test]
fn writes() {
    assert_lines(
        "writes",
        &[
            "create ./f File",
            "write f 0 \"hello\" None",
            "write f 1 \"EL\" None",
            "write f 5 \"abcd\" None",
            "write f 2 \"xyz\" None",
            "write f 9 \"v2\" None",
            "write f 0 \"D\" Data",
            "write f 1 \"S\" Full",
            "write f 11 \"end\" None",
            "write f 14 \"tail\" None",
            "sync f Fsync",
            "sync f Fdatasync",
            "sync f Range { offset: 0, len: 4 }",
        ],
    );
}

#[test]
fn names() {
    assert_lines(
        "names",
        &[
            "create ./d Dir",
            "create d/a File",
            "write a 0 \"A\" None",
            "create ./b File",
            "write b 0 \"B\" None",
            "rename d/a ./b b",
            "write b 1 \"gone\" None",
            "link a d/c",
            "create ./s Symlink([98])",
            "open a",
            "write a 0 \"through\" None",
            "exchange ./b ./s",
            "rename ./s ./t -",
            "unlink d/c a",
            "unlink ./b s",
            "create ./e Dir",
            "rename ./e d/e -",
            "sync d Fsync",
            "unlink d/e e",
            "sync d Fsync",
        ],
    );
}

#[test]
fn opens() {
    assert_lines(
        "opens",
        &[
            "create ./a File",
            "write a 0 \"first\" None",
            "open a",
            "write a 5 \"+\" None",
            "write a 6 \"end\" None",
            "open a",
            "truncate a 0",
            "write a 0 \"d\" Data",
            "open a",
            "write a 0 \"s\" Full",
            "create ./b File",
            "create ./c File",
            "tmpfile",
            "write tmpfile 0 \"t\" None",
            "link tmpfile ./named",
        ],
    );
}

#[test]
fn shapes() {
    let trace = record("shapes");
    assert_eq!(trace.blind, []);
    assert_eq!(
        lines(&trace)[2..],
        [
            "truncate f 8192",
            "truncate f 8200",
            "allocate f Extend 8192 4096",
            "allocate f KeepSize 20000 10",
            "allocate f Punch 0 4096",
            "sync all",
            "sync all",
        ]
    );
}

#[test]
fn copies() {
    assert_lines(
        "copies",
        &[
            "create ./from File",
            "write from 0 \"0123456789\" None",
            "create ./to File",
            "write to 3 \"2345\" None",
            "write to 0 \"012\" None",
            "write to 10 \"piped\" None",
        ],
    );
}

#[test]
fn threads_and_forked_children_are_followed() {
    let trace = record("threads");
    assert_eq!(trace.blind, []);
    let tasks: std::collections::BTreeSet<_> =
        trace.events.iter().filter(|e| matches!(e.op, Op::Write { .. })).map(|e| e.task).collect();
    assert_eq!(tasks.len(), 4);
    assert_eq!(trace.events.iter().filter(|e| matches!(e.op, Op::Write { .. })).count(), 200);

    let trace = record("fork");
    assert_eq!(trace.blind, []);
    let writes: Vec<_> = lines(&trace).into_iter().filter(|l| l.starts_with("write")).collect();
    assert_eq!(
        writes,
        [
            "write shared 0 \"parent;\" None",
            "write shared 7 \"child;\" None",
            "write own 0 \"x\" None",
            "write shared 13 \"again\" None"
        ]
    );
}

#[test]
fn the_shim_goes_along_over_exec_without_environment() {
    let trace = record("stripped");
    assert_eq!(trace.blind, []);
    assert_eq!(lines(&trace), ["create ./made File", "write made 0 \"from-the-shell\\n\" None"]);
}

#[test]
fn blocked_and_replaced_signals_do_not_kill_the_target() {
    assert_lines("masked", &["create ./masked File", "write masked 0 \"still\" None"]);
}

#[test]
fn a_descriptor_from_before_the_shim_is_known() {
    let dir = common::directory();
    let file = std::fs::File::create(dir.path().join("early")).unwrap();
    let recorder = Recorder::start(Options::new(dir.path())).unwrap();
    let mut command = common::role("late", dir.path());
    command.stdin(file);
    recorder.arm(&mut command);
    assert!(common::wait(&mut command).success());
    let trace = recorder.finish(Meta::default()).unwrap();
    assert_eq!(trace.blind, []);
    assert_eq!(lines(&trace), ["write early 0 \"inherited\" None", "sync early Fsync"]);
}

/// What cannot be followed makes the run blind, by name.
#[test]
fn what_cannot_be_followed_is_named() {
    let what = |role, ignore: &[&str]| {
        let trace = record_in(role, &common::directory(), ignore);
        trace.blind.into_iter().map(|b| b.what).collect::<Vec<_>>()
    };
    assert_eq!(what("uring", &[]), ["io_uring_setup"]);
    assert_eq!(what("mapped", &[]), ["mmap(MAP_SHARED, PROT_WRITE)", "the trace does not explain `m`"]);
    assert_eq!(what("passed", &[]), ["descriptor sent to another process"]);
    let across = what("across", &["*.ignored"]);
    assert_eq!(across, ["rename across the recorded directory's border", "the trace does not explain `x`"]);
}

#[test]
fn a_change_behind_the_shim_is_found() {
    let dir = common::directory();
    std::fs::write(dir.path().join("old"), "base").unwrap();
    let recorder = Recorder::start(Options::new(dir.path())).unwrap();
    let mut command = common::role("writes", dir.path());
    recorder.arm(&mut command);
    assert!(common::wait(&mut command).success());
    std::fs::write(dir.path().join("old"), "bAse").unwrap();
    let trace = recorder.finish(Meta::default()).unwrap();
    assert_eq!(trace.blind.len(), 1);
    assert_eq!(trace.blind[0].what, "the trace does not explain `old`");
}

#[test]
fn a_full_ring_is_told() {
    let dir = common::directory();
    let mut options = Options::new(dir.path());
    options.ring_bytes = 0; // the smallest there is: 1 MiB of records
    let recorder = Recorder::start(options).unwrap();
    let mut command = common::role("endless", dir.path());
    recorder.arm(&mut command);
    let mut child = command.spawn().unwrap();
    while !recorder.is_full() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let trace = recorder.finish(Meta::default()).unwrap();
    assert!(trace.blind.iter().any(|b| b.what == "ring full"));
}

/// SIGKILL at any moment, twice over: what was recorded still explains what is there.
#[test]
fn a_killed_target_is_explained() {
    for round in 0..10 {
        let dir = common::directory();
        let recorder = Recorder::start(Options::new(dir.path())).unwrap();
        let mut command = common::role("endless", dir.path());
        recorder.arm(&mut command);
        let mut child = command.spawn().unwrap();
        let file = dir.path().join("endless");
        while std::fs::metadata(&file).map_or(0, |m| m.len()) < 1000 {
            assert!(child.try_wait().unwrap().is_none());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        recorder.kill_mark();
        let trace = recorder.finish(Meta::default()).unwrap();
        assert_eq!(trace.blind, [], "round {round}");
        assert!(matches!(trace.events.last().unwrap().op, Op::Kill));
    }
}

#[test]
fn a_static_program_is_named() {
    let (dir, beside) = (common::directory(), common::directory());
    let (source, program) = (beside.path().join("x.c"), beside.path().join("x"));
    let code = "void _start(void){__asm__(\"mov $60,%eax; xor %edi,%edi; syscall\");}";
    std::fs::write(&source, code).unwrap();
    let mut cc = std::process::Command::new("cc");
    cc.args(["-static", "-nostdlib", "-o"]).arg(&program).arg(&source);
    if !cc.status().is_ok_and(|s| s.success()) {
        eprintln!("not measured: no C compiler");
        return;
    }
    let recorder = Recorder::start(Options::new(dir.path())).unwrap();
    let mut command = common::role("static", dir.path());
    recorder.arm(&mut command);
    command.env("UNPLUG_TEST_STATIC", &program);
    assert!(common::wait(&mut command).success());
    let trace = recorder.finish(Meta::default()).unwrap();
    assert_eq!(trace.blind.len(), 1);
    assert_eq!(trace.blind[0].what, "exec of a static program");

    // Started directly, it never loads the shim at all.
    let recorder = Recorder::start(Options::new(dir.path())).unwrap();
    let mut command = std::process::Command::new(&program);
    recorder.arm(&mut command);
    assert!(common::wait(&mut command).success());
    let error = recorder.finish(Meta::default()).unwrap_err();
    assert!(matches!(error, unplug_faults::record::RecordError::NotLoaded), "{error}");
}

#[test]
fn marks_stand_among_the_calls() {
    assert!(!unplug_faults::mark::phase("not recorded"), "without a shim a mark does nothing");
    let trace = record("marks");
    let at = |wanted: fn(&Op) -> bool| trace.events.iter().position(|e| wanted(&e.op)).unwrap();
    let phase = at(|op| *op == Op::Phase("append".to_string()));
    let invoke = at(|op| *op == Op::Invoke { client: 3, id: 7, op: b"SET".to_vec() });
    let write = at(|op| matches!(op, Op::Write { .. }));
    let reply = at(|op| *op == Op::Reply { client: 3, id: 7, reply: b"OK".to_vec() });
    assert!(phase < invoke && invoke < write && write < reply);
    let site = trace.events[write].site.unwrap();
    let frames = &trace.sites[site.0 as usize].frames;
    assert!(frames[0].symbol.as_ref().is_some_and(|s| s.ends_with("write")), "{frames:?}");
    assert!(frames[0].line.as_ref().is_some_and(|l| l.contains("roles/mod.rs:")), "{frames:?}");
}
