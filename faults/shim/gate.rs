//! The gate inside the target: recorded calls wait for a grant. (Written by its own helper.)

use crate::abi::Header;
use crate::site::Caller;

/// Calls that the filter traps in a gated run, besides those that every run traps.
pub const TRAPS: &[usize] = &[];

/// Called first by the dispatcher, in a gated run only, with every call that came here. `Some` ends the call.
pub unsafe fn intercept(
    _header: &'static Header,
    _nr: usize,
    _args: &[usize; 6],
    _via: u8,
    _caller: &Caller,
) -> Option<isize> {
    None
}

/// Called, in a gated run only, just before a recorded call draws its begin clock: waits for the grant.
pub unsafe fn turn(_header: &Header) {}

/// Called at the end of the constructor of each program (also after exec), in a gated run only.
pub unsafe fn started(_header: &'static Header) {}
