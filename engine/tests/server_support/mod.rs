//! Starting a server on a unix socket in a directory of its own, and talking to it.

// Each test that includes this uses a part of it, and a failure here is the test's.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use unplug_engine::resp::{Out, Reply};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    socket: std::path::PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts the engine in `dir` and waits until it says that it is ready.
    pub(crate) fn engine(dir: &Path, options: &[&str]) -> Running {
        let socket = dir.join("engine.sock");
        let mut child = Command::new(env!("CARGO_BIN_EXE_unplug-engine"))
            .args(["--port", "0", "--dir"])
            .arg(dir)
            .arg("--unixsocket")
            .arg(&socket)
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "Ready to accept connections\n");
        Running { child, socket }
    }

    /// A server that was started in another way.
    pub(crate) fn over(child: Child, socket: std::path::PathBuf) -> Running {
        Running { child, socket }
    }

    /// Starts redis-server in `dir`; `None`, loudly, where there is none to compare with.
    pub(crate) fn redis(dir: &Path, options: &[&str]) -> Option<Running> {
        let socket = dir.join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--enable-debug-command", "local", "--dir"])
            .arg(dir)
            .arg("--unixsocket")
            .arg(&socket)
            .args(options)
            .stdout(Stdio::null())
            .spawn();
        if child.is_err() {
            eprintln!("NOT MEASURED: redis-server is not installed, nothing was compared with it");
            assert_ne!(std::env::var("UNPLUG_REQUIRE_REDIS").as_deref(), Ok("1"), "redis-server is required");
        }
        Some(Running { child: child.ok()?, socket })
    }

    /// Connects, waiting for the socket if it is not there yet.
    pub(crate) fn connect(&self) -> Client {
        let begun = Instant::now();
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    return Client { stream, input: Vec::new() };
                }
                Err(e) => assert!(begun.elapsed() < PATIENCE, "no server: {e}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A client.
pub(crate) struct Client {
    stream: UnixStream,
    input: Vec<u8>,
}

impl Client {
    pub(crate) fn send(&mut self, argv: &[&[u8]]) {
        let mut out = Out::default();
        out.array(argv.len());
        argv.iter().for_each(|a| out.bulk(a));
        self.send_raw(out.bytes());
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Reply {
        loop {
            if let Some((reply, used)) = Reply::decode(&self.input).unwrap() {
                self.input.drain(..used);
                return reply;
            }
            let mut chunk = [0; 65536];
            let n = match self.stream.read(&mut chunk) {
                // A read with a time limit is not begun anew by the kernel when the process was stopped.
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.unwrap(),
            };
            assert!(n > 0, "the server closed the connection");
            self.input.extend_from_slice(&chunk[..n]);
        }
    }

    /// So many bytes, as they come.
    pub(crate) fn receive_raw(&mut self, len: usize) -> String {
        let mut bytes = std::mem::take(&mut self.input);
        let had = bytes.len();
        bytes.resize(len.max(had), 0);
        self.stream.read_exact(&mut bytes[had..]).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Whether the server has closed the connection and sent nothing more.
    pub(crate) fn closed(&mut self) -> bool {
        self.input.is_empty() && matches!(self.end(), Ok(rest) if rest.is_empty())
    }

    /// What comes next, or nothing at the end.
    pub(crate) fn end(&mut self) -> std::io::Result<Vec<u8>> {
        let mut chunk = vec![0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                // As in `receive`.
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                read => return read.map(|n| chunk[..n].to_vec()),
            }
        }
    }

    pub(crate) fn call(&mut self, line: &str) -> Reply {
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.send(&argv);
        self.receive()
    }
}
