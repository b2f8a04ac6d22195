//! Random programs: every model lies within posix-split, and the models of ext4 within each other.

use crate::script::Script;
use proptest::prelude::*;
use std::collections::BTreeSet;
use unplug_faults::effect::Effects;
use unplug_faults::event::{AllocateMode, WriteSync};
use unplug_faults::image::ImageHash;
use unplug_faults::model;
use unplug_faults::state::{Assumption, Plan, Space};

/// A random program: writes, all syncs (some of which fail), names, directories, shapes.
pub fn program() -> impl Strategy<Value = Script> {
    proptest::collection::vec((0u8..26, 0u8..4, 0u8..4), 1..8).prop_map(|steps| {
        let mut s = Script::new().base("f", 'A', 2).base("g", 'A', 1).base_dir("d").base("d/x", 'A', 1);
        let mut here: Vec<String> = ["f", "g", "d/x"].map(str::to_owned).to_vec();
        let mut dir = "d".to_owned();
        for (n, (what, who, how)) in steps.into_iter().enumerate() {
            let name = here[usize::from(who) % here.len()].clone();
            let letter = char::from(b'B' + n as u8);
            let free = |wanted: &str, here: &[String]| !here.iter().any(|h| h == wanted);
            let page = u64::from(how % 2);
            let whole = || vec![letter as u8; 4096];
            s = match what {
                0..=2 => s.append(&name, letter, 1 + page),
                3 | 4 => s.write(&name, page, letter, 1),
                5 => s.bytes(
                    &name,
                    page * 4096,
                    whole(),
                    [WriteSync::Data, WriteSync::Full][usize::from(how / 2)],
                ),
                6 | 7 => s.fsync(&name),
                8 => s.fdatasync(&name),
                9 => s.fsync(if how % 2 == 0 { "." } else { &dir }),
                10 if how < 2 => s.sync_all(),
                11 => s.fsync(&name).failed(libc::EIO),
                12 | 13 if free("t", &here) => {
                    here.push("t".into());
                    s.create("t").append("t", letter, 1)
                }
                14 if name != "f" && here.len() > 1 => {
                    here.retain(|h| *h != name);
                    s = s.rename(&name, "f");
                    if free("f", &here) {
                        here.push("f".into());
                    }
                    s
                }
                15 | 16 if free(&format!("{dir}/y"), &here) && here.len() > 1 => {
                    here.retain(|h| *h != name);
                    here.push(format!("{dir}/y"));
                    s.rename(&name, &format!("{dir}/y"))
                }
                17 if here.len() > 1 && free("h", &here) => {
                    here.retain(|h| *h != name);
                    here.push("h".into());
                    s.rename(&name, "h")
                }
                18 => s.truncate(&name, u64::from(how) * 4096),
                19 => s.allocate(&name, AllocateMode::Punch, page * 4096, 4096),
                20 => s.allocate(&name, AllocateMode::Extend, 4096, 4096),
                21 if here.len() > 1 => {
                    here.retain(|h| *h != name);
                    s.unlink(&name)
                }
                22 if free("k", &here) => {
                    here.push("k".into());
                    s.link(&name, "k")
                }
                23 if dir == "d" => {
                    for h in &mut here {
                        if let Some(rest) = h.strip_prefix("d/") {
                            *h = format!("q/{rest}");
                        }
                    }
                    dir = "q".into();
                    s.rename("d", "q")
                }
                24 if free("p/n", &here) && here.len() < 5 => {
                    here.push("p/n".into());
                    s.mkdir("p").create("p/n")
                }
                _ => s.write(&name, 0, letter, 1),
            };
            if how == 3 && s.trace.events.len() > 1 && matches!(what, 0..=10) {
                s = s.overlapping();
            }
        }
        s
    })
}

/// Over the effects that all models have: what btrfs and data=writeback show beside those, posix-split does not.
fn images(script: &Script, name: &str, assume: &[Assumption]) -> Option<BTreeSet<ImageHash>> {
    let effects = Effects::of(&script.trace);
    let space = Space::new(&script.trace, &effects, model::by_name(name).expect("model"), assume);
    if space.count().states > 2_000u32.into() {
        return None;
    }
    let mut hasher = space.hasher();
    let mut states = space.states(&Plan { bound: 255, budget: 1 << 20, seed: 1 });
    let found = states.by_ref().map(|state| hasher.hash(&state)).collect();
    assert!(states.is_exhaustive(), "{name}: {} of {:?}", states.emitted(), space.count());
    Some(found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Every model is a part of posix-split and holds prefix; of ext4's, each way to mount it holds the stricter
    /// ones.
    #[test]
    fn every_model_is_within_posix_split(script in program()) {
        // Rubbish stands for anything, but the pages that are shown for it are each model's own.
        let assume = [Assumption::NoTear, Assumption::NoOldPages];
        let Some(split) = images(&script, "posix-split", &assume) else { return Ok(()) };
        let prefix = images(&script, "prefix", &assume).expect("a part of a small set is small");
        for model in model::all() {
            let Some(some) = images(&script, model.name(), &assume) else { continue };
            prop_assert!(some.is_subset(&split), "{} is not within posix-split", model.name());
            prop_assert!(prefix.is_subset(&some), "prefix is not within {}", model.name());
        }
        let ext4 = ["ext4-ordered", "ext4-writeback"].map(|name| images(&script, name, &assume));
        if let [Some(ordered), Some(writeback)] = ext4 {
            prop_assert!(ordered.is_subset(&writeback));
        }
    }

    /// What is enumerated is legal, its hash is its image's, and what is simpler is legal too.
    #[test]
    fn the_new_models_enumerate_as_the_others(script in program()) {
        for name in ["ext4-journal", "ext4-writeback", "xfs", "btrfs"] {
            let model = model::by_name(name).expect("model");
            let effects = model.effects(&script.trace);
            let space = Space::new(&script.trace, &effects, model, &[]);
            for state in space.states(&Plan { bound: 2, budget: 300, seed: 9 }) {
                prop_assert!(space.is_legal(&state), "{name} {state:?}");
                prop_assert_eq!(space.hash(&state), space.image(&state).hash(), "{} {:?}", name, state);
                for simpler in space.simpler(&state).iter().take(4) {
                    prop_assert!(space.is_legal(simpler), "{name} {simpler:?} of {state:?}");
                }
            }
        }
    }
}

/// A random program of writes into ranges that are zeroed or allocated in advance, among syncs and cuts.
fn zeroed() -> impl Strategy<Value = Script> {
    proptest::collection::vec((0u8..12, 0u64..4, 1u64..4), 2..6).prop_map(|steps| {
        let mut s = Script::new().base("f", 'A', 4).base("g", 'A', 1);
        for (n, (what, at, len)) in steps.into_iter().enumerate() {
            let letter = char::from(b'B' + n as u8);
            let zero = AllocateMode::Zero { keep_size: at % 2 == 0 };
            s = match what {
                0..=3 => s.allocate("f", zero, at * 4096, len * 4096),
                4 => s.allocate("f", AllocateMode::Extend, at * 4096, 2 * len * 4096),
                5 | 6 => s.write("f", at, letter, 1),
                7 => s.bytes("f", at * 4096 + 700, vec![letter as u8; len as usize * 3000], WriteSync::None),
                8 => s.append("g", letter, 1).fsync("g"),
                9 => s.fsync("f"),
                10 => s.truncate("f", at * 4096 + 100 * len),
                _ => s.allocate("f", AllocateMode::Punch, at * 4096, len * 4096),
            };
        }
        s
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// As many states are found as are counted, each once, and their hashes are their images'.
    #[test]
    fn what_is_zeroed_in_place_is_counted(script in zeroed()) {
        for name in ["ext4-journal", "ext4-ordered", "ext4-writeback"] {
            let model = model::by_name(name).expect("model");
            let effects = model.effects(&script.trace);
            let assume = [Assumption::NoTear, Assumption::NoOldPages];
            let space = Space::new(&script.trace, &effects, model, &assume);
            let count = space.count();
            if !count.exact || count.states > 3_000u32.into() {
                continue;
            }
            let mut seen = BTreeSet::new();
            let mut states = space.states(&Plan { bound: 255, budget: 1 << 20, seed: 9 });
            for state in states.by_ref() {
                prop_assert!(space.is_legal(&state), "{name} {state:?}");
                prop_assert_eq!(space.hash(&state), space.image(&state).hash(), "{} {:?}", name, &state);
                prop_assert!(seen.insert((state.prefix, state.except.clone())), "{name} {state:?} twice");
            }
            prop_assert_eq!(count.states, seen.len().into(), "{}", name);
            prop_assert!(states.is_exhaustive());
            // The end alone has nothing that the whole has not.
            let end = script.at_end(name, &[Assumption::NoTear]);
            let mut whole = BTreeSet::new();
            for state in space.states(&Plan { bound: 255, budget: 1 << 20, seed: 9 }) {
                whole.insert(crate::script::draw(&space.image(&state)));
            }
            prop_assert!(end.is_subset(&whole), "{name}");
        }
    }
}

/// Long runs stay small: thousands of synced appends, and thousands of names that no sync ever forces.
#[test]
fn long_traces_have_few_edges() {
    let mut script = Script::new().base("log", 'A', 1).base("db", 'A', 4).base_dir("d");
    for n in 0..2_000u32 {
        let journal = format!("d/journal-{n}");
        script = script.append_bytes("log", &[1; 100]).fdatasync("log");
        script = script.create(&journal).append_bytes(&journal, &[2; 100]);
        if n % 2 == 0 {
            script = script.fsync(&journal);
        }
        script = script.write("db", u64::from(n % 4), 'B', 1).unlink(&journal);
    }
    for model in model::all() {
        let effects = model.effects(&script.trace);
        for case in model.cases(&script.trace, &effects) {
            let ids = (0..effects.len() as u32).map(unplug_faults::effect::EffectId);
            let edges: usize = ids.map(|id| case.graph().needs(id).len()).sum();
            assert!(edges < 40 * effects.len(), "{}: {edges} edges over {}", model.name(), effects.len());
        }
    }
}
