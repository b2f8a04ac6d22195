//! Single faults, one run each: which calls there are, each fault in a run of its own, each run crashed.

use super::asked::{Asked, Kind, Wanted};
use super::census::Census;
use super::killed::killed;
use super::recording;
use super::rest::at_rest;
use super::single::{Group, Single, full_disks, singles};
use super::tally::Tally;
use super::trim::{fingerprint, from_fault, on_one_that_stops, whole};
use crate::cell::{CellResult, Finding};
use crate::contract::Contract;
use crate::explore::{Hearing, Memo, Search, TeethCheck, explore_last};
use crate::pool::{Pool, PoolError};
use crate::record::RecordError;
use crate::target::options::value_of;
use crate::target::resp::RespTarget;
use crate::target::resp_stop::{Stop, Survived};
use crate::workload::{Step, Workload};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use unplug_faults::event::Op;
use unplug_faults::image::Image;
use unplug_faults::model::Model;
use unplug_faults::plan::{Call, Plan as FaultPlan};
use unplug_faults::state::{Assumption, Plan};
use unplug_faults::trace::{Blind, Trace};

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
            sweep.runs(vec![(single, sweep.workload)], &base, pool)
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
            cells.extend(self.runs(planned, &base, pool)?);
            if wanted.has(None, Kind::Kill) && !self.stopped() {
                (self.told)(Told::Stage("kill", 0));
                cells.push(killed(self, &base, pool));
            }
        }
        if wanted.has(None, Kind::Rest) && !self.finds_damage {
            self.note(&format!(
                "{}: no damage at rest: nothing is promised of it without checksums",
                self.target.label()
            ));
        } else if wanted.has(None, Kind::Rest) && !self.stopped() {
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

    fn stopped(&self) -> bool {
        self.cancel.load(Ordering::SeqCst)
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

    /// Each plan in a run of its own; each run crashed under each model.
    fn runs(
        &self,
        planned: Vec<(Single, &Workload)>,
        base: &Trace,
        pool: &mut dyn Pool,
    ) -> Result<Vec<CellResult>, SweepError> {
        let mut results = Results { mechanisms: self.shown.clone(), ..Results::default() };
        self.without_faults(base, &mut results, pool);
        (self.told)(Told::Stage("single faults", planned.len() as u64));
        recording::ahead(self.target, &planned, |(single, workload), recorded| {
            if self.stopped() {
                return Ok(ControlFlow::Break(()));
            }
            self.one(single, workload, recorded, &mut results, pool)?;
            self.advance(1);
            Ok(ControlFlow::Continue(()))
        })?;
        self.note(&format!(
            "{}: of {} faulted runs the target ended {} before their end",
            self.target.policy, results.runs, results.ended
        ));
        Ok(results.tallies.into_values().map(Tally::cell).collect())
    }

    /// What shows without any fault, under each model.
    fn without_faults(&self, base: &Trace, results: &mut Results, pool: &mut dyn Pool) {
        let trace = whole(base);
        let memo = &mut results.memo;
        let hearing = OnceCell::new();
        for model in &self.models {
            let search = self.search(&trace, *model, self.budget.saturating_mul(BASE_SHARE), None);
            let hearing = hearing.get_or_init(|| Hearing::of(&search));
            let cell =
                explore_last(&search, hearing, memo, pool, &mut |_| {}, self.cancel, TeethCheck::Skipped);
            results.mechanisms.extend(cell.into_iter().flat_map(|c| c.findings).map(|f| f.mechanism));
        }
    }

    fn search<'s>(
        &'s self,
        trace: &'s Trace,
        model: &'s dyn Model,
        budget: u64,
        repro_dir: Option<&'s Path>,
    ) -> Search<'s> {
        Search {
            trace,
            target: self.target,
            contract: self.contract.clone(),
            model,
            plan: Plan { bound: 1, budget, seed: trace.meta.seed },
            assume: self.assume,
            repro_dir,
        }
    }

    fn one(
        &self,
        single: &Single,
        workload: &Workload,
        recorded: Result<Survived, SweepError>,
        results: &mut Results,
        pool: &mut dyn Pool,
    ) -> Result<(), SweepError> {
        let text = single.plan.to_string();
        if matches!(recorded, Err(SweepError::Record(RecordError::Interrupted))) {
            return Ok(());
        }
        for (index, model) in self.models.iter().map(|m| m.name()).enumerate() {
            let known = &results.mechanisms;
            let tally = results.tallies.entry((single.group, index)).or_insert_with(|| {
                let (name, policy) = (self.target.title(), self.target.policy);
                Tally::new(&name, policy, single.group.name(), model, workload.seed).knowing(known)
            });
            tally.count.planned += single.plan.rules.len() as u64;
            match &recorded {
                Ok(survived) => {
                    let fired = single.plan.fired(&survived.trace);
                    tally.count.fired += fired.rules() as u64;
                    for never in fired.never() {
                        let detail = format!("`{}`", single.plan.rules[never]);
                        tally.blind(Blind { what: "never fired".to_owned(), detail });
                    }
                }
                Err(error) => {
                    let detail = format!("{error} (after {text})");
                    tally.blind(Blind { what: "recording".to_owned(), detail });
                }
            }
        }
        let survived = match recorded {
            Ok(survived) => survived,
            Err(SweepError::Record(_)) => return Ok(()),
            Err(other) => return Err(other),
        };
        self.hung(&survived, single, results, &text);
        results.runs += 1;
        if let Some(end) = &survived.ended {
            results.ended += 1;
            if single.group == Group::Plan {
                self.note(&format!("{}: the plan ended the run: {end}", self.target.policy));
            }
        }
        let Some(trace) = from_fault(&survived.trace) else { return Ok(()) };
        // Which error it was often makes no difference: the same run is not crashed twice.
        if fingerprint(&trace).is_some_and(|print| !results.known.insert(print)) {
            return Ok(());
        }
        self.crash(&trace, single, results, pool, &text);
        Ok(())
    }

    /// A store that neither answers nor ends is not one that has stopped: nobody could tell for how long to wait.
    fn hung(&self, survived: &Survived, single: &Single, results: &mut Results, text: &str) {
        let hang = match &survived.ended {
            Some(error @ (RecordError::Stuck { .. } | RecordError::NotReady { .. })) => error,
            _ => return,
        };
        let blind = Blind { what: "the target hangs".to_owned(), detail: format!("{hang} (after {text})") };
        for (key, tally) in &mut results.tallies {
            if key.0 == single.group {
                tally.blind(blind.clone());
            }
        }
    }

    fn crash(&self, trace: &Trace, single: &Single, results: &mut Results, pool: &mut dyn Pool, text: &str) {
        let memo = &mut results.memo;
        let mut saved = false;
        let stopped = on_one_that_stops(trace);
        let hearings = [OnceCell::new(), OnceCell::new()];
        for (index, model) in self.models.iter().enumerate() {
            let stopped = stopped.as_ref().filter(|_| model.stops());
            let search = self.search(stopped.unwrap_or(trace), *model, self.budget, self.repro_dir);
            let hearing = hearings[usize::from(stopped.is_some())].get_or_init(|| Hearing::of(&search));
            let tally = results.tallies.get_mut(&(single.group, index));
            let teeth = match tally.as_ref().is_some_and(|t| t.has_bitten()) {
                true => TeethCheck::Found,
                false => TeethCheck::Classed,
            };
            let Some(cell) = explore_last(&search, hearing, memo, pool, &mut |_| {}, self.cancel, teeth)
            else {
                continue;
            };
            let is_new = |f: &Finding| !results.mechanisms.contains(&f.mechanism);
            if cell.findings.iter().any(is_new) && !saved {
                saved = true;
                self.save(trace, text);
            }
            if let Some(tally) = tally {
                tally.add(cell, text);
            }
        }
    }

    /// Keeps the trace of a faulted run that has shown something: a real server's run cannot be made again.
    fn save(&self, trace: &Trace, text: &str) {
        let Some(dir) = self.repro_dir else { return };
        let hash = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
        let path = dir.join(format!("faulted-{}-{:08x}.trace", self.target.policy, hash >> 32));
        match unplug_faults::codec::write_trace(&path, trace) {
            Ok(()) => self.note(&format!("{}: the run after `{text}`", path.display())),
            Err(e) => self.note(&format!("the trace after `{text}` cannot be kept: {e}")),
        }
    }
}

/// How many times the states of one faulted run are tried of the run without faults: it is longer, and there is one.
const BASE_SHARE: u64 = 8;

/// What is known so far.
#[derive(Default)]
struct Results {
    tallies: BTreeMap<(Group, usize), Tally>,
    /// What images recovered to, for all runs.
    memo: Memo,
    /// Fingerprints of runs that were crashed.
    known: BTreeSet<u128>,
    /// Mechanisms that show without any fault.
    mechanisms: BTreeSet<String>,
    /// Runs so far, and those of them that the target ended.
    runs: u64,
    ended: u64,
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

/// How many bytes a run wrote.
fn written(trace: &Trace) -> u64 {
    let bytes = |op: &Op| if let Op::Write { data, .. } = op { data.len() as u64 } else { 0 };
    trace.events.iter().filter(|e| e.errno == 0).map(|e| bytes(&e.op)).sum()
}
