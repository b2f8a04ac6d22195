//! A recovery that is crashed: its violating states made small, and told.

use super::roots::Root;
use super::sweep::Means;
use crate::cluster::{Case, Mechanism, in_recovery};
use crate::judge::Judge;
use crate::minimise::{Scope, local_minimum};
use crate::pool::PoolError;
use crate::repro::{Between, cut};
use crate::story::{interesting_frame, outcome_of, sync_after};
use crate::verdict::{Class, Violation};
use unplug_faults::effect::{Effects, Names, Outcome};
use unplug_faults::image::{ImageHash, SharedImage};
use unplug_faults::state::{CrashState, Space};
use unplug_faults::trace::Trace;

/// How many of recovery's changes, and how many of those that are missing, a story tells.
const MOST_LINES: usize = 3;

/// An image whose recovery is to be crashed.
pub(super) struct Branch<'r> {
    /// The state of the run that it began with.
    pub(super) root: &'r Root,
    pub(super) image: SharedImage,
    pub(super) hash: ImageHash,
    /// The crashes on the way, as lines of a story.
    pub(super) path: Vec<String>,
    /// The same, as data.
    pub(super) between: Vec<Between>,
}

impl Branch<'_> {
    /// The fewest crashes, then the fewest deviations.
    pub(super) fn simplicity(&self) -> (usize, u8) {
        let deviations = self.between.iter().map(|b| b.state.deviations);
        (self.between.len(), deviations.fold(self.root.state.deviations, u8::saturating_add))
    }
}

/// A violation that needs a crash during recovery.
pub(super) struct Nested {
    pub(super) root: Root,
    pub(super) image: SharedImage,
    pub(super) hash: ImageHash,
    pub(super) violation: Violation,
    pub(super) path: Vec<String>,
    pub(super) between: Vec<Between>,
    pub(super) gap: Option<String>,
    pub(super) states: u64,
}

impl Nested {
    /// A case with what led to it. Its violation is told on the clock of the run, where the promises were made.
    pub(super) fn of(
        means: &Means<'_>,
        judge: &Judge,
        branch: &Branch<'_>,
        crashed: &Crashed<'_>,
        case: &Case,
    ) -> Option<Nested> {
        let mut violation = judged(means, judge, branch, case.image)?;
        violation.explanation = format!("power was lost again during recovery: {}", violation.explanation);
        Some(Nested {
            root: branch.root.clone(),
            image: crashed.space.shared_image(&case.state),
            hash: case.image,
            violation,
            path: crashed.path(branch, &case.state),
            between: crashed.between(branch, &case.state),
            gap: crashed.gap(&case.state),
            states: 1,
        })
    }

    /// The simplest first: the fewest crashes, the gravest class, the fewest deviations on the way, the earliest crash.
    pub(super) fn rank(&self) -> (usize, Class, u32, u32, u32) {
        let states = || std::iter::once(&self.root.state).chain(self.between.iter().map(|b| &b.state));
        let deviations = states().map(|s| u32::from(s.deviations)).sum();
        let last = self.between.last().map_or(0, |b| b.state.prefix);
        (self.between.len(), self.violation.class, deviations, last, self.root.state.prefix)
    }
}

/// How an image of a crashed recovery breaks what was promised before the first crash.
fn judged(means: &Means<'_>, judge: &Judge, branch: &Branch<'_>, image: ImageHash) -> Option<Violation> {
    let seen = means.memo.get(image)?;
    let (first, last) = (branch.root.state.first, branch.root.state.last);
    judge.check_seen(first, last, seen, means.memo.dump_of(seen))
}

/// The case made small: the fewest deviations, the earliest crash of the recovery.
pub(super) fn simplest(
    means: &mut Means<'_>,
    judge: &Judge,
    branch: &Branch<'_>,
    crashed: &Crashed<'_>,
    case: Case,
) -> Case {
    // Every state that hangs costs the whole limit, twice.
    if case.violation.class == Class::RecoveryHang {
        return case;
    }
    let space = crashed.space;
    local_minimum(space, case, Scope::Recovery, |states| {
        let hashes: Vec<_> = states.iter().map(|s| space.hash(s)).collect();
        means.recover(space, states, &hashes, judge)?;
        let one = |(state, image): (&CrashState, &ImageHash)| {
            let violation = judged(means, judge, branch, *image)?;
            Some(crashed.case(state, *image, violation))
        };
        Ok::<_, PoolError>(states.iter().zip(&hashes).map(one).collect())
    })
}

/// A recovery that is crashed.
pub(super) struct Crashed<'t> {
    pub(super) trace: &'t Trace,
    pub(super) effects: &'t Effects,
    pub(super) names: &'t Names,
    pub(super) space: &'t Space<'t>,
}

impl Crashed<'_> {
    /// A violating state on the clock of this recovery: the crash is the earliest at which the state is legal, for
    /// nothing is promised while it goes on.
    pub(super) fn case(&self, state: &CrashState, image: ImageHash, violation: Violation) -> Case {
        let violation = Violation { crash_point: state.first, operation: None, ..violation };
        Case { state: state.clone(), image, violation, order: 0 }
    }

    /// The mechanism of a case that was made small.
    pub(super) fn mechanism(&self, case: &Case) -> Mechanism {
        in_recovery(self.trace, self.effects, self.names, &case.state)
    }

    /// What tells cases apart before they are made small: the mechanism, and what is the first to be missing.
    pub(super) fn sketch(&self, case: &Case) -> String {
        let mut text = self.mechanism(case).text;
        if let Some(first) = self.odd(&case.state).first() {
            let effect = &self.effects.list[*first];
            let by = interesting_frame(self.trace, effect.event).unwrap_or_default();
            text.push_str(&format!("; without {} by {by}", self.names.describe(effect)));
        }
        text
    }

    /// The changes that recovery had made by the crash and that are not there whole.
    fn odd(&self, state: &CrashState) -> Vec<usize> {
        (0..self.issued(state)).filter(|i| outcome_of(state, *i) != Outcome::Whole).collect()
    }

    fn issued(&self, state: &CrashState) -> usize {
        self.effects.list.partition_point(|e| e.issued <= state.first)
    }

    /// The recording of this recovery and its crash, behind those that led to it.
    pub(super) fn between(&self, branch: &Branch<'_>, state: &CrashState) -> Vec<Between> {
        let mut between = branch.between.clone();
        between.push(Between { trace: cut(self.trace, state.first), state: state.clone() });
        between
    }

    /// How a crash state came about, for a story.
    pub(super) fn path(&self, branch: &Branch<'_>, state: &CrashState) -> Vec<String> {
        let (issued, odd) = (self.issued(state), self.odd(state));
        let mut path = branch.path.clone();
        let changes = if issued == 1 { "1 change" } else { &format!("{issued} changes") };
        path.push(format!("power is back, and the recovery that begins makes {changes}:"));
        path.extend((0..issued).take(MOST_LINES).map(|i| {
            let effect = &self.effects.list[i];
            let by =
                interesting_frame(self.trace, effect.event).map_or_else(String::new, |f| format!(" by {f}"));
            format!("recovery: {}{by}", self.names.describe(effect))
        }));
        if issued > MOST_LINES {
            path.push(format!("recovery: {} more changes", issued - MOST_LINES));
        }
        path.push(format!(
            "power is lost again, and of {changes} {} there whole",
            match issued - odd.len() {
                1 => "1 is".to_owned(),
                whole => format!("{whole} are"),
            }
        ));
        path.extend(odd.iter().take(MOST_LINES).map(|i| {
            let effect = &self.effects.list[*i];
            let how = match outcome_of(state, *i) {
                Outcome::Absent => "missing",
                Outcome::Zeros => "there as zeros",
                Outcome::Stale => "there with old bytes",
                _ => "there in part",
            };
            format!("{} of recovery: {how}", self.names.describe(effect))
        }));
        path
    }

    /// The change of recovery that leaves the damage, the last of which something is there, and the sync that did not
    /// come in time.
    fn gap(&self, state: &CrashState) -> Option<String> {
        let there = |i: &usize| outcome_of(state, *i) != Outcome::Absent;
        let last = (0..self.issued(state)).rev().find(there)?;
        let of_call = |i: &usize| self.effects.list[*i].event == self.effects.list[last].event;
        let culprit = self.odd(state).into_iter().find(|i| *i < last || of_call(i)).unwrap_or(last);
        let effect = &self.effects.list[culprit];
        let by = |event: u32| {
            interesting_frame(self.trace, event).map_or_else(String::new, |f| format!(" by {f}"))
        };
        let what = format!("recovery's {}{}", self.names.describe(effect), by(effect.event));
        Some(match sync_after(self.trace, self.names, effect) {
            (Some(sync), whose) => {
                let begin = self.trace.events[sync as usize].begin;
                format!("{what}: the sync of {whose}, begun at {begin}{}, had not returned", by(sync))
            }
            (None, whose) => format!("{what}: no sync of {whose} between it and the end of recovery"),
        })
    }
}
