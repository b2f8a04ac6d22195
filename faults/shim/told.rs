//! Which open file description has been told of a write-back error, where a plan has let a sync fail.
//!
//! Linux tells such an error once to *each* description that was open when it happened, and not to one that is opened
//! after somebody has seen it (errseq_t: Documentation/filesystems/vfs.rst, *Handling errors during writeback*;
//! fsync(2)). The kernel keeps what a description has seen in the description itself (`f_wb_err`), and so does this:
//! in its signal number (fcntl(F_SETSIG)), which means nothing for a regular file, is shared by all descriptors that
//! dup and fork make, and goes with the description. So no descriptor has to be followed, and no close seen. A program
//! that sets the number for a recorded file itself, for a lease, upsets this.
//!
//! A description without a mark that can be written through was there before the first failure: all opens for writing
//! are seen, and marked from then on. Of one for reading only that is not known, as such opens are not seen; those of the
//! process that fails are marked when it does. Another process's is told of what fails after its first sync since: an
//! error too many would hide what a store makes of a sync that gives none.
//!
//! Not followed: msync (which description a mapping has is not known), the error that syncfs would give, and splice into
//! files that are open with O_SYNC or O_DSYNC: what was taken from a pipe cannot be put back.

use crate::abi::{FLAG_FAULTS, SYNC_TOLD};
use crate::abi_fault::{FAILED, FailedFile};
use crate::dispatch::Context;
use crate::fault;
use crate::files::EIO;
use crate::identify::{self, Stat};
use crate::num::*;
use crate::scratch::{SLOT, Scratch};
use crate::sys;
use core::sync::atomic::Ordering::*;

const F_GETFL: usize = 3;
const F_SETSIG: usize = 10;
const F_GETSIG: usize = 11;
/// Signals have the numbers from 1 to this.
const SIGNALS: u64 = 64;

/// The mark of a description that was told of so many failures; the kernel's counter goes round as well.
fn mark(failures: u64) -> usize {
    1 + (failures % SIGNALS) as usize
}

fn table() -> &'static [FailedFile; FAILED] {
    &fault::area().failed
}

/// How often a sync of the file was let fail, if it was, and the last error.
fn failures(ino: u64) -> Option<(u64, isize)> {
    let found = table().iter().map_while(|file| match file.ino.load(Acquire) {
        0 => None,
        there => Some((there, file)),
    });
    let errors = found.filter(|(there, _)| *there == ino).map(|(_, file)| file.errors.load(Acquire)).next()?;
    (errors != 0).then_some((errors >> 32, (errors & u64::from(u32::MAX)) as isize))
}

/// The file's place in the table, perhaps a new one.
fn place(ino: u64) -> Option<&'static FailedFile> {
    let is_its = |file: &&FailedFile| {
        let there = file.ino.compare_exchange(0, ino, AcqRel, Acquire).unwrap_or_else(|there| there);
        there == 0 || there == ino
    };
    table().iter().find(is_its)
}

unsafe fn is_for_reading(fd: usize) -> bool {
    const O_ACCMODE: isize = 3;
    // SAFETY: asks only.
    unsafe { sys::call2(FCNTL, fd, F_GETFL) & O_ACCMODE == 0 }
}

/// A sync of a regular file is let fail, with an error of the storage: all other descriptions of the file are to be told.
pub unsafe fn failed(call: &Context, ino: u64, errno: isize) {
    let Some(file) = place(ino) else {
        // SAFETY: as `ring::blind`.
        unsafe { call.blind(b"too many files whose sync failed", b"who is to be told of it is not kept") };
        return;
    };
    // SAFETY: the description's mark is ours.
    unsafe {
        mark_readers(call, ino, mark(file.errors.load(Acquire) >> 32));
        let next = |errors: u64| ((errors >> 32) + 1) << 32 | errno as u64;
        let before = file.errors.fetch_update(AcqRel, Acquire, |errors| Some(next(errors)));
        let failures = before.map_or(0, |errors| errors >> 32) + 1;
        sys::call3(FCNTL, call.args[0], F_SETSIG, mark(failures));
    }
}

/// The error that a sync of a regular file gives although it went well: one that was told through another description
/// before. It is given once.
pub unsafe fn owed(call: &Context, ino: u64) -> Option<isize> {
    if call.header.flags & FLAG_FAULTS == 0 {
        return None;
    }
    let (failures, errno) = failures(ino)?;
    let fd = call.args[0];
    // SAFETY: the description's mark is ours.
    unsafe {
        let seen = sys::call2(FCNTL, fd, F_GETSIG);
        let was_there = seen > 0 || !is_for_reading(fd);
        let now = mark(failures);
        // Where marks cannot be made nothing is told, as it would be told for ever.
        let told = seen != now as isize && sys::call3(FCNTL, fd, F_SETSIG, now) == 0 && was_there;
        told.then_some(errno)
    }
}

/// The error that the sync of a write gives, the bytes of which are in the page cache: its own where it is let fail, or
/// one that was told through another description before; and the flag of its record.
pub unsafe fn of_a_write(call: &Context, ino: u64, fails: bool) -> (Option<isize>, u16) {
    // SAFETY: as `failed` and `owed`.
    unsafe {
        if fails {
            failed(call, ino, EIO);
            return (Some(EIO), 0);
        }
        let error = owed(call, ino);
        (error, if error.is_some() { SYNC_TOLD } else { 0 })
    }
}

/// A file was opened: what has failed before is no concern of this description.
pub unsafe fn opened(call: &Context, fd: usize) {
    if call.header.flags & FLAG_FAULTS == 0 || table()[0].ino.load(Acquire) == 0 {
        return;
    }
    let mut stat = Stat::EMPTY;
    // SAFETY: the descriptor was just opened.
    unsafe {
        if identify::fstat(fd, &mut stat)
            && stat.is_file()
            && stat.dev == call.header.root_dev
            && let Some((failures, _)) = failures(stat.ino)
        {
            sys::call3(FCNTL, fd, F_SETSIG, mark(failures));
        }
    }
}

/// Marks what this process has opened of a file for reading only, and is not marked yet.
unsafe fn mark_readers(call: &Context, ino: u64, mark: usize) {
    // O_CLOEXEC | O_DIRECTORY
    const LIST: usize = 0o200_0000 | 0o20_0000;
    // struct linux_dirent64: its length, and its name.
    const LENGTH_AT: usize = 16;
    const NAME_AT: usize = 19;
    let mut scratch = Scratch::take();
    let buffer = scratch.bytes();
    let mut stat = Stat::EMPTY;
    // SAFETY: our own buffer and descriptor; the marks are ours.
    unsafe {
        let list = sys::call2(OPEN, c"/proc/self/fd".as_ptr() as usize, LIST);
        if list < 0 {
            return;
        }
        loop {
            let filled = sys::call3(GETDENTS64, list as usize, buffer.as_mut_ptr() as usize, SLOT);
            let mut entries = &buffer[..filled.max(0) as usize];
            if entries.is_empty() {
                break;
            }
            while entries.len() > NAME_AT {
                let length = u16::from_ne_bytes([entries[LENGTH_AT], entries[LENGTH_AT + 1]]) as usize;
                let (entry, rest) = entries.split_at(length.clamp(NAME_AT, entries.len()));
                entries = rest;
                let digits = entry[NAME_AT..].iter().take_while(|b| b.is_ascii_digit());
                let fd = digits.fold(0, |fd, digit| fd * 10 + usize::from(digit - b'0'));
                if identify::fstat(fd, &mut stat)
                    && (stat.dev, stat.ino) == (call.header.root_dev, ino)
                    && is_for_reading(fd)
                    && sys::call2(FCNTL, fd, F_GETSIG) == 0
                {
                    sys::call3(FCNTL, fd, F_SETSIG, mark);
                }
            }
        }
        sys::call1(CLOSE, list as usize);
    }
}
