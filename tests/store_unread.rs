//! Rust stores whose recovery leaves a part of the disk unread, or learns of it in roundabout ways: the same is found
//! whether images that differ there are recovered once or each.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use unplug::cell::CellResult;
use unplug::dump::Dump;
use unplug::testing::{BoxError, Map, MapOp, Reply, Report, Store, StoreModel};
use unplug::verdict::Verdict;

/// A map in one file, which is replaced as a whole, beside a log of four pages for each operation that nobody needs.
/// `HOW` is what its recovery makes of that.
struct Noted<const HOW: usize> {
    dir: PathBuf,
    map: Map,
}

/// Nothing.
const IGNORED: usize = 0;
/// It forgets everything when the notes are exactly two pages long.
const SIZED: usize = 1;
/// It forgets everything when the second page of the notes is there.
const PAGED: usize = 2;
/// Nothing, but it starts a program.
const HELPED: usize = 3;

const PAGE: u64 = 4096;

impl<const HOW: usize> Noted<HOW> {
    /// Whether the notes make it forget.
    fn forgets(dir: &Path) -> Result<bool, BoxError> {
        let notes = dir.join("notes");
        Ok(match HOW {
            SIZED => fs::metadata(notes).is_ok_and(|meta| meta.len() == 2 * PAGE),
            PAGED => {
                let mut byte = [0];
                let there = File::open(notes).and_then(|file| file.read_at(&mut byte, PAGE));
                there.is_ok_and(|n| n == 1) && byte == [7]
            }
            HELPED => !Command::new("/bin/true").status()?.success(),
            _ => false,
        })
    }
}

impl<const HOW: usize> Store for Noted<HOW> {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let mut map: Map = match fs::read(dir.join("map")) {
            Ok(bytes) => serde_json::from_slice::<Vec<_>>(&bytes)?.into_iter().collect(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Map::new(),
            Err(e) => return Err(e.into()),
        };
        if Self::forgets(dir)? {
            map.clear();
        }
        Ok(Noted { dir: dir.to_path_buf(), map })
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        StoreModel::apply(&mut self.map, op);
        let mut file = File::create(self.dir.join("map.new"))?;
        file.write_all(&serde_json::to_vec(&self.map.iter().collect::<Vec<_>>())?)?;
        file.sync_all()?;
        fs::rename(self.dir.join("map.new"), self.dir.join("map"))?;
        File::open(&self.dir)?.sync_all()?;
        // Recovery does not get here: it opens, and dumps.
        let mut notes = File::options().append(true).create(true).open(self.dir.join("notes"))?;
        for _ in 0..4 {
            notes.write_all(&[7; PAGE as usize])?;
        }
        Ok(Reply::DONE)
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        Ok(self.map.clone().into_iter().collect())
    }
}

/// What a check came to, whatever was recovered for it; how many images were, and how many were spared.
fn outcome(report: &Report) -> (Vec<String>, u64, u64) {
    let cell = |cell: &CellResult| {
        let found: Vec<_> =
            cell.findings.iter().map(|f| (f.violation.class, f.mechanism.as_str(), f.states)).collect();
        format!("{} {:?} {} {found:?}", cell.model, cell.verdict, cell.states_checked)
    };
    let sum = |of: fn(&CellResult) -> u64| report.cells().iter().map(of).sum();
    let told = report.cells().iter().map(cell).collect();
    (told, sum(|cell| cell.images_recovered), sum(|cell| cell.saved.unread))
}

/// The verdict, and how many images were recovered and spared; the same with and without.
fn compared(run: impl Fn(bool) -> Report) -> Option<(Verdict, u64, u64)> {
    let (pruned, whole) = (run(true), run(false));
    if pruned.is_elsewhere() {
        return None;
    }
    let ((same, recovered, spared), (all, every, none)) = (outcome(&pruned), outcome(&whole));
    assert_eq!(same, all);
    assert_eq!((recovered + spared, none), (every, 0));
    Some((pruned.verdict(), recovered, spared))
}

fn ops() -> [MapOp; 2] {
    [MapOp::put("a", "1"), MapOp::put("b", "2")]
}

#[test]
fn what_is_never_read_is_spared() {
    let run =
        |prune| unplug::check!(Noted<IGNORED>).ops(ops()).budget(300).prune(prune).run().expect("a result");
    let Some((verdict, recovered, spared)) = compared(run) else { return };
    assert!(verdict == Verdict::Holds && spared > 3 * recovered, "{verdict:?} {recovered} {spared}");
}

#[test]
fn a_size_that_was_seen_counts() {
    let run =
        |prune| unplug::check!(Noted<SIZED>).ops(ops()).budget(300).prune(prune).run().expect("a result");
    let Some((verdict, recovered, spared)) = compared(run) else { return };
    assert!(verdict == Verdict::Violated && spared > recovered, "{verdict:?} {recovered} {spared}");
}

#[test]
fn a_page_that_was_read_counts() {
    let run =
        |prune| unplug::check!(Noted<PAGED>).ops(ops()).budget(300).prune(prune).run().expect("a result");
    let Some((verdict, recovered, spared)) = compared(run) else { return };
    assert!(verdict == Verdict::Violated && spared > recovered, "{verdict:?} {recovered} {spared}");
}

/// Under the log no program can be started. That is no fault of the store's: each image is recovered without it.
#[test]
fn a_store_that_starts_a_program_is_measured_all_the_same() {
    let check =
        || unplug::check!(Noted<HELPED>).ops(ops()).budget(12).recovery_depth(0).models(["ext4-ordered"]);
    let report = check().run().expect("a result");
    if report.is_elsewhere() {
        return;
    }
    assert_eq!(report.verdict(), Verdict::Holds, "{report}");
    assert_eq!(outcome(&report).2, 0, "{report}");
}
