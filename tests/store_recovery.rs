//! A Rust store whose mistake shows only when power is lost while it recovers from a power loss.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use unplug::cell::Recoveries;
use unplug::dump::Dump;
use unplug::testing::{BoxError, Map, MapOp, Reply, Store, StoreModel};
use unplug::verdict::{Class, Verdict};

/// A log of puts, each with its checksum. What it does with a torn tail when it opens is told by `ASIDE`: it writes
/// the good part anew, as another file that takes the name, or over the log that it has just emptied.
struct Log<const ASIDE: bool> {
    dir: PathBuf,
    log: File,
    map: Map,
}

/// The operations that are whole, and how many bytes they take.
fn whole(log: &[u8]) -> (Vec<MapOp>, usize) {
    let (mut ops, mut at) = (Vec::new(), 0);
    while let Some(head) = log.get(at..at + 9) {
        let (len, sum) = (usize::from(head[0]), &head[1..]);
        let Some(op) = log.get(at + 9..at + 9 + len).filter(|_| len > 0) else { break };
        if sum != checksum(at, op) {
            break;
        }
        let Ok(op) = serde_json::from_slice(op) else { break };
        ops.push(op);
        at += 9 + len;
    }
    (ops, at)
}

/// FNV-1a, over the place as well: an old record that comes back elsewhere is none.
fn checksum(at: usize, op: &[u8]) -> [u8; 8] {
    let place = at.to_le_bytes();
    let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    place.iter().chain(op).fold(0xcbf2_9ce4_8422_2325, fold).to_le_bytes()
}

impl<const ASIDE: bool> Log<ASIDE> {
    fn sync_dir(dir: &Path) -> Result<(), BoxError> {
        Ok(File::open(dir)?.sync_all()?)
    }

    fn tidy(dir: &Path, good: &[u8]) -> Result<(), BoxError> {
        let name = if ASIDE { "log.new" } else { "log" };
        let mut file = File::create(dir.join(name))?;
        file.write_all(good)?;
        file.sync_all()?;
        if ASIDE {
            fs::rename(dir.join(name), dir.join("log"))?;
            Self::sync_dir(dir)?;
        }
        Ok(())
    }
}

impl<const ASIDE: bool> Store for Log<ASIDE> {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let bytes = match fs::read(dir.join("log")) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            bytes => bytes?,
        };
        let (ops, good) = whole(&bytes);
        if good < bytes.len() {
            Self::tidy(dir, &bytes[..good])?;
        }
        let mut map = Map::new();
        ops.iter().for_each(|op| StoreModel::apply(&mut map, op));
        let log = File::options().append(true).create(true).open(dir.join("log"))?;
        Self::sync_dir(dir)?;
        Ok(Log { dir: dir.to_path_buf(), log, map })
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        let bytes = serde_json::to_vec(op)?;
        let at = usize::try_from(fs::metadata(self.dir.join("log"))?.len())?;
        let record = [&[u8::try_from(bytes.len())?], checksum(at, &bytes).as_slice(), &bytes].concat();
        self.log.write_all(&record)?;
        self.log.sync_all()?;
        StoreModel::apply(&mut self.map, op);
        Ok(Reply::DONE)
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        Ok(self.map.clone().into_iter().collect())
    }

    fn probes() -> Vec<MapOp> {
        vec![MapOp::put("probe", "written after recovery")]
    }
}

/// The same log, of which a start that finds it believes that it is synced from then on.
struct Unsynced {
    log: Log<true>,
    resumed: bool,
}

impl Store for Unsynced {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let resumed = fs::metadata(dir.join("log")).is_ok_and(|log| log.len() > 0);
        Ok(Unsynced { log: Log::open(dir)?, resumed })
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        if !self.resumed {
            return self.log.apply(op);
        }
        let bytes = serde_json::to_vec(op)?;
        let at = usize::try_from(fs::metadata(self.log.dir.join("log"))?.len())?;
        let record = [&[u8::try_from(bytes.len())?], checksum(at, &bytes).as_slice(), &bytes].concat();
        self.log.log.write_all(&record)?;
        StoreModel::apply(&mut self.log.map, op);
        Ok(Reply::DONE)
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        self.log.dump()
    }

    fn probes() -> Vec<MapOp> {
        Log::<true>::probes()
    }
}

/// Nothing of it shows in a run from an empty directory, nor in a recovery by itself.
#[test]
fn what_is_written_after_a_recovery_is_crashed_too() {
    let report = unplug::check!(Unsynced).ops(workload()).assert_violated();
    if report.is_elsewhere() {
        return;
    }
    assert_eq!(report.gravest(), Some(Class::AcknowledgedLoss), "{report}");
    assert!(report.to_string().contains("written to after a recovery"), "{report}");
    let findings = report.cells().iter().flat_map(|cell| &cell.findings);
    assert!(findings.clone().all(|f| f.mechanism.starts_with("after recovery: ")), "{report}");
}

#[test]
fn without_a_second_power_loss_what_is_written_later_is_not() {
    unplug::check!(Unsynced).ops(workload()).recovery_depth(0).assert_holds();
}

fn workload() -> Vec<MapOp> {
    ["a", "b", "c", "d"].map(|key| MapOp::put(key, "some value, so that a record is not tiny")).into()
}

#[test]
fn a_log_that_is_emptied_by_recovery_is_found() {
    let report = unplug::check!(Log<false>).ops(workload()).assert_violated();
    if report.is_elsewhere() {
        return;
    }
    assert_eq!(report.gravest(), Some(Class::AcknowledgedLoss), "{report}");
    assert!(report.to_string().contains("power was lost again during recovery"), "{report}");
    assert!(!report.to_string().contains("has no probes"), "{report}");
    let recorded: u64 = report.cells().iter().map(|c| c.recoveries.recorded).sum();
    assert!(recorded > 2, "{report}");
}

#[test]
fn without_a_second_power_loss_it_is_not() {
    unplug::check!(Log<false>).ops(workload()).recovery_depth(0).assert_holds();
}

/// A store that was made before the recording began is not made again before its recovery is recorded: that would
/// be the recovery.
#[test]
fn a_store_that_was_made_before_is_found_too() {
    let report = unplug::check!(Log<false>).created().ops(workload()).models(["posix"]).assert_violated();
    assert!(report.is_elsewhere() || report.gravest() == Some(Class::AcknowledgedLoss), "{report}");
}

#[test]
fn a_recovery_that_writes_aside_holds() {
    let report = unplug::check!(Log<true>).ops(workload()).run().expect("a result");
    if report.is_elsewhere() {
        return;
    }
    assert_eq!(report.verdict(), Verdict::Holds, "{report}");
    let done = |f: fn(&Recoveries) -> u64| report.cells().iter().map(|cell| f(&cell.recoveries)).sum::<u64>();
    assert!(done(|r| r.recorded) > 2 && done(|r| r.states) > 10, "{report}");
    assert_eq!(done(|r| r.refused), 0, "{report}");
}
