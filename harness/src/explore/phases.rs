//! What is known of each phase while an exploration goes on.

use super::memo::{Memo, Spared};
use super::roots::Roots;
use crate::cell::{Recoveries, Saved};
use crate::cluster::{Case, Clusters, sketch};
use crate::history::Phase;
use crate::judge::{Judge, Seen};
use num_bigint::BigUint;
use std::collections::HashSet;
use unplug_faults::effect::{Effects, Names};
use unplug_faults::image::ImageHash;
use unplug_faults::model::Count;
use unplug_faults::state::CrashState;
use unplug_faults::trace::{Blind, Trace};

/// How many violating states of one phase are told apart by mechanism; the rest is only counted.
const MOST_TOLD_APART: u64 = 20_000;

/// One phase's part of an exploration.
pub(super) struct PhaseRun {
    pub(super) phase: Phase,
    pub(super) states: u64,
    pub(super) count: Count,
    pub(super) crash_points: u64,
    pub(super) exhaustive: bool,
    pub(super) bound: u8,
    /// Why it is not measured.
    pub(super) blind: Vec<Blind>,
    pub(super) images: HashSet<ImageHash>,
    pub(super) saved: Saved,
    pub(super) worst_loss: Option<u64>,
    pub(super) clusters: Clusters,
    pub(super) violating: u64,
    /// A later start of some image was not seen.
    pub(super) incomplete: bool,
    /// States whose recovery may be crashed.
    pub(super) roots: Roots,
    pub(super) recoveries: Recoveries,
}

/// One order of a trace's overlapping calls, with what is derived from it.
pub(super) struct Ordered<'t> {
    pub(super) trace: &'t Trace,
    pub(super) effects: &'t Effects,
    pub(super) names: &'t Names,
    pub(super) index: usize,
}

impl PhaseRun {
    pub(super) fn new(phase: Phase) -> Self {
        PhaseRun {
            phase,
            states: 0,
            count: Count { states: BigUint::ZERO, exact: false },
            crash_points: 0,
            exhaustive: false,
            bound: 0,
            blind: Vec::new(),
            images: HashSet::new(),
            saved: Saved::default(),
            worst_loss: None,
            clusters: Clusters::default(),
            violating: 0,
            incomplete: false,
            roots: Roots::default(),
            recoveries: Recoveries::default(),
        }
    }

    /// Judges one state in this phase.
    pub(super) fn visit(
        &mut self,
        ordered: &Ordered<'_>,
        judge: &Judge,
        memo: &Memo,
        (state, image, seen): (&CrashState, ImageHash, &Seen),
    ) {
        // The space is cut to the phase, and so is the state's interval.
        let (first, last) = (state.first, state.last);
        self.states += 1;
        if self.images.insert(image) {
            match memo.spared(image) {
                Some(Spared::Recovery) => self.saved.unread += 1,
                Some(Spared::Start) => self.saved.starts += 1,
                None => {}
            }
        }
        self.incomplete |= !seen.complete;
        let loss = seen.readings().filter_map(|digest| judge.loss(digest, last)).min();
        self.worst_loss = self.worst_loss.max(loss);
        let Some(violation) = judge.check_seen(first, last, seen, memo.dump_of(seen)) else {
            self.roots.offer(memo.shape(image), image, state, ordered.index);
            return;
        };
        self.violating += 1;
        let how = if self.violating > MOST_TOLD_APART {
            "not told apart".to_string()
        } else {
            sketch(ordered.trace, judge.history(), ordered.effects, ordered.names, state, &violation)
        };
        self.clusters.add(how, Case { state: state.clone(), image, violation, order: ordered.index });
    }
}
