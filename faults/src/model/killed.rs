//! `kill -9`: no power loss, but the end of every process of the target. The page cache survives.

use crate::effect::{EffectId, EffectKind, Effects};
use crate::event::{Clock, Event, Op};
use crate::model::graph::{Grain, Graph, Need, Oddities};
use crate::model::overlap::Spans;
use crate::model::{Case, Kind, Model, Rule};
use crate::trace::Trace;

/// What is left when the target's processes are killed: everything that its calls had done, in their order, and of
/// the calls under way a part. No file system has a say in it, so it is not one of [`all`](super::all).
pub struct Killed;

impl Model for Killed {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn summary(&self) -> &'static str {
        "the processes are killed, the page cache survives: whatever had returned is there"
    }

    fn kind(&self) -> Kind {
        Kind::InOrder
    }

    fn cases<'t>(&self, trace: &'t Trace, effects: &'t Effects) -> Vec<Box<dyn Case + 't>> {
        let mut edges = Vec::new();
        let calls = Spans::of(trace);
        let spans: Vec<(Clock, Clock)> = effects.list.iter().map(|e| calls.of_event(e.event)).collect();
        let latest: Vec<Clock> = spans
            .iter()
            .scan(0, |max, (_, end)| {
                *max = (*max).max(*end);
                Some(*max)
            })
            .collect();
        for id in 1..effects.list.len() as u32 {
            let need = |on, grain| Need { on: EffectId(on), grain, rule: Rule::InOrder };
            for on in before(id as usize, effects, &spans, &latest) {
                edges.push((EffectId(id), need(on, Grain::Whole)));
            }
            // As in `prefix`: a size never stands there before the data that it covers.
            let (before, here) = (&effects.list[id as usize - 1], &effects.list[id as usize]);
            let shape = before.event == here.event
                && !matches!(trace.events[here.event as usize].op, Op::Write { .. });
            if shape || matches!(before.kind, EffectKind::Size { .. }) {
                edges.push((EffectId(id - 1), need(id, Grain::Whole)));
            }
        }
        let mut graph = Graph::new(effects, Oddities::default(), edges);
        // What a call had come to in which the target was killed, the next life goes on from.
        let ends: Vec<Clock> = effects.list.iter().map(|e| trace.over(e.event as usize)).collect();
        graph.force(&ends);
        vec![Box::new(graph)]
    }
}

/// Whether two changes keep their order, also where their calls overlap: the other one is another order of the trace.
fn conflict(a: &EffectKind, b: &EffectKind) -> bool {
    match (a.content_of(), b.content_of()) {
        (None, None) => true,
        (a, b) => a == b,
    }
}

/// Without which effects this one cannot be there: the one before it of the same call, those that it keeps its order
/// with, and those of calls that were over when its own began, as far as others of these do not need them already.
/// `latest` has the latest end up to each.
fn before(id: usize, effects: &Effects, spans: &[(Clock, Clock)], latest: &[Clock]) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    let mut earliest = Event::NEVER;
    for on in (0..id).rev() {
        let same = on + 1 == id && effects.list[on].event == effects.list[id].event;
        if same || spans[on].1 < spans[id].0 || conflict(&effects.list[on].kind, &effects.list[id].kind) {
            found.push(on as u32);
            earliest = earliest.min(spans[on].0);
        }
        if same || on > 0 && latest[on - 1] < earliest && earliest != Event::NEVER {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{FileId, Task, WriteSync};
    use crate::state::{Plan, Space};
    use crate::trace::BaseNode;

    #[test]
    fn what_had_returned_is_there_and_what_had_not_may_be() {
        let file = FileId(1);
        let node = BaseNode {
            file,
            dir: FileId::ROOT,
            name: b"f".to_vec(),
            kind: crate::event::NodeKind::File,
            data: Vec::new(),
        };
        let write = |n: u64| Event {
            begin: n * 10,
            end: n * 10 + 5,
            at: 0,
            task: Task::default(),
            site: None,
            errno: 0,
            op: Op::Write { file, offset: n - 1, data: vec![b'x'], sync: WriteSync::None },
        };
        let trace = Trace { base: vec![node], events: vec![write(1), write(2)], ..Trace::default() };
        let effects = Effects::of(&trace);
        let space = Space::new(&trace, &effects, &Killed, &[]);
        let at = |point: Clock| -> Vec<Vec<u8>> {
            let space = Space::new(&trace, &effects, &Killed, &[]).within(point..=point);
            let states: Vec<_> = space.states(&Plan { bound: 2, budget: 100, seed: 0 }).collect();
            states.iter().map(|s| space.image(s).nodes[&b"f"[..]].data.clone()).collect()
        };
        assert!(space.count().exact);
        assert_eq!(at(16), [b"x".to_vec()], "between two calls there is one state");
        assert_eq!(at(12).len(), 2, "inside a call it is there or not");
        assert_eq!(at(25), [b"xx".to_vec()]);
    }

    /// Of two calls that overlap either may be there first, where one changes nothing that the other does.
    #[test]
    fn calls_that_overlap_do_not_wait_for_each_other() {
        let (f, g) = (FileId(1), FileId(2));
        let node = |file, name: &str| BaseNode {
            file,
            dir: FileId::ROOT,
            name: name.as_bytes().to_vec(),
            kind: crate::event::NodeKind::File,
            data: Vec::new(),
        };
        let write = |file, offset, begin, end| Event {
            begin,
            end,
            at: 0,
            task: Task::default(),
            site: None,
            errno: 0,
            op: Op::Write { file, offset, data: vec![b'x'], sync: WriteSync::None },
        };
        // A child's write lasts, while the parent writes twice.
        let events = vec![write(f, 0, 10, 60), write(g, 0, 20, 30), write(g, 1, 40, 50), write(g, 2, 70, 80)];
        let trace = Trace { base: vec![node(f, "f"), node(g, "g")], events, ..Trace::default() };
        let effects = Effects::of(&trace);
        let at = |point: Clock| -> std::collections::BTreeSet<(usize, usize)> {
            let space = Space::new(&trace, &effects, &Killed, &[]).within(point..=point);
            let states: Vec<_> = space.states(&Plan { bound: 4, budget: 100, seed: 0 }).collect();
            let len = |image: &crate::image::Image, name: &[u8]| image.nodes[name].data.len();
            states.iter().map(|s| space.image(s)).map(|i| (len(&i, b"f"), len(&i, b"g"))).collect()
        };
        assert_eq!(at(35), [(0, 1), (1, 1)].into());
        assert_eq!(at(45), [(0, 1), (0, 2), (1, 1), (1, 2)].into());
        assert_eq!(at(55), [(0, 2), (1, 2)].into());
        assert_eq!(at(65), [(1, 2)].into());
        assert_eq!(at(75), [(1, 2), (1, 3)].into());
    }
}
