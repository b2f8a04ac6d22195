//! Child processes that write a copy of the data as it was at the fork.

use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It did what it was to do.
    Ok,
    /// It failed, or was killed.
    Failed,
}

/// Runs `work` in a forked child, which then exits at once: 0 if it returned true.
///
/// `work` must take no lock that another thread may hold at the fork. The engine's other threads wait in
/// `fdatasync` or on their own lock, or free what FLUSHALL has left; glibc makes its allocator usable in the child.
/// It closes `shut` first. The caller must own these descriptors and keep them open until this returns.
pub(super) fn spawn(shut: &[RawFd], work: impl FnOnce() -> bool) -> io::Result<i32> {
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
        pid => Ok(pid),
    }
}

/// Asks whether a child of [`spawn`] has ended.
pub(super) fn poll(pid: i32) -> Option<Ended> {
    reap(pid, libc::WNOHANG)
}

/// Kills a child of [`spawn`] and waits for its end.
pub(super) fn kill(pid: i32) {
    // SAFETY: the pid is that of a child that has not been waited for, so it cannot be another process.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    reap(pid, 0);
}

fn reap(pid: i32, flags: i32) -> Option<Ended> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the answer.
        match unsafe { libc::waitpid(pid, &mut status, flags) } {
            0 => return None,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            // Someone else waited for it: how it ended is not known, so it did not succeed.
            -1 => return Some(Ended::Failed),
            _ if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 => return Some(Ended::Ok),
            _ => return Some(Ended::Failed),
        }
    }
}
