//! `ext4-ordered`: ext4 as it is mounted by default (data=ordered, delayed allocation, dioread_nolock,
//! auto_da_alloc). The rules R1 to R7 were measured on real crash images: notes/persistence-models.md.

use crate::effect::{EffectId, EffectKind, Effects, Meta, PAGE};
use crate::event::{AllocateMode, FileId};
use crate::model::cover::{self, Strength};
use crate::model::graph::{Grain, Graph, Need, Oddities, Rule};
use crate::model::posix::visible_edges;
use crate::model::{Case, Model};
use crate::trace::Trace;
use std::collections::BTreeMap;

/// See the module.
pub struct Ext4Ordered;

impl Model for Ext4Ordered {
    fn name(&self) -> &'static str {
        "ext4-ordered"
    }

    fn summary(&self) -> &'static str {
        "ext4 by default: names in the journal's order, data by page, zeros before appended data"
    }

    fn cases<'t>(&self, trace: &'t Trace, effects: &'t Effects) -> Vec<Box<dyn Case + 't>> {
        // R3: an overwritten page tears. A fresh one does not: its extent is marked written when all of the
        // page is (dioread_nolock), until then it reads as zeros (R4), which is the absent effect.
        let odd = Oddities { tear_old: true, ..Oddities::default() };
        let mut rules = Rules::default();
        for (id, effect) in effects.list.iter().enumerate() {
            rules.effect(trace, effects, EffectId(id as u32), &effect.kind);
        }
        rules.edges.extend(visible_edges(effects));
        let mut graph = Graph::new(effects, odd, rules.edges);
        graph.force(&cover::forced(trace, effects, forces));
        vec![Box::new(graph)]
    }
}

/// R6 and R7: a sync of f forces its data and sizes and, with the journal, everything up to the last change
/// that touches f, and (by R2) what was issued before its last extending or allocating write. fdatasync does
/// not take a rename or link of f for such a change; the directories' entries it does.
fn forces(kind: &EffectKind, file: FileId, how: Strength) -> bool {
    let full = matches!(how, Strength::Full | Strength::WriteFull);
    match kind {
        // O_DSYNC and O_SYNC sync the written range, but the whole of the inode (generic_write_sync).
        EffectKind::Data { .. } => matches!(how, Strength::Full | Strength::Data),
        EffectKind::Size { .. } => matches!(how, Strength::Full | Strength::Data),
        EffectKind::Meta(meta) => match meta {
            Meta::Truncate { .. } | Meta::Allocate { .. } => true,
            Meta::Create { .. } | Meta::Unlink { .. } => true,
            Meta::Link { dir, .. } => full || *dir == file,
            Meta::Rename { file: moved, .. } => full || *moved != file,
            Meta::Exchange { a, b, .. } => full || (*a != file && *b != file),
        },
    }
}

/// The edges, gathered in one pass over the effects.
#[derive(Default)]
struct Rules {
    edges: Vec<(EffectId, Need)>,
    /// All journalled changes so far.
    journal: Vec<EffectId>,
    files: BTreeMap<FileId, FileRules>,
}

#[derive(Default)]
struct FileRules {
    last_size: Option<EffectId>,
    /// What cut pages off so far, for pages that nothing of this trace has written yet.
    cuts: Vec<(EffectId, std::ops::Range<u64>)>,
    pages: BTreeMap<u64, PageRules>,
}

#[derive(Default)]
struct PageRules {
    /// The effect that brought the page its block, if one of this trace did.
    fresh: Option<EffectId>,
    /// The last effect on each sector.
    sectors: [Option<EffectId>; 8],
    /// The punch, zeroing or truncate before the page's present content.
    cut: Option<EffectId>,
    /// All data effects since then.
    data: Vec<EffectId>,
}

impl Rules {
    fn need(&mut self, from: EffectId, on: EffectId, grain: Grain, rule: Rule) {
        self.edges.push((from, Need { on, grain, rule }));
    }

    fn effect(&mut self, trace: &Trace, effects: &Effects, id: EffectId, kind: &EffectKind) {
        match kind {
            EffectKind::Size { file, .. } => {
                self.after_journal(trace, effects, id);
                self.files.entry(*file).or_default().last_size = Some(id);
            }
            EffectKind::Data { file, page, fresh, .. } => {
                if *fresh {
                    self.after_journal(trace, effects, id);
                }
                self.data(id, *file, *page, kind.sectors(), *fresh);
            }
            EffectKind::Meta(meta) => {
                // R1: one total order, of which a prefix survives.
                if let Some(&on) = self.journal.last() {
                    self.need(id, on, Grain::Whole, Rule::Journal);
                }
                self.journal.push(id);
                self.meta(effects, id, meta);
            }
        }
    }

    /// R2: the last journalled change that had returned before this write was called, and so all before it.
    /// One that was still running may be journalled later.
    fn after_journal(&mut self, trace: &Trace, effects: &Effects, id: EffectId) {
        let issued = effects.list[id.0 as usize].issued;
        let returned = |on: &&EffectId| {
            let event = effects.list[on.0 as usize].event as usize;
            trace.events[event].end < issued
        };
        if let Some(on) = self.journal.iter().rev().find(returned).copied() {
            self.need(id, on, Grain::Whole, Rule::AllocationAfterNames);
        }
    }

    /// R3, R5: a page is written back with everything that is in it, sector by sector.
    fn data(&mut self, id: EffectId, file: FileId, page: u64, sectors: u8, fresh: bool) {
        let of_file = self.files.entry(file).or_default();
        let cuts = &of_file.cuts;
        let known = of_file.pages.entry(page).or_insert_with(|| {
            let cut = cuts.iter().rev().find(|(_, pages)| pages.contains(&page)).map(|(on, _)| *on);
            PageRules { cut, ..PageRules::default() }
        });
        if fresh {
            let cut = known.cut;
            *known = PageRules { cut, ..PageRules::default() };
        }
        let mut needs: Vec<Need> = Vec::new();
        if let Some(on) = known.cut {
            needs.push(Need { on, grain: Grain::Whole, rule: Rule::DataAfterTruncate });
        }
        if let Some(on) = known.fresh {
            needs.push(Need { on, grain: Grain::Whole, rule: Rule::PageHoldsEarlier });
        }
        for bit in (0..8).filter(|bit| sectors & (1 << bit) != 0) {
            if let Some(on) = known.sectors[bit].replace(id) {
                needs.push(Need { on, grain: Grain::Sectors, rule: Rule::PageHoldsEarlier });
            }
        }
        if fresh {
            known.fresh = Some(id);
        }
        known.data.push(id);
        needs.sort_unstable();
        needs.dedup();
        self.edges.extend(needs.into_iter().map(|need| (id, need)));
    }

    fn meta(&mut self, effects: &Effects, id: EffectId, meta: &Meta) {
        match meta {
            Meta::Rename { file, replaced: Some(_), .. } => {
                // auto_da_alloc: the rename starts the allocation of what it moves over another file, so the
                // size is journalled first; the data are not waited for (old, N zero bytes, or new).
                if let Some(on) = self.files.get(file).and_then(|known| known.last_size) {
                    self.need(id, on, Grain::Whole, Rule::ReplaceViaRename);
                }
            }
            Meta::Truncate { file, size } => {
                self.cut(id, *file, size.div_ceil(PAGE)..u64::MAX);
                self.size_set(id, *file);
            }
            Meta::Allocate { file, mode, offset, len } => {
                let end = offset.saturating_add(*len);
                match mode {
                    AllocateMode::Extend | AllocateMode::KeepSize => {}
                    AllocateMode::Punch | AllocateMode::Zero { .. } => {
                        self.cut(id, *file, offset.div_ceil(PAGE)..end / PAGE);
                    }
                    // The kernel writes the moved pages out before it shifts their extents.
                    AllocateMode::Collapse | AllocateMode::Insert => {
                        self.cut(id, *file, offset / PAGE..u64::MAX);
                        self.size_set(id, *file);
                    }
                }
            }
            _ => {}
        }
        if let Some(file) = effects.deaths.get(&id) {
            self.bury(id, *file);
        }
    }

    /// R5: what the change cut off no longer shows and counts as there; what follows it needs it.
    fn cut(&mut self, id: EffectId, file: FileId, pages: std::ops::Range<u64>) {
        if pages.is_empty() {
            return;
        }
        let known = self.files.entry(file).or_default();
        let mut gone = Vec::new();
        known.cuts.push((id, pages.clone()));
        for (_, page) in known.pages.range_mut(pages) {
            gone.append(&mut page.data);
            *page = PageRules { cut: Some(id), ..PageRules::default() };
        }
        for on in gone {
            self.need(id, on, Grain::Whole, Rule::OutOfReach);
        }
    }

    /// With its last name gone, nothing shows of a file: what was written so far counts as there. What is
    /// written later through an open descriptor does not need the removal (R3): over a block that the file
    /// has, it can be on the disk while the name still is.
    fn bury(&mut self, id: EffectId, file: FileId) {
        let known = self.files.entry(file).or_default();
        let gone: Vec<EffectId> = known.pages.values_mut().flat_map(|page| page.data.drain(..)).collect();
        for on in gone {
            self.need(id, on, Grain::Whole, Rule::OutOfReach);
        }
        self.size_set(id, file);
    }

    /// The size is set by the journal: earlier extensions no longer show.
    fn size_set(&mut self, id: EffectId, file: FileId) {
        if let Some(on) = self.files.entry(file).or_default().last_size.take() {
            self.need(id, on, Grain::Whole, Rule::OutOfReach);
        }
    }
}
