//! Explaining a state key by key: which version of each key it holds.

use super::orders::Orders;
use crate::dump::{Dump, Entry};
use crate::history::History;
use crate::target::Oracle;
use crate::verdict::Class;
use std::collections::{BTreeMap, BTreeSet};

/// From which number of steps on a key held what.
type Version = (usize, Option<Entry>);

/// The versions of every key along one order.
pub(super) struct Versions(BTreeMap<Vec<u8>, Vec<Version>>);

/// What a state is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mixture {
    pub(super) class: Class,
    /// The steps of the order that are missing, oldest first (empty where content is wrong).
    pub(super) missing: Vec<usize>,
    /// The step that the oddest key points at.
    pub(super) step: Option<usize>,
    /// The key that shows it.
    pub(super) key: Vec<u8>,
}

fn alive(entry: Option<&Entry>, now_ms: u64) -> Option<&Entry> {
    entry.filter(|e| e.expires_at_ms.is_none_or(|t| t > now_ms))
}

impl Versions {
    /// Runs the order once and notes each change of each key.
    pub(super) fn of(history: &History, orders: &Orders, oracle: &dyn Oracle, now_ms: u64) -> Versions {
        let mut model = oracle.fork();
        let mut before = model.dump();
        let mut versions: BTreeMap<Vec<u8>, Vec<Version>> = BTreeMap::new();
        for (key, entry) in &before.0 {
            versions.entry(key.clone()).or_default().push((0, alive(Some(entry), now_ms).cloned()));
        }
        for (k, step) in orders.path.iter().enumerate() {
            if !step.applied {
                continue;
            }
            let o = &history.operations[step.operation];
            model.apply(&o.op, orders.reply(history, *step), history.wall_ms(o.invoked_at));
            if orders.nodes[orders.path_nodes[k]].digest == orders.nodes[orders.path_nodes[k + 1]].digest {
                continue;
            }
            let after = model.dump();
            let keys: BTreeSet<&Vec<u8>> = before.0.keys().chain(after.0.keys()).collect();
            for key in keys {
                let (old, new) = (alive(before.0.get(key), now_ms), alive(after.0.get(key), now_ms));
                if old != new {
                    let list = versions.entry(key.clone()).or_insert_with(|| vec![(0, None)]);
                    list.push((k + 1, new.cloned()));
                }
            }
            before = after;
        }
        Versions(versions)
    }

    /// Every key that ever held anything.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.0.keys()
    }

    /// The steps that changed a key, of the first `may`.
    pub(super) fn changes(&self, key: &[u8], may: usize) -> Vec<usize> {
        let versions = self.0.get(key).map_or(&[][..], Vec::as_slice);
        versions.iter().filter(|(from, _)| (1..=may).contains(from)).map(|(from, _)| from - 1).collect()
    }

    /// Explains a state that is no prefix, given how many steps of the order may be there at all.
    pub(super) fn explain(&self, found: &Dump, may: usize, now_ms: u64) -> Mixture {
        let keys: BTreeSet<&Vec<u8>> = self.0.keys().chain(found.0.keys()).collect();
        let mut newest = 0;
        let mut held: Vec<(&Vec<u8>, &[Version], usize)> = Vec::new();
        for key in keys {
            let value = alive(found.0.get(key), now_ms);
            let versions = self.0.get(key).map_or(&[][..], Vec::as_slice);
            let possible = &versions[..versions.partition_point(|(from, _)| *from <= may)];
            match possible.iter().rposition(|(_, v)| v.as_ref() == value) {
                Some(version) => {
                    newest = newest.max(possible[version].0);
                    held.push((key, possible, version));
                }
                None if possible.is_empty() && value.is_none() => {}
                None => return never_written(key, value, possible),
            }
        }
        // Which versions that should have been there before the newest are not.
        let mut missing = BTreeSet::new();
        let mut back: Option<(&Vec<u8>, usize)> = None;
        let mut stale: Option<&Vec<u8>> = None;
        for (key, versions, version) in held {
            let passed = || versions[version + 1..].iter().filter(|(from, _)| *from < newest);
            missing.extend(passed().map(|(from, _)| from - 1));
            if let Some((from, next)) = passed().next() {
                stale.get_or_insert(key);
                let deleted = next.is_none() || passed().count() > 1;
                if versions[version].1.is_some() && deleted && back.is_none_or(|(_, b)| from - 1 < b) {
                    back = Some((key, from - 1));
                }
            }
        }
        let missing: Vec<usize> = missing.into_iter().collect();
        match (back, stale) {
            (Some((key, step)), _) => {
                Mixture { class: Class::Resurrection, step: Some(step), key: key.clone(), missing }
            }
            (None, Some(key)) => {
                Mixture { class: Class::Gap, step: missing.first().copied(), key: key.clone(), missing }
            }
            // Every key is as new as the newest, and yet no prefix is like this.
            (None, None) => {
                Mixture { class: Class::SilentCorruption, step: None, key: Vec::new(), missing: Vec::new() }
            }
        }
    }
}

/// A value that no operation ever wrote: a part of one, or something else.
fn never_written(key: &[u8], value: Option<&Entry>, versions: &[Version]) -> Mixture {
    let bytes = value.map_or(&[][..], |e| e.value.as_slice());
    let mut old: &[u8] = &[];
    let mut torn = None;
    for (from, version) in versions {
        let new = version.as_ref().map_or(&[][..], |e| e.value.as_slice());
        if *from > 0 && is_part(bytes, old, new) {
            torn = Some(from - 1);
        }
        old = new;
    }
    let class = if torn.is_some() { Class::TornOperation } else { Class::SilentCorruption };
    Mixture { class, missing: Vec::new(), step: torn, key: key.to_vec() }
}

/// Whether the bytes are what a write of `new` over `old` leaves when it is cut: a proper beginning of the new
/// value, or each byte from one of the two.
fn is_part(bytes: &[u8], old: &[u8], new: &[u8]) -> bool {
    // The type's name in front of a value is the dump's, not the store's.
    let own = |b: &[u8]| b.iter().position(|c| *c == b' ').map_or(0, |i| i + 1);
    if bytes.len() <= own(new) {
        return false;
    }
    let cut = bytes.len() < new.len() && new.starts_with(bytes);
    let mixed = bytes.len() == new.len()
        && old.len() == new.len()
        && bytes.iter().zip(old.iter().zip(new)).all(|(b, (o, n))| b == o || b == n);
    cut || mixed
}
