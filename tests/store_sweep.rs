//! Single faults swept over the calls of a Rust store: what is right holds, and a mistake that shows under one fault alone
//! is found and named.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use unplug::contract::Contract;
use unplug::dump::Dump;
use unplug::testing::{BoxError, Check, CheckError, Map, MapOp, Reply, Report, Store, StoreModel};
use unplug::verdict::{Class, Verdict};

/// No mistake.
const RIGHT: u8 = 0;
/// What is said after a failed sync is what is said after a good one.
const IGNORES_SYNC: u8 = 1;
/// After an append that failed, the next one goes behind whatever it left.
const GOES_ON: u8 = 2;
/// A write that moved some of its bytes has moved all.
const TRUSTS_WRITE: u8 = 3;
/// A read that fails is the end of the file.
const TRUSTS_READ: u8 = 4;

/// A log of lines, synced after each, which a start copies into a new one.
struct Log<const MISTAKE: u8> {
    log: File,
    map: Map,
    failed: bool,
}

fn read(path: &Path, trusting: bool) -> Result<Vec<u8>, BoxError> {
    let mut text = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut text)) {
        Err(e) if e.kind() != ErrorKind::NotFound && !trusting => Err(e.into()),
        _ => Ok(text),
    }
}

impl<const MISTAKE: u8> Log<MISTAKE> {
    fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        match MISTAKE {
            TRUSTS_WRITE => drop(self.log.write(line)?),
            _ => self.log.write_all(line)?,
        }
        match self.log.sync_data() {
            Err(_) if MISTAKE == IGNORES_SYNC => Ok(()),
            synced => synced,
        }
    }
}

impl<const MISTAKE: u8> Store for Log<MISTAKE> {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let (path, new) = (dir.join("log"), dir.join("log.new"));
        let (mut map, mut kept) = (Map::new(), 0);
        let text = read(&path, MISTAKE == TRUSTS_READ)?;
        for line in text.split_inclusive(|b| *b == b'\n') {
            let Ok(op) = serde_json::from_slice::<MapOp>(line) else { break };
            if !line.ends_with(b"\n") {
                break;
            }
            StoreModel::apply(&mut map, &op);
            kept += line.len();
        }
        let mut log = File::create(&new)?;
        log.write_all(&text[..kept])?;
        log.sync_all()?;
        fs::rename(new, path)?;
        File::open(dir)?.sync_all()?;
        Ok(Log { log, map, failed: false })
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        if self.failed {
            return Err("the log has failed".into());
        }
        let line = [serde_json::to_vec(op)?, b"\n".to_vec()].concat();
        if let Err(e) = self.append(&line) {
            self.failed = MISTAKE != GOES_ON;
            return Err(e.into());
        }
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

fn some<S: Store<Op = MapOp>>(check: Check<S>) -> Check<S> {
    let ops = (0..6u8).map(|n| MapOp::put(format!("k{n}"), "v"));
    check.ops(ops).models(["ext4-ordered"]).recovery_depth(0).budget(1_000).workers(2)
}

/// What was found, and after which fault: a test that plays a role has found nothing.
#[track_caller]
fn assert_names(report: &Report, class: Class, fault: &str) {
    if report.is_elsewhere() {
        return;
    }
    assert_eq!(report.gravest(), Some(class), "{report}");
    let text = report.to_string();
    let told = |line: &str| line.contains(": after `") && line.contains(fault);
    assert!(text.lines().any(told), "no finding after {fault}:\n{text}");
    // Without a fault there was nothing to find.
    let found = |c: &&unplug::cell::CellResult| !c.findings.is_empty();
    assert!(report.cells().iter().filter(found).all(|c| c.faults.is_some()), "{report}");
}

#[test]
fn a_store_that_stops_when_a_call_fails_holds_under_every_fault() {
    let report = some(unplug::check!(Log<RIGHT>)).sweep("all").run().expect("a result");
    if report.is_elsewhere() {
        return;
    }
    assert_eq!(report.verdict(), Verdict::Holds, "{report}");
    let groups: Vec<&str> =
        report.cells().iter().filter(|c| c.faults.is_some()).map(|c| c.phase.as_str()).collect();
    assert_eq!(groups, ["fault: error", "fault: short", "fault: disk full", "kill"], "{report}");
    for cell in report.cells().iter().filter_map(|cell| cell.faults) {
        assert!(cell.planned > 0 && cell.fired == cell.planned, "{report}");
    }
}

/// Each of them may have happened: all that follow would be more than can be followed.
#[test]
fn a_store_that_refuses_everything_after_a_fault_is_not_asked_for_ever() {
    let many = (0..14u8).map(|n| MapOp::put(format!("more{n}"), "v"));
    let report = some(unplug::check!(Log<RIGHT>)).ops(many).sweep("fdatasync:EIO").run().expect("a result");
    assert!(report.is_elsewhere() || report.verdict() == Verdict::Holds, "{report}");
}

#[test]
fn a_run_with_a_restart_and_phases_is_swept_over_too() {
    let more = |check: Check<Log<RIGHT>>| check.phase("second life").restart().ops([MapOp::put("z", "1")]);
    more(some(unplug::check!(Log<RIGHT>))).sweep("EIO,short,full,kill,read,open-read").assert_holds();
}

#[test]
fn a_failed_sync_that_is_not_told_is_found() {
    let report = some(unplug::check!(Log<IGNORES_SYNC>)).sweep("EIO,short").assert_violated();
    assert_names(&report, Class::AcknowledgedLoss, "fdatasync log EIO");
}

#[test]
fn a_torn_record_in_front_of_others_is_found() {
    let report = some(unplug::check!(Log<GOES_ON>)).sweep("full").assert_violated();
    assert_names(&report, Class::AcknowledgedLoss, "full=");
}

#[test]
fn a_short_write_that_is_taken_for_a_whole_one_is_found() {
    let report = some(unplug::check!(Log<TRUSTS_WRITE>)).sweep("EIO,short").assert_violated();
    assert_names(&report, Class::AcknowledgedLoss, "short");
}

#[test]
fn a_failed_read_that_is_taken_for_the_end_is_found() {
    let report = some(unplug::check!(Log<TRUSTS_READ>)).sweep("read,open-read").assert_violated();
    assert_names(&report, Class::AcknowledgedLoss, "read log");
}

/// The mistakes above are none without a fault, nor under one of another kind.
#[test]
fn what_shows_under_one_fault_alone_does_not_show_without_it() {
    some(unplug::check!(Log<GOES_ON>)).assert_holds();
    some(unplug::check!(Log<TRUSTS_WRITE>)).sweep("EIO").assert_holds();
    some(unplug::check!(Log<TRUSTS_READ>)).sweep("EIO,kill").assert_holds();
}

#[test]
fn reports_do_not_depend_on_the_number_of_workers() {
    let swept = |check: Check<Log<GOES_ON>>, workers| {
        some(check).workers(workers).models(["posix", "ext4-ordered"]).sweep("all").run().expect("a result")
    };
    let one = swept(unplug::check!(Log<GOES_ON>), 1);
    let two = swept(unplug::check!(Log<GOES_ON>), 2);
    if one.is_elsewhere() || two.is_elsewhere() {
        return;
    }
    assert_eq!(one.verdict(), Verdict::Violated, "{one}");
    assert_eq!(one.to_string(), two.to_string());
}

#[test]
fn runs_that_differ_in_the_errors_number_alone_are_crashed_once() {
    let swept = |check: Check<Log<RIGHT>>, kinds| some(check).sweep(kinds).run().expect("a result");
    let one = swept(unplug::check!(Log<RIGHT>), "fdatasync:EIO");
    let two = swept(unplug::check!(Log<RIGHT>), "fdatasync:EIO,fdatasync:ENOSPC");
    let [Some(one), Some(two)] = [&one, &two].map(|r| r.cells().iter().find(|c| c.faults.is_some())) else {
        assert!(one.is_elsewhere() || two.is_elsewhere());
        return;
    };
    assert_eq!(two.faults.map(|f| f.fired), one.faults.map(|f| 2 * f.fired));
    assert_eq!(two.states_checked, one.states_checked);
}

/// One file of four kilobytes, written in advance and overwritten in place: the content in one of two halves, and a single
/// byte that says in which.
struct InPlace {
    file: File,
    map: Map,
    turn: u64,
}

impl Store for InPlace {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(dir.join("data"))?;
        if file.metadata()?.len() < 4096 {
            file.write_all_at(&[0; 4096], 0)?;
            file.sync_all()?;
            File::open(dir)?.sync_all()?;
        }
        let mut turn = [0];
        file.read_exact_at(&mut turn, 0)?;
        let turn = u64::from(turn[0] % 2);
        let mut text = [0; 1024];
        file.read_exact_at(&mut text, 1024 * (1 + turn))?;
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        let pairs = if end == 0 { Vec::new() } else { serde_json::from_slice::<Vec<_>>(&text[..end])? };
        Ok(InPlace { file, map: pairs.into_iter().collect(), turn })
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        if self.turn > 1 {
            return Err("a write has failed".into());
        }
        // Until all has gone well, nothing more is taken.
        let next = 1 - std::mem::replace(&mut self.turn, 2);
        StoreModel::apply(&mut self.map, op);
        let mut text = serde_json::to_vec(&self.map.iter().collect::<Vec<_>>())?;
        text.resize(1024, 0);
        self.file.write_all_at(&text, 1024 * (1 + next))?;
        self.file.sync_data()?;
        self.file.write_all_at(&[next as u8], 0)?;
        self.file.sync_data()?;
        self.turn = next;
        Ok(Reply::DONE)
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        Ok(StoreModel::dump(&self.map))
    }

    fn probes() -> Vec<MapOp> {
        vec![MapOp::put("probe", "1")]
    }
}

/// What is overwritten has its blocks, and one byte is written or is not: neither keeps a sweep from being measured.
#[test]
fn a_store_that_overwrites_in_place_is_measured() {
    let report = some(unplug::check!(InPlace)).created().sweep("all").run().expect("a result");
    if report.is_elsewhere() {
        return;
    }
    assert_eq!(report.verdict(), Verdict::Holds, "{report}");
    let text = report.to_string();
    assert!(text.contains("no disk was filled: no file grows by what is written to it"), "{text}");
    assert!(text.contains("calls move a single byte, or none, and cannot come short"), "{text}");
}

/// What a check says that has no result; nothing where another one's role is played.
fn refused<S: Store<Op = MapOp>>(check: Check<S>) -> Option<CheckError> {
    match check.run() {
        Ok(report) => {
            assert!(report.is_elsewhere(), "a result:\n{report}");
            None
        }
        Err(error) => Some(error),
    }
}

#[test]
fn what_cannot_be_swept_is_an_error_that_says_what_can() {
    let said = |check: Check<Log<RIGHT>>, kinds: &str| refused(check.sweep(kinds)).map(|e| e.to_string());
    let words = [
        ("EOOPS", "`EOOPS`: there is no such fault; what can be swept is all, EIO, ENOSPC"),
        ("EIO,rest", "`rest`: files at rest are damaged for servers alone"),
        ("send:EPIPE", "`send:EPIPE`: a store's clients are no sockets"),
        ("wriet:EIO", "no call is named `wriet`"),
        ("", "``: there is no such fault"),
        ("EIO,mkdir,rename:EPIPE", "`mkdir`, `rename:EPIPE`: no call of the run can have that"),
    ];
    for (kinds, expected) in words {
        let said = said(some(unplug::check!(Log<RIGHT>)), kinds);
        assert!(said.as_ref().is_none_or(|said| said.contains(expected)), "{kinds}: {said:?}");
    }
    let both = some(unplug::check!(Log<RIGHT>)).faults("fdatasync * EIO nth=2").sweep("EIO");
    assert!(matches!(refused(both), None | Some(CheckError::FaultsAndSweep)));
    let weaker = refused(some(unplug::check!(Log<RIGHT>)).contract(Contract::No).sweep("kill"));
    assert!(matches!(weaker, None | Some(CheckError::NotSwept { .. })), "{weaker:?}");
}

#[test]
#[ignore = "fails on purpose: started by the test below"]
fn toy_sweep() {
    some(unplug::check!(Log<GOES_ON>)).sweep("full,EIO").assert_holds();
}

/// This binary with the test above, in a package directory of its own.
fn toy(package: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--ignored", "--exact", "toy_sweep"]).current_dir(package);
    command.env("CARGO_MANIFEST_DIR", package).env("CARGO_PKG_NAME", "toy");
    for variable in ["UNPLUG_SEED", "UNPLUG_BUDGET", "UNPLUG_REPLAY", "NEXTEST"] {
        command.env_remove(variable);
    }
    command
}

fn fails(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("started");
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    // The exit code of a test binary with a failed test.
    assert_eq!(status.code(), Some(101), "{said}");
    said
}

#[test]
fn what_is_found_is_kept_with_its_fault_and_replayed() {
    let package = tempfile::tempdir().expect("a directory");
    let said = fails(&mut toy(package.path()));
    assert!(said.contains("acknowledged-loss under ext4-ordered, fault: disk full: after `write,"), "{said}");
    // One way to fail is one file, in how many runs it may show.
    let kept = fs::read_dir(package.path().join("unplug-regressions/toy_sweep")).expect("files kept");
    let kept: Vec<PathBuf> = kept.map(|entry| entry.expect("readable").path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}\n{said}");
    let file = kept[0].display().to_string();
    let line = said.lines().find(|line| line.starts_with("UNPLUG_REPLAY=")).expect("a replay line");
    assert!(line.contains(&file) && line.ends_with("--exact toy_sweep"), "{line}");
    let replayed = fails(toy(package.path()).env("UNPLUG_REPLAY", &kept[0]));
    assert!(replayed.contains("on the disk of a repro file: after `write,fallocate * full="), "{replayed}");
    // The next run does the same to the store first: the same operations, under the same fault.
    let again = fails(&mut toy(package.path()));
    assert!(again.contains(&format!("still violated, from the regression file {file}")), "{again}");
    assert!(!again.contains("faults fired"), "{again}");
}
