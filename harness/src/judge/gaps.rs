//! States in which several operations are missing here and there, worked out key by key.

use super::court::Judge;
use crate::dump::{Digest, Dump, Entry};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

/// Of so many changes of one key, the latest, each may be missing or not.
const MOST_CHANGES: usize = 9;

/// Which of one key's changes give a value: asked for by many states that share it.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<Asked, Option<Vec<bool>>>>);

/// A key, its value's digest, and the step up to which changes count.
type Asked = (Vec<u8>, u128, usize);

impl Judge {
    /// The steps of the order that are missing in a state, oldest first, where leaving them out, and everything behind
    /// the newest that is there, gives the state. `None` where no such steps are found.
    pub(super) fn several_gaps(&self, dump: &Dump, may: usize) -> Option<Vec<usize>> {
        let versions = self.versions();
        let alive = |e: &&Entry| e.expires_at_ms.is_none_or(|t| t > self.now_ms);
        let keys: BTreeSet<&Vec<u8>> = versions.keys().chain(dump.0.keys()).collect();
        let (mut there, mut gone) = (BTreeSet::new(), BTreeSet::new());
        for key in keys {
            let steps = versions.changes(key, may);
            let kept = self.kept(key, dump.0.get(key).filter(alive), &steps)?;
            for (step, kept) in steps.iter().zip(kept) {
                if kept {
                    there.insert(*step)
                } else {
                    gone.insert(*step)
                };
            }
        }
        let newest = *there.last()?;
        let missing: Vec<usize> = gone.into_iter().filter(|step| *step < newest).collect();
        // An operation on several keys is there or not; and what was taken key by key must hold for the whole.
        if missing.is_empty() || missing.iter().any(|step| there.contains(step)) {
            return None;
        }
        let mut model = self.oracle.fork();
        for (k, step) in self.orders.path[..=newest].iter().enumerate() {
            if step.applied && missing.binary_search(&k).is_err() {
                self.apply(model.as_mut(), *step);
            }
        }
        (model.digest(self.now_ms) == dump.digest(self.now_ms)).then_some(missing)
    }

    /// Which of a key's changes are there, if some of them give this value: rather the first ones than others, rather
    /// many than few.
    fn kept(&self, key: &[u8], value: Option<&Entry>, steps: &[usize]) -> Option<Vec<bool>> {
        let identity = value.map_or(0, |v| v.identity(key));
        let asked = (key.to_vec(), identity, steps.len());
        let known = |k: &Known| k.0.lock().unwrap_or_else(PoisonError::into_inner).get(&asked).cloned();
        if let Some(kept) = known(&self.gaps) {
            return kept;
        }
        let gives = |kept: &Vec<bool>| {
            let mut model = self.oracle.fork();
            for (step, _) in steps.iter().zip(kept).filter(|(_, kept)| **kept) {
                self.apply(model.as_mut(), self.orders.path[*step]);
            }
            let held = model.dump();
            let held = held.0.get(key).filter(|e| e.expires_at_ms.is_none_or(|t| t > self.now_ms));
            held.map_or(Digest(0), |e| Digest(e.identity(key))) == Digest(identity)
        };
        let n = steps.len();
        let first = (0..=n).rev().map(|count| (0..n).map(|i| i < count).collect::<Vec<bool>>());
        let free = n.min(MOST_CHANGES);
        let mut sets: Vec<u32> = (0..1u32 << free).collect();
        sets.sort_by_key(|missing| missing.count_ones());
        let of = |missing: u32| {
            (0..n).map(|i| i < n - free || missing & 1 << (i - (n - free)) == 0).collect::<Vec<bool>>()
        };
        let kept = first.chain(sets.into_iter().map(of)).find(gives);
        self.gaps.0.lock().unwrap_or_else(PoisonError::into_inner).insert(asked, kept.clone());
        kept
    }
}
