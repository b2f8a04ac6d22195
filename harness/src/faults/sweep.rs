//! Single faults, one run each: which calls there are, each fault in a run of its own, each run crashed.

use super::asked::{Asked, Kind, Wanted};
use super::census::Census;
use super::killed::{Kills, after_kill, killed, slow};
use super::recording;
use super::rest::at_rest;
use super::runs::{Runs, written};
use super::single::{Group, Single, full_disks, singles};
use crate::cell::CellResult;
use crate::contract::Contract;
use crate::explore::Memo;
use crate::pool::{Pool, PoolError};
use crate::record::RecordError;
use crate::target::options::value_of;
use crate::target::resp::RespTarget;
use crate::target::resp_stop::{Stop, Survived};
use crate::workload::{Step, Workload};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use unplug_faults::image::Image;
use unplug_faults::model::Model;
use unplug_faults::plan::{Call, Plan as FaultPlan};
use unplug_faults::state::Assumption;
use unplug_faults::trace::Trace;

/// The phase of the cell in which every process is killed.
pub(super) const KILL: &str = "kill";
/// The phase of the cell in which files are damaged at rest.
pub(super) const REST: &str = "at rest";

/// A sweep over one policy's run.
pub struct Sweep<'a> {
    /// The target, as it is run without faults.
    pub target: &'a RespTarget,
    /// What it runs.
    pub workload: &'a Workload,
    /// What it promises.
    pub contract: Contract,
    /// Which faults.
    pub asked: &'a Asked,
    /// Whether damage to files at rest is promised to be found; where it is not, none is done.
    pub finds_damage: bool,
    /// Mechanisms that are known to show without any fault.
    pub shown: &'a BTreeSet<String>,
    /// Under which models each faulted run is crashed.
    pub models: Vec<&'static dyn Model>,
    /// Crash states of each faulted run under each model, at the most.
    pub budget: u64,
    /// Rules that are taken away.
    pub assume: &'a [Assumption],
    /// Where repros and faulted traces go.
    pub repro_dir: Option<&'a Path>,
    /// Set once the user wants to stop.
    pub cancel: &'a AtomicBool,
    /// Is told how many runs there will be, how many more are done, and what else a user should know.
    pub told: &'a dyn Fn(Told<'_>),
}

/// How far a sweep is.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// So many runs or images follow, of this kind.
    Stage(&'a str, u64),
    /// So many more are done.
    Done(u64),
    /// Something to know.
    Note(&'a str),
}

/// What kept a sweep from being done.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A run without faults could not be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Images could not be recovered.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A directory could not be made or read.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
}

/// Sweeps, and gives a cell for each group of faults and each model.
///
/// # Errors
/// What says nothing of single faults: the run without faults cannot be recorded, no image can be recovered.
pub fn sweep(sweep: &Sweep<'_>, pool: &mut dyn Pool) -> Result<Vec<CellResult>, SweepError> {
    match sweep.asked {
        Asked::Plan { plan, .. } => {
            let single = Single { plan: plan.clone(), group: Group::Plan };
            let base = sweep.whole(&FaultPlan::default(), sweep.workload)?;
            sweep.runs().each(&[(single, sweep.workload)], Some(&base), &mut Memo::new(), pool)
        }
        Asked::Sweep(wanted) => sweep.all(wanted, pool),
    }
}

impl Sweep<'_> {
    pub(super) fn note(&self, text: &str) {
        (self.told)(Told::Note(text));
    }

    pub(super) fn advance(&self, n: u64) {
        (self.told)(Told::Done(n));
    }

    /// How much damage of each kind is done to each file.
    pub(super) fn rest_each(&self) -> u64 {
        if self.target.is_repeatable() { 96 } else { 12 }
    }

    /// How its faulted runs are made and crashed.
    fn runs(&self) -> Runs<'_> {
        Runs {
            subject: self.target,
            contract: self.contract.clone(),
            shown: self.shown,
            models: &self.models,
            budget: self.budget,
            assume: self.assume,
            repro_dir: self.repro_dir,
            keeps_traces: true,
            cancel: self.cancel,
            told: self.told,
        }
    }

    fn all(&self, wanted: &Wanted, pool: &mut dyn Pool) -> Result<Vec<CellResult>, SweepError> {
        let mut cells = Vec::new();
        let restarting = restarting(self.workload, self.target);
        if wanted.has_calls() {
            let seen = |call: &Call| !call.reads() || call.receives() && wanted.names(Call::receives);
            let census = FaultPlan::census_of(Call::all().filter(seen));
            let base = self.whole(&census, self.workload)?;
            let every = self.target.is_repeatable();
            let census = Census::of(&base, every);
            let mut planned: Vec<(Single, &Workload)> =
                singles(&census, wanted, every).into_iter().map(|s| (s, self.workload)).collect();
            planned.extend(full_disks(written(&base), wanted).into_iter().map(|s| (s, self.workload)));
            // Reads happen where there is something to read: in a second life.
            let of_files = |call: Call| call.reads() && !call.receives();
            if wanted.names(of_files) {
                let base = self.whole(&FaultPlan::census(true), &restarting)?;
                let mut census = Census::of(&base, every);
                census.sites.retain(|s| of_files(s.call));
                planned.extend(singles(&census, wanted, every).into_iter().map(|s| (s, &restarting)));
            }
            let runs = self.runs();
            cells.extend(runs.each(&planned, Some(&base), &mut Memo::new(), pool)?);
            if wanted.has(None, Kind::Kill) && !runs.stopped() {
                (self.told)(Told::Stage("kill", 0));
                let kills = Kills { contract: after_kill(&self.contract), runs: slow(self) };
                cells.push(killed(&runs, &kills, &base, pool));
            }
        }
        if wanted.has(None, Kind::Rest) && !self.finds_damage {
            self.note(&format!(
                "{}: no damage at rest: nothing is promised of it without checksums",
                self.target.label()
            ));
        } else if wanted.has(None, Kind::Rest) && !self.cancel.load(Ordering::SeqCst) {
            (self.told)(Told::Stage("damage at rest", 0));
            let (survived, image) = self.record(&FaultPlan::default(), self.workload, Stop::Clean)?;
            match survived.ended {
                Some(error) => return Err(error.into()),
                None => cells.push(at_rest(self, &survived.trace, &image, pool)?),
            }
        }
        Ok(cells)
    }

    /// A run without faults. One that was broken off tells neither what can fail nor what is promised.
    fn whole(&self, census: &FaultPlan, workload: &Workload) -> Result<Trace, SweepError> {
        let survived = self.record(census, workload, Stop::Kill)?.0;
        survived.ended.map_or(Ok(survived.trace), |error| Err(error.into()))
    }

    /// Records one run under a plan, and what it left in its directory.
    fn record(
        &self,
        plan: &FaultPlan,
        workload: &Workload,
        stop: Stop,
    ) -> Result<(Survived, Image), SweepError> {
        recording::record(self.target, plan, workload, stop)
    }
}

/// The workload with a kill and a restart in its middle, where there is something to read for the second life. A server
/// that begins without a log is not killed: what it had in memory alone would be gone, which is no finding.
fn restarting(workload: &Workload, target: &RespTarget) -> Workload {
    let appends = target.policy.appends();
    let mut out = workload.clone();
    if appends && value_of("appendonly", target.policy, &target.extra) == Some("no") {
        return out;
    }
    let is_phase = |s: &Step| matches!(s, Step::Phase(_));
    // Within the first phase: later ones wait for what a kill would end.
    let end = out.steps.iter().skip(1).position(is_phase).map_or(out.steps.len(), |at| at + 1);
    // Without a log, behind the first snapshot, and what is asked of it.
    let saved = out.steps.iter().position(|s| *s == Step::Settle).filter(|_| !appends);
    let at = saved.map_or(end / 2 + 1, |at| (at + 2).min(out.steps.len()));
    out.steps.insert(at, Step::KillAndRestart);
    out
}
