//! What the recorded children do. Calls go through libc directly, so that each is the one that it says.
#![allow(clippy::undocumented_unsafe_blocks, unreachable_pub)]

use std::ffi::CString;

/// A role's name and its play.
pub type Role = (&'static str, fn());

/// All roles.
pub const ROLES: &[Role] =
    &[("writes", writes), ("names", names), ("threads", threads), ("fork", fork), ("rustix", rustix_calls)];

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

fn names() {
    unsafe {
        check(libc::mkdir(path("d").as_ptr(), 0o755).into(), "mkdir");
        let fd = open("d/a", RW | libc::O_EXCL);
        write(fd, b"A");
        libc::close(fd);
        let fd = open("b", libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND);
        write(fd, b"B");
        check(libc::rename(path("d/a").as_ptr(), path("b").as_ptr()).into(), "rename over");
        // The replaced file has no name any more, but is still open.
        write(fd, b"gone");
        libc::close(fd);
        check(libc::link(path("b").as_ptr(), path("d/c").as_ptr()).into(), "link");
        check(libc::symlink(path("b").as_ptr(), path("s").as_ptr()).into(), "symlink");
        let fd = open("s", libc::O_WRONLY);
        write(fd, b"through");
        libc::close(fd);
        let at = libc::AT_FDCWD;
        let none = libc::syscall(libc::SYS_renameat2, at, path("b").as_ptr(), at, path("s").as_ptr(), 1);
        assert_eq!(none, -1, "NOREPLACE");
        check(
            libc::syscall(libc::SYS_renameat2, at, path("b").as_ptr(), at, path("s").as_ptr(), 2),
            "EXCHANGE",
        );
        check(libc::renameat(at, path("s").as_ptr(), at, path("t").as_ptr()).into(), "renameat");
        check(libc::unlink(path("d/c").as_ptr()).into(), "unlink");
        check(libc::unlinkat(at, path("b").as_ptr(), 0).into(), "unlinkat");
        check(libc::mkdirat(at, path("e/").as_ptr(), 0o755).into(), "mkdirat");
        check(libc::rename(path("e").as_ptr(), path("d/e").as_ptr()).into(), "rename directory");
        let dir = open("d", libc::O_RDONLY | libc::O_DIRECTORY);
        check(libc::fsync(dir).into(), "fsync directory");
        check(libc::rmdir(path("d/e").as_ptr()).into(), "rmdir");
        check(libc::fsync(dir).into(), "fsync directory");
    }
}

fn threads() {
    let workers: Vec<_> = (0..4)
        .map(|i| {
            std::thread::spawn(move || {
                let fd = open(&format!("t{i}"), RW);
                for n in 0..50 {
                    write(fd, format!("{i}:{n};").as_bytes());
                }
                assert_eq!(unsafe { libc::fdatasync(fd) }, 0);
            })
        })
        .collect();
    workers.into_iter().for_each(|w| w.join().unwrap());
}

fn fork() {
    let fd = open("shared", RW | libc::O_TRUNC);
    write(fd, b"parent;");
    unsafe {
        let copy = check(libc::dup(fd).into(), "dup");
        let child = libc::fork();
        if child == 0 {
            // The descriptor and its offset are the parent's.
            write(copy, b"child;");
            let own = open("own", libc::O_WRONLY | libc::O_CREAT);
            write(own, b"x");
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0);
    }
    write(fd, b"again");
}

fn rustix_calls() {
    use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
    let cwd = rustix::fs::CWD;
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(cwd, "temp", flags, Mode::RUSR | Mode::WUSR).unwrap();
    assert_eq!(rustix::io::write(&fd, b"hello").unwrap(), 5);
    assert_eq!(rustix::io::pwrite(&fd, b"J", 0).unwrap(), 1);
    rustix::fs::ftruncate(&fd, 3).unwrap();
    rustix::fs::fsync(&fd).unwrap();
    rustix::fs::renameat_with(cwd, "temp", cwd, "final", RenameFlags::NOREPLACE).unwrap();
    rustix::fs::linkat(cwd, "final", cwd, "more", AtFlags::empty()).unwrap();
    rustix::fs::mkdirat(cwd, "dir", Mode::RWXU).unwrap();
    let dir = rustix::fs::openat(cwd, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    rustix::fs::fdatasync(&dir).unwrap();
    rustix::fs::unlinkat(cwd, "more", AtFlags::empty()).unwrap();
    rustix::fs::unlinkat(cwd, "dir", AtFlags::REMOVEDIR).unwrap();
}
