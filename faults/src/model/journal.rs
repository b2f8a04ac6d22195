//! What the journalling file systems have in common: the rules R1 to R7, measured on genuine crash images of ext4
//! and XFS (docs/persistence-rules.md), with what tells one from the other as data.

use crate::effect::{EffectId, EffectKind, Effects, Meta, PAGE};
use crate::event::{AllocateMode, Clock, Event, FileId};
use crate::model::cover::{self, Forces, Strength};
use crate::model::graph::{Grain, Graph, Need, Oddities};
use crate::model::overlap::{Behind, Spans};
use crate::model::visible::{
    data_in_size, in_order, size_chain, size_needs_data, size_of, sizes_follow_data, unseen_zeros,
};
use crate::model::{Case, Kind, Model, Rule};
use crate::trace::Trace;
use std::collections::BTreeMap;

/// A file system with one journal.
pub(crate) struct Journalling {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) kind: Kind,
    /// Where the contents of files go.
    pub(crate) data: DataGoes,
    /// Whether a rename over a file waits for the new file's size (R4, auto_da_alloc).
    pub(crate) rename_waits: bool,
    /// Whether the zeros at the edges of a hole, which are data, are written before the hole is journalled.
    pub(crate) zeros_first: bool,
    /// The same of the zeros behind the new end of a truncated file.
    pub(crate) end_zeros_first: bool,
    /// What fdatasync, fsync and syncfs force (R6, R7).
    pub(crate) forces: Forces,
    /// Whether the file system stops for good when a sync fails: what is synced later is void.
    pub(crate) stops: bool,
}

/// Where the contents of files go.
#[derive(Clone, Copy)]
pub(crate) enum DataGoes {
    /// To their blocks, page by page, at any time. The size is journalled with the allocation, before the
    /// data or after them (R2, R4: a page within the size may still read as zeros).
    SizeAtAllocation(Oddities),
    /// To their blocks; the size is journalled when the data of its page are written (R4 for XFS).
    SizeAfterData(Oddities),
    /// Into the journal, with everything else.
    IntoTheJournal,
}

impl Model for Journalling {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn effects(&self, trace: &Trace) -> Effects {
        match self.data {
            DataGoes::SizeAtAllocation(Oddities { reuse: true, .. }) => Effects::with_freed(trace),
            DataGoes::IntoTheJournal => Effects::with_zeros_beside(trace),
            // Each page that is written back moves the size to its own end.
            DataGoes::SizeAtAllocation(_) => Effects::with_own_zeros(trace),
            DataGoes::SizeAfterData(_) => Effects::with_gaps(trace),
        }
    }

    fn cases<'t>(&self, trace: &'t Trace, effects: &'t Effects) -> Vec<Box<dyn Case + 't>> {
        let mut forced = cover::forced(trace, effects, self.forces);
        let (odd, edges) = match self.data {
            // R1 for everything: there is one order, and writes have their place in it.
            DataGoes::IntoTheJournal => (Oddities::default(), in_order(trace, effects)),
            DataGoes::SizeAtAllocation(odd) => {
                let mut edges = self.edges(trace, effects, &forced);
                edges.extend(size_chain(effects));
                (odd, edges)
            }
            DataGoes::SizeAfterData(odd) => {
                // "XFS's on-disk size stays old" when the data of the page were given up by a failed sync.
                sizes_follow_data(effects, &mut forced);
                let mut edges = self.edges(trace, effects, &forced);
                edges.extend(size_needs_data(effects));
                (odd, edges)
            }
        };
        if self.stops {
            void_after(cover::first_failure(trace), &mut forced);
        }
        let mut graph = Graph::new(effects, odd, edges);
        // Their extents are marked written when all of the page is on the disk, as fresh ones are (R3).
        let whole = effects.in_advance.iter().filter(|_| !odd.tear_fresh);
        whole.for_each(|id| graph.facts[id.0 as usize].tears = false);
        if odd.stale {
            // ext4_convert_unwritten_extents: with dioread_lock at the allocation, which data=writeback does not hold
            // back until the data are there. Measured: `preallocated-rubbish`.
            effects.unwritten.iter().for_each(|id| graph.facts[id.0 as usize].stale = true);
        }
        graph.force(&forced);
        if !effects.zeros.is_empty() {
            unseen_zeros(&graph, effects, &mut forced);
            graph.force(&forced);
        }
        vec![Box::new(graph)]
    }

    fn stops(&self) -> bool {
        self.stops
    }
}

impl Journalling {
    fn edges(&self, trace: &Trace, effects: &Effects, forced: &[Clock]) -> Vec<(EffectId, Need)> {
        let mut rules = Rules {
            forced,
            spans: Spans::of(trace),
            edges: data_in_size(effects),
            journal: Behind::default(),
            files: BTreeMap::new(),
            rename_waits: self.rename_waits,
            zeros_first: self.zeros_first,
            end_zeros_first: self.end_zeros_first,
            nested: matches!(self.data, DataGoes::SizeAtAllocation(_)),
            fresh_tears: matches!(self.data, DataGoes::SizeAtAllocation(odd) if odd.tear_fresh),
            data_before_truncate: match self.data {
                DataGoes::SizeAfterData(_) => cover::first_failure(trace),
                DataGoes::SizeAtAllocation(_) | DataGoes::IntoTheJournal => 0,
            },
        };
        for (id, effect) in effects.list.iter().enumerate() {
            rules.effect(effects, EffectId(id as u32), &effect.kind);
        }
        rules.edges
    }
}

/// Failed fsync: "ext4 data=journal: abort, EROFS". Nothing reaches the disk any more, whatever is answered.
fn void_after(failure: Clock, forced: &mut [Clock]) {
    for at in forced.iter_mut().filter(|at| **at > failure) {
        *at = Event::NEVER;
    }
}

/// R6 and R7 as on ext4: a sync of f forces its data and sizes and, with the journal, everything up to the last
/// change that touches f, and (by R2) what was issued before its last extending or allocating write. fdatasync
/// does not take a rename, link or unlink of f for such a change, nor that another file was renamed over it (seen on
/// 6.18: i_datasync_tid moves with the size alone); the directories' entries it does.
pub(crate) fn forces_but_fdatasync_names(kind: &EffectKind, file: FileId, how: Strength) -> bool {
    let full = matches!(how, Strength::Full | Strength::WriteFull | Strength::Everything);
    match kind {
        EffectKind::Meta(Meta::Link { dir, .. }) => full || *dir == file,
        EffectKind::Meta(Meta::Unlink { dir, .. }) => full || *dir == file,
        EffectKind::Meta(Meta::Rename { from_dir, to_dir, .. }) => {
            full || *from_dir == file || *to_dir == file
        }
        EffectKind::Meta(Meta::Exchange { a_dir, b_dir, .. }) => full || *a_dir == file || *b_dir == file,
        _ => forces_all(kind, file, how),
    }
}

/// R6 and R7 as on XFS: likewise, and fdatasync takes a rename or link of f for a change of f.
pub(crate) fn forces_all(kind: &EffectKind, _file: FileId, how: Strength) -> bool {
    match kind {
        // O_DSYNC and O_SYNC sync the written range, but the whole of the inode (generic_write_sync).
        EffectKind::Data { .. } | EffectKind::Size { .. } => {
            !matches!(how, Strength::WriteData | Strength::WriteFull)
        }
        EffectKind::Meta(_) => true,
    }
}

/// The edges, gathered in one pass over the effects.
struct Rules<'f> {
    edges: Vec<(EffectId, Need)>,
    /// What syncs force by themselves.
    forced: &'f [Clock],
    rename_waits: bool,
    zeros_first: bool,
    end_zeros_first: bool,
    /// Sizes of one file are nested: the last one stands for all.
    nested: bool,
    /// The first write-back of a page may be cut short too, so its sectors count one by one.
    fresh_tears: bool,
    /// Until when a truncate waits for the data that it must not expose: a failed sync has taken them away.
    data_before_truncate: Clock,
    spans: Spans,
    /// The journalled changes so far.
    journal: Behind,
    files: BTreeMap<FileId, FileRules>,
}

#[derive(Default)]
struct FileRules {
    /// The sizes since it was set.
    sizes: Vec<EffectId>,
    shapes: Vec<EffectId>,
    /// What cut pages off so far, for pages that nothing of this trace has written yet.
    cuts: Vec<(EffectId, std::ops::Range<u64>)>,
    /// Pages whose blocks were allocated in advance: until they are written they read as zeros.
    unwritten: Vec<std::ops::Range<u64>>,
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

impl Rules<'_> {
    fn need(&mut self, from: EffectId, on: EffectId, grain: Grain, rule: Rule) {
        self.edges.push((from, Need { on, grain, rule }));
    }

    fn effect(&mut self, effects: &Effects, id: EffectId, kind: &EffectKind) {
        match kind {
            EffectKind::Size { file, .. } => {
                self.after_journal(effects, id);
                self.files.entry(*file).or_default().sizes.push(id);
            }
            // A block that is set free needs nothing; what sets it free needs it as it was.
            EffectKind::Data { file, page, .. } if kind.is_freed() => {
                self.page(*file, *page).data.push(id);
            }
            EffectKind::Data { file, page, fresh, .. } => {
                if *fresh {
                    self.after_journal(effects, id);
                }
                // A block that shows what stood there before waits for nothing: the first data in it have no needs in
                // their page, which allows more than a kernel does where they were to need the zeros around them.
                let first = effects.unwritten.contains(&id);
                let new = *fresh || effects.in_advance.contains(&id);
                self.data(id, *file, *page, kind.sectors(), (new, first));
            }
            EffectKind::Meta(meta) => {
                // R1: one total order, of which a prefix survives. Of calls at once it may be either.
                for on in self.journal.add(&self.spans, effects, id, true) {
                    self.need(id, on, Grain::Whole, Rule::Journal);
                }
                self.meta(effects, id, meta);
                if let Some(file) = kind.content_of() {
                    self.files.entry(file).or_default().shapes.push(id);
                }
            }
        }
    }

    /// R2: the journalled changes that had returned before this write was called, or that it waited for.
    /// One that was still running may be journalled later.
    fn after_journal(&mut self, effects: &Effects, id: EffectId) {
        for on in self.journal.of(&self.spans, effects, id) {
            self.need(id, on, Grain::Whole, Rule::AllocationAfterNames);
        }
    }

    /// What is known of a page: if nothing of this trace has written it yet, what cut it off.
    fn page(&mut self, file: FileId, page: u64) -> &mut PageRules {
        let of_file = self.files.entry(file).or_default();
        let cuts = &of_file.cuts;
        of_file.pages.entry(page).or_insert_with(|| {
            let cut = cuts.iter().rev().find(|(_, pages)| pages.contains(&page)).map(|(on, _)| *on);
            PageRules { cut, ..PageRules::default() }
        })
    }

    /// R3, R5: a page is written back with everything that is in it, sector by sector.
    fn data(&mut self, id: EffectId, file: FileId, page: u64, sectors: u8, (fresh, first): (bool, bool)) {
        let fresh_tears = self.fresh_tears;
        let known = self.page(file, page);
        if fresh {
            let cut = known.cut;
            *known = PageRules { cut, ..PageRules::default() };
        }
        let mut needs: Vec<Need> = Vec::new();
        if let Some(on) = known.cut {
            needs.push(Need { on, grain: Grain::Whole, rule: Rule::DataAfterTruncate });
        }
        if let Some(on) = known.fresh.filter(|_| !fresh_tears) {
            needs.push(Need { on, grain: Grain::Whole, rule: Rule::PageHoldsEarlier });
        }
        for bit in (0..8).filter(|bit| sectors & (1 << bit) != 0) {
            if let Some(on) = known.sectors[bit].replace(id)
                && !first
            {
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
            Meta::Rename { file, replaced: Some(_), .. } if self.rename_waits => {
                // auto_da_alloc: the rename starts the allocation of what it moves over another file, so the
                // size is journalled first; the data are not waited for (old, N zero bytes, or new). A write that is
                // under way may come after it.
                let sizes = self.files.get(file).map_or(&[][..], |known| &known.sizes);
                if let Some(&on) = sizes.iter().rev().find(|on| self.spans.first(effects, **on, id)) {
                    self.need(id, on, Grain::Whole, Rule::ReplaceViaRename);
                }
            }
            Meta::Truncate { file, size } => {
                if self.end_zeros_first {
                    self.zeros(effects, id);
                }
                self.wait_for_appended(effects, id, *file, *size);
                self.cut(id, *file, size.div_ceil(PAGE)..u64::MAX, true);
                self.size_set(id, *file);
            }
            Meta::Allocate { file, mode, offset, len } => {
                let end = offset.saturating_add(*len);
                match mode {
                    AllocateMode::Extend | AllocateMode::KeepSize => {
                        let pages = offset / PAGE..end.div_ceil(PAGE);
                        self.files.entry(*file).or_default().unwritten.push(pages);
                    }
                    AllocateMode::Punch | AllocateMode::Zero { .. } => {
                        if self.zeros_first {
                            self.zeros(effects, id);
                        }
                        let pages = offset.div_ceil(PAGE)..end / PAGE;
                        // ext4 zeroes in place: ext4_zero_range marks the extents unwritten, and the disk may have
                        // had new data in their blocks before. Measured (docs/models.md, at its end). XFS takes new blocks
                        // (xfs_free_file_space).
                        let in_place = self.nested && *mode != AllocateMode::Punch;
                        self.cut(id, *file, pages.clone(), !in_place);
                        if let AllocateMode::Zero { .. } = mode {
                            self.files.entry(*file).or_default().unwritten.push(pages);
                        }
                    }
                    // The kernel writes the moved pages out before it shifts their extents.
                    AllocateMode::Collapse | AllocateMode::Insert => {
                        self.cut(id, *file, offset / PAGE..u64::MAX, true);
                        self.size_set(id, *file);
                    }
                }
            }
            _ => {}
        }
        if let Some(file) = effects.deaths.get(&id) {
            self.bury(effects, id, *file);
        }
    }

    /// The zeros that the same call wrote into pages that it did not take as a whole. Not where the page's block may
    /// not be written yet: a commit writes no page that has none (mpage_prepare_extent_to_map without can_map), and one
    /// that was allocated in advance reads as zeros until a later transaction has marked it written. Measured:
    /// `segment-trimmed`, `append-then-cut`.
    fn zeros(&mut self, effects: &Effects, id: EffectId) {
        let before = effects.list[..id.0 as usize].iter().enumerate().rev();
        let event = effects.list[id.0 as usize].event;
        for (on, effect) in before.take_while(|(_, effect)| effect.event == event) {
            let EffectKind::Data { file, page, .. } = effect.kind else { continue };
            if effect.kind.is_freed() || self.is_written(file, page, EffectId(on as u32), effect.issued) {
                self.need(id, EffectId(on as u32), Grain::Whole, Rule::HoleAfterZeros);
            }
        }
    }

    /// Whether the page's block is on the disk for sure and marked written at this moment; `but` does not count.
    fn is_written(&self, file: FileId, page: u64, but: EffectId, now: Clock) -> bool {
        let Some(of_file) = self.files.get(&file) else { return true };
        let known = of_file.pages.get(&page);
        let synced = |id: &EffectId| *id != but && self.forced[id.0 as usize] <= now;
        known.is_some_and(|known| known.data.iter().any(synced))
            || known.is_none_or(|known| known.fresh.is_none())
                && !of_file.unwritten.iter().any(|pages| pages.contains(&page))
    }

    /// Appends to the last page are not journalled before their data are on the disk, and no later page can have
    /// brought a size beyond them there.
    fn wait_for_appended(&mut self, effects: &Effects, id: EffectId, file: FileId, size: u64) {
        let Some(known) = self.files.get(&file) else { return };
        let last = known.sizes.last().map(|last| &effects.list[last.0 as usize].kind);
        let Some(EffectKind::Size { to, .. }) = last else { return };
        let page = to.saturating_sub(1) / PAGE;
        // One that was still under way may have come after the failure.
        let event = effects.list[id.0 as usize].event;
        if self.spans.of_event(event).1 > self.data_before_truncate {
            return;
        }
        let seen = |on: &&EffectId| match &effects.list[on.0 as usize].kind {
            EffectKind::Data { start, .. } => page * PAGE + u64::from(*start) < size,
            _ => false,
        };
        let appended = |on: &&EffectId| size_of(effects, **on).is_some();
        let data = known.pages.get(&page).map_or(&[][..], |page| &page.data);
        for on in data.iter().filter(seen).filter(appended).copied().collect::<Vec<_>>() {
            self.need(id, on, Grain::Whole, Rule::TruncateAfterData);
        }
    }

    /// R5: what the change cut off no longer shows and counts as there; what follows it needs it, if it `orders`.
    fn cut(&mut self, id: EffectId, file: FileId, pages: std::ops::Range<u64>, orders: bool) {
        if pages.is_empty() {
            return;
        }
        let known = self.files.entry(file).or_default();
        let mut gone = Vec::new();
        if orders {
            known.cuts.push((id, pages.clone()));
        }
        for (_, page) in known.pages.range_mut(pages) {
            gone.append(&mut page.data);
            *page = PageRules { cut: orders.then_some(id), ..PageRules::default() };
        }
        for on in gone {
            self.need(id, on, Grain::Whole, Rule::OutOfReach);
        }
    }

    /// With its last name gone, nothing shows of a file: what was written so far counts as there. What is
    /// written later through an open descriptor does not need the removal (R3): over a block that the file
    /// has, it can be on the disk while the name still is.
    fn bury(&mut self, effects: &Effects, id: EffectId, file: FileId) {
        let known = self.files.entry(file).or_default();
        let mut gone: Vec<EffectId> = known.pages.values_mut().flat_map(|page| page.data.drain(..)).collect();
        // A truncate that is still under way too.
        gone.extend(known.shapes.iter().filter(|on| !self.spans.first(effects, **on, id)));
        for on in gone {
            self.need(id, on, Grain::Whole, Rule::OutOfReach);
        }
        self.size_set(id, file);
    }

    /// The size is set by the journal: earlier extensions no longer show. Where sizes are not nested (each goes
    /// with its own page's data) it would drag along data that it does not need.
    fn size_set(&mut self, id: EffectId, file: FileId) {
        let sizes = std::mem::take(&mut self.files.entry(file).or_default().sizes);
        if let Some(&on) = sizes.last()
            && self.nested
        {
            self.need(id, on, Grain::Whole, Rule::OutOfReach);
        }
    }
}
