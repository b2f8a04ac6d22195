//! The gate's and the clock's part of the shared area: one layout, included by the shim and by the harness.
//!
//! Zero-filled memory is a valid area in which nothing is gated and time is real. Every word is atomic, but
//! almost nothing is contended: in a gated run one task at a time holds the turn, and the supervisor acts only
//! when none does. `Slot::state` is both the state and the futex on which a task waits for its grant.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Tasks that can be alive at one time in a gated run.
pub const SLOTS: usize = 192;
/// Processes whose threads are numbered apart; later ones share one count.
pub const PROCESSES: usize = 1024;
/// Longest path that a rule can look at.
pub const PATH: usize = 256;
/// What CLOCK_MONOTONIC shows at virtual instant 0: not 0, so that programs may subtract from it.
pub const MONOTONIC_BASE: u64 = 1_000_000_000_000;
/// A deadline that never comes.
pub const NEVER: u64 = u64::MAX;

/// Nobody's slot.
pub const FREE: u32 = 0;
/// A task is about to start in it.
pub const RESERVED: u32 = 1;
/// Can run.
pub const READY: u32 = 2;
/// Holds the turn.
pub const RUNNING: u32 = 3;
/// Blocked; [`Slot::kind`] and [`Slot::deadline`] say on what.
pub const WAIT: u32 = 4;
/// Blocked, and asked by the supervisor whether it could go on now.
pub const PROBE: u32 = 5;
/// Blocked, and answered that it could go on now.
pub const CAN: u32 = 6;
/// Its thread has called exit; the kernel is not done with it.
pub const EXITING_THREAD: u32 = 7;
/// Its process has called exit_group, or was sent SIGKILL.
pub const EXITING_PROCESS: u32 = 8;
/// Ended; the slot can be used again.
pub const GONE: u32 = 9;

/// Blocked on a futex that the shim emulates.
pub const KIND_FUTEX: u32 = 1;
/// Blocked on something that the kernel knows: descriptors, children, locks.
pub const KIND_IO: u32 = 2;
/// Blocked on time or a signal only.
pub const KIND_SLEEP: u32 = 3;

/// Blocked on flock, which can be asked for only by taking it: such tasks are asked one after the other.
pub const KIND_LOCK: u32 = 4;

/// Things that the gate or the clock met and cannot serve. The index into [`GateArea::blind`].
pub const BLINDS: [&str; 11] = [
    "futex(PI)",
    "futex_waitv",
    "a task that the gate did not see start",
    "more tasks than the gate has slots",
    "timerfd_settime under virtual time",
    "setitimer under virtual time",
    "timer_settime under virtual time",
    "kill of a process group in a gated run",
    "a blocking call that the gate cannot hold",
    "clock_settime under virtual time",
    "thread exit without a known tid word",
];
/// Index of `futex(PI)`.
pub const BLIND_PI: usize = 0;
/// Index of `futex_waitv`.
pub const BLIND_WAITV: usize = 1;
/// Index of a task that registers late.
pub const BLIND_LATE: usize = 2;
/// Index of the overflow of the slots.
pub const BLIND_SLOTS: usize = 3;
/// Index of timerfd_settime.
pub const BLIND_TIMERFD: usize = 4;
/// Index of setitimer and alarm.
pub const BLIND_ITIMER: usize = 5;
/// Index of timer_settime.
pub const BLIND_TIMER: usize = 6;
/// Index of kill(pid <= 0).
pub const BLIND_KILL: usize = 7;
/// Index of calls that may block in the kernel with the turn held.
pub const BLIND_BLOCKING: usize = 8;
/// Index of clock_settime and settimeofday.
pub const BLIND_SETTIME: usize = 9;
/// Index of a thread whose tid word was not found where glibc keeps it.
pub const BLIND_TID: usize = 10;

/// The whole area.
#[repr(C, align(4096))]
pub struct GateArea {
    /// Not 0: tasks wait for grants. Set before the target starts; cleared to let everything go.
    pub gated: AtomicU32,
    /// Not 0: time is virtual.
    pub timed: AtomicU32,
    /// Not 0: there are rules, so tasks show the path of the call they stand before.
    pub ruled: AtomicU32,
    /// The supervisor's futex; a task adds 1 when it has given its turn back.
    pub bell: AtomicU32,
    /// Index of the slot that holds the turn, plus 1.
    pub turn: AtomicU32,
    /// Slots that were ever used.
    pub used: AtomicU32,
    /// Ungated virtual time: the futex that every advance of the clock wakes.
    pub clock_word: AtomicU32,
    /// Number of the next process.
    pub next_process: AtomicU32,
    /// Grows whenever a signal may have been sent.
    pub signals: AtomicU32,
    /// Order in which futex waits began.
    pub order: AtomicU32,
    /// The process that starts the target's lives: a child of it is no stranger.
    pub starter: AtomicU32,
    /// Virtual nanoseconds since the start.
    pub nanos: AtomicU64,
    /// Wall clock at virtual instant 0, in nanoseconds since 1970.
    pub epoch: AtomicU64,
    /// Virtual duration of each fsync and fdatasync.
    pub sync_nanos: AtomicU64,
    /// How often each of [`BLINDS`] was met.
    pub blind: [AtomicU32; BLINDS.len()],
    /// Number of the next thread of each process.
    pub next_thread: [AtomicU32; PROCESSES],
    /// The tasks.
    pub slots: [Slot; SLOTS],
}

/// One task: a thread of some process of the target.
#[repr(C, align(64))]
pub struct Slot {
    /// The state, and the futex on which the task waits.
    pub state: AtomicU32,
    /// On what it is blocked.
    pub kind: AtomicU32,
    /// Its process in the kernel.
    pub pid: AtomicU32,
    /// Its thread in the kernel.
    pub tid: AtomicU32,
    /// Its process by order of creation.
    pub process: AtomicU32,
    /// Its thread by order of creation in the process.
    pub thread: AtomicU32,
    /// A futex wait: the bits waited for.
    pub bitset: AtomicU32,
    /// A futex wait: not private, so other processes may wake it.
    pub shared: AtomicU32,
    /// A futex wait: it was woken.
    pub woken: AtomicU32,
    /// A futex wait: its place in the queue.
    pub order: AtomicU32,
    /// Number of the recorded call that it stands before, plus 1.
    pub call: AtomicU32,
    /// A probe at idle: look at the futex word itself, the kernel may have changed it.
    pub recheck: AtomicU32,
    /// The kernel zeroes this when the thread has ended.
    pub tid_word: AtomicU32,
    /// Bytes of [`Slot::path`].
    pub path_len: AtomicU32,
    /// A futex wait: the word's address.
    pub addr: AtomicU64,
    /// Virtual instant at which a wait ends by itself, or [`NEVER`].
    pub deadline: AtomicU64,
    /// The thread's start routine, while it is reserved.
    pub start: AtomicU64,
    /// The start routine's argument.
    pub arg: AtomicU64,
    /// Where the C library keeps the tid that joiners wait on; zeroed by the next task of the process.
    pub tid_addr: AtomicU64,
    /// Path of the recorded call, if there are rules.
    pub path: [AtomicU8; PATH],
}
