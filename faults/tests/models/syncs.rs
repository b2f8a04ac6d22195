//! "What each sync persists", row by row and model by model: the answers of docs/persistence-rules.md by hand.

use crate::litmus::{Litmus, base, end, of_files, of_others};
use crate::script::{Script, set};
use unplug_faults::model;
use unplug_faults::state::Assumption::NoTear;

const MODELS: [&str; 6] = ["ext4-journal", "ext4-ordered", "ext4-writeback", "xfs", "btrfs", "posix"];

/// What is asked, and the answers in the order of [`MODELS`]; `y` forced, `-` not.
///
/// data=journal: a write is in the journal, so that any sync of a later one takes all before it along.
const ANSWERS: [(&str, &str); 31] = [
    ("fsync(f): appended data and size", "yyyyyy"),
    ("fdatasync(f): appended data and size", "yyyyyy"),
    ("fsync(f): overwritten data", "yyyyyy"),
    // POSIX: "fsync(file) [...] not its name".
    ("fsync(new file): its entry", "yyyyy-"),
    ("fdatasync(new file): its entry", "yyyyy-"),
    ("fsync(new file): the new directory it is in", "yyyyy-"),
    ("fsync(f) after rename: its new name", "yyyyy-"),
    ("fsync(f) after link: its new name", "yyyyy-"),
    // R7: on ext4 rename and link do not count as touching f; on XFS they do; btrfs logs all names.
    ("fdatasync(f) after rename, f clean: its new name", "---yy-"),
    ("fdatasync(f) after link, f clean: its new name", "---yy-"),
    ("fsync(O_TMPFILE file) after linkat: its name", "yyyyy-"),
    // R6, R2; btrfs: "nothing else is guaranteed".
    ("fsync(g) after appending to g: names changed before the append", "yyyy--"),
    ("fsync(g) after appending to g: names changed between append and fsync", "------"),
    ("fsync(g), g overwritten or clean: names changed before", "y-----"),
    // btrfs: the old path.
    ("rename of a directory, then append and fsync of a child: the new path", "yyyy--"),
    ("ftruncate + fdatasync: the size", "yyyyyy"),
    ("fallocate + fdatasync: the size", "yyyyyy"),
    ("write with O_DSYNC or RWF_DSYNC: itself and its size", "yyyyyy"),
    ("write with O_SYNC or RWF_SYNC: itself and its size", "yyyyyy"),
    // generic_write_sync: the range that was written, and no other page.
    ("write with O_DSYNC or RWF_DSYNC: an earlier write to another page of the file", "y-----"),
    ("write with O_DSYNC or RWF_DSYNC: an earlier rename of the file", "y--yy-"),
    ("write with O_SYNC or RWF_SYNC: an earlier rename of the file", "yyyyy-"),
    ("fsync(directory): its entries", "yyyyyy"),
    // "the children's data not: size 0".
    ("fsync(directory): the data of the files in it", "------"),
    ("rename between directories + fsync(destination): the new name", "yyyyyy"),
    // btrfs: both names. posix renames whole.
    ("rename between directories + fsync(destination): the old name is gone", "yyyy-y"),
    ("rename between directories + fsync(source): the old name is gone, the new there", "yyyyyy"),
    ("syncfs, sync(2): names", "yyyyyy"),
    ("syncfs, sync(2): appended data", "yyyyyy"),
    // XFS: no flush if the log is clean.
    ("syncfs, sync(2): overwritten data", "yyy-yy"),
    ("sync_file_range: overwritten data", "------"),
];

#[test]
fn what_each_sync_persists() {
    let rows: Vec<Litmus> = of_files().into_iter().chain(of_others()).collect();
    assert_eq!(rows.len(), ANSWERS.len());
    for (row, (what, answers)) in rows.iter().zip(ANSWERS) {
        assert_eq!(row.what, what);
        let found: String = MODELS.iter().map(|model| if row.ask(model) { 'y' } else { '-' }).collect();
        assert_eq!(found, answers, "{what}: {MODELS:?}");
    }
}

/// btrfs: "cross-directory rename + fsync(destination dir) only: both names", or the whole rename.
#[test]
fn btrfs_leaves_both_names() {
    let script = base().rename("d/x", "e/x").fsync("e");
    assert_eq!(script.at_end("btrfs", &[]), set(&["d/ d/x=A e/ e/x->d/x f=A g=A", "d/ e/ e/x=A f=A g=A"]));
    // Where no log holds the destination, it is one step of a commit.
    let script = base().rename("d/x", "e/x").append("g", 'B', 1).fsync("g");
    assert_eq!(script.at_end("btrfs", &[]), set(&["d/ d/x=A e/ f=A g=AB", "d/ e/ e/x=A f=A g=AB"]));
    // And "all its names, the removal of old names" where the file itself is synced.
    let script = base().rename("d/x", "e/x").fsync("e/x");
    assert_eq!(script.at_end("btrfs", &[]), set(&["d/ e/ e/x=A f=A g=A"]));
}

/// A log comes back as a whole: while the sync of the directory runs, an entry that was made after a rename into
/// it is not there without the new name. (The old one may be there too.) Also where the crash comes much later, and
/// where a log of something else might have brought the entry.
#[test]
fn btrfs_logs_of_directories_are_whole() {
    let renamed = base().rename("d/x", "e/x");
    let entry = |state: &String| state.contains("e/n=");
    let without = |state: &String| !state.contains("e/x");
    let during = renamed.clone().create("e/n").fsync("e").during("btrfs", &[NoTear], 0, u64::MAX);
    assert!(during.iter().any(entry) && during.iter().any(|s| s.contains("d/x=A") && s.contains("e/x->d/x")));
    assert!(!during.iter().any(|s| entry(s) && without(s)), "{during:?}");
    // Forced by the first sync, and so there with the second.
    let later = renamed.clone().fsync("e").create("e/n").append("e/n", 'B', 1).fsync("e/n");
    let found = later.at_end("btrfs", &[NoTear]);
    assert!(found.iter().all(|s| entry(s) && !without(s)), "{found:?}");
    // The log of a file in the directory may bring the entry alone.
    let other =
        renamed.create("e/n").create("e/m").fsync("e/m").fsync("e").during("btrfs", &[NoTear], 0, u64::MAX);
    assert!(other.iter().any(|s| entry(s) && without(s)), "{other:?}");
}

/// A temporary file, synced, renamed, the directory synced.
fn replace(script: Script, letter: char) -> Script {
    let script = script.create("d/t").append("d/t", letter, 1).fsync("d/t");
    script.rename("d/t", "d/m").fsync("d")
}

/// The script's states at its end: `states` in all models, but for those of btrfs. When everything was synced, all
/// have those (posix-split promises nothing of that).
fn but_for_btrfs(script: &Script, states: &[&str], on_btrfs: &[&str]) {
    for model in model::all() {
        let expected = if model.name() == "btrfs" { [states, on_btrfs].concat() } else { states.to_vec() };
        assert_eq!(script.at_end(model.name(), &[]), set(&expected), "{}", model.name());
        if model.name() != "posix-split" {
            let later = script.clone().sync_all().at_end(model.name(), &[]);
            assert_eq!(later, set(states), "{}, all synced", model.name());
        }
    }
}

/// The standard's own promise, in every model but one: when the sync of a directory has returned, its names are as
/// they were set. btrfs breaks it: a file that was synced and then renamed over another one comes back under the name
/// by which it had been synced, when it is replaced or removed.
#[test]
fn a_file_that_is_gone_stays_away() {
    // Where its rename replaced nothing, nothing of that was seen.
    let fresh = || Script::new().base_dir("d");
    but_for_btrfs(&replace(replace(fresh(), 'B'), 'C'), &["d/ d/m=C"], &[]);
    let old = || fresh().base("d/m", 'A', 1);
    but_for_btrfs(&replace(replace(old(), 'B'), 'C'), &["d/ d/m=C"], &["d/ d/m=C d/t=B"]);
    but_for_btrfs(&replace(old(), 'B').unlink("d/m").fsync("d"), &["d/"], &["d/ d/t=B"]);
    // Nor where it was synced by its new name.
    let synced = replace(old(), 'B').fsync("d/m").unlink("d/m").fsync("d");
    but_for_btrfs(&synced, &["d/"], &[]);
    // Moved away and back, as the engine removes a file.
    let back = replace(old(), 'B').rename("d/m", "d/t").fsync("d").unlink("d/t").fsync("d");
    but_for_btrfs(&back, &["d/"], &["d/ d/t=B"]);
}

/// btrfs: likewise a file that is moved to another directory is there under the name by which it was synced, too.
#[test]
fn btrfs_leaves_the_synced_name_of_a_moved_file() {
    let script = replace(Script::new().base_dir("d").base_dir("e").base("d/m", 'A', 1), 'B');
    let script = script.rename("d/m", "e/q").fsync("d").fsync("e");
    but_for_btrfs(&script, &["d/ e/ e/q=B"], &["d/ d/t=B e/ e/q->d/t"]);
}

/// btrfs: what replaced a file is removed, and the old one is there again, until the directory is synced.
#[test]
fn btrfs_has_the_replaced_file_again() {
    let script = Script::new().base("m", 'A', 1).create("t").append("t", 'B', 1).fsync("t").rename("t", "m");
    let script = script.fsync("m").unlink("m");
    assert_eq!(script.at_end("btrfs", &[]), set(&["", "m=A", "m=B"]));
    assert_eq!(script.at_end("ext4-ordered", &[]), set(&["", "m=B"]));
    assert_eq!(script.fsync(".").at_end("btrfs", &[]), set(&[""]));
}

/// btrfs: "rename a directory; append and fsync a child: old path"; a commit after the rename has the new one.
#[test]
fn btrfs_renamed_directory() {
    let script = base().rename("d", "q").append("q/x", 'B', 1).fsync("q/x");
    assert_eq!(script.at_end("btrfs", &[]), set(&["d/ d/x=AB e/ f=A g=A", "e/ f=A g=A q/ q/x=AB"]));
}

/// btrfs: "Allowed extras: other entries of parent directories, individually".
#[test]
fn btrfs_may_log_the_parents_entries() {
    let script = base().create("a").create("b").create("d/c").create("n").fsync("n");
    let found = end(&script, "btrfs");
    for extra in ["", "a= ", "b= "] {
        assert!(
            found.iter().any(|s| s.replace("d/ d/x=A e/ ", "") == format!("{extra}f=A g=A n=")),
            "{found:?}"
        );
    }
    // d is no parent of n: its entry comes by a commit only, with what was before it.
    let lonely = |s: &&String| s.contains("d/c") && !(s.contains("a=") && s.contains("b="));
    assert_eq!(found.iter().find(lonely), None);
    assert!(found.iter().any(|s| s.contains("d/c")), "{found:?}");
}

/// btrfs: "a rename of an already logged inode rides on any later log sync".
#[test]
fn btrfs_renames_of_logged_files_ride_along() {
    let before = base().create("d/c").append("f", 'B', 1).fsync("f").rename("f", "h");
    let rides = before.clone().write("d/x", 0, 'C', 1).fsync("d/x").at_end("btrfs", &[]);
    assert!(rides.contains("d/ d/x=C e/ g=A h=AB"), "without d/c: {rides:?}");
    // Not so that of a file that no sync has logged: by a commit only, which has d/c.
    let other = base().mkdir("z").rename("f", "h").write("d/x", 0, 'C', 1).fsync("d/x").at_end("btrfs", &[]);
    assert!(other.iter().all(|s| !s.contains("h=A") || s.contains("z/")), "{other:?}");
}

/// btrfs: a log that puts a new file where another one had its name in the last commit has that other one's new
/// name too: a rotated log is never lost.
#[test]
fn btrfs_logs_inodes_whose_names_conflict() {
    let script = base().rename("f", "h").create("f").append("f", 'B', 1).fsync("f");
    assert_eq!(end(&script, "btrfs"), set(&["f=B g=A h=A"]));
}

/// "D needs c at or after the M before that write, or an fsync of f": an overwrite too, which ext4 and XFS have
/// without edges (R3).
#[test]
fn btrfs_overwrites_follow_the_names_before_them() {
    let script = base().rename("f", "h").write("g", 0, 'B', 1);
    assert_eq!(end(&script, "btrfs"), set(&["f=A g=A", "g=A h=A", "g=B h=A"]));
    assert_eq!(end(&script, "xfs"), set(&["f=A g=A", "f=A g=B", "g=A h=A", "g=B h=A"]));
    assert_eq!(end(&script.fsync("g"), "btrfs"), set(&["f=A g=B", "g=B h=A"]));
}

/// A synchronous write is a log of its own file, and forces no other names (seen on a real kernel).
#[test]
fn btrfs_synchronous_writes_force_no_names() {
    let page = crate::script::pages('B', 1);
    let write = |sync| base().rename("g", "h").bytes("f", 4096, page.clone(), sync);
    for sync in [unplug_faults::event::WriteSync::Data, unplug_faults::event::WriteSync::Full] {
        assert_eq!(end(&write(sync), "btrfs"), set(&["f=AB g=A", "f=AB h=A"]));
        assert_eq!(end(&write(sync), "xfs"), set(&["f=AB h=A"]));
    }
}
