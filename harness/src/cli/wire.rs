//! The stages behind the commands, put together.

use super::failure::Failure;
use super::plan::{CheckPlan, ExplorePlan, Subject};
use super::runner::{ModelInfo, Replayed, Runner, Watch};
use crate::cell::{CellResult, Story};
use crate::contract::Contract;
use crate::explore::{Again, Memo, Search, Shrunk, explore_deep, fewest_operations};
use crate::history::START;
use crate::pool::PoolError;
use crate::record::RecordError;
use crate::report::show::{Describe, Plain, sync_name};
use crate::repro::{self, Repro};
use crate::target::Target;
use crate::target::policy::Policy;
use crate::target::resp::RespTarget;
use crate::verdict::{ExitCode, Violation};
use crate::worker::scratch::Scratch;
use crate::worker::{Limits, Workers};
use crate::workload::resp::Shape;
use crate::workload::{Step, Workload};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use unplug_faults::codec::CodecError;
use unplug_faults::event::{Event, Op, SyncKind};
use unplug_faults::model;
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
        model::all().iter().map(|m| ModelInfo { name: m.name(), summary: m.summary() }).collect()
    }

    fn check(&self, plan: &CheckPlan, watch: &dyn Watch) -> Result<(), Failure> {
        let mut runs = Vec::new();
        for policy in &plan.policies {
            for sync in sync_durations(&plan.subject, *policy) {
                if watch.interrupted().load(Ordering::SeqCst) {
                    return Ok(());
                }
                watch.stage(&format!("{policy}: recording"), 0);
                let mut target = target(&plan.subject, *policy)?.interrupted_by(watch.interrupted());
                target.conditions.sync_nanos = *sync;
                let workload = workload(*policy, plan.seed, plan.ops, *sync);
                match record(&target, &workload) {
                    Ok(trace) => runs.push(Recorded { target, trace, workload: Some(workload) }),
                    // One policy's gap must not cost the others their results.
                    Err(Failure::NotMeasured(why)) => unrecorded(&target, &why, plan, watch),
                    Err(other) => return Err(other),
                }
            }
        }
        tell_budget(&plan.subject, &plan.explore, watch);
        drop_syncs(&mut runs, &plan.explore, watch)?;
        runs.iter().try_for_each(|run| explore(run, &plan.explore, watch))
    }

    fn record(
        &self,
        subject: &Subject,
        policy: Policy,
        seed: u64,
        ops: u32,
        watch: &dyn Watch,
    ) -> Result<Trace, Failure> {
        let target = target(subject, policy)?.interrupted_by(watch.interrupted());
        record(&target, &workload(policy, seed, ops, 0))
    }

    fn explore(
        &self,
        trace: Trace,
        server: Option<PathBuf>,
        plan: &ExplorePlan,
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        let target = target_of(&trace, server)?;
        if target.name() != trace.meta.target {
            let (now, then) = (target.name(), &trace.meta.target);
            watch.note(&format!("the trace was recorded with {then}; {now} recovers"));
        }
        let mut runs = vec![Recorded { target, trace, workload: None }];
        drop_syncs(&mut runs, plan, watch)?;
        runs.iter().try_for_each(|run| explore(run, plan, watch))
    }

    fn replay(&self, path: &Path, server: Option<PathBuf>, watch: &dyn Watch) -> Result<Replayed, Failure> {
        let repro = Repro::load(path).map_err(unreadable)?;
        let target = target_of(&repro.trace, server)?;
        let contract = repro.contract.clone();
        let mut pool = Workers::start(1, Limits::default(), || target.worker(&contract))
            .map_err(pool_failed)?
            .interrupted_by(watch.interrupted());
        let now = match repro::replay(&repro, &mut pool).map_err(pool_failed)? {
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
        let policy = Policy::of(&repro.contract);
        let program = match repro.trace.meta.target.as_str() {
            ENGINE => format!("{} engine", super::commands::this_program()),
            _ => "redis-server".to_owned(),
        };
        let quoted = |value: &str| if value.is_empty() { "''".to_owned() } else { value.to_owned() };
        let options: String = policy.options().iter().map(|(n, v)| format!(" --{n} {}", quoted(v))).collect();
        let (files, dir) = (repro.image.nodes.len(), dir.display());
        Ok(format!("{dir}: {files} files and directories\nstart: {program} --dir {dir} --port 7000{options}"))
    }

    fn open_repro(&self, path: &Path) -> Result<(Trace, Story), Failure> {
        let repro = Repro::load(path).map_err(unreadable)?;
        Ok((repro.trace, repro.story))
    }

    fn describe(&self, _: &Trace) -> Box<dyn Describe> {
        Box::new(Plain)
    }

    fn worker(&self, _: &[std::ffi::OsString]) -> std::process::ExitCode {
        match crate::worker::command::run() {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("unplug __worker: {error}");
                std::process::ExitCode::from(ExitCode::HarnessBroken as u8)
            }
        }
    }
}

fn target(subject: &Subject, policy: Policy) -> Result<RespTarget, Failure> {
    let unplug = std::env::current_exe()
        .map_err(|e| Failure::Broken(format!("cannot find this program's own file: {e}")))?;
    match subject {
        Subject::Engine => Ok(RespTarget::engine(unplug, policy)),
        Subject::Redis { server } => {
            RespTarget::server(unplug, server.as_deref(), policy).map_err(record_failed)
        }
    }
}

/// The target that recovers what this trace's target has written.
fn target_of(trace: &Trace, server: Option<PathBuf>) -> Result<RespTarget, Failure> {
    let policy = trace.meta.options.get("policy").and_then(|p| p.parse().ok()).ok_or_else(|| {
        Failure::usage(
            format!("this trace is of '{}', which no command can start", trace.meta.target),
            "a Rust store's trace is replayed by its own test, with UNPLUG_REPLAY".into(),
        )
    })?;
    let subject = match trace.meta.target == ENGINE {
        true => Subject::Engine,
        false => Subject::Redis { server },
    };
    target(&subject, policy)
}

/// One cell a model for a policy that could not be recorded: its phases are not known.
fn unrecorded(target: &RespTarget, why: &str, plan: &CheckPlan, watch: &dyn Watch) {
    for model in &plan.explore.models {
        watch.cell(CellResult::unrecorded(&target.name(), target.policy, model, plan.seed, why));
    }
}

/// Says how few states a server gets, where that is so.
fn tell_budget(subject: &Subject, plan: &ExplorePlan, watch: &dyn Watch) {
    if matches!(subject, Subject::Redis { .. }) {
        watch.note(&format!(
            "at the most {} states a cell: each new image is three starts of the server; more with --budget",
            plan.budget
        ));
    }
}

/// A run, and how it was made where it can be made again.
struct Recorded {
    target: RespTarget,
    trace: Trace,
    workload: Option<Workload>,
}

/// The option of a trace that says how long each sync took, in milliseconds.
const SYNC_MS: &str = "sync-duration-ms";
const MS: u64 = 1_000_000;
/// How long syncs take in the runs that measure what everysec loses on a slow disk.
const SLOW: [u64; 4] = [0, 500 * MS, 1500 * MS, 2500 * MS];

/// The durations of syncs under which a policy is run. Only everysec speaks of time, and only a gated target's time
/// can be followed through its syncs.
fn sync_durations(subject: &Subject, policy: Policy) -> &'static [u64] {
    match (subject, policy) {
        (Subject::Engine, Policy::EverySec) => &SLOW,
        _ => &SLOW[..1],
    }
}

/// The workload of a check. With slow syncs it is appends only: rewrites and SAVE sync in the thread that serves
/// clients, which then cannot begin the sync of the log, and no window is promised for that.
fn workload(policy: Policy, seed: u64, ops: u32, sync_nanos: u64) -> Workload {
    let shape = Shape::new(policy, u64::from(ops));
    if sync_nanos == 0 {
        return shape.generate(seed);
    }
    let mut workload = shape.generate(seed);
    let mut phases = 0;
    workload.steps.retain_mut(|step| {
        if let Step::Phase(name) = step {
            phases += 1;
            name.push_str(&slow_suffix(sync_nanos));
        }
        phases <= 1
    });
    workload
}

fn slow_suffix(sync_nanos: u64) -> String {
    format!(", {}.{} s syncs", sync_nanos / (1000 * MS), sync_nanos / (100 * MS) % 10)
}

fn record(target: &RespTarget, workload: &Workload) -> Result<Trace, Failure> {
    // In memory: how long this machine's disk takes for a sync is nothing that a result should depend on.
    let dir = Scratch::new().map_err(|e| Failure::NotMeasured(format!("no directory to record in: {e}")))?;
    let data = dir.path().join("data");
    std::fs::create_dir(&data)
        .map_err(|e| Failure::NotMeasured(format!("no directory to record in: {}: {e}", data.display())))?;
    let mut trace = target.record(&data, workload).map_err(record_failed)?;
    let sync = target.conditions.sync_nanos;
    if sync > 0 {
        trace.meta.options.insert(SYNC_MS.into(), (sync / MS).to_string());
        // What comes before the first phase is a cell of its own, and must not go by another run's name.
        let op = Op::Phase(format!("{START}{}", slow_suffix(sync)));
        let task = unplug_faults::event::Task::default();
        trace.events.insert(0, Event { begin: 0, end: 0, at: 0, task, site: None, errno: 0, op });
    }
    Ok(trace)
}

/// What a run's policy promises. Where syncs take time, a write is kept once its own sync has ended, which began a
/// second after it at the latest, or when the sync in front of it let it (a timer's tick late): the documented
/// second, and what the disk adds to it.
fn contract_of(policy: Policy, trace: &Trace) -> Contract {
    let sync = trace.meta.options.get(SYNC_MS).and_then(|ms| ms.parse::<u64>().ok()).unwrap_or(0) * MS;
    match policy.contract() {
        Contract::EverySec { window } => Contract::EverySec { window: window.max(sync + 100 * MS) + sync },
        other => other,
    }
}

/// Takes the syncs out that `--drop-sync` names. A pattern that matches nothing is a mistake: the run that
/// follows would show what the unchanged store does.
fn drop_syncs(runs: &mut [Recorded], plan: &ExplorePlan, watch: &dyn Watch) -> Result<(), Failure> {
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

fn explore(run: &Recorded, plan: &ExplorePlan, watch: &dyn Watch) -> Result<(), Failure> {
    let Recorded { target, trace, workload } = run;
    let contract = contract_of(target.policy, trace);
    let record_again = |workload: &Workload| {
        let mut trace = record(target, workload).ok()?;
        for pattern in &plan.drop_sync {
            pattern.apply(&mut trace);
        }
        Some(trace)
    };
    let repeatable = workload.as_ref().filter(|_| target.conditions.gated);
    let again = repeatable.map(|workload| Again { workload, record: &record_again });
    let mut shrunk = Shrunk::default();
    let cancel = watch.interrupted();
    let mut pool = Workers::start(plan.workers, Limits::default(), || target.worker(&contract))
        .map_err(pool_failed)?
        .interrupted_by(watch.interrupted());
    // The models of one trace give many images in common: each is recovered once.
    let mut memo = Memo::new();
    for name in &plan.models {
        if cancel.load(Ordering::SeqCst) {
            break;
        }
        let Some(model) = model::by_name(name) else {
            return Err(Failure::Broken(format!("the model {name} has gone")));
        };
        watch.stage(&format!("{} / {name}", target.policy), plan.budget);
        let search = Search {
            trace,
            target,
            contract: contract.clone(),
            model,
            plan: Plan { bound: DEVIATIONS, budget: plan.budget, seed: trace.meta.seed },
            assume: &plan.assume,
            repro_dir: Some(plan.repro_dir.path()),
        };
        let mut told = 0;
        let mut progress = |p: crate::explore::Progress| {
            watch.advance(p.states.saturating_sub(told));
            told = p.states;
        };
        let mut cells =
            explore_deep(&search, plan.recovery_depth, &mut memo, &mut pool, &mut progress, &cancel);
        if let Some(again) = again.as_ref().filter(|_| cells.iter().any(|c| !c.findings.is_empty())) {
            watch.stage(&format!("{} / {name}: fewest operations", target.policy), 0);
            fewest_operations(&search, again, &mut cells, &mut shrunk, &mut pool, &cancel);
        }
        cells.into_iter().for_each(|cell| watch.cell(cell));
    }
    Ok(())
}

fn record_failed(error: RecordError) -> Failure {
    match error {
        RecordError::MissingServer { .. } => {
            Failure::usage(error.to_string(), "`unplug check` alone tests the embedded engine".into())
        }
        other => Failure::NotMeasured(other.to_string()),
    }
}

fn pool_failed(error: PoolError) -> Failure {
    match error {
        PoolError::Interrupted => Failure::NotMeasured(error.to_string()),
        other => Failure::Broken(other.to_string()),
    }
}

fn unreadable(error: CodecError) -> Failure {
    Failure::usage(error.to_string(), "name a file that `unplug check` wrote into its repro directory".into())
}
