//! The one dispatcher: exported symbols and the SIGSYS handler come here.

use crate::abi::{FLAG_FAULTS, FLAG_GATED, FLAG_VIRTUAL, Header};
use crate::abi_reads::FLAG_READS;
use crate::fault::{self, Fault};
use crate::site::Caller;
use crate::{copy, descriptors, files, gate, maps, names, num, open, process, reads, refuse, ring, sockets, sys, time};

/// What the handlers of the calls share.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The shared memory.
    pub header: &'static Header,
    /// The system call.
    pub nr: usize,
    /// Its arguments.
    pub args: &'a [usize; 6],
    /// `VIA_*`.
    pub via: u8,
    /// From where.
    pub caller: &'a Caller,
    /// What a fault plan does to it.
    pub fault: Fault,
}

impl<'a> Context<'a> {
    /// Makes the call as it was given, unless a fault plan has something against it.
    #[inline(always)]
    pub unsafe fn pass(&self) -> isize {
        // SAFETY: the target's own call.
        unsafe {
            if self.fault != Fault::None {
                return fault::pass(self);
            }
            sys::call(self.nr, self.args)
        }
    }

    /// A record of this call.
    #[inline(always)]
    pub fn record(&self, kind: u16) -> ring::Call<'a> {
        ring::Call::new(kind, self.nr, self.via, self.caller)
    }

    /// Records that this call cannot be followed.
    pub unsafe fn blind(&self, what: &[u8], detail: &[u8]) {
        // SAFETY: as `ring::blind`.
        unsafe { ring::blind(self.header, self.nr, self.via, self.caller, what, detail) };
    }
}

/// Makes a call of the target and records it. Gives the kernel's result: a negative one is an error number.
pub unsafe fn handle(nr: usize, args: &[usize; 6], via: u8, caller: &Caller) -> isize {
    let Some(header) = ring::header() else {
        // SAFETY: the target's own call.
        return unsafe { sys::call(nr, args) };
    };
    let call = Context { header, nr, args, via, caller, fault: Fault::None };
    // SAFETY: the target's own call in every case.
    unsafe {
        if header.flags & (FLAG_GATED | FLAG_VIRTUAL | FLAG_FAULTS | FLAG_READS) != 0 {
            if header.flags & FLAG_READS != 0 {
                return reads::handle(nr, args);
            }
            if header.flags & FLAG_FAULTS != 0
                && fault::is_read(nr)
                && let Some(ret) = fault::read(&call)
            {
                return ret;
            }
            if header.flags & FLAG_GATED != 0
                && let Some(ret) = gate::intercept(header, nr, args, via, caller)
            {
                descriptors::after(nr, args, ret);
                return ret;
            }
            if header.flags & FLAG_VIRTUAL != 0
                && let Some(ret) = time::intercept(header, nr, args, via, caller)
            {
                return ret;
            }
            if header.flags & FLAG_FAULTS != 0 {
                return fault::handle(&call);
            }
        }
        route(&call)
    }
}

/// Hands a call to what records it.
#[inline(always)]
pub unsafe fn route(call: &Context) -> isize {
    // SAFETY: the target's own call in every case.
    unsafe {
        match call.nr {
            num::WRITE | num::PWRITE64 | num::WRITEV | num::PWRITEV | num::PWRITEV2 => files::write(call),
            num::SENDTO | num::SENDMSG | num::SENDMMSG => sockets::send(call),
            num::FSYNC | num::FDATASYNC | num::SYNC_FILE_RANGE => files::sync(call),
            num::SYNC | num::SYNCFS => files::sync_all(call),
            num::TRUNCATE | num::FTRUNCATE => files::truncate(call),
            num::FALLOCATE => files::allocate(call),
            num::FCNTL => files::fcntl(call),
            num::OPEN | num::OPENAT | num::OPENAT2 | num::CREAT | num::OPEN_BY_HANDLE_AT => open::open(call),
            num::RENAME | num::RENAMEAT | num::RENAMEAT2 => names::rename(call),
            num::LINK | num::LINKAT => names::link(call),
            num::SYMLINK | num::SYMLINKAT => names::symlink(call),
            num::UNLINK | num::UNLINKAT | num::RMDIR => names::unlink(call),
            num::MKDIR | num::MKDIRAT => names::mkdir(call),
            num::MKNOD | num::MKNODAT => names::mknod(call),
            num::COPY_FILE_RANGE | num::SENDFILE | num::SPLICE => copy::copy(call),
            num::IOCTL => copy::ioctl(call),
            num::MMAP | num::MPROTECT | num::PKEY_MPROTECT | num::MSYNC | num::MUNMAP | num::MREMAP => {
                maps::map(call)
            }
            num::SOCKET | num::SOCKETPAIR | num::ACCEPT | num::ACCEPT4 | num::PIPE | num::PIPE2 | num::DUP
            | num::DUP2 | num::DUP3 | num::EVENTFD | num::EVENTFD2 | num::MEMFD_CREATE | num::RECVMSG
            | num::RECVMMSG | num::CLOSE_RANGE => descriptors::make(call),
            num::EXECVE | num::EXECVEAT => process::exec(call),
            num::EXIT_GROUP => process::exit(call),
            _ => refuse::refuse(call),
        }
    }
}
