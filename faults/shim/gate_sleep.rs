//! Sleeps and waits for signals in a gated run.

use crate::abi_gate::*;
use crate::gate_turn::{Ended, block_on, yield_turn};
use crate::limits::{self, Nap};
use crate::num::*;
use crate::{gate_signal, sys, time};
use core::sync::atomic::Ordering::*;

const EINTR: isize = 4;
const EAGAIN: isize = 11;

/// nanosleep and clock_nanosleep.
pub unsafe fn nanosleep(area: &'static GateArea, slot: &Slot, nr: usize, args: &[usize; 6]) -> isize {
    // SAFETY: the target's own pointers.
    unsafe {
        let nap = match Nap::of(area, nr, args) {
            Ok(nap) => nap,
            Err(error) => return error,
        };
        match block_on(area, slot, KIND_SLEEP, nap.deadline, None, &|| false) {
            Ended::Signal(_) => nap.interrupted(area),
            _ => 0,
        }
    }
}

/// Sleeps for a virtual while.
pub unsafe fn sleep(area: &'static GateArea, slot: &Slot, nanos: u64) {
    let deadline = time::after(area, nanos);
    while deadline > area.nanos.load(Acquire) {
        // SAFETY: as `block_on`.
        if unsafe { block_on(area, slot, KIND_SLEEP, deadline, None, &|| false) } == Ended::Released {
            return;
        }
    }
}

/// pause(2).
pub unsafe fn pause(area: &'static GateArea, slot: &Slot) -> isize {
    // SAFETY: as `block_on`.
    unsafe {
        match block_on(area, slot, KIND_SLEEP, NEVER, None, &|| false) {
            Ended::Released => sys::call0(PAUSE),
            _ => -EINTR,
        }
    }
}

/// rt_sigsuspend(2); `mask` is the target's, without SIGSYS.
pub unsafe fn sigsuspend(area: &'static GateArea, slot: &'static Slot, mask: u64) -> isize {
    // SAFETY: signals are blocked around both calls, so what is due stays so until the kernel delivers it.
    unsafe {
        let saved = gate_signal::block();
        slot.kind.store(KIND_SLEEP, Release);
        slot.deadline.store(NEVER, Release);
        while gate_signal::due(mask).is_none() && area.gated.load(Acquire) != 0 {
            yield_turn(area, slot, WAIT, Some(mask), &|| false);
        }
        let ret = sys::call2(RT_SIGSUSPEND, &raw const mask as usize, 8);
        gate_signal::restore(saved);
        ret
    }
}

/// rt_sigtimedwait(2).
pub unsafe fn sigtimedwait(area: &'static GateArea, slot: &Slot, args: &[usize; 6]) -> isize {
    // SAFETY: the target's own pointers.
    unsafe {
        let wanted = *(args[0] as *const u64);
        let deadline = limits::deadline(area, RT_SIGTIMEDWAIT, args).unwrap_or(NEVER);
        let zero = [0usize; 2];
        loop {
            let ret = sys::call4(RT_SIGTIMEDWAIT, args[0], args[1], &raw const zero as usize, args[3]);
            if ret != -EAGAIN {
                return ret;
            }
            let can = || {
                let mut pending: u64 = 0;
                sys::call2(RT_SIGPENDING, &raw mut pending as usize, 8);
                pending & wanted != 0
            };
            match block_on(area, slot, KIND_SLEEP, deadline, None, &can) {
                Ended::Can => {}
                Ended::Expired => return -EAGAIN,
                Ended::Signal(_) => return -EINTR,
                Ended::Released => return sys::call(RT_SIGTIMEDWAIT, args),
            }
        }
    }
}
