//! Waits for virtual time in a run that is not gated.

use crate::abi_gate::*;
use crate::limits::{self, Form, Nap, Sets};
use crate::num::*;
use crate::{sys, time};
use core::sync::atomic::Ordering::*;

const EINTR: isize = 4;
const EAGAIN: isize = 11;
const ENOSYS: isize = 38;
const ETIMEDOUT: isize = 110;
/// How long a wait for descriptors lasts before it looks at the clock again, in real nanoseconds.
const SLICE: usize = 4_000_000;

/// One wait for the clock to move; a negative result is an error number.
unsafe fn tick(area: &GateArea, seen: u32) -> isize {
    // SAFETY: a wait on a word of the shared memory.
    unsafe { sys::call4(FUTEX, area.clock_word.as_ptr() as usize, 0, seen as usize, 0) }
}

/// Sleeps until a virtual instant; false if a signal ended it (never, if `through`).
pub unsafe fn sleep(area: &GateArea, deadline: u64, through: bool) -> bool {
    loop {
        let seen = area.clock_word.load(Acquire);
        if deadline <= area.nanos.load(Acquire) {
            return true;
        }
        // SAFETY: as `tick`.
        if unsafe { tick(area, seen) } == -EINTR && !through {
            return false;
        }
    }
}

/// nanosleep and clock_nanosleep.
pub unsafe fn nanosleep(area: &GateArea, nr: usize, args: &[usize; 6]) -> isize {
    // SAFETY: the target's own pointers.
    unsafe {
        match Nap::of(area, nr, args) {
            Ok(nap) if sleep(area, nap.deadline, false) => 0,
            Ok(nap) => nap.interrupted(area),
            Err(error) => error,
        }
    }
}

/// One entry of futex_waitv(2).
#[repr(C)]
struct Waiter {
    value: u64,
    addr: u64,
    flags: u32,
    reserved: u32,
}

/// futex(2): a wait with a time limit waits for its word and for the clock at once; all else is the kernel's.
pub unsafe fn futex(area: &GateArea, args: &[usize; 6]) -> isize {
    const PRIVATE: usize = 128;
    const REALTIME: usize = 256;
    const WAIT_BITSET: usize = 9;
    const SIZE_U32: u32 = 2;
    const ANY: u32 = u32::MAX;
    let op = args[1] & !(PRIVATE | REALTIME);
    // SAFETY: the target's own call.
    unsafe {
        // FUTEX_WAIT, FUTEX_WAIT_BITSET
        let timed = matches!(op, 0 | 9) && args[3] != 0;
        if !timed {
            if matches!(op, 6 | 11 | 13) && args[3] != 0 {
                crate::gate_turn::met(area, BLIND_PI);
            }
            return sys::call(FUTEX, args);
        }
        let Some(limit) = time::checked(args[3]) else { return -22 };
        let deadline = match op {
            0 => time::after(area, limit),
            _ => time::instant(area, if args[1] & REALTIME != 0 { time::REALTIME } else { 1 }, limit),
        };
        let word = &*(args[0] as *const core::sync::atomic::AtomicU32);
        let own = SIZE_U32 | if args[1] & PRIVATE != 0 { PRIVATE as u32 } else { 0 };
        loop {
            let seen = area.clock_word.load(Acquire);
            if word.load(Acquire) != args[2] as u32 {
                return -EAGAIN;
            }
            if deadline <= area.nanos.load(Acquire) {
                return -ETIMEDOUT;
            }
            let mut ret = -ENOSYS;
            if op == 0 || args[5] as u32 == ANY {
                let waiters = [
                    Waiter { value: args[2] as u32 as u64, addr: args[0] as u64, flags: own, reserved: 0 },
                    Waiter {
                        value: seen as u64,
                        addr: area.clock_word.as_ptr() as u64,
                        flags: SIZE_U32,
                        reserved: 0,
                    },
                ];
                ret = sys::call5(FUTEX_WAITV, waiters.as_ptr() as usize, 2, 0, 0, 0);
            }
            if ret == -ENOSYS {
                // An older kernel, or a wait for some bits only: look at the clock now and then.
                let until = sys::real_clock(1) + SLICE as u64;
                let slice = [until / 1_000_000_000, until % 1_000_000_000];
                let bits = if op == 0 { ANY as usize } else { args[5] };
                let how = WAIT_BITSET | args[1] & PRIVATE;
                ret = sys::call6(FUTEX, args[0], how, args[2], &raw const slice as usize, 0, bits);
                if ret == 0 {
                    return 0;
                }
            }
            match ret {
                // The target's own word was woken.
                0 => return 0,
                r if r == -EINTR => return -EINTR,
                // The clock moved, a value changed, or a slice is over.
                _ => {}
            }
        }
    }
}

/// poll, select, epoll_wait and sigtimedwait with a time limit: in slices of real time.
pub unsafe fn sliced(area: &GateArea, nr: usize, args: &[usize; 6]) -> isize {
    let (at, form) = limits::place(nr);
    // SAFETY: the target's own call and pointers.
    unsafe {
        let Some(deadline) = limits::deadline(area, nr, args) else { return sys::call(nr, args) };
        let sets = Sets::of(nr, args);
        loop {
            let over = deadline <= area.nanos.load(Acquire);
            let real = if over { 0 } else { SLICE };
            let mut spec = [0, if form == Form::Timeval { real / 1000 } else { real }];
            let mut now = *args;
            now[at] = if form == Form::Millis { real / 1_000_000 } else { &raw mut spec as usize };
            let ret = sys::call(nr, &now);
            let nothing = ret == 0 || (nr == RT_SIGTIMEDWAIT && ret == -EAGAIN);
            if !nothing || over {
                return ret;
            }
            sets.put_back(nr, args);
        }
    }
}
