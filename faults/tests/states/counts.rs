//! Random small traces: count, enumeration and the slow checker agree; no state twice; models nest.

use crate::script::Script;
use crate::slow::Slow;
use proptest::prelude::*;
use std::collections::BTreeSet;
use unplug_faults::effect::{Effects, Outcome};
use unplug_faults::event::WriteSync;
use unplug_faults::model;
use unplug_faults::state::{CrashState, Plan, Space};

pub const MODELS: [&str; 4] = ["prefix", "ext4-ordered", "posix", "posix-split"];

/// A random script over two old files, a new one and a directory.
pub fn script() -> impl Strategy<Value = Script> {
    let kill = prop::option::weighted(0.4, 0usize..5);
    (proptest::collection::vec((0u8..14, 0u8..3, 0u8..4), 1..6), kill).prop_map(|(steps, kill)| {
        let mut s = Script::new().base("f", 'A', 1).base("g", 'A', 1).base_dir("d");
        let mut here: Vec<String> = vec!["f".into(), "g".into()];
        for (n, (what, who, how)) in steps.into_iter().enumerate() {
            let name = here[usize::from(who) % here.len()].clone();
            let letter = [char::from(b'B' + n as u8) as u8; 700];
            let sync = [WriteSync::None, WriteSync::Data, WriteSync::Full][usize::from(how) % 3];
            s = match what {
                0 | 1 => s.append_bytes(&name, &letter[..300]),
                2 | 3 => s.bytes(&name, 300 * u64::from(how), letter[..400].to_vec(), WriteSync::None),
                4 => s.bytes(&name, 100, letter[..300].to_vec(), sync),
                5 => s.fsync(&name),
                6 => s.fdatasync(&name),
                7 => s.fsync(if how % 2 == 0 { "." } else { "d" }),
                8 if !here.contains(&"t".into()) => {
                    here.push("t".into());
                    s.create("t").append_bytes("t", &letter[..200])
                }
                9 if name != "f" && here.len() > 1 => {
                    here.retain(|h| *h != name);
                    s.rename(&name, "f")
                }
                10 if here.len() > 1 && !here.contains(&"d/x".into()) => {
                    here.retain(|h| *h != name);
                    here.push("d/x".into());
                    s.rename(&name, "d/x")
                }
                11 => s.truncate(&name, u64::from(how) * 2048),
                12 if here.len() > 1 => {
                    here.retain(|h| *h != name);
                    s.unlink(&name)
                }
                13 if !here.contains(&"k".into()) => {
                    here.push("k".into());
                    s.link(&name, "k")
                }
                _ => s.sync_all(),
            };
            if how == 3 && what != 8 && s.trace.events.len() > 1 {
                s = s.overlapping();
            }
            // The last call may have done its work when the target was killed inside it; then there is another life.
            if kill == Some(n) {
                s = s.killed().kill();
            }
        }
        s
    })
}

pub fn vector(state: &CrashState, n: usize) -> Vec<Outcome> {
    let mut out: Vec<Outcome> =
        (0..n as u32).map(|id| if id < state.prefix { Outcome::Whole } else { Outcome::Absent }).collect();
    state.except.iter().for_each(|(id, outcome)| out[id.0 as usize] = *outcome);
    out
}

/// Every vector of outcomes that the slow checker takes at some crash point, with the points.
pub fn brute(slow: &Slow<'_>) -> Option<BTreeSet<(Vec<Outcome>, u64, u64)>> {
    let options: Vec<Vec<Outcome>> = slow.list.iter().map(|effect| slow.outcomes(&effect.kind)).collect();
    if options.iter().map(Vec::len).product::<usize>() > 6000 {
        return None;
    }
    let mut all: Vec<Vec<Outcome>> = vec![Vec::new()];
    for option in &options {
        let longer =
            |v: &Vec<Outcome>| option.iter().map(|o| [v.as_slice(), &[*o]].concat()).collect::<Vec<_>>();
        all = all.iter().flat_map(longer).collect();
    }
    let points = slow.points();
    let interval = |v: Vec<Outcome>| {
        let legal: Vec<u64> = points.iter().copied().filter(|t| slow.legal(&v, *t)).collect();
        Some((v, *legal.first()?, *legal.last()?))
    };
    Some(all.into_iter().filter_map(interval).collect())
}

/// What is enumerated without a bound is what the slow checker allows, each once, with its interval; and the count says
/// so without enumerating.
pub fn agree(script: &Script) -> Result<(), TestCaseError> {
    let effects = Effects::of(&script.trace);
    for name in MODELS {
        let Some(legal) = brute(&Slow::new(&script.trace, &effects, name)) else { continue };
        let space = Space::new(&script.trace, &effects, model::by_name(name).expect("model"), &[]);
        // With a bound of 0 most of them come from the walk.
        let bound = [0, 1, 255][script.trace.events.len() % 3];
        let mut states = space.states(&Plan { bound, budget: 100_000, seed: 7 });
        let mut found = BTreeSet::new();
        for state in states.by_ref() {
            prop_assert!(space.is_legal(&state), "{name}: {state:?}");
            let vector = vector(&state, effects.list.len());
            prop_assert!(found.insert((vector, state.first, state.last)), "{name}: twice {state:?}");
        }
        let missing: Vec<_> = legal.difference(&found).collect();
        let wrong: Vec<_> = found.difference(&legal).collect();
        let all = &effects.list;
        prop_assert!(
            missing.is_empty() && wrong.is_empty(),
            "{name}: missing {missing:?}, wrong {wrong:?}\n{all:#?}"
        );
        let count = space.count();
        prop_assert!(count.exact);
        prop_assert_eq!(count.states, legal.len().into(), "{}", name);
        prop_assert!(states.is_exhaustive());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn enumeration_is_what_the_rules_say(script in script()) {
        agree(&script)?;
    }

    /// Counts of phases: states legal somewhere in a range of crash points.
    #[test]
    fn phases_count_their_own(script in script(), a in 0u64..12, len in 0u64..8) {
        let effects = Effects::of(&script.trace);
        for name in MODELS {
            let Some(legal) = brute(&Slow::new(&script.trace, &effects, name)) else { continue };
            let (first, last) = (a.min(script.end()), (a + len).min(script.end()));
            let inside = legal.iter().filter(|(_, from, to)| *from <= last && *to >= first).count();
            let space = Space::new(&script.trace, &effects, model::by_name(name).expect("model"), &[]).within(first..=last);
            prop_assert_eq!(space.count().states, inside.into(), "{}", name);
            let found = space.states(&Plan { bound: 255, budget: 100_000, seed: 7 }).count();
            prop_assert_eq!(found, inside, "{}", name);
        }
    }
}

/// The least number of deviations is what a state says it has, and a bound gives exactly the states within it.
#[test]
fn bounds_nest() {
    let script = Script::new().base("f", 'A', 3).write("f", 0, 'B', 3).create("n").append("n", 'C', 2);
    let effects = Effects::of(&script.trace);
    let space = Space::new(
        &script.trace,
        &effects,
        model::by_name("posix").expect("model"),
        &[unplug_faults::state::Assumption::NoTear],
    );
    let mut sizes = Vec::new();
    for bound in 0..4u8 {
        let level: Vec<CrashState> = space
            .states(&Plan { bound: 4, budget: 1 << 20, seed: 0 })
            .filter(|state| state.deviations <= bound)
            .collect();
        sizes.push(level.len());
    }
    // d=0: the prefixes, nine effects (three pages; creation; two sizes and their data): 8 of them are closed.
    assert_eq!(sizes[0], effects.list.len() + 1);
    assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]), "{sizes:?}");
}

/// How many deviations a set has, counted from the definition: over all prefixes that hold what they need and
/// whatever was forced when the set's last effect was issued, the fewest effects that are lost though everything
/// they need is there, or early though nothing there needs them.
fn deviations(graph: &unplug_faults::model::Graph, effects: &Effects, out: &[Outcome]) -> usize {
    use unplug_faults::effect::EffectId;
    let there = |id: EffectId| out[id.0 as usize] == Outcome::Whole;
    let ids = 0..out.len() as u32;
    let closed = |p: u32| (0..p).all(|id| graph.needs(EffectId(id)).iter().all(|need| need.on.0 < p));
    let last = out.iter().rposition(|o| *o == Outcome::Whole);
    let first = last.map_or(0, |last| effects.list[last].issued);
    let forced =
        |p: u32| (p..out.len() as u32).any(|id| graph.legal_until(EffectId(id), Outcome::Absent) <= first);
    let at = |p: u32| {
        let lost = (0..p).filter(|id| {
            !there(EffectId(*id)) && graph.needs(EffectId(*id)).iter().all(|need| there(need.on))
        });
        let early = (p..out.len() as u32).filter(|id| {
            there(EffectId(*id)) && !graph.users(EffectId(*id)).iter().any(|user| there(user.on))
        });
        lost.count() + early.count()
    };
    ids.chain([out.len() as u32]).filter(|p| closed(*p) && !forced(*p)).map(at).min().unwrap_or(usize::MAX)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// When a bound is said to be enumerated whole, every legal set with so few deviations has been given.
    #[test]
    fn a_bound_covers_all_of_its_states(script in script()) {
        let effects = Effects::of(&script.trace);
        let n = effects.list.len();
        for name in ["ext4-ordered", "posix"] {
            if n > 11 {
                continue;
            }
            let slow = Slow::new(&script.trace, &effects, name);
            let space = Space::new(
                &script.trace,
                &effects,
                model::by_name(name).expect("model"),
                &[unplug_faults::state::Assumption::NoTear],
            );
            let graph = space.graph(0).expect("case");
            for bound in 0..=2u8 {
                let mut states = space.states(&Plan { bound, budget: 1 << 20, seed: 3 });
                let mut given = BTreeSet::new();
                while states.completed_bound().is_none_or(|whole| whole < bound) {
                    let Some(state) = states.next() else { break };
                    given.insert(vector(&state, n));
                }
                prop_assert!(states.completed_bound() >= Some(bound));
                for bits in 0..1u32 << n {
                    let out: Vec<Outcome> = (0..n)
                        .map(|i| if bits >> i & 1 == 1 { Outcome::Whole } else { Outcome::Absent })
                        .collect();
                    let legal = slow.points().into_iter().any(|t| slow.legal(&out, t));
                    if legal && deviations(graph, &effects, &out) <= usize::from(bound) {
                        prop_assert!(given.contains(&out), "{name} d={bound}: {out:?}\n{:#?}", effects.list);
                    }
                }
            }
        }
    }
}
