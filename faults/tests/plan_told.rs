//! A sync that a plan lets fail, and the other open descriptions of its file: each that was open then is told once, as by
//! Linux (Documentation/filesystems/vfs.rst, *Handling errors during writeback*; the order of events is that of xfstests'
//! generic/441 and src/fsync-err.c).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::undocumented_unsafe_blocks)]

mod common;
#[path = "common/planned.rs"]
mod planned;

use common::lines;
use planned::{faults, gave, open, run, run_slow, say};
use unplug_faults::event::Op;

#[test]
fn play() {
    let said = match std::env::var(common::ROLE).as_deref() {
        Ok("two") => two(),
        Ok("dups") => dups(),
        Ok("forks") => forks(),
        Ok("processes") => processes(),
        Ok("readers") => readers(),
        Ok("writes") => writes(),
        Ok("ranges") => ranges(),
        Ok("often") => often(),
        Ok("others") => others(),
        _ => return,
    };
    say(&said);
    std::process::exit(0);
}

const NEW: i32 = libc::O_RDWR | libc::O_CREAT;
type Said = Vec<(&'static str, String)>;

fn put(fd: i32) -> String {
    gave(unsafe { libc::write(fd, b"abcd".as_ptr().cast(), 4) } as i64)
}

fn sync(fd: i32) -> String {
    gave(unsafe { libc::fsync(fd) }.into())
}

fn datasync(fd: i32) -> String {
    gave(unsafe { libc::fdatasync(fd) }.into())
}

/// Plays a role gated and not, and gives what it said, which has to be the same.
fn both(role: &str, plan: &str) -> Vec<String> {
    let [said, gated] = [false, true].map(|gated| {
        let (trace, said, status) = run(role, plan, gated);
        assert_eq!((trace.blind.as_slice(), status.code()), (&[][..], Some(0)), "gated: {gated}");
        // One rule, and one call that it was done to.
        assert_eq!(faults(&trace).len(), 1, "gated: {gated}: {:?}", faults(&trace));
        said
    });
    assert_eq!(said, gated);
    said
}

fn two() -> Said {
    let [a, b, c] = [NEW; 3].map(|flags| open("f", flags));
    put(a);
    let mut said = vec![("a", sync(a))];
    let after = open("f", NEW);
    put(b);
    said.extend([("b", sync(b)), ("b", sync(b)), ("a", sync(a)), ("c", datasync(c)), ("c", datasync(c))]);
    said.extend([("after", sync(after)), ("other", sync(open("g", NEW)))]);
    said
}

#[test]
fn every_description_that_was_open_is_told_once() {
    for error in ["EIO", "ENOSPC", "EDQUOT"] {
        let told = |name: &str| format!("{name} {error}");
        let all = [&told("a"), &told("b"), "b 0", "a 0", &told("c"), "c 0", "after 0", "other 0"];
        assert_eq!(both("two", &format!("fsync f {error}")), all);
    }
    // That one was interrupted is nobody else's concern.
    let said = both("two", "fsync f EINTR");
    assert_eq!(said, ["a EINTR", "b 0", "b 0", "a 0", "c 0", "c 0", "after 0", "other 0"]);
    // In the trace they are not syncs that lost something.
    let (trace, _, _) = run("two", "fsync f EIO", true);
    let syncs = lines(&trace).into_iter().filter(|l| l.starts_with("sync f") || l.starts_with("told"));
    let all = ["sync f Fsync errno 5", "told f Fsync errno 5", "sync f Fsync", "sync f Fsync"];
    let all = [&all[..], &["told f Fdatasync errno 5", "sync f Fdatasync", "sync f Fsync"]].concat();
    assert_eq!(syncs.collect::<Vec<_>>(), all);
}

/// A sync that is told of another's error has waited as long as any.
#[test]
fn a_sync_that_is_told_takes_its_time() {
    const SECOND: u64 = 1_000_000_000;
    let (trace, said, _) = run_slow("two", "fsync f EIO", true, SECOND);
    assert_eq!(said[..3], ["a EIO", "b EIO", "b 0"]);
    let syncs = trace.events.iter().filter(|e| matches!(e.op, Op::Sync { .. } | Op::ToldAgain { .. }));
    let at: Vec<u64> = syncs.map(|e| e.at / SECOND).collect();
    assert_eq!(at, [0, 1, 2, 3, 4, 5, 6, 7]);
}

fn dups() -> Said {
    let [a, b] = [NEW; 2].map(|flags| open("f", flags));
    let [like_a, like_b] = [a, b].map(|fd| unsafe { libc::dup(fd) });
    put(a);
    let mut said = vec![("a", sync(a)), ("like a", sync(like_a))];
    unsafe { libc::close(b) };
    // A number is no description: this one is another's now.
    let after = open("f", NEW);
    assert_eq!(after, b);
    let again = unsafe { libc::fcntl(like_b, libc::F_DUPFD_CLOEXEC, 0) };
    said.extend([("after", sync(after)), ("like b", sync(like_b)), ("like b", sync(again))]);
    said
}

#[test]
fn descriptors_of_one_description_are_told_once_together() {
    assert_eq!(both("dups", "fsync f EIO"), ["a EIO", "like a 0", "after 0", "like b EIO", "like b 0"]);
}

/// Runs something in a forked child, to its end; `meanwhile` is done here, once the child has begun by `first`.
fn beside<T>(first: impl FnOnce() -> T, then: impl FnOnce(T) -> String, meanwhile: impl FnOnce()) -> String {
    let (mut from_child, mut to_child) = ([0; 2], [0; 2]);
    unsafe {
        libc::pipe(from_child.as_mut_ptr());
        libc::pipe(to_child.as_mut_ptr());
        let child = libc::fork();
        let mut bytes = [0u8; 64];
        if child == 0 {
            let begun = first();
            libc::write(from_child[1], b"!".as_ptr().cast(), 1);
            libc::read(to_child[0], bytes.as_mut_ptr().cast(), 1);
            let said = then(begun);
            libc::write(from_child[1], said.as_ptr().cast(), said.len());
            libc::_exit(0);
        }
        libc::read(from_child[0], bytes.as_mut_ptr().cast(), 1);
        meanwhile();
        libc::write(to_child[1], b"!".as_ptr().cast(), 1);
        let read = libc::read(from_child[0], bytes.as_mut_ptr().cast(), 64);
        libc::waitpid(child, std::ptr::null_mut(), 0);
        String::from_utf8_lossy(&bytes[..read.max(0) as usize]).into_owned()
    }
}

fn in_child(what: impl FnOnce() -> String) -> String {
    beside(|| (), |()| what(), || ())
}

fn forks() -> Said {
    let [a, b, c] = [NEW; 3].map(|flags| open("f", flags));
    put(a);
    let mut said = vec![("child's a", in_child(|| sync(a))), ("a", sync(a))];
    said.extend([("child's b", in_child(|| sync(b))), ("b", sync(b))]);
    said.extend([("c", sync(c)), ("child's c", in_child(|| sync(c)))]);
    said.push(("child's own", in_child(|| sync(open("f", NEW)))));
    said
}

#[test]
fn a_forks_descriptors_are_its_parents_descriptions() {
    let all = ["child's a EIO", "a 0", "child's b EIO", "b 0", "c EIO", "child's c 0", "child's own 0"];
    assert_eq!(both("forks", "fsync f EIO"), all);
    let in_child = ["child's a EIO", "a 0", "child's b EIO", "b 0", "c EIO", "child's c 0", "child's own 0"];
    assert_eq!(both("forks", "fsync f EIO in=child"), in_child);
}

/// Two processes that have opened a file each for itself.
fn processes() -> Said {
    let a = open("f", NEW);
    put(a);
    let mut said = Vec::new();
    let opens = || [NEW, libc::O_RDONLY].map(|flags| open("f", flags));
    let syncs = |[own, reader]: [i32; 2]| {
        format!("{} {}, {} {}", sync(own), sync(own), sync(reader), sync(open("f", NEW)))
    };
    let child = beside(opens, syncs, || said.push(("a", sync(a))));
    said.extend([("child", child), ("a", sync(a))]);
    said
}

/// When another process opened a reader is not known: that one is not told of what was before its first sync.
#[test]
fn another_process_is_told() {
    assert_eq!(both("processes", "fsync f EIO"), ["a EIO", "child EIO 0, 0 0", "a 0"]);
}

fn readers() -> Said {
    let a = open("f", NEW);
    put(a);
    let before = open("f", libc::O_RDONLY);
    let mut said = vec![("a", sync(a))];
    let after = open("f", libc::O_RDONLY);
    said.extend([("before", sync(before)), ("before", sync(before)), ("after", sync(after))]);
    said
}

#[test]
fn a_descriptor_for_reading_is_told_if_it_was_there() {
    assert_eq!(both("readers", "fsync f EIO"), ["a EIO", "before EIO", "before 0", "after 0"]);
    // From its first sync on it is known of all.
    let (_, said, _) = run("readers", "fsync f EIO nth=1..2", false);
    assert_eq!(said, ["a EIO", "before EIO", "before 0", "after EIO"]);
}

/// How long the file is, and where the descriptor stands in it.
fn stands(fd: i32) -> String {
    let at = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    format!("{at} of {}", std::fs::metadata("f").expect("there").len())
}

fn writes() -> Said {
    let mut said = Vec::new();
    let a = open("f", NEW | libc::O_DSYNC);
    let [b, c] = [libc::O_DSYNC, libc::O_SYNC | libc::O_APPEND].map(|flags| open("f", NEW | flags));
    let plain = open("f", NEW);
    said.extend([("a", put(a)), ("a", stands(a)), ("plain", put(plain))]);
    said.extend([("b", put(b)), ("b", stands(b)), ("b", put(b)), ("b", stands(b))]);
    said.extend([("c", put(c)), ("c", stands(c)), ("c", put(c)), ("c", stands(c))]);
    said.push(("plain", sync(plain)));
    said
}

/// A write with a sync of its own is told by that; its bytes are there, and lost nothing. One without is not told.
#[test]
fn a_synchronous_write_is_told_behind_its_bytes() {
    let at_first = ["a EIO", "a 0 of 4", "plain 4"];
    let of_b = ["b EIO", "b 0 of 4", "b 4", "b 4 of 4"];
    let of_c = ["c EIO", "c 0 of 8", "c 4", "c 12 of 12"];
    let all = [&at_first[..], &of_b, &of_c, &["plain EIO"]].concat();
    assert_eq!(both("writes", "write f EIO"), all);
    let (trace, _, _) = run("writes", "write f EIO", true);
    let shown = lines(&trace);
    let from = shown.iter().position(|l| l.starts_with("write")).expect("written");
    let written = [
        "write f 0 \"abcd\" Data errno 5",
        "write f 0 \"abcd\" None",
        "write f 0 \"abcd\" None",
        "told f Fdatasync errno 5",
        "write f 0 \"abcd\" Data",
        "write f 4 \"abcd\" None",
        "told f Fsync errno 5",
        "write f 8 \"abcd\" Full",
        "told f Fsync errno 5",
    ];
    assert_eq!(shown[from..], written);
}

fn ranges() -> Said {
    const WAIT_AND_WRITE: u32 = 7;
    const WRITE: u32 = 2;
    let range = |fd, how| gave(unsafe { libc::sync_file_range(fd, 0, 0, how) }.into());
    let [a, b, c] = [NEW; 3].map(|flags| open("f", flags));
    put(a);
    let mut said = vec![("a", range(a, WAIT_AND_WRITE)), ("a", sync(a))];
    said.extend([("b", range(b, WRITE)), ("b", range(b, WAIT_AND_WRITE)), ("b", sync(b))]);
    said.extend([("c", sync(c)), ("c", range(c, WAIT_AND_WRITE))]);
    said
}

/// sync_file_range tells, where it waits.
#[test]
fn a_range_is_told_of_where_it_waits() {
    let all = ["a EIO", "a 0", "b 0", "b EIO", "b 0", "c EIO", "c 0"];
    assert_eq!(both("ranges", "sync_file_range f EIO"), all);
}

fn often() -> Said {
    let mut said = Vec::new();
    for failures in [1, 63, 64, 65, 200] {
        let name = format!("f{failures}");
        let [a, b] = [NEW; 2].map(|flags| open(&name, flags));
        (0..failures).for_each(|_| drop(sync(a)));
        said.extend([("b", datasync(b)), ("b", datasync(b)), ("a", datasync(a))]);
    }
    said
}

/// Of many errors a description that was there is told one.
#[test]
fn however_often_it_has_failed_it_is_told_once() {
    let (trace, said, _) = run("often", "fsync * EIO nth=all", false);
    assert_eq!(said, ["b EIO", "b 0", "a 0"].repeat(5));
    assert_eq!((trace.blind.as_slice(), faults(&trace).len()), (&[][..], 1 + 63 + 64 + 65 + 200));
}

fn others() -> Said {
    let [a, b] = [".", "."].map(|name| open(name, libc::O_RDONLY));
    let mut said = vec![("directory", sync(a)), ("directory", sync(b))];
    // The number of an inode that failed and is gone may be that of a new file.
    let [f, like_f] = [NEW; 2].map(|flags| open("f", flags));
    said.extend([("f", datasync(f)), ("f", datasync(like_f))]);
    for fd in [f, like_f] {
        unsafe { libc::close(fd) };
    }
    std::fs::remove_file("f").expect("there");
    said.push(("anew", datasync(open("f", NEW))));
    said
}

/// A directory's pages are the device's: what fails there is kept there, and told to nobody who has the directory open.
#[test]
fn directories_are_not_told_and_new_files_owe_nothing() {
    let (trace, said, _) = run("others", "fsync . EIO\nfdatasync f EIO", false);
    assert_eq!(said, ["directory EIO", "directory 0", "f EIO", "f EIO", "anew 0"]);
    assert_eq!(trace.blind, []);
}
