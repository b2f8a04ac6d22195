//! The library that `unplug` preloads into a target: it records every call that changes a file.
//!
//! Exported symbols give speed; a seccomp filter with a SIGSYS handler gives completeness: what does not come
//! through a symbol is trapped. Both end in [`dispatch::handle`]. The library allocates nothing, takes no
//! lock, and calls nothing of libc but `dlsym`, `clock_gettime` and `errno`.
//!
//! It is not a crate of the workspace: the build script of `unplug-faults` compiles it with the same compiler
//! and embeds it, because linking its symbols into a test binary would hijack the test.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]
#![allow(clippy::missing_safety_doc)]

mod abi;
mod abi_fault;
mod abi_gate;
mod abi_reads;
mod copy;
mod descriptors;
mod dispatch;
mod fault;
mod fault_bytes;
mod fault_path;
mod files;
mod filter;
mod gate;
mod gate_futex;
mod gate_io;
mod gate_signal;
mod gate_sleep;
mod gate_task;
mod gate_turn;
mod harmless;
mod identify;
mod init;
mod limits;
mod maps;
mod mask;
mod names;
mod num;
mod open;
mod process;
mod reads;
mod refuse;
mod ring;
mod scratch;
mod sigsys;
mod site;
mod sockets;
mod symbols;
mod sys;
mod time;
mod time_symbols;
mod time_wait;
mod told;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: an illegal instruction ends the process, visibly; there is nothing to unwind into.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}

#[link(name = "c")]
unsafe extern "C" {}
