//! Every call that a plan can name fails with every error that a plan can name, and with it nothing else changes.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::undocumented_unsafe_blocks)]

mod common;
#[path = "common/planned.rs"]
mod planned;

use common::lines;
use planned::{faults, gave, open, run, say};
use std::collections::BTreeSet;
use std::ptr::null_mut;
use unplug_faults::plan::{Call, Plan};

#[test]
fn play() {
    match std::env::var(common::ROLE).as_deref() {
        Ok("every") => every(),
        _ => return,
    }
    std::process::exit(0);
}

const NEW: i32 = libc::O_RDWR | libc::O_CREAT;

/// One call of the program: the system call, what it gives, the call that a plan names, its path there, and how many
/// changes the trace has of it.
struct Made(&'static str, &'static str, &'static str, &'static str, usize);

/// In the program's order. Each is about files of its own, so that its failure is no other call's.
const MADE: [Made; 42] = [
    Made("open", "0", "open", "opened", 1),
    Made("creat", "0", "open", "created", 1),
    Made("mknod", "0", "open", "node", 1),
    Made("write", "8", "write", "w1", 1),
    Made("pwrite", "8", "write", "w2", 1),
    Made("writev", "8", "write", "w3", 1),
    Made("pwritev", "8", "write", "w4", 1),
    Made("pwritev2", "8", "write", "w5", 1),
    Made("fsync", "0", "fsync", "w1", 1),
    Made("fsync of a directory", "0", "fsync", "dir", 1),
    Made("fdatasync", "0", "fdatasync", "w2", 1),
    Made("sync_file_range", "0", "sync_file_range", "w3", 1),
    Made("sync", "0", "sync", "*", 1),
    Made("msync", "0", "msync", "*", 1),
    Made("truncate", "0", "truncate", "t1", 1),
    Made("ftruncate", "0", "truncate", "t2", 1),
    Made("fallocate", "0", "fallocate", "a1", 1),
    Made("punch", "0", "fallocate", "a2", 1),
    Made("rename", "0", "rename", "r1", 1),
    Made("renameat", "0", "rename", "r2", 1),
    Made("renameat2", "0", "rename", "r3", 1),
    Made("link", "0", "link", "l1", 1),
    Made("linkat", "0", "link", "l2", 1),
    Made("symlink", "0", "symlink", "s1", 1),
    Made("symlinkat", "0", "symlink", "s2", 1),
    Made("unlink", "0", "unlink", "u1", 1),
    Made("unlinkat", "0", "unlink", "u2", 1),
    Made("rmdir", "0", "unlink", "u3", 1),
    Made("mkdir", "0", "mkdir", "m1", 1),
    Made("mkdirat", "0", "mkdir", "m2", 1),
    Made("copy_file_range", "7", "copy", "c1", 1),
    Made("sendfile", "7", "copy", "c2", 1),
    Made("fork", "0", "fork", "*", 0),
    Made("open to read", "0", "open-read", "read-only", 0),
    Made("read", "3", "read", "there", 0),
    Made("pread", "3", "read", "there", 0),
    Made("readv", "3", "read", "there", 0),
    Made("send", "8", "send", "*", 0),
    Made("recv", "8", "recv", "*", 0),
    Made("send by sendmsg", "8", "send", "*", 0),
    Made("recv by recvmsg", "8", "recv", "*", 0),
    Made("syncfs", "0", "sync", "*", 1),
];

/// Every error of a plan.
const ERRORS: [&str; 7] = ["EIO", "ENOSPC", "EDQUOT", "EINTR", "EAGAIN", "EMFILE", "ENOMEM"];

/// How many messages are sent before the calls begin, for those that receive.
const SENT_BEFORE: usize = 2;

fn every() {
    let mut results = names();
    let (w, data) = (["w1", "w2", "w3", "w4", "w5"].map(|name| open(name, NEW)), b"abcdefgh");
    results.extend(writes(w, data));
    results.extend(syncs(w));
    results.extend(shapes());
    results.extend(moved());
    results.extend(copies());
    results.extend(reads());
    results.extend(messages(data));
    results.push(unsafe { libc::syncfs(w[0]) }.into());
    let said: Vec<(&str, String)> = MADE.iter().zip(results).map(|(made, ret)| (made.0, ret.0)).collect();
    say(&said);
}

/// What a call gave, taken down at once: the next one sets errno again.
struct Gave(String);

impl From<i32> for Gave {
    fn from(ret: i32) -> Gave {
        Gave(gave(ret.into()))
    }
}

impl From<isize> for Gave {
    fn from(ret: isize) -> Gave {
        Gave(gave(ret as i64))
    }
}

fn names() -> Vec<Gave> {
    let opened = open("opened", NEW).min(0).into();
    let created = unsafe { libc::creat(c"created".as_ptr(), 0o644) }.min(0).into();
    vec![opened, created, unsafe { libc::mknod(c"node".as_ptr(), libc::S_IFREG | 0o644, 0) }.into()]
}

fn writes([w1, w2, w3, w4, w5]: [i32; 5], data: &[u8; 8]) -> Vec<Gave> {
    let part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: 8 };
    unsafe {
        vec![
            libc::write(w1, data.as_ptr().cast(), 8).into(),
            libc::pwrite(w2, data.as_ptr().cast(), 8, 0).into(),
            libc::writev(w3, &raw const part, 1).into(),
            libc::pwritev(w4, &raw const part, 1, 0).into(),
            libc::pwritev2(w5, &raw const part, 1, 0, 0).into(),
        ]
    }
}

fn syncs([w1, w2, w3, ..]: [i32; 5]) -> Vec<Gave> {
    unsafe {
        libc::mkdir(c"dir".as_ptr(), 0o755);
        let dir = open("dir", libc::O_RDONLY | libc::O_DIRECTORY);
        let there = open("there", libc::O_RDONLY);
        let map = libc::mmap(null_mut(), 7, libc::PROT_READ, libc::MAP_SHARED, there, 0);
        vec![
            libc::fsync(w1).into(),
            libc::fsync(dir).into(),
            libc::fdatasync(w2).into(),
            libc::sync_file_range(w3, 0, 0, libc::SYNC_FILE_RANGE_WRITE).into(),
            // The library's function gives nothing.
            (libc::syscall(libc::SYS_sync) as isize).into(),
            libc::msync(map, 7, libc::MS_SYNC).into(),
        ]
    }
}

fn shapes() -> Vec<Gave> {
    let [_, t2, a1, a2] = ["t1", "t2", "a1", "a2"].map(|name| open(name, NEW));
    let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    unsafe {
        vec![
            libc::truncate(c"t1".as_ptr(), 5).into(),
            libc::ftruncate(t2, 5).into(),
            libc::fallocate(a1, 0, 0, 5).into(),
            libc::fallocate(a2, hole, 0, 5).into(),
        ]
    }
}

/// The names of names: what is made before, and what is done.
fn moved() -> Vec<Gave> {
    for name in ["from1", "from2", "from3", "u1", "u2"] {
        open(name, NEW);
    }
    let at = libc::AT_FDCWD;
    let there = c"there".as_ptr();
    unsafe {
        libc::mkdir(c"u3".as_ptr(), 0o755);
        vec![
            libc::rename(c"from1".as_ptr(), c"r1".as_ptr()).into(),
            libc::renameat(at, c"from2".as_ptr(), at, c"r2".as_ptr()).into(),
            libc::renameat2(at, c"from3".as_ptr(), at, c"r3".as_ptr(), 0).into(),
            libc::link(there, c"l1".as_ptr()).into(),
            libc::linkat(at, there, at, c"l2".as_ptr(), 0).into(),
            libc::symlink(there, c"s1".as_ptr()).into(),
            libc::symlinkat(there, at, c"s2".as_ptr()).into(),
            libc::unlink(c"u1".as_ptr()).into(),
            libc::unlinkat(at, c"u2".as_ptr(), 0).into(),
            libc::rmdir(c"u3".as_ptr()).into(),
            libc::mkdir(c"m1".as_ptr(), 0o755).into(),
            libc::mkdirat(at, c"m2".as_ptr(), 0o755).into(),
        ]
    }
}

fn copies() -> Vec<Gave> {
    let [c1, c2] = ["c1", "c2"].map(|name| open(name, NEW));
    let [from1, from2] = [(); 2].map(|()| open("there", libc::O_RDONLY));
    unsafe {
        let copied = libc::copy_file_range(from1, null_mut(), c1, null_mut(), 7, 0).into();
        let sent = libc::sendfile(c2, from2, null_mut(), 7).into();
        let child = libc::fork();
        let forked = child.min(0).into();
        if child == 0 {
            libc::_exit(0);
        }
        if child > 0 {
            libc::waitpid(child, null_mut(), 0);
        }
        vec![copied, sent, forked]
    }
}

fn reads() -> Vec<Gave> {
    let mut bytes = [0u8; 3];
    let at = bytes.as_mut_ptr().cast::<libc::c_void>();
    let part = libc::iovec { iov_base: at, iov_len: 3 };
    let opened = open("read-only", libc::O_RDONLY).min(0).into();
    let fd = open("there", libc::O_RDONLY);
    unsafe {
        vec![
            opened,
            libc::read(fd, at, 3).into(),
            libc::pread(fd, at, 3, 0).into(),
            libc::readv(fd, &raw const part, 1).into(),
        ]
    }
}

/// Two pairs of sockets: one to receive from what is there already, the other to send what nobody asks for.
fn messages(data: &[u8; 8]) -> Vec<Gave> {
    let pair = || {
        let mut pair = [0; 2];
        unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, pair.as_mut_ptr()) };
        pair
    };
    let (filled, other) = (pair(), pair());
    let mut came = [0u8; 8];
    let at = came.as_mut_ptr().cast::<libc::c_void>();
    let message = |base: *mut libc::c_void, part: &mut libc::iovec| {
        *part = libc::iovec { iov_base: base, iov_len: 8 };
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (std::ptr::from_mut(part), 1);
        message
    };
    let mut parts = [libc::iovec { iov_base: null_mut(), iov_len: 0 }; 2];
    let [first, second] = &mut parts;
    let from = message(data.as_ptr().cast_mut().cast(), first);
    let mut to = message(at, second);
    unsafe {
        for _ in 0..SENT_BEFORE {
            libc::send(filled[0], data.as_ptr().cast(), 8, 0);
        }
        vec![
            libc::send(other[0], data.as_ptr().cast(), 8, 0).into(),
            libc::recv(filled[1], at, 8, 0).into(),
            libc::sendmsg(other[0], &raw const from, 0).into(),
            libc::recvmsg(filled[1], &raw mut to, 0).into(),
        ]
    }
}

/// The rule that befalls this call of the program and no other.
fn rule(at: usize, outcome: &str) -> String {
    let Made(_, _, call, glob, _) = MADE[at];
    let before = MADE[..at].iter().filter(|made| (made.2, made.3) == (call, glob)).count();
    let nth = before + 1 + if call == "send" { SENT_BEFORE } else { 0 };
    format!("{call} {glob} {outcome} nth={nth}")
}

/// The changes and syncs of a trace; those that failed are none.
fn changes(trace: &unplug_faults::trace::Trace) -> Vec<String> {
    lines(trace).into_iter().filter(|line| !line.contains(" errno ")).collect()
}

/// One call that fails: what the program is told, what the trace has of it, and that nothing else is other than it was.
fn fails(at: usize, error: &str, gated: bool, clean: &[String]) -> Result<(), String> {
    let Made(name, _, call, glob, made) = MADE[at];
    let rule = rule(at, error);
    let (trace, said, status) = run("every", &rule, gated);
    let expected = good(&[(at, error)]);
    if said != expected {
        return Err(format!("{name}: {rule}: {said:?}"));
    }
    let plan: Plan = rule.parse().map_err(|e| format!("{rule}: {e}"))?;
    let told = faults(&trace);
    // Of two names the first one is told.
    let is_told = matches!(&told[..], [one] if one.starts_with(&format!("{call} ")) && one.contains(error));
    if !status.success() || !trace.blind.is_empty() || plan.fired(&trace).0 != [1] || !is_told {
        return Err(format!("{name}: {rule}: {status}, {:?}, {told:?}", trace.blind));
    }
    let mut left = changes(&trace);
    let mut missing = Vec::new();
    for line in clean {
        match left.iter().position(|other| other == line) {
            Some(there) => drop(left.remove(there)),
            None => missing.push(line),
        }
    }
    let of_it = |line: &&String| glob == "*" || line.contains(glob);
    if !left.is_empty() || missing.len() != made || !missing.iter().all(of_it) {
        return Err(format!("{name}: {rule}: more {left:?}, missing {missing:?}"));
    }
    Ok(())
}

fn good(changes: &[(usize, &str)]) -> Vec<String> {
    let result = |at: usize| changes.iter().find(|(other, _)| *other == at).map(|(_, error)| *error);
    let line = |(at, made): (usize, &Made)| format!("{} {}", made.0, result(at).unwrap_or(made.1));
    MADE.iter().enumerate().map(line).collect()
}

#[test]
fn every_call_can_fail_with_every_error() {
    let named: BTreeSet<&str> = MADE.iter().map(|made| made.2).collect();
    assert_eq!(named, Call::all().map(Call::name).collect(), "a call that no program makes");
    for gated in [false, true] {
        let (trace, said, status) = run("every", "write no-such-file EIO", gated);
        assert_eq!((said, status.success()), (good(&[]), true), "gated: {gated}");
        assert_eq!(trace.blind, []);
        let clean = changes(&trace);
        // A gated run takes a second, and the gate knows nothing of errors: some calls, with one of them each.
        let (step, errors) = if gated { (6, &ERRORS[..1]) } else { (1, &ERRORS[..]) };
        let all = (0..MADE.len()).step_by(step).flat_map(|at| errors.iter().map(move |error| (at, *error)));
        let wrong: Vec<String> =
            all.filter_map(|(at, error)| fails(at, error, gated, &clean).err()).collect();
        assert_eq!(wrong, [] as [String; 0], "gated: {gated}");
    }
}
