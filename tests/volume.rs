//! The correct engine, at length: no violation over 200,000 judged states, 20,000 of them distinct images.

mod binary;

use serde_json::Value;
use std::collections::BTreeMap;

const STATES: u64 = 200_000;
const IMAGES: u64 = 20_000;
/// Each gives another workload, and so other images. They are run until there is enough: as the command is
/// deterministic, it is always the same ones.
const SEEDS: [u32; 4] = [1, 2, 3, 4];

/// What of a run counts.
#[derive(Default)]
struct Volume {
    states: u64,
    /// For each seed, policy and phase the model with the most: one image may come up under several models, but
    /// no two of one cell are the same.
    images: BTreeMap<(u64, String, String), u64>,
    policies: BTreeMap<String, u64>,
}

impl Volume {
    fn add(&mut self, line: &str) {
        let cell: Value = serde_json::from_str(line).expect("one object a line");
        let text = |name: &str| cell[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| cell[name].as_u64().unwrap_or_else(|| panic!("{name}: {line}"));
        assert_eq!(cell["schema"], 1, "{line}");
        assert_eq!(cell["violations"], Value::Array(vec![]), "{line}");
        assert_eq!(cell["verdict"], "holds", "{line}");
        let states = number("states_checked");
        self.states += states;
        *self.policies.entry(text("policy")).or_default() += states;
        // Before the first operation every seed gives the same files.
        if text("phase") != "start" {
            let images = self.images.entry((number("seed"), text("policy"), text("phase"))).or_default();
            *images = number("images_recovered").max(*images);
        }
    }

    fn distinct(&self) -> u64 {
        self.images.values().sum()
    }

    fn is_enough(&self) -> bool {
        self.states >= STATES && self.distinct() >= IMAGES
    }
}

#[test]
fn the_correct_engine_keeps_its_promises_at_length() {
    let mut volume = Volume::default();
    for seed in SEEDS {
        let dir = binary::directory();
        let words = format!("check engine --seed {seed} --ops 60 --budget 10000 --format json");
        let lines = binary::printed(&mut binary::unplug(dir.path(), &words), &[0]);
        lines.lines().for_each(|line| volume.add(line));
        eprintln!("seed {seed}: {} states, {} distinct images so far", volume.states, volume.distinct());
        if volume.is_enough() {
            break;
        }
    }
    assert!(volume.is_enough(), "{} states, {} images: too few", volume.states, volume.distinct());
    for policy in ["always", "everysec", "no", "snapshot"] {
        let states = volume.policies.get(policy).copied().unwrap_or_default();
        assert!(states > 1000, "{policy}: only {states} states");
    }
}
