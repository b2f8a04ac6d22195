//! The exported symbols: the fast way into the dispatcher. What is not here comes through the filter.

use crate::abi::*;
use crate::dispatch;
use crate::num;
use crate::ring::{self, Call, Piece};
use crate::site::Caller;
use crate::sys::libc_result;
use core::ffi::{c_char, c_int, c_uint, c_void};

/// This function's frame: the saved frame pointer, and the return address above it.
macro_rules! frame {
    () => {{
        let frame: *const usize;
        core::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags));
        frame
    }};
}

macro_rules! exports {
    ($($name:ident = $nr:ident($($arg:ident: $kind:ty),*) -> $ret:ty;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $kind),*) -> $ret {
            let given = [$($arg as usize),*];
            let mut args = [0usize; 6];
            args[..given.len()].copy_from_slice(&given);
            // SAFETY: the target's own call; the shim is compiled with frame pointers.
            unsafe {
                let caller = Caller::of_frame(frame!());
                libc_result(dispatch::handle(num::$nr, &args, VIA_SYMBOL, &caller)) as $ret
            }
        }
    )* };
}

type Path = *const c_char;
type Bytes = *const c_void;

exports! {
    write = WRITE(fd: c_int, data: Bytes, len: usize) -> isize;
    pwrite = PWRITE64(fd: c_int, data: Bytes, len: usize, offset: i64) -> isize;
    pwrite64 = PWRITE64(fd: c_int, data: Bytes, len: usize, offset: i64) -> isize;
    writev = WRITEV(fd: c_int, vectors: Bytes, count: c_int) -> isize;
    pwritev = PWRITEV(fd: c_int, vectors: Bytes, count: c_int, offset: i64) -> isize;
    pwritev64 = PWRITEV(fd: c_int, vectors: Bytes, count: c_int, offset: i64) -> isize;
    fsync = FSYNC(fd: c_int) -> c_int;
    fdatasync = FDATASYNC(fd: c_int) -> c_int;
    sync_file_range = SYNC_FILE_RANGE(fd: c_int, offset: i64, len: i64, flags: c_uint) -> c_int;
    syncfs = SYNCFS(fd: c_int) -> c_int;
    ftruncate = FTRUNCATE(fd: c_int, len: i64) -> c_int;
    ftruncate64 = FTRUNCATE(fd: c_int, len: i64) -> c_int;
    truncate = TRUNCATE(path: Path, len: i64) -> c_int;
    truncate64 = TRUNCATE(path: Path, len: i64) -> c_int;
    fallocate = FALLOCATE(fd: c_int, mode: c_int, offset: i64, len: i64) -> c_int;
    fallocate64 = FALLOCATE(fd: c_int, mode: c_int, offset: i64, len: i64) -> c_int;
    rename = RENAME(from: Path, to: Path) -> c_int;
    renameat = RENAMEAT(from_dir: c_int, from: Path, to_dir: c_int, to: Path) -> c_int;
    renameat2 = RENAMEAT2(from_dir: c_int, from: Path, to_dir: c_int, to: Path, flags: c_uint) -> c_int;
    link = LINK(from: Path, to: Path) -> c_int;
    linkat = LINKAT(from_dir: c_int, from: Path, to_dir: c_int, to: Path, flags: c_int) -> c_int;
    symlink = SYMLINK(target: Path, path: Path) -> c_int;
    symlinkat = SYMLINKAT(target: Path, dir: c_int, path: Path) -> c_int;
    unlink = UNLINK(path: Path) -> c_int;
    unlinkat = UNLINKAT(dir: c_int, path: Path, flags: c_int) -> c_int;
    mkdir = MKDIR(path: Path, mode: c_uint) -> c_int;
    mkdirat = MKDIRAT(dir: c_int, path: Path, mode: c_uint) -> c_int;
    rmdir = RMDIR(path: Path) -> c_int;
    copy_file_range = COPY_FILE_RANGE(
        from: c_int, from_at: Bytes, to: c_int, to_at: Bytes, len: usize, flags: c_uint
    ) -> isize;
    sendfile = SENDFILE(to: c_int, from: c_int, at: Bytes, len: usize) -> isize;
    sendfile64 = SENDFILE(to: c_int, from: c_int, at: Bytes, len: usize) -> isize;
    splice = SPLICE(from: c_int, from_at: Bytes, to: c_int, to_at: Bytes, len: usize, flags: c_uint) -> isize;
    sendto = SENDTO(
        fd: c_int, data: Bytes, len: usize, flags: c_int, address: Bytes, address_len: c_uint
    ) -> isize;
    sendmsg = SENDMSG(fd: c_int, message: Bytes, flags: c_int) -> isize;
    sendmmsg = SENDMMSG(fd: c_int, messages: Bytes, count: c_uint, flags: c_int) -> c_int;
    recvmsg = RECVMSG(fd: c_int, message: Bytes, flags: c_int) -> isize;
    recvmmsg = RECVMMSG(
        fd: c_int, messages: Bytes, count: c_uint, flags: c_int, timeout: Bytes
    ) -> c_int;
    msync = MSYNC(at: Bytes, len: usize, flags: c_int) -> c_int;
}

/// send(2) is sendto without an address.
#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, data: Bytes, len: usize, flags: c_int) -> isize {
    let args = [fd as usize, data as usize, len, flags as usize, 0, 0];
    // SAFETY: the target's own call.
    unsafe {
        let caller = Caller::of_frame(frame!());
        libc_result(dispatch::handle(num::SENDTO, &args, VIA_SYMBOL, &caller))
    }
}

/// A mark that the target makes in the record: `MARK_*`, a client, an operation's number, its bytes.
/// Gives 1 if it was recorded.
#[unsafe(no_mangle)]
unsafe extern "C" fn unplug_mark(kind: u32, client: u32, id: u32, data: *const u8, len: usize) -> c_int {
    let Some(header) = ring::header() else { return 0 };
    let mut call = Call::new(KIND_MARK, 0, VIA_SHIM, &Caller::NONE);
    call.flags = kind as u16;
    call.numbers = [client as u64, id as u64, 0];
    // SAFETY: the caller's own bytes.
    unsafe { ring::begin(header, &call, &[Piece { at: data, len }]).done(header, 0) };
    1
}
