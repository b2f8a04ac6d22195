//! How many bytes a call is to move, and the call that moves fewer.

use crate::abi_fault as plan;
use crate::dispatch::Context;
use crate::identify;
use crate::num::*;
use crate::ring::Piece;
use crate::{sockets, sys};

/// How many bytes a call is to move; `None` for a call that moves none, or whose bytes cannot be read.
pub unsafe fn asked(call: &Context, class: u32) -> Option<u64> {
    let a = call.args;
    let asked = match (class, call.nr) {
        // How many messages there are says nothing of how many bytes.
        (plan::SEND, SENDMMSG) | (plan::RECV, RECVMMSG) => None,
        (_, WRITEV | PWRITEV | PWRITEV2 | READV | PREADV | PREADV2 | SENDMSG | RECVMSG) => {
            // SAFETY: checked, and read as the kernel reads it.
            unsafe { vectors(call).map(|v| v.iter().map(|p| p.len as u64).sum()) }
        }
        (plan::WRITE | plan::READ | plan::SEND | plan::RECV, _) => Some(a[2] as u64),
        (plan::COPY, SENDFILE) => Some(a[3] as u64),
        (plan::COPY, _) => Some(a[4] as u64),
        _ => None,
    }?;
    // Whoever receives asks for more than there is.
    // SAFETY: asks only.
    Some(if class == plan::RECV { asked.min(unsafe { waiting(call) }) } else { asked })
}

unsafe fn vectors<'a>(call: &Context) -> Option<&'a [Piece]> {
    let a = call.args;
    // SAFETY: the target's own vectors. Only few: a longer list is made as it is.
    unsafe {
        let (at, count) = match call.nr {
            SENDMSG | RECVMSG if identify::is_readable(a[1]) => sockets::vectors(a[1]),
            SENDMSG | RECVMSG => return None,
            _ => (a[1], a[2]),
        };
        let readable = count > 0 && count <= MOST_VECTORS && identify::is_readable(at);
        readable.then(|| core::slice::from_raw_parts(at as *const Piece, count))
    }
}

const MOST_VECTORS: usize = 16;

/// The call with a smaller length.
pub unsafe fn short(call: &Context, most: usize) -> isize {
    let mut args = *call.args;
    // SAFETY: the target's own call; what it points to is a part of what it pointed to.
    unsafe {
        match call.nr {
            WRITE | PWRITE64 | READ | PREAD64 | SENDTO | RECVFROM => args[2] = most,
            SENDFILE => args[3] = most,
            COPY_FILE_RANGE | SPLICE => args[4] = most,
            _ => {
                let mut few = [Piece { at: core::ptr::null(), len: 0 }; MOST_VECTORS];
                let (mut n, mut left) = (0, most);
                for piece in vectors(call).unwrap_or(&[]) {
                    few[n] = Piece { at: piece.at, len: piece.len.min(left) };
                    left -= few[n].len;
                    n += 1;
                    if left == 0 {
                        break;
                    }
                }
                if call.nr == SENDMSG {
                    return sockets::send_vectors(&args, (few.as_ptr() as usize, n));
                }
                if call.nr == RECVMSG {
                    return sockets::receive_vectors(&args, (few.as_ptr() as usize, n));
                }
                args[1] = few.as_ptr() as usize;
                args[2] = n;
                return sys::call(call.nr, &args);
            }
        }
        sys::call(call.nr, &args)
    }
}

/// How many bytes have come on a call's socket.
pub unsafe fn waiting(call: &Context) -> u64 {
    const FIONREAD: usize = 0x541b;
    let mut bytes = 0i32;
    // SAFETY: the kernel writes an int.
    let ret = unsafe { sys::call3(IOCTL, call.args[0], FIONREAD, &raw mut bytes as usize) };
    if ret < 0 { 0 } else { bytes.max(0) as u64 }
}
