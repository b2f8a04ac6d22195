//! `posix` and `posix-split`: nothing but what the standard says.

use crate::effect::{EffectId, EffectKind, Effects, Meta};
use crate::event::AllocateMode::{Collapse, Insert};
use crate::event::{Clock, Event, FileId};
use crate::model::cover::{self, Strength};
use crate::model::graph::{Grain, Graph, Need, Oddities, Rule};
use crate::model::{Case, Model};
use crate::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};

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

    fn cases<'t>(&self, trace: &'t Trace, effects: &'t Effects) -> Vec<Box<dyn Case + 't>> {
        // An append may show garbage or zeros before its data; any page may tear.
        let odd = Oddities { tear_old: true, tear_fresh: true, stale: true, parts: self.split };
        let mut graph = Graph::new(effects, odd, visible_edges(effects));
        if self.split {
            // Of a rename between directories, each directory's sync forces its own entry.
            let to = cover::forced_among(trace, effects, forces_target, is_rename);
            let from = cover::forced_among(trace, effects, forces_source, is_rename);
            for (id, effect) in effects.list.iter().enumerate() {
                if let EffectKind::Meta(Meta::Rename { .. }) = effect.kind {
                    graph.halves.insert(EffectId(id as u32), (to[id], from[id]));
                }
            }
            let mut whole = cover::forced(trace, effects, forces);
            for id in graph.halves.keys() {
                whole[id.0 as usize] = Event::NEVER;
            }
            graph.force(&whole);
        } else {
            let forced: Vec<Clock> = cover::forced(trace, effects, forces);
            graph.force(&forced);
        }
        vec![Box::new(graph)]
    }
}

/// The edges that every model but `prefix` shares. They forbid nothing that could be seen: they make one set
/// of effects stand for each content. (1) Sizes of one file between two truncates are nested, since only the
/// largest shows. (2) The data of an extending write show only if that size is there; unless the file was cut
/// before: then they show under the old size too, where the block is old and the cut is missing.
pub(crate) fn visible_edges(effects: &Effects) -> Vec<(EffectId, Need)> {
    let mut edges = Vec::new();
    let mut last_size: BTreeMap<FileId, EffectId> = BTreeMap::new();
    let mut cut: BTreeSet<FileId> = BTreeSet::new();
    for (id, effect) in effects.list.iter().enumerate() {
        let id = EffectId(id as u32);
        match &effect.kind {
            EffectKind::Size { file, .. } => {
                if let Some(on) = last_size.insert(*file, id) {
                    edges.push((id, Need { on, grain: Grain::Whole, rule: Rule::SizeChain }));
                }
            }
            EffectKind::Data { file, fresh, .. } if *fresh || !cut.contains(file) => {
                // An extending write's size stands just before its page's data.
                let before = id.0.checked_sub(1).map(|n| (EffectId(n), &effects.list[n as usize]));
                if let Some((on, size)) = before
                    && size.event == effect.event
                    && matches!(&size.kind, EffectKind::Size { file: f, .. } if f == file)
                {
                    edges.push((id, Need { on, grain: Grain::Whole, rule: Rule::DataInSize }));
                }
            }
            EffectKind::Meta(
                Meta::Truncate { file, .. } | Meta::Allocate { file, mode: Collapse | Insert, .. },
            ) => {
                last_size.remove(file);
                cut.insert(*file);
            }
            EffectKind::Data { .. } | EffectKind::Meta(_) => {}
        }
    }
    edges
}

/// fsync(file) forces data, size and truncates of that file, *not its name*; fsync(directory) its entries.
/// fdatasync: "all data [...] as if fsync, except that metadata not needed to retrieve the data may be left":
/// the size is needed, so here it does the same. O_DSYNC and O_SYNC complete the one write.
fn forces(kind: &EffectKind, file: FileId, how: Strength) -> bool {
    if matches!(how, Strength::WriteData | Strength::WriteFull) {
        return false;
    }
    match kind {
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
        EffectKind::Meta(Meta::Rename { to_dir, .. }) => forces(kind, file, how) && *to_dir == file,
        _ => false,
    }
}

fn forces_source(kind: &EffectKind, file: FileId, how: Strength) -> bool {
    match kind {
        EffectKind::Meta(Meta::Rename { from_dir, .. }) => forces(kind, file, how) && *from_dir == file,
        _ => false,
    }
}
