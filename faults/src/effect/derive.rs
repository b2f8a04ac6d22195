//! From events to effects: a simulation of what the kernel's memory held when each call was made.

use crate::effect::returns::Returns;
use crate::effect::{Back, Effect, EffectId, EffectKind, Meta, PAGE};
use crate::event::{AllocateMode, Event, FileId, Name, NodeKind, Op, SyncKind, WriteSync};
use crate::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};

/// All effects of a trace, with the indexes that models need.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// The effects, in the order of their events.
    pub list: Vec<Effect>,
    /// The effects that take a file's last name away, and the file: from then on its content is out of reach.
    pub(crate) deaths: BTreeMap<EffectId, FileId>,
    /// The data of extending writes that also lie within the size from before, where they show without the new one.
    pub(crate) straddles: BTreeSet<EffectId>,
}

impl Effects {
    /// The effects of a trace. A call that failed has none; a call in which the target was killed has them
    /// all, since it may have got as far.
    pub fn of(trace: &Trace) -> Effects {
        Effects::derive(trace, Beside::default())
    }

    /// The same, and for each write that leaves a gap behind the end of the file a size that ends with the last page
    /// before the gap: where sizes go with the pages that are written back, that page alone moves it so far.
    pub fn with_gaps(trace: &Trace) -> Effects {
        Effects::derive(trace, Beside { gaps: true, ..Beside::default() })
    }

    /// The same, and in front of each change that sets blocks free an effect for each of these
    /// ([`EffectKind::is_freed`]), for models in which they are used anew before that change is durable.
    pub fn with_freed(trace: &Trace) -> Effects {
        Effects::derive(trace, Beside { gaps: true, freed: true, ..Beside::default() })
    }

    /// The same as [`of`](Self::of), and an effect behind each change that takes a name away under which a file may
    /// come back ([`Meta::Return`]), for models in which it does.
    pub fn with_returns(trace: &Trace) -> Effects {
        Effects::derive(trace, Beside { returns: true, ..Beside::default() })
    }

    fn derive(trace: &Trace, beside: Beside) -> Effects {
        let mut live = Live::at_base(trace, beside);
        for (index, event) in trace.events.iter().enumerate() {
            if event.errno == 0 {
                live.event(index as u32, event);
            }
        }
        Effects { list: live.list, deaths: live.deaths, straddles: live.straddles }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One effect.
    pub fn get(&self, id: EffectId) -> Option<&Effect> {
        self.list.get(id.0 as usize)
    }
}

/// Effects that stand for what may show beside what was asked for.
#[derive(Clone, Copy, Default)]
struct Beside {
    gaps: bool,
    freed: bool,
    returns: bool,
}

/// What the kernel's memory holds: it differs from the disk, and effects are cut by it (whether a write
/// extends the file, whether its page has a block yet).
struct Live {
    size: BTreeMap<FileId, u64>,
    /// Pages that have a block, delayed allocation included.
    blocks: BTreeMap<FileId, BTreeSet<u64>>,
    links: BTreeMap<FileId, u32>,
    list: Vec<Effect>,
    deaths: BTreeMap<EffectId, FileId>,
    straddles: BTreeSet<EffectId>,
    beside: Beside,
    back: Returns,
}

impl Live {
    fn at_base(trace: &Trace, beside: Beside) -> Live {
        let mut live = Live {
            beside,
            back: Returns::default(),
            size: BTreeMap::new(),
            blocks: BTreeMap::new(),
            links: BTreeMap::new(),
            list: Vec::new(),
            deaths: BTreeMap::new(),
            straddles: BTreeSet::new(),
        };
        for node in &trace.base {
            live.back.named(node.file, node.dir, &node.name);
            *live.links.entry(node.file).or_default() += 1;
            if node.kind == NodeKind::File {
                let len = node.data.len() as u64;
                live.size.insert(node.file, len);
                live.blocks.insert(node.file, (0..len.div_ceil(PAGE)).collect());
            }
        }
        live
    }

    fn push(&mut self, index: u32, event: &Event, kind: EffectKind) -> EffectId {
        self.list.push(Effect { event: index, issued: event.begin, kind });
        EffectId((self.list.len() - 1) as u32)
    }

    fn meta(&mut self, index: u32, event: &Event, meta: Meta) -> EffectId {
        self.push(index, event, EffectKind::Meta(meta))
    }

    fn event(&mut self, index: u32, event: &Event) {
        match &event.op {
            Op::Create { dir, name, file, kind } => {
                *self.links.entry(*file).or_default() += 1;
                self.back.named(*file, *dir, name);
                let (name, kind) = (name.clone(), kind.clone());
                self.meta(index, event, Meta::Create { dir: *dir, name, file: *file, kind });
            }
            Op::Link { file, dir, name } => {
                *self.links.entry(*file).or_default() += 1;
                self.meta(index, event, Meta::Link { dir: *dir, name: name.clone(), file: *file });
            }
            Op::Unlink { dir, name, file } => {
                let meta = Meta::Unlink { dir: *dir, name: name.clone(), file: *file };
                self.name_goes(index, event, *file);
                let id = self.meta(index, event, meta);
                self.name_gone(id, *file);
                self.may_return(index, event, *file, None, (*dir, name));
            }
            Op::Rename { file, replaced, .. } if *replaced == Some(*file) => {
                // rename(2): two names of one file, nothing is done.
            }
            Op::Rename { from_dir, from_name, to_dir, to_name, file, replaced } => {
                let meta = Meta::Rename {
                    from_dir: *from_dir,
                    from_name: from_name.clone(),
                    to_dir: *to_dir,
                    to_name: to_name.clone(),
                    file: *file,
                    replaced: *replaced,
                };
                if let Some(old) = replaced {
                    self.name_goes(index, event, *old);
                }
                let id = self.meta(index, event, meta);
                if let Some(old) = replaced {
                    self.name_gone(id, *old);
                    self.synced_returns(index, event, *old, Back::Synced);
                }
                self.may_return(index, event, *file, Some(*to_dir), (*from_dir, from_name));
                if let Some(old) = replaced {
                    self.back.replaced(*file, *old, (*to_dir, to_name.clone()), event.end);
                }
                self.back.named(*file, *to_dir, to_name);
            }
            Op::Exchange { a_dir, a_name, a, b_dir, b_name, b } => {
                let meta = Meta::Exchange {
                    a_dir: *a_dir,
                    a_name: a_name.clone(),
                    a: *a,
                    b_dir: *b_dir,
                    b_name: b_name.clone(),
                    b: *b,
                };
                self.meta(index, event, meta);
            }
            Op::Write { file, offset, data, sync } => {
                self.write(index, event, *file, *offset, data.len());
                if *sync != WriteSync::None {
                    self.back.synced(*file);
                }
            }
            Op::Truncate { file, size } => self.truncate(index, event, *file, *size),
            Op::Allocate { file, mode, offset, len } => {
                self.allocate(index, event, *file, *mode, *offset, *len);
            }
            Op::Sync { file, kind: SyncKind::Fsync | SyncKind::Fdatasync } => {
                self.back.synced(*file);
                if event.end != Event::NEVER {
                    self.back.settled(*file, event.begin);
                }
            }
            Op::SyncAll => self.back.forget(),
            Op::Tmpfile { .. }
            | Op::Open { .. }
            | Op::Sync { .. }
            | Op::Send { .. }
            | Op::Invoke { .. }
            | Op::Reply { .. }
            | Op::Phase(_)
            | Op::Process(_)
            | Op::Kill
            | Op::Advance
            | Op::Fault { .. } => {}
        }
    }

    /// A name went, by a removal or by a rename (into a directory): what stood there before may be there again, and
    /// the file itself under the name by which it was synced.
    fn may_return(
        &mut self,
        index: u32,
        event: &Event,
        file: FileId,
        into: Option<FileId>,
        gone: (FileId, &Name),
    ) {
        match into {
            None => self.synced_returns(index, event, file, Back::Synced),
            Some(into) if into != gone.0 => self.synced_returns(index, event, file, Back::Beside),
            Some(_) => {}
        }
        if !self.beside.returns {
            return;
        }
        let (dir, name) = gone;
        for file in self.back.lost(dir, name) {
            if self.links.get(&file) == Some(&0) {
                self.meta(index, event, Meta::Return { dir, name: name.clone(), file, back: Back::Replaced });
            }
        }
    }

    fn synced_returns(&mut self, index: u32, event: &Event, file: FileId, back: Back) {
        let alive = self.links.get(&file).is_some_and(|links| *links > 0);
        if !self.beside.returns || alive != (back == Back::Beside) {
            return;
        }
        if let Some((dir, name)) = self.back.of(file) {
            self.meta(index, event, Meta::Return { dir, name, file, back });
        }
    }

    /// Before a name goes: with the last one go the file's blocks.
    fn name_goes(&mut self, index: u32, event: &Event, file: FileId) {
        if self.links.get(&file) == Some(&1) {
            self.frees(index, event, file, 0..u64::MAX);
        }
    }

    /// The blocks of these pages are about to be set free.
    fn frees(&mut self, index: u32, event: &Event, file: FileId, pages: std::ops::Range<u64>) {
        if !self.beside.freed || pages.is_empty() {
            return;
        }
        let blocks: Vec<u64> =
            self.blocks.get(&file).into_iter().flat_map(|all| all.range(pages.clone())).copied().collect();
        for page in blocks {
            self.push(index, event, EffectKind::Data { file, page, start: 0, bytes: 0..0, fresh: false });
        }
    }

    fn name_gone(&mut self, id: EffectId, file: FileId) {
        let links = self.links.entry(file).or_default();
        *links = links.saturating_sub(1);
        if *links == 0 {
            self.deaths.insert(id, file);
        }
    }

    fn write(&mut self, index: u32, event: &Event, file: FileId, offset: u64, len: usize) {
        if len == 0 {
            return;
        }
        let end = offset.saturating_add(len as u64);
        if self.beside.gaps {
            self.gap(index, event, file, offset / PAGE);
        }
        for page in offset / PAGE..=(end - 1) / PAGE {
            let from = offset.max(page * PAGE);
            let to = end.min((page + 1) * PAGE);
            // What write-back of this page alone would leave as the size: never beyond the page.
            let old = self.size.get(&file).copied().unwrap_or(0);
            if to > old {
                self.size.insert(file, to);
                self.push(index, event, EffectKind::Size { file, to });
            }
            let fresh = self.blocks.entry(file).or_default().insert(page);
            let kind = EffectKind::Data {
                file,
                page,
                start: (from % PAGE) as u16,
                bytes: (from - offset) as u32..(to - offset) as u32,
                fresh,
            };
            let id = self.push(index, event, kind);
            if from < old && to > old {
                self.straddles.insert(id);
            }
        }
    }

    /// Before a write that begins behind the page in which the file ends: that page is no longer the last, so that its
    /// write-back moves the size to its end (mpage_map_and_submit_extent; xfs_setfilesize).
    fn gap(&mut self, index: u32, event: &Event, file: FileId, page: u64) {
        let old = self.size.get(&file).copied().unwrap_or(0);
        let last = old / PAGE;
        let has_block = self.blocks.get(&file).is_some_and(|blocks| blocks.contains(&last));
        if !old.is_multiple_of(PAGE) && page > last && has_block {
            let to = (last + 1) * PAGE;
            self.size.insert(file, to);
            self.push(index, event, EffectKind::Size { file, to });
        }
    }

    fn truncate(&mut self, index: u32, event: &Event, file: FileId, size: u64) {
        if self.size.get(&file).copied().unwrap_or(0) == size {
            // Nothing but the times of the inode changes (O_TRUNC of an empty file, say).
            return;
        }
        self.zeroed(index, event, file, (size, u64::MAX), true);
        self.size.insert(file, size);
        let keep = size.div_ceil(PAGE);
        self.frees(index, event, file, keep..u64::MAX);
        self.blocks.entry(file).or_default().split_off(&keep);
        self.meta(index, event, Meta::Truncate { file, size });
    }

    /// A cut within a page zeroes the page's rest in memory, and that page is written back by itself: the zeros
    /// can be on the disk before the change of the file's shape is. (`eof`: up to the size is as good as to the
    /// page's end.)
    fn zeroed(&mut self, index: u32, event: &Event, file: FileId, (from, to): (u64, u64), eof: bool) {
        let page = from / PAGE;
        let old = self.size.get(&file).copied().unwrap_or(0);
        let to = to.min(old).min((page + 1) * PAGE);
        let has_block = self.blocks.get(&file).is_some_and(|blocks| blocks.contains(&page));
        let inner = !from.is_multiple_of(PAGE) || !to.is_multiple_of(PAGE) && (to < old || !eof);
        let part = from < to && inner;
        if part && has_block {
            let (start, bytes) = ((from % PAGE) as u16, 0..(to - from) as u32);
            self.push(index, event, EffectKind::Data { file, page, start, bytes, fresh: false });
        }
    }

    fn allocate(&mut self, index: u32, event: &Event, file: FileId, mode: AllocateMode, at: u64, len: u64) {
        let mut end = at.saturating_add(len);
        let punch = mode == AllocateMode::Punch;
        if punch && end >= self.size.get(&file).copied().unwrap_or(0) {
            // "If the hole extends beyond i_size, set the hole to end after the page that contains i_size"
            // (ext4_punch_hole; xfs_free_file_space likewise).
            end = end.checked_next_multiple_of(PAGE).unwrap_or(end);
        }
        let len = end - at;
        if punch || matches!(mode, AllocateMode::Zero { .. }) {
            self.zeroed(index, event, file, (at, end), punch);
            if at / PAGE < end / PAGE {
                self.zeroed(index, event, file, (end / PAGE * PAGE, end), punch);
            }
        }
        match mode {
            AllocateMode::Extend | AllocateMode::KeepSize | AllocateMode::Insert => {}
            AllocateMode::Punch | AllocateMode::Zero { .. } => {
                self.frees(index, event, file, at.div_ceil(PAGE)..(end / PAGE).max(at.div_ceil(PAGE)));
            }
            AllocateMode::Collapse => self.frees(index, event, file, at / PAGE..end / PAGE),
        }
        let size = self.size.entry(file).or_default();
        let blocks = self.blocks.entry(file).or_default();
        let (first, after) = (at / PAGE, end.div_ceil(PAGE));
        match mode {
            AllocateMode::Extend => *size = end.max(*size),
            AllocateMode::Zero { keep_size: false } => *size = end.max(*size),
            AllocateMode::KeepSize | AllocateMode::Punch | AllocateMode::Zero { keep_size: true } => {}
            AllocateMode::Collapse => *size = size.saturating_sub(len),
            AllocateMode::Insert => *size = size.saturating_add(len),
        }
        match mode {
            AllocateMode::Extend | AllocateMode::KeepSize | AllocateMode::Zero { .. } => {
                blocks.extend(first..after);
            }
            AllocateMode::Punch => {
                let (inner, stop) = (at.div_ceil(PAGE), end / PAGE);
                blocks.retain(|page| !(inner..stop).contains(page));
            }
            AllocateMode::Collapse => {
                let shift = len / PAGE;
                let keep = |page: u64| match page {
                    page if page < first => Some(page),
                    page if page < first + shift => None,
                    page => Some(page - shift),
                };
                *blocks = blocks.iter().filter_map(|page| keep(*page)).collect();
            }
            AllocateMode::Insert => {
                let shift = len / PAGE;
                *blocks =
                    blocks.iter().map(|page| if *page < first { *page } else { page + shift }).collect();
            }
        }
        self.meta(index, event, Meta::Allocate { file, mode, offset: at, len });
    }
}
