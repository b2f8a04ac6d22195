//! `--faults`: sweeps behind the command line.

use super::failure::Failure;
use super::plan::CheckPlan;
use super::runner::Watch;
use crate::cell::CellResult;
use crate::contract::Contract;
use crate::faults::{Asked, Sweep, SweepError, Told, sweep};
use crate::target::Target;
use crate::target::resp::RespTarget;
use crate::target::variant::Variant;
use crate::worker::Workers;
use crate::workload::Workload;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use unplug_faults::model;

/// A faulted run gets this part of what a cell of a run without faults gets: there are hundreds of them, and only
/// what comes after the fault is new.
const SHARE: u64 = 40;

/// Sweeps over one policy's run, of which these mechanisms show without any fault.
pub(super) fn faults(
    asked: &Asked,
    (target, workload): (&RespTarget, &Workload),
    contract: Contract,
    (shown, models): (&BTreeSet<String>, &[String]),
    plan: &CheckPlan,
    watch: &dyn Watch,
) -> Result<(), Failure> {
    let cancel = watch.interrupted();
    let mut pool = Workers::start(plan.explore.workers, super::wire::limits()?, || target.worker(&contract))
        .map_err(super::wire::pool_failed)?
        .interrupted_by(watch.interrupted());
    let told = |what: Told<'_>| match what {
        Told::Stage(name, of) => watch.stage(&format!("{}: {name}", target.label()), of),
        Told::Done(n) => watch.advance(n),
        Told::Note(text) => watch.note(text),
    };
    let variant = target.variant.as_deref().and_then(Variant::named);
    let models = models.iter().filter_map(|name| model::by_name(name)).collect();
    let swept = sweep(
        &Sweep {
            target,
            workload,
            contract: contract.clone(),
            asked,
            finds_damage: variant.is_none_or(Variant::finds_damage),
            shown,
            models,
            budget: (plan.explore.budget / SHARE).max(16),
            assume: &plan.explore.assume,
            repro_dir: Some(plan.explore.repro_dir.path()),
            cancel: &cancel,
            told: &told,
        },
        &mut pool,
    );
    match swept {
        Ok(cells) => {
            let variant = &target.variant;
            let named = |cell| CellResult { variant: variant.clone(), ..cell };
            cells.into_iter().for_each(|cell| watch.cell(named(cell)));
            Ok(())
        }
        Err(_) if cancel.load(Ordering::SeqCst) => Ok(()),
        Err(SweepError::Pool(error)) => Err(super::wire::pool_failed(error)),
        Err(SweepError::Record(error)) => Err(super::wire::record_failed(error)),
        Err(error @ SweepError::Io { .. }) => Err(Failure::NotMeasured(error.to_string())),
    }
}
