//! The rows of "What each sync persists" in docs/persistence-rules.md, for ext4; and what no sync does.

use crate::script::{Script, set};
use unplug_faults::event::{Op, SyncKind, WriteSync};
use unplug_faults::state::Assumption::NoTear;

const EXT4: &str = "ext4-ordered";

fn base() -> Script {
    Script::new().base("f", 'A', 1).base("g", 'A', 1).base_dir("d").base_dir("e").base("d/x", 'A', 1)
}

fn end(script: &Script) -> Vec<String> {
    let without = |s: String| s.replace("d/ d/x=A e/ ", "");
    script.at_end(EXT4, &[NoTear]).into_iter().map(without).collect()
}

/// fsync and fdatasync of a new file: own entry and new ancestor directories: yes.
#[test]
fn new_file() {
    assert_eq!(end(&base().create("n").append("n", 'B', 1).fsync("n")), ["f=A g=A n=B"]);
    assert_eq!(end(&base().create("n").append("n", 'B', 1).fdatasync("n")), ["f=A g=A n=B"]);
    let deep = base().mkdir("p").create("p/n").append("p/n", 'B', 1).fsync("p/n");
    assert_eq!(end(&deep), ["f=A g=A p/ p/n=B"]);
    // A new file that is still empty has its own creation as its last change.
    assert_eq!(end(&base().create("n").fsync("n")), ["f=A g=A n="]);
}

/// fsync(f) after rename or link: all its names: yes; fdatasync(f), f otherwise clean: **no**.
#[test]
fn names_after_rename_and_link() {
    assert_eq!(end(&base().rename("f", "h").fsync("h")), ["g=A h=A"]);
    assert_eq!(end(&base().rename("f", "h").fdatasync("h")), ["f=A g=A", "g=A h=A"]);
    assert_eq!(end(&base().link("f", "k").fsync("f")), ["f=A g=A k->f"]);
    assert_eq!(end(&base().link("f", "k").fdatasync("f")), ["f=A g=A", "f=A g=A k->f"]);
}

/// fsync(other) after appending to it: what was issued before that append: yes.
#[test]
fn names_before_the_append_of_another_file() {
    assert_eq!(end(&base().rename("f", "h").append("g", 'B', 1).fsync("g")), ["g=AB h=A"]);
}

/// fsync(other) after appending to it: what was issued between the append and the sync: only if the append was
/// not yet committed, so it is allowed and not forced.
#[test]
fn names_between_append_and_sync() {
    let script = base().append("g", 'B', 1).rename("f", "h").fsync("g");
    assert_eq!(end(&script), ["f=A g=AB", "g=AB h=A"]);
}

/// fsync(other, overwritten or clean): earlier changes: no.
#[test]
fn sync_of_an_overwritten_or_clean_file() {
    assert_eq!(end(&base().rename("f", "h").write("g", 0, 'B', 1).fsync("g")), ["f=A g=B", "g=B h=A"]);
    assert_eq!(end(&base().rename("f", "h").fsync("g")), ["f=A g=A", "g=A h=A"]);
}

/// fsync(dir): its entries: yes; the children's data: no (their size is 0, or whatever was written back).
#[test]
fn sync_of_a_directory() {
    let script = base().create("n").append("n", 'B', 1).fsync(".");
    assert_eq!(end(&script), ["f=A g=A n=", "f=A g=A n=0", "f=A g=A n=B"]);
}

/// cross-directory rename and fsync of the destination only: atomic.
#[test]
fn rename_between_directories() {
    let script = base().rename("d/x", "e/x").fsync("e");
    assert_eq!(script.at_end(EXT4, &[]), set(&["d/ e/ e/x=A f=A g=A"]));
}

/// rename a directory; append to a child and sync it: the new path.
#[test]
fn child_of_a_renamed_directory() {
    let script = base().rename("d", "q").append("q/x", 'B', 1).fsync("q/x");
    assert_eq!(script.at_end(EXT4, &[]), set(&["e/ f=A g=A q/ q/x=AB"]));
}

/// O_DSYNC is write and fdatasync, O_SYNC is write and fsync.
#[test]
fn synchronous_writes() {
    let page = crate::script::pages('B', 1);
    for sync in [WriteSync::Data, WriteSync::Full] {
        let script = base().bytes("f", 4096, page.clone(), sync);
        assert_eq!(end(&script), ["f=AB g=A"]);
        // posix too: the write itself is complete.
        let posix = script.at_end("posix", &[]);
        assert_eq!(posix, set(&["d/ d/x=A e/ f=AB g=A"]));
    }
    let script = base().link("f", "k").bytes("f", 0, page.clone(), WriteSync::Data);
    assert_eq!(end(&script), ["f=B g=A", "f=B g=A k->f"]);
    let script = base().link("f", "k").bytes("f", 0, page, WriteSync::Full);
    assert_eq!(end(&script), ["f=B g=A k->f"]);
}

/// truncate or fallocate and fdatasync: the size: yes.
#[test]
fn truncate_and_fallocate() {
    use unplug_faults::event::AllocateMode;
    assert_eq!(end(&base().truncate("f", 0).fdatasync("f")), ["f= g=A"]);
    assert_eq!(end(&base().truncate("f", 3 * 4096).fdatasync("f")), ["f=A00 g=A"]);
    assert_eq!(end(&base().allocate("f", AllocateMode::Extend, 0, 4 * 4096).fdatasync("f")), ["f=A000 g=A"]);
}

/// syncfs: everything.
#[test]
fn syncfs() {
    let script =
        base().create("n").append("n", 'B', 1).rename("n", "f").unlink("g").write("f", 0, 'C', 1).sync_all();
    assert_eq!(end(&script), ["f=C"]);
}

/// A sync covers a write only if the write had returned before the sync was called.
#[test]
fn overlapping_sync_covers_nothing() {
    let script = base().append("f", 'B', 1).fsync("f").overlapping();
    assert_eq!(end(&script), ["f=A g=A", "f=A0 g=A", "f=AB g=A"]);
}

/// A sync that failed forces nothing, nor does one in which the target was killed; after a failed one a later
/// success says nothing of the data that it covered (the pages were marked clean).
#[test]
fn failed_sync() {
    let failed = base().write("f", 0, 'B', 1).fsync("f").failed(libc::EIO);
    assert_eq!(end(&failed), ["f=A g=A", "f=B g=A"]);
    assert_eq!(end(&failed.clone().fsync("f")), ["f=A g=A", "f=B g=A"]);
    assert_eq!(end(&failed.write("f", 0, 'C', 1).fsync("f")), ["f=C g=A"]);
    let killed = base().write("f", 0, 'B', 1).fsync("f").killed();
    assert_eq!(killed.during(EXT4, &[NoTear], 3, 3).len(), 2);
}

/// sync_file_range promises nothing over a crash; a kill of the target forces nothing.
#[test]
fn range_and_kill_force_nothing() {
    let script = base().write("f", 0, 'B', 1);
    let file = script.id("f");
    let range = script.clone().op(Op::Sync { file, kind: SyncKind::Range { offset: 0, len: 0 } });
    assert_eq!(end(&range).len(), 2);
    assert_eq!(end(&script.op(Op::Kill)).len(), 2);
}

/// While a sync runs, what it covers is allowed, not forced; from its end on it is forced.
#[test]
fn forced_at_the_end_of_the_sync() {
    let script = base().write("f", 0, 'B', 1).fsync("f");
    for model in ["prefix", EXT4, "posix", "posix-split"] {
        assert_eq!(script.during(model, &[NoTear], 3, 3).len(), 2, "{model}");
        assert_eq!(script.during(model, &[NoTear], 4, 4).len(), 1, "{model}");
    }
}
