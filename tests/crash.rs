//! Random workloads crash the engine while it appends, rewrites, saves and recovers, under every policy and in every
//! configuration: both layouts, bases of either kind, rewrites and snapshots by themselves, the change of a layout.
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
use unplug::target::resp_op::RespOp;
use unplug::target::variant::{VARIANTS, Variant};
use unplug::teeth::drop_syncs;
use unplug::testing::env::Settings;
use unplug::verdict::Verdict;
use unplug::worker::{Limits, Workers};
use unplug::workload::phases::Course;
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
/// Cases of each configuration that is not the default one.
const CASES_OF_VARIANT: u32 = 1;
const SHRINKS: u32 = 40;
/// The phase that begins with a kill: what the engine does to its files when it starts on them again.
const RECOVERY: &str = "recovery";
/// The phase that begins with an end, and a start with other options.
const RESTART: &str = "restart";

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
    /// Starts with other options.
    restarts: usize,
    /// Rewrites that growth began, and snapshots that save points began.
    own_rewrites: usize,
    own_saves: usize,
    /// Cases of single files.
    single: usize,
}

impl Tally {
    fn add(&mut self, trace: &Trace, workload: &Workload, variant: &Variant) {
        let before = (self.rewrites, self.saves);
        self.count(trace);
        let asked = |names: &[&[u8]]| {
            let has = |step: &&Step| match step {
                Step::Invoke { op, .. } => names.iter().any(|n| holds(op, n)),
                _ => false,
            };
            workload.steps.iter().filter(has).count()
        };
        match variant.course {
            Course::Growing => {
                let rewrites = self.rewrites - before.0;
                self.own_rewrites += rewrites.saturating_sub(asked(&[b"BGREWRITEAOF"]));
            }
            Course::SavePoints => {
                let saves = self.saves - before.1;
                self.own_saves += saves.saturating_sub(asked(&[b"SAVE", b"BGSAVE"]));
            }
            _ => {}
        }
        self.restarts += workload.steps.iter().filter(|s| matches!(s, Step::Restart { .. })).count();
        self.single += usize::from(variant.options().iter().any(|(_, value)| value == "single"));
    }

    fn count(&mut self, trace: &Trace) {
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
    /// The configuration, if it was not the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    workload: Workload,
}

impl Subject {
    fn correct(policy: Policy) -> Subject {
        let kept = binary::root().join("tests/crash-regressions").join(policy.name());
        Subject { policy, kept, sabotage: Trace::clone, tally: RefCell::default() }
    }

    /// Records a workload and crashes it; the story of what is wrong.
    fn crash(&self, workload: &Workload, variant: &Variant) -> Result<(), String> {
        let mut target = RespTarget::engine(env!("CARGO_BIN_EXE_unplug"), self.policy);
        target.extra = variant.options();
        target.recover = variant.recovery();
        target.origin = variant.origin;
        let dir = binary::directory();
        let trace = target.record(dir.path(), workload).map_err(|e| format!("not recorded: {e}"))?;
        if let Some(blind) = trace.blind.first() {
            return Err(format!("not measured: {}: {}", blind.what, blind.detail));
        }
        self.tally.borrow_mut().add(&trace, workload, variant);
        let trace = (self.sabotage)(&trace);
        let contract = self.policy.contract();
        let workers = Workers::start(1, Limits::default(), || target.worker(&contract));
        let mut pool = workers.map_err(|e| format!("no workers: {e}"))?;
        let mut memo = Memo::new();
        for name in variant.documented().unwrap_or(&MODELS) {
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
            let variant = kept.variant.as_deref().map_or(Some(Variant::usual()), Variant::named);
            let variant = variant.ok_or_else(|| format!("{}: no such variant", path.display()))?;
            self.crash(&kept.workload, variant)
                .map_err(|story| format!("{} again: {story}", path.display()))?;
        }
        let settings = Settings::read().expect("good UNPLUG_ variables");
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&settings.seed.unwrap_or(1).to_le_bytes());
        // Workloads of any steps are killed and started again with the options of the beginning: not those in which a log
        // that is off at first is switched on.
        let fits = |v: &&Variant| v.policies.contains(&self.policy) && v.course != Course::Switched;
        for variant in VARIANTS.iter().filter(fits) {
            let few = if variant.is_usual() { CASES } else { CASES_OF_VARIANT };
            let config = Config {
                cases: settings.cases.unwrap_or(few),
                max_shrink_iters: SHRINKS,
                failure_persistence: None,
                ..Config::default()
            };
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
            let case = |workload| self.crash(&workload, variant).map_err(TestCaseError::fail);
            match TestRunner::new_with_rng(config, rng).run(&workload_of(self.policy, variant), case) {
                Ok(()) => {}
                Err(TestError::Fail(story, workload)) => {
                    let path = self.keep(story.message(), &workload, variant);
                    let (name, path) = (variant.name, path.display());
                    return Err(format!("{name}: {story}\nkept, to be checked in: {path}\n{workload:#?}"));
                }
                Err(TestError::Abort(why)) => return Err(format!("not measured: {why}")),
            }
            // Every other configuration begins with other workloads.
            seed[8] += 1;
        }
        Ok(())
    }

    fn keep(&self, story: &str, workload: &Workload, variant: &Variant) -> PathBuf {
        let variant = (!variant.is_usual()).then(|| variant.name.to_owned());
        let kept = Kept { found: story.to_owned(), variant, workload: workload.clone() };
        let steps = serde_json::to_vec(&kept.workload).expect("a workload is data");
        let name = format!("{:016x}.json", xxhash_rust::xxh3::xxh3_64(&steps));
        std::fs::create_dir_all(&self.kept).expect("a directory");
        let path = self.kept.join(name);
        let text = serde_json::to_string_pretty(&kept).expect("a workload is data");
        std::fs::write(&path, text + "\n").expect("writable");
        path
    }
}

/// Whether an encoded operation has this word.
fn holds(op: &[u8], word: &[u8]) -> bool {
    op.windows(word.len()).any(|w| w == word)
}

/// Workloads of which most are killed and started again at some step; and what the variant is about happens in them.
fn workload_of(policy: Policy, variant: &'static Variant) -> impl Strategy<Value = Workload> {
    let long = matches!(variant.course, Course::Growing | Course::SavePoints);
    let steps = if long { 14..24 } else { 4..18_usize };
    (restarted(policy, steps), any::<prop::sample::Index>()).prop_map(move |(mut workload, at)| {
        match variant.course {
            Course::Usual | Course::Switched => {}
            Course::Restarted { how, set } => {
                let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
                let set = set.iter().map(own).collect();
                let at = 1 + at.index(workload.steps.len());
                let restart = [Step::Phase(RESTART.into()), Step::Restart { how, set }];
                workload.steps.splice(at..at, restart);
            }
            // What is due is begun at a tick of the timer; a snapshot is due after a second.
            Course::Growing | Course::SavePoints => {
                let nanos = if variant.course == Course::Growing { 100_000_000 } else { 1_100_000_000 };
                for at in (4..=workload.steps.len()).rev().step_by(4) {
                    workload.steps.insert(at, Step::Advance { nanos });
                }
                if variant.course == Course::Growing {
                    // Nobody asks for a rewrite; one is due by the first write's size.
                    let asks = |s: &Step| matches!(s, Step::Invoke { op, .. } if holds(op, b"BGREWRITEAOF"));
                    workload.steps.retain(|step| !asks(step));
                    let op = RespOp::command(&["APPEND", "s0", &"grown".repeat(200)]).encode();
                    let grow = [Step::Invoke { client: 0, op }, Step::Advance { nanos: 2 * nanos }];
                    workload.steps.splice(1..1, grow);
                }
            }
        }
        workload
    })
}

fn restarted(policy: Policy, steps: std::ops::Range<usize>) -> impl Strategy<Value = Workload> {
    let restart = prop::option::weighted(0.7, any::<prop::sample::Index>());
    (workloads(policy, steps), restart).prop_map(move |(mut workload, restart)| {
        if let Some(at) = restart {
            let at = 1 + at.index(workload.steps.len());
            workload.steps.splice(at..at, [Step::Phase(RECOVERY.into()), Step::KillAndRestart]);
        }
        // What runs in the background ends within the recording.
        workload.steps.push(Step::Settle);
        workload
    })
}

fn keeps_its_promise(policy: Policy) {
    let subject = Subject::correct(policy);
    if let Err(story) = subject.run() {
        panic!("{policy}: {story}");
    }
    let tally = subject.tally.into_inner();
    eprintln!("{policy}: {tally:?}");
    // Snapshots change few files, and most moments of such a run have nothing in flight.
    let least = if policy.appends() { 500 } else { 100 };
    assert!(tally.states > least && tally.saves > 0 && tally.kills > 0, "{policy}: {tally:?}");
    assert_eq!(tally.rewrites > 0, policy.appends(), "{policy}: {tally:?}");
    assert_eq!(tally.own_rewrites > 0, policy.appends(), "{policy}: {tally:?}");
    assert_eq!(tally.restarts > 0, policy.appends(), "{policy}: {tally:?}");
    assert_eq!(tally.single > 0, policy.appends(), "{policy}: {tally:?}");
    assert!(tally.own_saves > 0, "{policy}: {tally:?}");
}

#[test]
fn always_holds_whatever_is_done() {
    keeps_its_promise(Policy::Always);
}

#[test]
fn everysec_holds_whatever_is_done() {
    keeps_its_promise(Policy::EverySec);
}

#[test]
fn no_holds_whatever_is_done() {
    keeps_its_promise(Policy::No);
}

#[test]
fn snapshot_holds_whatever_is_done() {
    keeps_its_promise(Policy::Snapshot);
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
    assert_eq!(repaired.crash(&files[0].1.workload, Variant::usual()), Ok(()));
}
