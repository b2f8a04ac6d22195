//! Recovery as a tree: a recovery writes, and power may be lost while it does.
//!
//! The target is started on an image once more, this time under the recorder. What its recovery writes is a trace
//! like any other, on a disk that holds the image: its crash states are enumerated under the same model, recovered
//! by the same workers and judged by the same contract, for nobody was promised anything in the meantime.

use super::crashed::{Branch, Crashed, Nested, simplest};
use super::keep::repro_of;
use super::memo::Memo;
use super::onward::{Later, Recovery, write_on};
use super::phases::Ordered;
use super::roots::{Root, Roots};
use super::run::{Run, with_names};
use super::sweep::{Means, sweep};
use crate::cell::{AFTER_RECOVERY, DURING_RECOVERY, Finding, Recoveries, Story};
use crate::cluster::{Cluster, Clusters, Kin};
use crate::judge::{First, Judge};
use crate::pool::PoolError;
use crate::record::RecordError;
use crate::repro::Repro;
use crate::story::{Subject, tell};
use crate::target::Target;
use crate::verdict::Class;
use crate::worker::scratch::Scratch;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use unplug_faults::effect::{Effects, Orders};
use unplug_faults::image::{LayOut, SharedImage};
use unplug_faults::state::{Plan, Space};
use unplug_faults::trace::{Blind, Trace};

/// How many states of one recovery are tried.
const STATES_EACH: u64 = 256;
/// How many states of one recovery have recoveries that are written to, and crashed in their turn.
const BRANCHES: usize = 2;

/// How many images of a phase have their recovery crashed, where so many states are tried.
pub(super) fn most_roots(budget: u64) -> usize {
    (budget / 4000).clamp(6, 32) as usize
}

/// What came of recording a recovery.
#[derive(Clone, Debug)]
pub(super) enum Recorded {
    /// What it did, and what was written after it.
    Came(Arc<Recovery>),
    /// It did not come to its end: what that means was judged where it was started for its content.
    Refused,
}

/// The crashes of recoveries of one phase.
pub(super) struct Tree<'a, 'm> {
    run: &'a Run<'a>,
    judge: &'a Judge,
    means: &'a mut Means<'m>,
    pub(super) done: Recoveries,
    pub(super) blind: Vec<Blind>,
    /// By mechanism, whatever class it shows itself as: nobody was promised anything in the meantime, so that a mistake
    /// of recovery may cost anything.
    found: BTreeMap<String, Nested>,
    kin: Kin,
    /// What shows only when a recovered store is written to.
    later: Vec<Later>,
    /// Which mechanism cases that look like this turned out to show, and from how simple a beginning.
    known: BTreeMap<(Class, String), (String, (usize, u8))>,
}

impl<'a, 'm> Tree<'a, 'm> {
    pub(super) fn new(run: &'a Run<'a>, judge: &'a Judge, means: &'a mut Means<'m>) -> Self {
        Tree {
            run,
            judge,
            means,
            done: Recoveries::default(),
            blind: Vec::new(),
            found: BTreeMap::new(),
            kin: run.kin.clone(),
            later: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    /// Crashes the recoveries of these states' images, and the recoveries from that, to this depth. All of them are
    /// written to, and some of those behind the last crash as well.
    pub(super) fn grow(&mut self, all: &[Ordered<'_>], index: usize, roots: &[Root], depth: u8) {
        assert!(depth > 0, "without a crash there is no tree");
        let mut level: Vec<Branch<'_>> = Vec::new();
        for root in roots {
            let space = self.run.space(&all[root.order], self.run.phase(index));
            let image = space.shared_image(&root.state);
            level.push(Branch { root, image, hash: root.image, path: Vec::new(), between: Vec::new() });
        }
        for crashes in 0..=depth {
            let mut next = Vec::new();
            for branch in level {
                if self.means.cancel.load(Ordering::Relaxed) {
                    self.unclear("interrupted".into());
                    return;
                }
                let Some(recovery) = self.came(&branch) else { continue };
                self.written_to(&branch, &recovery, index);
                if crashes < depth {
                    self.crash(&branch, &recovery.alone, &mut next);
                }
            }
            level = next;
            self.done.depth = crashes.saturating_add(1).min(depth);
        }
    }

    /// The recovery of this image, if it could be recorded to its end.
    fn came(&mut self, branch: &Branch<'_>) -> Option<Arc<Recovery>> {
        match self.recording(branch) {
            Ok(Recorded::Came(recovery)) => return Some(recovery),
            Ok(Recorded::Refused) => {
                self.done.refused += 1;
                self.unclear(
                    "a recovery that had gone well did not come to its end when it was recorded".into(),
                );
            }
            Err(why) => self.unclear(why),
        }
        None
    }

    fn unclear(&mut self, detail: String) {
        self.blind.push(Blind { what: "a crash during recovery".into(), detail });
    }

    /// The recovery of this image, recorded now or before.
    fn recording(&mut self, branch: &Branch<'_>) -> Result<Recorded, String> {
        self.done.recorded += 1;
        if let Some(known) = self.means.memo.recovery(branch.hash) {
            return Ok(known.clone());
        }
        let recorded = match record(self.run.search.target, &branch.image) {
            Ok(trace) => match trace.blind.first() {
                Some(blind) => return Err(format!("{}: {}", blind.what, blind.detail)),
                None => Recorded::Came(Arc::new(Recovery::of(trace))),
            },
            Err(RecordError::DiedAtStart { .. } | RecordError::Store { .. }) => Recorded::Refused,
            Err(other) => return Err(other.to_string()),
        };
        self.means.memo.note_recovery(branch.hash, recorded.clone());
        Ok(recorded)
    }

    /// Loses power after a recovery, too, while the store is written to.
    fn written_to(&mut self, branch: &Branch<'_>, recovery: &Recovery, index: usize) {
        let Some(written) = recovery.written.as_ref() else { return };
        let at = (self.run.search, self.run.phase(index));
        let found = write_on(at, (self.means, &mut self.kin), self.judge, branch, written);
        self.done.written += 1;
        self.done.states += found.states;
        self.done.images += found.images;
        self.blind.extend(found.blind);
        for later in found.found {
            match self.later.iter_mut().find(|known| known.how == later.how) {
                Some(known) => known.join(later),
                None => self.later.push(later),
            }
        }
    }

    /// Crashes one recovery everywhere.
    fn crash<'r>(&mut self, branch: &Branch<'r>, trace: &Trace, next: &mut Vec<Branch<'r>>) {
        self.done.crashed += 1;
        if Effects::of(trace).list.is_empty() {
            self.done.quiet += 1;
            return;
        }
        let orders = Orders::of(trace);
        if let Some(blind) = &orders.blind {
            self.unclear(format!("{}: {}", blind.what, blind.detail));
        }
        let share = STATES_EACH / orders.traces.len().max(1) as u64;
        for trace in &orders.traces {
            let (effects, names) = with_names(self.run.search.model, trace);
            let search = self.run.search;
            let space = Space::new(trace, &effects, search.model, search.assume);
            let plan = Plan { budget: share, ..search.plan.clone() };
            let crashed = Crashed { trace, effects: &effects, names: &names, space: &space };
            self.crash_order(branch, &crashed, &plan, next);
        }
    }

    fn crash_order<'r>(
        &mut self,
        branch: &Branch<'r>,
        crashed: &Crashed<'_>,
        plan: &Plan,
        next: &mut Vec<Branch<'r>>,
    ) {
        let Tree { judge, means, done, blind, .. } = self;
        let (first, last) = (branch.root.state.first, branch.root.state.last);
        let known = means.memo.recovered();
        let mut branches = Roots::at_most(BRANCHES);
        let mut clusters = Clusters::default();
        let swept = sweep(means, crashed.space, plan, judge, &mut |state, hash, seen, memo| {
            match judge.check_seen(first, last, seen, memo.dump_of(seen)) {
                Some(violation) => {
                    let case = crashed.case(state, hash, violation);
                    clusters.add(crashed.sketch(&case), case);
                }
                None if hash != branch.hash && matches!(seen.first, First::Holds(_)) => {
                    branches.offer(0, hash, state, 0);
                }
                None => {}
            }
            ControlFlow::Continue(())
        });
        done.states += swept.states;
        done.images += (means.memo.recovered() - known) as u64;
        // What was found before is found.
        if let Some(error) = swept.error {
            let detail = if matches!(error, PoolError::Interrupted) {
                "interrupted".into()
            } else {
                error.to_string()
            };
            blind.push(Blind { what: "a crash during recovery".into(), detail });
        }
        let candidates = branches.candidates();
        let chosen = branches.chosen();
        done.left_out += candidates - chosen.len() as u64;
        next.extend(chosen.into_iter().map(|chosen| Branch {
            root: branch.root,
            image: crashed.space.shared_image(&chosen.state),
            hash: chosen.image,
            path: crashed.path(branch, &chosen.state),
            between: crashed.between(branch, &chosen.state),
        }));
        clusters.into_sorted().into_iter().for_each(|cluster| self.note(branch, crashed, cluster));
    }

    /// Makes a case small, unless its like was made small from a beginning as simple, and notes it by its mechanism.
    fn note(&mut self, branch: &Branch<'_>, crashed: &Crashed<'_>, cluster: Cluster) {
        let looks = (cluster.case.violation.class, cluster.mechanism);
        let from = branch.simplicity();
        if let Some((how, _)) = self.known.get(&looks).filter(|(_, simplest)| *simplest <= from)
            && let Some(nested) = self.found.get_mut(how)
        {
            nested.states += cluster.states;
            return;
        }
        let case = simplest(self.means, self.judge, branch, crashed, cluster.case);
        let class = case.violation.class;
        let how = self.kin.name(class, crashed.mechanism(&case));
        self.known.insert(looks, (how.clone(), from));
        let Some(mut nested) = Nested::of(self.means, self.judge, branch, crashed, &case) else { return };
        nested.states = cluster.states;
        match self.found.get_mut(&how) {
            None => drop(self.found.insert(how, nested)),
            Some(known) => {
                nested.states += known.states;
                if nested.rank() < known.rank() {
                    *known = nested;
                } else {
                    known.states = nested.states;
                }
            }
        }
    }

    /// Adds one finding for each mechanism; a mistake that a single crash of this phase shows is that finding's.
    pub(super) fn findings(
        self,
        all: &[Ordered<'_>],
        index: usize,
        findings: &mut Vec<Finding>,
    ) -> (Recoveries, Vec<Blind>) {
        let Tree { run, judge, means, done, mut blind, mut found, later, .. } = self;
        for finding in findings.iter_mut() {
            finding.states += found.remove(&finding.mechanism).map_or(0, |nested| nested.states);
        }
        // Recovery does much of what a first start does: a mistake that another phase shows keeps its name.
        let named = |(how, nested)| match run.shown.contains(&how) {
            true => (how, nested),
            false => (format!("{DURING_RECOVERY}{how}"), nested),
        };
        let mut found: Vec<(String, Nested)> = found.into_iter().map(named).collect();
        found.sort_by(|(a, one), (b, other)| (one.violation.class, a).cmp(&(other.violation.class, b)));
        for (how, nested) in found {
            let ordered = &all[nested.root.order];
            let Some(seen) = means.memo.get(nested.hash) else { continue };
            let phase = run.phase(index);
            let space = run.space(ordered, phase);
            let subject = Subject {
                trace: ordered.trace,
                effects: ordered.effects,
                judge,
                space: &space,
                state: &nested.root.state,
                violation: &nested.violation,
                seen,
                dump: means.memo.dump_of(seen),
            };
            let mut story: Story = tell(&subject);
            story.disk.extend(nested.path);
            story.gap = nested.gap.or(story.gap);
            let repro = run.search.repro_dir.and_then(|dir| {
                let repro = repro_of(run.search, &subject, phase, &how, nested.image.image(), &story);
                Repro { between: nested.between, ..repro }
                    .save(dir)
                    .map_err(|e| blind.push(Blind { what: "a repro file".into(), detail: e.to_string() }))
                    .ok()
            });
            let (violation, states) = (nested.violation, nested.states);
            let also = seen.besides(violation.class).into_iter().collect();
            findings.push(Finding { violation, states, mechanism: how, also, story, repro });
        }
        for later in later {
            let during = format!("{DURING_RECOVERY}{}", later.how);
            if let Some(known) =
                findings.iter_mut().find(|f| f.mechanism == later.how || f.mechanism == during)
            {
                known.states += later.states;
                continue;
            }
            let shown = run.shown.contains(&later.how);
            let how = if shown { later.how.clone() } else { format!("{AFTER_RECOVERY}{}", later.how) };
            findings.push(later.finding(how, run.search.repro_dir, &mut blind));
        }
        (done, blind)
    }
}

/// Starts the target on the image and records what it does until it is ready, when it is killed.
fn record(target: &dyn Target, image: &SharedImage) -> Result<Trace, RecordError> {
    let base = std::path::Path::new("");
    let scratch = Scratch::new().map_err(RecordError::io("cannot make a directory beside", base))?;
    let dir = scratch.path().join("data");
    std::fs::create_dir(&dir).map_err(RecordError::io("cannot make the directory", &dir))?;
    let laid = LayOut::new(&dir).lay(image).map_err(std::io::Error::from);
    laid.map_err(RecordError::io("cannot lay out an image in", &dir))?;
    target.record_recovery(&dir)
}

/// Whether a recorded recovery is small enough to be kept for the other models.
pub(super) fn worth_keeping(memo: &Memo, recorded: &Recorded) -> bool {
    const MOST: usize = 1024;
    const MOST_BYTES: usize = 256 << 10;
    let bytes = match recorded {
        Recorded::Came(recovery) => recovery.alone.base.iter().map(|node| node.data.len()).sum(),
        Recorded::Refused => 0,
    };
    memo.recoveries() < MOST && bytes <= MOST_BYTES
}
