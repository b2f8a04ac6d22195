//! The SIGSYS handler: a trapped call comes here, is handled, and its result put where the kernel's would be.

use crate::abi::VIA_TRAP;
use crate::site::Caller;
use crate::{dispatch, mask, num, ring, sys};

/// The signal's number.
pub const SIGSYS: usize = 31;
/// The handler is to run on the thread's alternate stack.
pub const SA_ONSTACK: u64 = 0x0800_0000;
/// What the probe answers where a filter and its handler are in place.
pub const PROBE_ANSWER: isize = 0x600d;
/// A number that no kernel knows, and the argument that makes it a probe.
const PROBE: (usize, usize) = (0x1ff, 0x5ca1_ab1e);

/// `uc_mcontext.gregs` begins here in the kernel's ucontext.
const GREGS_AT: usize = 40;
const R8: usize = 0;
const R9: usize = 1;
const R10: usize = 2;
const RDI: usize = 8;
const RSI: usize = 9;
const RBP: usize = 10;
const RDX: usize = 12;
const RAX: usize = 13;
const RSP: usize = 15;
const RIP: usize = 16;
/// `uc_sigmask` begins here.
pub const SIGMASK_AT: usize = 296;

#[repr(C)]
struct Info {
    signo: i32,
    errno: i32,
    code: i32,
    _pad: i32,
    call_addr: usize,
    nr: i32,
    arch: u32,
}

/// struct sigaction as the kernel has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Action {
    /// The handler.
    pub handler: usize,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: usize,
    /// Signals blocked while it runs.
    pub mask: u64,
}

/// Installs the handler and unblocks the signal.
///
/// It runs on the stack of the call that it stands for, not on the alternate one that threads may have for their
/// signals: a call that blocks keeps its frame there, with the handlers of other signals on top of it, and Rust's
/// threads have 8 KiB, of which the processor's state alone takes up to 3.5.
pub unsafe fn install() -> bool {
    let unblock = mask::SIGSYS_BIT;
    // SAFETY: our own memory.
    unsafe { set_action(0) && sys::call4(num::RT_SIGPROCMASK, 1, &raw const unblock as usize, 0, 8) == 0 }
}

/// From now on the handler runs on the alternate stack, where a thread has one.
pub unsafe fn use_alternate_stack() {
    // SAFETY: as `install`; what was installed there stays, should it fail.
    unsafe { set_action(SA_ONSTACK) };
}

unsafe fn set_action(more: u64) -> bool {
    // SA_SIGINFO | SA_RESTORER | SA_RESTART | SA_NODEFER
    const FLAGS: u64 = 0x4 | 0x0400_0000 | 0x1000_0000 | 0x4000_0000;
    let handler = on_sigsys as *const () as usize;
    let action = Action { handler, flags: FLAGS | more, restorer: sys::restorer(), mask: 0 };
    // SAFETY: the handler lives as long as the process.
    unsafe { sys::call4(num::RT_SIGACTION, SIGSYS, &raw const action as usize, 0, 8) == 0 }
}

/// Whether a filter that traps was inherited (over exec).
pub unsafe fn is_filtered() -> bool {
    // SAFETY: no kernel knows this call.
    unsafe { sys::call_outside(PROBE.0, PROBE.1) == PROBE_ANSWER }
}

unsafe extern "C" fn on_sigsys(_signal: i32, info: *const Info, context: *mut u8) {
    const SYS_SECCOMP: i32 = 1;
    const ARCH_X86_64: u32 = 0xC000_003E;
    const ENOSYS: isize = 38;
    // SAFETY: the kernel's own structures.
    unsafe {
        if (*info).code != SYS_SECCOMP {
            return;
        }
        let regs = context.add(GREGS_AT) as *mut usize;
        let reg = |n: usize| *regs.add(n);
        let caller = Caller { ip: reg(RIP), sp: reg(RSP), fp: reg(RBP) };
        let args = [reg(RDI), reg(RSI), reg(RDX), reg(R10), reg(R8), reg(R9)];
        let nr = (*info).nr as u32 as usize;
        let ret = if (*info).arch != ARCH_X86_64 || nr & 0x4000_0000 != 0 {
            if let Some(header) = ring::header() {
                let what = b"foreign-architecture call";
                ring::blind(
                    header,
                    nr,
                    VIA_TRAP,
                    &caller,
                    what,
                    b"a 32-bit or x32 system call, answered ENOSYS",
                );
            }
            -ENOSYS
        } else if (nr, args[0]) == PROBE {
            PROBE_ANSWER
        } else if nr == num::RT_SIGPROCMASK {
            mask::sigprocmask(context.add(SIGMASK_AT) as *mut u64, &args)
        } else if nr == num::RT_SIGACTION {
            mask::sigaction(&args)
        } else if nr == num::RT_SIGSUSPEND {
            mask::sigsuspend(&args)
        } else {
            dispatch::handle(nr, &args, VIA_TRAP, &caller)
        };
        *regs.add(RAX) = ret as usize;
    }
}
