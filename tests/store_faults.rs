//! A Rust store under faults: what it makes of a sync that fails. The story is that of many real stores: the second sync
//! says that all is well, as the kernel has marked the pages clean and dropped what was in them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use unplug::dump::Dump;
use unplug::testing::{BoxError, Check, CheckError, Map, MapOp, Reply, Store, StoreModel};
use unplug::verdict::{Class, Verdict};

/// What a store does when its sync fails.
const IGNORES: u8 = 0;
/// Tries again until it succeeds.
const RETRIES: u8 = 1;
/// Says so, and takes no more.
const STOPS: u8 = 2;
/// Gives up on the spot.
const DIES: u8 = 3;

/// A log of lines, synced after each.
struct Log<const AFTER: u8> {
    log: File,
    map: Map,
    failed: bool,
}

impl<const AFTER: u8> Log<AFTER> {
    fn sync(&mut self) -> io::Result<()> {
        let Err(error) = self.log.sync_data() else { return Ok(()) };
        match AFTER {
            IGNORES => Ok(()),
            RETRIES => self.log.sync_data(),
            STOPS => {
                self.failed = true;
                Err(error)
            }
            _ => std::process::abort(),
        }
    }
}

impl<const AFTER: u8> Store for Log<AFTER> {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let path = dir.join("log");
        let mut log = File::options().create(true).read(true).append(true).open(path)?;
        File::open(dir)?.sync_all()?;
        let (mut text, mut map) = (Vec::new(), Map::new());
        log.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut kept = 0;
        for line in text[..whole].split_inclusive(|b| *b == b'\n') {
            let Ok(op) = serde_json::from_slice::<MapOp>(line) else { break };
            StoreModel::apply(&mut map, &op);
            kept += line.len();
        }
        if kept < text.len() {
            log.set_len(kept as u64)?;
        }
        log.sync_all()?;
        Ok(Log { log, map, failed: false })
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        if self.failed {
            return Err("the log has failed".into());
        }
        let line = [serde_json::to_vec(op)?, b"\n".to_vec()].concat();
        self.log.write_all(&line)?;
        self.sync()?;
        StoreModel::apply(&mut self.map, op);
        Ok(Reply::DONE)
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        Ok(StoreModel::dump(&self.map))
    }

    fn probes() -> Vec<MapOp> {
        vec![MapOp::put("probe", "1")]
    }
}

/// Four puts, the second of whose syncs fails: the first sync of data is the one of opening.
fn four<S: Store<Op = MapOp>>(check: Check<S>) -> Check<S> {
    check.ops((0..4u8).map(|n| MapOp::put(format!("k{n}"), "v"))).models(["ext4-ordered"]).recovery_depth(0)
}

const SECOND: &str = "fdatasync log EIO nth=2";

#[test]
fn what_is_said_to_be_saved_after_a_failed_sync_is_lost() {
    let report = four(unplug::check!(Log<IGNORES>)).faults(SECOND).assert_violated();
    assert!(report.is_elsewhere() || report.gravest() == Some(Class::AcknowledgedLoss), "{report}");
}

#[test]
fn a_second_sync_brings_nothing_back() {
    let report = four(unplug::check!(Log<RETRIES>)).faults(SECOND).assert_violated();
    assert!(report.is_elsewhere() || report.gravest() == Some(Class::AcknowledgedLoss), "{report}");
}

#[test]
fn a_store_that_takes_no_more_keeps_its_word() {
    let report = four(unplug::check!(Log<STOPS>)).faults(SECOND).run().expect("a result");
    if !report.is_elsewhere() {
        assert_eq!(report.verdict(), Verdict::Holds, "{report}");
        assert!(report.to_string().contains("3 of 4 operations failed, the first: put k1"), "{report}");
    }
}

#[test]
fn a_store_that_dies_keeps_its_word() {
    let report = four(unplug::check!(Log<DIES>)).faults(SECOND).run().expect("a result");
    if !report.is_elsewhere() {
        assert_eq!(report.verdict(), Verdict::Holds, "{report}");
        assert!(report.to_string().contains("a fault ended the run"), "{report}");
    }
}

#[test]
fn a_kill_in_the_middle_of_a_write_is_survived() {
    four(unplug::check!(Log<STOPS>)).faults("write log kill nth=3").assert_holds();
}

#[test]
fn without_faults_they_are_all_alike() {
    four(unplug::check!(Log<IGNORES>)).assert_holds();
}

#[test]
fn a_fault_that_never_happens_is_no_pass() {
    match four(unplug::check!(Log<STOPS>)).faults("fdatasync log EIO nth=99").run() {
        Ok(report) => assert!(report.is_elsewhere(), "{report}"),
        Err(error) => {
            assert!(matches!(error, CheckError::NeverFired { .. }), "{error}");
            assert!(error.to_string().contains("fdatasync log EIO nth=99"), "{error}");
        }
    }
    match four(unplug::check!(Log<STOPS>)).faults("frobnicate log EIO").run() {
        Ok(report) => assert!(report.is_elsewhere(), "{report}"),
        Err(error) => assert!(matches!(error, CheckError::Faults(_)), "{error}"),
    }
}
