//! Power lost while a recovered store is written to: toys whose mistakes show nowhere else.

use super::*;
use crate::cell::AFTER_RECOVERY;
use crate::explore::explore_deep;
use crate::workload::{Step, Workload};
use unplug_faults::trace::BaseNode;

const MARKS: [(&str, FileId); 2] = [("mark", FileId(2)), ("second mark", FileId(3))];

/// After which recoveries a toy forgets to sync the log that it goes on with.
#[derive(Clone, Copy, PartialEq)]
enum Forgets {
    Never,
    /// After each.
    Always,
    /// After one that has found so many marks, each left by one that did not come to its end.
    AfterMarks(usize),
}

impl Target for Forgets {
    fn name(&self) -> String {
        "toy".to_string()
    }
    /// The recovery leaves another mark while it works; then each operation is appended to the log.
    fn record(&self, dir: &Path, workload: &Workload) -> Result<Trace, RecordError> {
        let (mut b, mut base) = (TraceBuilder::new(), Vec::new());
        for (name, file) in [("log", LOG)].into_iter().chain(MARKS) {
            let Ok(data) = std::fs::read(dir.join(name)) else { continue };
            let (dir, name) = (FileId::ROOT, name.as_bytes().to_vec());
            base.push(BaseNode { file, dir, name, kind: NodeKind::File, data });
        }
        let there = |mark: FileId| base.iter().any(|node| node.file == mark);
        let marks = MARKS.iter().filter(|(_, mark)| there(*mark)).count();
        let sync = |file| Op::Sync { file, kind: SyncKind::Fsync };
        let added = MARKS.into_iter().find(|(_, mark)| !there(*mark));
        if let Some((name, file)) = added {
            let name = name.as_bytes().to_vec();
            b.event(Op::Create { dir: FileId::ROOT, name, file, kind: NodeKind::File });
            b.event(sync(FileId::ROOT));
        }
        for (name, file) in MARKS.into_iter().filter(|mark| there(mark.1) || added == Some(*mark)) {
            b.event(Op::Unlink { dir: FileId::ROOT, name: name.as_bytes().to_vec(), file });
        }
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
            let forgets = match *self {
                Forgets::Never => false,
                Forgets::Always => true,
                Forgets::AfterMarks(n) => marks >= n,
            };
            if !forgets {
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

/// The losses that a mistake takes are those that its story tells: one before the recovery that is written to, and
/// those during the recoveries before it.
#[test]
fn what_a_recovery_from_a_crashed_recovery_does_is_found_at_the_depth_of_the_crashes() {
    for crashes in [1, 2] {
        let toy = Forgets::AfterMarks(usize::from(crashes));
        let less = explored(toy, crashes - 1, None);
        assert_eq!(less.verdict, Verdict::Holds, "{:#?}", less.findings);
        let dir = tempfile::tempdir().unwrap();
        let cell = explored(toy, crashes, Some(dir.path()));
        let [finding] = &cell.findings[..] else { panic!("{:#?}", cell.findings) };
        assert_eq!(finding.violation.class, Class::AcknowledgedLoss);
        let told = finding.story.disk.join("\n");
        assert_eq!(told.matches("power is lost again").count(), usize::from(crashes), "{told}");
        let again = told.rfind("power is lost again").unwrap();
        assert!(again < told.find("recovered and written to").unwrap(), "{told}");
        let repro = Repro::load(finding.repro.as_ref().unwrap()).unwrap();
        assert_eq!(replay(&repro, &mut FakePool::new(checked)).unwrap(), Replayed::Same);
    }
}

/// What is written to is recorded, and nothing else counts as crashed.
#[test]
fn recoveries_behind_the_last_crash_are_written_to_and_not_crashed() {
    let [once, twice] = [1, 2].map(|depth| explored(Forgets::Never, depth, None).recoveries);
    for done in [once, twice] {
        assert!(0 < done.crashed && done.crashed < done.recorded, "{done:?}");
        assert!(done.crashed < done.written && done.written <= done.recorded, "{done:?}");
    }
    assert_eq!(twice.crashed, once.recorded, "what is written to at one depth is crashed at the next");
}
