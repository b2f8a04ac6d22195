//! Random workloads crash the engine while it appends, rewrites, saves and recovers, under every policy.
//!
//! A failure is shrunk and kept as a workload in `tests/crash-regressions/POLICY/`, which is to be checked in: those
//! run first. `UNPLUG_SEED` and `UNPLUG_CASES` give other and more cases.

mod binary;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use unplug::explore::{Memo, Search, explore_sharing};
use unplug::target::Target;
use unplug::target::policy::Policy;
use unplug::target::resp::RespTarget;
use unplug::teeth::drop_syncs;
use unplug::testing::env::Settings;
use unplug::verdict::Verdict;
use unplug::worker::{Limits, Workers};
use unplug::workload::strategy::workloads;
use unplug::workload::{Step, Workload};
use unplug_faults::event::Op;
use unplug_faults::model;
use unplug_faults::state::Plan;
use unplug_faults::trace::Trace;

const MODELS: [&str; 2] = ["posix", "ext4-ordered"];
/// States of each phase and model in one case. Small: a case is one of many.
const BUDGET: u64 = 100;
const CASES: u32 = 6;
const SHRINKS: u32 = 40;
/// The phase that begins with a kill: what the engine does to its files when it starts on them again.
const RECOVERY: &str = "recovery";

/// The engine under a policy, and what is done to each trace before it is explored.
struct Subject {
    policy: Policy,
    kept: PathBuf,
    sabotage: fn(&Trace) -> Trace,
    tally: RefCell<Tally>,
}

/// What the cases came to: a property over workloads that do nothing would hold too.
#[derive(Debug, Default)]
struct Tally {
    states: u64,
    kills: usize,
    rewrites: usize,
    saves: usize,
}

impl Tally {
    fn add(&mut self, trace: &Trace) {
        let first = trace.events.iter().position(|e| matches!(e.op, Op::Invoke { .. })).unwrap_or(0);
        for event in &trace.events[first..] {
            match &event.op {
                Op::Kill => self.kills += 1,
                Op::Rename { to_name, .. } if to_name == b"dump.rdb" => self.saves += 1,
                Op::Rename { to_name, .. } if to_name.windows(6).any(|w| w == b".base.") => {
                    self.rewrites += 1
                }
                _ => {}
            }
        }
    }
}

/// A failure as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// What was found, for a reader.
    found: String,
    workload: Workload,
}

impl Subject {
    fn correct(policy: Policy) -> Subject {
        let kept = binary::root().join("tests/crash-regressions").join(policy.name());
        Subject { policy, kept, sabotage: Trace::clone, tally: RefCell::default() }
    }

    /// Records a workload and crashes it; the story of what is wrong.
    fn crash(&self, workload: &Workload) -> Result<(), String> {
        let target = RespTarget::engine(env!("CARGO_BIN_EXE_unplug"), self.policy);
        let dir = binary::directory();
        let trace = target.record(dir.path(), workload).map_err(|e| format!("not recorded: {e}"))?;
        if let Some(blind) = trace.blind.first() {
            return Err(format!("not measured: {}: {}", blind.what, blind.detail));
        }
        self.tally.borrow_mut().add(&trace);
        let trace = (self.sabotage)(&trace);
        let contract = self.policy.contract();
        let workers = Workers::start(1, Limits::default(), || target.worker(&contract));
        let mut pool = workers.map_err(|e| format!("no workers: {e}"))?;
        let mut memo = Memo::new();
        for name in MODELS {
            let search = Search {
                trace: &trace,
                target: &target,
                contract: contract.clone(),
                model: model::by_name(name).ok_or("no such model")?,
                plan: Plan { bound: 2, budget: BUDGET, seed: workload.seed },
                assume: &[],
                repro_dir: None,
            };
            let never = AtomicBool::new(false);
            for cell in explore_sharing(&search, &mut memo, &mut pool, &mut |_| {}, &never) {
                self.tally.borrow_mut().states += cell.states_checked;
                // A random phase may hold no promise; anything else that is not measured is not a pass.
                let blind = cell.not_measured.iter().find(|b| !b.what.starts_with("nothing was promised"));
                if let Some(blind) = blind {
                    return Err(format!("{} is not measured: {}: {}", cell.phase, blind.what, blind.detail));
                }
                if let Some(finding) = cell.findings.first() {
                    let (violation, story) = (&finding.violation, &finding.story);
                    return Err(format!(
                        "{:?} in {} under {name}: {}\nthe disk: {:#?}\nthe gap: {:?}",
                        violation.class, cell.phase, violation.explanation, story.disk, story.gap
                    ));
                }
                if cell.verdict == Verdict::Violated {
                    return Err(format!("{} under {name} is violated without a finding", cell.phase));
                }
            }
        }
        Ok(())
    }

    /// The kept failures, in the order of their names.
    fn regressions(&self) -> Vec<(PathBuf, Kept)> {
        let entries = std::fs::read_dir(&self.kept).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.map(|e| e.expect("readable").path()).collect();
        files.sort();
        let read = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).expect("readable");
            let kept = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path, kept)
        };
        files.into_iter().map(read).collect()
    }

    /// The kept failures, then the cases: the first failure, shrunk, and where it is kept.
    fn run(&self) -> Result<(), String> {
        for (path, kept) in self.regressions() {
            self.crash(&kept.workload).map_err(|story| format!("{} again: {story}", path.display()))?;
        }
        let settings = Settings::read().expect("good UNPLUG_ variables");
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&settings.seed.unwrap_or(1).to_le_bytes());
        let config = Config {
            cases: settings.cases.unwrap_or(CASES),
            max_shrink_iters: SHRINKS,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        let case = |workload| self.crash(&workload).map_err(TestCaseError::fail);
        match runner.run(&restarted(self.policy), case) {
            Ok(()) => Ok(()),
            Err(TestError::Fail(story, workload)) => {
                let path = self.keep(story.message(), &workload);
                Err(format!("{story}\nkept, to be checked in: {}\n{workload:#?}", path.display()))
            }
            Err(TestError::Abort(why)) => Err(format!("not measured: {why}")),
        }
    }

    fn keep(&self, story: &str, workload: &Workload) -> PathBuf {
        let kept = Kept { found: story.to_owned(), workload: workload.clone() };
        let steps = serde_json::to_vec(&kept.workload).expect("a workload is data");
        let name = format!("{:016x}.json", xxhash_rust::xxh3::xxh3_64(&steps));
        std::fs::create_dir_all(&self.kept).expect("a directory");
        let path = self.kept.join(name);
        let text = serde_json::to_string_pretty(&kept).expect("a workload is data");
        std::fs::write(&path, text + "\n").expect("writable");
        path
    }
}

/// Workloads of which most are killed and started again at some step.
fn restarted(policy: Policy) -> impl Strategy<Value = Workload> {
    let restart = prop::option::weighted(0.7, any::<prop::sample::Index>());
    (workloads(policy, 4..18), restart).prop_map(move |(mut workload, restart)| {
        // Which snapshot a later life began with is not recorded: such a run is not measured.
        if let Some(at) = restart.filter(|_| policy.appends()) {
            let at = 1 + at.index(workload.steps.len());
            workload.steps.splice(at..at, [Step::Phase(RECOVERY.into()), Step::KillAndRestart]);
        }
        // What runs in the background ends within the recording.
        workload.steps.push(Step::Settle);
        workload
    })
}

fn holds(policy: Policy) {
    let subject = Subject::correct(policy);
    if let Err(story) = subject.run() {
        panic!("{policy}: {story}");
    }
    let tally = subject.tally.into_inner();
    eprintln!("{policy}: {tally:?}");
    // Snapshots change few files, and most moments of such a run have nothing in flight.
    let least = if policy.appends() { 500 } else { 100 };
    assert!(tally.states > least && tally.saves > 0, "{policy}: {tally:?}");
    assert_eq!(tally.kills > 0, policy.appends(), "{policy}: {tally:?}");
    assert_eq!(tally.rewrites > 0, policy.appends(), "{policy}: {tally:?}");
}

#[test]
fn always_holds_whatever_is_done() {
    holds(Policy::Always);
}

#[test]
fn everysec_holds_whatever_is_done() {
    holds(Policy::EverySec);
}

#[test]
fn no_holds_whatever_is_done() {
    holds(Policy::No);
}

#[test]
fn snapshot_holds_whatever_is_done() {
    holds(Policy::Snapshot);
}

/// The property has teeth: without syncs it fails, small, and what failed is kept and runs first.
#[test]
fn without_syncs_the_property_fails_and_the_failure_is_kept() {
    let dir = binary::directory();
    let kept: &Path = dir.path();
    let broken =
        || Subject { sabotage: drop_syncs, kept: kept.to_owned(), ..Subject::correct(Policy::Always) };
    let story = broken().run().expect_err("nothing was synced");
    assert!(story.contains("kept, to be checked in"), "{story}");
    let files = broken().regressions();
    assert_eq!(files.len(), 1, "{files:?}");
    let steps = &files[0].1.workload.steps;
    let operations = steps.iter().filter(|s| matches!(s, Step::Invoke { .. } | Step::Together(_))).count();
    assert!(operations <= 5, "not shrunk: {steps:?}");

    let again = broken().run().expect_err("it still fails");
    assert!(again.contains(".json again: "), "{again}");
    let repaired = Subject { kept: kept.to_owned(), ..Subject::correct(Policy::Always) };
    assert_eq!(repaired.crash(&files[0].1.workload), Ok(()));
}
