//! Signals in a gated run: one that comes while its task waits for the turn stays pending until it has it.

use crate::abi_gate::*;
use crate::gate_turn::{met, slots, yield_turn};
use crate::mask::SIGSYS_BIT;
use crate::num::*;
use crate::sigsys::Action;
use crate::sys;
use core::sync::atomic::Ordering::*;

/// Blocks every signal but those that a fault of this thread itself raises; gives the mask before.
pub unsafe fn block() -> u64 {
    // SIGSYS, SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV
    let all: u64 = !(SIGSYS_BIT | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10);
    let mut before: u64 = 0;
    // SAFETY: both sets are ours.
    unsafe { sys::call4(RT_SIGPROCMASK, 2, &raw const all as usize, &raw mut before as usize, 8) };
    before
}

/// Restores the mask; what is pending and no longer blocked is handled before this returns.
pub unsafe fn restore(mask: u64) {
    // SAFETY: the set is ours.
    unsafe { sys::call4(RT_SIGPROCMASK, 2, &raw const mask as usize, 0, 8) };
}

/// Whether a signal is pending that would interrupt a call under `mask`, and if so whether its handler asks for a
/// restart of the call.
pub unsafe fn due(mask: u64) -> Option<bool> {
    const SIG_DFL: usize = 0;
    const SIG_IGN: usize = 1;
    const SA_RESTART: u64 = 0x1000_0000;
    // SIGCHLD, SIGCONT, SIGURG, SIGWINCH do nothing by default.
    const MILD: u64 = 1 << 16 | 1 << 17 | 1 << 22 | 1 << 27;
    let mut pending: u64 = 0;
    // SAFETY: the kernel fills what is ours.
    unsafe {
        sys::call2(RT_SIGPENDING, &raw mut pending as usize, 8);
        pending &= !mask;
        while pending != 0 {
            let bit = pending.trailing_zeros();
            pending &= pending - 1;
            let mut action = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
            sys::call4(RT_SIGACTION, bit as usize + 1, 0, &raw mut action as usize, 8);
            match action.handler {
                SIG_IGN => {}
                SIG_DFL if MILD & 1 << bit != 0 => {}
                SIG_DFL => return Some(false),
                _ => return Some(action.flags & SA_RESTART != 0),
            }
        }
    }
    None
}

/// kill and its relatives. The victim of a SIGKILL is gone before anybody else gets the turn.
pub unsafe fn kill(area: &'static GateArea, slot: &'static Slot, nr: usize, args: &[usize; 6]) -> isize {
    const SIGKILL: usize = 9;
    // SAFETY: the target's own call.
    unsafe {
        let ret = sys::call(nr, args);
        area.signals.fetch_add(1, AcqRel);
        let signal = if matches!(nr, TGKILL | RT_TGSIGQUEUEINFO) { args[2] } else { args[1] };
        let to = args[0] as i32;
        if ret != 0 || signal != SIGKILL {
            return ret;
        }
        if nr == PIDFD_SEND_SIGNAL || nr == TKILL || to <= 0 {
            met(area, BLIND_KILL);
            return ret;
        }
        let mut hit = false;
        for victim in slots(area) {
            if victim.pid.load(Acquire) == to as u32 && !matches!(victim.state.load(Acquire), FREE | GONE) {
                victim.state.store(EXITING_PROCESS, Release);
                hit = true;
            }
        }
        if hit {
            yield_turn(area, slot, READY, None, &|| false);
        }
        ret
    }
}
