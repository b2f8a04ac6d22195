//! One exploration from beginning to end: sweep, teeth, findings, cells.

use super::bite::{Bite, broken_off, teeth_of, verdict};
use super::keep::repro_of;
use super::memo::Memo;
use super::phases::{Ordered, PhaseRun};
use super::search::Search;
use super::sweep::{Means, Progress, sweep};
use crate::cell::{CellResult, Finding, Story, Teeth};
use crate::cluster::{Case, Cluster, Clusters, Kin, mechanism};
use crate::contract::Contract;
use crate::history::{History, Phase};
use crate::judge::{FOREIGN, First, Judge, JudgeOptions, LIVE};
use crate::minimise::local_minimum;
use crate::pool::{Pool, PoolError};
use crate::story::{Subject, tell};
use crate::target::Target;
use crate::target::policy::Policy;
use crate::teeth;
use crate::verdict::Class;
use num_bigint::BigUint;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use unplug_faults::effect::{Effects, Names, Orders};
use unplug_faults::event::{Event, Op};
use unplug_faults::model::Model;
use unplug_faults::state::{Assumption, CrashState, Plan, Space};
use unplug_faults::trace::{Blind, Trace};

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
    explore_with(search, memo, pool, progress, cancel, true)
}

/// As [`explore_sharing`], but of the last phase only; without `teeth` the cell cannot hold.
pub fn explore_last(
    search: &Search<'_>,
    memo: &mut Memo,
    pool: &mut dyn Pool,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
    teeth: bool,
) -> Option<CellResult> {
    explore_part(search, memo, pool, progress, cancel, (teeth, true)).pop()
}

/// As [`explore_sharing`]; without `teeth` no cell can hold.
pub(super) fn explore_with(
    search: &Search<'_>,
    memo: &mut Memo,
    pool: &mut dyn Pool,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
    teeth: bool,
) -> Vec<CellResult> {
    explore_part(search, memo, pool, progress, cancel, (teeth, false))
}

fn explore_part(
    search: &Search<'_>,
    memo: &mut Memo,
    pool: &mut dyn Pool,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
    (teeth, last_only): (bool, bool),
) -> Vec<CellResult> {
    let started = Instant::now();
    let history = History::of(search.trace);
    let mut run = Run::new(search, &history);
    let first = if last_only { run.phases.len().saturating_sub(1) } else { 0 };
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
        let cell = |i| run.cell(i, Vec::new(), Bite::Teeth(Teeth::NotNeeded), started.elapsed());
        return (first..run.phases.len()).map(cell).collect();
    };
    let mut means = Means::new(memo, pool, progress, cancel);
    means.told.budget = search.plan.budget * run.phases.len() as u64;
    let derived: Vec<(Effects, Names)> = orders.traces.iter().map(with_names).collect();
    let pairs = orders.traces.iter().zip(&derived).enumerate();
    let all: Vec<Ordered<'_>> =
        pairs.map(|(index, (trace, (effects, names)))| Ordered { trace, effects, names, index }).collect();
    let mut cells = Vec::with_capacity(run.phases.len());
    for index in first..run.phases.len() {
        let begun = Instant::now();
        run.sweep_phase(&mut means, &all, &judge, index);
        means.counting = false;
        let bite = match teeth {
            true => run.teeth(&mut means, &judge, index),
            false => Bite::Teeth(Teeth::NotNeeded),
        };
        means.counting = true;
        let findings = run.findings(&mut means, &all, &judge, index);
        cells.push(run.cell(index, findings, bite, begun.elapsed()));
    }
    cells
}

pub(super) fn with_names(trace: &Trace) -> (Effects, Names) {
    let effects = Effects::of(trace);
    let names = Names::of(trace, &effects);
    (effects, names)
}

struct Run<'a> {
    search: &'a Search<'a>,
    history: &'a History,
    phases: Vec<PhaseRun>,
    /// Why nothing of the run is measured.
    blind: Vec<Blind>,
    /// Which mechanisms are one mistake, in whatever phase they show.
    kin: Kin,
}

impl<'a> Run<'a> {
    fn new(search: &'a Search<'a>, history: &'a History) -> Self {
        let phases = history.phases.iter().cloned().map(PhaseRun::new).collect();
        Run { search, history, phases, blind: Vec::new(), kin: Kin::default() }
    }

    /// The crash states of one phase.
    fn space<'t>(&self, ordered: &Ordered<'t>, phase: &Phase) -> Space<'t> {
        let space = Space::new(ordered.trace, ordered.effects, self.search.model, self.search.assume);
        space.within(phase.begin..=phase.end)
    }

    /// Sweeps over one phase, in all orders of overlapping calls; they share the budget.
    fn sweep_phase(&mut self, means: &mut Means<'_>, all: &[Ordered<'_>], judge: &Judge, index: usize) {
        let mut run = PhaseRun::new(self.phases[index].phase.clone());
        let (mut left, mut complete) = (self.search.plan.budget, true);
        run.bound = self.search.plan.bound;
        run.count.exact = all.len() == 1;
        for (nth, ordered) in all.iter().enumerate() {
            let space = self.space(ordered, &run.phase);
            let count = space.count();
            run.count.exact &= count.exact;
            run.count.states += &count.states;
            run.crash_points = run.crash_points.max(space.crash_points());
            let share = left / (all.len() - nth) as u64;
            let plan = Plan { budget: share, ..self.search.plan.clone() };
            let swept = sweep(means, &space, &plan, judge, &mut |state, image, seen, memo| {
                run.visit(ordered, judge, (state, image, seen, memo.dump_of(seen)));
                ControlFlow::Continue(())
            });
            left -= swept.states.min(left);
            run.bound = run.bound.min(swept.bound(&plan));
            complete &= count.exact && count.states == BigUint::from(swept.states);
            if let Some(error) = swept.error {
                run.blind.push(broken_off(&error));
                complete = false;
                break;
            }
        }
        run.exhaustive = complete;
        self.phases[index] = run;
    }

    /// The teeth check of a phase that has neither a violation nor a reason not to be measured.
    fn teeth(&mut self, means: &mut Means<'_>, judge: &Judge, index: usize) -> Bite {
        let run = &self.phases[index];
        if !run.clusters.is_empty() || !run.blind.is_empty() || run.incomplete || run.states == 0 {
            return Bite::Teeth(Teeth::NotNeeded);
        }
        let phase = run.phase.clone();
        // Where keeping nothing would break a promise, the syncs are what the promise rests on.
        let bite = if judge.forbids_nothing_kept(phase.begin, phase.end) {
            let sabotaged = teeth::drop_syncs(self.search.trace);
            let class = self.bites(means, &sabotaged, judge, &phase, SABOTAGE_BUDGET);
            class.map(|c| teeth_of(teeth::SYNCS_DROPPED.to_string(), c))
        } else {
            self.bite_content(means, judge, &phase)
        };
        match bite {
            Ok(bite) => bite,
            Err(error) => {
                self.phases[index].blind.push(broken_off(&error));
                Bite::Teeth(Teeth::NotNeeded)
            }
        }
    }

    /// Where nothing must be kept, only the content can be wrong: a write that was never made, and, since a
    /// target with checksums rightly turns that into an older state, an operation that the judge knows
    /// nothing of. Where even that can show in no state of the phase, content that nobody wrote.
    fn bite_content(&self, means: &mut Means<'_>, judge: &Judge, phase: &Phase) -> Result<Bite, PoolError> {
        if let Some(sabotaged) = teeth::delete_middle_write(self.search.trace, phase.begin, phase.end)
            && let Some(class) = self.bites(means, &sabotaged, judge, phase, SABOTAGE_BUDGET)?
        {
            return Ok(teeth_of(teeth::WRITE_DELETED.to_string(), Some(class)));
        }
        let write = |e: &Event| e.errno == 0 && matches!(e.op, Op::Write { .. });
        let wrote =
            |from, to| self.search.trace.events.iter().any(|e| write(e) && (from..=to).contains(&e.begin));
        if let Some((hidden, id)) = judge.hiding_one(phase.begin, phase.end, wrote)
            && judge.differs_within(&hidden, phase.begin, phase.end)
        {
            let class = self.bites(means, self.search.trace, &hidden, phase, self.search.plan.budget)?;
            return Ok(teeth_of(format!("operation {id} hidden from the judge"), class));
        }
        self.bite_impostor(means, judge, phase)
    }

    /// The last resort: what came back from the last state of the phase's first lot is exchanged for content that
    /// nobody wrote.
    fn bite_impostor(&self, means: &mut Means<'_>, judge: &Judge, phase: &Phase) -> Result<Bite, PoolError> {
        let (effects, names) = with_names(self.search.trace);
        let ordered = Ordered { trace: self.search.trace, effects: &effects, names: &names, index: 0 };
        let space = self.space(&ordered, phase);
        let plan = Plan { budget: IMPOSTOR_BUDGET, ..self.search.plan.clone() };
        let (mut live, mut foreign, mut tried) = (None, None, false);
        let swept = sweep(means, &space, &plan, judge, &mut |state, _, seen, memo| {
            let First::Holds(digest) = &seen.first else { return ControlFlow::Continue(()) };
            let known = memo.dump_of(seen).cloned().or_else(|| judge.dump_of(*digest));
            let Some(dump) = known else { return ControlFlow::Continue(()) };
            tried = true;
            live = live.or_else(|| judge.refuses_live(state.first, state.last));
            foreign = foreign.or_else(|| judge.refuses_foreign(state.first, state.last, &dump));
            if live.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match (live, foreign, swept.error) {
            (Some(class), ..) => Ok(teeth_of(LIVE.to_string(), Some(class))),
            (None, Some(class), _) => Ok(teeth_of(FOREIGN.to_string(), Some(class))),
            (None, None, Some(error)) => Err(error),
            (None, None, None) if tried => Ok(teeth_of(FOREIGN.to_string(), None)),
            (None, None, None) => Ok(Bite::NothingToBreak),
        }
    }

    /// Explores a phase of a sabotaged trace until it has a violation; its class.
    fn bites(
        &self,
        means: &mut Means<'_>,
        trace: &Trace,
        judge: &Judge,
        phase: &Phase,
        budget: u64,
    ) -> Result<Option<Class>, PoolError> {
        let (effects, names) = with_names(trace);
        let ordered = Ordered { trace, effects: &effects, names: &names, index: 0 };
        let space = self.space(&ordered, phase);
        let plan = Plan { budget: budget.min(self.search.plan.budget.max(1)), ..self.search.plan.clone() };
        let mut found = None;
        let swept = sweep(means, &space, &plan, judge, &mut |state, _, seen, memo| {
            let violation = judge.check_seen(state.first, state.last, seen, memo.dump_of(seen));
            match violation {
                Some(violation) => {
                    found = Some(violation.class);
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            }
        });
        // What was found counts, even if it was the last thing before an interruption.
        match (found, swept.error) {
            (None, Some(error)) => Err(error),
            (found, _) => Ok(found),
        }
    }

    /// Minimises each cluster of a phase and tells it.
    fn findings(
        &mut self,
        means: &mut Means<'_>,
        all: &[Ordered<'_>],
        judge: &Judge,
        index: usize,
    ) -> Vec<Finding> {
        let clusters = std::mem::take(&mut self.phases[index].clusters).into_sorted();
        let phase = self.phases[index].phase.clone();
        let mut notes = Vec::new();
        // Made small, cases that looked different often are one and the same.
        let mut small = Clusters::default();
        for cluster in clusters {
            small.merge(self.simplest(means, all, judge, &phase, cluster));
        }
        let tell = |c| self.finding(means, all, judge, &phase, c, &mut notes);
        let findings = small.into_sorted().into_iter().map(tell).collect();
        self.phases[index].blind.extend(notes);
        findings
    }

    /// The cluster with its simplest case, and by the mechanism that this shows.
    fn simplest(
        &mut self,
        means: &mut Means<'_>,
        all: &[Ordered<'_>],
        judge: &Judge,
        phase: &Phase,
        cluster: Cluster,
    ) -> Cluster {
        let ordered = &all[cluster.case.order];
        let space = self.space(ordered, phase);
        let mut judge_all = |states: &[CrashState]| {
            let hashes: Vec<_> = states.iter().map(|s| space.hash(s)).collect();
            means.recover(&space, states, &hashes, judge)?;
            let one = |(state, image): (&CrashState, &_)| {
                let seen = means.memo.get(*image)?;
                let violation = judge.check_seen(state.first, state.last, seen, means.memo.dump_of(seen))?;
                Some(Case { state: state.clone(), image: *image, violation, order: ordered.index })
            };
            Ok::<_, PoolError>(states.iter().zip(&hashes).map(one).collect())
        };
        let (case, first) = match cluster.case.violation.class {
            // Every state that hangs costs the whole limit, twice.
            Class::RecoveryHang => (cluster.case.clone(), cluster.case),
            _ => {
                let case = local_minimum(&space, cluster.case, &mut judge_all);
                // What went wrong may have begun in an earlier phase: how is told by the smallest case of the whole run.
                let whole = Space::new(ordered.trace, ordered.effects, self.search.model, self.search.assume);
                let first = local_minimum(&whole, case.clone(), &mut judge_all);
                (case, first)
            }
        };
        let (trace, effects, names) = (ordered.trace, ordered.effects, ordered.names);
        let mechanism = mechanism(trace, self.history, effects, names, &first.state, &first.violation);
        let mechanism = self.kin.name(case.violation.class, mechanism);
        Cluster { mechanism, case, states: cluster.states }
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
        let space = self.space(ordered, phase);
        let case = cluster.case;
        let (mut story, mut repro) = (Story::default(), None);
        if let Some(seen) = means.memo.get(case.image) {
            let subject = Subject {
                trace: ordered.trace,
                effects: ordered.effects,
                judge,
                state: &case.state,
                violation: &case.violation,
                seen,
                dump: means.memo.dump_of(seen),
            };
            story = tell(&subject);
            let image = || space.image(&case.state);
            repro = self.search.repro_dir.and_then(|dir| {
                let repro = repro_of(self.search, &subject, phase, &cluster.mechanism, image(), &story);
                let saved = repro.save(dir);
                saved
                    .map_err(|e| notes.push(Blind { what: "a repro file".into(), detail: e.to_string() }))
                    .ok()
            });
        }
        let (violation, mechanism) = (case.violation, cluster.mechanism);
        Finding { violation, states: cluster.states, mechanism, story, repro }
    }

    fn cell(&self, index: usize, findings: Vec<Finding>, bite: Bite, elapsed: Duration) -> CellResult {
        let run = &self.phases[index];
        let meta = &self.search.trace.meta;
        let mut not_measured = [self.blind.as_slice(), run.blind.as_slice()].concat();
        let mut blind = |what: &str, detail: &str| {
            not_measured.push(Blind { what: what.to_string(), detail: detail.to_string() });
        };
        if run.incomplete {
            blind("later starts", "a second or third start on an image was not seen");
        }
        if run.states == 0 && self.blind.is_empty() && run.blind.is_empty() {
            blind("no crash state", "no state that was tried lies in this phase: raise the budget");
        }
        let teeth = match bite {
            Bite::Teeth(teeth) => teeth,
            Bite::NothingToBreak => {
                blind("nothing was promised", "no operation of this phase could be lost or made up");
                Teeth::NotNeeded
            }
        };
        let verdict = verdict(!findings.is_empty(), !not_measured.is_empty(), &teeth);
        CellResult {
            target: self.search.target.name(),
            policy: Policy::of(&self.search.contract).name().to_string(),
            phase: run.phase.name.clone(),
            model: self.search.model.name().to_string(),
            seed: meta.seed,
            operations: self.history.operations.len() as u64,
            events: self.search.trace.events.len() as u64,
            crash_points: run.crash_points,
            legal_states: run.count.clone(),
            states_checked: run.states,
            images_recovered: run.images.len() as u64,
            exhaustive: run.exhaustive,
            deviation_bound: run.bound,
            worst_loss: run.worst_loss,
            verdict,
            findings,
            not_measured,
            teeth,
            faults: None,
            elapsed,
        }
    }
}

/// How many states of a sabotaged trace are tried: a sabotage that bites shows among the first.
const SABOTAGE_BUDGET: u64 = 20_000;
/// How many states are tried with content that nobody wrote: the judge refuses it at once or never.
const IMPOSTOR_BUDGET: u64 = 64;
