//! Failed fsync: "a failed fsync forces nothing, drops those dirty pages, and a later success for them is void".

use crate::script::{Script, pages, set};
use unplug_faults::event::{Op, SyncKind, WriteSync};
use unplug_faults::state::Assumption::NoTear;

fn end(script: &Script, model: &str) -> std::collections::BTreeSet<String> {
    script.at_end(model, &[NoTear])
}

/// "the next fsync returns 0; after eviction: old data": the later success says nothing of the page.
#[test]
fn an_overwrite_is_given_up() {
    let failed = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1).fsync("f").failed(libc::EIO);
    for model in ["ext4-ordered", "ext4-writeback", "xfs", "btrfs", "posix", "posix-split"] {
        let open = set(&["f=A", "f=B"]);
        assert_eq!(end(&failed, model), open, "{model}");
        assert_eq!(end(&failed.clone().fsync("f"), model), open, "{model}");
        assert_eq!(end(&failed.clone().fdatasync("f").sync_all(), model), open, "{model}");
        // Written anew, it is dirty anew.
        assert_eq!(end(&failed.clone().write("f", 0, 'C', 1).fsync("f"), model), set(&["f=C"]), "{model}");
    }
}

/// "After a crash the append is zero-extended on ext4 and btrfs; XFS's on-disk size stays old."
#[test]
fn an_append_is_zero_extended_or_keeps_the_old_size() {
    let script = Script::new().base("f", 'A', 1).append("f", 'B', 1).fsync("f").failed(libc::EIO).fsync("f");
    for model in ["ext4-ordered", "btrfs"] {
        assert_eq!(end(&script, model), set(&["f=A0", "f=AB"]), "{model}");
    }
    assert_eq!(end(&script, "xfs"), set(&["f=A", "f=AB"]));
    assert_eq!(end(&script, "posix"), set(&["f=A", "f=A0", "f=A?", "f=AB"]));
    // A page that is appended to again is written with all that is in it.
    let again = Script::new()
        .base("f", 'A', 1)
        .append_bytes("f", &[b'B'; 4096])
        .fsync("f")
        .failed(libc::EIO)
        .write("f", 1, 'C', 1)
        .append("f", 'D', 1)
        .fsync("f");
    for model in ["ext4-ordered", "btrfs", "xfs"] {
        assert_eq!(end(&again, model), set(&["f=ACD"]), "{model}");
    }
}

/// "ext4 data=journal: abort, EROFS": nothing that is synced later reaches the disk.
#[test]
fn data_journal_aborts() {
    let script = Script::new().base("f", 'A', 1).base("g", 'A', 1).append("f", 'B', 1).fsync("f");
    let failed = script.append("f", 'C', 1).fsync("f").failed(libc::EIO).write("g", 0, 'D', 1).fsync("g");
    let found = end(&failed, "ext4-journal");
    assert_eq!(found, set(&["f=AB g=A", "f=ABC g=A", "f=ABC g=D"]));
    // On ext4's default the other file is not concerned.
    assert!(end(&failed, "ext4-ordered").iter().all(|state| state.ends_with("g=D")));
}

/// A sync that was interrupted or refused (EINTR, EROFS, EINVAL) says nothing of the pages: they stay dirty.
#[test]
fn other_errors_drop_nothing() {
    for errno in [libc::EINTR, libc::EROFS, libc::EINVAL] {
        let script = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1).fsync("f").failed(errno);
        for model in ["ext4-ordered", "ext4-journal", "xfs", "btrfs", "posix"] {
            assert_eq!(end(&script, model).len(), 2, "{model}");
            assert_eq!(end(&script.clone().fsync("f"), model), set(&["f=B"]), "{model}");
        }
    }
}

/// "An error already consumed (by sync_file_range, say) lets a new descriptor's fsync return 0": a failed range sync
/// drops the pages as a failed fsync does.
#[test]
fn a_failed_range_sync_drops_pages_too() {
    let script = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1);
    let file = script.id("f");
    let range = SyncKind::Range { offset: 0, len: 0 };
    let script = script.op(Op::Sync { file, kind: range }).failed(libc::EIO).fsync("f");
    for model in ["ext4-ordered", "xfs", "btrfs", "posix"] {
        assert_eq!(end(&script, model), set(&["f=A", "f=B"]), "{model}");
    }
}

/// A failed sync of everything may have dropped any page.
#[test]
fn a_failed_syncfs_drops_all_pages() {
    let script =
        Script::new().base("f", 'A', 1).write("f", 0, 'B', 1).sync_all().failed(libc::EIO).fsync("f");
    for model in ["ext4-ordered", "xfs", "btrfs", "posix"] {
        assert_eq!(end(&script, model), set(&["f=A", "f=B"]), "{model}");
    }
}

const MODELS: [&str; 6] = ["ext4-ordered", "ext4-writeback", "xfs", "btrfs", "posix", "posix-split"];

/// generic_write_sync: the bytes are in the page cache before the write's own sync fails, so that all is as after a
/// failed fsync: they may be on the disk, and no later success says so.
#[test]
fn a_synchronous_write_fails_behind_its_bytes() {
    for sync in [WriteSync::Data, WriteSync::Full] {
        let failed = Script::new().base("f", 'A', 2).bytes("f", 0, pages('B', 1), sync).failed(libc::EIO);
        for model in MODELS {
            let open = set(&["f=AA", "f=BA"]);
            assert_eq!(end(&failed, model), open, "{model}");
            assert_eq!(end(&failed.clone().fsync("f").sync_all(), model), open, "{model}");
            let again = failed.clone().bytes("f", 0, pages('C', 1), sync);
            assert_eq!(end(&again, model), set(&["f=CA"]), "{model}");
        }
        let append = Script::new().base("f", 'A', 1).bytes("f", 4096, pages('B', 1), sync).failed(libc::EIO);
        for (model, states) in [("ext4-ordered", ["f=A0", "f=AB"]), ("btrfs", ["f=A0", "f=AB"])] {
            assert_eq!(end(&append.clone().fsync("f"), model), set(&states), "{model}");
        }
        assert_eq!(end(&append.fsync("f"), "xfs"), set(&["f=A", "f=AB"]));
    }
}

/// "The range that was written, and no other page": what was dirty elsewhere in the file is not given up.
#[test]
fn a_synchronous_write_gives_up_its_own_pages_only() {
    let script = Script::new().base("f", 'A', 3).write("f", 1, 'C', 1).write("f", 2, 'D', 1);
    let failed = script.bytes("f", 0, pages('B', 2), WriteSync::Data).failed(libc::EIO);
    for model in MODELS {
        let found = end(&failed.clone().fsync("f"), model);
        assert!(found.iter().all(|state| state.ends_with('D')), "{model}: {found:?}");
        // Of its own pages also what had been written there before.
        assert!(found.contains("f=AAD") && found.contains("f=BBD"), "{model}: {found:?}");
    }
}

/// One that was refused has no bytes, and nothing is given up; a file system that stops does so here, too.
#[test]
fn a_synchronous_write_that_is_refused_does_nothing() {
    let script = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1);
    let refused = script.clone().bytes("f", 4096, Vec::new(), WriteSync::Data).failed(libc::EIO).fsync("f");
    for model in MODELS.into_iter().chain(["ext4-journal"]) {
        assert_eq!(end(&refused, model), set(&["f=B"]), "{model}");
    }
    let failed = script.bytes("f", 4096, pages('C', 1), WriteSync::Full).failed(libc::EIO).fsync("f");
    assert_eq!(end(&failed, "ext4-journal"), set(&["f=A", "f=B", "f=BC"]));
}

/// ext4_sync_file: "if (err) goto out": what was dirty is written back, but neither journalled nor flushed, and nothing is
/// given up. So it is as though the call had not been made: a later success has the pages.
#[test]
fn an_error_that_is_told_again_loses_nothing_and_forces_nothing() {
    let dirty = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1);
    let file = dirty.id("f");
    for kind in [SyncKind::Fsync, SyncKind::Fdatasync] {
        let told = dirty.clone().op(Op::ToldAgain { file, kind }).failed(libc::EIO);
        for model in MODELS.into_iter().chain(["ext4-journal"]) {
            assert_eq!(end(&told, model), set(&["f=A", "f=B"]), "{model}");
            assert_eq!(end(&told.clone().fsync("f"), model), set(&["f=B"]), "{model}");
        }
    }
    // What the first one has given up stays given up, whoever is told.
    let failed = dirty.fsync("f").failed(libc::EIO);
    let told = failed.op(Op::ToldAgain { file, kind: SyncKind::Fsync }).failed(libc::EIO).fsync("f");
    for model in MODELS {
        assert_eq!(end(&told, model), set(&["f=A", "f=B"]), "{model}");
    }
}

/// btrfs_sync_file looks for the error when it has written the log: a file that it has may be there without what was
/// made before it, as with a sync that has returned, but need not.
#[test]
fn on_btrfs_a_sync_that_is_told_may_leave_its_log() {
    let made = Script::new().create("f").create("g");
    let told = made.clone().op(Op::ToldAgain { file: made.id("g"), kind: SyncKind::Fsync }).failed(libc::EIO);
    assert_eq!(end(&made, "btrfs"), set(&["", "f=", "f= g="]));
    assert_eq!(end(&told, "btrfs"), set(&["", "f=", "g=", "f= g="]));
    assert_eq!(end(&told, "xfs"), set(&["", "f=", "f= g="]));
    assert_eq!(end(&told.fsync("g"), "btrfs"), set(&["g=", "f= g="]));
}

/// A kill does not take back what a sync has come to by then (kill -9 waits for the call): its log may be there, and
/// nothing says so. What comes after the kill does not come with it.
#[test]
fn on_btrfs_a_sync_whose_process_was_killed_inside_it_may_leave_its_log() {
    let made = Script::new().create("f").create("g");
    let cut = made.clone().fsync("g").killed().kill();
    assert_eq!(end(&cut, "btrfs"), set(&["", "f=", "g=", "f= g="]));
    assert_eq!(end(&cut, "xfs"), set(&["", "f=", "f= g="]));
    let later = cut.write("g", 0, 'B', 1);
    assert!(!end(&later, "btrfs").contains("g=B"), "{:?}", end(&later, "btrfs"));
    assert!(end(&later, "btrfs").contains("f= g=B"));
}
