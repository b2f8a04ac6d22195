//! What the template has registered with epoll: an epoll instance is shared over fork, so that a child's
//! registrations would change its siblings'.

use crate::libc::{self, EpollEvent, SocketAddress};
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_uint};

/// One registration.
#[derive(Clone, Copy)]
pub struct Entry {
    pub epoll: c_int,
    pub fd: c_int,
    pub event: EpollEvent,
}

/// A server at the point of its first thread has a handful: its listeners, and a pipe.
const ROOM: usize = 64;

struct Registry {
    entries: [Entry; ROOM],
    len: usize,
    overflown: bool,
}

struct Cell(UnsafeCell<Registry>);

// SAFETY: read and written only while the process has one thread: before its first `pthread_create`, and in a
// child before it goes on. Later calls of epoll_ctl find it frozen.
unsafe impl Sync for Cell {}

const NONE: Entry = Entry { epoll: -1, fd: -1, event: EpollEvent { events: 0, data: 0 } };
static REGISTRY: Cell =
    Cell(UnsafeCell::new(Registry { entries: [NONE; ROOM], len: 0, overflown: false }));
static FROZEN: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// Notes a call of epoll_ctl that has succeeded.
///
/// # Safety
/// `event` is what the kernel has accepted for `op`.
pub unsafe fn note(epoll: c_int, op: c_int, fd: c_int, event: *const EpollEvent) {
    if FROZEN.load(core::sync::atomic::Ordering::Relaxed) {
        return;
    }
    // SAFETY: one thread (see `Cell`); `event` may be null for a deletion only, which does not read it.
    unsafe {
        let registry = &mut *REGISTRY.0.get();
        let len = registry.len;
        let known = registry.entries[..len].iter().position(|e| e.epoll == epoll && e.fd == fd);
        match (known, op) {
            (Some(at), libc::EPOLL_CTL_DEL) => {
                registry.entries[at] = registry.entries[len - 1];
                registry.len -= 1;
            }
            (Some(at), _) => registry.entries[at].event = *event,
            (None, libc::EPOLL_CTL_ADD) if len < ROOM => {
                registry.entries[len] = Entry { epoll, fd, event: *event };
                registry.len += 1;
            }
            (None, libc::EPOLL_CTL_ADD) => registry.overflown = true,
            (None, _) => {}
        }
    }
}

/// Ends the noting, and tells whether a child can have all of it anew.
pub fn fit() -> bool {
    FROZEN.store(true, core::sync::atomic::Ordering::Relaxed);
    // SAFETY: one thread (see `Cell`).
    let overflown = unsafe { (*REGISTRY.0.get()).overflown };
    // A listener of another family would be shared by all children.
    !overflown && entries().iter().all(|e| !listens(e.fd) || address(e.fd).is_some())
}

/// What is registered.
pub fn entries() -> &'static [Entry] {
    // SAFETY: one thread, and nothing changes it any more (see `Cell`).
    unsafe {
        let registry = &*REGISTRY.0.get();
        &registry.entries[..registry.len]
    }
}

/// Whether connections arrive at this descriptor.
pub fn listens(fd: c_int) -> bool {
    let (mut value, mut len) = (0 as c_int, size_of::<c_int>() as c_uint);
    // SAFETY: a system call on two locals.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, &mut value, &mut len) };
    result == 0 && value != 0
}

/// The address of a unix socket, with its length.
pub fn address(fd: c_int) -> Option<(SocketAddress, c_uint)> {
    let mut address = SocketAddress { family: 0, path: [0; 108] };
    let mut len = size_of::<SocketAddress>() as c_uint;
    // SAFETY: a system call on two locals.
    let result = unsafe { libc::getsockname(fd, &mut address, &mut len) };
    (result == 0 && address.family == libc::AF_UNIX).then_some((address, len))
}
