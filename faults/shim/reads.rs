//! The log of reads: what a recovery may know of the files that it was started on.
//!
//! Every way in which a file's bytes or its size can come into the process ends here: those calls are trapped, all
//! others that are known to tell nothing of either are not, and what is on no list counts as having read
//! everything. Names, kinds and links are not noted: every name counts as read always.

use crate::abi_reads::{ALL_EVER, ALL_NOW, FileReads, LOST_EVER, LOST_NOW, PAGE, READS_AT, ReadsArea, SEEN_SIZE, SEEN_WHOLE, WORDS};
use crate::identify::{self, Stat};
use crate::num::*;
use crate::{ring, sys};
use core::sync::atomic::Ordering::*;

const O_TRUNC: usize = 0o1000;
const SEEK_CUR: usize = 1;

/// Calls that only the log of reads traps.
pub const TRAPS: &[usize] = &[
    READ, READV, PREAD64, PREADV, PREADV2, OPEN, OPENAT, STAT, LSTAT, NEWFSTATAT, STATX, STATFS, FSTATFS,
];

/// Calls that a recording traps, and that tell nothing of a file's bytes or size. What they do to a file is the
/// target's own doing: it follows from what was read before.
#[rustfmt::skip]
pub const SILENT: &[usize] = &[
    WRITE, PWRITE64, WRITEV, PWRITEV, PWRITEV2, SENDTO, SENDMSG, SENDMMSG, FSYNC, FDATASYNC, SYNC_FILE_RANGE, SYNC,
    SYNCFS, TRUNCATE, FTRUNCATE, RENAME, RENAMEAT, RENAMEAT2, LINK, LINKAT, SYMLINK, SYMLINKAT, UNLINK, UNLINKAT,
    RMDIR, MKDIR, MKDIRAT, MKNOD, MKNODAT, MSYNC, SOCKET, SOCKETPAIR, ACCEPT, ACCEPT4, PIPE, PIPE2, DUP, DUP2, DUP3,
    EVENTFD, EVENTFD2, MEMFD_CREATE, RECVMSG, RECVMMSG, EXIT_GROUP, FCNTL, MPROTECT, PKEY_MPROTECT, CLOSE_RANGE,
];

/// The area.
fn area() -> &'static ReadsArea {
    // SAFETY: `unplug-faults` laid the area out at this place; it is mapped for as long as the process lives.
    unsafe { &*(ring::at(READS_AT) as *const ReadsArea) }
}

/// Makes a call of the target, unchanged, and notes what it may have told.
pub unsafe fn handle(nr: usize, args: &[usize; 6]) -> isize {
    // SAFETY: the target's own call; its results are looked at as the target may.
    unsafe {
        if harness() {
            return sys::call(nr, args);
        }
        match nr {
            READ | READV => at_descriptor(nr, args),
            PREADV2 if args[3] == usize::MAX => at_descriptor(nr, args),
            PREAD64 | PREADV | PREADV2 => {
                let ret = sys::call(nr, args);
                if let Some(file) = of_descriptor(args[0]) {
                    range(file, args[3] as u64, ret);
                }
                ret
            }
            OPEN | OPENAT | OPENAT2 | CREAT | OPEN_BY_HANDLE_AT => open(nr, args),
            STAT | LSTAT | NEWFSTATAT | STATX => stat(nr, args),
            MMAP => whole_of(nr, args, &[args[4]]),
            COPY_FILE_RANGE | SPLICE => whole_of(nr, args, &[args[0]]),
            SENDFILE => whole_of(nr, args, &[args[1]]),
            // Of the modes some move bytes to other places of the file.
            LSEEK | FALLOCATE => whole_of(nr, args, &[args[0]]),
            MREMAP | MUNMAP => sys::call(nr, args),
            EXECVE | EXECVEAT => {
                area().lost.fetch_or(LOST_NOW, AcqRel);
                sys::call(nr, args)
            }
            SECCOMP | PRCTL => {
                area().lost.fetch_or(LOST_EVER, AcqRel);
                sys::call(nr, args)
            }
            IO_URING_SETUP | IO_URING_ENTER | IO_URING_REGISTER | IO_SETUP | IO_SUBMIT | IO_PGETEVENTS => {
                unknown();
                sys::call(nr, args)
            }
            _ if SILENT.contains(&nr) => sys::call(nr, args),
            _ => {
                area().all.fetch_or(ALL_NOW, AcqRel);
                sys::call(nr, args)
            }
        }
    }
}

/// What is read cannot be known in this process, nor in any that comes of it.
pub fn unknown() {
    area().all.fetch_or(ALL_EVER, AcqRel);
}

/// Whether this thread is the harness's at this moment.
unsafe fn harness() -> bool {
    let quiet = area().quiet.load(Acquire);
    // SAFETY: asks only.
    quiet != 0 && quiet == unsafe { sys::call0(GETTID) } as u32
}

/// The watched file of a descriptor.
unsafe fn of_descriptor(fd: usize) -> Option<&'static FileReads> {
    let mut stat = Stat::EMPTY;
    // SAFETY: asks only.
    if !unsafe { identify::fstat(fd, &mut stat) } || !stat.is_file() {
        return None;
    }
    area().file(stat.ino)
}

/// Reads at the descriptor's own place. Where another thread moves that at the same time, nobody knows what was read.
unsafe fn at_descriptor(nr: usize, args: &[usize; 6]) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        let Some(file) = of_descriptor(args[0]) else { return sys::call(nr, args) };
        let before = sys::call3(LSEEK, args[0], 0, SEEK_CUR);
        let ret = sys::call(nr, args);
        if before < 0 || (ret >= 0 && sys::call3(LSEEK, args[0], 0, SEEK_CUR) != before + ret) {
            whole(file);
        } else {
            range(file, before as u64, ret);
        }
        ret
    }
}

/// Something of these bytes was read. A short read tells the size.
fn range(file: &FileReads, at: u64, len: isize) {
    file.seen.fetch_or(SEEN_SIZE, AcqRel);
    if len <= 0 {
        return;
    }
    let (first, last) = (at / PAGE, (at.saturating_add(len as u64 - 1)) / PAGE);
    if last >= (WORDS * 64) as u64 {
        return whole(file);
    }
    let mut page = first;
    while page <= last {
        file.pages[page as usize / 64].fetch_or(1 << (page % 64), AcqRel);
        page += 1;
    }
}

fn whole(file: &FileReads) {
    file.seen.fetch_or(SEEN_SIZE | SEEN_WHOLE, AcqRel);
}

/// A call that may have told anything of the files that these descriptors stand for.
unsafe fn whole_of(nr: usize, args: &[usize; 6], descriptors: &[usize]) -> isize {
    // SAFETY: asks only, then the target's own call.
    unsafe {
        for fd in descriptors {
            if let Some(file) = of_descriptor(*fd) {
                whole(file);
            }
        }
        sys::call(nr, args)
    }
}

/// An open file may be asked for its size by calls that are not trapped. One that was cut has none that it had before.
unsafe fn open(nr: usize, args: &[usize; 6]) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        let ret = sys::call(nr, args);
        let cut = match nr {
            CREAT => true,
            OPEN => args[1] & O_TRUNC != 0,
            OPENAT => args[2] & O_TRUNC != 0,
            _ => false,
        };
        if ret >= 0
            && !cut
            && let Some(file) = of_descriptor(ret as usize)
        {
            file.seen.fetch_or(SEEN_SIZE, AcqRel);
        }
        ret
    }
}

/// A path's size is asked for. The answer names the inode.
unsafe fn stat(nr: usize, args: &[usize; 6]) -> isize {
    // The inode number in struct stat and in struct statx.
    let (buffer, at) = match nr {
        STATX => (args[4], 32),
        NEWFSTATAT => (args[2], 8),
        _ => (args[1], 8),
    };
    // SAFETY: the target's own call; the kernel has just filled its buffer.
    unsafe {
        let ret = sys::call(nr, args);
        if ret == 0
            && let Some(file) = area().file(((buffer + at) as *const u64).read_unaligned())
        {
            file.seen.fetch_or(SEEN_SIZE, AcqRel);
        }
        ret
    }
}
