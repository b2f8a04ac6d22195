//! Waits for virtual time in a run that is not gated.

use crate::abi_gate::*;
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
    const TIMER_ABSTIME: usize = 1;
    let absolute = nr == CLOCK_NANOSLEEP && args[1] & TIMER_ABSTIME != 0;
    let (request, left) = if nr == NANOSLEEP { (args[0], args[1]) } else { (args[2], args[3]) };
    // SAFETY: the target's own pointers.
    unsafe {
        let Some(wanted) = time::checked(request) else { return -22 };
        let deadline =
            if absolute { time::instant(area, args[0] as i32, wanted) } else { time::after(area, wanted) };
        if sleep(area, deadline, false) {
            return 0;
        }
        if left != 0 && !absolute {
            let rest = deadline.saturating_sub(area.nanos.load(Acquire));
            *(left as *mut [u64; 2]) = [rest / 1_000_000_000, rest % 1_000_000_000];
        }
        -EINTR
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
    let at = match nr {
        POLL | PPOLL | RT_SIGTIMEDWAIT => 2,
        EPOLL_WAIT | EPOLL_PWAIT | EPOLL_PWAIT2 => 3,
        _ => 4,
    };
    let millis = matches!(nr, POLL | EPOLL_WAIT | EPOLL_PWAIT);
    let micros = nr == SELECT;
    // SAFETY: the target's own call and pointers.
    unsafe {
        let limit = match (millis, args[at]) {
            (true, v) if (v as i32) < 0 => return sys::call(nr, args),
            (true, v) => v as u32 as u64 * 1_000_000,
            (false, 0) => return sys::call(nr, args),
            (false, spec) if micros => {
                let [seconds, micros] = *(spec as *const [u64; 2]);
                seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1000))
            }
            (false, spec) => time::duration(spec),
        };
        let deadline = time::after(area, limit);
        let sets = save(nr, args);
        loop {
            let over = deadline <= area.nanos.load(Acquire);
            let real = if over { 0 } else { SLICE };
            let mut spec = [0, if micros { real / 1000 } else { real }];
            let mut now = *args;
            now[at] = if millis { real / 1_000_000 } else { &raw mut spec as usize };
            let ret = sys::call(nr, &now);
            let nothing = ret == 0 || (nr == RT_SIGTIMEDWAIT && ret == -EAGAIN);
            if !nothing || over {
                return ret;
            }
            load(nr, args, &sets);
        }
    }
}

type Sets = [[u64; 16]; 3];

fn words(args: &[usize; 6]) -> usize {
    args[0].min(1024).div_ceil(64)
}

/// The sets of select, which the call empties when its time is over.
unsafe fn save(nr: usize, args: &[usize; 6]) -> Sets {
    let mut sets = [[0; 16]; 3];
    if matches!(nr, SELECT | PSELECT6) {
        for (n, set) in sets.iter_mut().enumerate().filter(|(n, _)| args[n + 1] != 0) {
            // SAFETY: the target's own set.
            unsafe {
                core::ptr::copy_nonoverlapping(args[n + 1] as *const u64, set.as_mut_ptr(), words(args))
            };
        }
    }
    sets
}

/// Puts them back.
unsafe fn load(nr: usize, args: &[usize; 6], sets: &Sets) {
    if matches!(nr, SELECT | PSELECT6) {
        for (n, set) in sets.iter().enumerate().filter(|(n, _)| args[n + 1] != 0) {
            // SAFETY: the target's own set.
            unsafe { core::ptr::copy_nonoverlapping(set.as_ptr(), args[n + 1] as *mut u64, words(args)) };
        }
    }
}
