//! One mechanism, one finding: violations that come about in the same way are shown once.

mod kin;
mod mechanism;

pub use kin::Kin;
pub use mechanism::{Mechanism, in_recovery, mechanism, sketch};

use crate::verdict::{Class, Violation};
use std::collections::{BTreeMap, BTreeSet};
use unplug_faults::image::ImageHash;
use unplug_faults::state::CrashState;

/// One violating state.
#[derive(Clone, Debug)]
pub struct Case {
    /// The state.
    pub state: CrashState,
    /// Its image.
    pub image: ImageHash,
    /// How it breaks the contract.
    pub violation: Violation,
    /// Which of the trace's possible orders of overlapping calls it belongs to; 0 is the recorded one.
    pub order: usize,
}

impl Case {
    /// Simplest first: fewest deviations, then the earliest crash.
    fn rank(&self) -> (u8, usize, u64, u32, usize) {
        let state = &self.state;
        (state.deviations, self.order, self.violation.crash_point, state.prefix, state.except.len())
    }
}

/// The violations of one mechanism.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The mechanism, for a person.
    pub mechanism: String,
    /// The simplest case met.
    pub case: Case,
    /// How many states show it.
    pub states: u64,
    /// As what cases of it show at a later start, where the first start has decided the class.
    pub also: BTreeSet<Class>,
}

/// Gathers violations by mechanism.
#[derive(Debug, Default)]
pub struct Clusters {
    by_key: BTreeMap<(Class, String), Cluster>,
}

/// How many mechanisms are told apart; what comes after is counted with its class.
const MOST: usize = 256;

impl Clusters {
    /// Adds a violating state under its mechanism.
    pub fn add(&mut self, mechanism: String, case: Case) {
        let class = case.violation.class;
        let mut key = (class, mechanism);
        if self.by_key.len() >= MOST && !self.by_key.contains_key(&key) {
            key.1 = "other mechanisms".to_string();
        }
        match self.by_key.entry(key) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                let mechanism = slot.key().1.clone();
                slot.insert(Cluster { mechanism, case, states: 1, also: BTreeSet::new() });
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => {
                let cluster = slot.get_mut();
                cluster.states += 1;
                if case.rank() < cluster.case.rank() {
                    cluster.case = case;
                }
            }
        }
    }

    /// Adds a whole cluster to that of the same mechanism, as whatever class of one family it shows itself.
    pub fn merge(&mut self, other: Cluster) {
        let key = (other.case.violation.class.family(), other.mechanism.clone());
        match self.by_key.entry(key) {
            std::collections::btree_map::Entry::Vacant(slot) => drop(slot.insert(other)),
            std::collections::btree_map::Entry::Occupied(mut slot) => {
                let cluster = slot.get_mut();
                cluster.states += other.states;
                cluster.also.extend(other.also);
                let rank = |case: &Case| (case.violation.class, case.rank());
                if rank(&other.case) < rank(&cluster.case) {
                    cluster.case = other.case;
                }
            }
        }
    }

    /// Puts what later starts show to the mechanism whose own cases show it, too. The classes are decided in an order,
    /// and of a state that is wrong at the first start it is not asked any more whether it is kept: where a recovery has
    /// applied what it then cuts off, one state is half a transaction, its neighbour a whole operation that is gone at
    /// the second start. Without such a state nothing says that the two are one.
    pub fn join_later_starts(&mut self) {
        let shown =
            |c: &Cluster| c.also.iter().map(|class| (*class, c.mechanism.clone())).collect::<Vec<_>>();
        let also: BTreeSet<(Class, String)> = self.by_key.values().flat_map(shown).collect();
        for (class, mechanism) in also {
            let Some(later) = self.by_key.remove(&(class, mechanism.clone())) else { continue };
            let mut heads = self.by_key.values_mut();
            if let Some(head) = heads.find(|c| c.mechanism == mechanism && c.also.contains(&class)) {
                head.states += later.states;
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The clusters, the gravest class first, then by mechanism.
    pub fn into_sorted(self) -> Vec<Cluster> {
        let mut all: Vec<Cluster> = self.by_key.into_values().collect();
        all.sort_by(|a, b| {
            (a.case.violation.class, &a.mechanism).cmp(&(b.case.violation.class, &b.mechanism))
        });
        all
    }
}

/// A path without its numbers: files that differ only in a sequence number or a process's number play one role.
pub fn role(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(deviations: u8, crash_point: u64) -> Case {
        let state = CrashState { case: 0, prefix: 3, except: vec![], deviations, first: 0, last: 9 };
        let violation = Violation::of(Class::Gap, crash_point, "");
        Case { state, image: ImageHash(0), violation, order: 0 }
    }

    fn cluster(case: Case, states: u64, also: &[Class]) -> Cluster {
        Cluster { mechanism: "a".into(), case, states, also: also.iter().copied().collect() }
    }

    #[test]
    fn the_simplest_case_stands_for_its_mechanism() {
        let mut clusters = Clusters::default();
        clusters.add("a".into(), case(2, 1));
        clusters.add("a".into(), case(1, 7));
        clusters.add("a".into(), case(1, 5));
        clusters.add("b".into(), case(0, 9));
        let sorted = clusters.into_sorted();
        assert_eq!(sorted.len(), 2);
        assert_eq!((sorted[0].states, sorted[0].case.violation.crash_point), (3, 5));
    }

    #[test]
    fn clusters_of_one_mechanism_become_one() {
        let mut clusters = Clusters::default();
        for (states, deviations) in [(3, 2), (4, 1), (5, 2)] {
            clusters.merge(cluster(case(deviations, 1), states, &[]));
        }
        let sorted = clusters.into_sorted();
        assert_eq!((sorted.len(), sorted[0].states, sorted[0].case.state.deviations), (1, 12, 1));
    }

    #[test]
    fn classes_of_one_family_are_one_mechanism_and_others_are_not() {
        let mut clusters = Clusters::default();
        let of = |class| {
            let mut case = case(1, 1);
            case.violation.class = class;
            cluster(case, 1, &[])
        };
        for class in [Class::SilentCorruption, Class::Gap, Class::RefusesToOpen, Class::WindowExceeded] {
            clusters.merge(of(class));
        }
        let classes: Vec<Class> = clusters.into_sorted().iter().map(|c| c.case.violation.class).collect();
        assert_eq!(classes, [Class::RefusesToOpen, Class::WindowExceeded, Class::Gap]);
    }

    #[test]
    fn what_a_later_start_shows_is_joined_where_one_case_shows_both() {
        let joined = |also: &[Class], mechanism: &str| {
            let of = |class, also| {
                let mut case = case(1, 1);
                case.violation.class = class;
                cluster(case, 3, also)
            };
            let mut clusters = Clusters::default();
            clusters.merge(of(Class::TornOperation, also));
            clusters.merge(Cluster { mechanism: mechanism.into(), ..of(Class::NotIdempotent, &[]) });
            clusters.join_later_starts();
            let all = clusters.into_sorted();
            all.iter().map(|c| (c.case.violation.class, c.states)).collect::<Vec<_>>()
        };
        let apart = [(Class::TornOperation, 3), (Class::NotIdempotent, 3)];
        assert_eq!(joined(&[Class::NotIdempotent], "a"), [(Class::TornOperation, 6)]);
        assert_eq!(joined(&[], "a"), apart, "no state shows both");
        assert_eq!(joined(&[Class::LostAfterRecovery], "a"), apart, "another class");
        assert_eq!(joined(&[Class::NotIdempotent], "b"), apart, "another mechanism");
    }

    #[test]
    fn numbers_make_no_role() {
        assert_eq!(role("dir/appendonly.aof.12.incr.aof"), "dir/appendonly.aof.#.incr.aof");
        assert_eq!(role("temp-4711.rdb"), "temp-#.rdb");
    }

    #[test]
    fn mechanisms_beyond_the_most_are_counted_together() {
        let mut clusters = Clusters::default();
        for i in 0..MOST + 5 {
            clusters.add(format!("{i:03}"), case(0, 1));
        }
        let sorted = clusters.into_sorted();
        assert_eq!(sorted.len(), MOST + 1);
        assert_eq!(sorted.iter().map(|c| c.states).sum::<u64>(), MOST as u64 + 5);
    }
}
