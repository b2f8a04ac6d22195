//! Futexes in a gated run, emulated: who waits and who is woken is decided here, in the order of the waits.

use crate::abi_gate::*;
use crate::gate_turn::{Ended, block_on, me, met, slots};
use crate::num::FUTEX;
use crate::{sys, time};
use core::sync::atomic::{AtomicU32, Ordering::*};

const WAIT_OP: usize = 0;
const WAKE_OP: usize = 1;
const REQUEUE: usize = 3;
const CMP_REQUEUE: usize = 4;
const WAKE_AND_OP: usize = 5;
const WAIT_BITSET: usize = 9;
const WAKE_BITSET: usize = 10;
const PRIVATE: usize = 128;
const REALTIME: usize = 256;

const EINTR: isize = 4;
const EAGAIN: isize = 11;
const EINVAL: isize = 22;
const ETIMEDOUT: isize = 110;

/// futex(2).
pub unsafe fn call(area: &'static GateArea, args: &[usize; 6]) -> isize {
    // SAFETY: the target's own call and its own words: only addresses that the kernel would read are read.
    unsafe {
        let op = args[1] & !(PRIVATE | REALTIME);
        let Some(slot) = me(area) else {
            // A thread before its start routine, or a child inside fork: the kernel serves it, and whoever holds
            // the turn is told as well.
            if matches!(op, WAKE_OP | WAKE_BITSET) {
                wake(area, None, args[0], args[2], u32::MAX, false);
            }
            return sys::call(FUTEX, args);
        };
        let shared = args[1] & PRIVATE == 0;
        let limit = args[2];
        match op {
            WAIT_OP | WAIT_BITSET => wait(area, slot, args, op == WAIT_BITSET),
            WAKE_OP => wake_both(area, slot, args, u32::MAX, shared),
            WAKE_BITSET if args[5] as u32 == 0 => -EINVAL,
            WAKE_BITSET => wake_both(area, slot, args, args[5] as u32, shared),
            CMP_REQUEUE if word(args[0]).load(Acquire) != args[5] as u32 => -EAGAIN,
            REQUEUE | CMP_REQUEUE => {
                let woken = wake(area, Some(slot), args[0], limit, u32::MAX, shared);
                let moved = requeue(area, slot, args[0], args[4], args[3]);
                if op == REQUEUE { woken } else { woken + moved }
            }
            WAKE_AND_OP => {
                let second = apply(args[4], args[5] as u32);
                let mut woken = wake(area, Some(slot), args[0], limit, u32::MAX, shared);
                match second {
                    Some(true) => woken += wake(area, Some(slot), args[4], args[3], u32::MAX, shared),
                    Some(false) => {}
                    None => return -38,
                }
                woken
            }
            _ => {
                met(area, BLIND_PI);
                sys::call(FUTEX, args)
            }
        }
    }
}

unsafe fn word(addr: usize) -> &'static AtomicU32 {
    // SAFETY: the caller's futex word.
    unsafe { &*(addr as *const AtomicU32) }
}

unsafe fn wait(area: &'static GateArea, slot: &'static Slot, args: &[usize; 6], bitset: bool) -> isize {
    // SAFETY: as `call`.
    unsafe {
        let (addr, val) = (args[0], args[2] as u32);
        let bits = if bitset { args[5] as u32 } else { u32::MAX };
        if addr % 4 != 0 || bits == 0 {
            return -EINVAL;
        }
        let deadline = match args[3] {
            0 => NEVER,
            at if !bitset => time::after(area, time::duration(at)),
            at => time::instant(area, if args[1] & REALTIME != 0 { 0 } else { 1 }, time::duration(at)),
        };
        if word(addr).load(Acquire) != val {
            return -EAGAIN;
        }
        loop {
            slot.addr.store(addr as u64, Relaxed);
            slot.bitset.store(bits, Relaxed);
            slot.shared.store((args[1] & PRIVATE == 0) as u32, Relaxed);
            slot.woken.store(0, Relaxed);
            slot.order.store(area.order.fetch_add(1, AcqRel), Relaxed);
            // The kernel itself may have changed the word (a robust lock, a thread that the gate does not know).
            let changed = || slot.recheck.load(Acquire) != 0 && word(addr).load(Acquire) != val;
            let can = || slot.woken.load(Acquire) != 0 || changed();
            let ended = block_on(area, slot, KIND_FUTEX, deadline, None, &can);
            slot.addr.store(0, Relaxed);
            slot.recheck.store(0, Relaxed);
            return match ended {
                Ended::Can | Ended::Released => 0,
                Ended::Expired => -ETIMEDOUT,
                // As the kernel: a wait without a time limit is restarted.
                Ended::Signal(true) if deadline == NEVER => {
                    if word(addr).load(Acquire) != val {
                        return -EAGAIN;
                    }
                    continue;
                }
                Ended::Signal(_) => -EINTR,
            };
        }
    }
}

unsafe fn wake_both(
    area: &'static GateArea,
    slot: &Slot,
    args: &[usize; 6],
    bits: u32,
    shared: bool,
) -> isize {
    // SAFETY: as `call`.
    unsafe {
        let woken = wake(area, Some(slot), args[0], args[2], bits, shared);
        // A task that is only starting may wait in the kernel.
        let starting = slots(area).iter().any(|s| s.state.load(Acquire) == RESERVED);
        if starting { woken + sys::call(FUTEX, args) } else { woken }
    }
}

fn waits(slot: &Slot) -> bool {
    matches!(slot.state.load(Acquire), WAIT | CAN) && slot.kind.load(Acquire) == KIND_FUTEX
}

fn set_ready(slot: &Slot) {
    slot.woken.store(1, Release);
    slot.state.store(READY, Release);
}

/// The waiter on `addr` in `process` that has waited longest.
fn first(area: &'static GateArea, process: u32, addr: usize, bits: u32) -> Option<&'static Slot> {
    let here = |s: &&Slot| {
        waits(s)
            && s.process.load(Acquire) == process
            && s.addr.load(Acquire) == addr as u64
            && s.bitset.load(Acquire) & bits != 0
    };
    // Places wrap around: compare by distance.
    let now = area.order.load(Acquire);
    slots(area).iter().filter(here).max_by_key(|s| now.wrapping_sub(s.order.load(Acquire)))
}

/// Wakes up to `limit` waiters. A word that may be shared is compared by address within the process only; waiters
/// of *other* processes on any word that may be shared are all sent to look again, which every user of futexes
/// allows for, instead of finding out which memory is the same.
unsafe fn wake(
    area: &'static GateArea,
    me: Option<&Slot>,
    addr: usize,
    limit: usize,
    bits: u32,
    shared: bool,
) -> isize {
    // SAFETY: the words of this thread.
    let pid = unsafe { crate::gate_turn::ids().0 };
    let by_pid = || slots(area).iter().find(|s| s.pid.load(Acquire) == pid).map(|s| s.process.load(Acquire));
    let Some(process) = me.map(|s| s.process.load(Acquire)).or_else(by_pid) else { return 0 };
    let mut woken = 0;
    while woken < limit as i32 as isize {
        let Some(slot) = first(area, process, addr, bits) else { break };
        set_ready(slot);
        woken += 1;
    }
    if shared {
        let elsewhere =
            |s: &&Slot| waits(s) && s.process.load(Acquire) != process && s.shared.load(Acquire) != 0;
        slots(area).iter().filter(elsewhere).for_each(set_ready);
    }
    woken
}

/// Moves up to `limit` waiters from one word to another.
fn requeue(area: &'static GateArea, me: &Slot, from: usize, to: usize, limit: usize) -> isize {
    let mut moved = 0;
    while moved < limit as i32 as isize && from != to {
        let Some(slot) = first(area, me.process.load(Acquire), from, u32::MAX) else { break };
        slot.addr.store(to as u64, Release);
        moved += 1;
    }
    moved
}

/// The operation of FUTEX_WAKE_OP: whether the second word's waiters are to be woken; `None`: not a valid one.
unsafe fn apply(addr: usize, coded: u32) -> Option<bool> {
    let sign = |v: u32| ((v << 20).cast_signed() >> 20) as u32;
    let (op, cmp) = (coded >> 28 & 7, coded >> 24 & 15);
    let mut operand = sign(coded >> 12 & 0xfff);
    let against = sign(coded & 0xfff).cast_signed();
    if coded >> 31 != 0 {
        operand = 1 << (operand & 31);
    }
    // SAFETY: the caller's futex word.
    let word = unsafe { word(addr) };
    let old = match op {
        0 => word.swap(operand, AcqRel),
        1 => word.fetch_add(operand, AcqRel),
        2 => word.fetch_or(operand, AcqRel),
        3 => word.fetch_and(!operand, AcqRel),
        4 => word.fetch_xor(operand, AcqRel),
        _ => return None,
    }
    .cast_signed();
    Some(match cmp {
        0 => old == against,
        1 => old != against,
        2 => old < against,
        3 => old <= against,
        4 => old > against,
        5 => old >= against,
        _ => return None,
    })
}
