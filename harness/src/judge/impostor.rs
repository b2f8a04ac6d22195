//! Content that a correct target could never come back with, for the teeth check where nothing that was promised
//! can be taken away.

use super::allowed::{Allowed, issued};
use super::court::Judge;
use super::seen::{First, Seen};
use crate::contract::Contract;
use crate::dump::{Digest, Dump, Entry};
use crate::verdict::Class;
use unplug_faults::event::Clock;

/// The sabotage of [`Judge::refuses_live`].
pub const LIVE: &str = "live content in place of a snapshot's";
/// The sabotage of [`Judge::refuses_foreign`].
pub const FOREIGN: &str = "a key that nobody wrote";

impl Judge {
    /// Whether the other judge allows something else between two crash points: where it does not, no state there
    /// can tell the two apart.
    pub fn differs_within(&self, other: &Judge, begin: Clock, end: Clock) -> bool {
        let allows = |a: &Allowed, digest: &Digest| {
            let there = |i: &super::allowed::Interval| i.from <= i.to && i.from <= end && i.to >= begin;
            a.by_digest.get(digest).is_some_and(|list| list.iter().any(there))
        };
        self.allowed.by_digest.keys().any(|d| allows(&self.allowed, d) && !allows(&other.allowed, d))
    }

    /// How this judge refuses the newest content that clients saw up to `last`, come back from a disk that was
    /// given snapshots only. `None`: it does not, or a snapshot holds that content.
    pub fn refuses_live(&self, first: Clock, last: Clock) -> Option<Class> {
        if self.contract != Contract::Snapshot {
            return None;
        }
        let orders = &self.at(last).orders;
        let live = orders.path_nodes.iter().rev().find(|n| {
            issued(&self.history, orders, **n) <= last
                && !self.allowed.by_digest.contains_key(&orders.nodes[**n].digest)
        })?;
        self.refuses(first, last, orders.nodes[*live].digest)
    }

    /// How this judge refuses what came back with one more key in it.
    pub fn refuses_foreign(&self, first: Clock, last: Clock, came_back: &Dump) -> Option<Class> {
        let mut dump = came_back.clone();
        dump.0.insert(
            b"unplug: nobody wrote this".to_vec(),
            Entry { value: b"1".to_vec(), expires_at_ms: None },
        );
        self.refuses(first, last, dump.digest(self.now_ms))
    }

    fn refuses(&self, first: Clock, last: Clock, digest: Digest) -> Option<Class> {
        let seen = Seen { first: First::Holds(digest), others: Vec::new(), across: None, complete: true };
        self.forbids(first, last, &seen)
    }
}
