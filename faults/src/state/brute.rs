//! The walk against brute force, on graphs that no file system has.

use crate::effect::{EffectId, Effects, Outcome};
use crate::event::{Clock, Event, FileId, NodeKind, Op, Task};
use crate::model::Counter;
use crate::model::{Case, Grain, Graph, Kind, Model, Need, Rule};
use crate::state::order::Order;
use crate::state::rest::Rest;
use crate::state::states::Seen;
use crate::state::work::mask;
use crate::state::{CrashState, Plan, Space};
use crate::trace::Trace;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A model that is a graph.
struct Given(Graph);

impl Model for Given {
    fn name(&self) -> &'static str {
        "given"
    }
    fn summary(&self) -> &'static str {
        "a graph"
    }
    fn kind(&self) -> Kind {
        Kind::Standard
    }
    fn cases<'t>(&self, _: &'t Trace, _: &'t Effects) -> Vec<Box<dyn Case + 't>> {
        vec![Box::new(self.0.clone())]
    }
}

/// So many creations, one after the other; what they do does not matter here.
fn trace(n: usize) -> Trace {
    let mut trace = Trace::default();
    for file in 1..=n as u32 {
        let begin = 1 + trace.events.len() as Clock * 2;
        let name = format!("f{file}").into_bytes();
        let op = Op::Create { dir: FileId::ROOT, name, file: FileId(file), kind: NodeKind::File };
        let task = Task::default();
        trace.events.push(Event { begin, end: begin + 1, at: 0, task, site: None, errno: 0, op });
    }
    trace
}

#[derive(Clone, Debug)]
struct Spec {
    /// Sectors, tears, stale, parts; and whether it is of the same event as the one before.
    facts: Vec<(u8, bool, bool, u8, bool)>,
    /// From, on, by sector; upwards only within one event.
    edges: Vec<(u32, u32, bool)>,
    /// Ticks after its issue.
    forced: Vec<Option<u8>>,
    halves: Vec<(u8, u8)>,
    /// There from the beginning, as a block that is set free.
    given: Vec<bool>,
    /// Half a rename is its new name.
    both: bool,
}

fn spec(n: std::ops::Range<usize>) -> impl Strategy<Value = Spec> {
    n.prop_flat_map(|n| {
        let sectors = prop::sample::select(vec![0xFFu8, 0x01, 0x03, 0x06, 0x07]);
        let parts = prop::sample::select(vec![0u8, 0, 0, 6, 7]);
        let fact = (sectors, any::<bool>(), prop::bool::weighted(0.2), parts, prop::bool::weighted(0.3));
        (
            prop::collection::vec(fact, n),
            prop::collection::vec((0..n as u32, 0..n as u32, prop::bool::weighted(0.4)), 0..2 * n),
            prop::collection::vec(prop::option::weighted(0.5, 1u8..12), n),
            prop::collection::vec((1u8..12, 1u8..12), n),
            prop::collection::vec(prop::bool::weighted(0.15), n),
            any::<bool>(),
        )
            .prop_map(|(facts, edges, forced, halves, given, both)| Spec {
                facts,
                edges,
                forced,
                halves,
                given,
                both,
            })
    })
}

impl Spec {
    fn is_given(&self, at: usize) -> bool {
        self.given[at] && self.facts[at].3 == 0
    }

    fn graph(&self, effects: &mut Effects) -> Graph {
        let mut issued = Vec::new();
        for (at, fact) in self.facts.iter().enumerate() {
            let own = 1 + at as Clock * 2;
            issued.push(if fact.4 { issued.last().copied().unwrap_or(own) } else { own });
            effects.list[at].issued = issued[at];
        }
        let need = |on, sector| {
            let grain = if sector { Grain::Sectors } else { Grain::Whole };
            Need { on: EffectId(on), grain, rule: Rule::Journal }
        };
        let possible = |a: u32, b: u32| a != b && (b < a || issued[a as usize] == issued[b as usize]);
        // What is there from the beginning needs nothing, and stands in front of what needs it.
        let needy = |a: u32| !self.is_given(a as usize);
        let given = |a: u32, b: u32| needy(a) && (b < a || needy(b));
        let edges = self.edges.iter().filter(|(a, b, _)| possible(*a, *b) && given(*a, *b));
        // Who shares no sectors needs none; of a rename, all need something alike, and it needs none of others.
        let all = |at: u32| (self.facts[at as usize].3 == 0).then_some(self.facts[at as usize].0);
        let shared = |a: u32, b: u32| all(b).is_none_or(|b| all(a).is_some_and(|a| a & b != 0));
        let edges = edges
            .map(|(a, b, sector)| (EffectId(*a), need(*b, *sector && needy(*b) && shared(*a, *b))))
            .collect();
        let mut graph = Graph::new(effects, Default::default(), edges);
        for (at, (sectors, tears, stale, parts, _)) in self.facts.iter().enumerate() {
            let fact = &mut graph.facts[at];
            fact.given = self.is_given(at);
            fact.sectors = if *parts == 0 && !fact.given { *sectors } else { 0xFF };
            (fact.tears, fact.stale, fact.parts) = (*tears && fact.sectors != 0xFF, *stale, *parts);
            fact.tears &= fact.sectors.count_ones() > 1;
            fact.stale &= *parts == 0;
            fact.both = self.both;
            if *parts != 0 {
                let (a, b) = self.halves[at];
                graph
                    .halves
                    .insert(EffectId(at as u32), (issued[at] + Clock::from(a), issued[at] + Clock::from(b)));
            }
        }
        let forced = self.forced.iter().zip(&issued);
        let forced: Vec<Clock> =
            forced.map(|(after, at)| after.map_or(Event::NEVER, |after| at + Clock::from(after))).collect();
        graph.force(&forced);
        graph
    }
}

type Found = BTreeSet<(Vec<Outcome>, Clock, Clock)>;

/// Every vector of outcomes that is legal at some point, with its interval.
fn brute(graph: &Graph, (first, last): (Clock, Clock)) -> Option<Found> {
    let n = graph.len() as u32;
    let options = |id| [vec![Outcome::Absent, Outcome::Whole], graph.other_outcomes(EffectId(id))].concat();
    let options: Vec<Vec<Outcome>> = (0..n).map(options).collect();
    if options.iter().map(Vec::len).product::<usize>() > 20_000 {
        return None;
    }
    let mut all: Vec<Vec<Outcome>> = vec![Vec::new()];
    for option in &options {
        all = all.iter().flat_map(|v| option.iter().map(move |o| [v.as_slice(), &[*o]].concat())).collect();
    }
    let of = |id: EffectId, outcome| mask(graph.facts[id.0 as usize].sectors, outcome);
    let closed = |out: &Vec<Outcome>| {
        (0..n).all(|id| {
            let have = out[id as usize];
            have == Outcome::Absent
                || graph.needs(EffectId(id)).iter().all(|need| {
                    let on = out[need.on.0 as usize];
                    match need.grain {
                        Grain::Whole => on == Outcome::Whole,
                        Grain::Sectors => {
                            of(EffectId(id), have) & of(need.on, Outcome::Whole) & !of(need.on, on) == 0
                        }
                    }
                })
        })
    };
    let legal = |out: &Vec<Outcome>, at: Clock| {
        (0..n).all(|id| {
            let outcome = out[id as usize];
            (outcome == Outcome::Absent || graph.facts[id as usize].issued <= at)
                && graph.legal_until(EffectId(id), outcome) > at
        })
    };
    let with_interval = |out: Vec<Outcome>| {
        let points: Vec<Clock> = (first..=last).filter(|at| legal(&out, *at)).collect();
        Some((out, *points.first()?, *points.last()?))
    };
    Some(all.into_iter().filter(closed).filter_map(with_interval).collect())
}

fn vector(state: &CrashState, n: usize) -> Vec<Outcome> {
    let usual = |id| if id < state.prefix { Outcome::Whole } else { Outcome::Absent };
    let mut out: Vec<Outcome> = (0..n as u32).map(usual).collect();
    state.except.iter().for_each(|(id, outcome)| out[id.0 as usize] = *outcome);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// The walk alone, without the levels before it, gives each legal state once, with its interval; a state
    /// that was given before is left out. Also with a first crash point that forces something.
    #[test]
    fn the_walk_is_brute_force(spec in spec(1..7), from in 0u64..12, len in 0u64..20, skip in 0usize..4) {
        let trace = trace(spec.facts.len());
        let mut effects = Effects::of(&trace);
        let graph = spec.graph(&mut effects);
        let end = trace.events.last().map_or(0, |event| event.end);
        let range = (from.min(end), (from + len).min(end));
        let Some(legal) = brute(&graph, range) else { return Ok(()) };
        let space = Space::new(&trace, &effects, &Given(graph.clone()), &[]).within(range.0..=range.1);
        if space.cases[0].order.is_none() {
            return Ok(());
        }
        let mut seen = Seen::default();
        let mut found = Found::new();
        for round in 0..2 {
            // In the second round, some of what the first gave counts as given.
            let mut rest = Rest::new(&space, 1, 1, (u64::MAX, true), &seen, None);
            prop_assert!(rest.is_whole());
            while let Some((state, identity)) = rest.next(&seen, None) {
                prop_assert_eq!(identity, space.identity(&state), "{:?}", state);
                prop_assert!(space.is_legal(&state), "{:?} {:#?}", state, graph);
                prop_assert!(state.deviations as usize >= space.roots(&state).len(), "{:?}", state);
                let new = found.insert((vector(&state, graph.len()), state.first, state.last));
                prop_assert!(new, "round {}: twice {:?}", round, state);
                if (found.len() + skip).is_multiple_of(3) {
                    seen.insert(identity);
                }
            }
            if round == 0 {
                let missing: Vec<_> = legal.difference(&found).collect();
                let wrong: Vec<_> = found.difference(&legal).collect();
                prop_assert!(missing.is_empty() && wrong.is_empty(), "missing {missing:?}, wrong {wrong:?}\n{graph:#?}");
                let ids: BTreeSet<u64> = seen.iter().copied().collect();
                found.retain(|(out, ..)| {
                    let full = CrashState { case: 0, prefix: 0, except: out.iter().enumerate()
                        .map(|(id, o)| (EffectId(id as u32), *o)).filter(|(_, o)| *o != Outcome::Absent)
                        .collect(), deviations: 0, first: 0, last: 0 };
                    ids.contains(&space.identity(&full))
                });
            }
        }
        prop_assert_eq!(&found, &legal);
    }

    /// A count that is called exact is that of all legal states; one that is not is no less.
    #[test]
    fn counts_are_brute_force(spec in spec(1..6), from in 0u64..8, len in 0u64..20) {
        let trace = trace(spec.facts.len());
        let mut effects = Effects::of(&trace);
        let graph = spec.graph(&mut effects);
        let end = trace.events.last().map_or(0, |event| event.end);
        let range = (from.min(end), (from + len).min(end));
        let Some(legal) = brute(&graph, range) else { return Ok(()) };
        let count = Counter::new(&graph).over(range.0, range.1);
        let right = if count.exact { count.states == legal.len().into() } else { count.states >= legal.len().into() };
        prop_assert!(right, "{count:?}, and there are {}\n{graph:#?}", legal.len());
    }

    /// Everything together, whatever the budget: no state twice, none illegal, and exactly as many as fit.
    #[test]
    fn budgets_are_spent(spec in spec(4..12), bound in 0u8..3, budget in 1u64..400) {
        let trace = trace(spec.facts.len());
        let mut effects = Effects::of(&trace);
        let graph = spec.graph(&mut effects);
        let space = Space::new(&trace, &effects, &Given(graph.clone()), &[]);
        if space.cases[0].order.is_none() {
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        let mut states = space.states(&Plan { bound, budget, seed: 9 });
        for state in states.by_ref() {
            prop_assert!(space.is_legal(&state), "{:?} {:#?}", state, graph);
            prop_assert!(seen.insert(vector(&state, graph.len())), "twice {:?}", state);
        }
        let count = space.count();
        if count.exact {
            let all = u64::try_from(&count.states).unwrap_or(u64::MAX);
            prop_assert_eq!(seen.len() as u64, all.min(budget), "of {}", all);
            prop_assert_eq!(states.is_exhaustive(), all <= budget);
        }
    }
}

/// A page that tears, may show old content, and is needed by sector: what shows old content has none of them.
#[test]
fn old_content_beside_needs_by_sector_is_counted_or_bounded() {
    let trace = trace(2);
    let mut effects = Effects::of(&trace);
    for stale in [false, true] {
        let facts = vec![(0x07, true, stale, 0, false), (0x06, true, false, 0, false)];
        let edges = vec![(1, 0, true)];
        let (forced, halves, given) = (vec![None; 2], vec![(1, 1); 2], vec![false; 2]);
        let graph = Spec { facts, edges, forced, halves, given, both: false }.graph(&mut effects);
        let legal = brute(&graph, (0, 4)).expect("few").len();
        let count = Counter::new(&graph).over(0, 4);
        assert_eq!((legal, count.exact), (if stale { 19 } else { 18 }, !stale), "{count:?}");
        assert!(if stale { count.states >= legal.into() } else { count.states == legal.into() }, "{count:?}");
    }
}

/// Needs by sector in a circle cannot be walked, and nothing is claimed.
#[test]
fn circles_by_sector_are_not_walked() {
    let trace = trace(3);
    let mut effects = Effects::of(&trace);
    let facts = vec![(0x03, true, false, 0, true); 3];
    let spec = |edges| Spec {
        facts: facts.clone(),
        edges,
        forced: vec![None; 3],
        halves: vec![(1, 1); 3],
        given: vec![false; 3],
        both: false,
    };
    assert!(Order::of(&spec(vec![(0, 1, true), (1, 0, false)]).graph(&mut effects)).is_none());
    let order = Order::of(&spec(vec![(0, 1, false), (1, 0, false), (2, 0, true)]).graph(&mut effects));
    let order = order.expect("an order");
    assert_eq!((order.members(0), order.members(1), order.len()), (&[0, 1][..], &[2][..], 2));
}
