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

/// Thousands of names in the journal's order, nothing synced, and a little beside them: few states for their
/// size, each found without going through the pairs of a chain.
#[test]
fn chains_do_not_explode() {
    let mut script = Script::new().base("f", 'A', 2);
    for n in 0..5_000 {
        script = script.create(&format!("n{n}"));
        if n == 2_500 {
            script = script.write("f", 0, 'B', 2);
        }
    }
    let effects = Effects::of(&script.trace);
    for name in ["prefix", "ext4-ordered"] {
        let started = Instant::now();
        let assume = [unplug_faults::state::Assumption::NoTear];
        let space = Space::new(&script.trace, &effects, model::by_name(name).expect("model"), &assume);
        let count = space.count();
        let mut states = space.states(&Plan { bound: 1, budget: 1_000_000, seed: 0 });
        states.by_ref().for_each(drop);
        println!("{name}: {count:?}, {} states, {:?}", states.emitted(), started.elapsed());
        assert!(count.exact && states.is_exhaustive(), "{name}: {} of {count:?}", states.emitted());
        assert!(states.emitted() > 5_000);
    }
}

/// Two logs side by side, each a chain: a hundred times as many states as effects, all of them found, beyond
/// what any small number of deviations gives.
#[test]
fn a_space_within_the_budget_is_covered() {
    let mut script = Script::new().base("a", 'A', 1).base("b", 'A', 1);
    for _ in 0..150 {
        script = script.append("a", 'B', 1).append("b", 'C', 1);
    }
    let effects = Effects::of(&script.trace);
    let assume = [unplug_faults::state::Assumption::NoTear, unplug_faults::state::Assumption::NoZeroFill];
    let model = model::by_name("ext4-ordered").expect("model");
    let space = Space::new(&script.trace, &effects, model, &assume);
    let count = space.count();
    assert_eq!(count.states, (151u32 * 151).into());
    for budget in [151 * 151, 1 << 20] {
        let mut states = space.states(&Plan { bound: 1, budget, seed: 0 });
        assert_eq!(states.by_ref().count(), 151 * 151);
        assert!(states.is_exhaustive());
    }
    // One state fewer than there are: all of the budget is spent, and nothing is claimed.
    let mut states = space.states(&Plan { bound: 1, budget: 151 * 151 - 1, seed: 0 });
    assert_eq!((states.by_ref().count(), states.is_exhaustive()), (151 * 151 - 1, false));
}
