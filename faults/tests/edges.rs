//! The odd corners of recording: what programs do to descriptors, names and processes besides plain writes.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "edges/roles.rs"]
mod roles;

use common::{directory, lines, record, record_in};
use unplug_faults::event::{AllocateMode, Op, SyncKind};
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::{Meta, Trace};

/// Plays a role when this binary was started for it.
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

fn blind(trace: &Trace) -> Vec<&str> {
    trace.blind.iter().map(|b| b.what.as_str()).collect()
}

/// A directory on a real file system: memory has neither clones nor collapses.
fn on_disk() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("unplug-edges-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn two_processes_append() {
    let trace = record("appenders");
    assert_eq!(trace.blind, []);
    let mut at = 0;
    let mut tasks = std::collections::BTreeSet::new();
    let mut writes: Vec<_> = trace
        .events
        .iter()
        .filter_map(|e| match &e.op {
            Op::Write { offset, data, .. } => Some((*offset, data.len() as u64, e.task.process)),
            _ => None,
        })
        .collect();
    writes.sort_unstable();
    for (offset, len, process) in writes {
        assert_eq!(offset, at, "appends tile the file");
        at += len;
        tasks.insert(process);
    }
    assert_eq!((at, tasks.len()), (2 * 200 * 7, 2));
}

#[test]
fn relative_paths_follow_the_working_directory() {
    assert_lines(
        "chdir",
        &["create ./a Dir", "create a/f File", "write f 0 \"x\" None", "rename a/f ./g -", "create a/h File"],
    );
}

#[test]
fn linked_directories_are_seen_through() {
    assert_lines(
        "symdir",
        &[
            "create ./real Dir",
            "create ./link Symlink([114, 101, 97, 108])",
            "create real/f File",
            "write f 0 \"x\" None",
            "rename real/f real/g -",
            "unlink real/g f",
        ],
    );
}

#[test]
fn a_renamed_directory_takes_its_open_files_along() {
    assert_lines(
        "movedir",
        &[
            "create ./d Dir",
            "create d/f File",
            "write f 0 \"a\" None",
            "rename ./d ./e -",
            "write f 1 \"b\" None",
            "open f",
            "write f 2 \"c\" None",
            "sync d Fsync",
        ],
    );
}

#[test]
fn an_unlinked_file_is_still_written() {
    assert_lines(
        "unlinked",
        &[
            "create ./f File",
            "write f 0 \"a\" None",
            "unlink ./f f",
            "write f 1 \"b\" None",
            "truncate f 1",
            "sync f Fsync",
            "create ./f File",
            "write f 0 \"new\" None",
        ],
    );
}

#[test]
fn duplicated_descriptors_are_one_file() {
    assert_lines(
        "dups",
        &[
            "create ./f File",
            "write f 0 \"a\" None",
            "write f 1 \"b\" None",
            "write f 2 \"c\" None",
            "write f 3 \"d\" None",
            "sync f Fdatasync",
        ],
    );
}

#[test]
fn descriptors_go_over_fork_and_exec() {
    assert_lines("inherit", &["create ./f File", "write f 0 \"a\" None", "write f 1 \"sh\\n\" None"]);
}

/// posix_spawn (vfork) without the environment, more often than there are buffers.
#[test]
fn spawned_programs_are_followed() {
    let trace = record("spawned");
    assert_eq!(trace.blind, []);
    assert_eq!(lines(&trace).iter().filter(|l| l.starts_with("write log")).count(), 40);
}

#[test]
fn many_vectors_and_large_writes() {
    let trace = record("large");
    assert_eq!(trace.blind, []);
    let sizes: Vec<(u64, usize)> = trace
        .events
        .iter()
        .filter_map(|e| match &e.op {
            Op::Write { offset, data, .. } => Some((*offset, data.len())),
            _ => None,
        })
        .collect();
    assert_eq!(sizes, [(0, 1000), (1000, 3 << 20)]);
}

#[test]
fn bad_pointers_give_efault() {
    assert_lines("pointers", &["create ./f File", "open f", "write f 0 \"alive\" None"]);
}

#[test]
fn whiteout_is_named() {
    assert!(blind(&record("whiteout")).contains(&"renameat2 with unknown flags"));
}

#[test]
fn a_filter_of_the_targets_own_is_refused_and_named() {
    let trace = record("seccomp");
    assert!(!trace.blind.is_empty());
    assert!(
        blind(&trace).iter().all(|what| *what == "seccomp filter of the target's own"),
        "{:?}",
        trace.blind
    );
}

#[test]
fn mappings() {
    let trace = record("protect");
    assert!(blind(&trace).contains(&"mprotect(PROT_WRITE) of a shared mapping"), "{:?}", trace.blind);
    let trace = record("msync");
    assert_eq!(trace.blind, []);
    assert!(trace.events.iter().any(|e| matches!(e.op, Op::Sync { kind: SyncKind::Msync, .. })));
}

#[test]
fn handles() {
    let trace = record("handle");
    if lines(&trace).len() == 1 {
        eprintln!("not measured: open_by_handle_at is not allowed here");
        return;
    }
    assert_eq!(trace.blind, []);
    assert_eq!(lines(&trace), ["create ./f File", "open f", "write f 0 \"by handle\" None"]);
}

/// The modes of fallocate that move or zero blocks, where the file system has them: what the trace explains is
/// compared with the file's content by the recorder.
#[test]
fn fallocate_modes() {
    let trace = record_in("modes", &on_disk(), &[]);
    assert_eq!(trace.blind, []);
    let modes: Vec<AllocateMode> = trace
        .events
        .iter()
        .filter_map(|e| match &e.op {
            Op::Allocate { mode, .. } if e.errno == 0 => Some(*mode),
            _ => None,
        })
        .collect();
    let all = [
        AllocateMode::Zero { keep_size: false },
        AllocateMode::Zero { keep_size: true },
        AllocateMode::Collapse,
        AllocateMode::Insert,
    ];
    if modes.is_empty() {
        eprintln!("not measured: this file system has none of these modes");
    }
    assert!(modes.iter().all(|m| all.contains(m)));
}

#[test]
fn clones() {
    let trace = record_in("clone", &on_disk(), &[]);
    assert_eq!(trace.blind, []);
    let cloned = lines(&trace).iter().any(|l| l == "write to 0 \"whole\" None");
    if !cloned {
        eprintln!("not measured: this file system cannot clone");
    }
    assert_eq!(lines(&trace)[..3], ["create ./from File", "write from 0 \"whole\" None", "create ./to File"]);
}

/// A TCP client is known by its port, and its reply counts from the send's begin.
#[test]
fn tcp_clients() {
    use std::io::{Read, Write};
    let dir = directory();
    let mut options = Options::new(dir.path());
    options.ignore = vec!["port*".to_string()];
    let recorder = Recorder::start(options).unwrap();
    let mut command = common::role("tcp", dir.path());
    recorder.arm(&mut command);
    let mut child = command.spawn().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let port: u16 = loop {
        let text = std::fs::read_to_string(dir.path().join("port")).unwrap_or_default();
        if let Ok(port) = text.trim_end().parse() {
            break port;
        }
        assert!(std::time::Instant::now() < end && child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    recorder.client_port(5, client.local_addr().unwrap().port());
    recorder.invoke(5, 0, b"SET");
    client.write_all(b"set").unwrap();
    let mut reply = [0; 2];
    client.read_exact(&mut reply).unwrap();
    recorder.reply(5, 0, &reply, 2);
    drop(client);
    assert!(child.wait().unwrap().success());
    let trace = recorder.finish(Meta::default()).unwrap();
    assert_eq!(trace.blind, []);
    let at = |wanted: &dyn Fn(&Op) -> bool| trace.events.iter().position(|e| wanted(&e.op)).unwrap();
    let sync = at(&|op| matches!(op, Op::Sync { .. }));
    let send = at(&|op| matches!(op, Op::Send { client: 5, stream_offset: 0, len: 2 }));
    let reply = at(&|op| matches!(op, Op::Reply { client: 5, id: 0, .. }));
    assert!(sync < send && send < reply);
    assert_eq!(trace.events[reply].begin, trace.events[send].begin);
    // Between the sync's end and the reply there is a moment at which nothing is acknowledged and all is forced.
    assert!(trace.events[sync].end < trace.events[reply].begin);
}

/// A fork happens when its parent makes it, however late the child runs: a server that says that a save has begun has
/// forked.
#[test]
fn a_fork_is_dated_by_its_parent() {
    let trace = record("latechild");
    assert_eq!(trace.blind, []);
    let begin =
        |is: &dyn Fn(&Op) -> bool| trace.events.iter().find(|e| is(&e.op)).map(|e| (e.begin, e.at)).unwrap();
    let fork = begin(&|op| matches!(op, Op::Process(unplug_faults::event::ProcessEvent::Forked { .. })));
    let write = begin(&|op| matches!(op, Op::Write { .. }));
    assert!(fork.0 < write.0 && fork.1 <= write.1, "{fork:?} {write:?}");
}
