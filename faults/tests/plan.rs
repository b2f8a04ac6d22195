//! The shim does to calls what a plan says, and nothing else.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::undocumented_unsafe_blocks)]

mod common;
#[path = "common/planned.rs"]
mod planned;

use common::lines;
use planned::{faults, gave, open, run, say};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use unplug_faults::event::Op;
use unplug_faults::plan::{Outcome, Plan, Role};

#[test]
fn play() {
    match std::env::var(common::ROLE).as_deref() {
        Ok("calls") => calls(),
        Ok("vectors") => vectors(),
        Ok("parent") => parent(),
        Ok("reads") => reads(),
        Ok("fills") => fills(),
        Ok("sends") => sends(),
        Ok("receives") => receives(),
        _ => return,
    }
    std::process::exit(0);
}

const NEW: i32 = libc::O_RDWR | libc::O_CREAT;

fn calls() {
    let mut results = Vec::new();
    let fd = open("log", NEW | libc::O_APPEND);
    results.push(("open", gave(fd.min(0).into())));
    for _ in 0..3 {
        let ret = unsafe { libc::write(fd, b"abcdefgh".as_ptr().cast(), 8) };
        results.push(("write", gave(ret as i64)));
        results.push(("fdatasync", gave(unsafe { libc::fdatasync(fd) }.into())));
    }
    results.push(("ftruncate", gave(unsafe { libc::ftruncate(fd, 4) }.into())));
    results.push(("rename", gave(unsafe { libc::rename(c"log".as_ptr(), c"log2".as_ptr()) }.into())));
    results.push(("mkdir", gave(unsafe { libc::mkdir(c"d".as_ptr(), 0o755) }.into())));
    results.push(("unlink", gave(unsafe { libc::unlink(c"log2".as_ptr()) }.into())));
    say(&results);
}

fn vectors() {
    let fd = open("v", NEW);
    let part = |bytes: &'static [u8]| libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let parts = [part(b"abc"), part(b"defg"), part(b"h")];
    let ret = unsafe { libc::writev(fd, parts.as_ptr(), 3) };
    say(&[("writev", gave(ret as i64))]);
}

fn parent() {
    let first = unsafe { libc::fork() };
    let error = gave(first.min(0).into());
    if first == 0 {
        std::process::exit(0);
    }
    let second = unsafe { libc::fork() };
    if second == 0 {
        let fd = open("child", NEW);
        unsafe { libc::write(fd, b"x".as_ptr().cast(), 1) };
        std::process::exit(0);
    }
    let mut status = 0;
    unsafe { libc::waitpid(second, &raw mut status, 0) };
    let fd = open("main", NEW);
    let wrote = unsafe { libc::write(fd, b"x".as_ptr().cast(), 1) };
    say(&[("fork", error), ("child", status.to_string()), ("write", gave(wrote as i64))]);
}

fn reads() {
    let fd = open("there", libc::O_RDONLY);
    let mut buffer = [0u8; 8];
    let mut results = vec![("open", gave(fd.min(0).into()))];
    for _ in 0..3 {
        let ret = unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), 8, 0) };
        results.push(("pread", gave(ret as i64)));
    }
    say(&results);
}

fn fills() {
    let fd = open("f", NEW);
    let mut results = Vec::new();
    for offset in [0, 0, 8, 16, 16, 16, 24] {
        let ret = unsafe { libc::pwrite(fd, b"12345678".as_ptr().cast(), 8, offset) };
        results.push(("pwrite", gave(ret as i64)));
    }
    say(&results);
}

fn sends() {
    let mut pair = [0; 2];
    let made = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()) };
    let bytes = b"abcdefgh".as_ptr().cast::<libc::c_void>();
    let part = |at: usize| libc::iovec { iov_base: unsafe { bytes.add(at) }.cast_mut(), iov_len: 4 };
    let mut parts = [part(0), part(4)];
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (parts.as_mut_ptr(), 2);
    let file = open("f", NEW);
    let mut results = vec![("socketpair", gave(made.into()))];
    results.push(("write", gave(unsafe { libc::write(pair[0], bytes, 8) } as i64)));
    results.push(("writev", gave(unsafe { libc::writev(pair[0], parts.as_ptr(), 2) } as i64)));
    results.push(("send", gave(unsafe { libc::send(pair[0], bytes, 8, 0) } as i64)));
    results.push(("sendmsg", gave(unsafe { libc::sendmsg(pair[0], &raw const message, 0) } as i64)));
    results.push(("write", gave(unsafe { libc::write(pair[0], bytes, 8) } as i64)));
    results.push(("file", gave(unsafe { libc::write(file, bytes, 8) } as i64)));
    let mut came = [0u8; 64];
    let ret = unsafe { libc::recv(pair[1], came.as_mut_ptr().cast(), 64, 0) };
    results.push(("came", String::from_utf8_lossy(&came[..ret.max(0) as usize]).into_owned()));
    say(&results);
}

fn receives() {
    let mut pair = [0; 2];
    let made = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()) };
    let mut results = vec![("socketpair", gave(made.into()))];
    let put = || unsafe { libc::write(pair[0], b"abcdefgh".as_ptr().cast(), 8) };
    let mut came = [0u8; 64];
    let at = came.as_mut_ptr().cast::<libc::c_void>();
    let nothing = unsafe { libc::recv(pair[1], at, 64, libc::MSG_DONTWAIT) };
    results.push(("nothing", gave(nothing as i64)));
    put();
    results.push(("read", gave(unsafe { libc::read(pair[1], at, 64) } as i64)));
    results.push(("read", gave(unsafe { libc::read(pair[1], at, 64) } as i64)));
    put();
    results.push(("recv", gave(unsafe { libc::recv(pair[1], at, 64, 0) } as i64)));
    let part = |from: usize| libc::iovec { iov_base: unsafe { at.add(from) }, iov_len: 3 };
    let mut parts = [part(4), part(7)];
    results.push(("readv", gave(unsafe { libc::readv(pair[1], parts.as_ptr(), 2) } as i64)));
    put();
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (parts.as_mut_ptr(), 2);
    results.push(("recvmsg", gave(unsafe { libc::recvmsg(pair[1], &raw mut message, 0) } as i64)));
    let whole = message.msg_iov == parts.as_mut_ptr() && message.msg_iovlen == 2;
    results.push(("message", if whole { "whole".into() } else { "changed".into() }));
    let file = open("there", libc::O_RDONLY);
    results.push(("file", gave(unsafe { libc::read(file, came[32..].as_mut_ptr().cast(), 3) } as i64)));
    results.push(("came", String::from_utf8_lossy(&came[..7]).into_owned()));
    say(&results);
}

fn said(name: &str, plan: &str) -> Vec<String> {
    let (trace, said, status) = run(name, plan, false);
    assert!(status.success(), "{plan}: {status}");
    assert_eq!(trace.blind, [], "{plan}");
    said
}

const GOOD: [&str; 11] = [
    "open 0",
    "write 8",
    "fdatasync 0",
    "write 8",
    "fdatasync 0",
    "write 8",
    "fdatasync 0",
    "ftruncate 0",
    "rename 0",
    "mkdir 0",
    "unlink 0",
];

fn but(changes: &[(usize, &str)]) -> Vec<String> {
    let mut out: Vec<String> = GOOD.iter().map(|s| (*s).to_owned()).collect();
    changes.iter().for_each(|(at, text)| out[*at] = (*text).to_owned());
    out
}

/// By whichever call it is sent; and files and sockets are told apart.
#[test]
fn what_is_sent_fails_or_is_cut_short() {
    for gated in [false, true] {
        let plan = "send * EPIPE\nsend * short nth=2..4\nwrite * ENOSPC";
        let (trace, said, status) = run("sends", plan, gated);
        assert!(status.success());
        let expected = ["socketpair 0", "write EPIPE", "writev 4", "send 4", "sendmsg 4", "write 8"];
        assert_eq!(said[..6], expected, "gated: {gated}");
        assert_eq!(said[6..], ["file ENOSPC", "came abcdabcdabcdabcdefgh"], "gated: {gated}");
        assert_eq!(plan.parse::<Plan>().expect("a plan").fired(&trace).0, [1, 3, 1]);
    }
}

/// By whichever call it is received, if there is something: half of what has come, not of what was asked for. Of files it
/// is a read.
#[test]
fn what_is_received_fails_or_is_cut_short() {
    for gated in [false, true] {
        let plan = "recv * ECONNRESET\nrecv * short nth=2..5\nread * EIO";
        let (trace, said, status) = run("receives", plan, gated);
        assert!(status.success());
        // Of eight bytes four; of those that were left and eight more six, then of six three; and of the six that there is room for three.
        let calls =
            ["socketpair 0", "nothing EAGAIN", "read ECONNRESET", "read 4", "recv 6", "readv 3", "recvmsg 3"];
        assert_eq!(said[..7], calls, "gated: {gated}");
        assert_eq!(said[7..], ["message whole", "file EIO", "came efghfgh"], "gated: {gated}");
        assert_eq!(plan.parse::<Plan>().expect("a plan").fired(&trace).0, [1, 4, 1]);
        assert_eq!(trace.blind, [], "gated: {gated}");
    }
}

#[test]
fn the_named_occurrence_fails_and_no_other() {
    for gated in [false, true] {
        let (trace, said, _) = run("calls", "fdatasync log EIO nth=2", gated);
        assert_eq!(said, but(&[(4, "fdatasync EIO")]), "gated: {gated}");
        assert_eq!(trace.blind, []);
        assert_eq!(faults(&trace), ["fdatasync log EIO Main"]);
        let all = lines(&trace);
        assert_eq!(all.iter().filter(|l| *l == "sync log Fdatasync errno 5").count(), 1);
        assert_eq!(all.iter().filter(|l| *l == "sync log Fdatasync").count(), 2);
    }
}

/// What each call gives alone is in `plan_calls.rs`.
#[test]
fn a_call_that_fails_is_not_made() {
    assert_eq!(said("calls", "write *og ENOSPC nth=1..2"), but(&[(1, "write ENOSPC"), (3, "write ENOSPC")]));
    // The new name is looked at, too. What is not renamed cannot be removed by its new name.
    let rename = but(&[(8, "rename EIO"), (10, "unlink ENOENT")]);
    assert_eq!(said("calls", "rename log2 EIO"), rename);
    let open: Vec<String> = said("calls", "open log EMFILE").into_iter().take(2).collect();
    assert_eq!(open, ["open EMFILE", "write EBADF"]);
}

#[test]
fn a_rule_that_meets_no_call_does_nothing_and_is_known_for_it() {
    let plan: Plan = "fdatasync other EIO\nwrite * EIO nth=9\nwrite * short=3".parse().expect("a plan");
    let (trace, said, _) = run("calls", &plan.to_string().replace("; ", "\n"), false);
    assert_eq!(said, but(&[(1, "write 3")]));
    let fired = plan.fired(&trace);
    assert_eq!((fired.rules(), fired.never().collect::<Vec<_>>()), (1, vec![0, 1]));
}

#[test]
fn short_writes_move_what_they_say() {
    assert_eq!(said("calls", "write * short nth=2"), but(&[(3, "write 4")]));
    let (trace, said, _) = run("vectors", "write v short=5", false);
    assert_eq!(said, ["writev 5"]);
    assert!(lines(&trace).contains(&"write v 0 \"abcde\" None".to_owned()), "{:?}", lines(&trace));
    assert_eq!(trace.blind, []);
}

#[test]
fn a_full_disk_refuses_growth_only_and_later_has_room() {
    let (trace, said, _) = run("fills", "write * full=12 until=3", false);
    // Eight bytes; the same again, which is no growth; four of eight; then twice none; then there is room.
    let expected = ["8", "8", "4", "ENOSPC", "ENOSPC", "8", "8"].map(|r| format!("pwrite {r}"));
    assert_eq!(said, expected);
    assert_eq!(trace.blind, []);
}

#[test]
fn fork_fails_and_children_have_a_role_of_their_own() {
    let (trace, said, _) = run("parent", "fork * EAGAIN\nwrite * EIO nth=all in=child", false);
    assert_eq!(said, ["fork EAGAIN", "child 0", "write 1"]);
    assert_eq!(faults(&trace), ["fork  EAGAIN Main", "write child EIO Child"]);
    // Killed before its first write: the parent is told, and goes on.
    for gated in [false, true] {
        let (trace, said, _) = run("parent", "write child kill in=child", gated);
        assert_eq!(said, ["fork 0", "child 9", "write 1"], "gated: {gated}");
        assert!(!lines(&trace).iter().any(|l| l.starts_with("write child")));
        assert_eq!(trace.blind, []);
    }
}

#[test]
fn a_killed_process_has_done_what_it_had_done() {
    for (plan, writes) in [("write log kill nth=2", 1), ("write log kill-after nth=2", 2)] {
        for gated in [false, true] {
            let (trace, _, status) = run("calls", plan, gated);
            assert_eq!(status.signal(), Some(libc::SIGKILL), "{plan}, gated: {gated}");
            let written = lines(&trace).iter().filter(|l| l.starts_with("write log")).count();
            assert_eq!(written, writes, "{plan}, gated: {gated}");
            assert_eq!(trace.blind, [], "{plan}, gated: {gated}");
        }
    }
}

#[test]
fn reads_are_seen_only_where_a_rule_names_them() {
    let results = said("reads", "read there EIO nth=2\nread there short=3 nth=3");
    assert_eq!(results, ["open 0", "pread 7", "pread EIO", "pread 3"]);
    assert_eq!(said("reads", "open-read there EMFILE")[0], "open EMFILE");
}

#[test]
fn a_delay_is_virtual_time() {
    let (trace, said, _) = run("calls", "fdatasync * delay=1.5s nth=2", true);
    assert_eq!(said, but(&[]));
    let at: Vec<u64> =
        trace.events.iter().filter(|e| matches!(e.op, Op::Sync { .. })).map(|e| e.at).collect();
    assert!(at[0] < 1_000_000_000 && at[1] >= 1_500_000_000, "{at:?}");
    // Ungated and with real time it lasts.
    let began = std::time::Instant::now();
    assert_eq!(self::said("calls", "fdatasync * delay=200ms"), but(&[]));
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn two_rules_for_one_call_are_told_of() {
    let (trace, _, _) = run("calls", "write l* EIO nth=2\nwrite *g ENOSPC nth=2", false);
    let what: Vec<&str> = trace.blind.iter().map(|b| b.what.as_str()).collect();
    assert_eq!(what, ["contradictory fault rules"]);
    assert!(trace.blind[0].detail.contains("`write l* EIO nth=2`"), "{:?}", trace.blind);
    let (trace, said, _) = run("calls", "write l* EIO nth=2\nwrite *g EIO nth=2", false);
    assert_eq!((trace.blind, said), (vec![], but(&[(3, "write EIO")])));
}

#[test]
fn a_census_tells_of_every_call_and_changes_none() {
    let (trace, said, _) = run("calls", "census", true);
    assert_eq!(said, but(&[]));
    let told = |op: &Op| matches!(op, Op::Fault { outcome: Outcome::Note, role: Role::Main, .. });
    let of = |call: &str| {
        trace
            .events
            .iter()
            .filter(|e| told(&e.op) && matches!(&e.op, Op::Fault { call: c, .. } if c.name() == call))
            .count()
    };
    assert_eq!(
        ["open", "write", "fdatasync", "truncate", "rename", "mkdir", "unlink"].map(of),
        [1, 3, 3, 1, 1, 1, 1]
    );
}
