//! `posix` and `posix-split`: nothing but what the standard says.

use crate::effect::{EffectId, EffectKind, Effects, Meta};
use crate::event::{Clock, Event, FileId};
use crate::model::cover::{self, Forces, Strength};
use crate::model::graph::{Graph, Oddities};
use crate::model::visible::{data_in_size, size_chain, sizes_follow_data};
use crate::model::{Case, Kind, Model};
use crate::trace::Trace;

/// Any subset of effects; order comes from syncs alone (IEEE Std 1003.1, fsync: "all data for the open file
/// descriptor [...] is to be transferred to the storage device"; nothing is said of what else may be).
pub struct Posix {
    /// A rename may be seen half done: the standard makes it atomic to other processes, not over a crash.
    pub split: bool,
}

impl Model for Posix {
    fn name(&self) -> &'static str {
        if self.split { "posix-split" } else { "posix" }
    }

    fn summary(&self) -> &'static str {
        if self.split {
            "posix, and a rename may be half done; holds every other model"
        } else {
            "any subset of what no sync forced; rename is whole"
        }
    }

    fn kind(&self) -> Kind {
        Kind::Standard
    }

    fn effects(&self, trace: &Trace) -> Effects {
        Effects::with_gaps(trace)
    }

    fn cases<'t>(&self, trace: &'t Trace, effects: &'t Effects) -> Vec<Box<dyn Case + 't>> {
        // An append may show garbage or zeros before its data; any page may tear.
        let odd = Oddities {
            tear_old: true,
            tear_fresh: true,
            stale: true,
            parts: self.split,
            both: false,
            reuse: false,
        };
        let mut edges = data_in_size(effects);
        edges.extend(size_chain(effects));
        let mut graph = Graph::new(effects, odd, edges);
        // After a failed sync nothing is known of the data nor of the size that goes with them.
        let forced = |forces: Forces| {
            let mut forced: Vec<Clock> = cover::forced(trace, effects, forces);
            sizes_follow_data(effects, &mut forced);
            forced
        };
        if self.split {
            // Of a rename between directories, each directory's sync forces its own entry.
            let to = cover::forced_among(trace, effects, forces_target, is_rename);
            let from = cover::forced_among(trace, effects, forces_source, is_rename);
            for (id, effect) in effects.list.iter().enumerate() {
                if let EffectKind::Meta(Meta::Rename { .. }) = effect.kind {
                    graph.halves.insert(EffectId(id as u32), (to[id], from[id]));
                }
            }
            let mut whole = forced(forces_split);
            for id in graph.halves.keys() {
                whole[id.0 as usize] = Event::NEVER;
            }
            graph.force(&whole);
        } else {
            graph.force(&forced(forces));
        }
        vec![Box::new(graph)]
    }
}

/// As [`forces`], and by the letter: "The writing, although scheduled, is not necessarily complete upon return from
/// sync()". (syncfs is not in the standard; on XFS it may leave overwrites behind.)
fn forces_split(kind: &EffectKind, file: FileId, how: Strength) -> bool {
    how != Strength::Everything && forces(kind, file, how)
}

/// fsync(file) forces data, size and truncates of that file, *not its name*; fsync(directory) its entries.
/// fdatasync: "all data [...] as if fsync, except that metadata not needed to retrieve the data may be left":
/// the size is needed, so here it does the same. O_DSYNC and O_SYNC complete the one write.
fn forces(kind: &EffectKind, file: FileId, how: Strength) -> bool {
    if matches!(how, Strength::WriteData | Strength::WriteFull) {
        return false;
    }
    match kind {
        // sync(2) as Linux has it: it waits, "the same guarantees as fsync() called on every file".
        _ if how == Strength::Everything => true,
        EffectKind::Data { .. } | EffectKind::Size { .. } => true,
        EffectKind::Meta(meta) => {
            kind.content_of() == Some(file) || cover::parents(meta).contains(&Some(file))
        }
    }
}

fn is_rename(kind: &EffectKind) -> bool {
    matches!(kind, EffectKind::Meta(Meta::Rename { .. }))
}

fn forces_target(kind: &EffectKind, file: FileId, how: Strength) -> bool {
    match kind {
        EffectKind::Meta(Meta::Rename { to_dir, .. }) => forces_split(kind, file, how) && *to_dir == file,
        _ => false,
    }
}

fn forces_source(kind: &EffectKind, file: FileId, how: Strength) -> bool {
    match kind {
        EffectKind::Meta(Meta::Rename { from_dir, .. }) => forces_split(kind, file, how) && *from_dir == file,
        _ => false,
    }
}
