//! Virtual time inside the target. (Written by its own helper.)

use crate::abi::Header;
use crate::site::Caller;
use crate::sys;

/// Calls that the filter traps where time is virtual, besides those that every run traps.
pub const TRAPS: &[usize] = &[];

/// Called by the dispatcher after the gate, where time is virtual only. `Some` ends the call.
pub unsafe fn intercept(
    _header: &'static Header,
    _nr: usize,
    _args: &[usize; 6],
    _via: u8,
    _caller: &Caller,
) -> Option<isize> {
    None
}

/// The target's time in nanoseconds since the recording began. Called for each record.
pub unsafe fn now(header: &Header) -> u64 {
    // CLOCK_MONOTONIC
    unsafe { sys::real_clock(1).wrapping_sub(header.start_mono) }
}

/// Called after each successful sync of a recorded file, where time is virtual only.
pub unsafe fn synced(_header: &Header) {}

/// Called at the end of the constructor of each program (also after exec), where time is virtual only.
pub unsafe fn started(_header: &'static Header) {}
