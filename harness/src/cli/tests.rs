//! Commands with a runner that does as it is told: what is printed and counted when the work goes wrong.

use super::args::{Cli, Command, WithArgs};
use super::failure::Failure;
use super::plan::{CheckPlan, ExplorePlan, RecordPlan, Subject};
use super::runner::{ModelInfo, Replayed, Runner, Watch};
use super::{commands, entry};
use crate::cell::{CellResult, Story, Teeth};
use crate::report::show::{Describe, Plain};
use crate::target::policy::Policy;
use crate::verdict::{Class, ExitCode, Verdict, Violation};
use clap::Parser;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use unplug_faults::model::Count;
use unplug_faults::trace::{Blind, Trace};

#[derive(Default)]
struct Told {
    cells: Vec<CellResult>,
    fails: bool,
    interrupted: bool,
    now: Option<Violation>,
    blind: bool,
    seen: Mutex<Option<CheckPlan>>,
}

fn violation(class: Class) -> Violation {
    Violation::of(class, 9, "gone")
}

impl Runner for Told {
    fn models(&self) -> Vec<ModelInfo> {
        let info = |name| ModelInfo { name, summary: "rules", usual: name != "ext4-writeback" };
        ["prefix", "ext4-ordered", "ext4-writeback", "posix"].map(info).into()
    }

    fn check(&self, plan: &CheckPlan, watch: &dyn Watch) -> Result<(), Failure> {
        *self.seen.lock().unwrap() = Some(plan.clone());
        watch.stage("always / append", 10);
        for cell in &self.cells {
            watch.advance(10);
            watch.cell(cell.clone());
        }
        if self.interrupted {
            watch.interrupted().store(true, Ordering::SeqCst);
        }
        if self.fails { Err(Failure::NotMeasured("the server died".into())) } else { Ok(()) }
    }

    fn record(&self, plan: &RecordPlan, _: &dyn Watch) -> Result<Trace, Failure> {
        let mut trace = Trace::default();
        trace.meta.seed = plan.seed;
        if self.blind {
            trace.blind = vec![Blind { what: "mmap".into(), detail: "writable and shared".into() }];
        }
        Ok(trace)
    }

    fn explore(
        &self,
        trace: Trace,
        _: &WithArgs,
        plan: &ExplorePlan,
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        for model in &plan.models {
            watch.cell(CellResult { seed: trace.meta.seed, ..cell(model, Verdict::Holds) });
        }
        Ok(())
    }

    fn replay(&self, _: &Path, _: &WithArgs, _: &dyn Watch) -> Result<Replayed, Failure> {
        let expected = violation(Class::Gap);
        Ok(Replayed { story: Story::default(), expected, now: self.now.clone() })
    }

    fn image(&self, _: &Path, dir: &Path) -> Result<String, Failure> {
        Ok(dir.display().to_string())
    }

    fn open_repro(&self, _: &Path) -> Result<(Trace, Story), Failure> {
        Ok((Trace::default(), Story::default()))
    }

    fn describe(&self, _: &Trace) -> Box<dyn Describe> {
        Box::new(Plain)
    }

    fn worker(&self, _: &[std::ffi::OsString]) -> std::process::ExitCode {
        std::process::ExitCode::SUCCESS
    }
}

fn cell(model: &str, verdict: Verdict) -> CellResult {
    CellResult {
        target: "told".into(),
        policy: "always".into(),
        variant: None,
        phase: "append".into(),
        model: model.into(),
        seed: 1,
        operations: 1,
        events: 1,
        crash_points: 2,
        legal_states: Count { states: 2u32.into(), exact: true },
        states_checked: 2,
        images_recovered: 1,
        exhaustive: true,
        deviation_bound: 1,
        worst_loss: None,
        verdict,
        findings: Vec::new(),
        not_measured: Vec::new(),
        teeth: Teeth::NotNeeded,
        faults: None,
        recoveries: Default::default(),
        saved: Default::default(),
        elapsed: std::time::Duration::ZERO,
    }
}

fn told(cells: &[Verdict]) -> Told {
    Told { cells: cells.iter().map(|v| cell("posix", *v)).collect(), ..Told::default() }
}

fn run(args: &[&str], runner: &Told) -> Result<ExitCode, Failure> {
    let cli = Cli::try_parse_from([&["unplug"], args].concat()).expect("parses");
    entry::run(&cli.command.expect("a command"), runner)
}

fn check(runner: &Told) -> Result<ExitCode, Failure> {
    let dir = tempfile::tempdir().unwrap();
    run(&["check", "--repro-dir", dir.path().to_str().unwrap()], runner)
}

#[test]
fn what_was_found_before_a_failure_counts() {
    let failing = |cells: &[Verdict]| Told { fails: true, ..told(cells) };
    assert_eq!(check(&failing(&[Verdict::Violated])).unwrap(), ExitCode::Violated);
    assert!(matches!(check(&failing(&[])), Err(Failure::NotMeasured(_))));
}

#[test]
fn a_run_that_failed_half_way_does_not_pass() {
    let half = Told { fails: true, ..told(&[Verdict::Holds]) };
    assert_eq!(check(&half).unwrap(), ExitCode::NotMeasured);
}

#[test]
fn an_interrupted_run_does_not_pass() {
    let interrupted = |cells: &[Verdict]| Told { interrupted: true, ..told(cells) };
    assert_eq!(check(&interrupted(&[Verdict::Holds])).unwrap(), ExitCode::NotMeasured);
    assert_eq!(check(&interrupted(&[])).unwrap(), ExitCode::NotMeasured);
    assert_eq!(check(&interrupted(&[Verdict::Violated])).unwrap(), ExitCode::Violated);
}

#[test]
fn nothing_named_means_everything_in_the_reports_order() {
    let runner = told(&[Verdict::Holds]);
    assert_eq!(check(&runner).unwrap(), ExitCode::Holds);
    let plan = runner.seen.lock().unwrap().take().unwrap();
    assert_eq!(plan.policies, Policy::ALL);
    assert_eq!(plan.explore.models, ["prefix", "ext4-ordered", "posix"]);
    assert_eq!(plan.subject, Subject::Engine);
}

#[test]
fn all_models_are_more_than_the_usual_ones() {
    let runner = told(&[Verdict::Holds]);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    run(&["check", "--model", "all", "--repro-dir", dir], &runner).unwrap();
    let plan = runner.seen.lock().unwrap().take().unwrap();
    assert_eq!(plan.explore.models, ["prefix", "ext4-ordered", "ext4-writeback", "posix"]);
    // A name that is none is none beside `all` too.
    let wrong = run(&["check", "--model", "all,fat", "--repro-dir", dir], &runner);
    assert!(matches!(wrong, Err(Failure::Usage { .. })), "{wrong:?}");
}

#[test]
fn named_things_come_once_and_in_order() {
    let runner = told(&[Verdict::Holds]);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let args =
        ["check", "--policy", "no,always", "--policy", "no", "--model", "posix,prefix", "--repro-dir", dir];
    run(&args, &runner).unwrap();
    let plan = runner.seen.lock().unwrap().take().unwrap();
    assert_eq!(plan.policies, [Policy::Always, Policy::No]);
    assert_eq!(plan.explore.models, ["prefix", "posix"]);
}

#[test]
fn a_recorded_trace_is_explored_later_with_its_seed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.trace");
    let (file, repros) = (file.to_str().unwrap(), dir.path().to_str().unwrap());
    let record = ["record", "--seed", "5", "-o", file];
    assert_eq!(run(&record, &Told::default()).unwrap(), ExitCode::Holds);
    assert_eq!(run(&record, &Told { blind: true, ..Told::default() }).unwrap(), ExitCode::NotMeasured);
    assert_eq!(run(&record, &Told::default()).unwrap(), ExitCode::Holds);
    let explore = ["explore", file, "--repro-dir", repros];
    assert_eq!(run(&explore, &Told::default()).unwrap(), ExitCode::Holds);
}

#[test]
fn a_replay_says_whether_it_still_shows() {
    let replay = |now| run(&["replay", "x"], &Told { now, ..Told::default() }).unwrap();
    assert_eq!(replay(Some(violation(Class::Gap))), ExitCode::Violated);
    assert_eq!(replay(Some(violation(Class::TornOperation))), ExitCode::Violated);
    assert_eq!(replay(None), ExitCode::Holds);
}

#[test]
fn an_image_goes_into_an_empty_directory_only() {
    let dir = tempfile::tempdir().unwrap();
    let args = super::args::ImageArgs { repro: "x".into(), dir: dir.path().join("new") };
    assert_eq!(commands::image(&args, &Told::default()).unwrap(), ExitCode::Holds);
    std::fs::write(dir.path().join("new/file"), b"").unwrap();
    let refused = commands::image(&args, &Told::default());
    assert_eq!(refused.map_err(|f| f.exit_code()), Err(ExitCode::Usage));
}

#[test]
fn every_command_that_clap_leaves_to_us_is_taken_before_it() {
    let cli = Cli::try_parse_from(["unplug", "engine", "--port", "7000", "--help"]).expect("passed on");
    assert!(matches!(cli.command, Some(Command::Engine(rest)) if rest.args.len() == 3));
}
