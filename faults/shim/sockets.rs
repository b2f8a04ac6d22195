//! Sends: a reply counts as given from the begin of the send that carried it.

use crate::abi::*;
use crate::dispatch::Context;
use crate::identify::{self, Stat, is_recorded};
use crate::{num, ring, sys};
use core::sync::atomic::{AtomicU64, Ordering::*};

/// Room for a socket address.
const NAME_ROOM: usize = 128;

/// Records a send on a socket that is known by its inode number.
pub unsafe fn record(call: &Context, ino: u64) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        meet(call, ino);
        let mut record = call.record(KIND_SEND);
        record.ino = ino;
        let mut draft = ring::begin(call.header, &record, &[]);
        let ret = call.pass();
        draft.set_a(if ret > 0 { sent(call, ret) } else { 0 });
        draft.done(call.header, ret);
        ret
    }
}

/// Introduces the socket in the first argument, if it is new.
pub unsafe fn meet(call: &Context, ino: u64) {
    if is_new(ino) {
        // SAFETY: asks only.
        unsafe { introduce(call, ino) };
    }
}

/// sendto, sendmsg, sendmmsg.
pub unsafe fn send(call: &Context) -> isize {
    let mut stat = Stat::EMPTY;
    // SAFETY: the target's own call.
    unsafe {
        if !identify::fstat(call.args[0], &mut stat) || !stat.is_socket() {
            return call.pass();
        }
        match call.nr {
            num::SENDMSG => passes_descriptor(call, call.args[1]),
            num::SENDMMSG => {
                for i in 0..call.args[2].min(1024) {
                    passes_descriptor(call, call.args[1] + i * size_of::<Message>());
                }
            }
            _ => {}
        }
        record(call, stat.ino)
    }
}

#[repr(C)]
struct Header {
    name: usize,
    name_len: usize,
    vectors: usize,
    vectors_len: usize,
    control: usize,
    control_len: usize,
    flags: usize,
}

#[repr(C)]
struct Message {
    header: Header,
    len: u32,
}

/// How many bytes a call sent: sendmmsg gives the number of messages.
unsafe fn sent(call: &Context, ret: isize) -> u64 {
    if call.nr != num::SENDMMSG {
        return ret as u64;
    }
    let mut bytes = 0;
    for i in 0..ret as usize {
        // SAFETY: the kernel has filled in this many messages.
        bytes += unsafe { (*((call.args[1] + i * size_of::<Message>()) as *const Message)).len as u64 };
    }
    bytes
}

/// A recorded file's descriptor that goes to another process escapes the recording.
unsafe fn passes_descriptor(call: &Context, message: usize) {
    const SOL_SOCKET: i32 = 1;
    const SCM_RIGHTS: i32 = 1;
    // SAFETY: the target's own message; headers and lengths are checked as the kernel checks them.
    unsafe {
        let header = &*(message as *const Header);
        let mut at = 0;
        while header.control != 0 && at + 16 <= header.control_len {
            let head = (header.control + at) as *const usize;
            let len = *head;
            let kind = (header.control + at + 8) as *const i32;
            if len < 16 || at + len > header.control_len {
                return;
            }
            if *kind == SOL_SOCKET && *kind.add(1) == SCM_RIGHTS {
                for i in 0..(len - 16) / 4 {
                    let fd = *kind.add(2 + i) as usize;
                    let mut stat = Stat::EMPTY;
                    if identify::fstat(fd, &mut stat)
                        && (stat.is_file() || stat.is_dir())
                        && is_recorded(call.header, fd, &stat)
                    {
                        call.blind(
                            b"descriptor sent to another process",
                            b"SCM_RIGHTS: what the receiver does with the file is not recorded",
                        );
                    }
                }
            }
            at += (len + 7) & !7;
        }
    }
}

fn is_new(ino: u64) -> bool {
    let mut at = ino.wrapping_mul(0x9E37_79B9_7F4A_7C15) as usize >> 40;
    for _ in 0..32 {
        // SAFETY: within the table.
        let cell = unsafe { &*(ring::at(SOCKETS_AT + (at & (SOCKETS - 1)) * 8) as *const AtomicU64) };
        match cell.load(Relaxed) {
            0 => {
                if cell.compare_exchange(0, ino, AcqRel, Relaxed).is_ok() {
                    return true;
                }
                if cell.load(Relaxed) == ino {
                    return false;
                }
            }
            value if value == ino => return false,
            _ => {}
        }
        at += 1;
    }
    true
}

/// Records whom a socket connects.
unsafe fn introduce(call: &Context, ino: u64) {
    let mut names = [[0u8; NAME_ROOM]; 2];
    let mut lens = [0usize; 2];
    // SAFETY: our own buffers.
    unsafe {
        for (i, nr) in [num::GETSOCKNAME, num::GETPEERNAME].into_iter().enumerate() {
            let mut len = NAME_ROOM as u32;
            let at = names[i].as_mut_ptr() as usize;
            if sys::call3(nr, call.args[0], at, &raw mut len as usize) == 0 {
                lens[i] = (len as usize).min(NAME_ROOM);
            }
        }
        let mut record = call.record(KIND_SOCKET);
        record.ino = ino;
        record.name1 = &names[0][..lens[0]];
        record.name2 = &names[1][..lens[1]];
        let begin = ring::draw(call.header);
        ring::begin_at(call.header, begin, &record, &[]).done(call.header, 0);
    }
}
