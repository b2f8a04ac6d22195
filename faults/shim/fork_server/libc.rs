//! The few functions and numbers of glibc on x86-64 Linux that are needed. The crate `libc` cannot be used: the
//! build script compiles this library alone.

use core::ffi::{c_char, c_int, c_long, c_uint, c_void};

/// epoll_event(3type): packed on x86-64.
#[derive(Clone, Copy)]
#[repr(C, packed)]
pub struct EpollEvent {
    pub events: u32,
    pub data: u64,
}

/// sockaddr_un of unix(7).
#[repr(C)]
pub struct SocketAddress {
    pub family: u16,
    pub path: [u8; 108],
}

/// Dl_info of dladdr(3).
#[repr(C)]
pub struct DlInfo {
    pub file: *const c_char,
    pub base: *mut c_void,
    pub symbol: *const c_char,
    pub address: *mut c_void,
}

pub const RTLD_NEXT: *mut c_void = usize::MAX as *mut c_void;
pub const EINTR: c_int = 4;
pub const EPOLL_CTL_ADD: c_int = 1;
pub const EPOLL_CTL_DEL: c_int = 2;
pub const EPOLL_CLOEXEC: c_int = 0o2000000;
pub const O_CLOEXEC: c_int = 0o2000000;
pub const O_WRONLY: c_int = 1;
pub const O_CREAT: c_int = 0o100;
pub const O_TRUNC: c_int = 0o1000;
pub const PR_SET_PDEATHSIG: c_int = 1;
pub const PR_GET_TID_ADDRESS: c_int = 40;
pub const SIGKILL: c_int = 9;
pub const SIGCHLD: c_long = 17;
pub const CLONE_PARENT: c_long = 0x8000;
pub const CLONE_CHILD_CLEARTID: c_long = 0x0020_0000;
pub const CLONE_CHILD_SETTID: c_long = 0x0100_0000;
pub const SYS_CLONE: c_long = 56;
pub const SYS_SET_ROBUST_LIST: c_long = 273;
pub const SYS_GET_ROBUST_LIST: c_long = 274;
pub const SOL_SOCKET: c_int = 1;
pub const SO_ACCEPTCONN: c_int = 30;
pub const AF_UNIX: u16 = 1;
pub const SOCK_STREAM: c_int = 1;
pub const SOCK_NONBLOCK: c_int = 0o4000;
pub const SOCK_CLOEXEC: c_int = 0o2000000;
pub const SYS_EPOLL_CTL: c_long = 233;

#[link(name = "c")]
unsafe extern "C" {
    pub fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    pub fn getenv(name: *const c_char) -> *const c_char;
    pub fn __errno_location() -> *mut c_int;
    pub fn dladdr(address: *const c_void, info: *mut DlInfo) -> c_int;
    pub fn _exit(status: c_int) -> !;
    pub fn getpid() -> c_int;
    pub fn setpgid(pid: c_int, group: c_int) -> c_int;
    pub fn prctl(option: c_int, ...) -> c_int;
    pub fn read(fd: c_int, into: *mut c_void, len: usize) -> isize;
    pub fn write(fd: c_int, from: *const c_void, len: usize) -> isize;
    pub fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    pub fn close(fd: c_int) -> c_int;
    pub fn dup2(fd: c_int, as_fd: c_int) -> c_int;
    pub fn dup3(fd: c_int, as_fd: c_int, flags: c_int) -> c_int;
    pub fn chdir(path: *const c_char) -> c_int;
    pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    pub fn bind(fd: c_int, address: *const SocketAddress, len: c_uint) -> c_int;
    pub fn listen(fd: c_int, backlog: c_int) -> c_int;
    pub fn getsockname(fd: c_int, address: *mut SocketAddress, len: *mut c_uint) -> c_int;
    pub fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_int, len: *mut c_uint) -> c_int;
    pub fn madvise(address: *mut c_void, len: usize, advice: c_int) -> c_int;
    pub fn epoll_create1(flags: c_int) -> c_int;
    pub fn syscall(number: c_long, ...) -> c_long;
}
