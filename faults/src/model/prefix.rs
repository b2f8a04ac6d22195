//! `prefix`: the most orderly disk there could be.

use crate::effect::{EffectId, EffectKind, Effects};
use crate::event::{FileId, Op};
use crate::model::cover::{self, Strength};
use crate::model::graph::{Grain, Graph, Need, Oddities, Rule};
use crate::model::{Case, Model};
use crate::trace::Trace;

/// Any prefix of the effects, in the order of the calls, at or after the forced point. A store that fails here
/// has lost something that it had not written at all when it acknowledged it.
pub struct Prefix;

impl Model for Prefix {
    fn name(&self) -> &'static str {
        "prefix"
    }

    fn summary(&self) -> &'static str {
        "everything reaches the disk in order; a sync forces all before it"
    }

    fn cases<'t>(&self, trace: &'t Trace, effects: &'t Effects) -> Vec<Box<dyn Case + 't>> {
        let mut edges = Vec::new();
        for id in 1..effects.list.len() as u32 {
            let need = |on, grain| Need { on: EffectId(on), grain, rule: Rule::InOrder };
            edges.push((EffectId(id), need(id - 1, Grain::Whole)));
            // A size never stands there before the data that it covers, nor zeros before their truncate.
            let (before, here) = (&effects.list[id as usize - 1], &effects.list[id as usize]);
            let shape = before.event == here.event
                && !matches!(trace.events[here.event as usize].op, Op::Write { .. });
            if shape || matches!(before.kind, EffectKind::Size { .. }) {
                edges.push((EffectId(id - 1), need(id, Grain::Whole)));
            }
        }
        let mut graph = Graph::new(effects, Oddities::default(), edges);
        graph.force(&cover::forced(trace, effects, forces));
        vec![Box::new(graph)]
    }
}

/// Everything that touches the file or directory: the widest of all models' syncs, so that every model allows
/// each state of this one.
fn forces(kind: &EffectKind, file: FileId, how: Strength) -> bool {
    match how {
        Strength::Full | Strength::Data => cover::touched(kind).contains(&file),
        Strength::WriteData | Strength::WriteFull => {
            matches!(kind, EffectKind::Meta(_)) && cover::touched(kind).contains(&file)
        }
    }
}
