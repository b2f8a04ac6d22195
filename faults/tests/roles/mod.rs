//! What the recorded children do. Calls go through libc directly, so that each is the one that it says.
#![allow(clippy::undocumented_unsafe_blocks, unreachable_pub)]

use std::ffi::CString;

/// A role's name and its play.
pub type Role = (&'static str, fn());

/// All roles.
pub const ROLES: &[Role] = &[("writes", writes)];

/// Plays a role.
pub fn play(name: &str) {
    let role = ROLES.iter().find(|(n, _)| *n == name);
    role.unwrap_or_else(|| panic!("no role {name}")).1();
}

fn path(name: &str) -> CString {
    CString::new(name).unwrap()
}

fn check(ret: i64, what: &str) -> i32 {
    assert!(ret >= 0, "{what}: {}", std::io::Error::last_os_error());
    ret as i32
}

fn open(name: &str, flags: i32) -> i32 {
    check(unsafe { libc::open(path(name).as_ptr(), flags, 0o644) }.into(), name)
}

fn write(fd: i32, bytes: &[u8]) {
    assert_eq!(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) }, bytes.len() as isize);
}

fn vectors<'a>(parts: &'a [&'a [u8]]) -> Vec<libc::iovec> {
    parts.iter().map(|p| libc::iovec { iov_base: p.as_ptr().cast_mut().cast(), iov_len: p.len() }).collect()
}

const RW: i32 = libc::O_RDWR | libc::O_CREAT;

fn writes() {
    let fd = open("f", RW);
    write(fd, b"hello");
    unsafe {
        check(libc::pwrite(fd, b"EL".as_ptr().cast(), 2, 1) as i64, "pwrite");
        let v = vectors(&[b"ab", b"cd"]);
        check(libc::writev(fd, v.as_ptr(), 2) as i64, "writev");
        let v = vectors(&[b"x", b"yz"]);
        check(libc::pwritev(fd, v.as_ptr(), 2, 2) as i64, "pwritev");
        let v = vectors(&[b"v2"]);
        check(libc::pwritev2(fd, v.as_ptr(), 1, -1, 0) as i64, "pwritev2");
        let v = vectors(&[b"D"]);
        check(libc::pwritev2(fd, v.as_ptr(), 1, 0, libc::RWF_DSYNC) as i64, "pwritev2");
        let v = vectors(&[b"S"]);
        check(libc::pwritev2(fd, v.as_ptr(), 1, 1, libc::RWF_SYNC) as i64, "pwritev2");
        let v = vectors(&[b"end"]);
        check(libc::pwritev2(fd, v.as_ptr(), 1, 0, libc::RWF_APPEND) as i64, "pwritev2");
        check(libc::lseek(fd, 14, libc::SEEK_SET), "lseek");
        // Not through the symbol: only the filter sees it.
        check(libc::syscall(libc::SYS_write, fd, b"tail".as_ptr(), 4), "raw write");
        check(libc::fsync(fd).into(), "fsync");
        check(libc::fdatasync(fd).into(), "fdatasync");
        check(libc::sync_file_range(fd, 0, 4, 2).into(), "sync_file_range");
    }
}
