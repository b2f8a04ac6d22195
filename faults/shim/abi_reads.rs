//! What a recovery reads: the part of the shared memory in which the shim notes it. One layout, included by the shim
//! and by `unplug-faults`.
//!
//! It lies where a recording has its tables of inodes and sockets: memory that logs reads records nothing.
//!
//! Nothing is kept of *when* something was read, nor of how often: only of which file that an image holds what was
//! seen. A file is known by its inode number. Should the number be given to a new file, reads of that count as reads
//! of the old one: too much is noted then, never too little.

#![allow(dead_code)]

use core::sync::atomic::{AtomicU32, AtomicU64};

/// [`Header::flags`](crate::abi::Header): nothing is recorded, but what is read of an image's files is noted.
pub const FLAG_READS: u32 = 16;

/// Offset of the area.
pub const READS_AT: usize = 0x2_0000;
/// Length of the area: up to that of the fault plan.
pub const READS_LEN: usize = 0xA_0000;
/// Files that an image may have; a power of two, twice as many as are ever watched.
pub const FILES: usize = 1 << 10;
/// Words of a file's pages: what lies behind them is the whole file.
pub const WORDS: usize = 64;
/// Pages are of this size.
pub const PAGE: u64 = 4096;

/// [`FileReads::seen`]: its size may be known.
pub const SEEN_SIZE: u32 = 1;
/// [`FileReads::seen`]: all of it may be known.
pub const SEEN_WHOLE: u32 = 2;

/// [`ReadsArea::all`]: a call was made of which it is not known what it told: all files count as read.
pub const ALL_NOW: u32 = 1;
/// [`ReadsArea::all`]: what that call has begun may go on for as long as the process lives.
pub const ALL_EVER: u32 = 2;

/// [`ReadsArea::lost`]: another program was started. It inherits the filter, without a handler, and dies.
pub const LOST_NOW: u32 = 1;
/// [`ReadsArea::lost`]: a filter of the target's own was installed, for good.
pub const LOST_EVER: u32 = 2;

/// What was read of one file.
#[repr(C)]
pub struct FileReads {
    /// Its inode number; 0: no file.
    pub ino: AtomicU64,
    /// `SEEN_*`.
    pub seen: AtomicU32,
    _pad: u32,
    /// A bit for each page of which something was read.
    pub pages: [AtomicU64; WORDS],
}

/// The whole area.
#[repr(C)]
pub struct ReadsArea {
    /// `ALL_*`.
    pub all: AtomicU32,
    /// `LOST_*`: what comes back under the log is not to be trusted.
    pub lost: AtomicU32,
    /// The thread whose calls are the harness's own, if it is at work within a life.
    pub quiet: AtomicU32,
    _pad: u32,
    /// The files, found by their inode numbers as [`slot`] says.
    pub files: [FileReads; FILES],
}

const _: () = assert!(core::mem::size_of::<ReadsArea>() <= READS_LEN);

/// Where to begin to look for an inode's file; the next places follow, round the end.
pub fn slot(ino: u64) -> usize {
    (ino.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as usize & (FILES - 1)
}

impl ReadsArea {
    /// The file of this inode, if it is watched.
    pub fn file(&self, ino: u64) -> Option<&FileReads> {
        use core::sync::atomic::Ordering::Acquire;
        if ino == 0 {
            return None;
        }
        let start = slot(ino);
        for step in 0..FILES {
            let file = &self.files[(start + step) & (FILES - 1)];
            match file.ino.load(Acquire) {
                0 => return None,
                other if other == ino => return Some(file),
                _ => {}
            }
        }
        None
    }
}
