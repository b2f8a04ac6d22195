//! Faulted runs of whatever target: each recorded, and crashed from its fault on.

use super::recording;
use super::single::{Group, Single};
use super::sweep::{SweepError, Told};
use super::tally::Tally;
use super::trim::{fingerprint, from_fault, on_one_that_stops, whole};
use crate::cell::{CellResult, Finding};
use crate::contract::Contract;
use crate::explore::{Hearing, Memo, Search, TeethCheck, explore_last};
use crate::pool::Pool;
use crate::record::RecordError;
use crate::target::Target;
use crate::target::policy::Policy;
use crate::target::resp_stop::Survived;
use crate::workload::Workload;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use unplug_faults::event::Op;
use unplug_faults::model::Model;
use unplug_faults::plan::Plan as FaultPlan;
use unplug_faults::state::{Assumption, Plan};
use unplug_faults::trace::{Blind, Trace};

/// A target as faults are swept over it: what a sweep needs to know beyond [`Target`].
pub trait Subject: Sync {
    /// The target.
    fn target(&self) -> &dyn Target;

    /// Its name in reports.
    fn title(&self) -> String;

    /// The policy under whose name its results stand.
    fn policy(&self) -> Policy;

    /// Whether it makes the same calls in each run, until a fault fires.
    fn repeats(&self) -> bool;

    /// Runs the workload once under these faults, as far as the target goes with it.
    ///
    /// # Errors
    /// What says nothing of the target's promise.
    fn run(&self, plan: &FaultPlan, workload: &Workload) -> Result<Survived, SweepError>;

    /// Takes out of a run what neither the disk nor a client saw differently: which error it was, of what it means the
    /// same.
    fn make_plain(&self, trace: &mut Trace);
}

/// How faulted runs of a subject are made and crashed.
pub struct Runs<'a> {
    /// What is run.
    pub subject: &'a dyn Subject,
    /// What it promises.
    pub contract: Contract,
    /// Mechanisms that are known to show without any fault.
    pub shown: &'a BTreeSet<String>,
    /// Under which models each faulted run is crashed.
    pub models: &'a [&'static dyn Model],
    /// Crash states of each faulted run under each model, at the most.
    pub budget: u64,
    /// Rules that are taken away.
    pub assume: &'a [Assumption],
    /// Where repros go.
    pub repro_dir: Option<&'a Path>,
    /// Whether the traces of runs that have shown something go there, too.
    pub keeps_traces: bool,
    /// Set once the user wants to stop.
    pub cancel: &'a AtomicBool,
    /// Is told how many runs there will be, how many more are done, and what else a user should know.
    pub told: &'a dyn Fn(Told<'_>),
}

impl Runs<'_> {
    pub(super) fn note(&self, text: &str) {
        (self.told)(Told::Note(text));
    }

    pub(super) fn stopped(&self) -> bool {
        self.cancel.load(Ordering::SeqCst)
    }

    /// Each plan in a run of its own; each run crashed under each model. The memo is of the same target's images.
    /// `base` is a run without faults, where it is not known yet what shows in one.
    ///
    /// # Errors
    /// What says nothing of single faults.
    pub fn each(
        &self,
        planned: &[(Single, &Workload)],
        base: Option<&Trace>,
        memo: &mut Memo,
        pool: &mut dyn Pool,
    ) -> Result<Vec<CellResult>, SweepError> {
        let mut results = Results { mechanisms: self.shown.clone(), ..Results::of(memo) };
        if let Some(base) = base {
            self.without_faults(base, &mut results, pool);
        }
        (self.told)(Told::Stage("single faults", planned.len() as u64));
        recording::ahead(self.subject, planned, |(single, workload), recorded| {
            if self.stopped() {
                return Ok(ControlFlow::Break(()));
            }
            self.one(single, workload, recorded, &mut results, pool)?;
            (self.told)(Told::Done(1));
            Ok(ControlFlow::Continue(()))
        })?;
        self.note(&format!(
            "{}: of {} faulted runs the target ended {} before their end",
            self.subject.policy(),
            results.runs,
            results.ended
        ));
        if results.whole > 0 {
            self.note(&format!(
                "{}: {} calls move a single byte, or none, and cannot come short",
                self.subject.policy(),
                results.whole
            ));
        }
        Ok(results.tallies.into_values().map(Tally::cell).collect())
    }

    /// What shows without any fault, under each model.
    fn without_faults(&self, base: &Trace, results: &mut Results<'_>, pool: &mut dyn Pool) {
        let trace = whole(base);
        let memo = &mut *results.memo;
        let hearing = OnceCell::new();
        for model in self.models {
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
            target: self.subject.target(),
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
        results: &mut Results<'_>,
        pool: &mut dyn Pool,
    ) -> Result<(), SweepError> {
        let text = single.plan.to_string();
        if matches!(recorded, Err(SweepError::Record(RecordError::Interrupted))) {
            return Ok(());
        }
        // A call of a run that repeats comes short, unless it moves a single byte: then there is nothing to be tried.
        let never = |run: &Survived| run.ended.is_none() && single.plan.fired(&run.trace).rules() == 0;
        if single.group == Group::Short && self.subject.repeats() && recorded.as_ref().is_ok_and(never) {
            results.whole += 1;
            return Ok(());
        }
        for (index, model) in self.models.iter().map(|m| m.name()).enumerate() {
            let known = &results.mechanisms;
            let tally = results.tallies.entry((single.group, index)).or_insert_with(|| {
                let (name, policy) = (self.subject.title(), self.subject.policy());
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
                self.note(&format!("{}: the plan ended the run: {end}", self.subject.policy()));
            }
        }
        let Some(trace) = from_fault(&survived.trace) else { return Ok(()) };
        // Which error it was often makes no difference: the same run is not crashed twice.
        if fingerprint(&trace, |t| self.subject.make_plain(t))
            .is_some_and(|print| !results.known.insert(print))
        {
            return Ok(());
        }
        self.crash(&trace, single, results, pool, &text);
        Ok(())
    }

    /// A store that neither answers nor ends is not one that has stopped: nobody could tell for how long to wait.
    fn hung(&self, survived: &Survived, single: &Single, results: &mut Results<'_>, text: &str) {
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

    fn crash(
        &self,
        trace: &Trace,
        single: &Single,
        results: &mut Results<'_>,
        pool: &mut dyn Pool,
        text: &str,
    ) {
        let memo = &mut *results.memo;
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
        let Some(dir) = self.repro_dir.filter(|_| self.keeps_traces) else { return };
        let hash = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
        let path = dir.join(format!("faulted-{}-{:08x}.trace", self.subject.policy(), hash >> 32));
        match unplug_faults::codec::write_trace(&path, trace) {
            Ok(()) => self.note(&format!("{}: the run after `{text}`", path.display())),
            Err(e) => self.note(&format!("the trace after `{text}` cannot be kept: {e}")),
        }
    }
}

/// How many times the states of one faulted run are tried of the run without faults: it is longer, and there is one.
const BASE_SHARE: u64 = 8;

/// What is known so far.
struct Results<'m> {
    tallies: BTreeMap<(Group, usize), Tally>,
    /// What images recovered to, for all runs.
    memo: &'m mut Memo,
    /// Fingerprints of runs that were crashed.
    known: BTreeSet<u128>,
    /// Mechanisms that show without any fault.
    mechanisms: BTreeSet<String>,
    /// Runs so far, and those of them that the target ended.
    runs: u64,
    ended: u64,
    /// Calls that move a single byte, or none: these come whole or not at all.
    whole: u64,
}

impl<'m> Results<'m> {
    fn of(memo: &'m mut Memo) -> Self {
        let (tallies, known, mechanisms) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Results { tallies, memo, known, mechanisms, runs: 0, ended: 0, whole: 0 }
    }
}

/// How many bytes a run wrote.
pub(super) fn written(trace: &Trace) -> u64 {
    let bytes = |op: &Op| if let Op::Write { data, .. } = op { data.len() as u64 } else { 0 };
    trace.events.iter().filter(|e| e.errno == 0).map(|e| bytes(&e.op)).sum()
}
