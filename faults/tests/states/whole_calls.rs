//! Calls of many pages: what a missing sync leaves shows within a small budget.

use crate::counts::script;
use crate::script::Script;
use proptest::prelude::*;
use std::collections::HashSet;
use unplug_faults::effect::Effects;
use unplug_faults::image::Image;
use unplug_faults::model;
use unplug_faults::state::{Plan, Space};

/// 4 MiB: a thousand pages, each with a size of its own.
const PAGES: u64 = 1024;
const FILE_SYSTEMS: [&str; 4] = ["ext4-ordered", "xfs", "btrfs", "posix"];

fn seen(script: &Script, model: &str, budget: u64, wanted: impl Fn(&Image) -> bool) -> bool {
    let effects = Effects::of(&script.trace);
    let space = Space::new(&script.trace, &effects, model::by_name(model).expect("model"), &[]);
    let mut states = space.states(&Plan { bound: 2, budget, seed: 1 });
    let found = states.by_ref().any(|state| wanted(&space.image(&state)));
    let mut states = space.states(&Plan { bound: 2, budget, seed: 1 });
    assert_eq!((states.by_ref().count() as u64, states.is_exhaustive()), (budget, false), "{model}");
    found
}

fn len(image: &Image, name: &str) -> Option<u64> {
    image.nodes.get(name.as_bytes()).map(|node| node.data.len() as u64)
}

/// The textbook: written aside, renamed, and only the directory synced.
#[test]
fn a_large_file_that_is_renamed_without_a_sync_is_lost() {
    let script = Script::new().create("t").append("t", 'B', PAGES).rename("t", "f").fsync(".");
    for model in FILE_SYSTEMS {
        for budget in [100, 1000] {
            assert!(seen(&script, model, budget, |image| len(image, "f") == Some(0)), "{model}, {budget}");
            let half = |image: &Image| len(image, "f").is_some_and(|len| len > 0 && len < PAGES * 4096);
            assert!(seen(&script, model, budget, half), "{model}, {budget}: a part");
        }
    }
}

#[test]
fn of_two_large_files_the_second_is_there_alone() {
    let script =
        Script::new().create("f").append("f", 'B', PAGES).create("g").append("g", 'C', PAGES).create("h");
    let alone = |image: &Image| len(image, "g") == Some(PAGES * 4096) && len(image, "f") == Some(0);
    for model in FILE_SYSTEMS {
        assert!(seen(&script, model, 1000, alone), "{model}");
    }
    for model in ["prefix", "ext4-journal"] {
        assert!(!seen(&script, model, 1000, alone), "{model} keeps the order");
    }
}

/// Data that are not there, in a file that has its size.
#[test]
fn all_bytes_of_a_large_overwrite_are_lost_at_once() {
    let script = Script::new().base("f", 'A', PAGES).write("f", 0, 'B', PAGES).create("g").fsync(".");
    for model in FILE_SYSTEMS {
        let old = |image: &Image| {
            let node = image.nodes.get(b"f".as_slice());
            node.is_some_and(|node| node.data.iter().all(|b| *b == b'A')) && len(image, "g").is_some()
        };
        assert!(seen(&script, model, 1000, old), "{model}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// With whatever budget: legal states only, each once, as many as the budget allows, and those of a smaller one
    /// claim nothing.
    #[test]
    fn a_budget_too_small_is_spent_on_legal_states(script in script(), share in 1u64..9) {
        let effects = Effects::of(&script.trace);
        for name in ["prefix", "ext4-ordered", "ext4-writeback", "xfs", "btrfs", "posix-split"] {
            let space = Space::new(&script.trace, &effects, model::by_name(name).expect("model"), &[]);
            let all = space.states(&Plan { bound: 255, budget: 3000, seed: 7 }).count() as u64;
            let budget = all * share / 10;
            let mut states = space.states(&Plan { bound: 1, budget, seed: 7 });
            let mut found = HashSet::new();
            for state in states.by_ref() {
                prop_assert!(space.is_legal(&state), "{name}: {state:?}");
                let set = (state.case, state.prefix, format!("{:?}", state.except));
                prop_assert!(found.insert(set), "{name}: twice {state:?}");
            }
            prop_assert_eq!(found.len() as u64, budget, "{}", name);
        }
    }
}
