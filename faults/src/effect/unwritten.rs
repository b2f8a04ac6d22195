//! Pages whose blocks are there but not marked as written: allocated in advance, or zeroed by ZERO_RANGE, which on ext4
//! leaves the blocks where they are (ext4_zero_range). They read as zeros until something is written there, and what
//! that does to the blocks is not in the journal's order.
//!
//! Measured on 6.18 (`zero-written-*`, with extent_max_zeroout_kb at 32 and at 0): where a write finds an unwritten
//! extent and is to leave a written one (data=journal, nodelalloc, dioread_lock), ext4_ext_convert_to_initialized does
//! not split short ones but puts zeros into the blocks beside, on the disk and at once (ext4_ext_zeroout).

use crate::effect::EffectId;
use crate::event::FileId;
use std::collections::BTreeMap;
use std::ops::Range;

/// extent_max_zeroout_kb is 32: of the extent, so many pages before the first that is written ...
const BEFORE: u64 = 6;
/// ... and behind the last ("case 5", "case 3 or 5").
const BEHIND: u64 = 7;

/// Such a page.
#[derive(Clone, Copy)]
struct Page {
    /// The ZERO_RANGE, if data were there before it.
    zeroed: Option<EffectId>,
    /// A write beside it has put zeros there, as an effect.
    told: bool,
}

/// What a page was before it was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    /// Its block had never held data of the file.
    Allocated,
    /// Its block may still hold data on the disk, from before the ZERO_RANGE.
    Zeroed,
}

/// Such pages of all files.
#[derive(Default)]
pub(super) struct Unwritten {
    files: BTreeMap<FileId, BTreeMap<u64, Page>>,
}

impl Unwritten {
    /// Blocks for these pages, of which `had` says whether they had some.
    pub(super) fn allocated(&mut self, file: FileId, pages: Range<u64>, had: impl Fn(u64) -> bool) {
        let of_file = self.files.entry(file).or_default();
        of_file
            .extend(pages.filter(|page| !had(*page)).map(|page| (page, Page { zeroed: None, told: false })));
    }

    /// The pages were zeroed; those that `had` data still have them on the disk.
    pub(super) fn zeroed(
        &mut self,
        file: FileId,
        pages: Range<u64>,
        by: EffectId,
        had: impl Fn(u64) -> bool,
    ) {
        let of_file = self.files.entry(file).or_default();
        for page in pages {
            let before = of_file.get(&page).map(|page| page.zeroed);
            let zeroed = before.unwrap_or(had(page).then_some(by));
            of_file.insert(page, Page { zeroed, told: false });
        }
    }

    /// The page is written; what it was, if it was such a page.
    pub(super) fn written(&mut self, file: FileId, page: u64) -> Option<Was> {
        let page = self.files.get_mut(&file)?.remove(&page)?;
        Some(if page.zeroed.is_none() { Was::Allocated } else { Was::Zeroed })
    }

    /// The pages have no such blocks any more.
    pub(super) fn gone(&mut self, file: FileId, pages: Range<u64>) {
        if let Some(of_file) = self.files.get_mut(&file) {
            of_file.retain(|page, _| !pages.contains(page));
        }
    }

    /// What zeroed the page, if that may not be on the disk yet.
    pub(super) fn zeroed_by(&self, file: FileId, page: u64) -> Option<EffectId> {
        self.files.get(&file)?.get(&page)?.zeroed
    }

    /// The zeroed pages beside those from `first` to `last` that a write there may put zeros into, for the first time.
    pub(super) fn beside(&mut self, file: FileId, first: u64, last: u64) -> Vec<(u64, EffectId)> {
        let Some(of_file) = self.files.get_mut(&file) else { return Vec::new() };
        // Up to the page that is written there are only such pages: one extent.
        let connected = |of_file: &BTreeMap<u64, Page>, page: u64| match page < first {
            true => (page..=first).all(|between| of_file.contains_key(&between)),
            false => (last..=page).all(|between| of_file.contains_key(&between)),
        };
        let near = (first.saturating_sub(BEFORE)..first).chain(last + 1..=last.saturating_add(BEHIND));
        let mut found = Vec::new();
        for page in near {
            if connected(of_file, page)
                && let Some(known) = of_file.get_mut(&page)
                && let Some(by) = known.zeroed
                && !std::mem::replace(&mut known.told, true)
            {
                found.push((page, by));
            }
        }
        found
    }
}
