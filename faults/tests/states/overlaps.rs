//! Calls that ran at the same time: none of them comes first because it began first, and what a failing sync may have
//! tried to write is lost for those after it.

use crate::counts::{self, agree};
use crate::script::{Script, set};
use proptest::prelude::*;
use std::collections::BTreeSet;
use unplug_faults::event::*;
use unplug_faults::state::Assumption::{self, NoTear};

const ORDERED: [&str; 5] = ["prefix", "ext4-ordered", "ext4-journal", "xfs", "btrfs"];

/// Every image when all calls are over.
fn last(script: &Script, model: &str, assume: &[Assumption]) -> BTreeSet<String> {
    let end = script.trace.events.iter().map(|event| event.end).max().unwrap_or(0);
    script.during(model, assume, end, end)
}

fn base() -> Script {
    Script::new().base("f", 'A', 1).base("x", 'A', 1)
}

/// A long fallocate, and a file that another thread makes meanwhile.
#[test]
fn a_name_does_not_wait_for_a_shape_that_is_still_changing() {
    let both = base().allocate("f", AllocateMode::Extend, 0, 3 * 4096).within(10, 20);
    let both = both.create("g").within(12, 13);
    let all = set(&["f=A x=A", "f=A g= x=A", "f=A00 x=A", "f=A00 g= x=A"]);
    for name in ORDERED {
        assert_eq!(last(&both, name, &[NoTear]), all, "{name}");
        // A sync of the new file forces that alone; one after both calls all of it.
        let synced = both.clone().fsync("g").within(14, 15);
        assert_eq!(last(&synced, name, &[]), set(&["f=A g= x=A", "f=A00 g= x=A"]), "{name}");
        // What comes behind both needs both.
        let behind = both.clone().create("h").within(30, 31);
        let ends: Vec<String> = last(&behind, name, &[]).into_iter().filter(|s| s.contains("h=")).collect();
        assert_eq!(ends, ["f=A00 g= h= x=A"], "{name}");
    }
}

/// A long write, and one of another thread to another file.
#[test]
fn writes_at_once_to_two_files_are_in_no_order() {
    let both = base().write("f", 0, 'B', 1).within(10, 20).write("x", 0, 'C', 1).within(12, 13);
    for name in ["prefix", "ext4-journal"] {
        let all = set(&["f=A x=A", "f=A x=C", "f=B x=A", "f=B x=C"]);
        assert_eq!(last(&both, name, &[]), all, "{name}");
        let synced = both.clone().fsync("x").within(14, 15);
        assert_eq!(last(&synced, name, &[]), set(&["f=A x=C", "f=B x=C"]), "{name}");
    }
    // And not with a name either.
    let both = base().write("f", 0, 'B', 1).within(10, 20).unlink("x").within(12, 13);
    for name in ["prefix", "ext4-journal"] {
        let all = set(&["f=A x=A", "f=A", "f=B x=A", "f=B"]);
        assert_eq!(last(&both, name, &[]), all, "{name}");
    }
}

/// The directory is synced while another thread is still in the truncate, which began first.
#[test]
fn a_sync_does_not_force_what_is_still_running() {
    let script = base().truncate("f", 0).within(10, 20).unlink("x").within(12, 13).fsync(".").within(14, 15);
    for name in ORDERED {
        assert_eq!(script.during(name, &[], 16, 16), set(&["f=", "f=A"]), "{name}");
        assert_eq!(last(&script, name, &[]), set(&["f=", "f=A"]), "{name}");
    }
}

/// btrfs: what another thread does to a file while its log is made may come with the log, without what was done to others
/// before; what is done later comes with the next commit, or log.
#[test]
fn what_is_done_while_a_log_is_made_may_be_in_it() {
    let synced =
        || base().write("f", 0, 'B', 1).within(2, 3).create("h").within(4, 5).fsync("f").within(10, 20);
    let later = synced().write("f", 0, 'C', 1).within(30, 31);
    let all = ["f=B x=A", "f=B h= x=A", "f=C h= x=A"];
    assert_eq!(last(&later, "btrfs", &[]), set(&all));
    let meanwhile = synced().write("f", 0, 'C', 1).within(12, 13);
    assert_eq!(last(&meanwhile, "btrfs", &[]), set(&[&all[..], &["f=C x=A"]].concat()));
    // A second name of the file likewise; not what is done to another one.
    let meanwhile = synced().link("f", "g").within(12, 13).write("x", 0, 'C', 1).within(14, 15);
    let states = last(&meanwhile, "btrfs", &[]);
    assert!(states.iter().any(|s| s.contains("g->f") && !s.contains("h=")), "{states:?}");
    assert!(states.iter().all(|s| s.contains("x=A") || s.contains("h=") && s.contains("g->f")), "{states:?}");
}

/// auto_da_alloc: the rename waits for sizes from before it, not for those of a write that is under way.
#[test]
fn a_rename_does_not_wait_for_a_write_that_is_still_running() {
    let running = base().write("x", 1, 'B', 1).within(10, 20).rename("x", "f").within(12, 13);
    assert!(last(&running, "ext4-ordered", &[NoTear]).contains("f=A"));
    let over = base().write("x", 1, 'B', 1).within(10, 11).rename("x", "f").within(12, 13);
    assert!(!last(&over, "ext4-ordered", &[NoTear]).contains("f=A"));
}

/// A write while a sync fails: its page may have been in that write-back, and is clean for the next one.
#[test]
fn what_is_written_while_a_sync_fails_may_be_lost() {
    let fails = |s: Script, begin, end| s.fdatasync("f").failed(libc::EIO).within(begin, end);
    let write = |s: Script, begin, end| s.write("f", 0, 'B', 1).within(begin, end);
    let sync = |s: Script, begin, end| s.fdatasync("f").within(begin, end);
    for name in ["prefix", "ext4-ordered", "ext4-writeback", "xfs", "btrfs", "posix"] {
        let at_end = |s: &Script| last(s, name, &[NoTear]);
        let during = sync(write(fails(base(), 10, 20), 11, 12), 30, 35);
        assert_eq!(at_end(&during), set(&["f=A x=A", "f=B x=A"]), "{name}");
        let twice = sync(during, 36, 37);
        assert_eq!(at_end(&twice), set(&["f=A x=A", "f=B x=A"]), "{name}");
        // Nor does a sync help that succeeds beside the failing one.
        let beside = sync(write(fails(base(), 10, 20), 11, 12), 13, 15);
        assert_eq!(at_end(&beside), set(&["f=A x=A", "f=B x=A"]), "{name}");
        // What is written after the failure, or had been synced before it, is safe.
        let after = sync(write(fails(base(), 10, 20), 21, 22), 30, 35);
        assert_eq!(at_end(&after), set(&["f=B x=A"]), "{name}");
        let before = fails(sync(write(base(), 1, 2), 3, 4), 10, 20);
        assert_eq!(at_end(&before), set(&["f=B x=A"]), "{name}");
    }
}

/// Random scripts with calls that last over others, and syncs that fail.
fn at_once() -> impl Strategy<Value = Script> {
    (counts::script(), proptest::collection::vec((0u64..4, 0u8..3), 8)).prop_map(|(mut script, times)| {
        for (n, event) in script.trace.events.iter_mut().enumerate() {
            let (length, fails) = times[n % times.len()];
            let n = n as Clock;
            (event.begin, event.end) = (10 * n + 1, 10 * (n + length) + 2 + n);
            if fails == 0 && matches!(event.op, Op::Sync { .. } | Op::SyncAll) {
                event.errno = libc::EIO;
            }
        }
        // No clocks between: the slow checker looks at those that are there.
        let clocks: BTreeSet<Clock> = script.trace.events.iter().flat_map(|e| [e.begin, e.end]).collect();
        let dense = |clock: Clock| clocks.range(..=clock).count() as Clock;
        for event in &mut script.trace.events {
            (event.begin, event.end) = (dense(event.begin), dense(event.end));
        }
        script
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn states_of_calls_at_once_are_what_the_rules_say(script in at_once()) {
        agree(&script)?;
    }
}
