//! Small programs, each with one question to a model: what "What each sync persists" asks row by row.

use crate::script::{Script, pages};
use std::collections::BTreeSet;
use unplug_faults::event::{AllocateMode, Op, SyncKind, WriteSync};
use unplug_faults::state::Assumption::NoTear;

/// One row: is it so in every state that the model allows at the end?
pub struct Litmus {
    pub what: &'static str,
    pub source: &'static str,
    pub script: Script,
    pub holds: fn(&str) -> bool,
}

pub fn base() -> Script {
    Script::new().base("f", 'A', 1).base("g", 'A', 1).base_dir("d").base_dir("e").base("d/x", 'A', 1)
}

/// Every state at the end, but for what `base` has and nothing here touches.
pub fn end(script: &Script, model: &str) -> BTreeSet<String> {
    let without = |s: String| s.replace("d/ d/x=A e/ ", "");
    script.at_end(model, &[NoTear]).into_iter().map(without).collect()
}

impl Litmus {
    /// `true`: forced.
    pub fn ask(&self, model: &str) -> bool {
        self.script.at_end(model, &[NoTear]).iter().all(|state| (self.holds)(state))
    }
}

fn has(state: &str, part: &str) -> bool {
    state.split(' ').any(|word| word == part)
}

const NOTES: &str = "measured: What each sync persists";

fn row(what: &'static str, source: &'static str, script: Script, holds: fn(&str) -> bool) -> Litmus {
    Litmus { what, source, script, holds }
}

/// What a sync of a file forces.
pub fn of_files() -> Vec<Litmus> {
    let new = || base().create("n").append("n", 'B', 1);
    vec![
        row("fsync(f): appended data and size", "fsync(2)", base().append("f", 'B', 1).fsync("f"), |s| {
            has(s, "f=AB")
        }),
        row(
            "fdatasync(f): appended data and size",
            "fdatasync(2)",
            base().append("f", 'B', 1).fdatasync("f"),
            |s| has(s, "f=AB"),
        ),
        row("fsync(f): overwritten data", "fsync(2)", base().write("f", 0, 'B', 1).fsync("f"), |s| {
            has(s, "f=B")
        }),
        row("fsync(new file): its entry", NOTES, new().fsync("n"), |s| has(s, "n=B")),
        row("fdatasync(new file): its entry", NOTES, new().fdatasync("n"), |s| has(s, "n=B")),
        row(
            "fsync(new file): the new directory it is in",
            NOTES,
            base().mkdir("p").create("p/n").append("p/n", 'B', 1).fsync("p/n"),
            |s| has(s, "p/n=B"),
        ),
        row("fsync(f) after rename: its new name", NOTES, base().rename("f", "h").fsync("h"), |s| {
            has(s, "h=A") && !has(s, "f=A")
        }),
        row("fsync(f) after link: its new name", NOTES, base().link("f", "k").fsync("f"), |s| has(s, "k->f")),
        row(
            "fdatasync(f) after rename, f clean: its new name",
            NOTES,
            base().rename("f", "h").fdatasync("h"),
            |s| has(s, "h=A"),
        ),
        row(
            "fdatasync(f) after link, f clean: its new name",
            NOTES,
            base().link("f", "k").fdatasync("f"),
            |s| has(s, "k->f"),
        ),
        row(
            "fsync(O_TMPFILE file) after linkat: its name",
            "R6; O_TMPFILE in open(2)",
            base().tmpfile("#1").append("#1", 'B', 1).link("#1", "n").fsync("n"),
            |s| has(s, "n=B"),
        ),
        row(
            "fsync(g) after appending to g: names changed before the append",
            NOTES,
            base().rename("f", "h").append("g", 'B', 1).fsync("g"),
            |s| has(s, "h=A"),
        ),
        row(
            "fsync(g) after appending to g: names changed between append and fsync",
            "measured: R6 (only if the append was not yet committed, so not forced)",
            base().append("g", 'B', 1).rename("f", "h").fsync("g"),
            |s| has(s, "h=A"),
        ),
        row(
            "fsync(g), g overwritten or clean: names changed before",
            NOTES,
            base().rename("f", "h").write("g", 0, 'B', 1).fsync("g"),
            |s| has(s, "h=A"),
        ),
        row(
            "rename of a directory, then append and fsync of a child: the new path",
            NOTES,
            base().rename("d", "q").append("q/x", 'B', 1).fsync("q/x"),
            |s| has(s, "q/x=AB"),
        ),
        row("ftruncate + fdatasync: the size", NOTES, base().truncate("f", 0).fdatasync("f"), |s| {
            has(s, "f=")
        }),
        row(
            "fallocate + fdatasync: the size",
            NOTES,
            base().allocate("f", AllocateMode::Extend, 0, 4 * 4096).fdatasync("f"),
            |s| has(s, "f=A000"),
        ),
        row(
            "write with O_DSYNC or RWF_DSYNC: itself and its size",
            NOTES,
            base().bytes("f", 4096, pages('B', 1), WriteSync::Data),
            |s| has(s, "f=AB"),
        ),
        row(
            "write with O_SYNC or RWF_SYNC: itself and its size",
            NOTES,
            base().bytes("f", 4096, pages('B', 1), WriteSync::Full),
            |s| has(s, "f=AB"),
        ),
        row(
            "write with O_DSYNC or RWF_DSYNC: an earlier write to another page of the file",
            "open(2): as if followed by fdatasync, of this write alone",
            base().append("g", 'A', 1).fsync("g").write("g", 1, 'B', 1).bytes(
                "g",
                0,
                pages('B', 1),
                WriteSync::Data,
            ),
            |s| has(s, "g=BB"),
        ),
        row(
            "write with O_DSYNC or RWF_DSYNC: an earlier rename of the file",
            "R7: as fdatasync",
            base().rename("f", "h").bytes("h", 0, pages('B', 1), WriteSync::Data),
            |s| has(s, "h=B"),
        ),
        row(
            "write with O_SYNC or RWF_SYNC: an earlier rename of the file",
            "R6: as fsync",
            base().rename("f", "h").bytes("h", 0, pages('B', 1), WriteSync::Full),
            |s| has(s, "h=B"),
        ),
    ]
}

/// What other syncs force.
pub fn of_others() -> Vec<Litmus> {
    let range = base().write("f", 0, 'B', 1);
    let file = range.id("f");
    vec![
        row("fsync(directory): its entries", NOTES, base().create("n").unlink("g").fsync("."), |s| {
            has(s, "n=") && !has(s, "g=A")
        }),
        row(
            "fsync(directory): the data of the files in it",
            NOTES,
            base().create("n").append("n", 'B', 1).fsync("."),
            |s| has(s, "n=B"),
        ),
        row(
            "rename between directories + fsync(destination): the new name",
            NOTES,
            base().rename("d/x", "e/x").fsync("e"),
            |s| s.contains("e/x"),
        ),
        row(
            "rename between directories + fsync(destination): the old name is gone",
            NOTES,
            base().rename("d/x", "e/x").fsync("e"),
            |s| !s.contains("d/x"),
        ),
        row(
            "rename between directories + fsync(source): the old name is gone, the new there",
            "btrfs_record_unlink_dir for btrfs; R6",
            base().rename("d/x", "e/x").fsync("d"),
            |s| !s.contains("d/x") && has(s, "e/x=A"),
        ),
        row("syncfs, sync(2): names", NOTES, base().rename("f", "h").sync_all(), |s| has(s, "h=A")),
        row("syncfs, sync(2): appended data", NOTES, base().append("f", 'B', 1).sync_all(), |s| {
            has(s, "f=AB")
        }),
        row("syncfs, sync(2): overwritten data", NOTES, base().write("f", 0, 'B', 1).sync_all(), |s| {
            has(s, "f=B")
        }),
        row(
            "sync_file_range: overwritten data",
            "sync_file_range(2): no guarantees after a crash",
            range.op(Op::Sync { file, kind: SyncKind::Range { offset: 0, len: 0 } }),
            |s| has(s, "f=B"),
        ),
    ]
}
