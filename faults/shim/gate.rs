//! The gate inside the target: which calls it takes, and what a recorded call does before it is made.
//!
//! In a gated run a task holds the turn from its grant to its next *yield point*: before each recorded call, and
//! wherever it would block. Nothing ever blocks in the kernel while it holds the turn: locks are emulated
//! ([`crate::gate_futex`]), descriptors and children are asked first ([`crate::gate_io`]), time is virtual.

use crate::abi::Header;
use crate::abi_gate::{BLIND_BLOCKING, BLIND_WAITV, GateArea, PATH, READY, Slot};
use crate::gate_turn::{area, me_or_late, met, yield_turn};
use crate::num::*;
use crate::site::Caller;
use crate::{gate_futex, gate_io, gate_signal, gate_sleep, gate_task, sys, time};
use core::sync::atomic::Ordering::*;

/// Calls that the filter traps in a gated run, besides those that every run traps.
pub const TRAPS: &[usize] = &[
    FUTEX,
    FUTEX_WAITV,
    FUTEX_WAKE,
    FUTEX_WAIT,
    FUTEX_REQUEUE,
    READ,
    READV,
    RECVFROM,
    RECVMSG,
    RECVMMSG,
    ACCEPT,
    ACCEPT4,
    POLL,
    PPOLL,
    SELECT,
    PSELECT6,
    EPOLL_WAIT,
    EPOLL_PWAIT,
    EPOLL_PWAIT2,
    WAIT4,
    WAITID,
    NANOSLEEP,
    CLOCK_NANOSLEEP,
    PAUSE,
    RT_SIGTIMEDWAIT,
    SCHED_YIELD,
    FLOCK,
    FCNTL,
    KILL,
    TKILL,
    TGKILL,
    RT_SIGQUEUEINFO,
    RT_TGSIGQUEUEINFO,
    PIDFD_SEND_SIGNAL,
    EXIT,
    SEMOP,
    SEMTIMEDOP,
    MSGSND,
    MSGRCV,
    MQ_TIMEDSEND,
    MQ_TIMEDRECEIVE,
    IO_GETEVENTS,
];

/// Called first by the dispatcher, in a gated run only, with every call that came here. `Some` ends the call.
pub unsafe fn intercept(
    header: &'static Header,
    nr: usize,
    args: &[usize; 6],
    _via: u8,
    _caller: &Caller,
) -> Option<isize> {
    let area = area(header);
    // SAFETY: the target's own call, or a harmless question about its arguments.
    unsafe {
        if area.gated.load(Acquire) == 0 {
            // The gate was opened for good. What only the gate traps must still reach the kernel.
            let only_ours = TRAPS.contains(&nr) && !time::TRAPS.contains(&nr);
            return only_ours.then(|| sys::call(nr, args));
        }
        if is_recorded(nr, args) {
            turn(area, nr, args);
        }
        match nr {
            FUTEX => return Some(gate_futex::call(area, args)),
            EXECVE | EXECVEAT => {
                gate_task::before_exec(area);
                return None;
            }
            EXIT_GROUP => {
                gate_task::exit_process(area);
                return None;
            }
            EXIT => {
                gate_task::exit_thread(area);
                return Some(sys::call(nr, args));
            }
            FUTEX_WAITV | FUTEX_WAKE | FUTEX_WAIT | FUTEX_REQUEUE => {
                met(area, BLIND_WAITV);
                return Some(sys::call(nr, args));
            }
            WRITE | WRITEV | SENDTO | SENDMSG | SENDMMSG => {
                let slot = me_or_late(area)?;
                return gate_io::before_write(area, slot, nr, args);
            }
            _ => {}
        }
        if !TRAPS.contains(&nr) {
            return None;
        }
        let Some(slot) = me_or_late(area) else { return Some(sys::call(nr, args)) };
        blocking(area, slot, nr, args)
    }
}

/// The calls that only the gate traps, made by a task that it knows. `None`: the recorder wants it too.
unsafe fn blocking(
    area: &'static GateArea,
    slot: &'static Slot,
    nr: usize,
    args: &[usize; 6],
) -> Option<isize> {
    // SAFETY: as `intercept`.
    let ret = unsafe {
        match nr {
            READ | READV | RECVFROM | RECVMSG | RECVMMSG | ACCEPT | ACCEPT4 => {
                gate_io::read(area, slot, nr, args)
            }
            POLL | PPOLL | SELECT | PSELECT6 | EPOLL_WAIT | EPOLL_PWAIT | EPOLL_PWAIT2 => {
                gate_io::poll(area, slot, nr, args)
            }
            WAIT4 | WAITID => gate_io::wait_child(area, slot, nr, args),
            FLOCK => gate_io::flock(area, slot, args),
            FCNTL => return gate_io::fcntl(area, slot, args),
            NANOSLEEP | CLOCK_NANOSLEEP => gate_sleep::nanosleep(area, slot, nr, args),
            PAUSE => gate_sleep::pause(area, slot),
            RT_SIGTIMEDWAIT => gate_sleep::sigtimedwait(area, slot, args),
            SCHED_YIELD => {
                yield_turn(area, slot, READY, None, &|| false);
                0
            }
            KILL | TKILL | TGKILL | RT_SIGQUEUEINFO | RT_TGSIGQUEUEINFO | PIDFD_SEND_SIGNAL => {
                gate_signal::kill(area, slot, nr, args)
            }
            _ => {
                met(area, BLIND_BLOCKING);
                sys::call(nr, args)
            }
        }
    };
    Some(ret)
}

/// Calls that the recorder records where they touch the recorded tree, or a socket. They wait here, before the
/// recorder looks anything up, so that what it finds is still so when the call is made.
const RECORDED: &[usize] = &[
    WRITE,
    PWRITE64,
    WRITEV,
    PWRITEV,
    PWRITEV2,
    SENDTO,
    SENDMSG,
    SENDMMSG,
    FSYNC,
    FDATASYNC,
    SYNC_FILE_RANGE,
    SYNC,
    SYNCFS,
    MSYNC,
    TRUNCATE,
    FTRUNCATE,
    FALLOCATE,
    CREAT,
    OPEN_BY_HANDLE_AT,
    RENAME,
    RENAMEAT,
    RENAMEAT2,
    LINK,
    LINKAT,
    SYMLINK,
    SYMLINKAT,
    UNLINK,
    UNLINKAT,
    RMDIR,
    MKDIR,
    MKDIRAT,
    MKNOD,
    MKNODAT,
    COPY_FILE_RANGE,
    SENDFILE,
    SPLICE,
];

unsafe fn is_recorded(nr: usize, args: &[usize; 6]) -> bool {
    // O_ACCMODE | O_CREAT | O_TRUNC; O_TMPFILE needs an access mode that writes.
    const WRITING: usize = 3 | 0o100 | 0o1000;
    match nr {
        OPEN => args[1] & WRITING != 0,
        OPENAT => args[2] & WRITING != 0,
        // SAFETY: the target's own struct open_how, whose first word is the flags.
        OPENAT2 => args[2] != 0 && unsafe { *(args[2] as *const usize) } & WRITING != 0,
        _ => RECORDED.contains(&nr),
    }
}

/// The yield point before a recorded call.
unsafe fn turn(area: &'static GateArea, nr: usize, args: &[usize; 6]) {
    // SAFETY: the target's own call, in its own thread.
    unsafe {
        let Some(slot) = me_or_late(area) else { return };
        if area.ruled.load(Acquire) != 0 {
            show_path(slot, nr, args.as_ptr());
        }
        slot.call.store(nr as u32 + 1, Release);
        yield_turn(area, slot, READY, None, &|| false);
        slot.call.store(0, Release);
    }
}

/// rt_sigsuspend, with a mask that leaves SIGSYS open. `None`: not a gated run.
pub unsafe fn sigsuspend(mask: u64) -> Option<isize> {
    let area = gate_task::gated()?;
    // SAFETY: the target's own call.
    unsafe { me_or_late(area).map(|slot| gate_sleep::sigsuspend(area, slot, mask)) }
}

/// Called at the end of the constructor of each program (also after exec), in a gated run only.
pub unsafe fn started(header: &'static Header) {
    // SAFETY: once, before the program's own code.
    unsafe { gate_task::started(area(header)) };
}

/// Puts the path of a call into the slot, for the rules: as given, or as the kernel knows the descriptor.
unsafe fn show_path(slot: &Slot, nr: usize, args: *const usize) {
    // SAFETY: the call's own arguments; a path that cannot be read would fail in the kernel as well, so only
    // numbers that take a path as this argument are read through.
    unsafe {
        let arg = |n: usize| *args.add(n);
        let given = match nr {
            OPEN | CREAT | TRUNCATE | RENAME | LINK | SYMLINK | UNLINK | RMDIR | MKDIR => arg(0),
            OPENAT | OPENAT2 | RENAMEAT | RENAMEAT2 | LINKAT | UNLINKAT | MKDIRAT => arg(1),
            SYMLINKAT => arg(2),
            COPY_FILE_RANGE => return show_descriptor(slot, arg(2)),
            _ => return show_descriptor(slot, arg(0)),
        };
        let mut len = 0;
        while given != 0 && len < PATH {
            let byte = *(given as *const u8).add(len);
            if byte == 0 {
                break;
            }
            slot.path[len].store(byte, Relaxed);
            len += 1;
        }
        slot.path_len.store(len as u32, Release);
    }
}

/// As [`show_path`] for a descriptor.
unsafe fn show_descriptor(slot: &Slot, fd: usize) {
    let mut name = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
    let (mut digits, mut left, mut at) = (1, fd as u32 / 10, 14);
    while left > 0 {
        digits += 1;
        left /= 10;
    }
    let mut rest = fd as u32;
    at += digits;
    while digits > 0 {
        digits -= 1;
        name[14 + digits] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name[at.min(name.len() - 1)] = 0;
    // SAFETY: the kernel writes at most PATH bytes into the slot's path, which only this task uses now.
    let len = unsafe { sys::call3(READLINK, name.as_ptr() as usize, slot.path.as_ptr() as usize, PATH) };
    slot.path_len.store(len.max(0) as u32, Release);
}
