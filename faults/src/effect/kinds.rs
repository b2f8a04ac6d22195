//! Effects: the indivisible changes of the disk that a trace's events cause.
//!
//! One event may cause several: a write of three pages that extends a file causes three [`EffectKind::Data`]
//! and three [`EffectKind::Size`] effects, each size just before the data of its page. Every model sees the same list of effects; models differ in what a
//! sync forces, in what may not survive without what, and in which [`Outcome`]s an effect may have.

use crate::event::{Clock, FileId, Name, NodeKind};
use serde::{Deserialize, Serialize};

/// Size of a page of the page cache, and of the block that is written back at once.
pub const PAGE: u64 = 4096;
/// Size of a sector: overwritten pages tear at this grain.
pub const SECTOR: u64 = 512;

/// Of [`Outcome::Parts`]: the one part of a [`Meta::Return`].
pub const RETURNED: u8 = 8;

/// Of a [`EffectKind::Data`]: bytes from here on are zeros. No write is so long (Linux: 2 GiB less a page).
pub(crate) const ZEROS: u32 = 1 << 31;

/// Index into [`Effects::list`](super::Effects::list); effects stand in the order of the events that cause them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectId(pub u32);

/// One indivisible change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Index of the event in the trace.
    pub event: u32,
    /// First crash point at which the effect may be on the disk: the event's begin.
    pub issued: Clock,
    /// What changes.
    pub kind: EffectKind,
}

/// What an effect changes. Data, size and names of one file are separately durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EffectKind {
    /// Bytes of one page of a file. No bytes: a change that follows sets the page's block free, see
    /// [`EffectKind::is_freed`].
    Data {
        /// The file.
        file: FileId,
        /// The page's number in the file.
        page: u64,
        /// Where in the page the bytes begin.
        start: u16,
        /// The bytes, as a range of the event's data (zeros, where the event has none: a truncate or a hole
        /// that cuts a page; and see [`EffectKind::is_zeros`]).
        bytes: std::ops::Range<u32>,
        /// The page had no allocated block before this effect: until its data are written back it may read
        /// as zeros (or be stale), whichever the model says.
        fresh: bool,
    },
    /// The file's size grows to `to` because of a write (it floats: it happens at write-back).
    Size {
        /// The file.
        file: FileId,
        /// The new size in bytes.
        to: u64,
    },
    /// A change of names or of a file's shape, which a journalling file system puts in its journal.
    Meta(Meta),
}

/// A change of names or of a file's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Meta {
    /// A new object under a name.
    Create {
        /// The parent directory.
        dir: FileId,
        /// The name.
        name: Name,
        /// The object.
        file: FileId,
        /// What it is.
        kind: NodeKind,
    },
    /// A further name.
    Link {
        /// The directory.
        dir: FileId,
        /// The name.
        name: Name,
        /// The file.
        file: FileId,
    },
    /// A name goes.
    Unlink {
        /// The directory.
        dir: FileId,
        /// The name.
        name: Name,
        /// What it stood for.
        file: FileId,
    },
    /// A name moves, atomically unless the model splits it (see [`Outcome::Parts`]).
    Rename {
        /// The old directory.
        from_dir: FileId,
        /// The old name.
        from_name: Name,
        /// The new directory.
        to_dir: FileId,
        /// The new name.
        to_name: Name,
        /// What is renamed.
        file: FileId,
        /// What the new name stood for.
        replaced: Option<FileId>,
    },
    /// Not a change that was asked for: a file may be there again under a name that it has lost
    /// ([`Outcome::Parts`] with [`RETURNED`]); whole is that it is not. Only in
    /// [`Effects::with_returns`](super::Effects::with_returns).
    Return {
        /// The directory of that name.
        dir: FileId,
        /// The name.
        name: Name,
        /// The file.
        file: FileId,
        /// In which way.
        back: Back,
    },
    /// Two names change places.
    Exchange {
        /// The first directory.
        a_dir: FileId,
        /// The first name.
        a_name: Name,
        /// What the first name stood for.
        a: FileId,
        /// The second directory.
        b_dir: FileId,
        /// The second name.
        b_name: Name,
        /// What the second name stood for.
        b: FileId,
    },
    /// The size is set.
    Truncate {
        /// The file.
        file: FileId,
        /// The new size in bytes.
        size: u64,
    },
    /// fallocate.
    Allocate {
        /// The file.
        file: FileId,
        /// The mode.
        mode: crate::event::AllocateMode,
        /// First byte.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
}

/// In which way a file may come back ([`Meta::Return`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Back {
    /// It was synced under the name, then renamed over another file, and has lost its last name.
    Synced,
    /// Likewise, but it has moved to another directory, and may be there under both names.
    Beside,
    /// It was replaced under the name, and what replaced it is gone from there. A sync of the directory ends that.
    Replaced,
}

/// What became of one effect on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing of it.
    Absent,
    /// All of it.
    Whole,
    /// A fresh page's block is allocated but never written: the page reads as zeros.
    Zeros,
    /// The page's block holds what does not belong to the file: what stood on the disk before (an old page that the
    /// trace has set free, or a fixed pattern of rubbish), or what another file has written there since (that pattern).
    Stale,
    /// Of a [`EffectKind::Data`]: only the sectors of the page whose bits are set.
    Sectors(u8),
    /// Of a rename, under models that split it: bit 0 the old target's name is gone, bit 1 the source's name
    /// is gone, bit 2 the new name is there.
    Parts(u8),
}

impl EffectKind {
    /// The sectors of its page that a [`EffectKind::Data`] touches, one bit each; 0 for every other kind.
    pub fn sectors(&self) -> u8 {
        match self {
            EffectKind::Data { start, bytes, .. } => sector_mask(*start, bytes.end - bytes.start),
            _ => 0,
        }
    }

    /// The file whose content, size or shape changes; `None` for a change of names.
    pub fn content_of(&self) -> Option<FileId> {
        match self {
            EffectKind::Data { file, .. } | EffectKind::Size { file, .. } => Some(*file),
            EffectKind::Meta(Meta::Truncate { file, .. } | Meta::Allocate { file, .. }) => Some(*file),
            EffectKind::Meta(_) => None,
        }
    }

    /// Whether it stands for a block that is set free, and not for bytes: whole is the page as it was, stale what
    /// somebody else has written into the block while the page still had it. Only in
    /// [`Effects::with_freed`](super::Effects::with_freed).
    pub fn is_freed(&self) -> bool {
        matches!(self, EffectKind::Data { bytes, .. } if bytes.is_empty())
    }

    /// Whether it stands for zeros in a page that was zeroed before, in place, and not for bytes of the event. Only in
    /// [`Effects::with_own_zeros`](super::Effects::with_own_zeros) and those beside it.
    pub fn is_zeros(&self) -> bool {
        matches!(self, EffectKind::Data { bytes, .. } if bytes.start >= ZEROS)
    }

    /// Whether it is there from the beginning, because it only says what may show beside what was asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.is_freed() || matches!(self, EffectKind::Meta(Meta::Return { .. }))
    }

    /// Whether it is a change of names.
    pub fn is_name(&self) -> bool {
        matches!(self, EffectKind::Meta(_)) && self.content_of().is_none()
    }
}

/// The sectors that `len` bytes from `start` in a page touch.
fn sector_mask(start: u16, len: u32) -> u8 {
    if len == 0 {
        return 0;
    }
    let first = u32::from(start) / SECTOR as u32;
    let last = (u32::from(start) + len - 1) / SECTOR as u32;
    (first..=last.min(7)).fold(0, |mask, bit| mask | 1 << bit)
}
