//! System calls that the filter lets pass: one `syscall` instruction at a fixed address.

use crate::abi;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

core::arch::global_asm!(
    ".text",
    ".p2align 4",
    ".globl unplug_gadget",
    ".hidden unplug_gadget",
    "unplug_gadget:",
    "syscall",
    "ret",
    ".p2align 4",
    ".globl unplug_restorer",
    ".hidden unplug_restorer",
    "unplug_restorer:",
    "mov eax, 15",
    "syscall",
    "ud2",
    ".globl unplug_gadget_end",
    ".hidden unplug_gadget_end",
    "unplug_gadget_end:",
);

// The precompiled core names it, though nothing unwinds here.
core::arch::global_asm!(
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    "rust_eh_personality:",
    "ud2",
);

unsafe extern "C" {
    static unplug_gadget: u8;
    static unplug_restorer: u8;
    static unplug_gadget_end: u8;
}

/// The gadget's address, or 0 before it is mapped.
static GADGET: AtomicUsize = AtomicUsize::new(0);

/// One system call; a negative result is an error number.
#[inline(always)]
pub unsafe fn call(nr: usize, args: &[usize; 6]) -> isize {
    let mut gadget = GADGET.load(Relaxed);
    if gadget == 0 {
        gadget = &raw const unplug_gadget as usize;
    }
    let ret: isize;
    // SAFETY: the gadget is `syscall; ret`; what the call does is the caller's business.
    unsafe {
        core::arch::asm!(
            "call {gadget}",
            gadget = in(reg) gadget,
            inlateout("rax") nr as isize => ret,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    ret
}

macro_rules! define_short {
    ($($name:ident($($arg:ident),*);)*) => { $(
        /// A system call with fewer arguments.
        #[inline(always)]
        pub unsafe fn $name(nr: usize $(, $arg: usize)*) -> isize {
            let given: &[usize] = &[$($arg),*];
            let mut args = [0; 6];
            args[..given.len()].copy_from_slice(given);
            // SAFETY: as `call`.
            unsafe { call(nr, &args) }
        }
    )* };
}
define_short! {
    call0();
    call1(a);
    call2(a, b);
    call3(a, b, c);
    call4(a, b, c, d);
    call5(a, b, c, d, e);
    call6(a, b, c, d, e, f);
}

/// Issues a call from *outside* the gadget, so that an installed filter traps it.
pub unsafe fn call_outside(nr: usize, arg: usize) -> isize {
    let ret: isize;
    // SAFETY: only used to probe, with a number that no kernel knows.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") nr as isize => ret,
            in("rdi") arg,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    ret
}

/// Maps the gadget; false if its place is taken by something else.
pub unsafe fn map_gadget() -> bool {
    const PROT_RW: usize = 3;
    const PROT_RX: usize = 5;
    // MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    const FLAGS: usize = 0x02 | 0x20 | 0x10_0000;
    // SAFETY: a fresh page at a fixed address; NOREPLACE never unmaps anything.
    unsafe {
        let page = call6(crate::num::MMAP, abi::GADGET, 4096, PROT_RW, FLAGS, usize::MAX, 0);
        if page as usize != abi::GADGET {
            return false;
        }
        let from = &raw const unplug_gadget;
        let len = &raw const unplug_gadget_end as usize - from as usize;
        core::ptr::copy_nonoverlapping(from, abi::GADGET as *mut u8, len);
        if call3(crate::num::MPROTECT, abi::GADGET, 4096, PROT_RX) != 0 {
            return false;
        }
    }
    GADGET.store(abi::GADGET, Relaxed);
    true
}

/// Address of the code that a signal handler returns to.
pub fn restorer() -> usize {
    let offset = &raw const unplug_restorer as usize - &raw const unplug_gadget as usize;
    abi::GADGET + offset
}

/// Per-thread words. Made by the assembler because `#[thread_local]` is not stable.
#[repr(C)]
pub struct Tls {
    /// The process for which `tid` is valid.
    pub pid: u32,
    /// The thread's number.
    pub tid: u32,
    /// Bounds of the stack that was last looked up.
    pub stack: (usize, usize),
    /// How often a stack was looked up.
    pub lookups: usize,
    /// The gate's own words.
    pub gate: [u64; 8],
    /// The virtual clock's own words.
    pub time: [u64; 4],
}

const _: () = assert!(core::mem::size_of::<Tls>() <= 192);

core::arch::global_asm!(
    ".section .tbss,\"awT\",@nobits",
    ".p2align 4",
    ".globl unplug_tls",
    ".hidden unplug_tls",
    ".type unplug_tls, @object",
    ".size unplug_tls, 192",
    "unplug_tls:",
    ".zero 192",
    ".text",
);

/// This thread's words.
#[inline(always)]
pub fn tls() -> *mut Tls {
    let at: *mut Tls;
    // SAFETY: the initial-exec form is right for a library that is loaded with the program.
    unsafe {
        core::arch::asm!(
            "mov {at}, qword ptr [rip + unplug_tls@GOTTPOFF]",
            "add {at}, qword ptr fs:[0]",
            at = out(reg) at,
            options(nostack, pure, readonly),
        );
    }
    at
}

/// Memory that fork empties: the process's number, and scratch buffers.
static WIPED: AtomicUsize = AtomicUsize::new(0);

/// Where the table of descriptors begins in the memory that fork empties.
pub const TABLE_AT: usize = 4096 + crate::scratch::SLOTS * crate::scratch::SLOT;
/// Bytes of the memory that fork empties.
pub const WIPED_LEN: usize = TABLE_AT + crate::descriptors::BYTES;

/// Maps the memory that fork empties.
pub unsafe fn map_wiped() -> bool {
    const MADV_WIPEONFORK: usize = 18;
    // SAFETY: fresh anonymous memory.
    unsafe {
        let at = call6(crate::num::MMAP, 0, WIPED_LEN, 3, 0x22, usize::MAX, 0);
        if at < 0 || call3(crate::num::MADVISE, at as usize, WIPED_LEN, MADV_WIPEONFORK) != 0 {
            return false;
        }
        WIPED.store(at as usize, Relaxed);
    }
    true
}

/// Start of the memory that fork empties.
pub fn wiped() -> *mut u8 {
    WIPED.load(Relaxed) as *mut u8
}

/// Process and thread, and whether this is the first call in this process.
#[inline(always)]
pub unsafe fn ids() -> (u32, u32, bool) {
    // SAFETY: both places are mapped before the first recorded call.
    unsafe {
        let cell = wiped() as *mut u32;
        let tls = tls();
        let pid = *cell;
        if pid != 0 && (*tls).pid == pid {
            return (pid, (*tls).tid, false);
        }
        let first = pid == 0;
        let pid = call0(crate::num::GETPID) as u32;
        *cell = pid;
        (*tls).tid = call0(crate::num::GETTID) as u32;
        (*tls).pid = pid;
        (pid, (*tls).tid, first)
    }
}

/// The process of the last recorded call: 0 in a forked child that has made none.
pub fn known_pid() -> u32 {
    // SAFETY: mapped before the first recorded call.
    unsafe { *(wiped() as *const u32) }
}

/// libc's own clock_gettime, which needs no system call.
static CLOCK_GETTIME: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    fn dlsym(handle: *mut core::ffi::c_void, name: *const core::ffi::c_char) -> *mut core::ffi::c_void;
    fn __errno_location() -> *mut i32;
}

/// The next definition of a symbol after this library's.
pub unsafe fn next_symbol(name: &core::ffi::CStr) -> usize {
    const RTLD_NEXT: *mut core::ffi::c_void = -1isize as *mut _;
    // SAFETY: plain look-up.
    unsafe { dlsym(RTLD_NEXT, name.as_ptr()) as usize }
}

/// Looks up what the shim takes from libc.
pub unsafe fn find_libc() {
    // SAFETY: plain look-up.
    CLOCK_GETTIME.store(unsafe { next_symbol(c"clock_gettime") }, Relaxed);
}

/// The machine's own clock `id`, in nanoseconds, whatever the virtual clock says.
pub unsafe fn real_clock(id: i32) -> u64 {
    let mut spec = [0u64; 2];
    let f = CLOCK_GETTIME.load(Relaxed);
    // SAFETY: f is libc's function of this type.
    unsafe {
        if f != 0 {
            let f: unsafe extern "C" fn(i32, *mut u64) -> i32 = core::mem::transmute(f);
            f(id, spec.as_mut_ptr());
        } else {
            call2(crate::num::CLOCK_GETTIME, id as usize, spec.as_mut_ptr() as usize);
        }
    }
    spec[0].wrapping_mul(1_000_000_000).wrapping_add(spec[1])
}

/// Turns a raw result into libc's: -1 and errno.
#[inline(always)]
pub unsafe fn libc_result(ret: isize) -> isize {
    if (-4095..0).contains(&ret) {
        // SAFETY: libc's errno of this thread.
        unsafe { *__errno_location() = -ret as i32 };
        return -1;
    }
    ret
}
