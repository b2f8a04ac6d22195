//! The shared area, mapped into the harness. The gate's only module with `unsafe`.

use super::abi::GateArea;
use super::error::GateError;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// A mapping of a [`GateArea`].
#[derive(Debug)]
pub struct Area {
    base: NonNull<GateArea>,
}

// SAFETY: every field of the area is atomic, and the mapping lives as long as the value.
unsafe impl Send for Area {}
// SAFETY: as above.
unsafe impl Sync for Area {}

impl Area {
    /// Bytes of the area, a multiple of the page size.
    pub const SIZE: usize = std::mem::size_of::<GateArea>();

    /// Maps the area that begins at `offset` of `file`, which must be at least `offset + SIZE` long.
    pub fn map(file: BorrowedFd<'_>, offset: u64) -> Result<Self, GateError> {
        let len = std::num::NonZeroUsize::MIN.saturating_add(Self::SIZE - 1);
        let prot = nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE;
        let flags = nix::sys::mman::MapFlags::MAP_SHARED;
        let offset = i64::try_from(offset).map_err(|e| GateError::Map(std::io::Error::other(e)))?;
        // SAFETY: a fresh mapping at an address that the kernel chooses touches no memory of ours.
        let base = unsafe { nix::sys::mman::mmap(None, len, prot, flags, file.as_fd(), offset) }
            .map_err(|e| GateError::Map(e.into()))?;
        Ok(Self { base: base.cast() })
    }

    /// The area's words.
    pub fn words(&self) -> &GateArea {
        // SAFETY: the mapping is page-aligned, SIZE long, all atomics, valid for any bytes, and unmapped only in
        // `drop`.
        unsafe { self.base.as_ref() }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the very mapping that `map` made; nobody can hold a reference into it any more.
        // A failure would leak address space only.
        let _ = unsafe { nix::sys::mman::munmap(self.base.cast(), Self::SIZE) };
    }
}

/// Waits until `word` no longer holds `seen`, it is woken, or the time is over.
pub(super) fn futex_wait(word: &AtomicU32, seen: u32, limit: Duration) {
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    let (no_addr, no_val) = (std::ptr::null::<u32>(), 0u32);
    // SAFETY: the word and the time outlive the call; FUTEX_WAIT only reads them. Any error (EAGAIN, EINTR,
    // ETIMEDOUT) means "look again", which every caller does.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            seen,
            &raw const limit,
            no_addr,
            no_val,
        );
    }
}

/// Wakes everybody who waits on `word`.
pub(super) fn futex_wake(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE uses the address as a key only.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX);
    }
}

/// Processor time that a process has used, or `None` when it is gone.
pub(super) fn cpu_time(pid: u32) -> Option<Duration> {
    // The encoding of clock_getcpuclockid(3): all bits of the pid inverted, above three bits that say "process,
    // scheduler's count".
    let clock = (!(pid.cast_signed()) << 3) | 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the structure that we own.
    let got = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (got == 0).then(|| Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
}

/// A descriptor that becomes readable when the process has ended.
pub(super) fn pidfd(pid: u32) -> std::io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: no pointers; the descriptor that comes back is new and nobody else's.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let fd = i32::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(std::os::fd::OwnedFd::from_raw_fd(fd))
    }
}

/// Whether the process behind a [`pidfd`] has ended, waiting for it up to `limit`.
pub(super) fn ended(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let limit = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one entry that we own.
    let ready = unsafe { libc::poll(&raw mut poll, 1, limit) } > 0;
    if ready {
        // The kernel tells pidfds a moment before it sends SIGCHLD, both under its task list's lock. Taking that
        // lock for reading makes sure that the signal is out before anybody is granted the turn.
        // SAFETY: no pointers.
        unsafe { libc::getpriority(libc::PRIO_PGRP, 0) };
    }
    ready
}

/// Whether a thread still exists.
pub(super) fn thread_alive(pid: u32, tid: u32) -> bool {
    // SAFETY: no pointers; signal 0 only asks.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) == 0 }
}
