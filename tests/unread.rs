//! Images that differ only in what recovery never read are recovered once: with and without that, the same is found
//! in the same states, also where the trace is broken on purpose.

mod binary;

use std::sync::atomic::AtomicBool;
use unplug::cell::CellResult;
use unplug::explore::{Memo, Search, explore_deep};
use unplug::target::Target;
use unplug::target::policy::Policy;
use unplug::target::resp::RespTarget;
use unplug::verdict::Verdict;
use unplug::worker::{Limits, Workers};
use unplug::workload::resp::Shape;
use unplug_faults::model;
use unplug_faults::mutate::{acknowledge_early, delete_write, drop_all_syncs};
use unplug_faults::state::Plan;
use unplug_faults::trace::Trace;

type Break = fn(&Trace) -> Trace;

/// What is broken, and whether that must show.
const SABOTAGES: [(&str, Break, bool); 4] = [
    ("nothing", Trace::clone, false),
    ("syncs dropped", |trace| drop_all_syncs(trace).0, true),
    ("acknowledged early", |trace| acknowledge_early(trace).0, true),
    ("a write deleted", |trace| delete_write(trace, 9).0, false),
];

/// What each cell came to, whatever was recovered for it.
fn outcome(cells: &[CellResult]) -> Vec<String> {
    let cell = |cell: &CellResult| {
        let found: Vec<_> =
            cell.findings.iter().map(|f| (f.violation.class, f.mechanism.as_str(), f.states)).collect();
        let images = cell.images_recovered + cell.saved.unread;
        let (phase, model, verdict) = (&cell.phase, &cell.model, cell.verdict);
        format!(
            "{phase} {model} {verdict:?} {} {images} {found:?} {:?}",
            cell.states_checked, cell.worst_loss
        )
    };
    cells.iter().map(cell).collect()
}

fn explored(target: &RespTarget, trace: &Trace, depth: u8, pruned: bool) -> (Vec<CellResult>, Memo) {
    let contract = target.policy.contract();
    let workers = Workers::start_logged(2, Limits::default(), pruned, || target.worker(&contract));
    let (mut pool, mut memo, mut cells) = (workers.expect("workers"), Memo::new(), Vec::new());
    for name in if depth > 0 { &["posix", "ext4-ordered"][..] } else { &["posix"] } {
        let search = Search {
            trace,
            target,
            contract: contract.clone(),
            model: model::by_name(name).expect("a model"),
            plan: Plan { bound: 2, budget: 250, seed: 1 },
            assume: &[],
            repro_dir: None,
        };
        let never = AtomicBool::new(false);
        cells.extend(explore_deep(&search, depth, &mut memo, &mut pool, &mut |_| {}, &never));
    }
    (cells, memo)
}

/// The images of all explorations agree, one by one: so do the states, which are judged by them.
fn same_with_and_without(policy: Policy, ops: u64) -> u64 {
    let target = RespTarget::engine(env!("CARGO_BIN_EXE_unplug"), policy);
    let dir = binary::directory();
    let trace = target.record(dir.path(), &Shape::new(policy, ops).generate(3)).expect("recorded");
    let mut spared = 0;
    for (what, sabotage, shows) in SABOTAGES {
        let trace = sabotage(&trace);
        // What is crashed during recovery is recorded anew each time, which takes long: once is enough.
        let depth = u8::from(what == "nothing");
        let (whole, all) = explored(&target, &trace, depth, false);
        let (pruned, some) = explored(&target, &trace, depth, true);
        assert_eq!(outcome(&pruned), outcome(&whole), "{policy}, {what}");
        let (agree, differ) = some.agreement(&all);
        assert!(
            differ == 0 && agree == all.len() && agree == some.len(),
            "{policy}, {what}: {agree}, {differ}"
        );
        let violated = whole.iter().any(|cell| cell.verdict == Verdict::Violated);
        assert!(violated || !shows || policy != Policy::Always, "{policy}, {what}: nothing shows");
        assert_eq!(whole.iter().map(|cell| cell.saved.unread).sum::<u64>(), 0);
        spared += pruned.iter().map(|cell| cell.saved.unread).sum::<u64>();
    }
    spared
}

#[test]
fn the_log_that_is_always_synced() {
    assert!(same_with_and_without(Policy::Always, 16) > 0);
}

#[test]
fn the_log_that_is_never_synced() {
    assert!(same_with_and_without(Policy::No, 16) > 0);
}

/// A snapshot that is being written is read by nobody.
#[test]
fn snapshots() {
    let spared = same_with_and_without(Policy::Snapshot, 60);
    assert!(spared > 20, "{spared}");
}

/// Results depend neither on the number of workers nor on what is spared; without the option nothing is.
#[test]
fn the_command_says_what_was_saved() {
    let run = |words: &str| -> Vec<String> {
        let dir = binary::directory();
        let words =
            format!("check engine --budget 200 --policy snapshot --model posix --format json {words}");
        let lines = binary::printed(&mut binary::unplug(dir.path(), &words), &[0, 1, 3]);
        lines.lines().map(binary::without_elapsed).collect()
    };
    let (one, three, none) = (run("--prune --workers 1"), run("--prune --workers 3"), run(""));
    let found = |lines: &[String]| -> Vec<serde_json::Value> {
        let kept = |line: &String| {
            let mut cell: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let fields = cell.as_object_mut().expect("an object");
            ["saved", "images_recovered", "recovery"].iter().for_each(|name| drop(fields.remove(*name)));
            cell
        };
        lines.iter().map(kept).collect()
    };
    assert_eq!(one, three, "which images are spared does not depend on the number of workers");
    assert_eq!(found(&one), found(&none));
    let unread = |lines: &[String]| -> u64 {
        let of =
            |line: &String| serde_json::from_str::<serde_json::Value>(line).ok()?["saved"]["unread"].as_u64();
        lines.iter().filter_map(of).sum()
    };
    assert!(unread(&one) > 50, "{one:?}");
    assert_eq!(unread(&none), 0);
}
