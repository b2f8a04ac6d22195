//! A blocked or replaced SIGSYS would kill the target at its next trapped call: neither is let through.

use crate::sigsys::{self, Action, SIGSYS};
use crate::{num, sys};

/// SIGSYS in a signal set.
pub const SIGSYS_BIT: u64 = 1 << (SIGSYS - 1);
const SIGURG: usize = 23;
const EINVAL: isize = 22;

/// rt_sigprocmask: edits the mask that the handler's return restores.
pub unsafe fn sigprocmask(saved: *mut u64, args: &[usize; 6]) -> isize {
    if args[3] != 8 {
        return -EINVAL;
    }
    // SAFETY: the caller's own pointers and the kernel's saved mask.
    unsafe {
        let old = *saved;
        let given = if args[1] == 0 { None } else { Some(*(args[1] as *const u64)) };
        if let Some(set) = given {
            *saved = match args[0] as i32 {
                0 => old | set,
                1 => old & !set,
                2 => set,
                _ => return -EINVAL,
            } & !SIGSYS_BIT;
        }
        if args[2] != 0 {
            *(args[2] as *mut u64) = old;
        }
    }
    0
}

/// rt_sigaction: leaves SIGSYS alone, and keeps it out of the masks of other handlers.
///
/// Who wants SIGSYS, or SIGURG, on an alternate stack has stacks on which no signal frame fits: Go's runtime, which
/// asks for the first as a program, for the second as a library too, before any goroutine runs.
pub unsafe fn sigaction(args: &[usize; 6]) -> isize {
    // SAFETY: the caller's own pointers.
    unsafe {
        let small_stacks = matches!(args[0], SIGSYS | SIGURG) && args[1] != 0;
        if small_stacks && (*(args[1] as *const Action)).flags & sigsys::SA_ONSTACK != 0 {
            sigsys::use_alternate_stack();
        }
        if args[0] == SIGSYS {
            if args[2] != 0 {
                *(args[2] as *mut Action) = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
            }
            return 0;
        }
        let mut args = *args;
        let mut copy;
        if args[1] != 0 {
            copy = *(args[1] as *const Action);
            copy.mask &= !SIGSYS_BIT;
            args[1] = &raw mut copy as usize;
        }
        sys::call(num::RT_SIGACTION, &args)
    }
}

/// rt_sigsuspend: handlers that run while it waits must find SIGSYS unblocked.
pub unsafe fn sigsuspend(args: &[usize; 6]) -> isize {
    // SAFETY: the caller's own pointer.
    unsafe {
        let set = *(args[0] as *const u64) & !SIGSYS_BIT;
        if let Some(ret) = crate::gate::sigsuspend(set) {
            return ret;
        }
        sys::call2(num::RT_SIGSUSPEND, &raw const set as usize, args[1])
    }
}
