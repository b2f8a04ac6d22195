//! One mechanism, one finding: violations that come about in the same way are shown once.

use crate::history::History;
use crate::story::{culprit, interesting_frame, outcome_of};
use crate::verdict::{Class, Violation};
use std::collections::{BTreeMap, BTreeSet};
use unplug_faults::effect::{Effect, EffectId, EffectKind, Effects, Meta, Names, Outcome};
use unplug_faults::image::ImageHash;
use unplug_faults::state::CrashState;
use unplug_faults::trace::Trace;

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
}

/// Gathers violations by mechanism.
#[derive(Debug, Default)]
pub struct Clusters {
    by_key: BTreeMap<(Class, String), Cluster>,
}

/// How many mechanisms are told apart; what comes after is counted with its class.
const MOST: usize = 64;

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
                slot.insert(Cluster { mechanism, case, states: 1 });
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

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The clusters, the gravest class first, then by mechanism.
    pub fn into_sorted(self) -> Vec<Cluster> {
        self.by_key.into_values().collect()
    }
}

/// The mechanism of a violation: which kinds of effects of which kind of file are missing or odd, and where the
/// first of them was asked for.
pub fn mechanism(
    trace: &Trace,
    history: &History,
    effects: &Effects,
    names: &Names,
    state: &CrashState,
    violation: &Violation,
) -> String {
    let issued = effects.list.partition_point(|e| e.issued <= violation.crash_point);
    let odd: Vec<usize> = (0..issued).filter(|i| outcome_of(state, *i) != Outcome::Whole).collect();
    let Some(first) = odd.first().copied() else {
        return "nothing is missing on the disk".to_string();
    };
    let newest = (0..issued).rev().find(|i| outcome_of(state, *i) != Outcome::Absent).unwrap_or(0);
    // A plain loss is about the first thing that is missing, all else about what is odd among what is there.
    let loss = matches!(violation.class, Class::AcknowledgedLoss | Class::WindowExceeded);
    let among: Vec<usize> = odd.iter().copied().filter(|i| *i <= newest).collect();
    let lost = culprit(history, effects, state, violation).unwrap_or(first);
    let lost = [lost];
    let shown: &[usize] = if loss || among.is_empty() { &lost } else { &among };
    let kinds: BTreeSet<String> =
        shown.iter().map(|i| kind(effects, names, *i, outcome_of(state, *i))).collect();
    let culprit = shown.first().copied().unwrap_or(first);
    let mut text = kinds.into_iter().take(4).collect::<Vec<_>>().join(" + ");
    if let Some(frame) = interesting_frame(trace, effects.list[culprit].event) {
        text.push_str(&format!(", by {frame}"));
    }
    text
}

fn kind(effects: &Effects, names: &Names, index: usize, outcome: Outcome) -> String {
    let Some(effect) = effects.get(EffectId(index as u32)) else { return "unknown effect".to_string() };
    let odd = match outcome {
        Outcome::Absent | Outcome::Whole => "no ",
        Outcome::Zeros => "zeroed ",
        Outcome::Stale => "stale ",
        Outcome::Sectors(_) => "torn ",
        Outcome::Parts(_) => "split ",
    };
    format!("{odd}{}", what(effect, names))
}

fn what(effect: &Effect, names: &Names) -> String {
    let role = |file| role(&names.path_at(file, effect.issued));
    match &effect.kind {
        EffectKind::Data { file, .. } => format!("data of {}", role(*file)),
        EffectKind::Size { file, .. } => format!("size of {}", role(*file)),
        EffectKind::Meta(meta) => match meta {
            Meta::Create { file, .. } => format!("name of new {}", role(*file)),
            Meta::Link { file, .. } => format!("link of {}", role(*file)),
            Meta::Unlink { file, .. } => format!("removal of {}", role(*file)),
            Meta::Rename { file, .. } => format!("rename to {}", role(*file)),
            Meta::Exchange { a, .. } => format!("exchange with {}", role(*a)),
            Meta::Truncate { file, .. } => format!("truncation of {}", role(*file)),
            Meta::Allocate { file, .. } => format!("fallocate of {}", role(*file)),
        },
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
        let violation = Violation {
            class: Class::Gap,
            crash_point,
            stricter_than_documented: false,
            operation: None,
            loss: None,
            explanation: String::new(),
        };
        Case { state, image: ImageHash(0), violation, order: 0 }
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
