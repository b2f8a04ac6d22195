//! The library that `unplug` preloads into a server that it starts again and again: a fork server.
//!
//! Starting redis-server costs about 10 ms, nearly all of it exec, relocation and libraries' constructors. Here
//! it is started once and stops at its first `pthread_create`: configured, listening, with one thread, its data
//! not yet loaded. For each directory that is asked for it forks; the child moves into the directory, gets
//! listening sockets and epoll instances of its own, and goes on as if it had just been started there.
//!
//! Whether a server has really touched nothing by then is not decided here: the other side looks at the
//! template, and compares with plain starts (`harness/src/target/template.rs`, `resp_starts.rs`).
//!
//! On the control socket (its number stands in the environment variable [`ENV`]; integers are native):
//! - to the harness, once: [`READY`], or [`UNFIT`] where something is open that a child cannot have anew;
//! - to the template: three numbers of 16 bits: the lengths of a directory and of a log file's path, which follow,
//!   and how many spans of memory follow them ([`warm::Span`]);
//! - to the harness: [`RUNNING`] or [`FAILED`], the child's number (0 where there is no child), and an errno.
//!
//! The child is the harness's own ([`clone`]): how it ends is none of the template's business.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]
#![allow(clippy::missing_safety_doc)]

mod child;
mod clone;
mod exit;
mod libc;
mod registry;
mod warm;

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

const ENV: &CStr = c"UNPLUG_FORK_FD";
const READY: u8 = b'R';
const UNFIT: u8 = b'X';
const RUNNING: u8 = b'K';
const FAILED: u8 = b'E';
/// Room for a request's paths; PATH_MAX is 4,096 bytes, the last of them zero.
const PATH: usize = 4096;

// The precompiled core names it, though nothing unwinds here.
core::arch::global_asm!(
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    "rust_eh_personality:",
    "ud2",
);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: an illegal instruction ends the process, visibly; there is nothing to unwind into.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}

/// A symbol of which another library has the next definition, behind this library's.
struct Next {
    name: &'static CStr,
    /// Found once: each search costs the loader's walk through all libraries, and a child begins with several.
    found: AtomicPtr<c_void>,
}

impl Next {
    const fn new(name: &'static CStr) -> Next {
        Next { name, found: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// The next definition.
    ///
    /// # Safety
    /// `F` is the function pointer type of the symbol.
    unsafe fn get<F: Copy>(&self) -> F {
        let mut symbol = self.found.load(Ordering::Relaxed);
        // SAFETY: a null-terminated name; the caller vouches for the type. A missing symbol would be a null function
        // pointer: the jump to it ends the process, as there is nothing else to do.
        unsafe {
            if symbol.is_null() {
                symbol = libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr());
                self.found.store(symbol, Ordering::Relaxed);
            }
            core::mem::transmute_copy::<*mut c_void, F>(&symbol)
        }
    }
}

type Create = unsafe extern "C" fn(*mut c_void, *const c_void, *const c_void, *mut c_void) -> c_int;
type Ctl = unsafe extern "C" fn(c_int, c_int, c_int, *mut libc::EpollEvent) -> c_int;

/// pthread_create(3), before whose first call the template waits.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    start: *const c_void,
    argument: *mut c_void,
) -> c_int {
    static NEXT: Next = Next::new(c"pthread_create");
    static SERVED: AtomicBool = AtomicBool::new(false);
    // SAFETY: the target's own call, passed on; the symbol is looked for in the template, not in each child. Where it is
    // waited, the process has one thread, which is here.
    unsafe {
        let next = NEXT.get::<Create>();
        if !SERVED.swap(true, Ordering::Relaxed) {
            serve_if_asked();
        }
        next(thread, attributes, start, argument)
    }
}

/// epoll_ctl(2): a child needs its registrations again, in an epoll instance of its own.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: *mut libc::EpollEvent) -> c_int {
    static NEXT: Next = Next::new(c"epoll_ctl");
    // SAFETY: the target's own call, passed on; the kernel has accepted `event` before it is read.
    unsafe {
        let result = NEXT.get::<Ctl>()(epoll, op, fd, event);
        if result == 0 {
            registry::note(epoll, op, fd, event);
        }
        result
    }
}

/// The control socket, if this process is a template.
fn control() -> Option<c_int> {
    // SAFETY: getenv, which nothing changes at the same time: there is one thread, or a child does not ask. The value
    // is null-terminated.
    unsafe {
        let value = libc::getenv(ENV.as_ptr());
        if value.is_null() { None } else { number(CStr::from_ptr(value)) }
    }
}

/// Waits for directories, if this process is a template. Returns in the children only.
unsafe fn serve_if_asked() {
    let Some(control) = control() else { return };
    let (fit, thread) = (registry::fit(), clone::Thread::this());
    // SAFETY: system calls on buffers of this function.
    unsafe {
        send(control, &[if fit && thread.is_some() { READY } else { UNFIT }]);
        let Some(thread) = thread else { libc::_exit(1) };
        loop {
            let (mut dir, mut log) = ([0u8; PATH], [0u8; PATH]);
            let mut header = [0u8; 6];
            receive(control, &mut header);
            let [dir_len, log_len, spans] =
                [0, 2, 4].map(|at| usize::from(u16::from_ne_bytes([header[at], header[at + 1]])));
            if dir_len >= PATH || log_len >= PATH || spans > warm::ROOM {
                libc::_exit(1);
            }
            receive(control, &mut dir[..dir_len]);
            receive(control, &mut log[..log_len]);
            warm::receive_more(control, spans);
            let pid = thread.fork();
            let end = match pid {
                0 => child::move_into(dir.as_ptr().cast::<c_char>(), log.as_ptr().cast::<c_char>()),
                pid if pid < 0 => Err(*libc::__errno_location()),
                _ => continue,
            };
            let mut answer = [RUNNING, 0, 0, 0, 0, 0, 0, 0, 0];
            if let Err(errno) = end {
                answer[0] = FAILED;
                answer[5..].copy_from_slice(&errno.to_ne_bytes());
            }
            let own = if pid == 0 { libc::getpid() } else { 0 };
            answer[1..5].copy_from_slice(&own.to_ne_bytes());
            send(control, &answer);
            match (pid, end) {
                (0, Ok(())) => {
                    libc::close(control);
                    exit::in_child();
                    warm::up();
                    return;
                }
                (0, Err(_)) => libc::_exit(1),
                _ => {}
            }
        }
    }
}

/// Sends all bytes, or ends the template: without its harness it has nothing to do.
unsafe fn send(fd: c_int, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: a write from a slice.
        let n = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        bytes = step(n).map_or(bytes, |n| &bytes[n..]);
    }
}

/// Receives until the slice is full, or ends the template.
unsafe fn receive(fd: c_int, into: &mut [u8]) {
    let mut got = 0;
    while got < into.len() {
        let rest = &mut into[got..];
        // SAFETY: a read into a slice.
        let n = unsafe { libc::read(fd, rest.as_mut_ptr().cast(), rest.len()) };
        got += step(n).unwrap_or(0);
    }
}

/// How far a transfer came; `None` when it was interrupted. Anything else is the end.
fn step(result: isize) -> Option<usize> {
    match usize::try_from(result) {
        Ok(0) => {}
        Ok(n) => return Some(n),
        // SAFETY: errno of this thread.
        Err(_) if unsafe { *libc::__errno_location() } == libc::EINTR => return None,
        Err(_) => {}
    }
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

/// A decimal number.
fn number(text: &CStr) -> Option<c_int> {
    let digits = text.to_bytes();
    let value = |n: c_int, d: &u8| d.is_ascii_digit().then(|| n * 10 + c_int::from(d - b'0'));
    if digits.is_empty() || digits.len() > 6 { None } else { digits.iter().try_fold(0, value) }
}
