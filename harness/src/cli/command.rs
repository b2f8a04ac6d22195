//! `unplug check command`: any program, and another one that looks at what is left of its files.

use super::failure::Failure;
use super::plan::CheckPlan;
use super::runner::Watch;
use super::wire::{Run, record_failed, this_file};
use crate::cell::CellResult;
use crate::shell;
use crate::target::command::{self, CommandSpec, CommandTarget, NAME, lines_of};
use crate::target::policy::Policy;
use std::path::{Path, PathBuf};
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

/// How to look at a directory by hand as the checker did. The lines that had been printed are put beside it, as the
/// checker may want to read them.
///
/// # Errors
/// They cannot be written, or something stands there.
pub(super) fn by_hand(trace: &Trace, dir: &Path) -> Result<String, Failure> {
    let option = |name: &str| trace.meta.options.get(name).map(String::as_str);
    let word = |path: &Path| shell::word(&path.to_string_lossy());
    let check = shell::word(option("check").unwrap_or_default());
    if option("prints").is_some() {
        return Ok(format!("check: cd {} && sh -c {check}", word(dir)));
    }
    let acked =
        trace.events.iter().filter(|e| matches!(e.op, unplug_faults::event::Op::Reply { .. })).count();
    let lines = lines_of(trace).into_iter().take(acked).map(|line| [line, b"\n".to_vec()].concat());
    let mut name = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf()).into_os_string();
    name.push(".acked");
    let file = PathBuf::from(name);
    let written = std::fs::File::create_new(&file)
        .and_then(|mut to| std::io::Write::write_all(&mut to, &lines.collect::<Vec<_>>().concat()));
    written.map_err(|e| {
        let what = format!("{}: {e}", file.display());
        Failure::usage(what, "the lines that the run had printed go there: name another directory".into())
    })?;
    Ok(format!(
        "check: cd {} && UNPLUG_ACKED={acked} UNPLUG_ACKED_FILE={} sh -c {check}",
        word(dir),
        word(&file)
    ))
}
