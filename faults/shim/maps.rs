//! Shared mappings: stores into them are invisible, so a writable one of a recorded file makes the run blind.

use crate::abi::{Header, KIND_SYNC};
use crate::dispatch::Context;
use crate::identify::{self, Stat, is_recorded};
use crate::{num, ring};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

const PROT_WRITE: usize = 2;

/// Shared mappings of recorded files: start, end, inode. Entries are never taken out: a stale one can only
/// make a run blind that need not be.
struct Entry {
    start: AtomicUsize,
    end: AtomicUsize,
    ino: AtomicU64,
}

const ENTRIES: usize = 256;
static MAPPED: [Entry; ENTRIES] =
    [const { Entry { start: AtomicUsize::new(0), end: AtomicUsize::new(0), ino: AtomicU64::new(0) } };
        ENTRIES];
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn overlapping(start: usize, len: usize) -> Option<&'static Entry> {
    let n = COUNT.load(Acquire).min(ENTRIES);
    let end = start.saturating_add(len);
    MAPPED[..n].iter().find(|e| e.start.load(Acquire) < end && start < e.end.load(Acquire))
}

/// mmap(MAP_SHARED), mprotect to writable, msync.
pub unsafe fn map(call: &Context) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        match call.nr {
            num::MMAP => shared(call),
            num::MPROTECT | num::PKEY_MPROTECT => {
                if COUNT.load(Acquire) > 0
                    && call.args[2] & PROT_WRITE != 0
                    && overlapping(call.args[0], call.args[1]).is_some()
                {
                    call.blind(
                        b"mprotect(PROT_WRITE) of a shared mapping",
                        b"stores into a recorded file's mapping are not seen",
                    );
                }
                call.pass()
            }
            num::MSYNC => sync(call),
            _ => call.pass(),
        }
    }
}

unsafe fn shared(call: &Context) -> isize {
    let a = call.args;
    let mut stat = Stat::EMPTY;
    // SAFETY: the target's own call.
    unsafe {
        let recorded =
            identify::fstat(a[4], &mut stat) && stat.is_file() && is_recorded(call.header, a[4], &stat);
        let ret = call.pass();
        if recorded && (ret as usize) < usize::MAX - 4095 {
            let at = COUNT.fetch_add(1, AcqRel);
            if let Some(entry) = MAPPED.get(at) {
                entry.ino.store(stat.ino, Release);
                entry.end.store((ret as usize).saturating_add((a[1] + 4095) & !4095), Release);
                entry.start.store(ret as usize, Release);
            } else {
                call.blind(b"too many shared mappings", b"more than 256 of recorded files in one process");
            }
            if a[2] & PROT_WRITE != 0 {
                call.blind(
                    b"mmap(MAP_SHARED, PROT_WRITE)",
                    b"stores into a recorded file's mapping are not seen",
                );
            }
        }
        ret
    }
}

unsafe fn sync(call: &Context) -> isize {
    const MS_SYNC: usize = 4;
    let a = call.args;
    // SAFETY: the target's own call.
    unsafe {
        let Some(entry) = overlapping(a[0], a[1]).filter(|_| a[2] & MS_SYNC != 0) else {
            return call.pass();
        };
        let header: &'static Header = call.header;
        let mut record = call.record(KIND_SYNC);
        record.ino = entry.ino.load(Acquire);
        record.flags = 3;
        let draft = ring::begin(header, &record, &[]);
        let ret = call.pass();
        draft.done(header, ret);
        ret
    }
}
