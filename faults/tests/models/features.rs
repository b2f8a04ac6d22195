//! Calls beside write, sync and rename: each model's answer by hand.

use crate::script::{Script, set};
use unplug_faults::event::{AllocateMode, Op, WriteSync};
use unplug_faults::state::Assumption::NoTear;

const REAL: [&str; 5] = ["ext4-journal", "ext4-ordered", "ext4-writeback", "xfs", "btrfs"];

fn same(models: &[&str], script: &Script, states: &[&str]) {
    for model in models {
        assert_eq!(script.at_end(model, &[NoTear]), set(states), "{model}");
    }
}

/// The same of all of them where blocks are set free: with data=writeback those may be used anew before that is
/// durable, so that there are states with rubbish besides.
fn same_but_for_freed(script: &Script, states: &[&str], rubbish: &[&str]) {
    same(&["ext4-journal", "ext4-ordered", "xfs", "btrfs"], script, states);
    same(&["ext4-writeback"], script, &[states, rubbish].concat());
}

/// R1: names in one order, on all of them; hard links and directories are names like others.
#[test]
fn names_in_order() {
    let script = Script::new().base("f", 'A', 1).mkdir("p").link("f", "p/k").unlink("f");
    same(&REAL, &script, &["f=A", "f=A p/", "f=A p/ p/k->f", "p/ p/k=A"]);
}

/// A file that is open when its last name goes: nothing of it is seen once the removal is there.
#[test]
fn unlink_of_an_open_file() {
    let script = Script::new().base("f", 'A', 1);
    let file = script.id("f");
    let script =
        script.unlink("f").op(Op::Write { file, offset: 0, data: vec![b'B'; 4096], sync: WriteSync::None });
    // R3: the write has no edges on ext4 and XFS; in data=journal and on btrfs it comes after the removal.
    same(&["ext4-ordered", "xfs"], &script, &["f=A", "f=B", ""]);
    same(&["ext4-writeback"], &script, &["f=A", "f=B", "f=?", ""]);
    same(&["ext4-journal", "btrfs"], &script, &["f=A", ""]);
}

/// A further name shows the same content; the file is the same whichever name is there.
#[test]
fn hard_links() {
    let script = Script::new().base("f", 'A', 1).link("f", "k").write("f", 0, 'B', 1);
    same(&["ext4-ordered", "xfs"], &script, &["f=A", "f=B", "f=A k->f", "f=B k->f"]);
    same(&["ext4-journal", "btrfs"], &script, &["f=A", "f=A k->f", "f=B k->f"]);
    // R6 and "all its names".
    same(&REAL, &script.fsync("k"), &["f=B k->f"]);
}

/// O_TMPFILE, write, linkat without a sync: the name may be there before the content.
#[test]
fn tmpfile() {
    let script = Script::new().tmpfile("#t").append("#t", 'B', 1).link("#t", "n");
    same(&["ext4-ordered", "btrfs"], &script, &["", "n=", "n=0", "n=B"]);
    same(&["xfs"], &script, &["", "n=", "n=B"]);
    same(&["ext4-journal"], &script, &["", "n=B"]);
    let synced = Script::new().tmpfile("#t").append("#t", 'B', 1).fsync("#t").link("#t", "n");
    same(&["ext4-ordered", "ext4-writeback", "ext4-journal", "xfs"], &synced, &["", "n=B"]);
}

/// R5: truncate is a journalled change; a write behind it needs it, one before it vanishes with it.
#[test]
fn truncate_then_write() {
    let script = Script::new().base("f", 'A', 3).truncate("f", 4096).append("f", 'B', 1);
    same(&["ext4-ordered", "btrfs"], &script, &["f=AAA", "f=A", "f=A0", "f=AB"]);
    same(&["xfs", "ext4-journal"], &script, &["f=AAA", "f=A", "f=AB"]);
}

/// A truncate behind an unsynced append: on XFS a page before the new end may still be a hole, for the size that it
/// sets is not that of the append.
#[test]
fn append_then_truncate() {
    let script = Script::new().base("f", 'A', 1).append("f", 'B', 2).truncate("f", 2 * 4096);
    same(&["ext4-ordered"], &script, &["f=A", "f=A0", "f=AB", "f=A00", "f=AB0", "f=A0B", "f=ABB"]);
    same(&["xfs"], &script, &["f=A", "f=A0", "f=AB", "f=A0B", "f=ABB"]);
    same(&["ext4-journal"], &script, &["f=A", "f=AB", "f=ABB"]);
}

/// fallocate in its modes: journalled changes of shape.
#[test]
fn allocate() {
    let base = || Script::new().base("f", 'A', 3);
    let two = |mode, offset, new: &str| {
        let script = base().allocate("f", mode, offset, 4096);
        match mode {
            AllocateMode::Punch => {
                same_but_for_freed(&script, &["f=AAA", new], &["f=A?A"]);
            }
            // The first page that is moved is in the block that is set free.
            AllocateMode::Collapse => same_but_for_freed(&script, &["f=AAA", new], &["f=A?A"]),
            _ => same(&REAL, &script, &["f=AAA", new]),
        }
        same(&REAL, &base().allocate("f", mode, offset, 4096).fdatasync("f"), &[new]);
    };
    two(AllocateMode::Extend, 3 * 4096, "f=AAA0");
    two(AllocateMode::Punch, 4096, "f=A0A");
    two(AllocateMode::Zero { keep_size: true }, 4096, "f=A0A");
    two(AllocateMode::Zero { keep_size: false }, 3 * 4096, "f=AAA0");
    // The kernel has no collapse on btrfs; the model reads it as elsewhere.
    two(AllocateMode::Collapse, 4096, "f=AA");
    two(AllocateMode::Insert, 4096, "f=A0AA");
    same(&REAL, &base().allocate("f", AllocateMode::KeepSize, 3 * 4096, 4096), &["f=AAA"]);
}

/// What is written into a hole that was punched needs the hole (R5), in all of them.
#[test]
fn punch_then_write() {
    let script =
        Script::new().base("f", 'A', 3).allocate("f", AllocateMode::Punch, 4096, 4096).write("f", 1, 'B', 1);
    same(&REAL[..2], &script, &["f=AAA", "f=A0A", "f=ABA"]);
    same(&REAL[3..], &script, &["f=AAA", "f=A0A", "f=ABA"]);
}

const ZERO: AllocateMode = AllocateMode::Zero { keep_size: true };

/// ZERO_RANGE leaves the blocks where they are on ext4, so that what is written later may be there first, between old
/// pages; XFS takes new ones. In data=journal the write is in the journal's order, but not the zeros that it puts into
/// the page beside, before it is there and before the range is zeroed.
#[test]
fn zero_then_write() {
    let script = Script::new().base("f", 'A', 3).allocate("f", ZERO, 4096, 8192).write("f", 1, 'B', 1);
    same(&["ext4-ordered"], &script, &["f=AAA", "f=ABA", "f=A00", "f=AB0"]);
    same(&["xfs", "btrfs"], &script, &["f=AAA", "f=A00", "f=AB0"]);
    same(&["ext4-journal"], &script, &["f=AAA", "f=AA0", "f=A00", "f=AB0"]);
    let found = script.at_end("ext4-writeback", &[NoTear]);
    let wanted = set(&["f=AAA", "f=ABA", "f=AB0", "f=AA0", "f=A00", "f=A?0"]);
    assert!(found.is_superset(&wanted), "{found:?}");
    // Not before the write: a range is zeroed in one step, and stays so once it is forced.
    let before = Script::new().base("f", 'A', 3).allocate("f", ZERO, 4096, 8192);
    let begin = script.trace.events[1].begin;
    for model in REAL {
        let there = |script: &Script, at| script.during(model, &[NoTear], at, at);
        assert_eq!(there(&script, begin - 1), there(&before, begin - 1), "{model}");
    }
    let synced = before.base("g", 'A', 1).append("g", 'B', 1).fsync("g").write("f", 1, 'C', 1);
    same(&["ext4-journal", "ext4-ordered"], &synced, &["f=A00 g=AB", "f=AC0 g=AB"]);
    same(&["ext4-writeback"], &synced, &["f=A00 g=AB", "f=AC0 g=AB", "f=A?0 g=AB"]);
}

/// As far as the kernel zeroes by hand: six pages before the one that is written, seven behind it, and not beyond a page
/// that is not of the range.
#[test]
fn zeros_beside_a_write() {
    let zeroed = |pages: u64, range: std::ops::Range<u64>| {
        let script = Script::new().base("f", 'A', pages);
        script.allocate("f", ZERO, range.start * 4096, (range.end - range.start) * 4096)
    };
    let alone = |script: &Script, pages: usize| -> Vec<usize> {
        let found = script.at_end("ext4-journal", &[NoTear]);
        let one = |page: &usize| {
            let tree: String = (0..pages).map(|p| if p == *page { '0' } else { 'A' }).collect();
            found.contains(&format!("f={tree}"))
        };
        (0..pages).filter(one).collect()
    };
    assert_eq!(alone(&zeroed(12, 0..12).write("f", 0, 'B', 1), 12), (1..8).collect::<Vec<_>>());
    assert_eq!(alone(&zeroed(12, 0..12).write("f", 11, 'B', 1), 12), (5..11).collect::<Vec<_>>());
    assert_eq!(alone(&zeroed(6, 1..5).write("f", 2, 'B', 1), 6), [1, 3, 4]);
    assert_eq!(alone(&zeroed(6, 1..5).write("f", 0, 'B', 1), 6), [0; 0]);
    // A page that was written since then ends the extent.
    let script = zeroed(5, 0..5).write("f", 2, 'B', 1).fsync("f").write("f", 0, 'C', 1);
    same(&["ext4-journal"], &script, &["f=00B00", "f=C0B00"]);
    // What was allocated in advance has no data that zeros could take away.
    let script = Script::new().base("f", 'A', 1).allocate("f", AllocateMode::Extend, 4096, 8192);
    let script = script.fsync("f").allocate("f", ZERO, 4096, 8192).write("f", 1, 'B', 1);
    same(&["ext4-journal", "ext4-ordered"], &script, &["f=A00", "f=AB0"]);
}

/// A write of a part of a zeroed page: the page is written in place as a whole, with the zeros around.
#[test]
fn zero_then_write_a_part() {
    let script = Script::new().base("f", 'A', 2).allocate("f", ZERO, 0, 8192);
    let script = script.bytes("f", 4196, vec![b'B'; 500], WriteSync::None);
    let page = |model: &str| {
        let model = unplug_faults::model::by_name(model).expect("model");
        let effects = model.effects(&script.trace);
        let space = unplug_faults::state::Space::new(&script.trace, &effects, model, &[NoTear]);
        let plan = unplug_faults::state::Plan { bound: 9, budget: 9999, seed: 1 };
        space.states(&plan).any(|state| {
            let data = &space.image(&state).nodes[&b"f"[..]].data;
            data[..4096] == [b'A'; 4096]
                && data[4096..4196] == [0; 100]
                && data[4196..4696] == [b'B'; 500]
                && data[4696..] == [0; 3496]
        })
    };
    assert_eq!(REAL.map(page), [false, true, true, false, false]);
}

/// The first data in blocks that were allocated in advance: with data=writeback, and dioread_lock, those may show what
/// stood there before, as new ones may.
#[test]
fn preallocated_rubbish() {
    let script = Script::new().base("f", 'A', 1).allocate("f", AllocateMode::Extend, 4096, 8192).fsync("f");
    let script = script.write("f", 1, 'B', 1);
    same(&["ext4-ordered", "ext4-journal", "xfs", "btrfs"], &script, &["f=A00", "f=AB0"]);
    same(&["ext4-writeback"], &script, &["f=A00", "f=AB0", "f=A?0"]);
    let synced = script.fsync("f").write("f", 1, 'C', 1);
    same(&["ext4-writeback"], &synced, &["f=AB0", "f=AC0"]);
}

/// Whether B and C are in a file, in all states.
fn parts(script: &Script, model: &str) -> std::collections::BTreeSet<(bool, bool)> {
    let model = unplug_faults::model::by_name(model).expect("model");
    let effects = model.effects(&script.trace);
    let space = unplug_faults::state::Space::new(&script.trace, &effects, model, &[]);
    let plan = unplug_faults::state::Plan { bound: 9, budget: 9999, seed: 1 };
    let has = |state: unplug_faults::state::CrashState| {
        let data = space.image(&state).nodes[&b"f"[..]].data.to_vec();
        (data.contains(&b'B'), data.contains(&b'C'))
    };
    space.states(&plan).map(has).collect()
}

/// R3 for blocks that were allocated in advance: their extents are marked written when all of a page is on the disk, so
/// the first data in them do not tear; what overwrites them does, and it has them whole beneath it.
#[test]
fn preallocated_pages_do_not_tear() {
    let all = |models: &[&str], script: &Script, states: &[&str]| {
        models.iter().for_each(|model| assert_eq!(script.at_end(model, &[]), set(states), "{model}"));
    };
    let allocated = |mode| Script::new().base("f", 'A', 1).allocate("f", mode, 4096, 4096).fsync("f");
    let once = allocated(AllocateMode::Extend).write("f", 1, 'B', 1);
    all(&["ext4-ordered", "xfs", "btrfs", "ext4-journal"], &once, &["f=A0", "f=AB"]);
    all(&["ext4-writeback", "posix"], &once, &["f=A0", "f=AB", "f=A?"]);
    let twice = once.write("f", 1, 'C', 1);
    all(&["btrfs", "ext4-journal"], &twice, &["f=A0", "f=AB", "f=AC"]);
    all(&["ext4-ordered", "xfs"], &twice, &["f=A0", "f=AB", "f=AC", "f=A?"]);
    let synced = twice.fsync("f").write("f", 1, 'D', 1);
    all(&["ext4-ordered", "xfs"], &synced, &["f=AC", "f=AD", "f=A?"]);
    // What is written beside the first data is not there without them: they are one page, written as a whole.
    let part = |script: Script, at, letter| script.bytes("f", at, vec![letter; 512], WriteSync::None);
    let beside = part(part(allocated(AllocateMode::Extend), 4096, b'B'), 5120, b'C');
    for (model, n) in [("ext4-ordered", 3), ("xfs", 3), ("ext4-writeback", 4)] {
        assert_eq!(parts(&beside, model).len(), n, "{model}");
        assert_eq!(parts(&beside, model).contains(&(false, true)), n == 4, "{model}");
    }
    // Beyond the end the size may come alone.
    let beyond = allocated(AllocateMode::KeepSize).write("f", 1, 'B', 1);
    all(&["ext4-ordered"], &beyond, &["f=A", "f=A0", "f=AB"]);
    all(&["xfs"], &beyond, &["f=A", "f=AB"]);
    // A block that was zeroed in place may still hold what it held: its data tear.
    let zeroed = Script::new().base("f", 'A', 1).allocate("f", ZERO, 0, 4096).write("f", 0, 'B', 1);
    all(&["ext4-ordered"], &zeroed, &["f=A", "f=0", "f=B", "f=?"]);
}

/// The zeros of a hole within a page are data: on ext4 the journal waits for them, on XFS and with data=writeback it
/// does not, and a later change that is forced takes the hole along without them.
#[test]
fn punch_in_a_page() {
    let base = || Script::new().base("f", 'A', 2).base("g", 'A', 1);
    for mode in [AllocateMode::Punch, AllocateMode::Zero { keep_size: true }] {
        let script = base().allocate("f", mode, 1000, 2000);
        let later = script.clone().append("g", 'B', 1).fsync("g");
        same(&["ext4-ordered", "ext4-journal"], &later, &["f=?A g=AB"]);
        same(&["xfs", "ext4-writeback", "btrfs", "posix"], &later, &["f=AA g=AB", "f=?A g=AB"]);
        same(&REAL, &script.fsync("f"), &["f=?A g=A"]);
    }
    // A hole up to the end of the file takes its last page as a whole, on XFS too.
    let part = || base().append_bytes("f", &[b'B'; 100]).sync_all();
    let hole = |len| part().allocate("f", AllocateMode::Punch, 8192, len).append("g", 'B', 1).fsync("g");
    for len in [100, 3000, 4096] {
        same(&["xfs", "ext4-ordered", "ext4-journal"], &hole(len), &["f=AA0 g=AB"]);
    }
    same(&["xfs"], &hole(50), &["f=AAB g=AB", "f=AA? g=AB"]);
    same(&["ext4-ordered"], &hole(50), &["f=AA? g=AB"]);
}

/// A cut within a page, and pages written behind it: on ext4 the journal waits for the zeros behind the cut. On XFS and
/// btrfs it does not, and what was cut off shows again between the two, with data=writeback likewise.
#[test]
fn cut_in_a_page() {
    let script = Script::new().base("f", 'A', 1).base("g", 'A', 1).truncate("f", 1000);
    let script = script.write("f", 2, 'B', 1).append("g", 'C', 1).fsync("g");
    let cut_shows = |model: &str| script.at_end(model, &[NoTear]).contains("f=A0B g=AC");
    let models = ["ext4-journal", "ext4-ordered", "ext4-writeback", "xfs", "btrfs", "posix"];
    assert_eq!(models.map(cut_shows), [false, false, true, true, true, true]);
    same(&REAL, &script.fsync("f"), &["f=?0B g=AC"]);
}

/// The zeros are not there before a page that has no block as yet, nor seen in one that is allocated in advance: then
/// the cut is there and nothing of what was written before it.
#[test]
fn cut_in_an_unwritten_page() {
    let g = |script: Script| script.append("g", 'C', 1).fsync("g");
    let appended =
        g(Script::new().base("f", 'A', 0).base("g", 'A', 1).append("f", 'B', 1).truncate("f", 500));
    assert!(appended.at_end("ext4-ordered", &[NoTear]).contains("f=0 g=AC"));
    let allocated =
        Script::new().base("f", 'A', 1).base("g", 'A', 1).allocate("f", AllocateMode::Extend, 4096, 4096);
    let allocated = g(allocated.fsync("f").write("f", 1, 'B', 1).truncate("f", 5000));
    assert!(allocated.at_end("ext4-ordered", &[NoTear]).contains("f=A0 g=AC"));
    // Once it was written, it is there whole, and the zeros are waited for.
    let synced = Script::new().base("f", 'A', 0).base("g", 'A', 1).append("f", 'B', 1).fsync("f");
    let synced = g(synced.truncate("f", 500).truncate("f", 4096));
    same(&["ext4-ordered"], &synced, &["f=? g=AC"]);
}

/// A write behind a gap: the page before it alone moves the size to its end. In the journal, and on btrfs, which knows
/// the new size by then, there is no such size.
#[test]
fn write_behind_a_gap() {
    let script = Script::new().base("g", 'A', 1).create("f").append_bytes("f", &[b'D'; 500]);
    let script = script.write("f", 2, 'B', 1).append("g", 'C', 1).fsync("g");
    let has = |model: &str| script.at_end(model, &[NoTear]).contains("f=? g=AC");
    let models = ["ext4-journal", "ext4-ordered", "ext4-writeback", "xfs", "btrfs", "posix"];
    assert_eq!(models.map(has), [false, true, true, true, false, true]);
}

/// A page written before a collapse moves with it: "the kernel writes the moved pages out before it shifts".
#[test]
fn write_then_collapse() {
    let script =
        Script::new().base("f", 'A', 3).write("f", 2, 'B', 1).allocate("f", AllocateMode::Collapse, 0, 4096);
    same_but_for_freed(&script, &["f=AAA", "f=AAB", "f=AB"], &["f=?AA", "f=?AB"]);
}

/// A directory that is made, filled and moved: on all of them the names come in order while nothing is synced.
#[test]
fn moved_directory() {
    let script = Script::new().mkdir("p").create("p/a").rename("p", "q").create("q/b");
    same(&REAL, &script, &["", "p/", "p/ p/a=", "q/ q/a=", "q/ q/a= q/b="]);
    // A sync of a file in it: its new ancestors under the path that they have now.
    let script = script.append("q/b", 'B', 1).fsync("q/b");
    same(&REAL[..4], &script, &["q/ q/a= q/b=B"]);
    let found = script.at_end("btrfs", &[NoTear]);
    assert!(found.contains("q/ q/a= q/b=B"), "{found:?}");
    assert!(found.iter().all(|s| s.contains("/b=B")), "never lost: {found:?}");
}

/// renameat2(RENAME_EXCHANGE) is one step everywhere.
#[test]
fn exchange() {
    let script = Script::new().base("f", 'A', 1).base("g", 'B', 1);
    let (a, b) = (script.id("f"), script.id("g"));
    let root = unplug_faults::event::FileId::ROOT;
    let op = Op::Exchange { a_dir: root, a_name: "f".into(), a, b_dir: root, b_name: "g".into(), b };
    same(&REAL, &script.clone().op(op.clone()), &["f=A g=B", "f=B g=A"]);
    same(&REAL, &script.op(op).fsync("f"), &["f=B g=A"]);
}

/// A write that lies across the old end shows its first part under the old size.
#[test]
fn write_across_the_end() {
    let script = Script::new().base("f", 'A', 1).truncate("f", 4000).fsync("f");
    let script = script.bytes("f", 3000, vec![b'B'; 2000], WriteSync::None);
    let effects = unplug_faults::effect::Effects::of(&script.trace);
    for (model, expected) in [("ext4-ordered", true), ("xfs", true), ("btrfs", true), ("ext4-journal", false)]
    {
        let model = unplug_faults::model::by_name(model).expect("model");
        let space = unplug_faults::state::Space::new(&script.trace, &effects, model, &[NoTear]);
        let plan = unplug_faults::state::Plan { bound: 9, budget: 999, seed: 1 };
        let half = space.states(&plan).any(|state| {
            let data = &space.image(&state).nodes[&b"f"[..]].data;
            data.len() == 4000 && data[3000] == b'B'
        });
        assert_eq!(half, expected, "{}", model.name());
    }
}
