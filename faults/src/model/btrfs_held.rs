//! What is on the disk together with a log of btrfs.

use crate::effect::EffectId;
use crate::model::graph::Grain;

/// So many of the effects that came along are named for each one, the latest: leaving some out allows more.
pub(crate) const MOST: usize = 16;

/// Effects of names and shapes that are there when a log is, ascending.
#[derive(Clone)]
pub(crate) struct Held {
    /// All of them.
    pub(crate) all: Vec<u32>,
    /// Those of them of which the new name may be there alone.
    pub(crate) names: Vec<u32>,
}

impl Held {
    /// The latest of those that are wanted, and how much of each is there.
    pub(crate) fn latest(
        &self,
        wanted: impl Fn(EffectId) -> bool,
    ) -> impl Iterator<Item = (EffectId, Grain)> {
        let near = self.all.iter().rev().filter(move |on| wanted(EffectId(**on)));
        near.take(MOST).map(|on| {
            let in_part = self.names.binary_search(on).is_ok();
            (EffectId(*on), if in_part { Grain::Sectors } else { Grain::Whole })
        })
    }

    /// What is there of both.
    pub(crate) fn meet(&mut self, other: &Held) {
        self.all.retain(|on| other.all.binary_search(on).is_ok());
        self.names.extend_from_slice(&other.names);
        self.names.sort_unstable();
        self.names.dedup();
    }

    /// What of it stands before an effect, as far as it is of use.
    pub(crate) fn before(&self, id: u32) -> Held {
        let all = &self.all[..self.all.partition_point(|on| *on < id)];
        Held { all: all[all.len().saturating_sub(4 * MOST)..].to_vec(), names: self.names.clone() }
    }
}
