//! A copy of this process that is the harness's child, as if the harness had started it.
//!
//! Not fork(3). Its child would be the template's: the harness could neither wait for it nor reap it, and each end
//! would take a detour by way of the template. And fork(3) runs handlers, before and after, which a process that
//! is started does not run (jemalloc's alone take some hundred locks). The template has one thread, so no lock
//! is held by another, which is what most of these handlers are for.

use crate::libc;
use core::ffi::{c_int, c_long, c_void};

/// Where the C library keeps what the kernel knows of its only thread.
pub struct Thread {
    /// The thread's number: the kernel writes a child's own here.
    tid: *mut c_int,
    /// The list of robust mutexes, which a child must register anew.
    robust: *mut c_void,
    robust_len: usize,
}

impl Thread {
    /// Asks the kernel; `None` where it does not say (it is built without checkpoints, or is another system).
    pub fn this() -> Option<Thread> {
        let mut thread = Thread { tid: core::ptr::null_mut(), robust: core::ptr::null_mut(), robust_len: 0 };
        // SAFETY: system calls that write into locals.
        let asked = unsafe {
            libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut thread.tid) == 0
                && libc::syscall(
                    libc::SYS_GET_ROBUST_LIST,
                    0 as c_long,
                    &raw mut thread.robust,
                    &raw mut thread.robust_len,
                ) == 0
        };
        // SAFETY: where the address is the C library's, it holds this thread's number, which is the process's.
        let known = asked && !thread.tid.is_null() && unsafe { *thread.tid == libc::getpid() };
        known.then_some(thread)
    }

    /// Makes the copy. 0 in the child, its number here, negative (with an errno) where there is none.
    ///
    /// # Safety
    /// This is the process's only thread.
    pub unsafe fn fork(&self) -> c_int {
        let flags =
            libc::CLONE_PARENT | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
        // SAFETY: without CLONE_VM the child goes on upon its own copy of this stack; the address is the one
        // that fork(3) passes. The list's head lies in the C library's thread structure.
        unsafe {
            let pid = libc::syscall(libc::SYS_CLONE, flags, 0 as c_long, 0 as c_long, self.tid, 0 as c_long);
            if pid == 0 && !self.robust.is_null() {
                libc::syscall(libc::SYS_SET_ROBUST_LIST, self.robust, self.robust_len);
            }
            pid as c_int
        }
    }
}
