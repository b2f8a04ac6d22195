//! The fault plan's part of the shared area: one layout, included by the shim and by the recorder.
//!
//! Zero-filled memory is a plan without rules. The recorder writes the rules before the target starts; afterwards
//! only the atomic words change.

#![allow(dead_code)]

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Offset of the plan in the shared memory: behind the sockets, in front of the records.
pub const FAULTS_AT: usize = 0xC_0000;
/// Length of the plan's area.
pub const FAULTS_LEN: usize = 0x4_0000;
/// Rules of one plan.
pub const RULES: usize = 256;
/// Longest glob of a rule.
pub const GLOB: usize = 256;

/// The calls that a rule can name; a rule's bit is the index. System calls that do the same stand together: which
/// of them a program makes is its C library's choice.
pub const CALLS: [&str; 20] = [
    "open",
    "write",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "sync",
    "msync",
    "truncate",
    "fallocate",
    "rename",
    "link",
    "symlink",
    "unlink",
    "mkdir",
    "copy",
    "fork",
    "read",
    "open-read",
    "send",
    "recv",
];
/// open, openat, openat2, creat, mknod: for writing, or with O_CREAT or O_TRUNC.
pub const OPEN: u32 = 0;
/// write, pwrite, writev, pwritev, pwritev2.
pub const WRITE: u32 = 1;
/// fsync.
pub const FSYNC: u32 = 2;
/// fdatasync.
pub const FDATASYNC: u32 = 3;
/// sync_file_range.
pub const SYNC_RANGE: u32 = 4;
/// sync, syncfs.
pub const SYNC: u32 = 5;
/// msync.
pub const MSYNC: u32 = 6;
/// truncate, ftruncate.
pub const TRUNCATE: u32 = 7;
/// fallocate.
pub const ALLOCATE: u32 = 8;
/// rename, renameat, renameat2.
pub const RENAME: u32 = 9;
/// link, linkat.
pub const LINK: u32 = 10;
/// symlink, symlinkat.
pub const SYMLINK: u32 = 11;
/// unlink, unlinkat, rmdir.
pub const UNLINK: u32 = 12;
/// mkdir, mkdirat.
pub const MKDIR: u32 = 13;
/// copy_file_range, sendfile, splice.
pub const COPY: u32 = 14;
/// fork.
pub const FORK: u32 = 15;
/// read, pread, readv, preadv: seen only where a rule names them.
pub const READ: u32 = 16;
/// An open for reading only: seen only where a rule names it.
pub const OPEN_READ: u32 = 17;
/// write, writev, sendto, sendmsg, sendmmsg: on a socket.
pub const SEND: u32 = 18;
/// read, readv, recvfrom, recvmsg, recvmmsg: on a socket on which something has come. Seen only where a rule names it.
pub const RECV: u32 = 19;

/// [`FaultRule::role`]: every process.
pub const ROLE_ANY: u32 = 0;
/// [`FaultRule::role`]: the process that the harness started.
pub const ROLE_MAIN: u32 = 1;
/// [`FaultRule::role`]: a process that came of it.
pub const ROLE_CHILD: u32 = 2;

/// The call fails with the error `number`, and does nothing.
pub const ACT_ERRNO: u32 = 1;
/// The call moves `number` bytes at the most; 0: half of what it was asked for.
pub const ACT_SHORT: u32 = 2;
/// The call begins `number` nanoseconds late.
pub const ACT_DELAY: u32 = 3;
/// The process is killed before the call.
pub const ACT_KILL: u32 = 4;
/// The process is killed after the call.
pub const ACT_KILL_AFTER: u32 = 5;
/// The disk has room for `number` bytes more; after `limit` refused calls it has room again (0: never).
pub const ACT_FULL: u32 = 6;
/// Nothing is done to the call: it is only told of, so that it is known which calls there are.
pub const ACT_NOTE: u32 = 7;

/// One rule.
#[repr(C)]
pub struct FaultRule {
    /// Bits of [`CALLS`].
    pub calls: u32,
    /// `ROLE_*`.
    pub role: u32,
    /// `ACT_*`.
    pub action: u32,
    /// Bytes of [`FaultRule::glob`].
    pub glob_len: u32,
    /// The first matching call that is meant, counting from 1.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Of the action.
    pub number: u64,
    /// Of the action.
    pub limit: u64,
    /// Matching calls so far.
    pub seen: AtomicU64,
    /// Bytes used of a disk that is filling.
    pub used: AtomicU64,
    /// How often the rule has fired.
    pub fired: AtomicU64,
    /// The path's glob, relative to the recorded directory.
    pub glob: [u8; GLOB],
}

/// How many files can have syncs that a plan lets fail.
pub const FAILED: usize = 1 << 10;

/// A file of which a sync was let fail.
#[repr(C)]
pub struct FailedFile {
    /// Its inode; 0: there is none here yet, nor behind it.
    pub ino: AtomicU64,
    /// How often, shifted by 32, and the last error.
    pub errors: AtomicU64,
}

/// The whole plan.
#[repr(C)]
pub struct FaultArea {
    /// Rules that are there.
    pub count: u32,
    /// All bits of all rules' calls.
    pub wanted: u32,
    /// The process that starts the target's lives.
    pub harness: u32,
    /// Two rules that wanted different things of one call: their indexes plus 1, the second shifted by 16.
    pub conflict: AtomicU32,
    /// The rules.
    pub rules: [FaultRule; RULES],
    /// What the shim keeps of the syncs that it let fail.
    pub failed: [FailedFile; FAILED],
}

const _: () = assert!(core::mem::size_of::<FaultArea>() <= FAULTS_LEN);
