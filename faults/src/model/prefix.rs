//! `prefix`: the most orderly disk there could be.

use crate::effect::{EffectKind, Effects};
use crate::event::FileId;
use crate::model::cover::{self, Strength};
use crate::model::graph::{Graph, Oddities};
use crate::model::visible::in_order;
use crate::model::{Case, Kind, Model};
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

    fn kind(&self) -> Kind {
        Kind::InOrder
    }

    fn cases<'t>(&self, trace: &'t Trace, effects: &'t Effects) -> Vec<Box<dyn Case + 't>> {
        let mut graph = Graph::new(effects, Oddities::default(), in_order(trace, effects));
        graph.force(&cover::forced(trace, effects, forces));
        vec![Box::new(graph)]
    }
}

/// Everything that touches the file or directory: the widest of all models' syncs, so that every model allows
/// each state of this one.
fn forces(kind: &EffectKind, file: FileId, how: Strength) -> bool {
    match how {
        Strength::Full | Strength::Data | Strength::Everything => cover::touched(kind).contains(&file),
        Strength::WriteData | Strength::WriteFull => {
            matches!(kind, EffectKind::Meta(_)) && cover::touched(kind).contains(&file)
        }
    }
}
