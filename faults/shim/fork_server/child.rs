//! A child's first steps: everything that it would share with the template, it gets anew.

use crate::libc;
use crate::registry::{self, Entry};
use core::ffi::{c_char, c_int, c_long};

/// Moves this process into the directory, its output into the log, and gives it sockets and epoll instances of
/// its own. The error is an errno.
///
/// # Safety
/// The paths are null-terminated; the process has one thread.
pub unsafe fn move_into(dir: *const c_char, log: *const c_char) -> Result<(), c_int> {
    // SAFETY: system calls; see above for the paths.
    unsafe {
        checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        checked(libc::setpgid(0, 0))?;
        checked(libc::chdir(dir))?;
        let output = checked(libc::open(log, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC, 0o600 as c_int))?;
        checked(libc::dup2(output, 1))?;
        checked(libc::dup2(output, 2))?;
        if output > 2 {
            checked(libc::close(output))?;
        }
        for (at, entry) in registry::entries().iter().enumerate() {
            if registry::listens(entry.fd) && first(at, |e| e.fd) {
                listen_anew(entry.fd)?;
            }
        }
        for (at, entry) in registry::entries().iter().enumerate() {
            if first(at, |e| e.epoll) {
                let new = checked(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
                replace(new, entry.epoll)?;
            }
        }
        registry::entries().iter().try_for_each(|entry| register(entry))
    }
}

/// Whether no entry before this one has the same number.
fn first(at: usize, of: impl Fn(&Entry) -> c_int) -> bool {
    let entries = registry::entries();
    !entries[..at].iter().any(|e| of(e) == of(&entries[at]))
}

/// A listening socket of the child's own at the same path, under the same number.
unsafe fn listen_anew(fd: c_int) -> Result<(), c_int> {
    let Some((address, len)) = registry::address(fd) else { return Err(0) };
    // SAFETY: system calls on locals.
    unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let new = checked(libc::socket(c_int::from(libc::AF_UNIX), kind, 0))?;
        checked(libc::bind(new, &address, len))?;
        checked(libc::listen(new, 511))?;
        replace(new, fd)
    }
}

/// Puts `new` where `old` stands.
unsafe fn replace(new: c_int, old: c_int) -> Result<(), c_int> {
    // SAFETY: system calls on descriptors of this process.
    unsafe {
        checked(libc::dup3(new, old, libc::O_CLOEXEC))?;
        checked(libc::close(new))?;
    }
    Ok(())
}

unsafe fn register(entry: &Entry) -> Result<(), c_int> {
    let mut event = entry.event;
    // The system call itself: the function of this name notes what it sees.
    // SAFETY: a system call on a local.
    let result = unsafe {
        libc::syscall(
            libc::SYS_EPOLL_CTL,
            c_long::from(entry.epoll),
            c_long::from(libc::EPOLL_CTL_ADD),
            c_long::from(entry.fd),
            &raw mut event,
        )
    };
    checked(result as c_int).map(|_| ())
}

/// The result of a system call, or its errno.
fn checked(result: c_int) -> Result<c_int, c_int> {
    // SAFETY: errno of this thread.
    if result < 0 { Err(unsafe { *libc::__errno_location() }) } else { Ok(result) }
}
