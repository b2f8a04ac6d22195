//! Power lost while a recovered store is written to: toys whose mistakes show nowhere else.

use super::*;
use crate::cell::AFTER_RECOVERY;
use crate::explore::explore_deep;
use crate::workload::{Step, Workload};
use unplug_faults::trace::BaseNode;

const MARK: FileId = FileId(2);

/// After which recoveries a toy forgets to sync the log that it goes on with.
#[derive(Clone, Copy, PartialEq)]
enum Forgets {
    Never,
    /// After each.
    Always,
    /// After one that has found the mark which another has left that did not come to its end.
    AfterAMark,
}

impl Target for Forgets {
    fn name(&self) -> String {
        "toy".to_string()
    }
    /// The recovery leaves a mark while it works; then each operation is appended to the log.
    fn record(&self, dir: &Path, workload: &Workload) -> Result<Trace, RecordError> {
        let (mut b, mut base) = (TraceBuilder::new(), Vec::new());
        for (name, file) in [("log", LOG), ("mark", MARK)] {
            let Ok(data) = std::fs::read(dir.join(name)) else { continue };
            let (dir, name) = (FileId::ROOT, name.as_bytes().to_vec());
            base.push(BaseNode { file, dir, name, kind: NodeKind::File, data });
        }
        let marked = base.iter().any(|node| node.file == MARK);
        let name = || b"mark".to_vec();
        let sync = |file| Op::Sync { file, kind: SyncKind::Fsync };
        if !marked {
            b.event(Op::Create { dir: FileId::ROOT, name: name(), file: MARK, kind: NodeKind::File });
            b.event(sync(FileId::ROOT));
        }
        b.event(Op::Unlink { dir: FileId::ROOT, name: name(), file: MARK });
        b.event(sync(FileId::ROOT));
        let Some(log) = base.iter().find(|node| node.file == LOG) else {
            return Ok(Trace { base, ..b.trace() });
        };
        let mut offset = super::tree::whole(&log.data);
        if offset < log.data.len() {
            b.event(Op::Truncate { file: LOG, size: offset as u64 });
            b.event(sync(LOG));
        }
        for step in &workload.steps {
            let Step::Invoke { op, .. } = step else { continue };
            let (id, data) = (b.invoke(0, op), super::record(offset, op));
            let len = data.len();
            b.event(Op::Write { file: LOG, offset: offset as u64, data, sync: WriteSync::None });
            offset += len;
            if *self == Forgets::Never || (*self == Forgets::AfterAMark && !marked) {
                b.event(sync(LOG));
            }
            b.reply(0, id, &MapReply::Done.encode());
        }
        Ok(Trace { base, ..b.trace() })
    }
    fn after_recovery(&self) -> Workload {
        let op = MapOp::Add { key: b"later".to_vec(), by: 1 }.encode();
        Workload { steps: vec![Step::Invoke { client: 0, op }], seed: 0 }
    }
    fn worker(&self, _: &Contract) -> std::process::Command {
        std::process::Command::new("toy")
    }
    fn oracle(&self) -> Box<dyn Oracle> {
        Box::new(MapOracle::new())
    }
}

fn explored(toy: Forgets, depth: u8, repro_dir: Option<&Path>) -> CellResult {
    let search = Search {
        trace: &log_trace(3, 1, &["append"]),
        target: &toy,
        contract: Contract::Always,
        model: by_name("posix").unwrap(),
        plan: Plan { bound: 2, budget: 20_000, seed: 1 },
        assume: &[],
        repro_dir,
    };
    let (mut memo, mut pool) = (Memo::new(), FakePool::new(checked));
    let cancel = AtomicBool::new(false);
    explore_deep(&search, depth, &mut memo, &mut pool, &mut |_| {}, &cancel).pop().unwrap()
}

#[test]
fn a_log_that_is_synced_as_before_holds() {
    for depth in [1, 2] {
        let cell = explored(Forgets::Never, depth, None);
        assert_eq!(cell.verdict, Verdict::Holds, "{:?} {:?}", cell.findings, cell.not_measured);
        assert!(cell.recoveries.written > 0);
    }
}

#[test]
fn a_log_that_is_not_synced_any_more_is_found() {
    assert_eq!(explored(Forgets::Always, 0, None).verdict, Verdict::Holds);
    let dir = tempfile::tempdir().unwrap();
    let cell = explored(Forgets::Always, 1, Some(dir.path()));
    let [finding] = &cell.findings[..] else { panic!("{:#?}", cell.findings) };
    assert_eq!(finding.violation.class, Class::AcknowledgedLoss);
    assert!(finding.mechanism.starts_with(AFTER_RECOVERY), "{}", finding.mechanism);
    let repro = Repro::load(finding.repro.as_ref().unwrap()).unwrap();
    assert_eq!(replay(&repro, &mut FakePool::new(checked)).unwrap(), Replayed::Same);
}

#[test]
fn what_a_recovery_from_a_crashed_recovery_does_is_found_at_depth_two() {
    let once = explored(Forgets::AfterAMark, 1, None);
    assert_eq!(once.verdict, Verdict::Holds, "{:#?}", once.findings);
    let dir = tempfile::tempdir().unwrap();
    let twice = explored(Forgets::AfterAMark, 2, Some(dir.path()));
    let [finding] = &twice.findings[..] else { panic!("{:#?}", twice.findings) };
    assert_eq!(finding.violation.class, Class::AcknowledgedLoss);
    let told = finding.story.disk.join("\n");
    let again = told.find("power is lost again").expect("the crash of the recovery is told");
    assert!(again < told.find("recovered and written to").unwrap(), "{told}");
    let repro = Repro::load(finding.repro.as_ref().unwrap()).unwrap();
    assert_eq!(replay(&repro, &mut FakePool::new(checked)).unwrap(), Replayed::Same);
}
