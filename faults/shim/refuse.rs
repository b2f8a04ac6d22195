//! Calls that cannot be followed, and calls that are not known: the run becomes blind, by name.

use crate::dispatch::Context;
use crate::{descriptors, num};

const ENOSYS: isize = 38;
const EPERM: isize = 1;

/// Everything that the dispatcher has no handler for.
pub unsafe fn refuse(call: &Context) -> isize {
    let (what, answer): (&[u8], Option<isize>) = match call.nr {
        // Answered so that a program falls back to calls that can be followed.
        num::IO_URING_SETUP => (b"io_uring_setup", Some(-ENOSYS)),
        num::IO_URING_ENTER => (b"io_uring_enter", Some(-ENOSYS)),
        num::IO_URING_REGISTER => (b"io_uring_register", Some(-ENOSYS)),
        num::IO_SETUP => (b"io_setup", Some(-ENOSYS)),
        num::IO_SUBMIT => (b"io_submit", Some(-ENOSYS)),
        num::IO_PGETEVENTS => (b"io_pgetevents", None),
        // A further filter could trap or kill the shim's own calls.
        num::SECCOMP | num::PRCTL => (b"seccomp filter of the target's own", Some(-EPERM)),
        num::USERFAULTFD => (b"userfaultfd", None),
        num::PROCESS_VM_WRITEV => (b"process_vm_writev", None),
        num::PTRACE => (b"ptrace", None),
        num::PIDFD_GETFD => (b"pidfd_getfd", None),
        num::REMAP_FILE_PAGES => (b"remap_file_pages", None),
        num::MOUNT | num::UMOUNT2 | num::PIVOT_ROOT | num::CHROOT | num::UNSHARE | num::SETNS => {
            (b"change of the mount tree", None)
        }
        _ => (b"unknown system call", None),
    };
    let mut text = *b"system call number \0\0\0\0\0\0\0\0\0\0";
    let len = 19 + decimal(call.nr as u32, &mut text[19..]);
    // SAFETY: the target's own call.
    unsafe {
        call.blind(what, text.get(..len).unwrap_or(&[]));
        match answer {
            Some(answer) => answer,
            None => {
                let ret = call.pass();
                // Nobody knows what it does to descriptors.
                descriptors::after(call.nr, call.args, ret);
                descriptors::forget_all();
                ret
            }
        }
    }
}

/// Writes a number; gives its length.
pub fn decimal(mut number: u32, into: &mut [u8]) -> usize {
    let mut digits = [0u8; 10];
    let mut n = 0;
    loop {
        digits[n] = b'0' + (number % 10) as u8;
        n += 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    for i in 0..n {
        if let Some(to) = into.get_mut(i) {
            *to = digits[n - 1 - i];
        }
    }
    n
}
