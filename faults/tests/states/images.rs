//! Images: the quick hash is the image's; every model lies within posix-split; exploration is deterministic.

use crate::counts::{MODELS, script};
use crate::script::Script;
use proptest::prelude::*;
use std::collections::BTreeSet;
use unplug_faults::effect::Effects;
use unplug_faults::image::{Delta, Image, ImageHash, SharedImage};
use unplug_faults::model;
use unplug_faults::state::{Assumption, CrashState, Plan, Space};

fn space<'t>(script: &'t Script, effects: &'t Effects, name: &str) -> Space<'t> {
    Space::new(&script.trace, effects, model::by_name(name).expect("model"), &[])
}

fn images(script: &Script, name: &str) -> Option<BTreeSet<ImageHash>> {
    let effects = Effects::of(&script.trace);
    // Rubbish stands for anything, but the pages that are shown for it are each model's own.
    let model = model::by_name(name).expect("model");
    let space = Space::new(&script.trace, &effects, model, &[Assumption::NoOldPages]);
    if space.count().states > 20_000u32.into() {
        return None;
    }
    let mut hasher = space.hasher();
    let plan = Plan { bound: 255, budget: 1 << 20, seed: 1 };
    Some(space.states(&plan).map(|state| hasher.hash(&state)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// The hash that follows from the neighbour's is that of the image, in any order of asking.
    #[test]
    fn hashes_agree(script in script(), seed in 0u64..1000) {
        let effects = Effects::of(&script.trace);
        for name in MODELS {
            let space = space(&script, &effects, name);
            let states: Vec<CrashState> = space.states(&Plan { bound: 2, budget: 400, seed }).collect();
            // Forwards, backwards, and to and fro.
            let fro = states.iter().zip(states.iter().rev()).step_by(5).flat_map(|(a, b)| [a, b]);
            for state in states.iter().chain(states.iter().rev().step_by(3)).chain(fro) {
                prop_assert_eq!(space.hash(state), space.image(state).hash(), "{} {:?}", name, state);
            }
        }
    }

    /// What goes to a worker, delta after delta, is the image, in any order of the states.
    #[test]
    fn deltas_agree(script in script(), seed in 0u64..1000) {
        let effects = Effects::of(&script.trace);
        for name in MODELS {
            let space = space(&script, &effects, name);
            let states: Vec<CrashState> = space.states(&Plan { bound: 2, budget: 100, seed }).collect();
            let (mut last, mut far) = (SharedImage::default(), SharedImage::default());
            for state in states.iter().chain(states.iter().rev().step_by(7)) {
                let image = space.shared_image(state);
                Delta::between(&last, &image).apply(&mut far).expect("a delta");
                prop_assert_eq!(far.image(), image.image(), "{} {:?}", name, state);
                last = image;
            }
        }
    }

    /// prefix is within every model, and every model within posix-split, as sets of images.
    #[test]
    fn models_nest(script in script()) {
        let Some(split) = images(&script, "posix-split") else { return Ok(()) };
        let prefix = images(&script, "prefix").expect("a part of a small set is small");
        for name in MODELS {
            let Some(some) = images(&script, name) else { continue };
            prop_assert!(some.is_subset(&split), "{} is not within posix-split", name);
            prop_assert!(prefix.is_subset(&some), "prefix is not within {}", name);
        }
    }

    /// What the minimiser is offered is legal and simpler.
    #[test]
    fn simpler_is_legal(script in script()) {
        let effects = Effects::of(&script.trace);
        for name in MODELS {
            let space = space(&script, &effects, name);
            for state in space.states(&Plan { bound: 3, budget: 300, seed: 5 }) {
                for simpler in space.simpler(&state) {
                    prop_assert!(space.is_legal(&simpler), "{} {:?} of {:?}", name, simpler, state);
                    prop_assert!(simpler.deviations < state.deviations.max(1), "{} {:?} of {:?}", name, simpler, state);
                }
            }
        }
    }
}

/// Two spaces over one trace give one sequence; the shards of it are a partition.
#[test]
fn deterministic_and_sharded() {
    let mut script = Script::new().base("f", 'A', 2);
    for n in 0..30u8 {
        script = script.append_bytes("f", &[b'a' + n % 26; 700]).write("f", 0, 'C', 1);
    }
    let effects = Effects::of(&script.trace);
    let plan = Plan { bound: 1, budget: 30_000, seed: 42 };
    let all: Vec<CrashState> = space(&script, &effects, "posix").states(&plan).collect();
    let again: Vec<CrashState> = space(&script, &effects, "posix").states(&plan).collect();
    assert_eq!(all, again);
    let parts: Vec<CrashState> = (0..3)
        .flat_map(|k| space(&script, &effects, "posix").states(&plan).shard(k, 3).collect::<Vec<_>>())
        .collect();
    assert_eq!(parts.len(), all.len());
    let as_set = |list: &[CrashState]| list.iter().map(|s| format!("{s:?}")).collect::<BTreeSet<_>>();
    assert_eq!(as_set(&parts), as_set(&all));
    // Another seed draws other samples once the bound is done.
    let other: Vec<CrashState> =
        space(&script, &effects, "posix").states(&Plan { seed: 43, ..plan }).collect();
    assert_ne!(as_set(&other), as_set(&all));
}

/// Levels, samples and the walk of the rest: three shards of each are a partition, whatever the budget.
#[test]
fn shards_of_every_stage() {
    let mut script = Script::new().base("f", 'A', 1).base("g", 'A', 1);
    for n in 0..12u8 {
        script = script.append_bytes("f", &[b'a' + n; 700]).append("g", 'B', 1);
        script = if n % 3 == 2 { script.fsync("f") } else { script };
    }
    let effects = Effects::of(&script.trace);
    for name in MODELS {
        for budget in [50, 700, 5_000, 40_000] {
            let plan = Plan { bound: 1, budget, seed: 42 };
            let space = space(&script, &effects, name);
            let all: Vec<CrashState> = space.states(&plan).collect();
            let shards = (0..3).map(|k| space.states(&plan).shard(k, 3).collect::<Vec<_>>());
            let parts: Vec<CrashState> = shards.flatten().collect();
            let as_set = |list: &[CrashState]| list.iter().map(|s| format!("{s:?}")).collect::<BTreeSet<_>>();
            assert_eq!((parts.len(), as_set(&parts)), (all.len(), as_set(&all)), "{name} {budget}");
            let count = space.count().states;
            assert_eq!(
                u64::try_from(count).unwrap_or(u64::MAX).min(budget),
                all.len() as u64,
                "{name} {budget}"
            );
        }
    }
}

/// A budget smaller than the first level still reaches all of the trace.
#[test]
fn small_budgets_are_spread() {
    let mut script = Script::new().base("f", 'A', 1);
    for n in 0..200u8 {
        script = script.append_bytes("f", &[n; 100]);
    }
    let effects = Effects::of(&script.trace);
    for name in MODELS {
        let space = space(&script, &effects, name);
        let states: Vec<CrashState> = space.states(&Plan { bound: 2, budget: 40, seed: 3 }).collect();
        assert_eq!(states.len(), 40, "{name}");
        for quarter in 0..4u64 {
            let span = quarter * 100..=(quarter + 1) * 100;
            assert!(states.iter().any(|s| span.contains(&s.first)), "{name}: none in {span:?}");
        }
    }
}

/// Hashes tell names, kinds, sizes, zeros and links apart.
#[test]
fn hashes_differ() {
    let draw = |script: &Script| -> Image {
        let effects = Effects::of(&script.trace);
        let space = space(script, &effects, "prefix");
        let end = CrashState {
            case: 0,
            prefix: effects.list.len() as u32,
            except: Vec::new(),
            deviations: 0,
            first: script.end(),
            last: script.end(),
        };
        space.image(&end)
    };
    let scripts = [
        Script::new(),
        Script::new().create("f"),
        Script::new().create("g"),
        Script::new().mkdir("f"),
        Script::new().create("f").truncate("f", 10),
        Script::new().create("f").truncate("f", 11),
        Script::new().create("f").append_bytes("f", b"x"),
        Script::new().create("f").append_bytes("f", b"x\0"),
        Script::new().create("f").create("g"),
        Script::new().create("f").link("f", "g"),
    ];
    let hashes: BTreeSet<ImageHash> = scripts.iter().map(|s| draw(s).hash()).collect();
    assert_eq!(hashes.len(), scripts.len());
}
