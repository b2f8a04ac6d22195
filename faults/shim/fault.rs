//! Faults: what a plan's rules do to the target's calls.
//!
//! Nothing here runs without a plan, but for one branch on the shared flags and one on the call's context.

use crate::abi::{FLAG_GATED, FLAG_VIRTUAL, Header, KIND_FAULT};
use crate::abi_fault::{self as plan, FAULTS_AT, FaultArea, FaultRule};
use crate::descriptors::{self, Kind};
use crate::dispatch::{Context, route};
use crate::fault_bytes::{asked, short, waiting};
use crate::fault_path::Paths;
use crate::identify::{self, Stat};
use crate::num::*;
use crate::ring;
use crate::site::Caller;
use crate::{abi, gate_sleep, gate_task, gate_turn, sys, time, time_wait};
use core::sync::atomic::{AtomicU32, Ordering::*};

const ENOSPC: isize = 28;

/// What becomes of one call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing unusual.
    None,
    /// It fails.
    Errno(isize),
    /// It moves so many bytes at the most.
    Short(usize),
    /// The process is killed once it is recorded.
    KillAfter,
}

/// The plan.
pub fn area() -> &'static FaultArea {
    // SAFETY: the recorder laid the area out at this place; it is mapped for as long as the process lives.
    unsafe { &*(ring::at(FAULTS_AT) as *const FaultArea) }
}

/// The process that the harness has started, as it was when this memory was its own.
static MAIN: AtomicU32 = AtomicU32::new(0);

/// A program begins: is it the one that the harness started?
pub unsafe fn started() {
    // SAFETY: plain calls.
    unsafe {
        if sys::call0(GETPPID) as u32 == area().harness {
            MAIN.store(sys::call0(GETPID) as u32, Relaxed);
        }
    }
}

unsafe fn role() -> u32 {
    // SAFETY: plain call. The number that a fork has inherited is its parent's.
    let pid = unsafe { sys::call0(GETPID) } as u32;
    if pid == MAIN.load(Relaxed) { plan::ROLE_MAIN } else { plan::ROLE_CHILD }
}

/// Which of [`plan::CALLS`] this is.
unsafe fn class(nr: usize, args: &[usize; 6]) -> Option<u32> {
    // O_ACCMODE | O_CREAT | O_TRUNC
    const WRITING: usize = 3 | 0o100 | 0o1000;
    let open = |flags: usize| if flags & WRITING != 0 { plan::OPEN } else { plan::OPEN_READ };
    Some(match nr {
        OPEN => open(args[1]),
        OPENAT => open(args[2]),
        // SAFETY: the target's own struct open_how, whose first word is the flags.
        OPENAT2 if unsafe { identify::is_readable(args[2]) } => open(unsafe { *(args[2] as *const usize) }),
        CREAT | MKNOD | MKNODAT => plan::OPEN,
        WRITE | PWRITE64 | WRITEV | PWRITEV | PWRITEV2 => plan::WRITE,
        FSYNC => plan::FSYNC,
        FDATASYNC => plan::FDATASYNC,
        SYNC_FILE_RANGE => plan::SYNC_RANGE,
        SYNC | SYNCFS => plan::SYNC,
        MSYNC => plan::MSYNC,
        TRUNCATE | FTRUNCATE => plan::TRUNCATE,
        FALLOCATE => plan::ALLOCATE,
        RENAME | RENAMEAT | RENAMEAT2 => plan::RENAME,
        LINK | LINKAT => plan::LINK,
        SYMLINK | SYMLINKAT => plan::SYMLINK,
        UNLINK | UNLINKAT | RMDIR => plan::UNLINK,
        MKDIR | MKDIRAT => plan::MKDIR,
        SENDTO | SENDMSG | SENDMMSG => plan::SEND,
        RECVFROM | RECVMSG | RECVMMSG => plan::RECV,
        COPY_FILE_RANGE | SENDFILE | SPLICE => plan::COPY,
        READ | PREAD64 | READV | PREADV | PREADV2 => plan::READ,
        _ => return None,
    })
}

/// The calls that only a plan wants to see.
pub fn is_read(nr: usize) -> bool {
    matches!(nr, READ | PREAD64 | READV | PREADV | PREADV2 | RECVFROM | RECVMSG | RECVMMSG)
}

/// A read, before the gate has a look at it. `None`: the gate is to make it.
pub unsafe fn read(call: &Context) -> Option<isize> {
    // SAFETY: the target's own call.
    unsafe {
        let fault = decide(call);
        let gates_own = matches!(call.nr, READ | READV | RECVFROM | RECVMSG | RECVMMSG);
        if fault == Fault::None && gates_own && call.header.flags & FLAG_GATED != 0 {
            return None;
        }
        let faulted = Context { fault, ..*call };
        let ret = match call.nr {
            RECVMSG | RECVMMSG => descriptors::make(&faulted),
            _ => faulted.pass(),
        };
        if fault == Fault::KillAfter {
            kill(call.header);
        }
        Some(ret)
    }
}

/// A call under a plan.
pub unsafe fn handle(call: &Context) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        let fault = decide(call);
        let ret = route(&Context { fault, ..*call });
        if fault == Fault::KillAfter {
            kill(call.header);
        }
        ret
    }
}

/// Makes a call that something is done to.
pub unsafe fn pass(call: &Context) -> isize {
    match call.fault {
        Fault::Errno(errno) => -errno,
        // SAFETY: the target's own call with a smaller length.
        Fault::Short(most) => unsafe { short(call, most) },
        // SAFETY: the target's own call.
        Fault::None | Fault::KillAfter => unsafe { sys::call(call.nr, call.args) },
    }
}

/// What a refused open gives; `None` where it is to be made all the same.
pub fn pass_open(call: &Context) -> Option<isize> {
    match call.fault {
        Fault::Errno(errno) => Some(-errno),
        Fault::None | Fault::Short(_) | Fault::KillAfter => None,
    }
}

/// Asks every rule. At the most one may want something of a call.
unsafe fn decide(call: &Context) -> Fault {
    let plan = area();
    // SAFETY: asks only.
    unsafe {
        let Some(class) = class(call.nr, call.args).map(|c| of_a_socket(call, c)) else { return Fault::None };
        if plan.wanted >> class & 1 == 0 || class == plan::RECV && waiting(call) == 0 {
            return Fault::None;
        }
        let has_no_path = matches!(class, plan::SEND | plan::RECV);
        let paths = if has_no_path { Paths::of_socket(call) } else { Paths::of(call) };
        let Some(mut paths) = paths else { return Fault::None };
        let role = role();
        let mut chosen: Option<(usize, &FaultRule, u64)> = None;
        for (index, rule) in plan.rules[..(plan.count as usize).min(plan::RULES)].iter().enumerate() {
            let meant = rule.calls >> class & 1 != 0 && (rule.role == plan::ROLE_ANY || rule.role == role);
            if !meant || !paths.matches(&rule.glob[..(rule.glob_len as usize).min(plan::GLOB)]) {
                continue;
            }
            let nth = rule.seen.fetch_add(1, AcqRel) + 1;
            if nth < rule.first || nth > rule.last {
                continue;
            }
            let Some(number) = applies(call, class, rule) else { continue };
            match chosen {
                None => chosen = Some((index, rule, number)),
                Some((first, other, n)) if (other.action, n) != (rule.action, number) => {
                    let pair = (first as u32 + 1) | (index as u32 + 1) << 16;
                    let _ = plan.conflict.compare_exchange(0, pair, AcqRel, Relaxed);
                }
                Some(_) => {}
            }
        }
        let Some((index, rule, number)) = chosen else { return Fault::None };
        rule.fired.fetch_add(1, AcqRel);
        let path = if has_no_path { b"" } else { paths.shown() };
        tell(call, (class, role), index, rule.action, number, path);
        drop(paths);
        match rule.action {
            plan::ACT_ERRNO => Fault::Errno(number as isize),
            plan::ACT_SHORT => Fault::Short(number as usize),
            plan::ACT_FULL if number == 0 => Fault::Errno(ENOSPC),
            plan::ACT_FULL => Fault::Short(number as usize),
            plan::ACT_DELAY => {
                delay(call.header, number);
                Fault::None
            }
            plan::ACT_KILL => {
                kill(call.header);
                Fault::None
            }
            plan::ACT_KILL_AFTER => Fault::KillAfter,
            _ => Fault::None,
        }
    }
}

/// The class of a call, where writes to sockets are sends and reads from them receive. Asked only where a rule wants to
/// know.
unsafe fn of_a_socket(call: &Context, class: u32) -> u32 {
    let socket = match class {
        plan::WRITE => plan::SEND,
        plan::READ => plan::RECV,
        _ => return class,
    };
    // SAFETY: asks only.
    if area().wanted >> socket & 1 != 0 && unsafe { is_socket(call) } { socket } else { class }
}

/// Whether a call's descriptor is a socket.
pub unsafe fn is_socket(call: &Context) -> bool {
    // SAFETY: asks only.
    unsafe { descriptors::known(call, call.args[0] as u32 as usize).kind == Kind::Socket }
}

/// Whether a rule that means this call has something to do to it; its number for this call.
unsafe fn applies(call: &Context, class: u32, rule: &FaultRule) -> Option<u64> {
    // SAFETY: asks only.
    unsafe {
        match rule.action {
            plan::ACT_SHORT => {
                let asked = asked(call, class)?;
                let most = if rule.number == 0 { asked / 2 } else { rule.number };
                (most > 0 && most < asked).then_some(most)
            }
            plan::ACT_FULL => full(call, class, rule),
            _ => Some(rule.number),
        }
    }
}

/// A disk that fills: how many bytes of this call find room, where not all do. Only growth of a file counts:
/// overwritten blocks are there already.
unsafe fn full(call: &Context, class: u32, rule: &FaultRule) -> Option<u64> {
    const O_APPEND: usize = 0o2000;
    const F_GETFL: usize = 3;
    let a = call.args;
    let mut stat = Stat::EMPTY;
    // SAFETY: asks only.
    unsafe {
        if rule.limit != 0 && rule.fired.load(Acquire) >= rule.limit {
            return None;
        }
        if class != plan::WRITE && class != plan::ALLOCATE || !identify::fstat(a[0], &mut stat) {
            return None;
        }
        let (from, len) = match (class, call.nr) {
            (plan::ALLOCATE, _) => (a[2] as u64, a[3] as u64),
            (_, PWRITE64 | PWRITEV | PWRITEV2) => (a[3] as u64, asked(call, class)?),
            _ => (sys::call3(LSEEK, a[0], 0, 1).max(0) as u64, asked(call, class)?),
        };
        let appends = sys::call2(FCNTL, a[0], F_GETFL).max(0) as usize & O_APPEND != 0;
        let from = if class == plan::WRITE && appends { stat.size as u64 } else { from };
        let growth = from.saturating_add(len).saturating_sub(stat.size.max(0) as u64).min(len);
        let used = rule.used.load(Acquire);
        if used + growth <= rule.number {
            rule.used.store(used + growth, Release);
            return None;
        }
        let room = rule.number.saturating_sub(used);
        // What is not growth finds its blocks; fallocate is all or nothing.
        let fits = if class == plan::ALLOCATE { 0 } else { len - growth + room };
        rule.used.store(if fits > 0 { rule.number } else { used }, Release);
        Some(fits)
    }
}

/// Records what is done to a call, before it is.
unsafe fn tell(
    call: &Context,
    (class, role): (u32, u32),
    rule: usize,
    action: u32,
    number: u64,
    path: &[u8],
) {
    let mut record = call.record(KIND_FAULT);
    record.flags = action as u16;
    record.numbers = [rule as u64, number, class as u64 | (role as u64) << 8];
    record.name1 = path;
    // SAFETY: names are ours.
    unsafe {
        let begin = ring::draw(call.header);
        ring::begin_at(call.header, begin, &record, &[]).done(call.header, 0);
    }
}

/// Lets time pass: the target's, where it is virtual.
unsafe fn delay(header: &'static Header, nanos: u64) {
    const SECOND: u64 = 1_000_000_000;
    // SAFETY: as the waits themselves.
    unsafe {
        if header.flags & FLAG_VIRTUAL == 0 {
            let wanted = [nanos / SECOND, nanos % SECOND];
            sys::call2(NANOSLEEP, wanted.as_ptr() as usize, 0);
            return;
        }
        let area = gate_turn::area(header);
        if area.gated.load(Acquire) != 0
            && let Some(slot) = gate_turn::me(area)
        {
            gate_sleep::sleep(area, slot, nanos);
        } else {
            time_wait::sleep(area, time::after(area, nanos), true);
        }
    }
}

/// Ends this process as kill -9 does. What it has written is in the page cache.
unsafe fn kill(header: &'static Header) {
    const SIGKILL: usize = 9;
    // SAFETY: the process ends.
    unsafe {
        let pid = sys::call0(GETPID);
        let mut call = ring::Call::new(abi::KIND_PROCESS, KILL, abi::VIA_SHIM, &Caller::NONE);
        call.flags = abi::PROCESS_EXIT;
        call.numbers[0] = 128 + SIGKILL as u64;
        if pid as u32 == sys::known_pid() {
            let begin = ring::draw(header);
            ring::begin_at(header, begin, &call, &[]).done(header, 0);
        }
        if let Some(area) = gate_task::gated() {
            gate_task::exit_process(area);
        }
        loop {
            sys::call2(KILL, pid as usize, SIGKILL);
        }
    }
}

/// fork, which does not come through the dispatcher. Gives a negative error number where it is to fail.
pub unsafe fn fork() -> Option<isize> {
    let header = ring::header()?;
    if header.flags & abi::FLAG_FAULTS == 0 || area().wanted >> plan::FORK & 1 == 0 {
        return None;
    }
    // SAFETY: asks only.
    unsafe {
        let role = role();
        for (index, rule) in area().rules[..(area().count as usize).min(plan::RULES)].iter().enumerate() {
            let meant = rule.calls >> plan::FORK & 1 != 0;
            if !meant || rule.role != plan::ROLE_ANY && rule.role != role {
                continue;
            }
            let nth = rule.seen.fetch_add(1, AcqRel) + 1;
            if nth < rule.first || nth > rule.last {
                continue;
            }
            rule.fired.fetch_add(1, AcqRel);
            let args = [0; 6];
            let fault = Fault::None;
            let call = Context { header, nr: FORK, args: &args, via: abi::VIA_SHIM, caller: &Caller::NONE, fault };
            tell(&call, (plan::FORK, role), index, rule.action, rule.number, b"");
            match rule.action {
                plan::ACT_ERRNO => return Some(-(rule.number as isize)),
                plan::ACT_DELAY => delay(header, rule.number),
                plan::ACT_KILL | plan::ACT_KILL_AFTER => kill(header),
                _ => {}
            }
        }
    }
    None
}
