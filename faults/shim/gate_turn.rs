//! Giving the turn back and waiting for it; finding one's slot.

use crate::abi::{GATE_AT, Header};
use crate::abi_gate::*;
use crate::num::{FUTEX, GETPID, GETPPID, GETTID};
use crate::{gate_signal, sys};
use core::sync::atomic::{AtomicU32, Ordering::*};

/// The gate's words in the shared memory.
#[inline(always)]
pub fn area(header: &Header) -> &'static GateArea {
    // SAFETY: the harness laid the area out at this place; it is mapped for as long as the process lives.
    unsafe { &*((&raw const *header as usize + GATE_AT) as *const GateArea) }
}

const _: () = assert!(core::mem::size_of::<GateArea>() <= crate::abi::GATE_LEN);

/// Notes something that cannot be served.
pub fn met(area: &GateArea, blind: usize) {
    area.blind[blind].fetch_add(1, Relaxed);
}

/// The slots that were ever used.
pub fn slots(area: &'static GateArea) -> &'static [Slot] {
    &area.slots[..(area.used.load(Acquire) as usize).min(SLOTS)]
}

/// Process and thread. Unlike [`sys::ids`] this leaves the recorder to find out by itself that it is in a new
/// process.
pub unsafe fn ids() -> (u32, u32) {
    // SAFETY: mapped in the constructor; the words of this thread.
    unsafe {
        let (pid, tls) = (*(sys::wiped() as *const u32), sys::tls());
        if pid != 0 && (*tls).pid == pid {
            return (pid, (*tls).tid);
        }
        (sys::call0(GETPID) as u32, sys::call0(GETTID) as u32)
    }
}

/// This task's slot. A child of vfork shares its parent's thread words and so its slot, which is right: the
/// parent stands still.
pub unsafe fn me(area: &'static GateArea) -> Option<&'static Slot> {
    // SAFETY: the words of this thread.
    unsafe {
        let index = (*sys::tls()).gate[0] as usize;
        let slot = area.slots.get(index.wrapping_sub(1))?;
        let (pid, _) = ids();
        (slot.pid.load(Acquire) == pid).then_some(slot)
    }
}

/// Makes a slot this thread's.
pub unsafe fn take(area: &'static GateArea, slot: &'static Slot) {
    let index = (&raw const *slot as usize - area.slots.as_ptr() as usize) / core::mem::size_of::<Slot>();
    // SAFETY: the words of this thread.
    unsafe {
        (*sys::tls()).gate[0] = index as u64 + 1;
        let (pid, tid) = ids();
        slot.tid.store(tid, Release);
        slot.tid_word.store(tid, Release);
        slot.pid.store(pid, Release);
    }
}

/// A slot for a task that is about to start, or `None` (noted) if there are too many.
pub fn reserve(area: &'static GateArea, process: u32) -> Option<&'static Slot> {
    for (index, slot) in area.slots.iter().enumerate() {
        let state = slot.state.load(Acquire);
        // A slot that ended can be used again once the C library's tid word was zeroed.
        let free = state == FREE || (state == GONE && slot.tid_addr.load(Acquire) == 0);
        if !free || slot.state.compare_exchange(state, RESERVED, AcqRel, Relaxed).is_err() {
            continue;
        }
        for word in [&slot.pid, &slot.tid, &slot.kind, &slot.call, &slot.woken, &slot.recheck, &slot.path_len]
        {
            word.store(0, Relaxed);
        }
        for word in [&slot.start, &slot.arg, &slot.addr] {
            word.store(0, Relaxed);
        }
        slot.deadline.store(NEVER, Relaxed);
        slot.process.store(process, Relaxed);
        let count = &area.next_thread[(process as usize).min(PROCESSES - 1)];
        slot.thread.store(count.fetch_add(1, AcqRel), Relaxed);
        area.used.fetch_max(index as u32 + 1, AcqRel);
        return Some(slot);
    }
    met(area, BLIND_SLOTS);
    None
}

/// This task's slot; a task that started in a way that the gate does not see gets one now, and waits.
pub unsafe fn me_or_late(area: &'static GateArea) -> Option<&'static Slot> {
    // SAFETY: the words of this thread, plain calls.
    unsafe {
        if let Some(slot) = me(area) {
            return Some(slot);
        }
        let (pid, _) = ids();
        let parent = sys::call0(GETPPID) as u64;
        // Still inside fork: the parent has reserved a slot and waits for it to be taken.
        let mine = |s: &&Slot| s.state.load(Acquire) == RESERVED && s.pid.load(Acquire) == 0;
        if let Some(slot) = slots(area)
            .iter()
            .filter(mine)
            .find(|s| s.start.load(Acquire) == 0 && s.arg.load(Acquire) == parent)
        {
            crate::process::appeared(None);
            register(area, slot);
            return Some(slot);
        }
        met(area, BLIND_LATE);
        let relative =
            slots(area).iter().find(|s| s.pid.load(Acquire) == pid && s.state.load(Acquire) != GONE);
        let process = match relative {
            Some(slot) => slot.process.load(Acquire),
            None => area.next_process.fetch_add(1, AcqRel),
        };
        let slot = reserve(area, process)?;
        register(area, slot);
        Some(slot)
    }
}

/// Enters a reserved slot and waits for the first grant.
pub unsafe fn register(area: &'static GateArea, slot: &'static Slot) {
    // SAFETY: the slot was reserved for this task.
    unsafe {
        take(area, slot);
        yield_turn(area, slot, READY, None, &|| false);
    }
}

/// Gives the turn back in `state` and returns when it is granted again. `can` answers probes. A signal that came
/// meanwhile is handled just before this returns, with the turn held: `Some(restart)`. `mask` replaces the
/// thread's signal mask in that question (and in that question only).
pub unsafe fn yield_turn(
    area: &'static GateArea,
    slot: &Slot,
    state: u32,
    mask: Option<u64>,
    can: &dyn Fn() -> bool,
) -> Option<bool> {
    // SAFETY: signals are blocked and restored in pairs; the futex words live in the shared memory.
    unsafe {
        let saved = gate_signal::block();
        let deaf = mask.unwrap_or(saved);
        if slot.state.swap(state, AcqRel) == RESERVED {
            // The parent waits on the same word for its child to leave this state.
            wake(&slot.state);
        }
        ring(area);
        loop {
            match slot.state.load(Acquire) {
                RUNNING => break,
                PROBE => {
                    let yes = can() || gate_signal::due(deaf).is_some();
                    slot.state.store(if yes { CAN } else { WAIT }, Release);
                    ring(area);
                }
                seen => {
                    if area.gated.load(Acquire) == 0 {
                        break;
                    }
                    sys::call4(FUTEX, slot.state.as_ptr() as usize, 0, seen as usize, 0);
                }
            }
        }
        zero_tid_words(area, slot);
        let due = gate_signal::due(deaf);
        gate_signal::restore(saved);
        due
    }
}

/// Wakes whoever waits on a word.
pub unsafe fn wake(word: &AtomicU32) {
    // SAFETY: a wake uses the address as a key only.
    unsafe { sys::call3(FUTEX, word.as_ptr() as usize, 1, i32::MAX as usize) };
}

/// Tells the supervisor that there is something to look at.
pub unsafe fn ring(area: &GateArea) {
    area.bell.fetch_add(1, AcqRel);
    // SAFETY: as `wake`.
    unsafe { wake(&area.bell) };
}

/// Threads of this process that the kernel is done with: their tid words, which joiners look at, become 0 only
/// here, while somebody holds the turn.
unsafe fn zero_tid_words(area: &'static GateArea, me: &Slot) {
    let pid = me.pid.load(Acquire);
    for slot in slots(area) {
        if slot.state.load(Acquire) == GONE && slot.pid.load(Acquire) == pid {
            let addr = slot.tid_addr.swap(0, AcqRel);
            if addr != 0 {
                // SAFETY: the word of a descriptor that the C library keeps until it is 0.
                unsafe { (*(addr as *const AtomicU32)).store(0, Release) };
            }
        }
    }
}

/// How a blocked task came back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// What it waited for has happened.
    Can,
    /// Its deadline has come.
    Expired,
    /// A signal was handled; whether the handler asked for a restart.
    Signal(bool),
    /// The gate was opened for good: the call may go to the kernel.
    Released,
}

/// Blocks until `can` says yes, the deadline has come or a signal was handled.
pub unsafe fn block_on(
    area: &'static GateArea,
    slot: &Slot,
    kind: u32,
    deadline: u64,
    mask: Option<u64>,
    can: &dyn Fn() -> bool,
) -> Ended {
    loop {
        slot.kind.store(kind, Release);
        slot.deadline.store(deadline, Release);
        // SAFETY: as `yield_turn`.
        let due = unsafe { yield_turn(area, slot, WAIT, mask, can) };
        slot.deadline.store(NEVER, Release);
        if can() {
            return Ended::Can;
        }
        if let Some(restart) = due {
            return Ended::Signal(restart);
        }
        if deadline <= area.nanos.load(Acquire) {
            return Ended::Expired;
        }
        if area.gated.load(Acquire) == 0 {
            return Ended::Released;
        }
    }
}
