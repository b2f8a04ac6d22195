//! The five workloads of docs/persistence-rules.md with the states that real ext4 showed at their end, page
//! by page (tearing is assumed away: the measurements are by page).

use crate::script::{Script, set};
use unplug_faults::effect::Orders;
use unplug_faults::event::{Op, WriteSync};
use unplug_faults::state::Assumption::NoTear;

const EXT4: &str = "ext4-ordered";

/// a: two pages appended, no sync. R2 (the size floats), R4 (any page of it may read as zeros).
#[test]
fn a_append_without_sync() {
    let script = Script::new().base("f", 'A', 1).append("f", 'B', 2);
    let seen = script.at_end(EXT4, &[NoTear]);
    assert_eq!(seen, set(&["f=A", "f=AB", "f=A0", "f=ABB", "f=A00", "f=AB0", "f=A0B"]));
}

/// b: a temporary file of three pages renamed over f, no sync. Before the rename any part of the temporary;
/// with it auto_da_alloc has all of the size: old, N pages of which any may be zeros, or new. 24 states.
#[test]
fn b_replace_without_sync() {
    let script = Script::new().base("f", 'A', 2).create("t").append("t", 'B', 3).rename("t", "f");
    let seen = script.at_end(EXT4, &[NoTear]);
    assert_eq!(seen.len(), 24, "{seen:?}");
    for state in ["f=AA", "f=AA t=", "f=AA t=000", "f=AA t=00B", "f=AA t=BB", "f=AA t=BBB", "f=000", "f=BBB"]
    {
        assert!(seen.contains(state), "{state} of {seen:?}");
    }
    // The size is never short once the rename is there.
    assert!(!seen.contains("f=") && !seen.contains("f=BB"), "{seen:?}");
}

/// c: the temporary is synced before the rename; the directory is not: old or new, whole. 2 states.
#[test]
fn c_replace_with_fsync() {
    let script = Script::new().base("f", 'A', 2).create("t").append("t", 'B', 3).fsync("t").rename("t", "f");
    assert_eq!(script.at_end(EXT4, &[NoTear]), set(&["f=AA t=BBB", "f=BBB"]));
}

/// d: two files appended to, g synced: g is whole, f as in a. 7 states.
#[test]
fn d_sync_of_another_file() {
    let script =
        Script::new().base("f", 'A', 1).base("g", 'A', 1).append("f", 'B', 2).append("g", 'C', 2).fsync("g");
    let seen = script.at_end(EXT4, &[NoTear]);
    assert_eq!(seen.len(), 7, "{seen:?}");
    assert!(seen.iter().all(|state| state.ends_with("g=ACC")), "{seen:?}");
}

/// e: three pages overwritten in place, g synced: R3, each page old or new by itself. 8 states.
#[test]
fn e_overwrite() {
    let script = Script::new()
        .base("f", 'A', 3)
        .base("g", 'A', 1)
        .write("f", 0, 'B', 3)
        .append("g", 'C', 1)
        .fsync("g");
    let seen = script.at_end(EXT4, &[NoTear]);
    assert_eq!(seen.len(), 8, "{seen:?}");
    assert!(seen.contains("f=BBA g=AC") && seen.contains("f=AAB g=AC"), "{seen:?}");
}

/// R3: an overwritten page tears by sector: 2 to the 8 contents of one page.
#[test]
fn overwritten_page_tears_by_sector() {
    let script = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1);
    assert_eq!(script.at_end(EXT4, &[]), set(&["f=A", "f=B", "f=?"]));
    let effects = unplug_faults::effect::Effects::of(&script.trace);
    let model = unplug_faults::model::by_name(EXT4).expect("model");
    let space = unplug_faults::state::Space::new(&script.trace, &effects, model, &[]);
    assert_eq!(space.count().states, 256u32.into());
}

/// R5: a truncate is a journalled change: what it cut is gone with it, what follows needs it.
#[test]
fn truncate_and_write_again() {
    let script = Script::new().base("f", 'A', 2).truncate("f", 0).append("f", 'B', 1);
    assert_eq!(script.at_end(EXT4, &[NoTear]), set(&["f=AA", "f=", "f=0", "f=B"]));
    // POSIX orders nothing: the new data may stand in the old file.
    let posix = script.at_end("posix", &[NoTear]);
    assert!(posix.contains("f=BA"), "{posix:?}");
}

/// posix: an append may show zeros or garbage before its data; nothing orders two pages.
#[test]
fn posix_append() {
    let script = Script::new().base("f", 'A', 1).append("f", 'B', 2);
    let seen = script.at_end("posix", &[NoTear]);
    assert_eq!(
        seen,
        set(&[
            "f=A", "f=AB", "f=A0", "f=A?", "f=ABB", "f=A00", "f=AB0", "f=A0B", "f=A??", "f=A?B", "f=AB?",
            "f=A0?", "f=A?0"
        ])
    );
}

/// posix: fsync(file) forces its content, *not its name*; a rename is whole.
#[test]
fn posix_names_are_not_synced_with_the_file() {
    let script = Script::new().base("f", 'A', 1).create("t").append("t", 'B', 1).fsync("t").rename("t", "f");
    let seen = script.at_end("posix", &[]);
    assert_eq!(seen, set(&["f=A", "f=A t=B", "f=B"]));
    // A name is not forced by its file's sync, but by its directory's.
    let seen = script.fsync(".").at_end("posix", &[]);
    assert_eq!(seen, set(&["f=B"]));
}

/// posix-split: a rename falls into removing the target, removing the source, and the new name.
#[test]
fn posix_split_rename() {
    let script = Script::new().base("f", 'A', 1).base("t", 'B', 1).rename("t", "f");
    assert_eq!(script.at_end("posix", &[]), set(&["f=A t=B", "f=B"]));
    let split = script.at_end("posix-split", &[]);
    assert_eq!(split, set(&["f=A t=B", "t=B", "f=A", "", "f=B t->f", "f=B"]));
}

/// posix-split: of a rename between directories, a directory's sync forces its own entry only, which leaves
/// both names (as btrfs does) or neither.
#[test]
fn posix_split_rename_between_directories() {
    let script = Script::new().base_dir("d").base_dir("e").base("d/x", 'A', 1).rename("d/x", "e/x");
    let seen = script.clone().fsync("e").at_end("posix-split", &[]);
    assert_eq!(seen, set(&["d/ d/x=A e/ e/x->d/x", "d/ e/ e/x=A"]));
    let seen = script.clone().fsync("d").at_end("posix-split", &[]);
    assert_eq!(seen, set(&["d/ e/", "d/ e/ e/x=A"]));
    let seen = script.fsync("d").fsync("e").at_end("posix-split", &[]);
    assert_eq!(seen, set(&["d/ e/ e/x=A"]));
}

/// prefix: in order, sizes with their data.
#[test]
fn prefix_in_order() {
    let script = Script::new().base("f", 'A', 1).append("f", 'B', 2).create("g").append("f", 'C', 1);
    let seen = script.at_end("prefix", &[]);
    assert_eq!(seen, set(&["f=A", "f=AB", "f=ABB", "f=ABB g=", "f=ABBC g="]));
}

/// Assumptions take away what their name says.
#[test]
fn assumptions() {
    use unplug_faults::state::Assumption::{NamesWithData, NoZeroFill, OrderedNames, SizeWithData};
    let script = Script::new().base("f", 'A', 1).append("f", 'B', 2);
    assert_eq!(script.at_end(EXT4, &[NoTear, NoZeroFill]), set(&["f=A", "f=AB", "f=ABB"]));
    assert_eq!(script.at_end("posix", &[NoTear, SizeWithData]), set(&["f=A", "f=AB", "f=ABB"]));
    let names = Script::new().create("a").create("b");
    assert_eq!(names.at_end("posix", &[]).len(), 4);
    assert_eq!(names.at_end("posix", &[OrderedNames]), set(&["", "a=", "a= b="]));
    let replace = Script::new().base("f", 'A', 1).create("t").append("t", 'B', 1).rename("t", "f");
    let seen = replace.at_end("posix", &[NoTear, NamesWithData]);
    assert!(seen.contains("f=B") && !seen.contains("f=0") && !seen.contains("f="), "{seen:?}");
}

/// truncate(2) to the middle of a page zeroes the page's rest in memory and that page is written back by itself
/// (ext4_block_truncate_page dirties it); the size is in the journal. So the rest may be zero under the old size.
#[test]
fn zeros_of_a_cut_page_before_the_truncate() {
    let script = Script::new().base("f", 'A', 2).truncate("f", 2048);
    for model in [EXT4, "posix"] {
        let effects = unplug_faults::effect::Effects::of(&script.trace);
        let model = unplug_faults::model::by_name(model).expect("model");
        let space = unplug_faults::state::Space::new(&script.trace, &effects, model, &[NoTear]);
        let plan = unplug_faults::state::Plan { bound: 9, budget: 99, seed: 1 };
        let found: Vec<Vec<u8>> =
            space.states(&plan).map(|state| space.image(&state).nodes[&b"f"[..]].data.clone()).collect();
        let zeroed = [vec![b'A'; 2048], vec![0; 2048], vec![b'A'; 4096]].concat();
        assert!(found.contains(&zeroed), "old size, zeros behind the cut");
        assert!(found.contains(&vec![b'A'; 8192]) && found.contains(&vec![b'A'; 2048]));
    }
    // In order, the truncate is one step; a truncate at a page's border zeroes nothing.
    assert_eq!(script.at_end("prefix", &[]), set(&["f=AA", "f=A"]));
    let script = Script::new().base("f", 'A', 2).truncate("f", 4096);
    assert_eq!(script.at_end(EXT4, &[]), set(&["f=AA", "f=A"]));
}

/// What is appended behind a cut goes to the page with the zeros, not beside the bytes from before it: there is no
/// state in which the new bytes stand and the old ones of the same sector behind them do too.
#[test]
fn append_behind_a_cut_goes_with_its_zeros() {
    let script = Script::new().base("f", 'A', 1).truncate("f", 2048);
    let script = script.bytes("f", 2048, vec![b'B'; 100], WriteSync::None);
    let effects = unplug_faults::effect::Effects::of(&script.trace);
    let model = unplug_faults::model::by_name(EXT4).expect("model");
    let space = unplug_faults::state::Space::new(&script.trace, &effects, model, &[]);
    let plan = unplug_faults::state::Plan { bound: 9, budget: 9999, seed: 1 };
    let mut states = space.states(&plan);
    let mut in_place = false;
    for state in states.by_ref() {
        let data = &space.image(&state).nodes[&b"f"[..]].data;
        if data.get(2048) == Some(&b'B') {
            assert!(data.get(2148).is_none_or(|b| *b == 0), "zeros behind the new bytes");
            // R3: the page may be there before the truncate is.
            in_place |= data.len() == 4096;
        }
    }
    assert!(states.is_exhaustive() && in_place);
}

/// R3: a file that is open keeps its blocks when its last name goes; a write over one of them can reach the disk
/// before the removal. One that allocates cannot (R2).
#[test]
fn write_after_unlink() {
    let script = Script::new().base("f", 'A', 1);
    let file = script.id("f");
    let write = |offset| Op::Write { file, offset, data: vec![b'B'; 4096], sync: WriteSync::None };
    let over = script.clone().unlink("f").op(write(0));
    assert_eq!(over.at_end(EXT4, &[NoTear]), set(&["f=A", "f=B", ""]));
    let behind = script.unlink("f").op(write(4096));
    assert_eq!(behind.at_end(EXT4, &[NoTear]), set(&["f=A", ""]));
}

/// A call inside which the target was killed is over when the next life begins: what that one syncs is there.
#[test]
fn what_a_killed_call_did_is_synced_by_the_next_life() {
    let killed = || Script::new().base("f", 'A', 1).write("f", 0, 'B', 1).killed().kill();
    for model in ["ext4-ordered", "ext4-writeback", "ext4-journal", "xfs", "btrfs", "posix", "posix-split"] {
        let (before, after) = (killed(), killed().fsync("f"));
        assert_eq!(before.at_end(model, &[NoTear]), set(&["f=A", "f=B"]), "{model}");
        assert_eq!(after.at_end(model, &[NoTear]), set(&["f=B"]), "{model}");
        // Nothing of it was on the disk for sure before that.
        let amid = after.during(model, &[NoTear], 1, 4);
        assert_eq!(amid, set(&["f=A", "f=B"]), "{model}");
        let returned = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1).sync_all();
        let all = killed().sync_all().at_end(model, &[NoTear]);
        assert_eq!(all, returned.at_end(model, &[NoTear]), "{model}");
        // A sync inside which it was killed has forced nothing.
        let sync = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1).fsync("f").killed().kill();
        assert_eq!(sync.at_end(model, &[NoTear]), set(&["f=A", "f=B"]), "{model}");
    }
}

/// And it comes before what the next life does: no order is possible in which it does not.
#[test]
fn what_a_killed_call_did_comes_before_the_next_life() {
    let script = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1).killed().kill().write("f", 0, 'C', 1);
    assert_eq!(Orders::of(&script.trace).traces.len(), 1);
    let one_life = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1).killed().write("f", 0, 'C', 1);
    assert_eq!(Orders::of(&one_life.trace).traces.len(), 2);
}
