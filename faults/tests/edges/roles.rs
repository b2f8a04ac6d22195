//! What the recorded children of `edges.rs` do.
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used, unreachable_pub)]

use std::ffi::CString;
use std::io::{Error, Read, Write};
use std::process::{Command, Stdio};

/// A role's name and its play.
pub type Role = (&'static str, fn());

/// All roles.
pub const ROLES: &[Role] = &[
    ("appenders", appenders),
    ("chdir", chdir),
    ("symdir", symdir),
    ("movedir", movedir),
    ("unlinked", unlinked),
    ("dups", dups),
    ("inherit", inherit),
    ("spawned", spawned),
    ("large", large),
    ("pointers", pointers),
    ("whiteout", whiteout),
    ("seccomp", seccomp),
    ("protect", protect),
    ("msync", msync),
    ("handle", handle),
    ("modes", modes),
    ("clone", clone),
    ("tcp", tcp),
    ("latechild", latechild),
];

/// Plays a role.
pub fn play(name: &str) {
    let role = ROLES.iter().find(|(n, _)| *n == name);
    role.unwrap_or_else(|| panic!("no role {name}")).1();
}

const RW: i32 = libc::O_RDWR | libc::O_CREAT;
const AT: i32 = libc::AT_FDCWD;

fn path(name: &str) -> CString {
    CString::new(name).unwrap()
}

fn check(ret: i64, what: &str) -> i32 {
    assert!(ret >= 0, "{what}: {}", Error::last_os_error());
    ret as i32
}

fn open(name: &str, flags: i32) -> i32 {
    check(unsafe { libc::open(path(name).as_ptr(), flags, 0o644) }.into(), name)
}

fn write(fd: i32, bytes: &[u8]) {
    assert_eq!(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) }, bytes.len() as isize);
}

fn rename(from: &str, to: &str) {
    check(unsafe { libc::rename(path(from).as_ptr(), path(to).as_ptr()) }.into(), "rename");
}

fn mkdir(name: &str) {
    check(unsafe { libc::mkdir(path(name).as_ptr(), 0o755) }.into(), "mkdir");
}

fn fails(ret: i64, errno: i32, what: &str) {
    assert_eq!((ret, Error::last_os_error().raw_os_error()), (-1, Some(errno)), "{what}");
}

fn appenders() {
    let append = |text: &[u8]| {
        let fd = open("log", libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND);
        (0..200).for_each(|_| write(fd, text));
    };
    let child = unsafe { libc::fork() };
    append(if child == 0 { b"child;\n" } else { b"parent;" });
    if child == 0 {
        unsafe { libc::_exit(0) };
    }
    let mut status = 1;
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
}

fn chdir() {
    mkdir("a");
    unsafe {
        let top = open(".", libc::O_RDONLY | libc::O_DIRECTORY);
        check(libc::chdir(path("a").as_ptr()).into(), "chdir");
        write(open("f", RW), b"x");
        check(libc::fchdir(top).into(), "fchdir");
        rename("a/f", "g");
        // A directory descriptor and a way round.
        let a = open("a", libc::O_RDONLY | libc::O_DIRECTORY);
        check(libc::openat(a, path("../a/./h").as_ptr(), RW, 0o644).into(), "openat");
    }
}

fn symdir() {
    mkdir("real");
    unsafe {
        check(libc::symlink(path("real").as_ptr(), path("link").as_ptr()).into(), "symlink");
        write(open("link/f", RW), b"x");
        rename("link/f", "link/g");
        check(libc::unlink(path("link/g").as_ptr()).into(), "unlink");
    }
}

fn movedir() {
    mkdir("d");
    let fd = open("d/f", RW);
    let dir = open("d", libc::O_RDONLY | libc::O_DIRECTORY);
    write(fd, b"a");
    rename("d", "e");
    write(fd, b"b");
    write(open("e/f", libc::O_WRONLY | libc::O_APPEND), b"c");
    check(unsafe { libc::fsync(dir) }.into(), "fsync");
}

fn unlinked() {
    let fd = open("f", RW);
    write(fd, b"a");
    unsafe {
        check(libc::unlink(path("f").as_ptr()).into(), "unlink");
        write(fd, b"b");
        check(libc::ftruncate(fd, 1).into(), "ftruncate");
        check(libc::fsync(fd).into(), "fsync");
    }
    // Its name stands for another file now.
    write(open("f", RW), b"new");
}

fn dups() {
    let fd = open("f", RW);
    write(fd, b"a");
    unsafe {
        write(check(libc::dup(fd).into(), "dup"), b"b");
        write(check(libc::dup2(fd, 50).into(), "dup2"), b"c");
        libc::close(fd);
        let other = check(libc::fcntl(50, libc::F_DUPFD_CLOEXEC, 60).into(), "F_DUPFD");
        write(other, b"d");
        check(libc::fdatasync(other).into(), "fdatasync");
    }
}

fn inherit() {
    let fd = open("f", RW);
    write(fd, b"a");
    check(unsafe { libc::dup2(fd, 9) }.into(), "dup2");
    let status = Command::new("/bin/sh").args(["-c", "echo sh >&9"]).status().unwrap();
    assert!(status.success());
}

fn spawned() {
    for _ in 0..40 {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "echo x >> log"]).env_clear().stdin(Stdio::null());
        assert!(shell.status().unwrap().success());
    }
}

fn large() {
    let fd = open("f", RW);
    let byte = b"v";
    let one = libc::iovec { iov_base: byte.as_ptr().cast_mut().cast(), iov_len: 1 };
    let many = vec![one; 1025];
    unsafe {
        assert_eq!(libc::writev(fd, many.as_ptr(), 1000), 1000);
        fails(libc::writev(fd, many.as_ptr(), 1025) as i64, libc::EINVAL, "too many");
    }
    write(fd, &vec![b'L'; 3 << 20]);
}

fn pointers() {
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), 4096, 0, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        let bad: *const libc::c_char = page.cast();
        let fd = open("f", RW);
        for bad in [bad, std::ptr::null()] {
            fails(libc::open(bad, RW, 0o644).into(), libc::EFAULT, "open");
            fails(libc::rename(bad, path("x").as_ptr()).into(), libc::EFAULT, "rename from");
            fails(libc::rename(path("f").as_ptr(), bad).into(), libc::EFAULT, "rename to");
            fails(libc::unlink(bad).into(), libc::EFAULT, "unlink");
            fails(libc::mkdir(bad, 0o755).into(), libc::EFAULT, "mkdir");
            fails(libc::symlink(bad, path("x").as_ptr()).into(), libc::EFAULT, "symlink");
            fails(libc::link(path("f").as_ptr(), bad).into(), libc::EFAULT, "link");
            fails(libc::truncate(bad, 0).into(), libc::EFAULT, "truncate");
            fails(libc::writev(fd, bad.cast(), 1) as i64, libc::EFAULT, "writev");
        }
        fails(libc::write(fd, std::ptr::null(), 3) as i64, libc::EFAULT, "write");
        // The last string of a page, with nothing behind it.
        let two = libc::mmap(std::ptr::null_mut(), 8192, 3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        libc::munmap(two.byte_add(4096), 4096);
        let edge = two.byte_add(4094).cast::<u8>();
        edge.write(b'f');
        let fd = check(libc::open(edge.cast(), libc::O_WRONLY).into(), "at a page's end");
        write(fd, b"alive");
    }
}

fn whiteout() {
    open("f", RW);
    // What it does depends on the file system; that it was asked for is enough.
    unsafe { libc::syscall(libc::SYS_renameat2, AT, path("f").as_ptr(), AT, path("g").as_ptr(), 4) };
}

fn seccomp() {
    let allow = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
    let program = libc::sock_fprog { len: 1, filter: std::ptr::from_ref(&allow).cast_mut() };
    unsafe {
        fails(libc::syscall(libc::SYS_seccomp, 1, 0, &program), libc::EPERM, "seccomp");
        fails(libc::prctl(libc::PR_SET_SECCOMP, 2, &program).into(), libc::EPERM, "prctl");
    }
}

unsafe fn map(protection: i32) -> *mut libc::c_void {
    let fd = open("m", RW);
    unsafe {
        check(libc::ftruncate(fd, 4096).into(), "ftruncate");
        let at = libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, fd, 0);
        assert_ne!(at, libc::MAP_FAILED);
        at
    }
}

fn protect() {
    unsafe {
        let at = map(libc::PROT_READ);
        check(libc::mprotect(at, 4096, libc::PROT_READ | libc::PROT_WRITE).into(), "mprotect");
        at.cast::<u8>().write_volatile(7);
    }
}

fn msync() {
    unsafe { check(libc::msync(map(libc::PROT_READ), 4096, libc::MS_SYNC).into(), "msync") };
}

fn handle() {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        data: [u8; 128],
    }
    open("f", RW);
    let mut handle = Handle { bytes: 128, kind: 0, data: [0; 128] };
    let mut mount = 0;
    unsafe {
        let known =
            libc::syscall(libc::SYS_name_to_handle_at, AT, path("f").as_ptr(), &mut handle, &mut mount, 0);
        let top = open(".", libc::O_RDONLY);
        let fd = libc::syscall(libc::SYS_open_by_handle_at, top, &mut handle, libc::O_WRONLY);
        if known == 0 && fd >= 0 {
            write(fd as i32, b"by handle");
        }
    }
}

fn modes() {
    let fd = open("f", RW);
    for letter in b"ABCDEFGH" {
        write(fd, &[*letter; 4096]);
    }
    for (mode, offset, len) in
        [(0x10, 6000, 40000), (0x11, 0, 100_000), (0x10, 100, 50), (0x08, 4096, 8192), (0x20, 8192, 4096)]
    {
        if unsafe { libc::fallocate(fd, mode, offset, len) } != 0 {
            assert_eq!(Error::last_os_error().raw_os_error(), Some(libc::EOPNOTSUPP), "mode {mode}");
        }
        assert_eq!(unsafe { libc::pwrite(fd, b"here".as_ptr().cast(), 4, 9000) }, 4);
    }
}

fn clone() {
    const FICLONE: u64 = 0x4004_9409;
    let from = open("from", RW);
    write(from, b"whole");
    let to = open("to", RW);
    if unsafe { libc::ioctl(to, FICLONE, from) } != 0 {
        eprintln!("FICLONE: {}", Error::last_os_error());
    }
}

fn tcp() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write("port.new", format!("{}\n", listener.local_addr().unwrap().port())).unwrap();
    std::fs::rename("port.new", "port").unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut asked = [0; 3];
    stream.read_exact(&mut asked).unwrap();
    let fd = open("f", RW);
    write(fd, &asked);
    check(unsafe { libc::fdatasync(fd) }.into(), "fdatasync");
    stream.write_all(b"OK").unwrap();
}

/// The child is not run until its parent has gone on.
fn latechild() {
    extern "C" fn later() {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    check(unsafe { libc::pthread_atfork(None, None, Some(later)) }.into(), "pthread_atfork");
    let fd = open("f", RW);
    let child = check(unsafe { libc::fork() }.into(), "fork");
    if child == 0 {
        std::process::exit(0);
    }
    write(fd, b"after");
    check(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }.into(), "waitpid");
}
