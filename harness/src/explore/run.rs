//! One exploration from beginning to end: sweep, teeth, findings, cells.

use super::memo::Memo;
use super::phases::{Ordered, PhaseRun, clip};
use super::sweep::{Means, Progress, sweep};
use crate::cell::{CellResult, Finding, Teeth};
use crate::cluster::{Case, Cluster};
use crate::contract::Contract;
use crate::history::{History, Phase};
use crate::judge::{First, Judge, JudgeOptions};
use crate::minimise::fewest_deviations;
use crate::pool::{Pool, PoolError};
use crate::repro::{Allowed, Repro, cut};
use crate::story::{Subject, tell};
use crate::target::Target;
use crate::target::policy::Policy;
use crate::teeth;
use crate::verdict::{Class, Verdict};
use num_bigint::BigUint;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use unplug_faults::effect::{Effects, Names, Orders};
use unplug_faults::event::Clock;
use unplug_faults::model::{Count, Model};
use unplug_faults::state::{Assumption, Plan, Space};
use unplug_faults::trace::{Blind, Trace};

/// What is to be explored.
pub struct Search<'a> {
    /// The run.
    pub trace: &'a Trace,
    /// What was run.
    pub target: &'a dyn Target,
    /// What it promises.
    pub contract: Contract,
    /// What the disk may do.
    pub model: &'a dyn Model,
    /// How much is tried.
    pub plan: Plan,
    /// Rules that are taken away.
    pub assume: &'a [Assumption],
    /// Where repro files go; `None`: none are written.
    pub repro_dir: Option<&'a Path>,
}

/// Explores one trace under one model: a cell for each phase. Interrupted, it gives what it has, marked as
/// not measured.
#[allow(clippy::too_many_arguments)]
pub fn explore(
    trace: &Trace,
    target: &dyn Target,
    contract: Contract,
    model: &dyn Model,
    plan: &Plan,
    assume: &[Assumption],
    pool: &mut dyn Pool,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
) -> Vec<CellResult> {
    let search = Search { trace, target, contract, model, plan: plan.clone(), assume, repro_dir: None };
    explore_sharing(&search, &mut Memo::new(), pool, progress, cancel)
}

/// As [`explore`], with a memo that the models of one trace and one contract share, and with repro files.
pub fn explore_sharing(
    search: &Search<'_>,
    memo: &mut Memo,
    pool: &mut dyn Pool,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
) -> Vec<CellResult> {
    let started = Instant::now();
    let history = History::of(search.trace);
    let mut run = Run::new(search, &history);
    let orders = Orders::of(search.trace);
    run.blind.extend(search.trace.blind.iter().cloned().chain(orders.blind.clone()));
    let options = JudgeOptions::at(history.recovery_ms(search.trace.meta.virtual_time));
    let judge = match Judge::new(&history, search.contract.clone(), search.target.oracle(), options) {
        Ok(judge) => Some(judge),
        Err(blind) => {
            run.blind.push(blind);
            None
        }
    };
    // What the recorder could not follow makes every result of it unsound: nothing is explored.
    let Some(judge) = judge.filter(|_| run.blind.is_empty()) else {
        return run.cells(Vec::new(), &[], started);
    };
    let mut means = Means::new(memo, pool, progress, cancel);
    means.told.budget = search.plan.budget;
    let ordered: Vec<(Effects, Names)> = orders.traces.iter().map(|t| with_names(t)).collect();
    let all: Vec<Ordered<'_>> = orders
        .traces
        .iter()
        .zip(&ordered)
        .enumerate()
        .map(|(index, (trace, (effects, names)))| Ordered { trace, effects, names, index })
        .collect();
    run.sweep_all(&mut means, &all, &judge);
    let teeth = run.teeth(&mut means, &judge);
    let findings = run.findings(&mut means, &all, &judge);
    run.cells(findings, &teeth, started)
}

fn with_names(trace: &Trace) -> (Effects, Names) {
    let effects = Effects::of(trace);
    let names = Names::of(trace, &effects);
    (effects, names)
}

/// The teeth check of one phase.
enum Bite {
    Teeth(Teeth),
    /// Nothing that could be broken was promised there.
    NothingToBreak,
}

struct Run<'a> {
    search: &'a Search<'a>,
    history: &'a History,
    phases: Vec<PhaseRun>,
    blind: Vec<Blind>,
    count: Count,
    crash_points: u64,
    exhaustive: bool,
    bound: u8,
}

impl<'a> Run<'a> {
    fn new(search: &'a Search<'a>, history: &'a History) -> Self {
        let mut phases: Vec<PhaseRun> = history.phases.iter().cloned().map(PhaseRun::new).collect();
        if let Some(last) = phases.last_mut() {
            // A model may give its last states a last point beyond the last event.
            last.phase.end = Clock::MAX;
        }
        Run {
            search,
            history,
            phases,
            blind: Vec::new(),
            count: Count { states: BigUint::ZERO, exact: false },
            crash_points: 0,
            exhaustive: false,
            bound: search.plan.bound,
        }
    }

    fn space<'t>(&self, ordered: &Ordered<'t>) -> Space<'t> {
        Space::new(ordered.trace, ordered.effects, self.search.model, self.search.assume)
    }

    /// Sweeps over all orders of overlapping calls; they share the budget.
    fn sweep_all(&mut self, means: &mut Means<'_>, all: &[Ordered<'_>], judge: &Judge) {
        let mut left = self.search.plan.budget;
        let mut complete = true;
        let mut exact = all.len() == 1;
        for (nth, ordered) in all.iter().enumerate() {
            let (order, mut images) = (self.space(ordered), self.space(ordered));
            let count = order.count();
            exact &= count.exact;
            self.count.states += &count.states;
            self.crash_points = self.crash_points.max(order.crash_points());
            let share = left / (all.len() - nth) as u64;
            let plan = Plan { budget: share, ..self.search.plan.clone() };
            let phases = &mut self.phases;
            let swept = sweep(means, &order, &mut images, &plan, judge, &mut |state, image, seen, memo| {
                let dump = match &seen.first {
                    First::Holds(digest) => memo.dump(*digest),
                    First::Broke(..) => None,
                };
                for phase in phases.iter_mut() {
                    phase.visit(ordered, judge, (state, image, seen, dump));
                }
                ControlFlow::Continue(())
            });
            left -= swept.states.min(left);
            self.bound = self.bound.min(swept.bound(&plan));
            complete &= count.exact && count.states == BigUint::from(swept.states);
            if let Some(error) = swept.error {
                self.broken_off(&error);
                complete = false;
                break;
            }
        }
        self.count.exact = exact;
        self.exhaustive = complete;
    }

    fn broken_off(&mut self, error: &PoolError) {
        let what = match error {
            PoolError::Interrupted => "interrupted",
            _ => "recovery of images",
        };
        self.blind.push(Blind { what: what.to_string(), detail: error.to_string() });
    }

    /// The teeth check of every phase that has neither a violation nor a reason not to be measured.
    fn teeth(&mut self, means: &mut Means<'_>, judge: &Judge) -> Vec<Bite> {
        let needed = |p: &PhaseRun| p.clusters.is_empty() && !p.incomplete && p.states > 0;
        let asked: Vec<bool> = self.phases.iter().map(|p| self.blind.is_empty() && needed(p)).collect();
        let mut bites: Vec<Bite> = asked.iter().map(|_| Bite::Teeth(Teeth::NotNeeded)).collect();
        // Where keeping nothing would break a promise, the syncs are what the promise rests on.
        let rests_on_syncs: Vec<bool> = self
            .phases
            .iter()
            .zip(&asked)
            .map(|(p, asked)| *asked && judge.forbids_nothing_kept(p.phase.begin, p.phase.end.min(self.history.end)))
            .collect();
        if rests_on_syncs.iter().any(|r| *r) {
            let sabotaged = teeth::drop_syncs(self.search.trace);
            let found = self.bites(means, &sabotaged, judge, &rests_on_syncs, SABOTAGE_BUDGET);
            for (index, class) in found.into_iter().enumerate().filter(|(i, _)| rests_on_syncs[*i]) {
                let sabotage = teeth::SYNCS_DROPPED.to_string();
                bites[index] = Bite::Teeth(match class {
                    Some(class) => Teeth::Bit { sabotage, class },
                    None => Teeth::Blunt { sabotage },
                });
            }
        }
        for index in (0..self.phases.len()).filter(|i| asked[*i] && !rests_on_syncs[*i]) {
            bites[index] = self.bite_content(means, judge, index);
        }
        if means.cancel.load(std::sync::atomic::Ordering::Relaxed) {
            self.broken_off(&PoolError::Interrupted);
        }
        bites
    }

    /// Where nothing must be kept, only the content can be wrong: a write that was never made, and, since a
    /// target with checksums rightly turns that into an older state, an operation that the judge knows
    /// nothing of.
    fn bite_content(&mut self, means: &mut Means<'_>, judge: &Judge, index: usize) -> Bite {
        let (begin, end) = (self.phases[index].phase.begin, self.phases[index].phase.end);
        let only: Vec<bool> = (0..self.phases.len()).map(|i| i == index).collect();
        if let Some(sabotaged) = teeth::delete_middle_write(self.search.trace, begin, end)
            && let Some(class) = self.bites(means, &sabotaged, judge, &only, SABOTAGE_BUDGET)[index]
        {
            return Bite::Teeth(Teeth::Bit { sabotage: teeth::WRITE_DELETED.to_string(), class });
        }
        let Some((hidden, id)) = judge.hiding_one(begin, end) else { return Bite::NothingToBreak };
        let sabotage = format!("operation {id} hidden from the judge");
        let found = self.bites(means, self.search.trace, &hidden, &only, self.search.plan.budget);
        Bite::Teeth(match found[index] {
            Some(class) => Teeth::Bit { sabotage, class },
            None => Teeth::Blunt { sabotage },
        })
    }

    /// Explores a sabotaged trace until each of the phases asked for has a violation; its class.
    fn bites(
        &self,
        means: &mut Means<'_>,
        trace: &Trace,
        judge: &Judge,
        asked: &[bool],
        budget: u64,
    ) -> Vec<Option<Class>> {
        let (effects, names) = with_names(trace);
        let ordered = Ordered { trace, effects: &effects, names: &names, index: 0 };
        let (order, mut images) = (self.space(&ordered), self.space(&ordered));
        let plan = Plan { budget: budget.min(self.search.plan.budget.max(1)), ..self.search.plan.clone() };
        let mut found: Vec<Option<Class>> = vec![None; self.phases.len()];
        let wanted = |found: &[Option<Class>]| (0..found.len()).any(|i| asked[i] && found[i].is_none());
        let phases: Vec<&Phase> = self.phases.iter().map(|p| &p.phase).collect();
        sweep(means, &order, &mut images, &plan, judge, &mut |state, _, seen, memo| {
            let dump = match &seen.first {
                First::Holds(digest) => memo.dump(*digest),
                First::Broke(..) => None,
            };
            for (index, phase) in phases.iter().enumerate().filter(|(i, _)| asked[*i]) {
                let Some((first, last)) = clip(phase, state).filter(|_| found[index].is_none()) else { continue };
                found[index] = judge.check_seen(first, last, seen, dump).map(|v| v.class);
            }
            if wanted(&found) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        found
    }

    /// Minimises each cluster of each phase and tells it.
    fn findings(&mut self, means: &mut Means<'_>, all: &[Ordered<'_>], judge: &Judge) -> Vec<Vec<Finding>> {
        let mut out = Vec::with_capacity(self.phases.len());
        let mut notes = Vec::new();
        for index in 0..self.phases.len() {
            let clusters = std::mem::take(&mut self.phases[index].clusters).into_sorted();
            let phase = self.phases[index].phase.clone();
            let told = clusters.into_iter().map(|c| self.finding(means, all, judge, &phase, c, &mut notes));
            out.push(told.collect());
        }
        self.blind.extend(notes);
        out
    }

    fn finding(
        &self,
        means: &mut Means<'_>,
        all: &[Ordered<'_>],
        judge: &Judge,
        phase: &Phase,
        cluster: Cluster,
        notes: &mut Vec<Blind>,
    ) -> Finding {
        let ordered = &all[cluster.case.order];
        let (space, mut images) = (self.space(ordered), self.space(ordered));
        let judge_all = |states: &[unplug_faults::state::CrashState]| {
            let hashes: Vec<_> = states.iter().map(|s| images.hash(s)).collect();
            means.recover(&space, states, &hashes, judge)?;
            let one = |(state, image): (&unplug_faults::state::CrashState, &_)| {
                let (first, last) = clip(phase, state)?;
                let seen = means.memo.get(*image)?;
                let dump = if let First::Holds(d) = &seen.first { means.memo.dump(*d) } else { None };
                let violation = judge.check_seen(first, last, seen, dump)?;
                Some(Case { state: state.clone(), image: *image, violation, order: ordered.index })
            };
            Ok::<_, PoolError>(states.iter().zip(&hashes).map(one).collect())
        };
        let case = fewest_deviations(cluster.case, |s| space.simpler(s), judge_all);
        let Some(seen) = means.memo.get(case.image).cloned() else {
            return Finding {
                violation: case.violation,
                states: cluster.states,
                mechanism: cluster.mechanism,
                story: Default::default(),
                repro: None,
            };
        };
        let recovered = if let First::Holds(digest) = &seen.first { Some(*digest) } else { None };
        let dump = recovered.and_then(|d| means.memo.dump(d));
        let subject = Subject {
            trace: ordered.trace,
            effects: ordered.effects,
            judge,
            state: &case.state,
            violation: &case.violation,
            seen: &seen,
            dump,
        };
        let story = tell(&subject);
        let repro = self.search.repro_dir.and_then(|dir| {
            let (allowed, _) = judge.allowed_at(case.violation.crash_point, usize::MAX);
            let with_dump = |(i, a): (usize, crate::judge::AllowedState)| Allowed {
                label: a.label,
                digest: a.digest,
                dump: (i < 4).then(|| judge.dump_of(a.digest)).flatten(),
            };
            let repro = Repro {
                trace: cut(ordered.trace, case.violation.crash_point),
                worker: worker_arguments(self.search),
                contract: self.search.contract.clone(),
                model: self.search.model.name().to_string(),
                phase: phase.name.clone(),
                image: space.image(&case.state),
                state: case.state.clone(),
                now_ms: judge.now_ms(),
                mechanism: cluster.mechanism.clone(),
                violation: case.violation.clone(),
                recovered,
                allowed: allowed.into_iter().enumerate().map(with_dump).collect(),
                story: story.clone(),
            };
            self.save(&repro, dir, notes)
        });
        let (violation, mechanism) = (case.violation, cluster.mechanism);
        Finding { violation, states: cluster.states, mechanism, story, repro }
    }

    fn save(&self, repro: &Repro, dir: &Path, notes: &mut Vec<Blind>) -> Option<PathBuf> {
        match repro.save(dir) {
            Ok(path) => Some(path),
            Err(error) => {
                notes.push(Blind { what: "a repro file".to_string(), detail: error.to_string() });
                None
            }
        }
    }

    fn cells(self, findings: Vec<Vec<Finding>>, teeth: &[Bite], started: Instant) -> Vec<CellResult> {
        let mut findings = findings.into_iter();
        let meta = &self.search.trace.meta;
        let mut cells = Vec::with_capacity(self.phases.len());
        for (index, run) in self.phases.iter().enumerate() {
            let findings = findings.next().unwrap_or_default();
            let mut not_measured = self.blind.clone();
            let mut blind = |what: &str, detail: &str| {
                not_measured.push(Blind { what: what.to_string(), detail: detail.to_string() });
            };
            if run.incomplete {
                blind("later starts", "a second or third start on an image was not seen");
            }
            if run.states == 0 && self.blind.is_empty() {
                blind("no crash state", "no state that was tried lies in this phase: raise the budget");
            }
            let teeth = match teeth.get(index) {
                Some(Bite::Teeth(teeth)) => teeth.clone(),
                Some(Bite::NothingToBreak) => {
                    blind("nothing was promised", "no operation of this phase could be lost or made up");
                    Teeth::NotNeeded
                }
                None => Teeth::NotNeeded,
            };
            let verdict = verdict(!findings.is_empty(), !not_measured.is_empty(), &teeth);
            cells.push(CellResult {
                target: self.search.target.name(),
                policy: Policy::of(&self.search.contract).name().to_string(),
                phase: run.phase.name.clone(),
                model: self.search.model.name().to_string(),
                seed: meta.seed,
                operations: self.history.operations.len() as u64,
                events: self.search.trace.events.len() as u64,
                crash_points: self.crash_points_of(&run.phase),
                // Of the legal states of the whole run, only an exhaustive exploration tells this phase's.
                legal_states: if self.exhaustive && self.count.exact {
                    Count { states: BigUint::from(run.states), exact: true }
                } else {
                    Count { states: self.count.states.clone(), exact: self.count.exact && self.phases.len() == 1 }
                },
                states_checked: run.states,
                images_recovered: run.images.len() as u64,
                exhaustive: self.exhaustive,
                deviation_bound: self.bound,
                worst_loss: run.worst_loss,
                verdict,
                findings,
                not_measured,
                teeth,
                elapsed: started.elapsed(),
            });
        }
        cells
    }

    /// The crash points of one phase: the moments at which an event of it begins or ends.
    fn crash_points_of(&self, phase: &Phase) -> u64 {
        if self.phases.len() == 1 && self.crash_points > 0 {
            return self.crash_points;
        }
        let inside = |clock: &Clock| (phase.begin..=phase.end).contains(clock);
        let ends = |e: &unplug_faults::event::Event| [e.begin, e.end];
        let never = unplug_faults::event::Event::NEVER;
        let clocks = self.search.trace.events.iter().flat_map(ends).filter(|c| *c != never);
        clocks.filter(inside).count() as u64
    }
}

/// How many states of a sabotaged trace are tried: a sabotage that bites shows among the first.
const SABOTAGE_BUDGET: u64 = 20_000;

fn worker_arguments(search: &Search<'_>) -> Vec<String> {
    let command = search.target.worker(&search.contract);
    command.get_args().map(|a| a.to_string_lossy().into_owned()).collect()
}

/// A cell's verdict: what was found weighs more than what was not looked at, and a harness without teeth
/// more than either.
fn verdict(violated: bool, not_measured: bool, teeth: &Teeth) -> Verdict {
    match teeth {
        Teeth::Blunt { .. } => Verdict::HarnessBroken,
        _ if violated => Verdict::Violated,
        _ if not_measured => Verdict::NotMeasured,
        Teeth::Bit { .. } => Verdict::Holds,
        // Nothing was found and nothing was shown to be findable.
        Teeth::NotNeeded => Verdict::NotMeasured,
    }
}
