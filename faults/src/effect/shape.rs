//! Changes of a file's shape: truncate, and fallocate in its modes.

use crate::effect::derive::Live;
use crate::effect::{EffectId, EffectKind, Meta, PAGE};
use crate::event::{AllocateMode, Event, FileId};
use std::ops::Range;

impl Live {
    /// The blocks of these pages are about to be set free.
    pub(super) fn frees(&mut self, index: u32, event: &Event, file: FileId, pages: std::ops::Range<u64>) {
        if !self.beside.freed || pages.is_empty() {
            return;
        }
        let blocks: Vec<u64> =
            self.blocks.get(&file).into_iter().flat_map(|all| all.range(pages.clone())).copied().collect();
        for page in blocks {
            self.push(index, event, EffectKind::Data { file, page, start: 0, bytes: 0..0, fresh: false });
        }
    }

    pub(super) fn truncate(&mut self, index: u32, event: &Event, file: FileId, size: u64) {
        if self.size.get(&file).copied().unwrap_or(0) == size {
            // Nothing but the times of the inode changes (O_TRUNC of an empty file, say).
            return;
        }
        self.zeroed(index, event, file, (size, u64::MAX), true);
        self.size.insert(file, size);
        let keep = size.div_ceil(PAGE);
        self.frees(index, event, file, keep..u64::MAX);
        self.blocks.entry(file).or_default().split_off(&keep);
        self.unwritten.gone(file, keep..u64::MAX);
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

    pub(super) fn allocate(
        &mut self,
        index: u32,
        event: &Event,
        file: FileId,
        mode: AllocateMode,
        at: u64,
        len: u64,
    ) {
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
            // On ext4, whose blocks are meant here, they stay where they are.
            AllocateMode::Zero { .. } => {}
            AllocateMode::Punch => {
                self.frees(index, event, file, at.div_ceil(PAGE)..(end / PAGE).max(at.div_ceil(PAGE)));
            }
            AllocateMode::Collapse => self.frees(index, event, file, at / PAGE..end / PAGE),
        }
        let size = self.size.entry(file).or_default();
        match mode {
            AllocateMode::Extend => *size = end.max(*size),
            AllocateMode::Zero { keep_size: false } => *size = end.max(*size),
            AllocateMode::KeepSize | AllocateMode::Punch | AllocateMode::Zero { keep_size: true } => {}
            AllocateMode::Collapse => *size = size.saturating_sub(len),
            AllocateMode::Insert => *size = size.saturating_add(len),
        }
        self.unwrite(EffectId(self.list.len() as u32), file, mode, at..end);
        self.shift(file, mode, at..end);
        self.meta(index, event, Meta::Allocate { file, mode, offset: at, len });
    }

    /// Which pages have blocks that are not marked as written once the change `by` is made.
    fn unwrite(&mut self, by: EffectId, file: FileId, mode: AllocateMode, bytes: Range<u64>) {
        let (first, after) = (bytes.start / PAGE, bytes.end.div_ceil(PAGE));
        let inner = bytes.start.div_ceil(PAGE)..(bytes.end / PAGE).max(bytes.start.div_ceil(PAGE));
        let blocks = self.blocks.entry(file).or_default();
        let size = self.size.get(&file).copied().unwrap_or(0);
        match mode {
            AllocateMode::Extend | AllocateMode::KeepSize => {
                self.unwritten.allocated(file, first..after, |page| blocks.contains(&page));
            }
            AllocateMode::Zero { .. } => {
                self.unwritten.allocated(file, first..after, |page| blocks.contains(&page));
                let had = |page| blocks.contains(&page) && page * PAGE < size;
                self.unwritten.zeroed(file, inner, by, had);
            }
            AllocateMode::Punch => self.unwritten.gone(file, inner),
            // What is moved is written out before.
            AllocateMode::Collapse | AllocateMode::Insert => self.unwritten.gone(file, first..u64::MAX),
        }
    }

    /// Which pages have blocks from now on.
    fn shift(&mut self, file: FileId, mode: AllocateMode, bytes: Range<u64>) {
        let blocks = self.blocks.entry(file).or_default();
        let (first, after) = (bytes.start / PAGE, bytes.end.div_ceil(PAGE));
        let shift = (bytes.end - bytes.start) / PAGE;
        match mode {
            AllocateMode::Extend | AllocateMode::KeepSize | AllocateMode::Zero { .. } => {
                blocks.extend(first..after);
            }
            AllocateMode::Punch => {
                let (inner, stop) = (bytes.start.div_ceil(PAGE), bytes.end / PAGE);
                blocks.retain(|page| !(inner..stop).contains(page));
            }
            AllocateMode::Collapse => {
                let keep = |page: u64| match page {
                    page if page < first => Some(page),
                    page if page < first + shift => None,
                    page => Some(page - shift),
                };
                *blocks = blocks.iter().filter_map(|page| keep(*page)).collect();
            }
            AllocateMode::Insert => {
                *blocks =
                    blocks.iter().map(|page| if *page < first { *page } else { page + shift }).collect();
            }
        }
    }
}
