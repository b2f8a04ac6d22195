//! `unplug check command`: any program, and another one that looks at what is left of its files.

use super::failure::Failure;
use super::plan::CheckPlan;
use super::runner::Watch;
use super::wire::{Run, record_failed, this_file};
use crate::cell::CellResult;
use crate::shell;
use crate::target::command::{self, CommandSpec, CommandTarget, NAME};
use crate::target::policy::Policy;
use std::sync::atomic::Ordering;
use unplug_faults::trace::Trace;

/// Records a command once; its policies differ only in what they promise.
pub(super) fn runs(spec: &CommandSpec, plan: &CheckPlan, watch: &dyn Watch) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for policy in &plan.policies {
        if watch.interrupted().load(Ordering::SeqCst) {
            break;
        }
        watch.stage(&format!("{policy}: recording"), 0);
        match record(spec, *policy, plan.seed, &plan.explore.models, watch) {
            Ok(run) => runs.push(run),
            Err(Failure::NotMeasured(why)) => {
                for model in &plan.explore.models {
                    watch.cell(CellResult::unrecorded(NAME, *policy, model, plan.seed, &why));
                }
            }
            Err(other) => return Err(other),
        }
    }
    Ok(runs)
}

/// Records a command under a policy.
pub(super) fn record(
    spec: &CommandSpec,
    policy: Policy,
    seed: u64,
    models: &[String],
    watch: &dyn Watch,
) -> Result<Run, Failure> {
    let spec = CommandSpec { policy: Some(policy), ..spec.clone() };
    let recorded =
        command::record(&this_file()?, &spec, seed, Some(watch.interrupted())).map_err(record_failed)?;
    Ok(Run {
        target: Box::new(recorded.target),
        policy,
        trace: recorded.trace,
        models: models.to_vec(),
        again: None,
    })
}

/// The target that recovers what a recorded command has written. Its checker is asked for: the one that a file
/// names is a stranger's command line.
pub(super) fn target_of(trace: &Trace, check: Option<&str>) -> Result<CommandTarget, Failure> {
    let Some(check) = check else {
        let recorded = trace.meta.options.get("check").map_or("CMD", String::as_str);
        return Err(Failure::usage(
            "this is the run of a command, and a file's own checker is not run unasked".into(),
            format!("if you trust it, add: --check {}", shell::word(recorded)),
        ));
    };
    CommandTarget::of(&this_file()?, trace, check).map_err(record_failed)
}

/// How to look at a directory by hand as the checker did.
pub(super) fn by_hand(trace: &Trace, dir: &str) -> String {
    let option = |name: &str| trace.meta.options.get(name).map(String::as_str);
    let acked =
        trace.events.iter().filter(|e| matches!(e.op, unplug_faults::event::Op::Reply { .. })).count();
    let told = if option("prints").is_some() { String::new() } else { format!("UNPLUG_ACKED={acked} ") };
    format!(
        "check: cd {} && {told}sh -c {}",
        shell::word(dir),
        shell::word(option("check").unwrap_or_default())
    )
}
