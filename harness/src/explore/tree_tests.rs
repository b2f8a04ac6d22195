//! Power lost during recovery: toys whose recoveries write.

use super::*;
use crate::explore::explore_deep;
use crate::story::outcome_of;
use crate::workload::Workload;
use unplug_faults::effect::Outcome::Whole;
use unplug_faults::trace::BaseNode;

const MARK: FileId = FileId(2);
const TEMP: FileId = FileId(3);

/// How a toy tidies its log up when it recovers. What it holds then is the same.
#[derive(Clone, Copy, PartialEq)]
enum Tidy {
    /// Not at all.
    Nothing,
    /// Empties the log and writes it again.
    InPlace,
    /// Writes a new one and gives it the name.
    Aside,
    /// Cuts the log behind its last whole record and forgets to sync it.
    CutUnsynced,
    /// Renames a new log that is not synced, and then does as `InPlace`: two mistakes.
    Twice,
    /// Leaves a mark; once that is there, as `InPlace`.
    InPlaceNextTime,
    /// It does not start under the recorder.
    Dies,
}

impl Target for Tidy {
    fn name(&self) -> String {
        "toy".to_string()
    }
    fn record(&self, dir: &Path, workload: &Workload) -> Result<Trace, RecordError> {
        assert!(workload.steps.is_empty());
        if *self == Tidy::Dies {
            return Err(RecordError::MissingServer { program: "toy".to_string() });
        }
        let (mut b, mut base) = (TraceBuilder::new(), Vec::new());
        let marked = dir.join("mark").exists();
        for (name, file) in [("log", LOG), ("mark", MARK)] {
            let Ok(data) = std::fs::read(dir.join(name)) else { continue };
            let (dir, name) = (FileId::ROOT, name.as_bytes().to_vec());
            base.push(BaseNode { file, dir, name, kind: NodeKind::File, data });
        }
        if let Some(log) = base.iter().find(|node| node.file == LOG) {
            self.tidy(&mut b, &log.data, marked);
        }
        Ok(Trace { base, ..b.trace() })
    }
    fn worker(&self, _: &Contract) -> std::process::Command {
        std::process::Command::new("toy")
    }
    fn oracle(&self) -> Box<dyn Oracle> {
        Box::new(MapOracle::new())
    }
}

impl Tidy {
    fn tidy(self, b: &mut TraceBuilder, log: &[u8], marked: bool) {
        let good = &log[..whole(log)];
        let write = |file| Op::Write { file, offset: 0, data: good.to_vec(), sync: WriteSync::None };
        let sync = |file| Op::Sync { file, kind: SyncKind::Fsync };
        let create = |name: &str, file| {
            let (dir, name) = (FileId::ROOT, name.as_bytes().to_vec());
            Op::Create { dir, name, file, kind: NodeKind::File }
        };
        let cut = |file, size| Op::Truncate { file, size };
        let (from_dir, to_dir) = (FileId::ROOT, FileId::ROOT);
        let (from_name, to_name) = (b"temp".to_vec(), b"log".to_vec());
        let rename = Op::Rename { from_dir, from_name, to_dir, to_name, file: TEMP, replaced: Some(LOG) };
        let ops = match self {
            Tidy::Nothing | Tidy::Dies => vec![],
            Tidy::CutUnsynced if good.len() == log.len() => vec![],
            Tidy::CutUnsynced => vec![cut(LOG, good.len() as u64)],
            Tidy::Twice => vec![
                create("temp", TEMP),
                write(TEMP),
                rename,
                sync(FileId::ROOT),
                sync(TEMP),
                cut(TEMP, 0),
                write(TEMP),
                sync(TEMP),
            ],
            Tidy::InPlaceNextTime if !marked => vec![create("mark", MARK), sync(FileId::ROOT)],
            Tidy::InPlace | Tidy::InPlaceNextTime => {
                vec![cut(LOG, 0), write(LOG), sync(LOG)]
            }
            Tidy::Aside => {
                vec![create("temp", TEMP), write(TEMP), sync(TEMP), rename, sync(FileId::ROOT)]
            }
        };
        for op in ops {
            b.event(op);
        }
    }
}

/// How much of a log is whole records.
pub(super) fn whole(log: &[u8]) -> usize {
    let mut at = 0;
    while let Some(len) = log.get(at).map(|l| usize::from(*l)).filter(|len| *len > 0) {
        let Some(op) = log.get(at + 9..at + 9 + len) else { break };
        if record(at, op) != log[at..at + 9 + len] {
            break;
        }
        at += 9 + len;
    }
    at
}

fn explored(tidy: Tidy, model: &str, depth: u8, repro_dir: Option<&Path>) -> CellResult {
    explored_by(tidy, checked, model, depth, repro_dir)
}

/// A run whose last operation is in the log, with a torn one behind it.
fn torn() -> Trace {
    let mut b = TraceBuilder::new();
    let op = MapOp::Add { key: b"a".to_vec(), by: 1 }.encode();
    let id = b.invoke(0, &op);
    b.reply(0, id, &MapReply::Done.encode());
    b.phase("append");
    let (dir, name, kind) = (FileId::ROOT, b"other".to_vec(), NodeKind::File);
    b.event(Op::Create { dir, name, file: MARK, kind });
    let (name, data) = (b"log".to_vec(), [record(0, &op).as_slice(), b"\x05torn"].concat());
    let log = BaseNode { file: LOG, dir, name, kind: NodeKind::File, data };
    Trace { base: vec![log], ..b.trace() }
}

/// A recovery that takes zeros behind the last record for damage.
fn strict(image: &Image) -> Outcome {
    let log = image.nodes.get(b"log".as_slice()).map_or(&[][..], |n| n.data.as_slice());
    match log.get(whole(log)) {
        Some(0) => Outcome::Refused { message: "zeros in the log".to_string() },
        _ => checked(image),
    }
}

fn explored_by(
    tidy: Tidy,
    recover: fn(&Image) -> Outcome,
    model: &str,
    depth: u8,
    repro_dir: Option<&Path>,
) -> CellResult {
    let trace = if tidy == Tidy::CutUnsynced { torn() } else { log_trace(4, 1, &["append"]) };
    let search = Search {
        trace: &trace,
        target: &tidy,
        contract: Contract::Always,
        model: by_name(model).unwrap(),
        plan: Plan { bound: 2, budget: 20_000, seed: 1 },
        assume: &[],
        repro_dir,
    };
    let (mut memo, mut pool) = (Memo::new(), FakePool::new(recover));
    let cancel = AtomicBool::new(false);
    explore_deep(&search, depth, &mut memo, &mut pool, &mut |_| {}, &cancel).pop().unwrap()
}

#[test]
fn a_log_that_recovery_empties_is_found_by_a_second_crash_only() {
    for model in ["posix", "ext4-ordered"] {
        let cell = explored(Tidy::InPlace, model, 0, None);
        assert_eq!((cell.verdict, cell.recoveries.recorded), (Verdict::Holds, 0), "{:?}", cell.findings);
        let dir = tempfile::tempdir().unwrap();
        let cell = explored(Tidy::InPlace, model, 1, Some(dir.path()));
        assert_eq!(cell.verdict, Verdict::Violated, "{model}");
        assert!(cell.recoveries.recorded > 2 && cell.recoveries.states > 5, "{:?}", cell.recoveries);
        let finding = &cell.findings[0];
        assert_eq!(finding.violation.class, Class::AcknowledgedLoss);
        assert!(finding.mechanism.starts_with("during recovery: "), "{}", finding.mechanism);
        assert!(finding.violation.explanation.contains("again during recovery"), "{finding:?}");
        assert!(finding.story.disk.iter().any(|line| line.contains("power is lost again")), "{finding:?}");
        let repro = Repro::load(finding.repro.as_ref().unwrap()).unwrap();
        assert_eq!(replay(&repro, &mut FakePool::new(checked)).unwrap(), Replayed::Same);
    }
}

fn in_recovery(cell: &CellResult) -> Vec<&str> {
    cell.findings.iter().filter_map(|f| f.mechanism.strip_prefix("during recovery: ")).collect()
}

/// In however many ways a mistake of recovery shows itself: empty, without its end, with zeros in it.
#[test]
fn one_mistake_of_recovery_is_one_finding_and_as_small_as_can_be() {
    for (tidy, model, how) in [
        (Tidy::InPlace, "posix", "all in order up to the truncation of log"),
        (Tidy::InPlace, "ext4-ordered", "all in order up to the truncation of log"),
        (Tidy::CutUnsynced, "posix", "no sync of log between the truncation of log and the end of recovery"),
        (Tidy::CutUnsynced, "xfs", "no sync of log between the truncation of log and the end of recovery"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let recover = if tidy == Tidy::CutUnsynced { strict } else { checked };
        let cell = explored_by(tidy, recover, model, 1, Some(dir.path()));
        assert_eq!(in_recovery(&cell), [how], "{model}: {:#?}", cell.findings);
        let finding = cell.findings.iter().find(|f| f.mechanism.ends_with(how)).unwrap();
        let repro = Repro::load(finding.repro.as_ref().unwrap()).unwrap();
        let [between] = &repro.between[..] else { panic!("{:?}", repro.between) };
        // Nothing of the recovery is there but what does the damage.
        let effects = by_name(model).unwrap().effects(&between.trace);
        let whole = (0..effects.list.len()).filter(|i| outcome_of(&between.state, *i) == Whole);
        assert!(whole.count() <= 1, "{:?}", between.state);
        let kept = Repro::load(&repro.save(dir.path()).unwrap()).unwrap();
        assert_eq!(kept, repro);
    }
}

#[test]
fn two_mistakes_of_recovery_are_two_findings() {
    let cell = explored(Tidy::Twice, "posix", 1, None);
    let wanted = ["all in order up to the truncation of log", "no sync of temp before the rename to log"];
    assert_eq!(in_recovery(&cell), wanted, "{:#?}", cell.findings);
}

#[test]
fn a_recovery_that_is_safe_or_writes_nothing_holds() {
    for model in ["prefix", "posix", "posix-split", "ext4-ordered"] {
        for depth in [1, 2] {
            let cell = explored(Tidy::Aside, model, depth, None);
            // Without a name of its own a split rename leaves neither.
            let split = model == "posix-split";
            assert_eq!(cell.verdict == Verdict::Violated, split, "{model}: {:?}", cell.findings);
            assert_eq!(cell.recoveries.depth, depth);
            let cell = explored(Tidy::Nothing, model, depth, None);
            assert_eq!(cell.verdict, Verdict::Holds, "{model}");
            assert!(cell.recoveries.recorded > 0);
            assert_eq!((cell.recoveries.quiet, cell.recoveries.states), (cell.recoveries.recorded, 0));
        }
    }
}

#[test]
fn what_only_a_third_crash_shows_is_found_at_depth_two() {
    let once = explored(Tidy::InPlaceNextTime, "posix", 1, None);
    assert_eq!(once.verdict, Verdict::Holds, "{:?}", once.findings);
    let twice = explored(Tidy::InPlaceNextTime, "posix", 2, None);
    assert_eq!(twice.verdict, Verdict::Violated);
    let crashes = |line: &&String| line.contains("power is lost again");
    assert_eq!(twice.findings[0].story.disk.iter().filter(crashes).count(), 2, "{:?}", twice.findings[0]);
}

#[test]
fn a_recovery_that_cannot_be_recorded_is_not_measured() {
    let cell = explored(Tidy::Dies, "posix", 1, None);
    assert_eq!(cell.verdict, Verdict::NotMeasured);
    assert!(cell.not_measured.iter().any(|b| b.what == "a crash during recovery"), "{:?}", cell.not_measured);
    assert_eq!(explored(Tidy::Dies, "posix", 0, None).verdict, Verdict::Holds);
}
