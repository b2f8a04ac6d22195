//! Writes that carry a sync, under a plan in which that sync fails: what the program sees of them, what the trace has,
//! and what a store comes to that takes them for refused.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::undocumented_unsafe_blocks)]

mod common;
#[path = "common/planned.rs"]
mod planned;

use common::lines;
use planned::{gave, open, run, run_slow, say};
use unplug_faults::event::{Event, Op, SyncKind};
use unplug_faults::image::Image;
use unplug_faults::model;
use unplug_faults::state::{Plan, Space};
use unplug_faults::trace::Trace;

#[test]
fn play() {
    match std::env::var(common::ROLE).as_deref() {
        Ok("synchronous") => synchronous(),
        Ok("beside") => beside(),
        Ok("copies") => copies(),
        Ok("goes-on") => store(|_, _| {}),
        Ok("cuts") => store(cut),
        Ok("two") => two_descriptions(),
        _ => return,
    }
    std::process::exit(0);
}

const NEW: i32 = libc::O_RDWR | libc::O_CREAT;
const RWF_DSYNC: i32 = 2;

/// How long the file is, where its descriptor stands, and what it holds.
fn seen(fd: i32) -> String {
    let mut bytes = [0u8; 64];
    let read = unsafe { libc::pread(fd, bytes.as_mut_ptr().cast(), 64, 0) };
    let at = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    format!("{at} {}", String::from_utf8_lossy(&bytes[..read.max(0) as usize]))
}

fn synchronous() {
    let mut results = Vec::new();
    for (name, flags) in [("d", libc::O_DSYNC), ("s", libc::O_SYNC), ("a", libc::O_DSYNC | libc::O_APPEND)] {
        let fd = open(name, NEW | flags);
        for bytes in [b"abcd", b"efgh", b"ijkl"] {
            let ret = unsafe { libc::write(fd, bytes.as_ptr().cast(), 4) };
            results.push(("write", gave(ret as i64)));
        }
        results.push((name, seen(fd)));
    }
    let fd = open("v", NEW);
    for (bytes, flags) in [(b"abcd", RWF_DSYNC), (b"efgh", RWF_DSYNC), (b"ijkl", 0)] {
        let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: 4 };
        let ret = unsafe { libc::pwritev2(fd, &raw const part, 1, 4, flags) };
        results.push(("pwritev2", gave(ret as i64)));
        results.push(("v", seen(fd)));
    }
    say(&results);
}

/// The bytes of the failed write are there to be read; the descriptor stands where it stood, and an append goes behind
/// them.
#[test]
fn the_bytes_of_a_write_whose_sync_fails_are_in_the_page_cache() {
    for gated in [false, true] {
        let (trace, said, _) = run("synchronous", "write * EIO nth=2\nwrite v EIO nth=3", gated);
        let d = ["write 4", "write EIO", "write 4", "d 8 abcdijkl"];
        let all = ["write 4", "write 4", "write 4"];
        assert_eq!(said[..4], d, "gated: {gated}");
        assert_eq!(said[4..7], all, "gated: {gated}");
        // Without a sync it is refused.
        assert_eq!(said[16..], ["pwritev2 EIO", "v 0 \0\0\0\0efgh"], "gated: {gated}");
        assert_eq!(trace.blind, []);
        let at: Vec<String> = lines(&trace).into_iter().filter(|l| l.starts_with("write d")).collect();
        let written =
            ["write d 0 \"abcd\" Data", "write d 4 \"efgh\" Data errno 5", "write d 4 \"ijkl\" Data"];
        assert_eq!(at, written, "gated: {gated}");
        assert!(lines(&trace).contains(&"write v 4 \"\" None errno 5".to_owned()), "{:?}", lines(&trace));
    }
    let (trace, said, _) =
        run("synchronous", "write s EIO nth=2\nwrite a EIO nth=2\nwrite v EIO nth=2", false);
    assert_eq!(said[5..8], ["write EIO", "write 4", "s 8 abcdijkl"]);
    assert_eq!(said[9..12], ["write EIO", "write 4", "a 12 abcdefghijkl"]);
    assert_eq!(said[14..16], ["pwritev2 EIO", "v 0 \0\0\0\0efgh"]);
    assert_eq!(trace.blind, []);
    let all = lines(&trace);
    assert!(all.contains(&"write s 4 \"efgh\" Full errno 5".to_owned()), "{all:?}");
    assert!(all.contains(&"write a 4 \"efgh\" Data errno 5".to_owned()), "{all:?}");
    assert!(all.contains(&"write v 4 \"efgh\" Data errno 5".to_owned()), "{all:?}");
}

/// ENOSPC and EDQUOT come before the page cache: such a write is refused, whatever it carries.
#[test]
fn a_write_that_finds_no_room_is_refused() {
    for error in ["ENOSPC", "EDQUOT", "EINTR"] {
        let (trace, said, _) = run("synchronous", &format!("write a {error} nth=2"), false);
        assert_eq!(said[9..12], [format!("write {error}").as_str(), "write 4", "a 8 abcdijkl"]);
        let failed = |l: &String| l.starts_with("write a 4 \"\" Data errno");
        assert_eq!(
            (trace.blind.as_slice(), lines(&trace).iter().filter(|l| failed(l)).count()),
            (&[][..], 1)
        );
    }
}

/// Copies into files that are open with O_DSYNC or O_SYNC: by the descriptors' offsets, by given ones, by sendfile; one
/// into a file of which another description is told that a sync has failed.
fn copies() {
    let from = open("there", libc::O_RDONLY);
    let (d, s) = (open("d", NEW | libc::O_DSYNC), open("s", NEW | libc::O_SYNC));
    let null = std::ptr::null_mut;
    let mut results = Vec::new();
    for _ in 0..2 {
        results.push(("copy", gave(unsafe { libc::copy_file_range(from, null(), d, null(), 2, 0) } as i64)));
        results.push(("d", seen(d)));
    }
    let (mut read, mut write) = (1i64, 4i64);
    for _ in 0..2 {
        let ret = unsafe { libc::copy_file_range(from, &raw mut read, s, &raw mut write, 2, 0) };
        results.push(("copy", gave(ret as i64)));
        results.push(("s", format!("{read} {write} {}", seen(s))));
    }
    for _ in 0..2 {
        results.push(("sendfile", gave(unsafe { libc::sendfile(d, from, &raw mut read, 1) } as i64)));
        results.push(("d", format!("{read} {}", seen(d))));
    }
    let again = open("d", libc::O_RDWR);
    results.push(("fsync", gave(unsafe { libc::fsync(again) }.into())));
    results.push(("sendfile", gave(unsafe { libc::sendfile(d, from, null(), 1) } as i64)));
    results.push(("d", seen(d)));
    say(&results);
}

/// Such a copy carries a sync, which may fail: its bytes are there, and no offset has moved, nor the source's.
#[test]
fn a_copy_into_a_synchronous_file_carries_a_sync() {
    for gated in [false, true] {
        let written = |trace: &Trace| -> Vec<String> {
            lines(trace).into_iter().filter(|l| l.starts_with("write")).collect()
        };
        let (trace, said, _) = run("copies", "census", gated);
        let copied = ["copy 2", "d 2 co", "copy 2", "d 4 cont"];
        let at_given = ["copy 2", "s 3 6 0 \0\0\0\0on", "copy 2", "s 5 8 0 \0\0\0\0onte"];
        let sent = ["sendfile 1", "d 6 5 contn", "sendfile 1", "d 7 6 contnt"];
        assert_eq!(said[..12], [copied, at_given, sent].concat(), "gated: {gated}");
        assert_eq!(said[12..], ["fsync 0", "sendfile 1", "d 7 contnte"], "gated: {gated}");
        let to_d = ["write d 0 \"co\" Data", "write d 2 \"nt\" Data"];
        let to_s = ["write s 4 \"on\" Full", "write s 6 \"te\" Full"];
        let by_sendfile = ["write d 4 \"n\" Data", "write d 5 \"t\" Data", "write d 6 \"e\" Data"];
        assert_eq!(written(&trace), [&to_d[..], &to_s, &by_sendfile].concat(), "gated: {gated}");
        assert_eq!(trace.blind, []);

        let (trace, said, _) = run("copies", "copy d EIO nth=1\ncopy s EIO nth=2\nfsync d EIO", gated);
        let copied = ["copy EIO", "d 0 co", "copy 2", "d 2 co"];
        let at_given = ["copy 2", "s 3 6 0 \0\0\0\0on", "copy EIO", "s 3 6 0 \0\0\0\0onte"];
        let sent = ["sendfile 1", "d 4 3 cot", "sendfile 1", "d 5 4 cote"];
        assert_eq!(said[..12], [copied, at_given, sent].concat(), "gated: {gated}");
        assert_eq!(said[12..], ["fsync EIO", "sendfile EIO", "d 4 coten"], "gated: {gated}");
        let to_d = ["write d 0 \"co\" Data errno 5", "write d 0 \"co\" Data"];
        let to_s = ["write s 4 \"on\" Full", "write s 6 \"te\" Full errno 5"];
        let by_sendfile = ["write d 2 \"t\" Data", "write d 3 \"e\" Data", "write d 4 \"n\" None"];
        assert_eq!(written(&trace), [&to_d[..], &to_s, &by_sendfile].concat(), "gated: {gated}");
        assert!(lines(&trace).iter().any(|l| l.contains("told")), "{:?}", lines(&trace));
        assert_eq!(trace.blind, []);
    }
}

const RECORD: usize = 4096;

/// A log of records of a page each, appended through O_DSYNC: those for which there was no error are promised. `mend` is
/// what it does about one that failed, with what it knows to be the log's length.
fn store(mend: fn(i32, i64)) {
    let fd = open("log", NEW | libc::O_DSYNC | libc::O_APPEND);
    let dir = open(".", libc::O_RDONLY);
    unsafe { libc::fsync(dir) };
    let (mut length, mut results) = (0, Vec::new());
    for record in [b'A', b'B', b'C'] {
        let bytes = [record; RECORD];
        let ret = unsafe { libc::write(fd, bytes.as_ptr().cast(), RECORD) };
        if ret == RECORD as isize {
            length += RECORD as i64;
            results.push(("promised", char::from(record).to_string()));
        } else {
            mend(fd, length);
        }
    }
    say(&results);
}

/// What may be there of the failed record goes before anything is written behind it.
fn cut(fd: i32, length: i64) {
    unsafe { (libc::ftruncate(fd, length), libc::fsync(fd)) };
}

/// The store's recovery: the records up to the first that is none.
fn recovered(image: &Image) -> String {
    let log = image.nodes.get(b"log".as_slice()).map_or(&[][..], |node| node.data.as_slice());
    let whole = |page: &&[u8]| page.len() == RECORD && page.iter().all(|b| *b == page[0] && *b != 0);
    log.chunks(RECORD).take_while(whole).map(|page| char::from(page[0])).collect()
}

/// Whether some bytes are in the log, and are not, after a power loss at the end of a run.
fn comes_back_as(trace: &Trace, model: &str, bytes: &[u8]) -> Vec<bool> {
    let holds = |image: &Image| {
        let log = image.nodes.get(b"log".as_slice());
        log.is_some_and(|node| node.data.windows(bytes.len()).any(|part| part == bytes))
    };
    after_power_loss(trace, model, holds)
}

/// What a store's recovery comes to.
fn comes_back(trace: &Trace, model: &str) -> Vec<String> {
    after_power_loss(trace, model, recovered)
}

/// What is made of the images that a power loss at the end of a run leaves, under a model.
fn after_power_loss<T: Ord>(trace: &Trace, model: &str, of: impl Fn(&Image) -> T) -> Vec<T> {
    let model = model::by_name(model).expect("a model");
    let effects = model.effects(trace);
    let end = trace.events.iter().map(|e| e.end).max().expect("events");
    let space = Space::new(trace, &effects, model, &[]).within(end..=end);
    let mut states = space.states(&Plan { bound: 255, budget: 100_000, seed: 1 });
    let mut found: Vec<T> = states.by_ref().map(|state| of(&space.image(&state))).collect();
    assert!(states.is_exhaustive());
    found.sort();
    found.dedup();
    found
}

/// A store that goes on as though the bytes were not there writes behind them: what it promises next cannot be reached
/// where they are lost. One that cuts them off first keeps what it promises.
#[test]
fn a_store_that_takes_the_write_for_refused_is_found() {
    for (role, mended) in [("goes-on", false), ("cuts", true)] {
        let (trace, said, _) = run(role, "write log EIO nth=2", true);
        assert_eq!(said, ["promised A", "promised C"], "{role}");
        assert_eq!(trace.blind, [], "{role}");
        for model in ["ext4-ordered", "ext4-writeback", "xfs", "btrfs", "posix", "posix-split"] {
            let found = comes_back(&trace, model);
            let kept = |log: &String| log.contains('A') && log.contains('C');
            assert_eq!(found.iter().all(kept), mended, "{role} under {model}: {found:?}");
        }
    }
}

/// A log that a part of the store syncs as a matter of routine, without a look at what comes of it; whoever promises syncs
/// through a description of his own, and believes that.
fn two_descriptions() {
    let [routine, own] = [NEW; 2].map(|flags| open("log", flags | libc::O_APPEND));
    let dir = open(".", libc::O_RDONLY);
    unsafe { libc::fsync(dir) };
    let mut results = Vec::new();
    for record in [b'A', b'B'] {
        let bytes = [record; RECORD];
        unsafe { (libc::write(routine, bytes.as_ptr().cast(), RECORD), libc::fdatasync(routine)) };
        if unsafe { libc::fdatasync(own) } != 0 {
            break;
        }
        results.push(("promised", char::from(record).to_string()));
    }
    say(&results);
}

/// On Linux the second sync gives the error of the first, so that nothing is promised which may be lost.
#[test]
fn a_store_that_is_told_through_its_other_description_promises_nothing() {
    let (trace, said, _) = run("two", "fdatasync log EIO nth=3", true);
    assert_eq!(said, ["promised A"]);
    for model in ["ext4-ordered", "ext4-writeback", "xfs", "btrfs", "posix", "posix-split"] {
        let found = comes_back(&trace, model);
        assert!(found.iter().all(|log| log.starts_with('A')), "{model}: {found:?}");
        assert!(found.contains(&"A".to_owned()) && found.contains(&"AB".to_owned()), "{model}: {found:?}");
    }
}

/// A sync in one thread, and half a second after its beginning a write in another.
fn beside() {
    let fd = open("log", NEW);
    unsafe { libc::write(fd, b"first".as_ptr().cast(), 5) };
    let syncs = std::thread::spawn(move || gave(unsafe { libc::fdatasync(fd) }.into()));
    std::thread::sleep(std::time::Duration::from_millis(500));
    unsafe { libc::write(fd, b"second".as_ptr().cast(), 6) };
    let first = syncs.join().expect("a thread");
    say(&[("fdatasync", first), ("fdatasync", gave(unsafe { libc::fdatasync(fd) }.into()))]);
}

/// A sync that fails has waited for the disk as long as one that succeeds: what is written meanwhile falls inside it.
#[test]
fn a_sync_that_fails_takes_its_time() {
    const SECOND: u64 = 1_000_000_000;
    for error in ["EIO", "ENOSPC", "EDQUOT"] {
        let (trace, said, _) = run_slow("beside", &format!("fdatasync * {error}"), true, SECOND);
        assert_eq!(said, [format!("fdatasync {error}").as_str(), "fdatasync 0"]);
        let is_sync = |e: &&Event| matches!(e.op, Op::Sync { kind: SyncKind::Fdatasync, .. });
        let syncs: Vec<&Event> = trace.events.iter().filter(is_sync).collect();
        let second = |e: &&Event| matches!(&e.op, Op::Write { data, .. } if data == b"second");
        let write = trace.events.iter().find(second).expect("written");
        assert!(syncs[0].begin < write.begin && write.end < syncs[0].end, "{error}");
        assert_eq!((write.at - syncs[0].at, syncs[1].at - syncs[0].at), (SECOND / 2, SECOND), "{error}");
        // It may have been in that sync's write-back: the success of the second one says nothing of it.
        assert_eq!(comes_back_as(&trace, "ext4-ordered", b"second"), [false, true], "{error}");
    }
    // One that was interrupted has not waited.
    let (trace, _, _) = run_slow("beside", "fdatasync * EINTR", true, SECOND);
    let at: Vec<u64> =
        trace.events.iter().filter(|e| matches!(e.op, Op::Sync { .. })).map(|e| e.at).collect();
    assert!(at[1] - at[0] < SECOND, "{at:?}");
}
