//! What the recorded children do. Calls go through libc directly, so that each is the one that it says.
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used, unreachable_pub)]

use std::ffi::CString;

/// A role's name and its play.
pub type Role = (&'static str, fn());

/// All roles.
pub const ROLES: &[Role] = &[
    ("writes", writes),
    ("names", names),
    ("threads", threads),
    ("fork", fork),
    ("opens", opens),
    ("shapes", shapes),
    ("copies", copies),
    ("stripped", stripped),
    ("late", late),
    ("uring", uring),
    ("mapped", mapped),
    ("across", across),
    ("masked", masked),
    ("endless", endless),
    ("static", static_program),
    ("passed", passed),
    ("marks", marks),
    ("rustix", rustix_calls),
    ("sqlite", sqlite),
];

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

/// SQLite, built from its own C source: a rollback journal that is unlinked at each commit, and VACUUM.
fn sqlite() {
    let database = rusqlite::Connection::open("db").unwrap();
    database.pragma_update(None, "journal_mode", "DELETE").unwrap();
    database.pragma_update(None, "synchronous", "EXTRA").unwrap();
    database.execute_batch("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)").unwrap();
    for k in 0..4 {
        database.execute("INSERT INTO t VALUES (?1, zeroblob(5000))", [k]).unwrap();
    }
    database
        .execute_batch("BEGIN; DELETE FROM t WHERE k = 1; UPDATE t SET v = 'x' WHERE k = 2; COMMIT; VACUUM")
        .unwrap();
    database.close().unwrap();
}

fn opens() {
    let fd = open("a", libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL);
    write(fd, b"first");
    unsafe { libc::close(fd) };
    let fd = open("a", libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND);
    write(fd, b"+");
    unsafe {
        assert_eq!(libc::pwrite(fd, b"end".as_ptr().cast(), 3, 0), 3, "O_APPEND wins over the offset");
        libc::close(fd);
    }
    let fd = open("a", libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_DSYNC);
    write(fd, b"d");
    unsafe { libc::close(fd) };
    let fd = open("a", libc::O_WRONLY | libc::O_SYNC);
    write(fd, b"s");
    unsafe {
        libc::close(fd);
        let fd = check(libc::creat(path("b").as_ptr(), 0o600).into(), "creat");
        libc::close(fd);
        let how: [u64; 3] = [(libc::O_RDWR | libc::O_CREAT) as u64, 0o600, 0];
        let fd = check(
            libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path("c").as_ptr(), how.as_ptr(), 24usize),
            "openat2",
        );
        libc::close(fd);
        let fd = open(".", libc::O_TMPFILE | libc::O_RDWR);
        write(fd, b"t");
        let own = path(&format!("/proc/self/fd/{fd}"));
        let at = libc::AT_FDCWD;
        check(
            libc::linkat(at, own.as_ptr(), at, path("named").as_ptr(), libc::AT_SYMLINK_FOLLOW).into(),
            "linkat",
        );
        // Outside the recorded directory: nothing of it counts.
        let fd = open("/dev/null", libc::O_WRONLY);
        write(fd, b"nothing");
    }
}

fn shapes() {
    let fd = open("f", RW);
    write(fd, &[b'x'; 9000]);
    unsafe {
        check(libc::ftruncate(fd, 8192).into(), "ftruncate");
        check(libc::truncate(path("f").as_ptr(), 8200).into(), "truncate");
        check(libc::fallocate(fd, 0, 8192, 4096).into(), "fallocate");
        check(libc::fallocate(fd, 1, 20000, 10).into(), "KEEP_SIZE");
        check(libc::fallocate(fd, 3, 0, 4096).into(), "PUNCH_HOLE");
        assert_eq!(libc::fallocate(fd, 0x55, 0, 1), -1);
        libc::sync();
        check(libc::syncfs(fd).into(), "syncfs");
    }
}

fn copies() {
    let from = open("from", RW);
    write(from, b"0123456789");
    let to = open("to", libc::O_WRONLY | libc::O_CREAT);
    unsafe {
        let (mut a, mut b) = (2i64, 3i64);
        check(libc::copy_file_range(from, &mut a, to, &mut b, 4, 0) as i64, "copy_file_range");
        let mut at = 0;
        check(libc::sendfile(to, from, &mut at, 3) as i64, "sendfile");
        let mut pipe = [0; 2];
        check(libc::pipe(pipe.as_mut_ptr()).into(), "pipe");
        write(pipe[1], b"piped");
        let mut at = 10i64;
        let none = std::ptr::null_mut();
        check(libc::splice(pipe[0], none, to, &mut at, 5, 0) as i64, "splice");
    }
}

/// Executes a program without its environment: the shim goes along all the same.
fn stripped() {
    let shell = path("/bin/sh");
    let script = path("echo from-the-shell > made");
    let arguments = [shell.as_ptr(), c"-c".as_ptr(), script.as_ptr(), std::ptr::null()];
    let nothing = [std::ptr::null()];
    unsafe { libc::execve(shell.as_ptr(), arguments.as_ptr(), nothing.as_ptr()) };
    panic!("execve: {}", std::io::Error::last_os_error());
}

/// Writes through a descriptor that was open before the shim came: standard input.
fn late() {
    write(0, b"inherited");
    assert_eq!(unsafe { libc::fsync(0) }, 0);
}

fn uring() {
    assert_eq!(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, 0) }, -1);
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS));
}

fn mapped() {
    let fd = open("m", RW);
    unsafe {
        check(libc::ftruncate(fd, 4096).into(), "ftruncate");
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let at = libc::mmap(std::ptr::null_mut(), 4096, prot, libc::MAP_SHARED, fd, 0);
        assert_ne!(at, libc::MAP_FAILED);
        *at.cast::<u8>() = 7;
    }
}

fn across() {
    let fd = open("x.ignored", libc::O_WRONLY | libc::O_CREAT);
    write(fd, b"log");
    assert_eq!(unsafe { libc::rename(path("x.ignored").as_ptr(), path("x").as_ptr()) }, 0);
}

/// A program that blocks every signal, and one that takes SIGSYS, are still followed.
fn masked() {
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut()), 0);
        libc::signal(libc::SIGSYS, libc::SIG_IGN);
        let text = path("masked");
        let fd = libc::syscall(libc::SYS_open, text.as_ptr(), libc::O_WRONLY | libc::O_CREAT, 0o600);
        check(libc::syscall(libc::SYS_write, fd, b"still".as_ptr(), 5), "write");
    }
}

/// Writes until it is killed.
fn endless() {
    let fd = open("endless", libc::O_WRONLY | libc::O_CREAT);
    loop {
        write(fd, b"again and again and again and again ");
    }
}

/// Executes the static program that the test has put beside the recorded directory.
fn static_program() {
    let program = path(&std::env::var("UNPLUG_TEST_STATIC").unwrap());
    let arguments = [program.as_ptr(), std::ptr::null()];
    unsafe { libc::execv(program.as_ptr(), arguments.as_ptr()) };
    panic!("execv: {}", std::io::Error::last_os_error());
}

/// Hands a recorded file's descriptor to whoever holds the other end of a socket.
fn passed() {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use std::os::fd::AsRawFd;
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let fds = [open("given", RW)];
    let data = [std::io::IoSlice::new(b"x")];
    let control = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(ours.as_raw_fd(), &data, &control, MsgFlags::empty(), None).unwrap();
}

fn marks() {
    assert!(unplug_faults::mark::is_recorded());
    assert!(unplug_faults::mark::phase("append"));
    assert!(unplug_faults::mark::invoke(3, 7, b"SET"));
    let fd = open("f", RW);
    write(fd, b"x");
    assert!(unplug_faults::mark::reply(3, 7, b"OK"));
}
