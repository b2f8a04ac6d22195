//! Calls that may block on the kernel, in a gated run: asked first, made when they cannot block.

use crate::abi_gate::*;
use crate::gate_turn::{Ended, block_on, yield_turn};
use crate::limits::{self, Form, Sets};
use crate::num::*;
use crate::sys;
use core::sync::atomic::Ordering::*;

const EINTR: isize = 4;
const EAGAIN: isize = 11;
const EACCES: isize = 13;
const POLLIN: i16 = 1;
const POLLOUT: i16 = 4;
const F_GETFL: usize = 3;
const F_SETFL: usize = 4;
const O_NONBLOCK: usize = 0o4000;
/// What a pipe takes whole as soon as it is writable at all.
const PIPE_BUF: usize = 4096;

/// Whether a descriptor is ready (or in error) now.
unsafe fn is_ready(fd: usize, events: i16) -> bool {
    let mut entry = (fd as i32, events, 0i16);
    // SAFETY: the tuple has the layout of struct pollfd, which is checked below.
    unsafe { sys::call3(POLL, &raw mut entry as usize, 1, 0) != 0 }
}
const _: () = assert!(core::mem::offset_of!((i32, i16, i16), 0) == 0);
const _: () = assert!(core::mem::size_of::<(i32, i16, i16)>() == 8);

unsafe fn is_nonblocking(fd: usize) -> bool {
    // SAFETY: a question.
    unsafe { sys::call2(FCNTL, fd, F_GETFL) & O_NONBLOCK as isize != 0 }
}

/// Blocks until the descriptor is ready; an error number if a signal ended that.
unsafe fn until_ready(area: &'static GateArea, slot: &Slot, fd: usize, events: i16) -> Result<(), isize> {
    loop {
        // SAFETY: questions to the kernel.
        match unsafe { block_on(area, slot, KIND_IO, NEVER, None, &|| is_ready(fd, events)) } {
            Ended::Can | Ended::Released => return Ok(()),
            Ended::Signal(false) => return Err(-EINTR),
            Ended::Signal(true) | Ended::Expired => {}
        }
    }
}

/// read, recv and accept in all their forms.
pub unsafe fn read(area: &'static GateArea, slot: &Slot, nr: usize, args: &[usize; 6]) -> isize {
    const MSG_DONTWAIT: usize = 0x40;
    let flags = match nr {
        RECVFROM | RECVMMSG => args[3],
        RECVMSG => args[2],
        _ => 0,
    };
    // SAFETY: the target's own call.
    unsafe {
        if !is_ready(args[0], POLLIN) && flags & MSG_DONTWAIT == 0 && !is_nonblocking(args[0]) {
            if let Err(error) = until_ready(area, slot, args[0], POLLIN) {
                return error;
            }
        }
        sys::call(nr, args)
    }
}

/// Writes and sends: waits for room. Large writes to pipes are made here, piece by piece; all others go on to
/// the recorder (`None`), which finds them ready.
pub unsafe fn before_write(
    area: &'static GateArea,
    slot: &Slot,
    nr: usize,
    args: &[usize; 6],
) -> Option<isize> {
    let fd = args[0];
    // SAFETY: the target's own call.
    unsafe {
        let ready = is_ready(fd, POLLOUT);
        let large = nr == WRITE && args[2] > PIPE_BUF;
        if (ready && !large) || is_nonblocking(fd) {
            return None;
        }
        if !ready && let Err(error) = until_ready(area, slot, fd, POLLOUT) {
            return Some(error);
        }
        if large && is_pipe(fd) { Some(write_pipe(area, slot, args)) } else { None }
    }
}

unsafe fn is_pipe(fd: usize) -> bool {
    // struct stat: st_mode stands at byte 24.
    let mut stat = [0u64; 18];
    // SAFETY: the kernel fills 144 bytes.
    unsafe { sys::call2(FSTAT, fd, stat.as_mut_ptr() as usize) == 0 && stat[3] & 0xf000 == 0x1000 }
}

/// A write that may be larger than what the pipe has room for. The descriptor is made non-blocking for each
/// piece: nobody else runs meanwhile.
unsafe fn write_pipe(area: &'static GateArea, slot: &Slot, args: &[usize; 6]) -> isize {
    let (fd, len) = (args[0], args[2]);
    let mut done = 0;
    // SAFETY: the target's own buffer.
    unsafe {
        let flags = sys::call2(FCNTL, fd, F_GETFL) as usize;
        while done < len {
            sys::call3(FCNTL, fd, F_SETFL, flags | O_NONBLOCK);
            let ret = sys::call3(WRITE, fd, args[1] + done, len - done);
            sys::call3(FCNTL, fd, F_SETFL, flags);
            if ret > 0 {
                done += ret as usize;
                continue;
            }
            let failed = if ret == -EAGAIN { until_ready(area, slot, fd, POLLOUT).err() } else { Some(ret) };
            if let Some(error) = failed {
                return if done > 0 { done as isize } else { error };
            }
        }
    }
    done as isize
}

/// The signal mask that a call of the poll family has for its time.
unsafe fn own_mask(nr: usize, args: &[usize; 6]) -> Option<u64> {
    // SAFETY: the target's own pointers.
    unsafe {
        let at = match nr {
            EPOLL_PWAIT | EPOLL_PWAIT2 => args[4],
            PPOLL => args[3],
            PSELECT6 if args[5] != 0 => *(args[5] as *const usize),
            _ => 0,
        };
        (at != 0).then(|| *(at as *const u64))
    }
}

/// One try without waiting.
unsafe fn attempt(nr: usize, args: &[usize; 6], sets: &Sets) -> isize {
    let zero = [0usize; 2];
    let at = &raw const zero as usize;
    let mut now = *args;
    let (limit, form) = limits::place(nr);
    now[limit] = if form == Form::Millis { 0 } else { at };
    // SAFETY: the target's own call with a time limit of 0, and its own sets as they were at the call.
    unsafe {
        sets.put_back(nr, args);
        sys::call(nr, &now)
    }
}

/// Whether [`attempt`] would find something, without taking it: an epoll descriptor is itself one to poll.
unsafe fn would_find(nr: usize, args: &[usize; 6], sets: &Sets) -> bool {
    // SAFETY: questions; what they write is written again by the next attempt.
    unsafe {
        match nr {
            EPOLL_WAIT | EPOLL_PWAIT | EPOLL_PWAIT2 => is_ready(args[0], POLLIN),
            POLL | PPOLL => sys::call3(POLL, args[0], args[1], 0) != 0,
            _ => {
                let mut copy = sets.0;
                let at = |n: usize, set: *mut u64| if args[n] == 0 { 0 } else { set as usize };
                let zero = [0usize; 2];
                let (r, w) = (at(1, copy[0].as_mut_ptr()), at(2, copy[1].as_mut_ptr()));
                let e = at(3, copy[2].as_mut_ptr());
                sys::call5(SELECT, args[0], r, w, e, &raw const zero as usize) != 0
            }
        }
    }
}

/// poll, select and epoll_wait in all their forms.
pub unsafe fn poll(area: &'static GateArea, slot: &Slot, nr: usize, args: &[usize; 6]) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        let sets = Sets::of(nr, args);
        let (deadline, mask) = (limits::deadline(area, nr, args).unwrap_or(NEVER), own_mask(nr, args));
        let mut ret = attempt(nr, args, &sets);
        if ret == 0 && deadline <= area.nanos.load(Acquire) {
            // A loop of polls without waiting must let others run.
            yield_turn(area, slot, READY, None, &|| false);
            return attempt(nr, args, &sets);
        }
        while ret == 0 {
            let can = || would_find(nr, args, &sets);
            match block_on(area, slot, KIND_IO, deadline, mask, &can) {
                Ended::Expired => return attempt(nr, args, &sets),
                Ended::Released => {
                    sets.put_back(nr, args);
                    return sys::call(nr, args);
                }
                // With a mask of its own the call handles the signal itself, at the next attempt.
                Ended::Signal(_) if mask.is_none() => return -EINTR,
                Ended::Signal(_) | Ended::Can => ret = attempt(nr, args, &sets),
            }
        }
        ret
    }
}

/// wait4 and waitid.
pub unsafe fn wait_child(area: &'static GateArea, slot: &Slot, nr: usize, args: &[usize; 6]) -> isize {
    const WNOHANG: usize = 1;
    const WEXITED: usize = 4;
    const WNOWAIT: usize = 0x0100_0000;
    const P_ALL: usize = 0;
    const P_PID: usize = 1;
    const P_PGID: usize = 2;
    let at = if nr == WAIT4 { 2 } else { 3 };
    let (kind, id, what) = match (nr, args[0] as i32) {
        (WAIT4, -1) => (P_ALL, 0, WEXITED | args[2]),
        (WAIT4, 0) => (P_PGID, 0, WEXITED | args[2]),
        (WAIT4, pid) if pid < 0 => (P_PGID, pid.unsigned_abs() as usize, WEXITED | args[2]),
        (WAIT4, pid) => (P_PID, pid as usize, WEXITED | args[2]),
        _ => (args[0], args[1], args[3]),
    };
    // siginfo_t begins with si_signo, which stays 0 if there is nothing to report.
    let ask = || {
        let mut info = [0u32; 32];
        // SAFETY: the kernel fills a siginfo_t of ours; the child stays.
        let ret =
            unsafe { sys::call5(WAITID, kind, id, info.as_mut_ptr() as usize, what | WNOHANG | WNOWAIT, 0) };
        ret != 0 || info[0] != 0
    };
    // SAFETY: the target's own call.
    unsafe {
        let mut now = *args;
        now[at] |= WNOHANG;
        loop {
            if args[at] & WNOHANG != 0 || ask() {
                return sys::call(nr, &now);
            }
            match block_on(area, slot, KIND_IO, NEVER, None, &ask) {
                Ended::Signal(false) => return -EINTR,
                Ended::Released => return sys::call(nr, args),
                Ended::Can | Ended::Signal(true) | Ended::Expired => {}
            }
        }
    }
}

/// flock(2). There is no way to ask but to take the lock and give it back; the supervisor lets one task at a time
/// do so.
pub unsafe fn flock(area: &'static GateArea, slot: &Slot, args: &[usize; 6]) -> isize {
    const LOCK_NB: usize = 4;
    const LOCK_UN: usize = 8;
    // SAFETY: the target's own call.
    unsafe {
        let attempt = || sys::call2(FLOCK, args[0], args[1] | LOCK_NB);
        loop {
            let ret = attempt();
            if ret != -EAGAIN || args[1] & LOCK_NB != 0 {
                return ret;
            }
            let probe = || {
                let free = attempt() != -EAGAIN;
                if free {
                    sys::call2(FLOCK, args[0], LOCK_UN);
                }
                free
            };
            match block_on(area, slot, KIND_LOCK, NEVER, None, &probe) {
                Ended::Signal(false) => return -EINTR,
                Ended::Released => return sys::call(FLOCK, args),
                Ended::Can | Ended::Signal(true) | Ended::Expired => {}
            }
        }
    }
}

/// fcntl(2): only the waiting locks are the gate's.
pub unsafe fn fcntl(area: &'static GateArea, slot: &Slot, args: &[usize; 6]) -> Option<isize> {
    const F_GETLK: usize = 5;
    const F_SETLK: usize = 6;
    const F_SETLKW: usize = 7;
    const F_OFD_GETLK: usize = 36;
    const F_OFD_SETLK: usize = 37;
    const F_OFD_SETLKW: usize = 38;
    const F_UNLCK: u16 = 2;
    let (get, set) = match args[1] as u32 as usize {
        F_SETLKW => (F_GETLK, F_SETLK),
        F_OFD_SETLKW => (F_OFD_GETLK, F_OFD_SETLK),
        F_SETFL => return None,
        // SAFETY: the target's own call; it cannot block.
        _ => return Some(unsafe { sys::call(FCNTL, args) }),
    };
    // SAFETY: the target's own call and its own struct flock, of which a copy is asked with.
    unsafe {
        loop {
            let ret = sys::call3(FCNTL, args[0], set, args[2]);
            if ret != -EAGAIN && ret != -EACCES {
                return Some(ret);
            }
            let free = || {
                let mut lock = *(args[2] as *const [u64; 4]);
                let ret = sys::call3(FCNTL, args[0], get, lock.as_mut_ptr() as usize);
                // l_type is the first half-word.
                ret != 0 || lock[0] as u16 == F_UNLCK
            };
            match block_on(area, slot, KIND_IO, NEVER, None, &free) {
                Ended::Signal(false) => return Some(-EINTR),
                Ended::Released => return Some(sys::call(FCNTL, args)),
                Ended::Can | Ended::Signal(true) | Ended::Expired => {}
            }
        }
    }
}
