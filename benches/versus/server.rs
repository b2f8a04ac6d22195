//! A server that is measured.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Result;
use super::client::Client;

/// How long a server may take to load and answer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Engine,
    Redis,
}

impl Kind {
    fn program(self) -> String {
        match self {
            // Another build of the engine can be measured without building this one.
            Kind::Engine => std::env::var("UNPLUG_BENCH_ENGINE")
                .unwrap_or_else(|_| env!("CARGO_BIN_EXE_unplug-engine").to_owned()),
            Kind::Redis => "redis-server".to_owned(),
        }
    }
}

/// A running server on a port of its own; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    /// From the start of the process to its first answer.
    pub(crate) ready_after: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts one in `dir` and waits until it has loaded what is there.
    pub(crate) fn start(kind: Kind, dir: &Path, options: &[&str]) -> Result<Server> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let begun = Instant::now();
        let mut command = Command::new(kind.program());
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--auto-aof-rewrite-percentage", "0", "--dir"]).arg(dir);
        command.args(options).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Server { child: command.spawn()?, port, ready_after: Duration::ZERO };
        while !server.answers() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{}: {status}", kind.program()).into());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{} does not answer", kind.program()).into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        server.ready_after = begun.elapsed();
        Ok(server)
    }

    fn answers(&self) -> bool {
        Client::connect(self.port).and_then(|mut c| c.call(&["PING"])).is_ok_and(|reply| reply == "+PONG")
    }

    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(self.port)
    }

    /// CPU time of all its threads so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            sum += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}
