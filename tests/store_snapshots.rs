//! A Rust store that promises what it has flushed, is killed, and goes on: from which snapshot shows in what comes later.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use unplug::contract::Contract;
use unplug::dump::Dump;
use unplug::testing::{BoxError, Check, Map, MapOp, Reply, Store, StoreModel};
use unplug::verdict::Class;

/// What a store does wrong.
const NOTHING: u8 = 0;
/// It was not closed in order, so it opens the snapshot before the last.
const OPENS_THE_LAST_BUT_ONE: u8 = 1;
/// Where there is a snapshot, it saves only what was written since it was opened.
const SAVES_WHAT_IS_NEW: u8 = 2;

/// A map in memory; a flush writes all of it to a file that takes the name of the one before.
struct Saved<const WRONG: u8> {
    dir: PathBuf,
    map: Map,
    /// What a flush writes, where that is not the map.
    new: Option<Map>,
}

impl<const WRONG: u8> Saved<WRONG> {
    fn save(&self) -> Result<(), BoxError> {
        let (new, last) = (self.dir.join("new"), self.dir.join("last"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&pairs(self.new.as_ref().unwrap_or(&self.map)))?)?;
        file.sync_all()?;
        if WRONG == OPENS_THE_LAST_BUT_ONE && last.exists() {
            fs::rename(&last, self.dir.join("before"))?;
        }
        fs::rename(&new, &last)?;
        Ok(File::open(&self.dir)?.sync_all()?)
    }
}

fn pairs(map: &Map) -> Vec<(Vec<u8>, Vec<u8>)> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

impl<const WRONG: u8> Store for Saved<WRONG> {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let before = dir.join("before");
        let path = if before.exists() { before } else { dir.join("last") };
        let map: Map = match fs::read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Map::new(),
            bytes => serde_json::from_slice::<Vec<(Vec<u8>, Vec<u8>)>>(&bytes?)?.into_iter().collect(),
        };
        let new = (WRONG == SAVES_WHAT_IS_NEW && !map.is_empty()).then(Map::new);
        Ok(Saved { dir: dir.to_path_buf(), map, new })
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        if *op == MapOp::Flush {
            self.save()?;
        }
        StoreModel::apply(&mut self.map, op);
        self.new.iter_mut().for_each(|new| StoreModel::apply(new, op));
        Ok(match op {
            MapOp::Get { key } => Reply::found(self.map.get(key).map(Vec::as_slice)),
            _ => Reply::DONE,
        })
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        Ok(self.map.clone().into_iter().collect())
    }
}

/// Two snapshots, something that none of them holds, a kill, and a snapshot of the second life.
fn killed<const WRONG: u8>(check: Check<Saved<WRONG>>, read: bool) -> Check<Saved<WRONG>> {
    let first =
        [MapOp::put("a", "1"), MapOp::Flush, MapOp::put("b", "1"), MapOp::Flush, MapOp::put("c", "1")];
    let get = |key: &str| MapOp::Get { key: key.into() };
    let reads = if read { vec![get("b"), get("c")] } else { Vec::new() };
    let then = [MapOp::put("d", "1"), MapOp::Flush, MapOp::put("e", "1")];
    let check = check.contract(Contract::Snapshot).recovery_depth(0).phase("first").ops(first).restart();
    check.phase("second").ops(reads).ops(then)
}

#[test]
fn one_that_goes_on_from_its_last_snapshot_holds() {
    killed(unplug::check!(Saved<NOTHING>), true).assert_holds();
}

#[test]
fn its_reads_are_not_needed() {
    killed(unplug::check!(Saved<NOTHING>), false).assert_holds();
}

/// That a life has lost what it had promised shows in what the next one is seen to hold, and saves.
#[test]
fn one_that_goes_on_from_an_older_one_is_found_in_its_second_life_too() {
    let report = killed(unplug::check!(Saved<OPENS_THE_LAST_BUT_ONE>), true).assert_violated();
    if report.is_elsewhere() {
        return;
    }
    for cell in report.cells().iter().filter(|c| c.phase == "first" || c.phase == "second") {
        let classes: Vec<Class> = cell.findings.iter().map(|f| f.violation.class).collect();
        assert!(classes.contains(&Class::AcknowledgedLoss), "{} {}: {report}", cell.phase, cell.model);
        assert!(cell.not_measured.is_empty(), "{report}");
    }
}

/// Nothing of it shows before the second life has saved.
#[test]
fn one_that_saves_a_part_in_its_second_life_is_found() {
    let report = killed(unplug::check!(Saved<SAVES_WHAT_IS_NEW>), false).assert_violated();
    if report.is_elsewhere() {
        return;
    }
    for cell in report.cells() {
        let found = !cell.findings.is_empty();
        assert_eq!(found, cell.phase == "second", "{} {}: {report}", cell.phase, cell.model);
    }
}
