//! What calls that wait say about it, as both kinds of virtual time need it: that of a gated run (`gate_io`,
//! `gate_sleep`) and that of one that is not (`time_wait`).

use crate::abi_gate::GateArea;
use crate::num::*;
use crate::time;
use core::sync::atomic::Ordering::Acquire;

const EINTR: isize = 4;
const EINVAL: isize = 22;

/// A call of nanosleep or clock_nanosleep.
pub struct Nap {
    /// The virtual instant of its end.
    pub deadline: u64,
    /// Where to put what is left of it; 0 where it ends at a given instant, or nobody asks.
    left: usize,
}

impl Nap {
    /// What the call asks for, or its error.
    pub unsafe fn of(area: &GateArea, nr: usize, args: &[usize; 6]) -> Result<Nap, isize> {
        const TIMER_ABSTIME: usize = 1;
        let absolute = nr == CLOCK_NANOSLEEP && args[1] & TIMER_ABSTIME != 0;
        let (request, left) = if nr == NANOSLEEP { (args[0], args[1]) } else { (args[2], args[3]) };
        // SAFETY: the target's own timespec.
        let Some(wanted) = (unsafe { time::checked(request) }) else { return Err(-EINVAL) };
        Ok(if absolute {
            Nap { deadline: time::instant(area, args[0] as i32, wanted), left: 0 }
        } else {
            Nap { deadline: time::after(area, wanted), left }
        })
    }

    /// A signal has ended it before its time: the call's result.
    pub unsafe fn interrupted(&self, area: &GateArea) -> isize {
        if self.left != 0 {
            let rest = self.deadline.saturating_sub(area.nanos.load(Acquire));
            // SAFETY: the target's own timespec.
            unsafe { *(self.left as *mut [u64; 2]) = [rest / 1_000_000_000, rest % 1_000_000_000] };
        }
        -EINTR
    }
}

/// In what form a call gives its time limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Milliseconds; less than none is for ever.
    Millis,
    /// A timeval; none is for ever.
    Timeval,
    /// A timespec; none is for ever.
    Timespec,
}

/// Which argument of poll, select, epoll_wait or sigtimedwait is the time limit, and in what form.
pub fn place(nr: usize) -> (usize, Form) {
    match nr {
        POLL => (2, Form::Millis),
        EPOLL_WAIT | EPOLL_PWAIT => (3, Form::Millis),
        PPOLL | RT_SIGTIMEDWAIT => (2, Form::Timespec),
        EPOLL_PWAIT2 => (3, Form::Timespec),
        SELECT => (4, Form::Timeval),
        _ => (4, Form::Timespec),
    }
}

/// The virtual instant at which such a call gives up, if it ever does.
pub unsafe fn deadline(area: &GateArea, nr: usize, args: &[usize; 6]) -> Option<u64> {
    let (at, form) = place(nr);
    let nanos = match (form, args[at]) {
        (Form::Millis, v) => u64::try_from(v as i32).ok()?.saturating_mul(1_000_000),
        (_, 0) => return None,
        (Form::Timeval, value) => {
            // SAFETY: the target's own structure.
            let [seconds, micros] = unsafe { *(value as *const [u64; 2]) };
            seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1000))
        }
        // SAFETY: as above.
        (Form::Timespec, spec) => unsafe { time::duration(spec) },
    };
    Some(time::after(area, nanos))
}

/// The three sets of select, which the call overwrites; of another call nothing.
#[derive(Clone, Copy)]
pub struct Sets(pub [[u64; 16]; 3]);

impl Sets {
    /// As they are before the call.
    pub unsafe fn of(nr: usize, args: &[usize; 6]) -> Sets {
        let mut sets = Sets([[0; 16]; 3]);
        for (n, set) in sets.0.iter_mut().enumerate().filter(|(n, _)| is_given(nr, args, *n)) {
            // SAFETY: the target's own set of so many bits.
            unsafe {
                core::ptr::copy_nonoverlapping(args[n + 1] as *const u64, set.as_mut_ptr(), words(args))
            };
        }
        sets
    }

    /// Puts them back.
    pub unsafe fn put_back(&self, nr: usize, args: &[usize; 6]) {
        for (n, set) in self.0.iter().enumerate().filter(|(n, _)| is_given(nr, args, *n)) {
            // SAFETY: as `of`.
            unsafe { core::ptr::copy_nonoverlapping(set.as_ptr(), args[n + 1] as *mut u64, words(args)) };
        }
    }
}

fn is_given(nr: usize, args: &[usize; 6], n: usize) -> bool {
    matches!(nr, SELECT | PSELECT6) && args[n + 1] != 0
}

fn words(args: &[usize; 6]) -> usize {
    args[0].min(1024).div_ceil(64)
}
