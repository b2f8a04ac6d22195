//! One trial of a store: a workload recorded and crashed, and swept over with faults where the check asks for that.

use crate::cell::CellResult;
use crate::explore::{Memo, Search, explore_deep};
use crate::target::Target;
use crate::testing::check::Check;
use crate::testing::env::Settings;
use crate::testing::error::CheckError;
use crate::testing::failed::failed_operations;
use crate::testing::report::Report;
use crate::testing::store::Store;
use crate::testing::sweep::{Asked, Sweep};
use crate::testing::target::{ENDED, is_repeatable};
use crate::verdict::Verdict;
use crate::worker::scratch::Scratch;
use crate::worker::{Limits, Workers};
use crate::workload::Workload;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use unplug_faults::model::{self, Model};
use unplug_faults::plan::Plan as FaultPlan;
use unplug_faults::state::{Assumption, Plan};
use unplug_faults::trace::Trace;

/// Deviations from the order of the calls that are enumerated whole, as far as the budget goes.
const DEVIATIONS: u8 = 2;
/// What a check of a store without probes leaves out.
const NO_PROBES: &str = "the store has no probes (Store::probes): whether what it has recovered takes new writes, \
                         keeps them and survives another power loss was not tried";

/// What is tried of a check.
pub(super) struct Trial<'t> {
    /// Under which of the check's models.
    pub(super) models: &'t [String],
    /// What is done to the store.
    pub(super) workload: &'t Workload,
    /// Rules of the faults that befall it meanwhile.
    pub(super) faults: &'t str,
    /// Whether the check's sweep follows.
    pub(super) sweeps: bool,
    /// Where repro files go.
    pub(super) repro_dir: Option<&'t Path>,
}

impl<S: Store> Check<S> {
    /// Records the workload, and explores the trace under each of the models; then the sweep, if there is nothing to
    /// be found without it.
    pub(super) fn try_out(&self, trial: &Trial<'_>, settings: &Settings) -> Result<Report, CheckError> {
        let models = chosen(trial.models)?;
        let assume = assumed(&self.assume)?;
        let asked = self.asked(trial)?;
        let scratch = Scratch::new()?;
        let dir = scratch.path().join("store");
        std::fs::create_dir(&dir)?;
        let trace = self.record(&dir, trial)?;
        let failed = failed_operations::<S>(&trace)?;
        let budget = settings.budget.unwrap_or(self.budget);
        let usual = if is_repeatable(&trace) { self.target.usual_recovery_depth() } else { 0 };
        let depth = self.recovery_depth.unwrap_or(usual);
        let mut pool = self.pool(self.workers)?;
        let (mut memo, mut cells) = (Memo::new(), Vec::<CellResult>::new());
        for model in &models {
            let search = Search {
                trace: &trace,
                target: &self.target,
                contract: self.contract.clone(),
                model: *model,
                plan: Plan { bound: DEVIATIONS, budget, seed: trial.workload.seed },
                assume: &assume,
                repro_dir: trial.repro_dir,
            };
            let silent = &mut |_| {};
            let never = AtomicBool::new(false);
            cells.extend(explore_deep(&search, depth, &mut memo, &mut pool, silent, &never));
        }
        let mut report = Report::of(cells);
        if S::probes().is_empty() {
            report = report.noting(NO_PROBES.to_owned());
        }
        let ended = trace.meta.options.get(ENDED).map(|why| format!("a fault ended the run: {why}"));
        let report = failed.into_iter().chain(ended).fold(report, Report::noting);
        let Some(asked) = asked else { return Ok(report) };
        if report.verdict() != Verdict::Holds {
            let why =
                "no fault was swept over the run: it has no good result without any, and that comes first";
            return Ok(report.noting(why.to_owned()));
        }
        // Hundreds of runs may fail in one way: of their repros those are kept that are told of.
        let repros = scratch.path().join("repros");
        std::fs::create_dir(&repros)?;
        let sweep = Sweep {
            target: &self.target,
            contract: &self.contract,
            models: &models,
            assume: &assume,
            budget,
            repro_dir: trial.repro_dir.map(|_| repros.as_path()),
        };
        let (cells, notes) = sweep.over(trial.workload, &asked, &mut memo, &mut pool)?;
        let report = notes.into_iter().fold(report.with(cells), Report::noting);
        Ok(trial.repro_dir.into_iter().fold(report, Report::keeping_repros))
    }

    /// The sweep that follows, if one does.
    fn asked(&self, trial: &Trial<'_>) -> Result<Option<Asked>, CheckError> {
        match &self.sweep {
            Some(_) if !self.faults.is_empty() => Err(CheckError::FaultsAndSweep),
            Some(text) if trial.sweeps => text.parse().map(Some),
            _ => Ok(None),
        }
    }

    /// Recovery workers.
    pub(super) fn pool(&self, count: usize) -> Result<Workers<'_>, CheckError> {
        let command = || self.target.worker(&self.contract);
        let limits = Limits::asked().map_err(CheckError::Limits)?;
        Ok(Workers::start_logged(count, limits, self.prune, command)?)
    }

    /// Records the workload, with the trial's faults.
    fn record(&self, dir: &Path, trial: &Trial<'_>) -> Result<Trace, CheckError> {
        if trial.faults.is_empty() {
            return Ok(self.target.record(dir, trial.workload)?);
        }
        let plan: FaultPlan = trial.faults.parse()?;
        let trace = self.target.under(plan.clone()).record(dir, trial.workload)?;
        let never: Vec<String> =
            plan.fired(&trace).never().map(|rule| plan.rules[rule].to_string()).collect();
        match never.is_empty() {
            true => Ok(trace),
            false => Err(CheckError::NeverFired { rules: never.join("`, `") }),
        }
    }
}

/// The models of these names.
fn chosen(names: &[String]) -> Result<Vec<&'static dyn Model>, CheckError> {
    let choose = |name: &String| {
        model::by_name(name).ok_or_else(|| CheckError::UnknownModel {
            name: name.clone(),
            known: model::all().iter().map(|m| m.name()).collect::<Vec<_>>().join(", "),
        })
    };
    names.iter().map(choose).collect()
}

/// The assumptions of these names.
fn assumed(names: &[String]) -> Result<Vec<Assumption>, CheckError> {
    let parse = |name: &String| {
        Assumption::parse(name).ok_or_else(|| CheckError::UnknownRule {
            name: name.clone(),
            known: Assumption::all().iter().map(|a| a.name()).collect::<Vec<_>>().join(", "),
        })
    };
    names.iter().map(parse).collect()
}
