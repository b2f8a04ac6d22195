//! One guest that cannot be let in, or a terminal that is closed, is no end for the others.

use crate::directory;
use crate::server_support::{Client, Running};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use unplug_engine::resp::Reply;

/// Fails calls with `FAIL_ERRNO`: accept4 from the first on, or epoll_ctl from that on which would add the first guest.
const FAILING: &str = r#"
    #define _GNU_SOURCE
    #include <errno.h>
    #include <fcntl.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static int fails(const char *call, int first) {
        static int seen;
        const char *name = getenv("FAIL_CALL");
        if (!name || strcmp(name, call)) return 0;
        int n = seen++ - first;
        if (n < 0 || n >= atoi(getenv("FAIL_COUNT"))) return 0;
        errno = atoi(getenv("FAIL_ERRNO"));
        return 1;
    }
    /* The calls in their order: where FAIL_CALLS says. */
    static void note(const char *call) {
        const char *name = getenv("FAIL_CALLS");
        int saved = errno, fd = name ? open(name, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
        if (fd >= 0 && (write(fd, call, 1) != 1 || close(fd))) abort();
        errno = saved;
    }
    int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags) {
        if (fails("accept4", 0)) {
            note("a");
            return -1;
        }
        return syscall(SYS_accept4, fd, address, len, flags);
    }
    int epoll_ctl(int ep, int op, int fd, struct epoll_event *event) {
        /* The signals and the one listener come first. */
        if (op == EPOLL_CTL_ADD && fails("epoll_ctl", 2)) return -1;
        if (op == EPOLL_CTL_MOD) note(event->events & EPOLLIN ? "+" : "-");
        return syscall(SYS_epoll_ctl, ep, op, fd, event);
    }
"#;

fn library(place: &Path) -> std::path::PathBuf {
    let (source, library) = (place.join("failing.c"), place.join("failing.so"));
    std::fs::write(&source, FAILING).unwrap();
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(made.expect("cc, as other tests need it").success());
    library
}

fn patiently(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_guest_who_cannot_be_let_in_is_no_end_for_the_others() {
    let place = directory();
    let library = library(place.path());
    for (call, errno) in [
        ("accept4", libc::EPROTO),
        ("accept4", libc::ENOBUFS),
        ("accept4", libc::ENOMEM),
        ("accept4", libc::EPERM),
        ("accept4", libc::ECONNABORTED),
        ("accept4", libc::ENETUNREACH),
        ("epoll_ctl", libc::ENOSPC),
        ("epoll_ctl", libc::ENOMEM),
    ] {
        let what = format!("{call} {errno}");
        let dir = directory();
        let (socket, said) = (dir.path().join("s"), dir.path().join("said"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_unplug-engine"));
        command.args(["--port", "0", "--dir"]).arg(dir.path()).arg("--unixsocket").arg(&socket);
        command.env("LD_PRELOAD", &library).env("FAIL_CALL", call).env("FAIL_COUNT", "3");
        command.env("FAIL_ERRNO", errno.to_string()).stdout(Stdio::null());
        let child = command.stderr(std::fs::File::create(&said).unwrap()).spawn().unwrap();
        let mut server = Running::over(child, socket);
        let turned_away = if call == "epoll_ctl" { 3 } else { 0 };
        for guest in 0..turned_away {
            assert!(server.connect().closed(), "{what}: guest {guest}");
        }
        let mut client = server.connect();
        assert_eq!(client.call("INCR n"), Reply::Int(1), "{what}");
        let mut second = server.connect();
        assert_eq!(second.call("INCR n"), Reply::Int(2), "{what}");
        client.send(&[b"SHUTDOWN"]);
        let end = client.end();
        assert!(matches!(&end, Ok(rest) if rest.is_empty()), "{what}: {end:?}");
        assert_eq!(server.child.wait().unwrap().code(), Some(0), "{what}");
        let text = std::fs::read_to_string(&said).unwrap();
        let silent = errno == libc::ECONNABORTED;
        assert_eq!(
            text.matches("a client could not be let in").count(),
            usize::from(!silent),
            "{what}: {text}"
        );
        assert_eq!(text.lines().count(), usize::from(!silent), "{what}: {text}");
    }
}

/// Seen before: it tried without a pause, with a whole processor. What a pause lasts is not looked at, but that there is one
/// behind each attempt: the listener is not watched, and then it is.
#[test]
fn a_guest_for_whom_nothing_is_left_is_tried_now_and_then() {
    let place = directory();
    let library = library(place.path());
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS] {
        let dir = directory();
        let (socket, calls) = (dir.path().join("s"), dir.path().join("calls"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_unplug-engine"));
        command.args(["--port", "0", "--dir"]).arg(dir.path()).arg("--unixsocket").arg(&socket);
        command.env("LD_PRELOAD", &library).env("FAIL_CALL", "accept4").env("FAIL_COUNT", "3");
        command.env("FAIL_ERRNO", errno.to_string()).env("FAIL_CALLS", &calls);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Running::over(child, socket);
        assert_eq!(server.connect().call("INCR n"), Reply::Int(1), "{errno}");
        assert_eq!(std::fs::read_to_string(&calls).unwrap(), "a-+a-+a-+", "{errno}");
    }
}

#[test]
fn a_terminal_that_is_closed_is_no_end() {
    let dir = directory();
    let server = Running::engine(dir.path(), &["--appendonly", "yes"]);
    let pid = Pid::from_raw(server.child.id().try_into().unwrap());
    for (n, signal) in [(1, Signal::SIGHUP), (2, Signal::SIGPIPE)] {
        kill(pid, signal).unwrap();
        assert_eq!(server.connect().call("INCR n"), Reply::Int(n), "{signal}");
    }
}

/// A start that hangs in its load: its manifest comes through a pipe.
struct Loading {
    server: Running,
    dir: tempfile::TempDir,
    port: String,
}

impl Loading {
    fn begin() -> Loading {
        let dir = directory();
        let server = Running::engine(dir.path(), &["--appendonly", "yes"]);
        assert_eq!(server.connect().call("INCR n"), Reply::Int(1));
        drop(server);
        let manifest = dir.path().join("appendonlydir/appendonly.aof.manifest");
        std::fs::rename(&manifest, dir.path().join("kept")).unwrap();
        nix::unistd::mkfifo(&manifest, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        // A port that is free now.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let socket = dir.path().join("s");
        let mut command = Command::new(env!("CARGO_BIN_EXE_unplug-engine"));
        command.args(["--appendonly", "yes", "--port", &port, "--dir"]).arg(dir.path());
        command.arg("--unixsocket").arg(&socket).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        let server = Running::over(child, socket.clone());
        patiently("the socket is there", || socket.exists());
        Loading { server, dir, port }
    }

    /// Lets it load; it reads its manifest as often as it likes.
    fn go_on(&self) {
        let manifest = self.dir.path().join("appendonlydir/appendonly.aof.manifest");
        let text = std::fs::read(self.dir.path().join("kept")).unwrap();
        std::fs::write(manifest, text).unwrap();
    }
}

#[test]
fn whoever_comes_while_it_loads_is_served_when_it_has_loaded() {
    let loading = Loading::begin();
    // It listens: nobody is refused, and nobody is answered yet.
    let mut guest = UnixStream::connect(loading.dir.path().join("s")).unwrap();
    std::io::Write::write_all(&mut guest, b"INCR n\r\n").unwrap();
    let mut far = std::net::TcpStream::connect(format!("127.0.0.1:{}", loading.port)).unwrap();
    loading.go_on();
    let mut answer = [0; 4];
    std::io::Read::read_exact(&mut guest, &mut answer).unwrap();
    assert_eq!(&answer, b":2\r\n");
    std::io::Write::write_all(&mut far, b"INCR n\r\n").unwrap();
    std::io::Read::read_exact(&mut far, &mut answer).unwrap();
    assert_eq!(&answer, b":3\r\n");
}

#[test]
fn a_port_or_a_socket_of_an_engine_that_loads_is_taken() {
    let loading = Loading::begin();
    let other = crate::refused::filled(&["--appendonly", "yes"]);
    let aof = ["--appendonly", "yes", "--port", &loading.port];
    let taken = format!("could not listen on 127.0.0.1:{}: Address already in use", loading.port);
    crate::refused::fails_in(other.path(), &aof, 1, &taken);
    let socket = loading.dir.path().join("s");
    let at = ["--appendonly", "yes", "--unixsocket", socket.to_str().unwrap()];
    crate::refused::fails_in(other.path(), &at, 1, "another server listens there");
    // One that loads is not disturbed, however many have looked.
    loading.go_on();
    let mut client: Client = loading.server.connect();
    assert_eq!(client.call("INCR n"), Reply::Int(2));
    drop(loading);
    // What a killed one has left is in nobody's way.
    let server = Running::engine(other.path(), &["--appendonly", "yes"]);
    assert_eq!(server.connect().call("INCR n"), Reply::Int(2));
}
