//! What the shim inside the target and the recorder outside agree on: the layout of the shared memory.
//!
//! This file is compiled twice, into the shim and into `unplug-faults`, so it uses nothing but `core`.
//!
//! ```text
//! 0          Header
//! CONFIG_AT  root path, NUL, ignore globs, each ended by NUL, NUL
//! GATE_AT    the gate's and the virtual clock's words
//! INODES_AT  which inode numbers lie under the root
//! SOCKETS_AT which sockets were introduced
//! FAULTS_AT  the fault plan (abi_fault)
//! RECORDS_AT the records, 64-byte aligned, never overwritten
//! ```
#![allow(dead_code)]

use core::sync::atomic::{AtomicU32, AtomicU64};

/// First word of the shared memory.
pub const MAGIC: u64 = u64::from_le_bytes(*b"UNPLUG\0\x01");
/// The environment variable that names the shared memory's file: it survives exec.
pub const ENV_RING: &[u8] = b"UNPLUG_RING";

/// Where the shim maps its only `syscall` instruction. Fixed, so that a filter inherited over exec knows it.
pub const GADGET: usize = 0x2000_0000_0000;
/// What seccomp reports as the instruction pointer of a call from the gadget: the address after `syscall`.
pub const GADGET_IP: usize = GADGET + 2;

/// Offset of the configuration strings.
pub const CONFIG_AT: usize = 0x1000;
/// Length of the area for configuration strings.
pub const CONFIG_LEN: usize = 0x7000;
/// Offset of the gate's and virtual clock's area.
pub const GATE_AT: usize = 0x8000;
/// Length of the gate's and virtual clock's area.
pub const GATE_LEN: usize = 0x1_8000;
/// Offset of the table of inodes: [`INODES`] words, each `ino << 2 | class`.
pub const INODES_AT: usize = 0x2_0000;
/// Number of words of the inode table; a power of two.
pub const INODES: usize = 1 << 16;
/// Offset of the table of introduced sockets: [`SOCKETS`] words, each a socket's inode number.
pub const SOCKETS_AT: usize = INODES_AT + INODES * 8;
/// Number of words of the socket table; a power of two.
pub const SOCKETS: usize = 1 << 14;
/// Offset of the first record.
pub const RECORDS_AT: usize = 0x10_0000;

/// Class of an inode: under the recorded directory and not ignored.
pub const CLASS_IN: u64 = 1;
/// Class of an inode: outside, or ignored.
pub const CLASS_OUT: u64 = 2;

/// [`Header::flags`]: recorded calls wait for a grant.
pub const FLAG_GATED: u32 = 1;
/// [`Header::flags`]: the target's clock is the harness's.
pub const FLAG_VIRTUAL: u32 = 2;
/// [`Header::flags`]: there is a fault plan.
pub const FLAG_FAULTS: u32 = 4;
/// [`Header::flags`]: the plan speaks of reads, which are not seen otherwise.
pub const FLAG_FAULT_READS: u32 = 8;

/// The head of the shared memory. The recorder writes it before the target starts; afterwards only the
/// atomic words change.
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// Size of the whole shared memory in bytes.
    pub size: u64,
    /// Device of the recorded directory.
    pub root_dev: u64,
    /// CLOCK_MONOTONIC at the start of the recording, in nanoseconds.
    pub start_mono: u64,
    /// `FLAG_*`.
    pub flags: u32,
    /// Length of the root path in the configuration area.
    pub root_len: u32,
    _pad0: [u64; 3],
    /// The logical clock: the next tick.
    pub clock: AtomicU64,
    _pad1: [u64; 7],
    /// Bytes of the record area that are given away.
    pub head: AtomicU64,
    _pad2: [u64; 7],
    /// Set when a record found no room: the recording is incomplete.
    pub full: AtomicU32,
    /// Bits of [`BROKEN`]: what went wrong inside the shim before it could write a record.
    pub broken: AtomicU32,
    /// Not 0: the flags of some open file were changed (F_SETFL), so writes ask for them.
    pub flags_changed: AtomicU32,
    /// How many processes have mapped this memory (exec counts again).
    pub attached: AtomicU32,
}

/// [`Header::broken`]: the gadget's address was taken.
pub const BROKEN_GADGET: u32 = 1;
/// [`Header::broken`]: the handler or the filter could not be installed.
pub const BROKEN_FILTER: u32 = 2;

/// [`Record::state`] of memory that is given away, but not yet filled.
pub const STATE_RESERVED: u32 = 0x5550_0001;
/// [`Record::state`] of a call that has begun.
pub const STATE_BEGUN: u32 = 0x5550_0002;
/// [`Record::state`] of a call that has returned.
pub const STATE_DONE: u32 = 0x5550_0003;
/// [`Record::state`] of a record that counts for nothing: another one has replaced it.
pub const STATE_VOID: u32 = 0x5550_0004;

/// Records begin at multiples of this.
pub const RECORD_ALIGN: usize = 64;
/// The end of a call that never returned, and an offset that is not known.
pub const NEVER: u64 = u64::MAX;
/// How many frames a call site has at the most.
pub const FRAMES: usize = 7;

/// One call. Its body follows: `frames` return addresses, `name1_len` and `name2_len` bytes of names,
/// `data_len` bytes of data.
#[repr(C)]
pub struct Record {
    /// `STATE_*`, stored last.
    pub state: AtomicU32,
    /// Bytes of the record with its body, rounded up to [`RECORD_ALIGN`].
    pub len: u32,
    /// The clock when the call began.
    pub begin: u64,
    /// The clock when it returned, or [`NEVER`].
    pub end: AtomicU64,
    /// The target's time, in nanoseconds since the recording began.
    pub at: u64,
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// `KIND_*`.
    pub kind: u16,
    /// The system call's number.
    pub nr: u16,
    /// How the call came here: `VIA_*`.
    pub via: u8,
    /// Number of return addresses in the body.
    pub frames: u8,
    /// Flags of the kind.
    pub flags: u16,
    /// What the call returned: a negative error number or its result.
    pub ret: i64,
    /// Inode number of the object.
    pub ino: u64,
    /// First number of the kind.
    pub a: u64,
    /// Second number of the kind.
    pub b: u64,
    /// Third number of the kind.
    pub c: u64,
    /// Bytes of the first name.
    pub name1_len: u32,
    /// Bytes of the second name.
    pub name2_len: u32,
    /// Bytes of data.
    pub data_len: u64,
}

/// The call came through an exported symbol.
pub const VIA_SYMBOL: u8 = 0;
/// The call came through the filter and the SIGSYS handler.
pub const VIA_TRAP: u8 = 1;
/// The shim itself has something to say.
pub const VIA_SHIM: u8 = 2;

/// An open for writing, or one that created or truncated. `ino`, a: flags of open(2), b: `OPEN_*`, c: the
/// parent's inode where the file was created, name1: its name.
pub const KIND_OPEN: u16 = 1;
/// The open made the file.
pub const OPEN_CREATED: u64 = 1;
/// The open made a file without a name.
pub const OPEN_TMPFILE: u64 = 2;
/// The open cut a file that was there.
pub const OPEN_TRUNCATED: u64 = 4;
/// Bytes written. `ino`, a: offset or [`NEVER`], b: bytes in the page cache although the call failed, c: bytes asked,
/// flags: `SYNC_*`.
pub const KIND_WRITE: u16 = 2;
/// The write carries fdatasync.
pub const SYNC_DATA: u16 = 1;
/// The write carries fsync.
pub const SYNC_FULL: u16 = 2;
/// Of a write that carries a sync, or of a sync: it went well, and gave an error that was told through another
/// description of the file before.
pub const SYNC_TOLD: u16 = 0x10;
/// truncate. `ino`, a: the size.
pub const KIND_TRUNCATE: u16 = 3;
/// fallocate. `ino`, a: mode, b: offset, c: length.
pub const KIND_ALLOCATE: u16 = 4;
/// A sync. `ino`, flags: 0 fsync, 1 fdatasync, 2 range (b, c), 3 msync; [`SYNC_TOLD`].
pub const KIND_SYNC: u16 = 5;
/// sync, syncfs.
pub const KIND_SYNC_ALL: u16 = 6;
/// rename. a: old parent, b: new parent, c: flags of renameat2, `ino`: what moved, name1, name2.
pub const KIND_RENAME: u16 = 7;
/// link. `ino`: the file, b: new parent, name2: new name.
pub const KIND_LINK: u16 = 8;
/// symlink. `ino`: the link, a: parent, name1: name, data: target.
pub const KIND_SYMLINK: u16 = 9;
/// unlink or rmdir. a: parent, name1: name, `ino`: what it stood for.
pub const KIND_UNLINK: u16 = 10;
/// mkdir. `ino`: the directory, a: parent, name1: name.
pub const KIND_MKDIR: u16 = 11;
/// Bytes sent on a socket. `ino`: the socket's.
pub const KIND_SEND: u16 = 12;
/// A socket is introduced. `ino`, name1: its own address, name2: its peer's (struct sockaddr as it is).
pub const KIND_SOCKET: u16 = 13;
/// Something that cannot be followed. name1: what, name2: details.
pub const KIND_BLIND: u16 = 14;
/// A process appeared, went on as another program, or ended. flags: `PROCESS_*`.
pub const KIND_PROCESS: u16 = 15;
/// First record of a program. data: /proc/self/maps, a: how many bytes of it, b: the parent's pid.
pub const PROCESS_START: u16 = 0;
/// First record of a forked child. a: the parent's pid.
pub const PROCESS_FORKED: u16 = 1;
/// The process ends. a: its status.
pub const PROCESS_EXIT: u16 = 2;
/// A mark that the target made. flags: `MARK_*`, a: client, b: id, data.
pub const KIND_MARK: u16 = 16;
/// The mark is an invocation.
pub const MARK_INVOKE: u16 = 1;
/// The mark is a reply.
pub const MARK_REPLY: u16 = 2;
/// The mark begins a phase.
pub const MARK_PHASE: u16 = 3;
/// A rule of the fault plan did something to the call that follows. flags: `ACT_*`, a: the rule's index, b: its
/// number, c: which call, and above it, from bit 8 on, the process's role, name1: path.
pub const KIND_FAULT: u16 = 17;

/// Whether `path` (relative, no leading slash) matches `glob`, in which `*` stands for any bytes, slashes
/// too, and `?` for one byte. A glob that matches a directory matches all that is below it.
pub fn glob_matches(glob: &[u8], path: &[u8]) -> bool {
    let mut end = 0;
    while end <= path.len() {
        if (end == path.len() || path[end] == b'/') && glob_matches_whole(glob, &path[..end]) {
            return true;
        }
        end += 1;
    }
    false
}

/// Whether all of `text` matches `glob`, in which `*` stands for any bytes, slashes too, and `?` for one byte.
pub fn glob_matches_whole(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    // Where to go on when a literal fails: after the last star, one byte further in the text.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if g < glob.len() && glob[g] == b'*' {
            star = Some((g + 1, t));
            g += 1;
        } else if g < glob.len() && (glob[g] == b'?' || glob[g] == text[t]) {
            g += 1;
            t += 1;
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            g = after;
            t = from + 1;
        } else {
            return false;
        }
    }
    while g < glob.len() && glob[g] == b'*' {
        g += 1;
    }
    g == glob.len()
}
