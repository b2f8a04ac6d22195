//! A Rust store whose mistake shows only where a new block holds what the store itself had written there before: an old
//! log's records, whose checksums are good.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use unplug::dump::Dump;
use unplug::testing::{BoxError, Check, Map, MapOp, Reply, Store, StoreModel, TestPath};

/// Bytes of a record, whatever is in it: blocks begin with one.
const RECORD: usize = 512;
/// A log of so many is written anew.
const LONG: usize = 16;

/// Logs `log.1`, `log.2` and so on, of which the last counts: it begins with what the one before came to, which then goes.
/// Each record has a checksum, and each is synced. `TELLS`: it covers the log's number, so that a record of another log
/// is none.
struct Log<const TELLS: bool> {
    dir: PathBuf,
    log: File,
    number: u64,
    records: usize,
    map: Map,
}

/// FNV-1a.
fn checksum(parts: [&[u8]; 3]) -> [u8; 8] {
    let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, fold).to_le_bytes()
}

impl<const TELLS: bool> Log<TELLS> {
    /// Over the place as well: it is the same in both logs, and tells nothing.
    fn sum(number: u64, at: usize, op: &[u8]) -> [u8; 8] {
        let number = if TELLS { number } else { 0 };
        checksum([&number.to_le_bytes(), &at.to_le_bytes(), op])
    }

    fn record(number: u64, at: usize, op: &MapOp) -> Result<Vec<u8>, BoxError> {
        let op = serde_json::to_vec(op)?;
        let len = u16::try_from(op.len())?.to_le_bytes();
        let mut record = [&len, Self::sum(number, at, &op).as_slice(), &op].concat();
        record.resize(RECORD, 0);
        Ok(record)
    }

    /// The operations up to the first record that is none.
    fn whole(number: u64, log: &[u8]) -> Vec<MapOp> {
        let op = |(at, record): (usize, &[u8])| {
            let len = usize::from(u16::from_le_bytes([record[0], record[1]]));
            let op = record.get(10..10 + len).filter(|op| record[2..10] == Self::sum(number, at, op))?;
            serde_json::from_slice(op).ok()
        };
        log.chunks_exact(RECORD).enumerate().map_while(op).collect()
    }

    fn path(dir: &Path, number: u64) -> PathBuf {
        dir.join(format!("log.{number}"))
    }

    fn sync_dir(dir: &Path) -> Result<(), BoxError> {
        Ok(File::open(dir)?.sync_all()?)
    }

    /// Makes the log of this number, of what there is.
    fn begin(dir: &Path, number: u64, map: &Map) -> Result<File, BoxError> {
        let aside = dir.join(format!("log.{number}.new"));
        let mut log = File::create(&aside)?;
        for (at, (key, value)) in map.iter().enumerate() {
            log.write_all(&Self::record(number, at, &MapOp::put(key.clone(), value.clone()))?)?;
        }
        log.sync_all()?;
        fs::rename(aside, Self::path(dir, number))?;
        Self::sync_dir(dir)?;
        Ok(log)
    }
}

impl<const TELLS: bool> Store for Log<TELLS> {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let names =
            fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>, BoxError>>()?;
        let number = |name: &std::ffi::OsString| name.to_str()?.strip_prefix("log.")?.parse::<u64>().ok();
        let mut map = Map::new();
        let Some(last) = names.iter().filter_map(number).max() else {
            let log = Self::begin(dir, 1, &map)?;
            return Ok(Log { dir: dir.to_path_buf(), log, number: 1, records: 0, map });
        };
        let path = Self::path(dir, last);
        let bytes = fs::read(&path)?;
        let ops = Self::whole(last, &bytes);
        let log = File::options().append(true).open(path)?;
        if ops.len() * RECORD < bytes.len() {
            log.set_len((ops.len() * RECORD) as u64)?;
            log.sync_all()?;
        }
        ops.iter().for_each(|op| StoreModel::apply(&mut map, op));
        for other in names.iter().filter(|name| number(name) != Some(last)) {
            fs::remove_file(dir.join(other))?;
        }
        Self::sync_dir(dir)?;
        Ok(Log { dir: dir.to_path_buf(), log, number: last, records: ops.len(), map })
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        if self.records >= LONG {
            self.log = Self::begin(&self.dir, self.number + 1, &self.map)?;
            fs::remove_file(Self::path(&self.dir, self.number))?;
            Self::sync_dir(&self.dir)?;
            (self.number, self.records) = (self.number + 1, self.map.len());
        }
        self.log.write_all(&Self::record(self.number, self.records, op)?)?;
        self.log.sync_data()?;
        self.records += 1;
        StoreModel::apply(&mut self.map, op);
        Ok(Reply::DONE)
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        Ok(self.map.clone().into_iter().collect())
    }
}

/// Some rewrites, after which each log has another block.
fn workload() -> Vec<MapOp> {
    (0..60).map(|n| MapOp::put(["a", "b", "c", "d", "e"][n % 5], format!("value {n}"))).collect()
}

fn checked<const TELLS: bool>(path: TestPath) -> Check<Log<TELLS>> {
    unplug::testing::check(path).ops(workload()).models(["ext4-writeback", "posix"]).recovery_depth(0)
}

#[test]
fn records_that_do_not_say_whose_they_are_come_back() {
    let report = checked::<false>(unplug::test_path!()).assert_violated();
    if report.is_elsewhere() {
        return;
    }
    for cell in report.cells() {
        let told = cell.findings.iter().flat_map(|finding| &finding.story.disk);
        let old = |line: &String| line.contains("shows what stood in the block before: page 1 of log.");
        assert!(told.clone().any(old), "{}: {report}", cell.model);
    }
    assert!(report.to_string().contains("the store has no probes (Store::probes)"), "{report}");
}

/// Rubbish is no record: with nothing else in new blocks the mistake is not found.
#[test]
fn with_rubbish_alone_they_do_not() {
    checked::<false>(unplug::test_path!()).assume(["no-old-pages"]).assert_holds();
}

#[test]
fn records_that_say_so_hold() {
    checked::<true>(unplug::test_path!()).assert_holds();
}
