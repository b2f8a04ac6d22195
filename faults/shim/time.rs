//! Virtual time inside the target: what the clocks show, and waits that end on the clock that the harness moves.
//!
//! In a gated run the waits are the gate's; here stand those of a run that is not gated. A wait for time alone,
//! or for time and a futex, ends when the clock is moved; one for time and descriptors looks at the clock every
//! few real milliseconds, as the kernel cannot wait for both.

use crate::abi::{FLAG_GATED, FLAG_VIRTUAL, Header};
use crate::abi_gate::*;
use crate::gate_turn::{area, me, met};
use crate::num::*;
use crate::site::Caller;
use crate::{gate_sleep, sys, time_wait};
use core::sync::atomic::Ordering::*;

/// Calls that the filter traps where time is virtual, besides those that every run traps.
pub const TRAPS: &[usize] = &[
    CLOCK_GETTIME,
    GETTIMEOFDAY,
    TIME,
    NANOSLEEP,
    CLOCK_NANOSLEEP,
    FUTEX,
    POLL,
    PPOLL,
    SELECT,
    PSELECT6,
    EPOLL_WAIT,
    EPOLL_PWAIT,
    EPOLL_PWAIT2,
    RT_SIGTIMEDWAIT,
    TIMERFD_SETTIME,
    SETITIMER,
    ALARM,
    TIMER_SETTIME,
    CLOCK_SETTIME,
    SETTIMEOFDAY,
    CLOCK_ADJTIME,
];

const SECOND: u64 = 1_000_000_000;
/// CLOCK_REALTIME.
pub const REALTIME: i32 = 0;

/// Called by the dispatcher after the gate, where time is virtual only. `Some` ends the call.
pub unsafe fn intercept(
    header: &'static Header,
    nr: usize,
    args: &[usize; 6],
    _via: u8,
    _caller: &Caller,
) -> Option<isize> {
    if !TRAPS.contains(&nr) {
        return None;
    }
    let area = area(header);
    let kind = match nr {
        TIMERFD_SETTIME => Some(BLIND_TIMERFD),
        SETITIMER | ALARM => Some(BLIND_ITIMER),
        TIMER_SETTIME => Some(BLIND_TIMER),
        CLOCK_SETTIME | SETTIMEOFDAY | CLOCK_ADJTIME => Some(BLIND_SETTIME),
        _ => None,
    };
    // SAFETY: the target's own call.
    Some(unsafe {
        match nr {
            CLOCK_GETTIME => read_clock(header, args[0] as i32, args[1]),
            GETTIMEOFDAY => {
                if args[0] != 0 {
                    let now = wall(area);
                    *(args[0] as *mut [u64; 2]) = [now / SECOND, now % SECOND / 1000];
                }
                0
            }
            TIME => {
                let now = wall(area) / SECOND;
                if args[0] != 0 {
                    *(args[0] as *mut u64) = now;
                }
                now as isize
            }
            FUTEX => time_wait::futex(area, args),
            NANOSLEEP | CLOCK_NANOSLEEP => time_wait::nanosleep(area, nr, args),
            POLL | PPOLL | SELECT | PSELECT6 | EPOLL_WAIT | EPOLL_PWAIT | EPOLL_PWAIT2 | RT_SIGTIMEDWAIT => {
                time_wait::sliced(area, nr, args)
            }
            _ => {
                if let Some(kind) = kind
                    && !disarms(nr, args)
                {
                    met(area, kind);
                }
                sys::call(nr, args)
            }
        }
    })
}

/// Whether a timer call only stops its timer, which needs no clock.
unsafe fn disarms(nr: usize, args: &[usize; 6]) -> bool {
    let at = match nr {
        ALARM => return args[0] == 0,
        SETITIMER => args[1],
        TIMERFD_SETTIME | TIMER_SETTIME => args[2],
        _ => return false,
    };
    // SAFETY: the target's own structure: an interval, then the time until the first expiry.
    unsafe { at == 0 || *(at as *const [u64; 4]).cast::<[u64; 2]>().add(1) == [0, 0] }
}

/// The wall clock in nanoseconds since 1970.
fn wall(area: &GateArea) -> u64 {
    area.epoch.load(Acquire).wrapping_add(area.nanos.load(Acquire))
}

/// What a clock shows where time is virtual. The processor's clocks are the machine's own, except that in a gated
/// run, which must repeat, they show virtual time.
unsafe fn read_clock(header: &Header, id: i32, at: usize) -> isize {
    let area = area(header);
    let now = match id {
        // REALTIME, REALTIME_COARSE, TAI
        0 | 5 | 11 => wall(area),
        // MONOTONIC, MONOTONIC_RAW, MONOTONIC_COARSE, BOOTTIME
        1 | 4 | 6 | 7 => MONOTONIC_BASE + area.nanos.load(Acquire),
        // PROCESS_CPUTIME_ID, THREAD_CPUTIME_ID
        2 | 3 if header.flags & FLAG_GATED != 0 => area.nanos.load(Acquire),
        // SAFETY: the target's own call.
        _ => return unsafe { sys::call2(CLOCK_GETTIME, id as usize, at) },
    };
    if at != 0 {
        // SAFETY: the target's own timespec.
        unsafe { *(at as *mut [u64; 2]) = [now / SECOND, now % SECOND] };
    }
    0
}

/// Reads a clock through the exported symbols: virtual, or `None` where time is real.
pub unsafe fn symbol(id: i32, at: usize) -> Option<isize> {
    let header = crate::ring::header()?;
    // SAFETY: as `read_clock`.
    (header.flags & FLAG_VIRTUAL != 0).then(|| unsafe { read_clock(header, id, at) })
}

/// A timespec in nanoseconds, or `None` if it is not a valid one.
pub unsafe fn checked(at: usize) -> Option<u64> {
    // SAFETY: the target's own timespec.
    let [seconds, nanos] = unsafe { *(at as *const [u64; 2]) };
    (nanos < SECOND && seconds < 1 << 63).then(|| seconds.saturating_mul(SECOND).saturating_add(nanos))
}

/// A timespec in nanoseconds; an invalid one is 0.
pub unsafe fn duration(at: usize) -> u64 {
    // SAFETY: as `checked`.
    unsafe { checked(at).unwrap_or(0) }
}

/// The virtual instant that lies so far ahead.
pub fn after(area: &GateArea, nanos: u64) -> u64 {
    area.nanos.load(Acquire).saturating_add(nanos)
}

/// The virtual instant at which a clock shows `at`.
pub fn instant(area: &GateArea, clock: i32, at: u64) -> u64 {
    let zero = match clock {
        0 | 5 | 11 => area.epoch.load(Acquire),
        _ => MONOTONIC_BASE,
    };
    if at >= NEVER - 1 { NEVER } else { at.saturating_sub(zero) }
}

/// The target's time in nanoseconds since the recording began. Called for each record.
pub unsafe fn now(header: &Header) -> u64 {
    if header.flags & FLAG_VIRTUAL != 0 {
        return area(header).nanos.load(Acquire);
    }
    // SAFETY: libc's own function. CLOCK_MONOTONIC.
    unsafe { sys::real_clock(1).wrapping_sub(header.start_mono) }
}

/// Called after each sync of a recorded file that has waited for the disk, where time is virtual only: a sync takes as
/// long as the harness says.
pub unsafe fn synced(header: &Header) {
    let area = area(header);
    let nanos = area.sync_nanos.load(Acquire);
    if nanos == 0 {
        return;
    }
    // SAFETY: as the waits themselves.
    unsafe {
        if area.gated.load(Acquire) != 0
            && let Some(slot) = me(area)
        {
            gate_sleep::sleep(area, slot, nanos);
        } else {
            time_wait::sleep(area, after(area, nanos), true);
        }
    }
}

/// Called at the end of the constructor of each program (also after exec), where time is virtual only.
pub unsafe fn started(_header: &'static Header) {}
