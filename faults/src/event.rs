//! What a trace is made of: one [`Event`] for each call that changed a file, synced one, or sent a reply.
//!
//! Events are already *resolved*: descriptors, relative paths and inode numbers of the recorded process have
//! become [`FileId`]s of our own, which are never reused (inode numbers are).

use serde::{Deserialize, Serialize};

/// A tick of the run's one logical clock. Every event draws one at its begin and one at its end, over all
/// threads and processes, so `a.end < b.begin` means that `a` had returned before `b` was called.
pub type Clock = u64;

/// Nanoseconds since the start of the recording, on the target's clock (virtual where time is virtual).
pub type Nanos = u64;

/// A file or directory of the recorded tree, by an identity of our own. [`FileId::ROOT`] is the recorded
/// directory itself; others are numbered in the order in which the trace first meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId(pub u32);

impl FileId {
    /// The recorded directory.
    pub const ROOT: FileId = FileId(0);
}

/// Which task of the target made a call: both numbers count from 0 in the order of appearance, so that they
/// are the same in every run of a gated target (pids are not).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Task {
    /// The process: 0 is the one that was started, children follow.
    pub process: u16,
    /// The thread within the process: 0 is its first.
    pub thread: u16,
}

/// Index into [`Trace::sites`](crate::trace::Trace::sites).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SiteId(pub u32);

/// A file name within one directory: bytes without `/` and NUL, as Linux has them.
pub type Name = Vec<u8>;

/// What kind of object a [`Op::Create`] makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeKind {
    /// A regular file, empty at first.
    File,
    /// A directory.
    Dir,
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
}

/// The sync that a write carries by itself: O_DSYNC/RWF_DSYNC or O_SYNC/RWF_SYNC (open(2), pwritev2(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WriteSync {
    /// An ordinary write.
    None,
    /// As if followed by fdatasync.
    Data,
    /// As if followed by fsync.
    Full,
}

/// The modes of fallocate(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AllocateMode {
    /// Mode 0: allocate and extend the size.
    Extend,
    /// FALLOC_FL_KEEP_SIZE.
    KeepSize,
    /// FALLOC_FL_PUNCH_HOLE.
    Punch,
    /// FALLOC_FL_ZERO_RANGE; `keep_size` as given.
    Zero {
        /// FALLOC_FL_KEEP_SIZE was given too.
        keep_size: bool,
    },
    /// FALLOC_FL_COLLAPSE_RANGE.
    Collapse,
    /// FALLOC_FL_INSERT_RANGE.
    Insert,
}

/// Which sync of one file was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SyncKind {
    /// fsync(2).
    Fsync,
    /// fdatasync(2).
    Fdatasync,
    /// sync_file_range(2): starts or waits for write-out, promises nothing over a crash.
    Range {
        /// First byte.
        offset: u64,
        /// Length in bytes; 0 means up to the end of the file.
        len: u64,
    },
    /// msync(2) with MS_SYNC.
    Msync,
}

/// What an event did. Only calls that *succeeded* change the disk: a failed one has [`Event::errno`] set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// A new object under a name: open with O_CREAT that made the file, creat, mkdir, symlink.
    Create {
        /// The parent directory.
        dir: FileId,
        /// The name in it.
        name: Name,
        /// The new object.
        file: FileId,
        /// What it is.
        kind: NodeKind,
    },
    /// open with O_TMPFILE: a file without a name.
    Tmpfile {
        /// The new file.
        file: FileId,
    },
    /// A file that was there already was opened for writing (shown, no effect). O_TRUNC is a
    /// [`Op::Truncate`] event of its own that follows.
    Open {
        /// The file.
        file: FileId,
        /// The flags of open(2), as given.
        flags: i32,
    },
    /// link(2): a further name.
    Link {
        /// The file.
        file: FileId,
        /// The directory of the new name.
        dir: FileId,
        /// The new name.
        name: Name,
    },
    /// unlink(2) or rmdir(2).
    Unlink {
        /// The directory of the name.
        dir: FileId,
        /// The name.
        name: Name,
        /// What the name stood for.
        file: FileId,
    },
    /// rename(2), renameat2 with RENAME_NOREPLACE.
    Rename {
        /// The directory of the old name.
        from_dir: FileId,
        /// The old name.
        from_name: Name,
        /// The directory of the new name.
        to_dir: FileId,
        /// The new name.
        to_name: Name,
        /// What is renamed.
        file: FileId,
        /// What stood under the new name before.
        replaced: Option<FileId>,
    },
    /// renameat2 with RENAME_EXCHANGE.
    Exchange {
        /// The directory of the first name.
        a_dir: FileId,
        /// The first name.
        a_name: Name,
        /// What stood under the first name before.
        a: FileId,
        /// The directory of the second name.
        b_dir: FileId,
        /// The second name.
        b_name: Name,
        /// What stood under the second name before.
        b: FileId,
    },
    /// Bytes written at an offset: write, pwrite, writev, ..., and also copy_file_range, sendfile, splice and
    /// FICLONE into a recorded file (their bytes are read back at once).
    Write {
        /// The file.
        file: FileId,
        /// First byte's offset in the file.
        offset: u64,
        /// The bytes that were written (a short write: only those).
        data: Vec<u8>,
        /// The sync that the write carries.
        sync: WriteSync,
    },
    /// truncate, ftruncate, O_TRUNC: the size becomes `size`, smaller or larger.
    Truncate {
        /// The file.
        file: FileId,
        /// The new size in bytes.
        size: u64,
    },
    /// fallocate(2).
    Allocate {
        /// The file.
        file: FileId,
        /// The mode.
        mode: AllocateMode,
        /// First byte.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// A sync of one file or directory.
    Sync {
        /// The file or directory.
        file: FileId,
        /// Which call.
        kind: SyncKind,
    },
    /// sync(2) or syncfs(2): everything.
    SyncAll,
    /// Bytes sent by the target to a client.
    Send {
        /// The client, by the number that it gave its socket's name.
        client: u32,
        /// How many bytes of this connection were sent before this call.
        stream_offset: u64,
        /// How many bytes this call sent.
        len: u64,
    },
    /// History: a client invoked an operation. `op` is the harness's encoding, opaque here.
    Invoke {
        /// The client.
        client: u32,
        /// The operation's number, unique in the trace and counting from 0 in the order of invocation.
        id: u32,
        /// The operation.
        op: Vec<u8>,
    },
    /// History: the reply to operation `id` left the target. Its clock is the *begin* of the send that
    /// carried the reply's last byte; a reply without such a send has the clock at which it was received.
    Reply {
        /// The client.
        client: u32,
        /// The operation's number.
        id: u32,
        /// The reply.
        reply: Vec<u8>,
    },
    /// A new phase of the workload begins (append, rewrite, save ...).
    Phase(String),
    /// A task of the target came or went: shown, no effect.
    Process(ProcessEvent),
    /// Every process of the target was killed: its memory is gone, the page cache (all effects so far)
    /// survives, nothing becomes durable by it. What follows is the next life.
    Kill,
    /// The harness moved the target's clock: from here on it shows [`Event::at`].
    Advance,
    /// A rule of the fault plan did something to the call that follows (shown, no effect of its own: what came of
    /// the call stands in its own event, where it has one).
    Fault {
        /// The rule's index in the plan.
        rule: u32,
        /// The call.
        call: crate::plan::Call,
        /// The path of what it was called on, relative to the recorded directory.
        path: Name,
        /// In which process.
        role: crate::plan::Role,
        /// What was done to it.
        outcome: crate::plan::Outcome,
    },
    /// A sync of one file that gave an error ([`Event::errno`]) though all that it had to write went well: the error is
    /// that of an earlier sync, which was told through another open file description (errseq_t). It has lost nothing, and
    /// forces nothing either, as a file system gives up at the error (ext4_sync_file). The sync that a write carries
    /// stands behind the [`Op::Write`], as fdatasync or fsync.
    ToldAgain {
        /// The file.
        file: FileId,
        /// Which call.
        kind: SyncKind,
    },
}

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProcessEvent {
    /// fork or clone made this process.
    Forked {
        /// The child.
        child: u16,
    },
    /// The process replaced its program.
    Exec,
    /// The process ended by itself.
    Exit {
        /// Its exit status.
        status: i32,
    },
}

/// One call of the target, or one entry of the history.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// The clock when the call began.
    pub begin: Clock,
    /// The clock when it returned; [`Event::NEVER`] if the target was killed inside it.
    pub end: Clock,
    /// The target's time when the call began.
    pub at: Nanos,
    /// Who called.
    pub task: Task,
    /// From where.
    pub site: Option<SiteId>,
    /// 0, or the error that the call returned; then it changed nothing, but see [`Event::took_effect`].
    pub errno: i32,
    /// What it did.
    pub op: Op,
}

impl Event {
    /// The end of a call that never returned.
    pub const NEVER: Clock = Clock::MAX;

    /// Whether the call changed what the kernel's memory holds. A call that failed did not, but for one kind: a write that
    /// carries a sync puts its bytes into the page cache first, and gives the sync's error (generic_write_sync). It has
    /// then the bytes that it wrote, and the error; one that was refused has no bytes.
    pub fn took_effect(&self) -> bool {
        self.errno == 0 || self.lost_its_sync()
    }

    /// Whether this is a write whose bytes reached the page cache, and whose sync failed.
    pub fn lost_its_sync(&self) -> bool {
        let written =
            matches!(&self.op, Op::Write { data, sync, .. } if *sync != WriteSync::None && !data.is_empty());
        self.errno != 0 && written
    }
}
