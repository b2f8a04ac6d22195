//! `kill -9`: no power loss, but the end of every process of the target. The page cache survives.

use crate::effect::{EffectId, EffectKind, Effects};
use crate::event::{Clock, Event, Op};
use crate::model::graph::{Grain, Graph, Need, Oddities};
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
        for id in 1..effects.list.len() as u32 {
            let need = |on, grain| Need { on: EffectId(on), grain, rule: Rule::InOrder };
            edges.push((EffectId(id), need(id - 1, Grain::Whole)));
            // As in `prefix`: a size never stands there before the data that it covers.
            let (before, here) = (&effects.list[id as usize - 1], &effects.list[id as usize]);
            let shape = before.event == here.event
                && !matches!(trace.events[here.event as usize].op, Op::Write { .. });
            if shape || matches!(before.kind, EffectKind::Size { .. }) {
                edges.push((EffectId(id - 1), need(id, Grain::Whole)));
            }
        }
        let mut graph = Graph::new(effects, Oddities::default(), edges);
        let ends: Vec<Clock> = effects.list.iter().map(|e| end(trace, e.event)).collect();
        graph.force(&ends);
        vec![Box::new(graph)]
    }
}

/// When a call had returned. One in which the target was killed may have come as far as it did, or not.
fn end(trace: &Trace, event: u32) -> Clock {
    trace.events.get(event as usize).map_or(Event::NEVER, |e| e.end)
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
}
