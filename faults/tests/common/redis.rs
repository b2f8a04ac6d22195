//! A redis-server under the recorder, on a unix socket of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use unplug_faults::record::Recorder;

/// Debian's server, or nothing: then the caller says so loudly.
pub fn server() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/bin/redis-server");
    if path.exists() {
        return Some(path);
    }
    if std::env::var("UNPLUG_REQUIRE_REDIS").as_deref() == Ok("1") {
        panic!("redis-server is required, and not installed");
    }
    eprintln!("not measured: redis-server is not installed");
    None
}

/// The arguments for a server in `dir` with a socket beside it.
pub fn arguments(dir: &Path, socket: &Path, policy: &str) -> Vec<String> {
    std::fs::write(dir.join("redis.conf"), "save \"\"\n").unwrap();
    let text = |s: &str| s.to_string();
    vec![
        dir.join("redis.conf").display().to_string(),
        text("--dir"),
        dir.display().to_string(),
        text("--port"),
        text("0"),
        text("--unixsocket"),
        socket.display().to_string(),
        text("--appendonly"),
        text("yes"),
        text("--appendfsync"),
        policy.to_string(),
        text("--jemalloc-bg-thread"),
        text("no"),
        text("--auto-aof-rewrite-percentage"),
        text("0"),
    ]
}

/// A client that counts the bytes it receives.
pub struct Client {
    reader: BufReader<UnixStream>,
    pub received: u64,
    number: u32,
}

impl Client {
    pub fn connect(recorder: &Recorder, number: u32, socket: &Path, child: &mut Child) -> Client {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended: {status}");
            }
            if let Ok(stream) = recorder.client_name(number).connect(socket) {
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                return Client { reader: BufReader::new(stream), received: 0, number };
            }
            assert!(Instant::now() < end, "the server does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.received += self.reader.read_line(&mut line).unwrap() as u64;
        assert!(line.ends_with("\r\n"), "connection lost: {line:?}");
        line
    }

    fn reply(&mut self) -> String {
        let mut line = self.line();
        match line.as_bytes()[0] {
            b'$' if !line.starts_with("$-1") => {
                let len: usize = line[1..].trim().parse().unwrap();
                let mut bytes = vec![0; len + 2];
                self.reader.read_exact(&mut bytes).unwrap();
                self.received += bytes.len() as u64;
                line.push_str(&String::from_utf8_lossy(&bytes));
            }
            b'*' => {
                let count: usize = line[1..].trim().parse().unwrap();
                for _ in 0..count {
                    line.push_str(&self.reply());
                }
            }
            _ => {}
        }
        line
    }

    /// One inline command, recorded as operation `id`.
    pub fn call(&mut self, recorder: &Recorder, id: &mut u32, command: &str) -> String {
        recorder.invoke(self.number, *id, command.as_bytes());
        self.reader.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let reply = self.reply();
        recorder.reply(self.number, *id, reply.as_bytes(), self.received);
        *id += 1;
        reply
    }

    /// Sends a command that gets no reply.
    pub fn send(&mut self, command: &str) {
        self.reader.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
    }

    /// Waits until no save or rewrite is under way.
    pub fn settle(&mut self, recorder: &Recorder, id: &mut u32) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let info = self.call(recorder, id, "INFO persistence");
            let quiet = ["rdb_bgsave_in_progress:0", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"];
            if quiet.iter().all(|q| info.contains(q)) {
                return;
            }
            assert!(Instant::now() < end, "the background job does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The whole tour: writes, a transaction, every kind of save, a clean end.
pub fn tour(recorder: &Recorder, socket: &Path, child: &mut Child) {
    let mut id = 0;
    let mut client = Client::connect(recorder, 0, socket, child);
    for i in 0..20 {
        assert_eq!(client.call(recorder, &mut id, &format!("SET key:{i} value:{i}")), "+OK\r\n");
    }
    client.call(recorder, &mut id, "MULTI");
    client.call(recorder, &mut id, "INCR counter");
    client.call(recorder, &mut id, "RPUSH list a b c");
    assert!(client.call(recorder, &mut id, "EXEC").starts_with("*2"));
    client.settle(recorder, &mut id);
    assert!(client.call(recorder, &mut id, "BGSAVE").starts_with("+Background"));
    client.settle(recorder, &mut id);
    assert!(client.call(recorder, &mut id, "BGREWRITEAOF").starts_with("+Background"));
    client.settle(recorder, &mut id);
    assert_eq!(client.call(recorder, &mut id, "SET after rewrite"), "+OK\r\n");
    assert_eq!(client.call(recorder, &mut id, "SAVE"), "+OK\r\n");
    assert_eq!(client.call(recorder, &mut id, "CONFIG SET maxmemory-samples 7"), "+OK\r\n");
    assert_eq!(client.call(recorder, &mut id, "CONFIG REWRITE"), "+OK\r\n");
    client.send("SHUTDOWN SAVE");
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "the server does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The command line of a server.
pub fn command(server: &Path, dir: &Path, socket: &Path, policy: &str) -> Command {
    let mut command = Command::new(server);
    command.args(arguments(dir, socket, policy)).stdout(std::process::Stdio::null());
    command
}
