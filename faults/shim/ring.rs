//! Records in the shared memory: two fetch_adds, the state word last.

use crate::abi::{self, Header, Record};
use crate::site::{self, Caller};
use crate::{sys, time};
use core::sync::atomic::{AtomicUsize, Ordering::*};

static BASE: AtomicUsize = AtomicUsize::new(0);

/// The shared memory's head, once it is mapped.
#[inline(always)]
pub fn header() -> Option<&'static Header> {
    let base = BASE.load(Relaxed);
    // SAFETY: mapped for the life of the process.
    (base != 0).then(|| unsafe { &*(base as *const Header) })
}

/// From now on calls are recorded at `base`.
pub fn attach(base: usize) {
    BASE.store(base, Release);
}

/// A place in the shared memory.
#[inline(always)]
pub fn at(offset: usize) -> *mut u8 {
    (BASE.load(Relaxed) + offset) as *mut u8
}

/// The shared memory is mapped into this process by this many bytes at a time.
const CHUNK: u64 = 1 << 16;

/// Maps one chunk at once: sixteen page faults on first touch would cost several times as much.
#[cold]
unsafe fn populate(header: &Header, offset: u64) {
    const MADV_POPULATE_WRITE: usize = 23;
    if offset + CHUNK <= header.size {
        // SAFETY: within the mapping; a failure only costs the faults.
        unsafe {
            sys::call3(crate::num::MADVISE, at(offset as usize) as usize, CHUNK as usize, MADV_POPULATE_WRITE)
        };
    }
}

/// Asks for the cache lines that the next record will take, if they are mapped: without that the clock that ends a
/// call waits for memory that nobody has touched.
#[inline(always)]
unsafe fn fetch_ahead(record: *const u8, len: usize) {
    for line in 0..3 {
        // SAFETY: a hint that never faults.
        unsafe {
            core::arch::asm!(
                "prefetchw byte ptr [{}]",
                in(reg) record.wrapping_add(len + line * 64),
                options(nostack, preserves_flags),
            );
        }
    }
}

/// What a record says besides who, when and where.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// `KIND_*`.
    pub kind: u16,
    /// The system call.
    pub nr: usize,
    /// `VIA_*`.
    pub via: u8,
    /// From where.
    pub caller: &'a Caller,
    /// Flags of the kind.
    pub flags: u16,
    /// Inode of the object.
    pub ino: u64,
    /// The kind's numbers.
    pub numbers: [u64; 3],
    /// First name.
    pub name1: &'a [u8],
    /// Second name.
    pub name2: &'a [u8],
}

impl<'a> Call<'a> {
    /// A call of this kind, everything else empty.
    pub fn new(kind: u16, nr: usize, via: u8, caller: &'a Caller) -> Call<'a> {
        Call { kind, nr, via, caller, flags: 0, ino: 0, numbers: [0; 3], name1: &[], name2: &[] }
    }
}

/// A piece of memory of the target, copied into a record; room that is filled later where `at` is null.
#[derive(Clone, Copy)]
pub struct Piece {
    /// Where.
    pub at: *const u8,
    /// How many bytes.
    pub len: usize,
}

/// A record whose call has begun.
pub struct Draft {
    record: *mut Record,
}

/// Draws the clock at which a call begins. (In a gated run `gate::intercept` has waited for the turn before.)
#[inline(always)]
pub unsafe fn tick(header: &'static Header) -> u64 {
    // SAFETY: as `draw`.
    unsafe { draw(header) }
}

/// Draws a begin clock without a turn: for records that change nothing. A forked child's first clock is that
/// of the record that tells of the fork.
#[inline(always)]
pub unsafe fn draw(header: &'static Header) -> u64 {
    // SAFETY: the thread's own words.
    unsafe {
        let (_, _, first) = sys::ids();
        if first {
            crate::process::forked(header, None);
        }
    }
    header.clock.fetch_add(1, AcqRel)
}

/// Begins a record before its call, so that a call inside which the target is killed is known.
#[inline(always)]
pub unsafe fn begin(header: &'static Header, call: &Call, data: &[Piece]) -> Draft {
    // SAFETY: as `begin_at`.
    unsafe {
        let begin = tick(header);
        begin_at(header, begin, call, data)
    }
}

/// As [`begin`], with a clock that was drawn before.
pub unsafe fn begin_at(header: &'static Header, begin: u64, call: &Call, data: &[Piece]) -> Draft {
    let data_len: usize = data.iter().map(|p| p.len).sum();
    // SAFETY: the room is ours by fetch_add; the pieces are memory that the kernel is to read as well.
    unsafe {
        let (pid, tid, _) = sys::ids();
        let mut frames = [0u64; abi::FRAMES];
        // A reply's site tells little: a record of two cache lines serves.
        let most = if call.kind == abi::KIND_SEND { 3 } else { abi::FRAMES };
        let n = site::walk(call.caller, &mut frames[..most]);
        let body = n * 8 + call.name1.len() + call.name2.len() + data_len;
        let len = (size_of::<Record>() + body + abi::RECORD_ALIGN - 1) & !(abi::RECORD_ALIGN - 1);
        let offset = abi::RECORDS_AT as u64 + header.head.fetch_add(len as u64, Relaxed);
        if offset + len as u64 > header.size || len > u32::MAX as usize {
            header.full.store(1, Release);
            return Draft { record: core::ptr::null_mut() };
        }
        if (offset ^ (offset + len as u64)) & !(CHUNK - 1) != 0 {
            populate(header, (offset + len as u64) & !(CHUNK - 1));
        }
        let record = at(offset as usize) as *mut Record;
        fetch_ahead(record as *const u8, len);
        (*record).len = len as u32;
        (*record).state.store(abi::STATE_RESERVED, Release);
        (*record).begin = begin;
        (*record).end.store(abi::NEVER, Relaxed);
        (*record).at = time::now(header);
        (*record).pid = pid;
        (*record).tid = tid;
        (*record).kind = call.kind;
        (*record).nr = call.nr as u16;
        (*record).via = call.via;
        (*record).frames = n as u8;
        (*record).flags = call.flags;
        (*record).ino = call.ino;
        (*record).a = call.numbers[0];
        (*record).b = call.numbers[1];
        (*record).c = call.numbers[2];
        (*record).name1_len = call.name1.len() as u32;
        (*record).name2_len = call.name2.len() as u32;
        (*record).data_len = data_len as u64;
        let mut to = record.add(1) as *mut u8;
        core::ptr::copy_nonoverlapping(frames.as_ptr() as *const u8, to, n * 8);
        to = to.add(n * 8);
        core::ptr::copy_nonoverlapping(call.name1.as_ptr(), to, call.name1.len());
        to = to.add(call.name1.len());
        core::ptr::copy_nonoverlapping(call.name2.as_ptr(), to, call.name2.len());
        to = to.add(call.name2.len());
        for piece in data {
            if !piece.at.is_null() {
                core::ptr::copy_nonoverlapping(piece.at, to, piece.len);
            }
            to = to.add(piece.len);
        }
        (*record).state.store(abi::STATE_BEGUN, Release);
        Draft { record }
    }
}

impl Draft {
    /// Sets what is known only after the call, before [`Draft::done`].
    pub unsafe fn set(&mut self, ino: u64, numbers: [u64; 3]) {
        if self.record.is_null() {
            return;
        }
        // SAFETY: our record.
        unsafe {
            (*self.record).ino = ino;
            (*self.record).a = numbers[0];
            (*self.record).b = numbers[1];
            (*self.record).c = numbers[2];
        }
    }

    /// The first number of the kind, known after the call.
    #[inline(always)]
    pub unsafe fn set_a(&mut self, a: u64) {
        if !self.record.is_null() {
            // SAFETY: our record.
            unsafe { (*self.record).a = a };
        }
    }

    /// The second number of the kind, known after the call.
    pub unsafe fn set_b(&mut self, b: u64) {
        if !self.record.is_null() {
            // SAFETY: our record.
            unsafe { (*self.record).b = b };
        }
    }

    /// Flags of the kind that are known only after the call.
    pub unsafe fn add_flags(&mut self, flags: u16) {
        if !self.record.is_null() {
            // SAFETY: our record.
            unsafe { (*self.record).flags |= flags };
        }
    }

    /// The time, where it is not that at which the record was begun.
    pub unsafe fn set_at(&mut self, at: u64) {
        if !self.record.is_null() {
            // SAFETY: our record.
            unsafe { (*self.record).at = at };
        }
    }

    /// Where the data begin, unless the record found no room.
    pub unsafe fn data(&self) -> Option<*mut u8> {
        if self.record.is_null() {
            return None;
        }
        // SAFETY: our record.
        unsafe {
            let r = &*self.record;
            let before = r.frames as usize * 8 + r.name1_len as usize + r.name2_len as usize;
            Some((self.record.add(1) as *mut u8).add(before))
        }
    }

    /// The call has returned.
    #[inline(always)]
    pub unsafe fn done(self, header: &Header, ret: isize) {
        let end = header.clock.fetch_add(1, AcqRel);
        // SAFETY: our record.
        unsafe { self.finish(ret, end, abi::STATE_DONE) };
    }

    /// The record counts for nothing: it failed without a trace, or another one replaces it.
    pub unsafe fn void(self) {
        // SAFETY: our record.
        unsafe { self.finish(0, abi::NEVER, abi::STATE_VOID) };
    }

    #[inline(always)]
    unsafe fn finish(self, ret: isize, end: u64, state: u32) {
        if self.record.is_null() {
            return;
        }
        // SAFETY: our record.
        unsafe {
            (*self.record).ret = ret as i64;
            (*self.record).end.store(end, Relaxed);
            (*self.record).state.store(state, Release);
        }
    }
}

/// Records that something cannot be followed.
pub unsafe fn blind(
    header: &'static Header,
    nr: usize,
    via: u8,
    caller: &Caller,
    what: &[u8],
    detail: &[u8],
) {
    let mut call = Call::new(abi::KIND_BLIND, nr, via, caller);
    call.name1 = what;
    call.name2 = detail;
    // SAFETY: names are ours. No turn is taken: a blind record changes nothing.
    unsafe {
        let begin = draw(header);
        begin_at(header, begin, &call, &[]).done(header, 0);
    }
}
