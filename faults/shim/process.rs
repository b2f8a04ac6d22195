//! Programs and processes: what appears, what is executed, what ends.

use crate::abi::*;
use crate::dispatch::Context;
use crate::identify::{self, AT_FDCWD};
use crate::ring::{self, Call, Piece};
use crate::scratch::Scratch;
use crate::site::Caller;
use crate::{descriptors, init, num, sys, time};
use core::sync::atomic::Ordering::AcqRel;

const O_CLOEXEC: usize = 0o200_0000;

/// A program begins: its mappings are recorded, so that call sites can be named.
pub unsafe fn started(header: &'static Header) {
    // SAFETY: reads /proc/self/maps into the record itself.
    unsafe {
        sys::ids();
        let fd = sys::call2(num::OPEN, c"/proc/self/maps".as_ptr() as usize, O_CLOEXEC);
        let len = if fd < 0 { 0 } else { 256 << 10 };
        let mut call = Call::new(KIND_PROCESS, 0, VIA_SHIM, &Caller::NONE);
        call.flags = PROCESS_START;
        call.numbers[1] = sys::call0(num::GETPPID) as u64;
        let begin = header.clock.fetch_add(1, AcqRel);
        let mut draft = ring::begin_at(header, begin, &call, &[Piece { at: core::ptr::null(), len }]);
        let mut done = 0;
        if let Some(data) = draft.data() {
            while done < len {
                let n = sys::call3(num::READ, fd as usize, data.add(done) as usize, len - done);
                if n <= 0 {
                    break;
                }
                done += n as usize;
            }
        }
        if fd >= 0 {
            sys::call1(num::CLOSE, fd as usize);
        }
        draft.set(0, [done as u64, call.numbers[1], 0]);
        draft.done(header, 0);
    }
}

/// When a fork is made: a begin clock, and the time.
#[derive(Clone, Copy)]
pub struct Moment {
    begin: u64,
    at: u64,
}

impl Moment {
    /// This one. Drawn by the parent, before it forks: on a busy machine a child runs long after its parent has gone on,
    /// and has acted as one that has a child.
    pub unsafe fn now() -> Option<Moment> {
        let header = ring::header()?;
        // SAFETY: reads a clock.
        let at = unsafe { time::now(header) };
        Some(Moment { begin: header.clock.fetch_add(1, AcqRel), at })
    }
}

/// In a child of fork, before its own code: the fork is dated when it is made, not when the child first makes a call
/// that is recorded.
pub unsafe fn appeared(made: Option<Moment>) {
    let Some(header) = ring::header() else { return };
    // SAFETY: the thread's own words, then a record of its own.
    unsafe {
        if sys::ids().2 {
            forked(header, made);
        }
    }
}

/// Tells of a fork, in the child. One that came from a bare clone tells before its first recorded call.
pub unsafe fn forked(header: &'static Header, made: Option<Moment>) {
    let mut call = Call::new(KIND_PROCESS, 0, VIA_SHIM, &Caller::NONE);
    call.flags = PROCESS_FORKED;
    // SAFETY: asks only.
    unsafe {
        call.numbers[0] = sys::call0(num::GETPPID) as u64;
        let begin = made.map_or_else(|| header.clock.fetch_add(1, AcqRel), |made| made.begin);
        let mut draft = ring::begin_at(header, begin, &call, &[]);
        if let Some(made) = made {
            draft.set_at(made.at);
        }
        draft.done(header, 0);
    }
}

/// exit_group.
pub unsafe fn exit(call: &Context) -> isize {
    // SAFETY: the target's own call. A child of vfork has its parent's memory, but not its number: it is
    // not a process of the record.
    unsafe {
        if sys::call0(num::GETPID) as u32 == sys::known_pid() {
            let mut record = call.record(KIND_PROCESS);
            record.flags = PROCESS_EXIT;
            record.numbers[0] = call.args[0] as u64;
            let begin = ring::draw(call.header);
            ring::begin_at(call.header, begin, &record, &[]).done(call.header, 0);
        }
        descriptors::leave();
        call.pass()
    }
}

/// execve, execveat.
pub unsafe fn exec(call: &Context) -> isize {
    let a = call.args;
    let (dirfd, path, envp_at) = if call.nr == num::EXECVE { (AT_FDCWD, a[0], 2) } else { (a[0], a[1], 3) };
    // SAFETY: the target's own call.
    unsafe {
        match program_kind(dirfd, path, a[4], call.nr == num::EXECVEAT) {
            Kind::Dynamic | Kind::Absent => {}
            Kind::Static => call.blind(
                b"exec of a static program",
                b"it runs without the shim and dies of SIGSYS at its first call that would be recorded",
            ),
        }
        let envp = a[envp_at] as *const usize;
        let passed = init::passed_on();
        let missing = |i: usize, name: &[u8]| {
            passed[i] != 0 && (envp.is_null() || !carries(envp, name, identify::text(passed[i])))
        };
        let (no_preload, no_ring) = (missing(0, b"LD_PRELOAD"), missing(1, ENV_RING));
        if !no_preload && !no_ring {
            let foreign = descriptors::leave();
            let ret = call.pass();
            descriptors::rejoin(foreign);
            return ret;
        }
        // Not one of the buffers: a child of vfork has its parent's memory, and would never give it back.
        let bytes = (count(envp) + 3) * size_of::<usize>();
        const RW: usize = 3;
        const PRIVATE_ANONYMOUS: usize = 0x22;
        let at = sys::call(num::MMAP, &[0, bytes, RW, PRIVATE_ANONYMOUS, usize::MAX, 0]);
        if (-4095..0).contains(&at) {
            return at;
        }
        let list = core::slice::from_raw_parts_mut(at as *mut usize, count(envp) + 3);
        with_shim(envp, passed, list);
        let mut args = *a;
        args[envp_at] = list.as_ptr() as usize;
        let foreign = descriptors::leave();
        let ret = sys::call(call.nr, &args);
        descriptors::rejoin(foreign);
        sys::call2(num::MUNMAP, at as usize, bytes);
        ret
    }
}

/// How many strings an environment has.
unsafe fn count(envp: *const usize) -> usize {
    let mut n = 0;
    // SAFETY: the target's own environment.
    unsafe {
        while !envp.is_null() && *envp.add(n) != 0 {
            n += 1;
        }
    }
    n
}

/// Whether the environment's variable `name` holds all of `wanted`, perhaps among other things.
unsafe fn carries(envp: *const usize, name: &[u8], wanted: &[u8]) -> bool {
    // SAFETY: the target's own environment.
    let found = unsafe { identify::text(init::find(envp as *const *const u8, name)) };
    // Both begin with the name and `=`.
    let value = wanted.get(name.len() + 1..).unwrap_or(wanted);
    found.windows(value.len().max(1)).any(|w| w == value)
}

/// The environment with the shim's two strings in front, without others of those names.
unsafe fn with_shim(envp: *const usize, passed: [usize; 2], list: &mut [usize]) -> Option<()> {
    let mut n = 0;
    for string in passed {
        *list.get_mut(n)? = string;
        n += 1;
    }
    // SAFETY: the target's own environment.
    unsafe {
        let mut at = envp;
        while !at.is_null() && *at != 0 {
            let text = identify::text(*at);
            if !text.starts_with(b"LD_PRELOAD=") && !text.starts_with(b"UNPLUG_RING=") {
                *list.get_mut(n)? = *at;
                n += 1;
            }
            at = at.add(1);
        }
    }
    *list.get_mut(n)? = 0;
    Some(())
}

/// What a file is to exec.
enum Kind {
    Dynamic,
    Static,
    /// Not there, not readable, or not ELF: the kernel decides.
    Absent,
}

/// Looks for a program interpreter in the ELF header; follows `#!` once.
unsafe fn program_kind(dirfd: usize, path: usize, flags: usize, at: bool) -> Kind {
    const AT_EMPTY_PATH: usize = 0x1000;
    let mut scratch = Scratch::take();
    let buffer = scratch.bytes();
    // SAFETY: the target's own path, our own buffer.
    unsafe {
        let by_fd = at && flags & AT_EMPTY_PATH != 0 && identify::text(path).is_empty();
        let mut name = [0u8; 32];
        identify::fd_name(dirfd, &mut name);
        let (dirfd, path) = if by_fd { (AT_FDCWD, name.as_ptr() as usize) } else { (dirfd, path) };
        let mut len = read_head(dirfd, path, buffer);
        if let Some(rest) = buffer[..len].strip_prefix(b"#!") {
            let start = rest.iter().position(|&b| b != b' ' && b != b'\t').unwrap_or(0);
            let end = rest[start..].iter().position(|b| b" \t\n\0".contains(b)).unwrap_or(0);
            let mut script = [0u8; 256];
            if end == 0 || end >= script.len() {
                return Kind::Absent;
            }
            script[..end].copy_from_slice(&rest[start..start + end]);
            len = read_head(AT_FDCWD, script.as_ptr() as usize, buffer);
        }
        kind_of_elf(&buffer[..len])
    }
}

unsafe fn read_head(dirfd: usize, path: usize, into: &mut [u8]) -> usize {
    // SAFETY: the target's own path, our own buffer.
    unsafe {
        let fd = sys::call3(num::OPENAT, dirfd, path, O_CLOEXEC);
        if fd < 0 {
            return 0;
        }
        let n = sys::call4(num::PREAD64, fd as usize, into.as_mut_ptr() as usize, into.len(), 0);
        sys::call1(num::CLOSE, fd as usize);
        n.max(0) as usize
    }
}

fn kind_of_elf(head: &[u8]) -> Kind {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, len: usize| {
        head.get(at..at + len).map(|b| b.iter().rev().fold(0usize, |n, &b| n << 8 | b as usize))
    };
    if !head.starts_with(b"\x7fELF\x02") {
        return Kind::Absent;
    }
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
        return Kind::Absent;
    };
    for i in 0..count {
        match number(table.saturating_add(i * size), 4) {
            Some(kind) if kind as u32 == PT_INTERP => return Kind::Dynamic,
            Some(_) => {}
            None => return Kind::Absent,
        }
    }
    Kind::Static
}
