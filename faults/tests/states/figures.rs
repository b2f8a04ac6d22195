//! A long trace within its limits. The figures themselves are in `benches/states.rs`.

use crate::script::Script;
use std::time::Instant;
use unplug_faults::effect::Effects;
use unplug_faults::model;
use unplug_faults::state::{Plan, Space};

fn log(operations: usize, sync: bool) -> Script {
    let mut script = Script::new().create("appendonly.aof");
    for n in 0..operations {
        let text = format!("*3\r\n$3\r\nSET\r\n$6\r\nkey{n:03}\r\n$8\r\nvalue{n:03}\r\n");
        script = script.append_bytes("appendonly.aof", text.as_bytes());
        if sync {
            script = script.fdatasync("appendonly.aof");
        }
    }
    script
}

/// 10,000 operations under appendfsync always: d=1 is enumerated whole, and its size follows the length of the
/// trace, not its square.
#[test]
fn ten_thousand_operations_at_one_deviation() {
    let script = log(10_000, true);
    let effects = Effects::of(&script.trace);
    for name in ["ext4-ordered", "posix-split"] {
        let started = Instant::now();
        let space = Space::new(&script.trace, &effects, model::by_name(name).expect("model"), &[]);
        let count = space.count();
        let counted = started.elapsed();
        let mut states = space.states(&Plan { bound: 1, budget: 1_000_000, seed: 0 });
        let mut hasher = space.hasher();
        let mut sum = 0u128;
        states.by_ref().for_each(|state| sum = sum.wrapping_add(hasher.hash(&state).0));
        println!(
            "{name}: {:?}, counted in {counted:?}, {} states hashed, {:?}",
            count,
            states.emitted(),
            started.elapsed()
        );
        assert!(count.exact);
        assert!(states.emitted() > 20_000 && states.emitted() < 500_000, "{}", states.emitted());
        assert!(states.completed_bound() >= Some(1));
    }
}

/// Nothing is ever synced: everything is open, so that one deviation has a square of states; a budget is kept
/// and spread, and the count is exact.
#[test]
fn without_any_sync() {
    let script = log(2_000, false);
    let effects = Effects::of(&script.trace);
    for name in ["prefix", "ext4-ordered", "posix"] {
        let started = Instant::now();
        let space = Space::new(&script.trace, &effects, model::by_name(name).expect("model"), &[]);
        let count = space.count();
        let counted = started.elapsed();
        let mut states = space.states(&Plan { bound: 1, budget: 20_000, seed: 0 });
        let all: Vec<_> = states.by_ref().collect();
        println!(
            "{name}: {} bits, counted in {counted:?}, {} states, {:?}",
            count.states.bits(),
            all.len(),
            started.elapsed()
        );
        assert!(count.exact, "{name}");
        let late = all.iter().filter(|state| state.first > script.end() / 2).count();
        assert!(late * 4 > all.len(), "{name}: {late} of {} in the second half", all.len());
    }
}

/// Rates of this machine, printed: run with `--release -- --ignored --nocapture rates`.
#[test]
#[ignore = "prints figures"]
fn rates() {
    for (shape, every) in [("always", 1), ("everysec", 100)] {
        let mut script = Script::new().create("appendonly.aof");
        for n in 0..2000 {
            script = script
                .append_bytes("appendonly.aof", format!("SET key{n:06} value{n:06} and more\r\n").as_bytes());
            if n % every == 0 {
                script = script.fdatasync("appendonly.aof");
            }
        }
        let effects = Effects::of(&script.trace);
        for name in ["ext4-ordered", "posix"] {
            let space = Space::new(&script.trace, &effects, model::by_name(name).expect("model"), &[]);
            let _ = space.count();
            let started = Instant::now();
            let all: Vec<_> = space.states(&Plan { bound: 1, budget: 200_000, seed: 0 }).collect();
            let enumerated = started.elapsed();
            let mut hasher = space.hasher();
            let started = Instant::now();
            let sum = all.iter().fold(0u128, |sum, state| sum.wrapping_add(hasher.hash(state).0));
            let hashed = started.elapsed();
            let rate = |time: std::time::Duration| (all.len() as f64 / time.as_secs_f64()) as u64;
            let chosen: Vec<_> = all.iter().step_by(all.len() / 200 + 1).collect();
            let started = Instant::now();
            let images: Vec<_> = chosen.iter().map(|state| space.shared_image(state)).collect();
            let built = started.elapsed() / images.len() as u32;
            println!(
                "{shape} {name}: {} states, {}/s, hashed {}/s, image {built:?} ({sum:x})",
                all.len(),
                rate(enumerated),
                rate(hashed)
            );
        }
    }
    let mut script = Script::new();
    for name in ["base.rdb", "a.incr.aof", "b.incr.aof", "manifest"] {
        script = script.create(name).append_bytes(name, &[7; 1500]);
    }
    let effects = Effects::of(&script.trace);
    let space = Space::new(&script.trace, &effects, model::by_name("prefix").expect("model"), &[]);
    let images: Vec<_> = space
        .states(&Plan { bound: 0, budget: 100, seed: 0 })
        .map(|s| space.shared_image(&s))
        .filter(|i| i.image().nodes.len() == 4)
        .collect();
    let dir = tempfile::tempdir_in("/dev/shm").expect("dir");
    let mut lay = unplug_faults::image::LayOut::new(dir.path());
    let started = Instant::now();
    for _ in 0..2000 {
        images.iter().for_each(|image| lay.lay(image).expect("lay out"));
    }
    println!("lay out 4 files: {:?}", started.elapsed() / (2000 * images.len() as u32));
}
