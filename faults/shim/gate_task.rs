//! Tasks that begin and end in a gated run: threads, forks, programs.

use crate::abi::FLAG_GATED;
use crate::abi_gate::*;
use crate::gate_turn::*;
use crate::num::*;
use crate::{descriptors, ring as records, sys};
use core::sync::atomic::{AtomicUsize, Ordering::*};

/// Where glibc keeps a thread's number, which the kernel zeroes at its end and pthread_join waits for: from the
/// thread pointer, on x86-64, in every glibc from 2.3.4 on. It is believed only where it holds the number.
const GLIBC_TID_AT: usize = 720;

/// The area, if this is a gated run that still is.
pub fn gated() -> Option<&'static GateArea> {
    let header = records::header()?;
    let area = area(header);
    (header.flags & FLAG_GATED != 0 && area.gated.load(Acquire) != 0).then_some(area)
}

/// Waits until a child has entered its slot: what both do until then does not overlap with anything else.
unsafe fn await_child(slot: &Slot, area: &GateArea) {
    // SAFETY: a wait on a word of the shared memory; the limit is there for a child that was killed.
    unsafe {
        let limit = [10usize, 0];
        while slot.state.load(Acquire) == RESERVED {
            let at = slot.state.as_ptr() as usize;
            if sys::call4(FUTEX, at, 0, RESERVED as usize, &raw const limit as usize) == -110 {
                met(area, BLIND_LATE);
                slot.state.store(GONE, Release);
            }
        }
    }
}

type Create = unsafe extern "C" fn(usize, usize, usize, usize) -> i32;
type Fork = unsafe extern "C" fn() -> i32;

/// libc's own functions, once looked up.
static CREATE: AtomicUsize = AtomicUsize::new(0);
static FORK: AtomicUsize = AtomicUsize::new(0);

unsafe fn libc_symbol(cell: &AtomicUsize, name: &core::ffi::CStr) -> usize {
    let mut at = cell.load(Relaxed);
    if at == 0 {
        // SAFETY: plain look-up.
        at = unsafe { sys::next_symbol(name) };
        cell.store(at, Relaxed);
    }
    at
}

/// Starts a thread; in a gated run it waits for its first grant before its start routine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(thread: usize, attributes: usize, start: usize, arg: usize) -> i32 {
    // SAFETY: libc's own function with the caller's arguments.
    unsafe {
        let real: Create = core::mem::transmute(libc_symbol(&CREATE, c"pthread_create"));
        let Some(area) = gated() else { return real(thread, attributes, start, arg) };
        let Some(me) = me(area) else { return real(thread, attributes, start, arg) };
        let Some(slot) = reserve(area, me.process.load(Acquire)) else {
            return real(thread, attributes, start, arg);
        };
        slot.start.store(start as u64, Release);
        slot.arg.store(arg as u64, Release);
        slot.pid.store(me.pid.load(Acquire), Release);
        let ret = real(thread, attributes, begin as *const () as usize, &raw const *slot as usize);
        if ret == 0 {
            await_child(slot, area);
        } else {
            slot.state.store(GONE, Release);
        }
        ret
    }
}

/// The start routine of every thread of a gated run.
unsafe extern "C" fn begin(slot: usize) -> usize {
    // SAFETY: pthread_create passed a slot of the area, reserved for this thread.
    unsafe {
        let slot = &*(slot as *const Slot);
        let start: unsafe extern "C" fn(usize) -> usize =
            core::mem::transmute(slot.start.load(Acquire) as usize);
        let arg = slot.arg.load(Acquire) as usize;
        if let Some(area) = gated() {
            register(area, slot);
        } else {
            slot.state.store(GONE, Release);
        }
        start(arg)
    }
}

/// Forks; in a gated run the child waits for its first grant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fork() -> i32 {
    // SAFETY: libc's own function.
    unsafe {
        if let Some(ret) = crate::fault::fork() {
            return sys::libc_result(ret) as i32;
        }
        let real: Fork = core::mem::transmute(libc_symbol(&FORK, c"fork"));
        let made = crate::process::Moment::now();
        let ungated = || {
            let ret = real();
            if ret == 0 {
                descriptors::started();
                crate::process::appeared(made);
            }
            ret
        };
        let Some(area) = gated() else { return ungated() };
        if me(area).is_none() {
            return ungated();
        }
        let process = area.next_process.fetch_add(1, AcqRel);
        let Some(slot) = reserve(area, process) else { return ungated() };
        // A call in an atfork handler of the child finds the slot by its parent (`me_or_late`).
        slot.arg.store(sys::call0(GETPID) as u64, Release);
        let ret = real();
        match ret {
            0 => {
                descriptors::started();
                // While the parent still waits in fork: whenever the child's first turn comes, the parent has one by then.
                crate::process::appeared(made);
                if me(area).is_none() {
                    register(area, slot);
                }
            }
            r if r > 0 => await_child(slot, area),
            _ => slot.state.store(GONE, Release),
        }
        ret
    }
}

/// Just before exec. A child of vfork (posix_spawn, system, popen) acts in its parent's slot so far: the program
/// that it becomes gets one of its own, and the supervisor waits for it to arrive.
pub unsafe fn before_exec(area: &'static GateArea) {
    // SAFETY: plain calls.
    unsafe {
        let pid = sys::call0(GETPID) as u32;
        let Some(me) = me(area) else { return };
        if me.pid.load(Acquire) == pid {
            return;
        }
        let again = |s: &&Slot| s.state.load(Acquire) == RESERVED && s.pid.load(Acquire) == pid;
        if slots(area).iter().any(|s| again(&s)) {
            return;
        }
        let process = area.next_process.fetch_add(1, AcqRel);
        if let Some(slot) = reserve(area, process) {
            slot.pid.store(pid, Release);
        }
    }
}

/// A program begins, after an exec or as the target's first.
pub unsafe fn started(area: &'static GateArea) {
    // SAFETY: once in each program, before its own code.
    unsafe {
        if area.gated.load(Acquire) == 0 {
            return;
        }
        let (pid, _) = ids();
        let state = |s: &Slot| s.state.load(Acquire);
        let of = |s: &Slot| s.pid.load(Acquire) == pid;
        if let Some(slot) = slots(area).iter().find(|s| of(s) && state(s) == RUNNING) {
            // It held the turn when it called exec, and does so still. Its other threads are no more.
            for other in slots(area).iter().filter(|s| of(s) && !core::ptr::eq(*s, slot) && state(s) != FREE)
            {
                other.tid_addr.store(0, Release);
                other.state.store(GONE, Release);
            }
            take(area, slot);
            return;
        }
        let reserved = |s: &&Slot| state(s) == RESERVED && of(s);
        let first = |s: &&Slot| {
            state(s) == RESERVED && s.pid.load(Acquire) == 0 && core::ptr::eq(*s, &raw const area.slots[0])
        };
        let slot = slots(area).iter().find(reserved).or_else(|| slots(area).iter().find(first));
        match slot {
            Some(slot) => register(area, slot),
            // A later life of a target that was killed: whoever started the first has started this.
            None if sys::call0(GETPPID) as u32 == area.starter.load(Acquire) => {
                let process = area.next_process.fetch_add(1, AcqRel);
                if let Some(slot) = reserve(area, process) {
                    register(area, slot);
                }
            }
            None => {
                me_or_late(area);
            }
        }
    }
}

/// Before exit_group: nobody is granted the turn until the process is gone.
pub unsafe fn exit_process(area: &'static GateArea) {
    // SAFETY: plain calls.
    unsafe {
        let pid = sys::call0(GETPID) as u32;
        for slot in slots(area).iter().filter(|s| s.pid.load(Acquire) == pid) {
            match slot.state.load(Acquire) {
                FREE | GONE => {}
                // A child of vfork whose exec failed.
                RESERVED => slot.state.store(GONE, Release),
                _ => slot.state.store(EXITING_PROCESS, Release),
            }
        }
        ring(area);
    }
}

/// Before a thread's exit: the kernel zeroes a word of the slot instead of the C library's, which the next task
/// with the turn zeroes, so that joiners never see a thread end while somebody else runs.
pub unsafe fn exit_thread(area: &'static GateArea) {
    // SAFETY: the thread's own descriptor, read only where its number is found.
    unsafe {
        let Some(slot) = me(area) else { return };
        let pointer: usize;
        core::arch::asm!("mov {}, fs:[0]", out(reg) pointer, options(nostack, pure, readonly));
        let tid_at = pointer + GLIBC_TID_AT;
        if *(tid_at as *const u32) == slot.tid.load(Acquire) {
            slot.tid_addr.store(tid_at as u64, Release);
            sys::call1(SET_TID_ADDRESS, slot.tid_word.as_ptr() as usize);
        } else {
            met(area, BLIND_TID);
        }
        // No signal handler may run in this thread any more.
        crate::gate_signal::block();
        slot.state.store(EXITING_THREAD, Release);
        ring(area);
    }
}
