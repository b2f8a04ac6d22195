//! The gate: a seeded scheduler that lets one task of the target run at a time, and the target's clock.
//!
//! In a gated run every thread of every process of the target waits in the shim for a grant before each recorded
//! call and wherever it would block, so that the order of recorded calls is a function of the program, the
//! client's operations and the seed. [`Gate::step`] is one decision. Time may be virtual with or without the
//! gate: see [`Clock`].
//!
//! # What it can and cannot hold
//! Held: threads made by `pthread_create`; processes made by `fork`, `posix_spawn`, `system`, `popen`, and what they
//! execute; futexes (so mutexes, condition variables, semaphores, joins, parking); reads, accepts, polls, waits for
//! children, file locks, sleeps, signals between tasks. A task that spins without a call is [`Step::Stuck`] once
//! its processor time is used up.
//!
//! Named in [`blind`], so that the run is *not measured*: priority-inheritance futexes; `futex_waitv`; a task that
//! came by another way (raw `clone`, `daemon`); more than [`abi::SLOTS`] tasks; SIGKILL to a process group; System V
//! and POSIX message queues and semaphores; timers that send signals or feed descriptors (timerfd, setitimer,
//! alarm, timer_settime) when armed; setting the clock.
//!
//! Not seen: the processor's own counter (`rdtsc`); memory that is shared with programs outside the run; what the
//! kernel hands out by itself (pids, inode numbers, random bytes, addresses), if the program writes it to a file.
//! A *blocking* send of more than the socket has room for, a blocking connect to a full backlog, an open of a FIFO
//! and SO_RCVTIMEO are the kernel's, with the turn held: they end as [`Step::Stuck`] if nobody outside helps. TCP
//! on the loopback interface may deliver after the call that sent has returned: use unix sockets where the order
//! must repeat. A descriptor of the supervisor's own process is not closed to the target as long as a copy of it is open,
//! and a process that another thread has just forked holds one until it executes its program: who ends a connection to
//! the target shuts it down (`shutdown`) instead of leaving that to `close`.

/// The layout that is shared with the shim.
#[path = "../../shim/abi_gate.rs"]
pub mod abi;
mod area;
mod clock;
mod error;
mod options;
mod process;
mod rules;
mod settle;
mod supervise;

pub use area::Area;
pub use clock::Clock;
pub use error::GateError;
pub use options::{ClockPolicy, GateOptions, Ran, Step};
pub use rules::{CallPattern, Rule, Stopped};
pub use supervise::{Gate, blind};
