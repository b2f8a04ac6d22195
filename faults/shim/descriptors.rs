//! What a descriptor's number stands for, remembered between the calls that write through it.
//!
//! Closes are not seen: the dynamic linker closes before there is a handler, and a trap on each `close` of stdio's
//! would cost more than it saves. They need not be seen, because what is remembered is weaker: *if* this number can
//! be written through, it is this file or this socket. A closed number fails with EBADF, and so does one that was
//! opened again for reading only. To become another thing that can be written through, a number must come out of a
//! call that makes such descriptors, and all of those are seen, by symbol or by trap: opens for writing, socket,
//! socketpair, accept, pipe, dup, fcntl(F_DUPFD), eventfd, memfd_create, recvmsg (SCM_RIGHTS), and the requests of
//! ioctl that are not known to make none. Each forgets what its number stood for before the program learns of the
//! number. A failed write proves nothing, so its identity is asked for again. Syncs need no writable descriptor:
//! they always ask.
//!
//! The table lies in memory that fork empties. A child of vfork shares the memory, but not the descriptors: while
//! one is there that has changed its own, or that came from the `vfork` symbol, nothing is remembered. (Beyond that
//! stays a child of a raw clone(CLONE_VM | CLONE_VFORK) that makes no descriptor and yet writes before it calls
//! exec, while another thread of its parent gives the number away anew: nothing in its memory tells the two apart.)

use crate::dispatch::Context;
use crate::identify::{self, Stat, is_recorded};
use crate::{num, sockets, sys};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

/// Numbers that are remembered; larger ones are asked for each time.
const NUMBERS: usize = 4096;
/// Bytes of the table.
pub const BYTES: usize = NUMBERS * 8;
/// Where the process that the table belongs to stands in the memory that fork empties.
const OWNER_AT: usize = 64;

/// A word of the table that is filled: `inode << 8 | kind << 4 | flags << 1 | FULL`. An empty one is even, and no
/// two empty ones are equal, so that what was found out before a number was given away anew is never put in after.
const FULL: u64 = 1;
const O_APPEND: usize = 0o2000;
const O_DSYNC: usize = 0o10000;
const O_SYNC: usize = 0o4010000;

/// What a number stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that is recorded.
    Other,
    /// A recorded regular file.
    File,
    /// A socket, which has been introduced.
    Socket,
}

/// What is known of a number.
#[derive(Clone, Copy)]
pub struct Known {
    /// What it is.
    pub kind: Kind,
    /// Its inode.
    pub ino: u64,
    /// Which of O_APPEND, O_DSYNC and O_SYNC a recorded file was opened with.
    pub flags: usize,
    /// It was not asked for in this call.
    pub remembered: bool,
}

impl Known {
    const NOTHING: Known = Known { kind: Kind::Other, ino: 0, flags: 0, remembered: false };

    #[inline(always)]
    fn unpack(word: u64) -> Known {
        let kind = match word >> 4 & 3 {
            1 => Kind::File,
            2 => Kind::Socket,
            _ => Kind::Other,
        };
        let bit = |at: u64, flag: usize| if word >> at & 1 != 0 { flag } else { 0 };
        let flags = bit(1, O_APPEND) | bit(2, O_DSYNC) | bit(3, O_SYNC);
        Known { kind, ino: word >> 8, flags, remembered: true }
    }

    fn pack(&self) -> Option<u64> {
        let kind = match self.kind {
            Kind::Other => 0,
            Kind::File => 1,
            Kind::Socket => 2,
        };
        let append = u64::from(self.flags & O_APPEND != 0);
        let data = u64::from(self.flags & O_DSYNC != 0);
        let full = u64::from(self.flags & O_SYNC == O_SYNC);
        let flags = append << 1 | data << 2 | full << 3;
        (self.ino < 1 << 56).then_some(self.ino << 8 | kind << 4 | flags | FULL)
    }
}

/// Children that share this memory but not the descriptors. Counted by the `vfork` symbol and by [`join`].
static FOREIGNERS: AtomicU32 = AtomicU32::new(0);
/// Those that have changed their descriptors, by number.
static FOREIGN: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];
/// Distinguishes the empty words.
static EMPTIED: AtomicU64 = AtomicU64::new(1);

fn cell(fd: usize) -> Option<&'static AtomicU64> {
    if fd >= NUMBERS {
        return None;
    }
    // SAFETY: the table lies behind the scratch buffers, and is mapped before the first call comes here.
    Some(unsafe { &*(sys::wiped().add(sys::TABLE_AT + fd * 8) as *const AtomicU64) })
}

fn owner() -> &'static AtomicU32 {
    // SAFETY: within the first page of the memory that fork empties.
    unsafe { &*(sys::wiped().add(OWNER_AT) as *const AtomicU32) }
}

/// A program begins, or a child of fork: from now on numbers are remembered. In a process that was made in another
/// way they are not, as it may be one that shares its parent's memory.
pub unsafe fn started() {
    // SAFETY: asks only.
    owner().store(unsafe { sys::call0(num::GETPID) } as u32, Release);
}

/// What is remembered of a number.
#[inline(always)]
pub unsafe fn remembered(fd: usize) -> Option<Known> {
    let word = cell(fd)?.load(Acquire);
    (word & FULL != 0 && FOREIGNERS.load(Acquire) == 0).then(|| Known::unpack(word))
}

/// What a number stands for, for a call that writes through it.
#[inline(always)]
pub unsafe fn known(call: &Context, fd: usize) -> Known {
    // SAFETY: as `find`.
    unsafe {
        match remembered(fd) {
            Some(known) => known,
            None => find(call, fd),
        }
    }
}

/// Asks the kernel what a number stands for, and remembers it where that is safe.
#[cold]
#[inline(never)]
unsafe fn find(call: &Context, fd: usize) -> Known {
    // Before anything is asked: what is forgotten from here on changes this word.
    let cell = cell(fd);
    let before = cell.map_or(FULL, |c| c.load(Acquire));
    let mut stat = Stat::EMPTY;
    // SAFETY: asks only.
    unsafe {
        if !identify::fstat(fd, &mut stat) {
            return Known::NOTHING;
        }
        let mut known = Known { ino: stat.ino, ..Known::NOTHING };
        if stat.is_socket() {
            sockets::meet(call, fd, stat.ino);
            known.kind = Kind::Socket;
        } else if stat.is_file() {
            if !is_recorded(call.header, fd, &stat) {
                // Not remembered: files come into the recorded directory by other ways than an open.
                return Known::NOTHING;
            }
            known.kind = Kind::File;
            known.flags = flags(fd);
        }
        if before & FULL == 0
            && let (Some(cell), Some(word)) = (cell, known.pack())
            && FOREIGNERS.load(Acquire) == 0
            && owner().load(Acquire) == sys::call0(num::GETPID) as u32
        {
            // A failure says that the number was given away meanwhile.
            let _ = cell.compare_exchange(before, word, AcqRel, Relaxed);
        }
        known
    }
}

/// The flags that matter, of an open file.
pub unsafe fn flags(fd: usize) -> usize {
    const F_GETFL: usize = 3;
    // SAFETY: asks only.
    let flags = unsafe { sys::call2(num::FCNTL, fd, F_GETFL) };
    if flags < 0 { 0 } else { flags as usize }
}

/// A write failed: whether the number still is what was remembered of it.
#[cold]
pub unsafe fn still(fd: usize, known: &Known) -> bool {
    let mut stat = Stat::EMPTY;
    // SAFETY: asks only.
    let found = unsafe { identify::fstat(fd, &mut stat) };
    let same = found && stat.ino == known.ino && stat.is_socket() == (known.kind == Kind::Socket);
    if !same {
        // SAFETY: as `forget`.
        unsafe { forget(fd) };
    }
    same
}

/// A number is given away anew, or is about to be.
pub unsafe fn forget(fd: usize) {
    // SAFETY: asks only.
    unsafe { join() };
    if let Some(cell) = cell(fd) {
        cell.store(EMPTIED.fetch_add(1, AcqRel) << 1, Release);
    }
}

/// Any number may have been given away anew.
#[cold]
pub unsafe fn forget_all() {
    // SAFETY: asks only.
    unsafe { join() };
    let emptied = EMPTIED.fetch_add(NUMBERS as u64, AcqRel);
    for fd in 0..NUMBERS {
        if let Some(cell) = cell(fd) {
            cell.store((emptied + fd as u64) << 1, Release);
        }
    }
}

/// Threads may have descriptors of their own from now on: nothing is remembered any more in this process.
#[cold]
pub fn stop() {
    FOREIGNERS.fetch_add(1 << 16, AcqRel);
}

/// Counts this process among those that share the memory but not the descriptors, if it is one.
unsafe fn join() {
    let owner = owner().load(Acquire);
    // SAFETY: asks only.
    let pid = unsafe { sys::call0(num::GETPID) } as u32;
    if owner == 0 || owner == pid || FOREIGN.iter().any(|f| f.load(Acquire) == pid) {
        return;
    }
    FOREIGNERS.fetch_add(1, AcqRel);
    if !FOREIGN.iter().any(|f| f.compare_exchange(0, pid, AcqRel, Relaxed).is_ok()) {
        stop();
    }
}

/// This process is about to become another program, or to end: it no longer shares the memory. True if it did.
pub unsafe fn leave() -> bool {
    // SAFETY: asks only.
    let pid = unsafe { sys::call0(num::GETPID) } as u32;
    let was = FOREIGN.iter().any(|f| f.compare_exchange(pid, 0, AcqRel, Relaxed).is_ok());
    if was {
        FOREIGNERS.fetch_sub(1, AcqRel);
    }
    was
}

/// The exec failed: it does share the memory still.
pub unsafe fn rejoin(was: bool) {
    if was {
        // SAFETY: asks only.
        unsafe { join() };
    }
}

/// Makes a call that gives descriptors away.
pub unsafe fn make(call: &Context) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        before(call.nr, call.args);
        let ret = call.pass();
        after(call.nr, call.args, ret);
        ret
    }
}

/// Before a call that may replace what a number stands for: what another thread finds out from now on is not
/// remembered.
pub unsafe fn before(nr: usize, args: &[usize; 6]) {
    if matches!(nr, num::DUP2 | num::DUP3) {
        // SAFETY: as `forget`.
        unsafe { forget(args[1] as u32 as usize) };
    }
}

/// After any call that may have given a descriptor away, before the program learns of it.
pub unsafe fn after(nr: usize, args: &[usize; 6], ret: isize) {
    if ret < 0 {
        return;
    }
    // SAFETY: the kernel has filled in what is read here.
    unsafe {
        match nr {
            num::SOCKET
            | num::ACCEPT
            | num::ACCEPT4
            | num::DUP
            | num::DUP2
            | num::DUP3
            | num::EVENTFD
            | num::EVENTFD2
            | num::MEMFD_CREATE => forget(ret as usize),
            num::FCNTL if duplicates(args[1]) => forget(ret as usize),
            num::PIPE | num::PIPE2 => pair(args[0]),
            num::SOCKETPAIR => pair(args[3]),
            num::RECVMSG => {
                if sockets::holds_descriptors(args[1]) {
                    forget_all();
                }
            }
            num::RECVMMSG => {
                if (0..ret as usize).any(|i| sockets::holds_descriptors(sockets::message(args[1], i))) {
                    forget_all();
                }
            }
            // With CLOSE_RANGE_UNSHARE: nothing else is trapped.
            num::CLOSE_RANGE | num::UNSHARE => stop(),
            _ => {}
        }
    }
}

unsafe fn pair(at: usize) {
    // SAFETY: the kernel has put two numbers there.
    unsafe {
        let [first, second] = *(at as *const [u32; 2]);
        forget(first as usize);
        forget(second as usize);
    }
}

/// Whether a command of fcntl makes a descriptor.
pub fn duplicates(command: usize) -> bool {
    const F_DUPFD: usize = 0;
    const F_DUPFD_CLOEXEC: usize = 1030;
    matches!(command as u32 as usize, F_DUPFD | F_DUPFD_CLOEXEC)
}

/// vfork(2) through its symbol. It returns twice on one stack, so the return address waits in a register; the count
/// is taken back by the parent, which goes on when the child has gone.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn vfork() -> i32 {
    core::arch::naked_asm!(
        "pop rdi",
        "lock add dword ptr [rip + {foreign}], 1",
        "mov eax, 58",
        "syscall",
        "push rdi",
        "test eax, eax",
        "jz 2f",
        "lock sub dword ptr [rip + {foreign}], 1",
        "cmp rax, -4095",
        "jae 3f",
        "2:",
        "ret",
        "3:",
        "mov rdi, rax",
        "jmp {failed}",
        foreign = sym FOREIGNERS,
        failed = sym failed,
    )
}

/// Puts the error of a failed vfork where the C library would.
unsafe extern "C" fn failed(ret: isize) -> isize {
    // SAFETY: this thread's errno.
    unsafe { sys::libc_result(ret) }
}
