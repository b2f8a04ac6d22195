//! One seed, one outcome: the engine's recording is repeated byte for byte, races included, and what comes of it
//! does not depend on the number of workers.

mod binary;

use std::collections::BTreeSet;
use std::path::Path;
use unplug::target::Target;
use unplug::target::policy::Policy;
use unplug::target::resp::RespTarget;
use unplug::target::resp_op::RespOp;
use unplug::workload::resp::Shape;
use unplug::workload::{Step, Workload};
use unplug_faults::codec;
use unplug_faults::event::{Event, Op, ProcessEvent};
use unplug_faults::trace::Trace;

#[test]
fn the_same_seed_gives_the_same_report_with_one_and_with_two_workers() {
    for (seed, policies) in [(1, "always,no"), (9, "everysec,snapshot")] {
        let run = |workers: u32| -> Vec<String> {
            let dir = binary::directory();
            let words = format!(
                "check engine --seed {seed} --ops 24 --budget 120 --policy {policies} --format json --workers {workers}"
            );
            let lines = binary::printed(&mut binary::unplug(dir.path(), &words), &[0, 1, 3, 4]);
            lines.lines().map(binary::without_elapsed).collect()
        };
        let (first, again, two) = (run(1), run(1), run(2));
        assert!(first.len() >= 8, "{first:?}");
        assert_eq!(first, again, "seed {seed}, one worker twice");
        assert_eq!(first, two, "seed {seed}, one worker and two");
    }
}

/// Where it runs must not show: the second is started in a longer path, with more in its environment.
#[test]
fn the_same_seed_gives_the_same_trace_file() {
    for policy in Policy::ALL {
        let mut of_policy = BTreeSet::new();
        for seed in 1..=3 {
            let record = |dir: &Path, clutter: &str| {
                let words = format!("record engine --policy {policy} --seed {seed} --ops 30 -o run.trace");
                let mut command = binary::unplug(dir, &words);
                binary::printed(command.env("CLUTTER", clutter), &[0]);
                std::fs::read(dir.join("run.trace")).expect("written")
            };
            let (one, two) = (binary::directory(), binary::directory());
            let deep = two.path().join("a/longer/way/to/the/same/place");
            std::fs::create_dir_all(&deep).expect("a directory");
            let (first, second) = (record(one.path(), ""), record(&deep, &"x".repeat(5000)));
            assert!(first == second, "{policy}, seed {seed}: the traces differ");
            of_policy.insert(first);
        }
        assert_eq!(of_policy.len(), 3, "{policy}: another seed is another run");
    }
}

/// Appends of two clients while a child rewrites; which seed the scheduler has is the only difference.
fn during_a_rewrite(seed: u64) -> Trace {
    let invoke = |client, args: &[&str]| Step::Invoke { client, op: RespOp::command(args).encode() };
    let mut steps = vec![Step::Phase("rewrite".into())];
    // More than one write of the child, so that there is something to come between; nothing that compresses.
    let mut bits = 88_172_645_463_325_252_u64;
    let mut letter = || {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        char::from(b'!' + (bits % 90) as u8)
    };
    let value: String = (0..50_000).map(|_| letter()).collect();
    steps.extend((0..6).map(|i| invoke(0, &["SET", &format!("big{i}"), &value])));
    steps.push(invoke(0, &["BGREWRITEAOF"]));
    steps.extend((0..12).map(|i| invoke(i % 2, &["INCR", "n"])));
    steps.push(Step::Settle);
    steps.push(invoke(0, &["INCR", "n"]));
    let target = RespTarget::engine(env!("CARGO_BIN_EXE_unplug"), Policy::Always);
    let trace = target.record(binary::directory().path(), &Workload { steps, seed }).expect("recorded");
    assert_eq!(trace.blind, [], "seed {seed}");
    trace
}

/// The process that was forked to rewrite, and what it and the clients did from then on, in order.
fn interleaving(trace: &Trace) -> String {
    let fork = |e: &Event| match e.op {
        Op::Process(ProcessEvent::Forked { child }) => Some(child),
        _ => None,
    };
    let (at, child) = trace
        .events
        .iter()
        .enumerate()
        .rev()
        .find_map(|(i, e)| fork(e).map(|child| (i, child)))
        .expect("the rewrite is done by a child");
    let letter = |e: &Event| match &e.op {
        Op::Reply { .. } => Some('r'),
        Op::Write { .. } if e.task.process == child => Some('W'),
        Op::Sync { .. } if e.task.process == child => Some('S'),
        _ => None,
    };
    trace.events[at..].iter().filter_map(letter).collect()
}

#[test]
fn appends_during_a_rewrite_interleave_and_the_seed_decides_how() {
    let orders: Vec<String> = (1..=6).map(|seed| interleaving(&during_a_rewrite(seed))).collect();
    eprintln!("{orders:#?}");
    // A reply, a write of the child, a reply, as parts of one order: the child writes between two operations.
    let between = |order: &String| {
        let inner = order.trim_start_matches(|c| c != 'r');
        inner.find('W').is_some_and(|w| inner[w..].contains('r'))
    };
    assert!(orders.iter().any(between), "no write of the child between two operations: {orders:#?}");
    assert!(orders.iter().all(|o| o.contains('W')), "{orders:#?}");
    let distinct: BTreeSet<&String> = orders.iter().collect();
    assert!(distinct.len() > 2, "the seed does not decide: {orders:#?}");
    assert_eq!(interleaving(&during_a_rewrite(3)), orders[2], "the same seed, the same order");
}

/// A store that was killed is started again in the same recording, and repeats itself in that life too.
#[test]
fn a_later_life_is_repeated_byte_for_byte() {
    for policy in Policy::ALL {
        let workload = Shape { restart: true, ..Shape::new(policy, 24) }.generate(5);
        let record = || {
            let target = RespTarget::engine(env!("CARGO_BIN_EXE_unplug"), policy);
            let trace = target.record(binary::directory().path(), &workload).expect("recorded");
            assert_eq!(trace.blind, [], "{policy}");
            assert_eq!(trace.events.iter().filter(|e| e.op == Op::Kill).count(), 1, "{policy}");
            trace
        };
        let first = record();
        for _ in 0..3 {
            let again = record();
            let pairs = first.events.iter().zip(&again.events);
            let other = pairs.enumerate().find(|(_, (a, b))| a != b);
            assert_eq!(other, None, "{policy}: the first event that differs");
            let bytes = |trace| codec::encode(codec::Kind::Trace, trace).expect("encodes");
            assert!(bytes(&first) == bytes(&again), "{policy}: the traces differ");
        }
    }
}
