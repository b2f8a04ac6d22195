//! The stages behind the commands, put together.

use super::args::WithArgs;
use super::command;
use super::failure::Failure;
use super::faults::faults;
use super::plan::{CheckPlan, ExplorePlan, RecordPlan, Subject};
use super::recording::{contract_of, record, servers, takes_its_options, target, target_of, workload};
use super::runner::{ModelInfo, Replayed, Runner, Watch};
use crate::cell::{CellResult, Story};
use crate::explore::{Again, Memo, Search, Shrunk, explore_deep, fewest_operations};
use crate::pool::PoolError;
use crate::record::RecordError;
use crate::report::show::{Describe, Plain, sync_name};
use crate::repro::{self, Repro};
use crate::shell;
use crate::target::Target;
use crate::target::command::NAME;
use crate::target::command_recover;
use crate::target::options::{self, Of};
use crate::target::policy::Policy;
use crate::target::resp::{RespTarget, VARIANT};
use crate::target::resp_starts::ENV_FORK_SERVER;
use crate::verdict::{ExitCode, Violation};
use crate::worker::sound::ENV_SPARE;
use crate::worker::{Limits, Workers};
use crate::workload::Workload;
use crate::workload::phases::without_tour;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use unplug_faults::codec::CodecError;
use unplug_faults::event::{Op, SyncKind};
use unplug_faults::model::{self, Model};
use unplug_faults::paths::Paths;
use unplug_faults::state::Plan;
use unplug_faults::trace::Trace;

/// States with so many deviations are enumerated before any is sampled; the budget ends it earlier.
const DEVIATIONS: u8 = 2;
/// The name of the embedded engine in traces.
pub(super) const ENGINE: &str = "engine";

/// What the `unplug` binary runs.
pub(super) struct Standard;

impl Runner for Standard {
    fn models(&self) -> Vec<ModelInfo> {
        let usual = |name| model::usual().any(|m| m.name() == name);
        let info =
            |m: &&dyn Model| ModelInfo { name: m.name(), summary: m.summary(), usual: usual(m.name()) };
        model::all().iter().map(info).collect()
    }

    fn check(&self, plan: &CheckPlan, watch: &dyn Watch) -> Result<(), Failure> {
        if plan.faults.is_some() && matches!(plan.subject, Subject::Command(_)) {
            return Err(Failure::usage(
                "--faults: a command's run cannot be swept".into(),
                "leave it out, or check the engine or a redis-server".into(),
            ));
        }
        let mut runs = match &plan.subject {
            Subject::Command(spec) => command::runs(spec, plan, watch)?,
            _ => servers(plan, watch)?,
        };
        tell_budget(&plan.subject, &plan.explore, watch);
        drop_syncs(&mut runs, &plan.explore, watch)?;
        let shown = runs.iter().map(|run| explore(run, &plan.explore, watch));
        let shown: Vec<BTreeSet<String>> = shown.collect::<Result<_, _>>()?;
        let Some(asked) = &plan.faults else { return Ok(()) };
        for (Run { trace, again, models, .. }, shown) in runs.iter().zip(&shown) {
            // Runs with slow syncs measure a window; they add no call to those of the run without.
            let Some((target, workload)) = again.as_ref().filter(|(t, _)| t.conditions.sync_nanos == 0)
            else {
                continue;
            };
            // A fault meets a call, whatever was written by it: the tour would only make the sweep several times as long.
            let workload = without_tour(workload);
            faults(
                asked,
                (target, &workload),
                contract_of(target.policy, trace),
                (shown, models),
                plan,
                watch,
            )?;
        }
        Ok(())
    }

    fn record(&self, plan: &RecordPlan, watch: &dyn Watch) -> Result<Trace, Failure> {
        if let Subject::Command(spec) = &plan.subject {
            return Ok(command::record(spec, plan.policy, plan.seed, &[], watch)?.trace);
        }
        let mut target =
            target(&plan.subject, plan.policy, &plan.volatile)?.interrupted_by(watch.interrupted());
        plan.configuration.apply(&mut target);
        takes_its_options(&target)?;
        record(&target, &workload(&plan.configuration, plan.policy, (plan.seed, plan.ops), "", false))
    }

    fn explore(
        &self,
        trace: Trace,
        with: &WithArgs,
        plan: &ExplorePlan,
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        let (target, policy) = target_of(&trace, with)?;
        if target.name() != trace.meta.target {
            let (now, then) = (target.name(), &trace.meta.target);
            watch.note(&format!("the trace was recorded with {then}; {now} recovers"));
        }
        let mut runs = vec![Run { target, policy, trace, models: plan.models.clone(), again: None }];
        drop_syncs(&mut runs, plan, watch)?;
        runs.iter().try_for_each(|run| explore(run, plan, watch).map(drop))
    }

    fn replay(&self, path: &Path, with: &WithArgs, watch: &dyn Watch) -> Result<Replayed, Failure> {
        let repro = Repro::load(path).map_err(unreadable)?;
        let (target, _) = target_of(&repro.trace, with)?;
        let contract = repro.contract.clone();
        let mut pool = Workers::start(1, limits()?, || target.worker(&contract))
            .map_err(pool_failed)?
            .interrupted_by(watch.interrupted());
        let now = match repro::replay_settled(&repro, target.oracle(), &mut pool).map_err(pool_failed)? {
            repro::Replayed::Same => Some(repro.violation.clone()),
            repro::Replayed::Other { class, explanation } => {
                Some(Violation { class, explanation, ..repro.violation.clone() })
            }
            repro::Replayed::Kept => None,
        };
        Ok(Replayed { story: repro.story, expected: repro.violation, now })
    }

    fn image(&self, path: &Path, dir: &Path) -> Result<String, Failure> {
        let repro = Repro::load(path).map_err(unreadable)?;
        repro.image.lay_out(dir).map_err(|e| {
            Failure::usage(format!("{}: {e}", dir.display()), "name a directory with room for it".into())
        })?;
        let (files, shown) = (repro.image.nodes.len(), dir.display());
        if repro.trace.meta.target == NAME {
            let by_hand = command::by_hand(&repro.trace, dir)?;
            return Ok(format!("{shown}: {files} files and directories\n{by_hand}"));
        }
        if let Some(test) = crate::testing::regressions::test_of(&repro) {
            let path = shell::word(&path.to_string_lossy());
            return Ok(format!(
                "{shown}: {files} files and directories\nthey are those of the store that this test tests: \
                 UNPLUG_REPLAY={path} cargo test -- --include-ignored --exact {test}"
            ));
        }
        let policy = Policy::of(&repro.contract);
        let program = match repro.trace.meta.target.as_str() {
            ENGINE => format!("{} engine", super::commands::this_program()),
            _ => "redis-server".to_owned(),
        };
        let of_policy = policy.options().into_iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
        let [set, recover] =
            [Of::Recorded, Of::Recovering].map(|of| options::kept(&repro.trace.meta.options, of));
        let all = options::join(&of_policy.collect::<Vec<_>>(), &options::join(&set, &recover));
        let options: String = all.iter().map(|(n, v)| format!(" --{n} {}", shell::word(v))).collect();
        Ok(format!(
            "{shown}: {files} files and directories\nstart: {program} --dir {shown} --port 7000{options}"
        ))
    }

    fn open_repro(&self, path: &Path) -> Result<(Trace, Story), Failure> {
        let repro = Repro::load(path).map_err(unreadable)?;
        Ok((repro.trace, repro.story))
    }

    fn describe(&self, _: &Trace) -> Box<dyn Describe> {
        Box::new(Plain)
    }

    fn worker(&self, args: &[std::ffi::OsString]) -> std::process::ExitCode {
        let served = match args {
            [name, ..] if name == command_recover::WORKER => command_recover::work(),
            _ => crate::worker::command::run(),
        };
        match served {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("unplug, recovery worker: {error}");
                std::process::ExitCode::from(ExitCode::HarnessBroken as u8)
            }
        }
    }
}

/// This program's own file: workers are started from it.
pub(super) fn this_file() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|e| Failure::Broken(format!("cannot find this program's own file: {e}")))
}

/// Says how few states a program gets, where that is so.
fn tell_budget(subject: &Subject, plan: &ExplorePlan, watch: &dyn Watch) {
    let cost = match subject {
        Subject::Engine => return,
        Subject::Redis { .. } => "is three starts of the server",
        Subject::Command(_) => "is some runs of the checker",
    };
    watch.note(&format!(
        "at the most {} states a cell: each new image {cost}; more with --budget",
        plan.budget
    ));
    if matches!(subject, Subject::Command(_)) {
        watch.note("a command has no probes: what is written after a recovery, and power lost during one, is not tried");
    }
}

/// A run.
pub(super) struct Run {
    /// Recovers it.
    pub(super) target: Box<dyn Target>,
    /// What was promised.
    pub(super) policy: Policy,
    /// What was recorded.
    pub(super) trace: Trace,
    /// The models under which it is crashed.
    pub(super) models: Vec<String>,
    /// How it was made, where this program can make another; equal ones only where the target is gated.
    pub(super) again: Option<(RespTarget, Workload)>,
}

/// Takes the syncs out that `--drop-sync` names. A pattern that matches nothing is a mistake: the run that
/// follows would show what the unchanged store does.
fn drop_syncs(runs: &mut [Run], plan: &ExplorePlan, watch: &dyn Watch) -> Result<(), Failure> {
    for pattern in &plan.drop_sync {
        let known: BTreeSet<String> = runs.iter().flat_map(|run| syncs(&run.trace)).collect();
        let dropped: usize = runs.iter_mut().map(|run| pattern.apply(&mut run.trace)).sum();
        if dropped == 0 {
            let known: Vec<_> = known.into_iter().collect();
            let hint = format!("the syncs of this run are\n    {}", known.join("\n    "));
            return Err(Failure::usage(format!("--drop-sync {pattern}: matches no sync"), hint));
        }
        watch.note(&format!("--drop-sync {pattern}: {dropped} syncs taken out"));
    }
    Ok(())
}

/// The syncs of a trace as patterns that match them.
fn syncs(trace: &Trace) -> BTreeSet<String> {
    let mut paths = Paths::at_start(trace);
    let mut out = BTreeSet::new();
    for event in &trace.events {
        paths.apply(event);
        match &event.op {
            Op::Sync { file, kind } if !matches!(kind, SyncKind::Range { .. }) => {
                out.insert(format!("{}:{}", sync_name(*kind), paths.of(*file)));
            }
            Op::SyncAll => drop(out.insert("sync:.".into())),
            _ => {}
        }
    }
    out
}

/// Explores a run under each model, and gives the mechanisms of what was found.
fn explore(run: &Run, plan: &ExplorePlan, watch: &dyn Watch) -> Result<BTreeSet<String>, Failure> {
    let Run { target, policy, trace, models, again } = run;
    let contract = contract_of(*policy, trace);
    let record_again = |workload: &Workload| {
        let (target, _) = again.as_ref()?;
        let mut trace = record(target, workload).ok()?;
        for pattern in &plan.drop_sync {
            pattern.apply(&mut trace);
        }
        Some(trace)
    };
    let repeats = again.as_ref().filter(|(target, _)| target.conditions.gated);
    let again = repeats.map(|(_, workload)| Again { workload, record: &record_again });
    let mut shrunk = Shrunk::default();
    let cancel = watch.interrupted();
    let logged = plan.prune && target.notes_reads().is_some();
    let mut pool = Workers::start_logged(plan.workers, limits()?, logged, || target.worker(&contract))
        .map_err(pool_failed)?
        .interrupted_by(watch.interrupted());
    // The models of one trace give many images in common: each is recovered once.
    let (mut memo, mut shown) = (Memo::new(), BTreeSet::new());
    let variant = trace.meta.options.get(VARIANT);
    let label = variant.map_or_else(|| policy.to_string(), |variant| format!("{policy}, {variant}"));
    for name in models {
        if cancel.load(Ordering::SeqCst) {
            break;
        }
        let Some(model) = model::by_name(name) else {
            return Err(Failure::Broken(format!("the model {name} has gone")));
        };
        watch.stage(&format!("{label} / {name}"), plan.budget);
        let search = Search {
            trace,
            target: target.as_ref(),
            contract: contract.clone(),
            model,
            plan: Plan { bound: DEVIATIONS, budget: plan.budget, seed: trace.meta.seed },
            assume: &plan.assume,
            repro_dir: Some(plan.repro_dir.path()),
        };
        let depth =
            if target.recovers() { plan.recovery_depth.unwrap_or(target.usual_recovery_depth()) } else { 0 };
        let mut told = 0;
        let mut progress = |p: crate::explore::Progress| {
            watch.advance(p.states.saturating_sub(told));
            told = p.states;
        };
        let mut cells = explore_deep(&search, depth, &mut memo, &mut pool, &mut progress, &cancel);
        if let Some(again) = again.as_ref().filter(|_| cells.iter().any(|c| !c.findings.is_empty())) {
            watch.stage(&format!("{label} / {name}: fewest operations"), 0);
            fewest_operations(&search, again, &mut cells, &mut shrunk, &mut pool, &cancel);
        }
        shown.extend(cells.iter().flat_map(|cell| &cell.findings).map(|f| f.mechanism.clone()));
        cells.into_iter().for_each(|cell| watch.cell(CellResult { variant: variant.cloned(), ..cell }));
    }
    Ok(shown)
}

/// When a recovery counts as one that hangs; and that what else the environment asks of recoveries means something.
pub(super) fn limits() -> Result<Limits, Failure> {
    for name in [ENV_FORK_SERVER, ENV_SPARE] {
        let is_word = |value: &OsString| value.is_empty() || value == "no" || value == "yes";
        if let Some(value) = std::env::var_os(name).filter(|value| !is_word(value)) {
            let what = format!("{name}={}: it is `no`, or `yes` as without it", value.to_string_lossy());
            return Err(Failure::usage(what, "leave it unset".into()));
        }
    }
    Limits::asked().map_err(|why| Failure::usage(why, "leave it unset for 5 seconds".into()))
}

pub(super) fn record_failed(error: RecordError) -> Failure {
    match error {
        RecordError::MissingServer { .. } => {
            Failure::usage(error.to_string(), "`unplug check` alone tests the embedded engine".into())
        }
        other => Failure::NotMeasured(other.to_string()),
    }
}

pub(super) fn pool_failed(error: PoolError) -> Failure {
    match error {
        PoolError::Interrupted => Failure::NotMeasured(error.to_string()),
        other => Failure::Broken(other.to_string()),
    }
}

fn unreadable(error: CodecError) -> Failure {
    Failure::usage(error.to_string(), "name a file that `unplug check` wrote into its repro directory".into())
}
