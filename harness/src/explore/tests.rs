//! Whole explorations of hand-made traces, with a toy store whose recovery is a function of the image.

use super::{Hearing, Memo, Search, TeethCheck, explore_last, explore_sharing};
use crate::cell::{CellResult, Teeth};
use crate::contract::Contract;
use crate::dump::Dump;
use crate::oracle::testing::TraceBuilder;
use crate::oracle::{MapOp, MapOracle, MapReply};
use crate::pool::{Pool, PoolError};
use crate::record::RecordError;
use crate::recovery::{Lives, Outcome};
use crate::repro::{Replayed, Repro, replay};
use crate::target::{Oracle, Target};
use crate::verdict::{Class, Verdict};
use crate::workload::Workload;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use unplug_faults::event::{FileId, NodeKind, Op, SyncKind, WriteSync};
use unplug_faults::image::{Image, SharedImage};
use unplug_faults::model::by_name;
use unplug_faults::state::Plan;
use unplug_faults::trace::{Blind, Trace};

const LOG: FileId = FileId(1);

struct Toy;

impl Target for Toy {
    fn name(&self) -> String {
        "toy".to_string()
    }
    fn record(&self, _: &Path, _: &Workload) -> Result<Trace, RecordError> {
        Err(RecordError::MissingServer { program: "toy".to_string() })
    }
    fn worker(&self, _: &Contract) -> std::process::Command {
        let mut command = std::process::Command::new("toy");
        command.arg("--worker");
        command
    }
    fn oracle(&self) -> Box<dyn Oracle> {
        Box::new(MapOracle::new())
    }
}

/// One record of the toy's log: length, checksum with the offset, operation.
fn record(offset: usize, op: &[u8]) -> Vec<u8> {
    let sum = xxhash_rust::xxh3::xxh3_64_with_seed(op, offset as u64);
    [&[op.len() as u8], sum.to_le_bytes().as_slice(), op].concat()
}

/// The toy's recovery: the records up to the first one that is not whole.
fn checked(image: &Image) -> Outcome {
    let mut oracle = MapOracle::new();
    let log = image.nodes.get(b"log".as_slice()).map_or(&[][..], |n| n.data.as_slice());
    let mut at = 0;
    while let Some(len) = log.get(at).map(|l| usize::from(*l)) {
        let Some(op) = log.get(at + 9..at + 9 + len).filter(|_| len > 0) else { break };
        if record(at, op) != log[at..at + 9 + len] {
            break;
        }
        oracle.apply(op, None, 0);
        at += 9 + len;
    }
    Outcome::Recovered(oracle.dump())
}

/// A recovery that knows of snapshots only, where none was made.
fn empty(_: &Image) -> Outcome {
    Outcome::Recovered(Dump::default())
}

/// A recovery without checksums, which goes on behind a hole.
fn careless(image: &Image) -> Outcome {
    let mut oracle = MapOracle::new();
    let log = image.nodes.get(b"log".as_slice()).map_or(&[][..], |n| n.data.as_slice());
    let mut at = 0;
    while let Some(len) = log.get(at).map(|l| usize::from(*l)) {
        if len == 0 {
            at += 1;
            continue;
        }
        let Some(op) = log.get(at + 9..at + 9 + len) else { break };
        oracle.apply(op, None, 0);
        at += 9 + len;
    }
    Outcome::Recovered(oracle.dump())
}

/// Recovers in this process; results come back newest first or oldest first.
struct FakePool {
    recover: fn(&Image) -> Outcome,
    waiting: Vec<(u64, Image)>,
    capacity: usize,
    newest_first: bool,
    recovered: u64,
    fail_after: u64,
}

impl FakePool {
    fn new(recover: fn(&Image) -> Outcome) -> Self {
        FakePool {
            recover,
            waiting: vec![],
            capacity: 3,
            newest_first: true,
            recovered: 0,
            fail_after: u64::MAX,
        }
    }
}

impl Pool for FakePool {
    fn submit(&mut self, job: u64, image: SharedImage, _: u64) -> Result<(), PoolError> {
        assert!(self.waiting.len() < self.capacity);
        self.waiting.push((job, image.image()));
        Ok(())
    }
    fn next(&mut self) -> Result<(u64, Lives), PoolError> {
        if self.recovered >= self.fail_after {
            self.waiting.clear();
            return Err(PoolError::Worker("gone".to_string()));
        }
        if self.waiting.is_empty() {
            return Err(PoolError::Idle);
        }
        self.recovered += 1;
        let index = if self.newest_first { self.waiting.len() - 1 } else { 0 };
        let (job, image) = self.waiting.remove(index);
        let first = (self.recover)(&image);
        let again = matches!(first, Outcome::Recovered(_)).then(|| first.clone());
        Ok((job, Lives { first, second: again.clone(), third: again, probes: Dump::default() }))
    }
    fn in_flight(&self) -> usize {
        self.waiting.len()
    }
    fn capacity(&self) -> usize {
        self.capacity
    }
}

/// A log with a record for each put; every `sync_every`-th reply waits for an fsync (0: none does).
fn log_trace(puts: usize, sync_every: usize, phases: &[&str]) -> Trace {
    let mut b = TraceBuilder::new();
    b.phase(phases[0]);
    let create = Op::Create { dir: FileId::ROOT, name: b"log".to_vec(), file: LOG, kind: NodeKind::File };
    b.event(create);
    if sync_every > 0 {
        b.event(Op::Sync { file: FileId::ROOT, kind: SyncKind::Fsync });
    }
    let mut offset = 0;
    for n in 0..puts {
        let op = MapOp::Add { key: vec![b'a' + (n % 3) as u8], by: n as u64 + 1 }.encode();
        let id = b.invoke(0, &op);
        let data = record(offset, &op);
        let len = data.len();
        b.event(Op::Write { file: LOG, offset: offset as u64, data, sync: WriteSync::None });
        offset += len;
        if sync_every > 0 && (n + 1) % sync_every == 0 {
            b.event(Op::Sync { file: LOG, kind: SyncKind::Fsync });
        }
        b.reply(0, id, &MapReply::Done.encode());
    }
    for phase in &phases[1..] {
        b.phase(phase);
    }
    b.trace()
}

struct Case<'a> {
    contract: Contract,
    model: &'a str,
    repro_dir: Option<&'a Path>,
    cancel: bool,
}

impl Case<'_> {
    fn run(&self, trace: &Trace, pool: &mut FakePool) -> Vec<CellResult> {
        let search = Search {
            trace,
            target: &Toy,
            contract: self.contract.clone(),
            model: by_name(self.model).unwrap(),
            plan: Plan { bound: 2, budget: 20_000, seed: 1 },
            assume: &[],
            repro_dir: self.repro_dir,
        };
        let cancel = AtomicBool::new(self.cancel);
        explore_sharing(&search, &mut Memo::new(), pool, &mut |_| {}, &cancel)
    }
}

fn case(contract: Contract, model: &str) -> Case<'_> {
    Case { contract, model, repro_dir: None, cancel: false }
}

fn bitten(cell: &CellResult) -> &str {
    match &cell.teeth {
        Teeth::Bit { sabotage, .. } => sabotage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sound_store_holds_and_the_teeth_bite() {
    for model in ["prefix", "posix", "posix-split", "ext4-ordered"] {
        let cells =
            case(Contract::Always, model).run(&log_trace(6, 1, &["append"]), &mut FakePool::new(checked));
        assert_eq!(cells.len(), 1);
        let cell = &cells[0];
        assert_eq!(cell.verdict, Verdict::Holds, "{model}: {:?} {:?}", cell.findings, cell.not_measured);
        assert_eq!(bitten(cell), crate::teeth::SYNCS_DROPPED);
        assert!(cell.states_checked > 5 && cell.images_recovered > 3 && cell.crash_points > 10, "{cell:?}");
        assert!(cell.exhaustive || !cell.legal_states.exact, "{cell:?}");
    }
}

#[test]
fn a_missing_sync_is_found_told_and_reproduced() {
    let dir = tempfile::tempdir().unwrap();
    let mut case = case(Contract::Always, "ext4-ordered");
    case.repro_dir = Some(dir.path());
    let cells = case.run(&log_trace(4, 2, &["append"]), &mut FakePool::new(checked));
    let cell = &cells[0];
    assert_eq!(cell.verdict, Verdict::Violated);
    assert_eq!(cell.teeth, Teeth::NotNeeded);
    let finding = &cell.findings[0];
    assert_eq!((finding.violation.class, finding.violation.operation), (Class::AcknowledgedLoss, Some(0)));
    assert!(finding.mechanism.contains("log"), "{}", finding.mechanism);
    let story = &finding.story;
    assert!(story.acknowledged.iter().any(|l| l.contains("add 1 to a") && l.contains("<--")), "{story:?}");
    assert!(story.disk.len() > 1 && !story.recovered.is_empty() && !story.allowed.is_empty(), "{story:?}");
    assert!(
        story.gap.as_deref().is_some_and(|g| g.contains("log") && g.contains("after the crash")),
        "{story:?}"
    );

    let path = finding.repro.as_ref().unwrap();
    let repro = Repro::load(path).unwrap();
    assert_eq!(repro.worker, ["--worker"]);
    assert_eq!(path.file_name().unwrap().to_str().unwrap(), repro.file_name().unwrap());
    assert_eq!(replay(&repro, &mut FakePool::new(checked)).unwrap(), Replayed::Same);
    let all = |_: &Image| {
        let mut oracle = MapOracle::new();
        oracle.apply(&MapOp::Add { key: b"a".to_vec(), by: 1 }.encode(), None, 0);
        Outcome::Recovered(oracle.dump())
    };
    assert_eq!(replay(&repro, &mut FakePool::new(all)).unwrap(), Replayed::Kept);
    let dead = |_: &Image| Outcome::Crashed { message: "boom".to_string() };
    let other = replay(&repro, &mut FakePool::new(dead)).unwrap();
    assert!(matches!(other, Replayed::Other { class: Class::RecoveryCrash, .. }));
    // A torn file is told apart from a foreign one.
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    let torn = Repro::load(path).unwrap_err().to_string();
    std::fs::write(path, b"something else").unwrap();
    let foreign = Repro::load(path).unwrap_err().to_string();
    assert_ne!(torn, foreign);
}

#[test]
fn a_store_without_checksums_shows_its_holes() {
    let found = case(Contract::No, "posix").run(&log_trace(4, 0, &["append"]), &mut FakePool::new(careless));
    assert_eq!(found[0].verdict, Verdict::Violated);
    assert!(
        found[0].findings.iter().all(|f| f.violation.class > Class::WindowExceeded),
        "{:?}",
        found[0].findings
    );
    // With checksums the same states are older prefixes, which this contract allows; then only an operation
    // that the judge does not know can show that it would see a difference.
    let sound = case(Contract::No, "posix").run(&log_trace(4, 0, &["append"]), &mut FakePool::new(checked));
    assert_eq!(sound[0].verdict, Verdict::Holds, "{:?}", sound[0].findings);
    assert!(bitten(&sound[0]).contains("hidden from the judge"));
    let careless =
        case(Contract::No, "prefix").run(&log_trace(4, 0, &["append"]), &mut FakePool::new(careless));
    assert_eq!(careless[0].verdict, Verdict::Holds, "{:?}", careless[0].findings);
    assert_eq!(bitten(&careless[0]), crate::teeth::WRITE_DELETED);
}

#[test]
fn failures_to_recover_are_violations() {
    let refuse = |i: &Image| match i.nodes.get(b"log".as_slice()) {
        Some(log) if log.data.is_empty() => Outcome::Refused { message: "empty log".to_string() },
        _ => checked(i),
    };
    let cells =
        case(Contract::Always, "prefix").run(&log_trace(2, 1, &["append"]), &mut FakePool::new(refuse));
    assert_eq!(cells[0].findings[0].violation.class, Class::RefusesToOpen);
    assert!(cells[0].findings[0].story.recovered[0].contains("empty log"));
}

#[test]
fn a_harness_without_teeth_is_broken() {
    let nothing = |_: &Image| Outcome::Recovered(Dump::default());
    let cells = case(Contract::No, "prefix").run(&log_trace(3, 0, &["append"]), &mut FakePool::new(nothing));
    assert_eq!(cells[0].verdict, Verdict::HarnessBroken);
    assert!(matches!(cells[0].teeth, Teeth::Blunt { .. }));
}

#[test]
fn where_nothing_was_promised_what_nobody_wrote_is_found_out() {
    let cells =
        case(Contract::No, "prefix").run(&log_trace(3, 0, &["append", "idle"]), &mut FakePool::new(checked));
    let verdicts: Vec<Verdict> = cells.iter().map(|c| c.verdict).collect();
    assert_eq!(verdicts, [Verdict::Holds, Verdict::Holds]);
    assert_eq!(bitten(&cells[1]), crate::judge::FOREIGN);
    let snapshot =
        case(Contract::Snapshot, "prefix").run(&log_trace(3, 0, &["append"]), &mut FakePool::new(empty));
    assert_eq!((snapshot[0].verdict, bitten(&snapshot[0])), (Verdict::Holds, crate::judge::LIVE));
    // Under a contract of acknowledged operations the idle phase has something to lose.
    let cells = case(Contract::Always, "prefix")
        .run(&log_trace(3, 1, &["append", "idle"]), &mut FakePool::new(checked));
    assert_eq!(cells[1].verdict, Verdict::Holds, "{:?}", cells[1].not_measured);
}

#[test]
fn what_cannot_be_observed_is_not_measured() {
    let mut trace = log_trace(3, 1, &["append"]);
    trace.blind.push(Blind { what: "io_uring_setup".into(), detail: String::new() });
    let mut pool = FakePool::new(checked);
    let cells = case(Contract::Always, "prefix").run(&trace, &mut pool);
    assert_eq!((cells[0].verdict, cells[0].states_checked, pool.recovered), (Verdict::NotMeasured, 0, 0));
    assert_eq!(cells[0].not_measured[0].what, "io_uring_setup");

    let mut interrupted = case(Contract::Always, "prefix");
    interrupted.cancel = true;
    let cells = interrupted.run(&log_trace(3, 1, &["append"]), &mut FakePool::new(checked));
    assert_eq!((cells[0].verdict, cells[0].exhaustive), (Verdict::NotMeasured, false));
    assert_eq!(cells[0].not_measured[0].what, "interrupted");

    let mut failing = FakePool::new(checked);
    failing.fail_after = 2;
    let cells = case(Contract::Always, "prefix").run(&log_trace(3, 1, &["append"]), &mut failing);
    assert_eq!(cells[0].verdict, Verdict::NotMeasured);
    assert!(cells[0].not_measured[0].detail.contains("gone"));
}

#[test]
fn neither_the_order_of_arrival_nor_the_number_of_workers_shows() {
    let run = |newest_first, capacity| {
        let mut pool = FakePool::new(careless);
        (pool.newest_first, pool.capacity) = (newest_first, capacity);
        let mut cells = case(Contract::Always, "posix").run(&log_trace(5, 2, &["one", "two"]), &mut pool);
        cells.iter_mut().for_each(|c| c.elapsed = std::time::Duration::ZERO);
        format!("{cells:#?}")
    };
    let one = run(false, 1);
    assert!(one.contains("Violated"));
    assert_eq!(one, run(true, 7));
    assert_eq!(one, run(true, 64));
}

#[test]
fn models_of_one_trace_share_recoveries() {
    let trace = log_trace(5, 1, &["append"]);
    let (mut memo, mut pool) = (Memo::new(), FakePool::new(checked));
    let mut explore = |model: &str, pool: &mut FakePool| {
        let plan = Plan { bound: 1, budget: 5000, seed: 1 };
        let search = Search {
            trace: &trace,
            target: &Toy,
            contract: Contract::Always,
            model: by_name(model).unwrap(),
            plan,
            assume: &[],
            repro_dir: None,
        };
        explore_sharing(&search, &mut memo, pool, &mut |_| {}, &AtomicBool::new(false));
        pool.recovered
    };
    let first = explore("posix-split", &mut pool);
    assert!(first > 0);
    assert_eq!(explore("posix", &mut pool), first, "every posix state is one of posix-split");
}

#[test]
#[should_panic(expected = "judged as another run than the one that is explored")]
fn what_is_worked_out_of_one_run_judges_no_other() {
    let (short, long) = (log_trace(3, 1, &["append"]), log_trace(5, 1, &["append"]));
    let model = by_name("prefix").unwrap();
    let search = |trace| Search {
        trace,
        target: &Toy,
        contract: Contract::Always,
        model,
        plan: Plan { bound: 1, budget: 50, seed: 1 },
        assume: &[],
        repro_dir: None,
    };
    let hearing = Hearing::of(&search(&short));
    assert!(hearing.sound(&search(&short)).is_ok());
    let _ = hearing.sound(&search(&long));
}

#[path = "tree_tests.rs"]
mod tree;

#[path = "sweep_tests.rs"]
mod sweep;

#[path = "alike_tests.rs"]
mod alike;

#[path = "memo_tests.rs"]
mod memo;

#[path = "onward_tests.rs"]
mod onward;
