//! A memo that many runs share: what one run leaves open is not open in the next.
//!
//! The story: `EXPIRE a 10` whose reply was lost may have been done at any time up to the end of the run, and the judge
//! sets whatever deadline it finds to the one that the reference model has. A sweep over single faults kept that for
//! the next run, in which the same image has a deadline that was seen: a store that had done nothing wrong was said to
//! have a gap. The other way round, a wrong deadline would have been taken for right.

use super::*;
use crate::dump::Entry;
use crate::oracle::RespOracle;
use crate::target::resp_op::{RespOp, canonical_key, canonical_string};

struct Resp;

impl Target for Resp {
    fn name(&self) -> String {
        Toy.name()
    }
    fn record(&self, dir: &Path, workload: &Workload) -> Result<Trace, RecordError> {
        Toy.record(dir, workload)
    }
    fn worker(&self, contract: &Contract) -> std::process::Command {
        Toy.worker(contract)
    }
    fn oracle(&self) -> Box<dyn Oracle> {
        Box::new(RespOracle::new())
    }
}

/// A byte for each operation: `SET a 1`, and `EXPIRE a 10`, which gives a deadline of 11 seconds after the start.
fn recovers(image: &Image) -> Outcome {
    let log = image.nodes.get(b"log".as_slice()).map_or(0, |n| n.data.as_slice().len());
    let entry =
        Entry { value: canonical_string(b"1"), expires_at_ms: (log > 1).then_some(1_000_000 + 11_000) };
    let all = (log > 0).then(|| (canonical_key(0, b"a"), entry));
    Outcome::Recovered(Dump(all.into_iter().collect()))
}

/// When the EXPIRE is asked for and when it is answered, in seconds after the start. The run lasts 3 seconds.
fn run(asked: u64, answered: u64) -> Trace {
    const SECOND: u64 = 1_000_000_000;
    let line = |text: &str| RespOp::command(&text.split(' ').collect::<Vec<_>>()).encode();
    let mut b = TraceBuilder::new();
    b.phase("append");
    b.event(Op::Create { dir: FileId::ROOT, name: b"log".to_vec(), file: LOG, kind: NodeKind::File });
    b.event(Op::Sync { file: FileId::ROOT, kind: SyncKind::Fsync });
    let append = |b: &mut TraceBuilder, offset| {
        b.event(Op::Write { file: LOG, offset, data: vec![b'x'], sync: WriteSync::None });
        b.event(Op::Sync { file: LOG, kind: SyncKind::Fsync });
    };
    let set = b.invoke(0, &line("SET a 1"));
    append(&mut b, 0);
    b.reply(0, set, b"+OK\r\n");
    b.advance(asked * SECOND);
    let expire = b.invoke(0, &line("EXPIRE a 10"));
    b.advance((answered - asked) * SECOND);
    append(&mut b, 1);
    b.reply(0, expire, b":1\r\n");
    b.advance((3 - answered) * SECOND);
    b.run(&line("GET a"), b"$1\r\n1\r\n");
    b.trace()
}

/// Explores a run with a memo that others may have written to.
fn explored(trace: &Trace, memo: &mut Memo, pool: &mut FakePool) -> CellResult {
    let search = Search {
        trace,
        target: &Resp,
        contract: Contract::Always,
        model: by_name("posix").unwrap(),
        plan: Plan { bound: 1, budget: 1000, seed: 1 },
        assume: &[],
        repro_dir: None,
    };
    let cell = explore_last(
        &search,
        &Hearing::of(&search),
        memo,
        pool,
        &mut |_| {},
        &AtomicBool::new(false),
        TeethCheck::Skipped,
    )
    .unwrap();
    assert!(cell.states_checked > 3 && cell.not_measured.is_empty(), "{cell:?}");
    cell
}

/// The classes of what is found in runs that share a memo, run by run.
fn found(runs: &[Trace]) -> Vec<Vec<Class>> {
    let (mut memo, mut pool) = (Memo::new(), FakePool::new(recovers));
    let mut classes = |trace: &Trace| {
        let cell = explored(trace, &mut memo, &mut pool);
        cell.findings.iter().map(|f| f.violation.class).collect()
    };
    runs.iter().map(&mut classes).collect()
}

#[test]
fn a_deadline_that_one_run_leaves_open_is_judged_by_the_run_that_saw_it() {
    let (open, seen, wrong) = (run(0, 2), run(1, 1), run(0, 0));
    let alone = [&open, &seen, &wrong].map(|trace| found(std::slice::from_ref(trace)).remove(0));
    assert!(alone[0].is_empty() && alone[1].is_empty() && !alone[2].is_empty(), "{alone:?}");
    let all = [open, seen, wrong];
    assert_eq!(found(&all), alone);
    let back: Vec<Trace> = all.into_iter().rev().collect();
    assert_eq!(found(&back), alone.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn runs_that_leave_nothing_open_share_what_they_recover() {
    let (mut memo, mut pool) = (Memo::new(), FakePool::new(recovers));
    let images = [run(1, 1), run(1, 1)].map(|trace| {
        explored(&trace, &mut memo, &mut pool);
        pool.recovered
    });
    assert_eq!(images[0], images[1]);
}
