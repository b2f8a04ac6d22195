//! The five workloads of docs/persistence-rules.md, *Five workloads*, and protocols.

use crate::script::{Script, set};
use std::collections::BTreeSet;
use unplug_faults::effect::Effects;
use unplug_faults::effect::PAGE;
use unplug_faults::model;
use unplug_faults::state::Assumption::{self, NoTear};
use unplug_faults::state::Space;

/// Two pages appended, no sync.
pub fn a() -> Script {
    Script::new().base("f", 'A', 1).append("f", 'B', 2)
}

/// A temporary file of three pages renamed over f, no sync.
pub fn b() -> Script {
    Script::new().base("f", 'A', 2).create("t").append("t", 'B', 3).rename("t", "f")
}

/// The temporary synced before the rename; the directory not.
pub fn c() -> Script {
    Script::new().base("f", 'A', 2).create("t").append("t", 'B', 3).fsync("t").rename("t", "f")
}

/// Two files appended to, g synced.
pub fn d() -> Script {
    Script::new().base("f", 'A', 1).base("g", 'A', 1).append("f", 'B', 2).append("g", 'C', 2).fsync("g")
}

/// Three pages overwritten in place, g appended to and synced.
pub fn e() -> Script {
    Script::new().base("f", 'A', 3).base("g", 'A', 1).write("f", 0, 'B', 3).append("g", 'C', 1).fsync("g")
}

fn end(script: &Script, model: &str) -> BTreeSet<String> {
    script.at_end(model, &[NoTear])
}

/// "Sizes of the modelled sets at the end of a-e: ext4 7/24/2/7/8, XFS 4/17/2/4/8, btrfs 7/31/2/7/8."
#[test]
fn sizes_of_the_sets() {
    let sizes = |model: &str| [a(), b(), c(), d(), e()].map(|script| end(&script, model).len());
    assert_eq!(sizes("ext4-ordered"), [7, 24, 2, 7, 8]);
    assert_eq!(sizes("xfs"), [4, 17, 2, 4, 8]);
    assert_eq!(sizes("btrfs"), [7, 31, 2, 7, 8]);
    // data=journal: "a = A/ABB" (and split, since large writes can), "d and e always new".
    assert_eq!(sizes("ext4-journal"), [3, 6, 2, 1, 1]);
}

/// What was seen on genuine images, row by row.
#[test]
fn everything_seen_is_there() {
    let seen = [
        ("ext4-ordered", a(), &["f=A", "f=AB", "f=ABB", "f=A00", "f=AB0", "f=A0B"][..]),
        ("xfs", a(), &["f=A", "f=AB", "f=A0B", "f=ABB"]),
        ("btrfs", a(), &["f=A", "f=A0B", "f=ABB"]),
        ("ext4-journal", a(), &["f=A", "f=ABB"]),
        (
            "ext4-ordered",
            b(),
            &["f=AA", "f=AA t=", "f=AA t=000", "f=AA t=00B", "f=AA t=BB", "f=000", "f=BBB"],
        ),
        ("xfs", b(), &["f=AA", "f=AA t=", "f=", "f=00B", "f=BB", "f=BBB"]),
        ("btrfs", b(), &["f=AA", "f=", "f=BBB"]),
        ("ext4-ordered", e(), &["f=AAA g=AC", "f=BBA g=AC", "f=AAB g=AC", "f=BBB g=AC"]),
        ("xfs", e(), &["f=AAA g=AC", "f=BBA g=AC", "f=AAB g=AC", "f=BBB g=AC"]),
        ("btrfs", e(), &["f=AAA g=AC", "f=AAB g=AC", "f=BBB g=AC"]),
    ];
    for (model, script, states) in seen {
        let found = end(&script, model);
        assert!(set(states).is_subset(&found), "{model}: {found:?}");
    }
    for model in ["ext4-journal", "ext4-ordered", "xfs", "btrfs"] {
        assert_eq!(end(&c(), model), set(&["f=AA t=BBB", "f=BBB"]), "{model}");
        assert!(end(&d(), model).iter().all(|state| state.ends_with("g=ACC")), "{model}");
        assert!(end(&e(), model).iter().all(|state| state.ends_with("g=AC")), "{model}");
    }
}

/// R4: XFS moves the size at I/O completion: "the last page is never zero, earlier holes can be".
#[test]
fn xfs_never_ends_in_zeros() {
    let script = Script::new().base("f", 'A', 1).append("f", 'B', 3);
    let found = end(&script, "xfs");
    assert_eq!(found.len(), 8);
    assert!(found.iter().all(|state| !state.ends_with('0')), "{found:?}");
    assert!(found.contains("f=A00B") && found.contains("f=AB0B"), "{found:?}");
}

/// Taken away, the rule takes its states away: the size of a later page stood for those below it on ext4 alone.
#[test]
fn assumed_sizes_cover_the_pages_below() {
    let script = Script::new().base("f", 'A', 1).append("f", 'B', 3);
    for assumed in [Assumption::SizeWithData, Assumption::NoZeroFill] {
        let found = script.at_end("xfs", &[NoTear, assumed]);
        assert_eq!(found, set(&["f=A", "f=AB", "f=ABB", "f=ABBB"]), "{assumed:?}");
    }
}

/// "If we do not write the data out, we expose ourselves to the null files problem" (xfs_setattr_size): a truncate
/// journals no size over appended data that are not on the disk, unless a later page's size was there before.
#[test]
fn xfs_writes_appends_before_it_truncates() {
    let grown = Script::new().base("f", 'A', 1).append("f", 'B', 1).truncate("f", 3 * PAGE);
    assert_eq!(end(&grown, "xfs"), set(&["f=A", "f=AB", "f=AB0"]));
    assert!(end(&grown, "ext4-ordered").contains("f=A00"));
    let cut = Script::new().base("f", 'A', 1).append("f", 'B', 2).truncate("f", 2 * PAGE);
    assert!(end(&cut, "xfs").contains("f=A0"));
    // A failed sync has taken the data away: there is nothing left to be written.
    let failed = Script::new()
        .base("f", 'A', 1)
        .append("f", 'B', 1)
        .fsync("f")
        .failed(libc::EIO)
        .truncate("f", 3 * PAGE);
    assert!(end(&failed, "xfs").contains("f=A00"));
}

/// "ext4 data=writeback,dioread_lock: stale bytes"; "with noauto_da_alloc the file is empty".
#[test]
fn writeback_shows_stale_blocks_and_empty_files() {
    let found = end(&a(), "ext4-writeback");
    assert!(set(&["f=A?", "f=A?B", "f=AB?", "f=A0B"]).is_subset(&found), "{found:?}");
    assert!(!end(&a(), "ext4-ordered").iter().any(|state| state.contains('?')));
    assert!(end(&b(), "ext4-writeback").contains("f="));
    // A synced file is whole, however it is mounted. What it replaces may be written over before that is durable.
    assert_eq!(
        end(&c(), "ext4-writeback"),
        set(&["f=AA t=BBB", "f=?A t=BBB", "f=A? t=BBB", "f=?? t=BBB", "f=BBB"])
    );
}

/// auto_da_alloc: with it the size is there before the rename is ("old / N zero bytes / new"); XFS and btrfs:
/// "old / empty / partial / new".
#[test]
fn replace_via_rename() {
    let of_f = |model: &str| -> BTreeSet<String> {
        let end = end(&b(), model);
        end.iter().filter(|s| !s.contains("t=")).cloned().collect()
    };
    assert!(of_f("ext4-ordered").contains("f=000") && !of_f("ext4-ordered").contains("f="));
    assert!(of_f("xfs").contains("f=") && !of_f("xfs").contains("f=000"));
    assert!(of_f("btrfs").contains("f="));
    assert_eq!(of_f("ext4-journal"), set(&["f=AA", "f=BBB"]));
}

/// Replace via truncate: O_TRUNC, write, close. "ext4 and XFS gave the new content; ext4 gave empty when the write
/// came through a second open": nothing forbids the empty file.
#[test]
fn replace_via_truncate() {
    let script = Script::new().base("f", 'A', 2).truncate("f", 0).append("f", 'B', 2);
    assert_eq!(
        end(&script, "ext4-ordered"),
        set(&["f=AA", "f=", "f=0", "f=B", "f=00", "f=B0", "f=0B", "f=BB"])
    );
    assert_eq!(end(&script, "xfs"), set(&["f=AA", "f=", "f=B", "f=0B", "f=BB"]));
    assert_eq!(end(&script, "btrfs"), end(&script, "ext4-ordered"));
    // In the journal there is one order.
    assert_eq!(end(&script, "ext4-journal"), set(&["f=AA", "f=", "f=B", "f=BB"]));
    for model in ["ext4-ordered", "ext4-writeback", "ext4-journal", "xfs", "btrfs"] {
        assert_eq!(end(&script.clone().fsync("f"), model), set(&["f=BB"]), "{model}");
    }
}

/// R3 and copy-on-write: an overwritten page tears by sector, but not on btrfs and not in a journal.
#[test]
fn tearing() {
    let script = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1);
    let effects = Effects::of(&script.trace);
    let count = |name: &str| {
        let model = model::by_name(name).expect("model");
        Space::new(&script.trace, &effects, model, &[]).count().states
    };
    for name in ["ext4-ordered", "ext4-writeback", "xfs", "posix"] {
        assert_eq!(count(name), 256u32.into(), "{name}");
    }
    for name in ["ext4-journal", "btrfs", "prefix"] {
        assert_eq!(count(name), 2u32.into(), "{name}");
    }
}
