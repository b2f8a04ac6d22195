//! What a model allows beside what was asked for, one by one: so that tests can take an allowance away and see
//! whether a real kernel has shown it.

use crate::effect::{Back, EffectId, EffectKind, Effects, Meta};
use crate::event::{AllocateMode, Event};
use crate::model::cover::{self, Came, Strength};
use crate::model::graph::{Grain, Graph, Need};
use crate::model::{Btrfs, Case, Model, Rule};
use crate::trace::Trace;

/// One allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// New blocks may show what stood there before.
    StaleBlocks,
    /// Blocks that were allocated in advance, or zeroed, may show what stood there before.
    StaleAllocated,
    /// Zeros may be there beside a write into a zeroed range, before the range is zeroed.
    ZerosBeside,
    /// A page of a zeroed range that was written in part may be there as a whole, before the range is zeroed.
    ZerosAround,
    /// Blocks that are set free may show what another file writes, before that is durable.
    ReusedBlocks,
    /// A truncate may be there without the zeros behind its end in the last page.
    CutsWithoutZeros,
    /// A hole may be there without the zeros within the pages at its edges.
    HolesWithoutZeros,
    /// A page over an old block may be there before changes of names and shapes from before it.
    EarlyOverwrites,
    /// A page over an old block may be there, of a file whose last name is gone, although the removal is not.
    WritesBehindRemovals,
    /// syncfs may leave overwrites behind.
    SyncfsLeavesOverwrites,
    /// A replacing rename may be there before the size of what it puts in place.
    RenamesBeforeSizes,
    /// A rename between directories may leave both names.
    BothNames,
    /// A file may come back under the name by which it was synced.
    ReturnsOfSynced,
    /// Likewise, beside the name that it has in another directory.
    ReturnsBeside,
    /// A replaced file may come back when what replaced it is gone.
    ReturnsOfReplaced,
    /// A write behind a gap may leave a size that ends with the page before the gap.
    SizesBeforeGaps,
    /// A log may have entries of the parents of its file.
    ParentsEntries,
    /// A log of a directory may have entries of new directories below it.
    EntriesBelow,
    /// A log may have the move of a directory above its file, or not.
    MovedAncestors,
    /// A rename of a file that was synced before may ride on any later log.
    Riders,
}

/// A model without one of its allowances, or without one of its rules.
pub struct Altered<'m> {
    /// The model.
    pub model: &'m dyn Model,
    /// What is taken away.
    pub lacks: Lacks,
}

/// What an [`Altered`] model lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// It forbids more.
    Allowance(Allowance),
    /// It allows more.
    Rule(Rule),
}

impl Allowance {
    /// All of them.
    pub const ALL: [Allowance; 20] = [
        Allowance::StaleBlocks,
        Allowance::StaleAllocated,
        Allowance::ZerosBeside,
        Allowance::ZerosAround,
        Allowance::ReusedBlocks,
        Allowance::CutsWithoutZeros,
        Allowance::HolesWithoutZeros,
        Allowance::EarlyOverwrites,
        Allowance::WritesBehindRemovals,
        Allowance::SyncfsLeavesOverwrites,
        Allowance::RenamesBeforeSizes,
        Allowance::BothNames,
        Allowance::ReturnsOfSynced,
        Allowance::ReturnsBeside,
        Allowance::ReturnsOfReplaced,
        Allowance::SizesBeforeGaps,
        Allowance::ParentsEntries,
        Allowance::EntriesBelow,
        Allowance::MovedAncestors,
        Allowance::Riders,
    ];

    /// What it says.
    pub fn name(self) -> &'static str {
        match self {
            Allowance::StaleBlocks => "a new block shows what stood there before",
            Allowance::StaleAllocated => "a block allocated in advance shows what stood there before",
            Allowance::ZerosBeside => "zeros beside a write into a zeroed range, before the range is zeroed",
            Allowance::ZerosAround => "a zeroed page with a part written, before the range is zeroed",
            Allowance::ReusedBlocks => {
                "a freed block shows another file's data before the freeing is durable"
            }
            Allowance::CutsWithoutZeros => "a truncate without the zeros in its last page",
            Allowance::HolesWithoutZeros => "a hole without the zeros at its edges",
            Allowance::EarlyOverwrites => "an overwrite before the names and shapes before it",
            Allowance::WritesBehindRemovals => "an overwrite behind the last unlink, without that",
            Allowance::SyncfsLeavesOverwrites => "syncfs leaves overwrites behind",
            Allowance::RenamesBeforeSizes => "a replacing rename before the size of the new file",
            Allowance::BothNames => "both names of a rename between directories",
            Allowance::ReturnsOfSynced => "a file that is gone under the name by which it was synced",
            Allowance::ReturnsBeside => "a file that was moved, under the name by which it was synced too",
            Allowance::ReturnsOfReplaced => "a replaced file when what replaced it is gone",
            Allowance::SizesBeforeGaps => "a size that ends with the page before a gap",
            Allowance::ParentsEntries => "a file's log with single entries of its parents",
            Allowance::EntriesBelow => "a directory's log with entries of new directories below it",
            Allowance::MovedAncestors => "a file's log with or without the move of a directory above it",
            Allowance::Riders => "a rename of a synced file on any later log",
        }
    }

    /// The models that have it.
    pub fn models(self) -> &'static [&'static str] {
        match self {
            Allowance::StaleBlocks
            | Allowance::StaleAllocated
            | Allowance::ReusedBlocks
            | Allowance::RenamesBeforeSizes => &["ext4-writeback"],
            Allowance::ZerosBeside => &["ext4-journal", "ext4-writeback"],
            // With data=writeback the block may show anything, so that it would not be missed there.
            Allowance::ZerosAround => &["ext4-ordered"],
            Allowance::CutsWithoutZeros | Allowance::HolesWithoutZeros => &["ext4-writeback", "xfs", "btrfs"],
            Allowance::EarlyOverwrites | Allowance::WritesBehindRemovals => {
                &["ext4-ordered", "ext4-writeback", "xfs"]
            }
            Allowance::SizesBeforeGaps => &["ext4-ordered", "xfs"],
            Allowance::SyncfsLeavesOverwrites => &["xfs"],
            _ => &["btrfs"],
        }
    }
}

impl Model for Altered<'_> {
    fn name(&self) -> &'static str {
        self.model.name()
    }

    fn summary(&self) -> &'static str {
        self.model.summary()
    }

    fn kind(&self) -> super::Kind {
        self.model.kind()
    }

    fn effects(&self, trace: &Trace) -> Effects {
        match self.lacks {
            Lacks::Allowance(Allowance::SizesBeforeGaps) => Effects::of(trace),
            _ => self.model.effects(trace),
        }
    }

    fn cases<'t>(&self, trace: &'t Trace, effects: &'t Effects) -> Vec<Box<dyn Case + 't>> {
        let cases = match self.lacks {
            Lacks::Allowance(lacks) if self.model.name() == Btrfs.name() => {
                vec![Box::new(super::btrfs::graph(trace, effects, Some(lacks))) as Box<dyn Case>]
            }
            _ => self.model.cases(trace, effects),
        };
        let altered = cases.iter().map(|case| match self.lacks {
            Lacks::Rule(rule) => case.graph().without(rule),
            Lacks::Allowance(allowance) => {
                let mut graph = case.graph().clone();
                forbid(&mut graph, trace, effects, allowance);
                graph
            }
        });
        altered.map(|graph| Box::new(graph) as Box<dyn Case>).collect()
    }
}

/// Those that are edges, outcomes or clocks of the graph; btrfs's logs know the others.
fn forbid(graph: &mut Graph, trace: &Trace, effects: &Effects, allowance: Allowance) {
    let mut edges = Vec::new();
    let mut names = None;
    let mut removal = None;
    let returns = match allowance {
        Allowance::ReturnsOfSynced => Some(Back::Synced),
        Allowance::ReturnsBeside => Some(Back::Beside),
        Allowance::ReturnsOfReplaced => Some(Back::Replaced),
        _ => None,
    };
    for (n, effect) in effects.list.iter().enumerate() {
        let id = EffectId(n as u32);
        let mut need = |on| edges.push((id, Need { on, grain: Grain::Whole, rule: Rule::Assumed }));
        let same_call = || {
            let before = effects.list[..n].iter().enumerate().rev();
            before.take_while(|(_, e)| e.event == effect.event).map(|(on, _)| EffectId(on as u32))
        };
        match (allowance, &effect.kind) {
            (Allowance::StaleBlocks, kind @ EffectKind::Data { .. }) if !kind.is_freed() => {
                graph.facts[n].stale = false;
            }
            (Allowance::StaleAllocated, EffectKind::Data { fresh: false, .. }) if !effect.kind.is_freed() => {
                graph.facts[n].stale = false;
            }
            (Allowance::ReusedBlocks, kind) if kind.is_freed() => graph.facts[n].stale = false,
            (_, EffectKind::Meta(Meta::Return { back, .. })) if returns == Some(*back) => {
                graph.facts[n].parts = 0;
                graph.facts[n].whole_from = effect.issued;
            }
            (Allowance::CutsWithoutZeros, EffectKind::Meta(Meta::Truncate { .. })) => {
                same_call().for_each(&mut need);
            }
            (
                Allowance::HolesWithoutZeros,
                EffectKind::Meta(Meta::Allocate {
                    mode: AllocateMode::Punch | AllocateMode::Zero { .. },
                    ..
                }),
            ) => same_call().for_each(&mut need),
            (Allowance::EarlyOverwrites, EffectKind::Data { fresh: false, .. })
                if !effect.kind.is_freed() =>
            {
                names.into_iter().for_each(&mut need);
            }
            (Allowance::WritesBehindRemovals, EffectKind::Data { fresh: false, .. })
                if !effect.kind.is_freed() =>
            {
                removal.into_iter().for_each(&mut need);
            }
            (
                Allowance::RenamesBeforeSizes,
                EffectKind::Meta(Meta::Rename { file, replaced: Some(_), .. }),
            ) => {
                let sizes = effects.list[..n].iter().enumerate();
                let of_it = |kind: &EffectKind| matches!(kind, EffectKind::Size { file: f, .. } if f == file);
                sizes.filter(|(_, e)| of_it(&e.kind)).for_each(|(on, _)| need(EffectId(on as u32)));
            }
            _ => {}
        }
        if effect.kind.is_name() && !effect.kind.is_given() {
            names = Some(id);
        }
        if effects.deaths.contains_key(&id) {
            removal = Some(id);
        }
    }
    let own = match allowance {
        Allowance::ZerosBeside => Some(false),
        Allowance::ZerosAround => Some(true),
        _ => None,
    };
    for (id, zeros) in effects.zeros.iter().filter(|(_, zeros)| own == Some(zeros.own)) {
        edges.push((*id, Need { on: zeros.by, grain: Grain::Whole, rule: Rule::Assumed }));
    }
    if allowance == Allowance::SyncfsLeavesOverwrites {
        syncfs_forces(graph, trace, effects);
    }
    graph.add_edges(edges);
}

fn syncfs_forces(graph: &mut Graph, trace: &Trace, effects: &Effects) {
    let points = cover::points(trace);
    for point in points.iter().filter(|p| p.how == Strength::Everything && p.came == Came::Forced) {
        for (n, effect) in effects.list.iter().enumerate() {
            let end = trace.over(effect.event as usize);
            if end < point.begin && end != Event::NEVER {
                let fact = &mut graph.facts[n];
                fact.absent_until = fact.absent_until.min(point.end);
                fact.whole_from = fact.whole_from.min(point.end);
            }
        }
    }
}
