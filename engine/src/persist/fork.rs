//! Child processes that write a copy of the data as it was at the fork.

use super::complain::complain;
use crate::clock;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It did what it was to do.
    Ok,
    /// It failed, or was killed.
    Failed,
}

/// What a child tells of its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Keys that it has written.
    pub(super) keys: u64,
    /// Bytes of memory that it no longer shares with its parent.
    pub(super) private_dirty: u64,
}

/// The parent's end of what a child tells.
pub(super) struct Reports(File);

impl Reports {
    /// The last thing that the child has told since this was last asked. Never waits.
    pub(super) fn latest(&mut self) -> Option<Progress> {
        let (mut message, mut last) = ([0; MESSAGE], None);
        // A message is written by one call and much shorter than what a pipe takes whole.
        while matches!(self.0.read(&mut message), Ok(MESSAGE)) {
            let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| message[at + n]));
            last = Some(Progress { keys: number(0), private_dirty: number(8) });
        }
        last
    }
}

const MESSAGE: usize = 16;

/// The child's end.
pub(super) struct Reporter(File);

impl Reporter {
    /// Tells the parent how many keys are written, and how much memory they have cost. That the parent does not
    /// listen is no reason to stop.
    pub(super) fn tell(&self, keys: u64) {
        let mut message = [0; MESSAGE];
        message[..8].copy_from_slice(&keys.to_le_bytes());
        message[8..].copy_from_slice(&private_dirty().to_le_bytes());
        let _ = (&self.0).write(&message);
    }
}

/// As Redis counts it: what the kernel calls private and dirty, of all mappings.
fn private_dirty() -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let lines = smaps.lines().filter_map(|line| line.strip_prefix("Private_Dirty:"));
    lines.filter_map(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).sum::<u64>() * 1024
}

/// How long the last fork of this process took, in microseconds.
static LAST_FORK_USEC: AtomicU64 = AtomicU64::new(0);
/// How many forks there were.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// How many forks this process has made for saves and rewrites, and how many microseconds the last one took.
pub(super) fn statistics() -> (u64, u64) {
    (FORKS.load(Ordering::Relaxed), LAST_FORK_USEC.load(Ordering::Relaxed))
}

/// As [`spawn`], with a pipe on which the child can tell how far it is.
pub(super) fn spawn_reporting(
    shut: &[RawFd],
    work: impl FnOnce(&Reporter) -> bool,
) -> io::Result<(i32, Reports)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let reporter = Reporter(write.into());
    let shut: Vec<RawFd> = shut.iter().copied().chain([read.as_raw_fd()]).collect();
    let pid = spawn(&shut, || work(&reporter))?;
    Ok((pid, Reports(read.into())))
}

/// Runs `work` in a forked child, which then exits at once: 0 if it returned true.
///
/// `work` must take no lock that another thread may hold at the fork. The engine's other threads wait in
/// `fdatasync` or on their own lock, or free what FLUSHALL has left; glibc makes its allocator usable in the child.
/// It closes `shut` first. The caller must own these descriptors and keep them open until this returns.
pub(super) fn spawn(shut: &[RawFd], work: impl FnOnce() -> bool) -> io::Result<i32> {
    let begun = clock::now();
    // SAFETY: getpid has no preconditions.
    let parent = unsafe { libc::getpid() };
    // SAFETY: the child runs only `work`, which keeps to the rule above, and leaves by _exit: no destructor,
    // no exit handler and no buffer of the parent runs twice.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: plain calls with constant arguments. An orphan must not rename its file over what a
            // restarted server has written; the second line closes the gap before the first one took effect.
            let orphan = unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::getppid() != parent
            };
            for descriptor in shut {
                // SAFETY: the child's own copy; `work` does not know it, and no destructor runs in the child.
                unsafe { libc::close(*descriptor) };
            }
            let done = !orphan && catch_unwind(AssertUnwindSafe(work)).unwrap_or(false);
            // SAFETY: never returns.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        pid => {
            FORKS.fetch_add(1, Ordering::Relaxed);
            let took = clock::now().saturating_sub(begun).as_micros();
            LAST_FORK_USEC.store(u64::try_from(took).unwrap_or(u64::MAX), Ordering::Relaxed);
            Ok(pid)
        }
    }
}

/// Asks whether a child of [`spawn`] has ended.
pub(super) fn poll(pid: i32) -> Option<Ended> {
    let (ended, signal) = reap(pid, libc::WNOHANG)?;
    if let Some(signal) = signal {
        // One that fails says why itself.
        complain("the child that wrote a copy of the data was ended", &format!("signal {signal}"));
    }
    Some(ended)
}

/// Kills a child of [`spawn`] and waits for its end.
pub(super) fn kill(pid: i32) {
    // SAFETY: the pid is that of a child that has not been waited for, so it cannot be another process.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    reap(pid, 0);
}

/// How the child has ended, and by which signal.
fn reap(pid: i32, flags: i32) -> Option<(Ended, Option<i32>)> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the answer.
        match unsafe { libc::waitpid(pid, &mut status, flags) } {
            0 => return None,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            // Someone else waited for it: how it ended is not known, so it did not succeed.
            -1 => return Some((Ended::Failed, None)),
            _ if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 => {
                return Some((Ended::Ok, None));
            }
            _ => return Some((Ended::Failed, libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)))),
        }
    }
}
