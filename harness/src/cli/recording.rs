//! Runs of servers: which are made, and how; and how what a trace was made of is made again.

use super::args::WithArgs;
use super::command;
use super::configuration::Configuration;
use super::failure::Failure;
use super::plan::{CheckPlan, Subject};
use super::runner::Watch;
use super::wire::{ENGINE, Run, record_failed, this_file};
use crate::cell::CellResult;
use crate::contract::Contract;
use crate::history::START;
use crate::target::Target;
use crate::target::command::NAME;
use crate::target::options::{self, Of};
use crate::target::origin::Origin;
use crate::target::policy::Policy;
use crate::target::resp::{ORIGIN, RespTarget, VARIANT};
use crate::target::rig::SYNC_MS;
use crate::target::server::Program;
use crate::worker::scratch::{self, Scratch};
use crate::workload::{Step, Workload};
use std::sync::atomic::Ordering;
use unplug_faults::event::{Event, Op};
use unplug_faults::trace::Trace;

/// Records each policy of a server, the slow disks of everysec included.
pub(super) fn servers(plan: &CheckPlan, watch: &dyn Watch) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for configuration in &plan.configurations {
        for policy in configuration.policies(&plan.policies) {
            let models = configuration.models(plan.explore.wanted());
            if models.is_empty() {
                continue;
            }
            let mut base = target(&plan.subject, policy, &plan.volatile)?.interrupted_by(watch.interrupted());
            configuration.apply(&mut base);
            takes_its_options(&base)?;
            for sync in sync_durations(plan, configuration, policy) {
                if watch.interrupted().load(Ordering::SeqCst) {
                    return Ok(runs);
                }
                watch.stage(&format!("{}: recording", base.label()), 0);
                let mut target = base.clone();
                target.conditions.sync_nanos = *sync;
                let appends_only = *sync > 0 && !plan.slow_syncs;
                let suffix = suffix(target.conditions.sync_nanos);
                let workload = workload(configuration, policy, (plan.seed, plan.ops), &suffix, appends_only);
                match record(&target, &workload) {
                    Ok(trace) => {
                        let again = Some((target.clone(), workload));
                        let (target, models) = (Box::new(target), models.clone());
                        runs.push(Run { target, policy, trace, models, again });
                    }
                    // One policy's gap must not cost the others their results.
                    Err(Failure::NotMeasured(why)) => unrecorded(&target, &why, (plan.seed, &models), watch),
                    Err(other) => return Err(other),
                }
            }
        }
    }
    Ok(runs)
}

/// Sees that a program that nothing is known of takes the options that were asked for: it would be a pity to find that
/// out under the recorder, policy by policy.
///
/// # Errors
/// [`Failure::Usage`] with what it says.
pub(super) fn takes_its_options(target: &RespTarget) -> Result<(), Failure> {
    if matches!(target.program, Program::Engine(_)) {
        return Ok(());
    }
    for (option, options) in [("--set", target.extra.clone()), ("--recover-set", target.recovery_options())] {
        if options.is_empty() {
            continue;
        }
        if let Err(error) = target.try_options(&options) {
            return Err(Failure::usage(
                format!("{option}: {error}"),
                "give options as the redis.conf of this server has them".into(),
            ));
        }
    }
    Ok(())
}

pub(super) fn target(subject: &Subject, policy: Policy, volatile: &[String]) -> Result<RespTarget, Failure> {
    let mut target = match subject {
        Subject::Redis { server } => {
            RespTarget::server(this_file()?, server.as_deref(), policy).map_err(record_failed)?
        }
        Subject::Engine | Subject::Command(_) => RespTarget::engine(this_file()?, policy),
    };
    target.conditions.ignore.extend_from_slice(volatile);
    Ok(target)
}

/// The target that recovers what this trace's target has written, and its policy.
pub(super) fn target_of(trace: &Trace, with: &WithArgs) -> Result<(Box<dyn Target>, Policy), Failure> {
    let policy = trace.meta.options.get("policy").and_then(|p| p.parse().ok()).ok_or_else(|| {
        Failure::usage(
            format!("this trace is of '{}', which no command can start", trace.meta.target),
            "a Rust store's trace is replayed by its own test, with UNPLUG_REPLAY".into(),
        )
    })?;
    if trace.meta.target == NAME {
        return Ok((Box::new(command::target_of(trace, with.check.as_deref())?), policy));
    }
    let subject = match trace.meta.target == ENGINE {
        true => Subject::Engine,
        false => Subject::Redis { server: with.server.clone() },
    };
    let mut target = target(&subject, policy, &[])?;
    target.extra = options::kept(&trace.meta.options, Of::Recorded);
    target.recover = options::kept(&trace.meta.options, Of::Recovering);
    target.variant = trace.meta.options.get(VARIANT).cloned();
    if let Some(name) = trace.meta.options.get(ORIGIN) {
        let known = Origin::named(name);
        target.origin = Some(known.ok_or_else(|| {
            Failure::usage(
                format!("this run began on files of {name}, which this build does not have"),
                "use the version of Unplug that wrote it".into(),
            )
        })?);
    }
    Ok((Box::new(target), policy))
}

/// One cell a model for a policy that could not be recorded: its phases are not known.
fn unrecorded(target: &RespTarget, why: &str, (seed, models): (u64, &[String]), watch: &dyn Watch) {
    for model in models {
        let cell = CellResult::unrecorded(&target.name(), target.policy, model, seed, why);
        watch.cell(CellResult { variant: target.variant.clone(), ..cell });
    }
}

const MS: u64 = 1_000_000;
/// How long syncs take in the runs that measure what everysec loses on a slow disk.
const SLOW: [u64; 4] = [0, 500 * MS, 1500 * MS, 2500 * MS];

/// The durations of syncs under which a policy is run. Only everysec speaks of time; a real server's run takes real
/// time besides, so that it is asked for.
fn sync_durations(plan: &CheckPlan, configuration: &Configuration, policy: Policy) -> &'static [u64] {
    match policy {
        // What a slow disk does to a window the default configuration shows.
        _ if !configuration.variant.is_usual() && !plan.slow_syncs => &SLOW[..1],
        Policy::EverySec if plan.slow_syncs || plan.subject == Subject::Engine => &SLOW,
        _ => &SLOW[..1],
    }
}

/// What tells the phases of a run whose syncs take time from those of one without; empty there.
fn suffix(sync_nanos: u64) -> String {
    match sync_nanos {
        0 => String::new(),
        nanos => format!(", {}.{} s syncs", nanos / (1000 * MS), nanos / (100 * MS) % 10),
    }
}

/// The workload of a check. With slow syncs it is appends only where nothing else is asked for: rewrites and SAVE sync
/// in the thread that serves clients, which then cannot begin the sync of the log, and no window is promised for that.
pub(super) fn workload(
    configuration: &Configuration,
    policy: Policy,
    (seed, ops): (u64, u32),
    suffix: &str,
    appends_only: bool,
) -> Workload {
    let mut workload = configuration.workload(policy, ops, seed);
    let mut phases = 0;
    workload.steps.retain_mut(|step| {
        if let Step::Phase(name) = step {
            phases += 1;
            name.push_str(suffix);
        }
        phases <= 1 || !appends_only
    });
    workload
}

pub(super) fn record(target: &RespTarget, workload: &Workload) -> Result<Trace, Failure> {
    // In memory: how long this machine's disk takes for a sync is nothing that a result should depend on.
    let dir = Scratch::new().map_err(|e| {
        let base =
            scratch::base().map_or_else(|_| String::new(), |base| format!(" below {}", base.display()));
        Failure::NotMeasured(format!(
            "no directory to record in{base}: {e}; make room there, or name another place with UNPLUG_TMP"
        ))
    })?;
    let data = dir.path().join("data");
    std::fs::create_dir(&data)
        .map_err(|e| Failure::NotMeasured(format!("no directory to record in: {}: {e}", data.display())))?;
    let mut trace = target.record(&data, workload).map_err(record_failed)?;
    target.conditions.note(&mut trace);
    if target.conditions.sync_nanos > 0 {
        // What comes before the first phase is a cell of its own, and must not go by another run's name.
        let op = Op::Phase(format!("{START}{}", suffix(target.conditions.sync_nanos)));
        let task = unplug_faults::event::Task::default();
        trace.events.insert(0, Event { begin: 0, end: 0, at: 0, task, site: None, errno: 0, op });
    }
    Ok(trace)
}

/// What a run's policy promises. Where syncs take time, a write is kept once its own sync has ended, which began a
/// second after it at the latest, or when the sync in front of it let it (a timer's tick late): the documented
/// second, and what the disk adds to it.
pub(super) fn contract_of(policy: Policy, trace: &Trace) -> Contract {
    let sync = trace.meta.options.get(SYNC_MS).and_then(|ms| ms.parse::<u64>().ok()).unwrap_or(0) * MS;
    match policy.contract() {
        Contract::EverySec { window } => Contract::EverySec { window: window.max(sync + 100 * MS) + sync },
        other => other,
    }
}
