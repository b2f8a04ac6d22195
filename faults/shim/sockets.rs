//! Sends: a reply counts as given from the begin of the send that carried it.

use crate::abi::*;
use crate::dispatch::Context;
use crate::descriptors::{self, Kind, Known};
use crate::identify::{self, Stat, is_recorded};
use crate::{num, ring, sys};
use core::sync::atomic::{AtomicU64, Ordering::*};

/// Room for a socket address.
const NAME_ROOM: usize = 128;

/// Records a send on a socket that has been introduced.
pub unsafe fn record(call: &Context, known: &Known) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        let ino = known.ino;
        let mut record = call.record(KIND_SEND);
        record.ino = ino;
        let mut draft = ring::begin(call.header, &record, &[]);
        let ret = call.pass();
        if ret < 0 && known.remembered && !descriptors::still(call.args[0], known) {
            draft.void();
            return ret;
        }
        draft.set_a(if ret > 0 { sent(call, ret) } else { 0 });
        draft.done(call.header, ret);
        ret
    }
}

/// Introduces a socket, if it is new.
pub unsafe fn meet(call: &Context, fd: usize, ino: u64) {
    if is_new(ino) {
        // SAFETY: asks only.
        unsafe { introduce(call, fd, ino) };
    }
}

/// sendto, sendmsg, sendmmsg.
pub unsafe fn send(call: &Context) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        let known = descriptors::known(call, call.args[0] as u32 as usize);
        if known.kind != Kind::Socket {
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
        record(call, &known)
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

/// Where a message's vectors are, and how many.
pub unsafe fn vectors(message: usize) -> (usize, usize) {
    // SAFETY: the caller has seen that it can be read.
    let header = unsafe { &*(message as *const Header) };
    (header.vectors, header.vectors_len)
}

/// sendmsg of the same message with other vectors.
pub unsafe fn send_vectors(args: &[usize; 6], (at, count): (usize, usize)) -> isize {
    // SAFETY: as `vectors`; what is sent is a part of what was to be.
    unsafe {
        let own = &*(args[1] as *const Header);
        let header = Header { vectors: at, vectors_len: count, ..*own };
        let mut args = *args;
        args[1] = &raw const header as usize;
        sys::call(num::SENDMSG, &args)
    }
}

/// recvmsg into other vectors. The rest of the header is the caller's, for the kernel writes there.
pub unsafe fn receive_vectors(args: &[usize; 6], (at, count): (usize, usize)) -> isize {
    // SAFETY: as `vectors`; the header is put back as it was.
    unsafe {
        let header = args[1] as *mut Header;
        let own = ((*header).vectors, (*header).vectors_len);
        ((*header).vectors, (*header).vectors_len) = (at, count);
        let ret = sys::call(num::RECVMSG, args);
        ((*header).vectors, (*header).vectors_len) = own;
        ret
    }
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
    // SAFETY: the target's own message.
    unsafe {
        rights(message, |fd| {
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
        });
    }
}

/// Goes through the descriptors in a message; whether there are any.
unsafe fn rights(message: usize, mut each: impl FnMut(usize)) -> bool {
    const SOL_SOCKET: i32 = 1;
    const SCM_RIGHTS: i32 = 1;
    let mut any = false;
    // SAFETY: the target's own message; headers and lengths are checked as the kernel checks them.
    unsafe {
        let header = &*(message as *const Header);
        let mut at = 0;
        while header.control != 0 && at + 16 <= header.control_len {
            let head = (header.control + at) as *const usize;
            let len = *head;
            let kind = (header.control + at + 8) as *const i32;
            if len < 16 || at + len > header.control_len {
                break;
            }
            if *kind == SOL_SOCKET && *kind.add(1) == SCM_RIGHTS {
                any = true;
                for i in 0..(len - 16) / 4 {
                    each(*kind.add(2 + i) as usize);
                }
            }
            at += (len + 7) & !7;
        }
    }
    any
}

/// One of the messages of recvmmsg.
pub fn message(messages: usize, index: usize) -> usize {
    messages + index * size_of::<Message>()
}

/// Whether a message that was received carried descriptors.
pub unsafe fn holds_descriptors(message: usize) -> bool {
    // SAFETY: the kernel has just filled the message in.
    unsafe { rights(message, |_| ()) }
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
unsafe fn introduce(call: &Context, fd: usize, ino: u64) {
    let mut names = [[0u8; NAME_ROOM]; 2];
    let mut lens = [0usize; 2];
    // SAFETY: our own buffers.
    unsafe {
        for (i, nr) in [num::GETSOCKNAME, num::GETPEERNAME].into_iter().enumerate() {
            let mut len = NAME_ROOM as u32;
            let at = names[i].as_mut_ptr() as usize;
            if sys::call3(nr, fd, at, &raw mut len as usize) == 0 {
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
