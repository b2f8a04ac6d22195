//! One exploration from beginning to end: sweep, teeth, findings, cells.

use super::bite::{Bite, broken_off, verdict};
use super::hearing::Hearing;
use super::keep::repro_of;
use super::memo::Memo;
use super::phases::{Ordered, PhaseRun};
use super::roots::Roots;
use super::search::Search;
use super::sweep::{Means, Progress, sweep};
use super::tree::{Tree, most_roots};
use crate::cell::{CellResult, Finding, Recoveries, Saved, Story, Teeth};
use crate::cluster::{Case, Cluster, Clusters, Kin, mechanism};
use crate::contract::Contract;
use crate::history::{History, Phase};
use crate::judge::Judge;
use crate::minimise::{Scope, local_minimum};
use crate::pool::{Pool, PoolError};
use crate::story::{Subject, tell};
use crate::target::Target;
use crate::target::policy::Policy;
use crate::verdict::Class;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use unplug_faults::effect::{Effects, Names};
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

/// As [`explore`], with a memo that is shared by the models of one trace, or by many runs of one target, and with repro
/// files.
pub fn explore_sharing(
    search: &Search<'_>,
    memo: &mut Memo,
    pool: &mut dyn Pool,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
) -> Vec<CellResult> {
    explore_with(search, &Hearing::of(search), memo, pool, progress, cancel, WITH_TEETH)
}

/// As [`explore_sharing`], but of the last phase only; without teeth the cell cannot hold.
pub fn explore_last(
    search: &Search<'_>,
    hearing: &Hearing,
    memo: &mut Memo,
    pool: &mut dyn Pool,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
    teeth: TeethCheck,
) -> Option<CellResult> {
    explore_with(search, hearing, memo, pool, progress, cancel, How { teeth, depth: 0, last_only: true })
        .pop()
}

/// As [`explore_sharing`], and power is lost during recoveries, too: to `depth` 1 during those of the run's crash
/// states, to 2 also during the recoveries from that.
pub fn explore_deep(
    search: &Search<'_>,
    depth: u8,
    memo: &mut Memo,
    pool: &mut dyn Pool,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
) -> Vec<CellResult> {
    explore_with(search, &Hearing::of(search), memo, pool, progress, cancel, How { depth, ..WITH_TEETH })
}

/// Whether what a sweep would not find is asked, and how closely. Without teeth no cell can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TeethCheck {
    /// It is not.
    Skipped,
    /// A sabotage must be found. To be found as a lost prefix or as a recovery that breaks is cheap to know; all else is
    /// `silent-corruption`: which mistake explains a state takes longer than to find it, and for a cell of a thousand runs
    /// it is worth knowing once.
    Found,
    /// A sabotage must be found, and is given the class that a violation of its kind would have.
    Classed,
}

/// What is done besides the sweep.
#[derive(Clone, Copy)]
pub(super) struct How {
    pub(super) teeth: TeethCheck,
    /// How deep recoveries are crashed.
    pub(super) depth: u8,
    /// The last phase only.
    pub(super) last_only: bool,
}

/// The sweep and its teeth.
const WITH_TEETH: How = How { teeth: TeethCheck::Classed, depth: 0, last_only: false };

/// As [`explore_sharing`].
pub(super) fn explore_with(
    search: &Search<'_>,
    hearing: &Hearing,
    memo: &mut Memo,
    pool: &mut dyn Pool,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
    how: How,
) -> Vec<CellResult> {
    let started = Instant::now();
    let mut run = Run::new(search, &hearing.history, how);
    let first = if how.last_only { run.phases.len().saturating_sub(1) } else { 0 };
    // What the recorder could not follow makes every result of it unsound: nothing is explored.
    let judge = match hearing.sound(search) {
        Ok(judge) => judge,
        Err(reasons) => {
            run.blind = reasons;
            let cell = |i| run.cell(i, Vec::new(), Bite::Teeth(Teeth::NotNeeded), started.elapsed());
            return (first..run.phases.len()).map(cell).collect();
        }
    };
    let orders = &hearing.orders;
    memo.open(judge);
    let mut means = Means::new(memo, pool, progress, cancel).sparing(search.target.notes_reads());
    means.told.budget = search.plan.budget * run.phases.len() as u64;
    let derived: Vec<(Effects, Names)> =
        orders.traces.iter().map(|trace| with_names(search.model, trace)).collect();
    let pairs = orders.traces.iter().zip(&derived).enumerate();
    let all: Vec<Ordered<'_>> =
        pairs.map(|(index, (trace, (effects, names)))| Ordered { trace, effects, names, index }).collect();
    let mut cells = Vec::with_capacity(run.phases.len());
    for index in first..run.phases.len() {
        let begun = Instant::now();
        let scene = Scene { all: &all, judge, index };
        run.sweep_phase(&mut means, scene);
        means.counting = false;
        let bite = match how.teeth {
            TeethCheck::Skipped => Bite::Teeth(Teeth::NotNeeded),
            TeethCheck::Found | TeethCheck::Classed => run.teeth(&mut means, judge, index),
        };
        means.counting = true;
        let mut findings = run.findings(&mut means, scene);
        run.shown.extend(findings.iter().map(|f| f.mechanism.clone()));
        run.crash_recoveries(&mut means, scene, &mut findings);
        cells.push(run.cell(index, findings, bite, begun.elapsed()));
    }
    cells
}

pub(super) fn with_names(model: &dyn Model, trace: &Trace) -> (Effects, Names) {
    let effects = model.effects(trace);
    let names = Names::of(trace, &effects);
    (effects, names)
}

/// One phase of a run, in all orders of its overlapping calls, and who judges it.
#[derive(Clone, Copy)]
struct Scene<'s> {
    all: &'s [Ordered<'s>],
    judge: &'s Judge,
    index: usize,
}

pub(super) struct Run<'a> {
    pub(super) search: &'a Search<'a>,
    pub(super) how: How,
    history: &'a History,
    pub(super) phases: Vec<PhaseRun>,
    /// Why nothing of the run is measured.
    blind: Vec<Blind>,
    /// Which mechanisms are one mistake, in whatever phase they show.
    pub(super) kin: Kin,
    /// Mechanisms that show without a crash during recovery.
    pub(super) shown: BTreeSet<String>,
}

impl<'a> Run<'a> {
    fn new(search: &'a Search<'a>, history: &'a History, how: How) -> Self {
        let phases = history.phases.iter().cloned().map(PhaseRun::new).collect();
        let (kin, shown) = (Kin::default(), BTreeSet::new());
        Run { search, how, history, phases, blind: Vec::new(), kin, shown }
    }

    pub(super) fn phase(&self, index: usize) -> &Phase {
        &self.phases[index].phase
    }

    /// Loses power during some of the phase's recoveries, too, and adds what that shows to the findings of the phase.
    fn crash_recoveries(&mut self, means: &mut Means<'_>, scene: Scene<'_>, findings: &mut Vec<Finding>) {
        let Scene { all, judge, index } = scene;
        let roots = std::mem::take(&mut self.phases[index].roots);
        let candidates = roots.candidates();
        let roots = roots.chosen();
        if roots.is_empty() || !self.phases[index].blind.is_empty() {
            return;
        }
        means.counting = false;
        let mut tree = Tree::new(self, judge, means);
        tree.grow(all, index, &roots, self.how.depth);
        let (done, blind) = tree.findings(all, index, findings);
        means.counting = true;
        let left_out = done.left_out + candidates - roots.len() as u64;
        self.phases[index].recoveries = Recoveries { left_out, ..done };
        self.phases[index].blind.extend(blind);
    }

    /// The crash states of one phase.
    pub(super) fn space<'t>(&self, ordered: &Ordered<'t>, phase: &Phase) -> Space<'t> {
        let space = Space::new(ordered.trace, ordered.effects, self.search.model, self.search.assume);
        space.within(phase.begin..=phase.end)
    }

    /// Sweeps over one phase, in all orders of overlapping calls; they share the budget.
    fn sweep_phase(&mut self, means: &mut Means<'_>, Scene { all, judge, index }: Scene<'_>) {
        let mut run = PhaseRun::new(self.phases[index].phase.clone());
        let (mut left, mut complete) = (self.search.plan.budget, true);
        run.bound = self.search.plan.bound;
        run.roots = Roots::at_most(if self.how.depth > 0 { most_roots(self.search.plan.budget) } else { 0 });
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
                run.visit(ordered, judge, memo, (state, image, seen));
                ControlFlow::Continue(())
            });
            left -= swept.states.min(left);
            run.bound = run.bound.min(swept.bound);
            complete &= swept.exhaustive;
            if let Some(error) = swept.error {
                run.blind.push(broken_off(&error));
                complete = false;
                break;
            }
        }
        run.exhaustive = complete;
        self.phases[index] = run;
    }

    /// Minimises each cluster of a phase and tells it.
    fn findings(&mut self, means: &mut Means<'_>, scene: Scene<'_>) -> Vec<Finding> {
        let index = scene.index;
        let clusters = std::mem::take(&mut self.phases[index].clusters).into_sorted();
        let phase = self.phases[index].phase.clone();
        let mut notes = Vec::new();
        // Made small, cases that looked different often are one and the same.
        let mut small = Clusters::default();
        for cluster in clusters {
            small.merge(self.simplest(means, scene, &phase, cluster));
        }
        small.join_later_starts();
        let tell = |c| self.finding(means, scene, &phase, c, &mut notes);
        let findings = small.into_sorted().into_iter().map(tell).collect();
        self.phases[index].blind.extend(notes);
        findings
    }

    /// The cluster with its simplest case, and by the mechanism that this shows.
    fn simplest(
        &mut self,
        means: &mut Means<'_>,
        Scene { all, judge, .. }: Scene<'_>,
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
                let case = local_minimum(&space, cluster.case, Scope::Run, &mut judge_all);
                // What went wrong may have begun in an earlier phase: how is told by the smallest case of the whole run.
                let whole = Space::new(ordered.trace, ordered.effects, self.search.model, self.search.assume);
                let first = local_minimum(&whole, case.clone(), Scope::Run, &mut judge_all);
                (case, first)
            }
        };
        let (trace, effects, names) = (ordered.trace, ordered.effects, ordered.names);
        let mechanism = mechanism(trace, self.history, effects, names, &first.state, &first.violation);
        let mechanism = self.kin.name(case.violation.class, mechanism);
        let seen = means.memo.get(case.image);
        let also = seen.and_then(|seen| seen.besides(case.violation.class)).into_iter().collect();
        Cluster { mechanism, case, states: cluster.states, also }
    }

    fn finding(
        &self,
        means: &mut Means<'_>,
        Scene { all, judge, .. }: Scene<'_>,
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
                space: &space,
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
        let Cluster { mechanism, states, also, .. } = cluster;
        Finding { violation: case.violation, states, mechanism, also, story, repro }
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
            Bite::NotAmongThose => {
                blind("teeth", "a sabotage shows in none of the states that were tried: raise the budget");
                Teeth::NotNeeded
            }
        };
        let verdict = verdict(!findings.is_empty(), !not_measured.is_empty(), &teeth);
        CellResult {
            target: self.search.target.name(),
            policy: Policy::of(&self.search.contract).name().to_string(),
            variant: None,
            phase: run.phase.name.clone(),
            model: self.search.model.name().to_string(),
            seed: meta.seed,
            operations: self.history.operations.len() as u64,
            events: self.search.trace.events.len() as u64,
            crash_points: run.crash_points,
            legal_states: run.count.clone(),
            states_checked: run.states,
            images_recovered: run.images.len() as u64 - run.saved.unread,
            saved: Saved { equal_images: run.states - run.images.len() as u64, ..run.saved },
            exhaustive: run.exhaustive,
            deviation_bound: run.bound,
            worst_loss: run.worst_loss,
            verdict,
            findings,
            not_measured,
            teeth,
            faults: None,
            recoveries: run.recoveries,
            elapsed,
        }
    }
}
