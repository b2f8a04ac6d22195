//! A server process: its command line, its life, its end.

use crate::record::RecordError;
use crate::target::client::Client;
use crate::target::policy::Policy;
use crate::target::template::Fork;
use crate::worker::fork::{kill_group, tie_to_parent};
use crate::worker::process::cpu_time;
use crate::worker::serve::log_tail;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Which program serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// The embedded engine: this `unplug` executable, as `unplug engine`.
    Engine(PathBuf),
    /// A server of redis-server's command line; a name without `/` is looked for in `PATH`.
    Server(PathBuf),
}

impl Program {
    /// The executable.
    pub fn path(&self) -> &Path {
        match self {
            Program::Engine(path) | Program::Server(path) => path,
        }
    }

    /// The program's name and version, such as `engine` or `redis-server 7.0.15`.
    ///
    /// # Errors
    /// [`RecordError::MissingServer`], [`RecordError::Start`] when it does not run.
    pub fn name(&self) -> Result<String, RecordError> {
        let Program::Server(path) = self else { return Ok("engine".into()) };
        let text = version_of(path)?;
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(match version(&text) {
            Some((product, version)) => format!("{product}-server {version}"),
            None => file,
        })
    }

    /// The command that serves `dir` on the socket, under a policy. `extra` options come last, so that they win.
    pub fn command(&self, dir: &Path, socket: &Path, policy: Policy, extra: &[(String, String)]) -> Command {
        let mut command = Command::new(self.path());
        if let Program::Engine(_) = self {
            command.arg("engine");
        }
        let mut option = |name: &str, value: &std::ffi::OsStr| {
            command.arg(format!("--{name}")).arg(value);
        };
        option("dir", dir.as_os_str());
        option("port", "0".as_ref());
        option("unixsocket", socket.as_os_str());
        if let Program::Server(_) = self {
            // Its own thread would make the run depend on real time, and stall under a clock that stands.
            option("jemalloc-bg-thread", "no".as_ref());
            option("daemonize", "no".as_ref());
            // Testing gigabytes of memory after a crash takes seconds and tells nothing here.
            option("crash-memcheck-enabled", "no".as_ref());
        }
        for (name, value) in policy.options() {
            option(name, value.as_ref());
        }
        for (name, value) in extra {
            option(name, value.as_ref());
        }
        command
    }
}

/// What the program prints when it is asked for its version.
fn version_of(path: &Path) -> Result<String, RecordError> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|e| start_error(path, e))?;
    let started = Instant::now();
    while child.try_wait().map_err(|e| start_error(path, e))?.is_none() {
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            let log =
                "asked with --version it did not end: a server that takes redis-server's options does".into();
            let program = path.display().to_string();
            return Err(RecordError::NotReady { program, waited_s: PATIENCE.as_secs(), log });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().map_err(|e| start_error(path, e))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The product and version in `Redis server v=7.0.15 sha=...`.
fn version(text: &str) -> Option<(String, String)> {
    let product = text.split_whitespace().next()?.to_ascii_lowercase();
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some((product, version.to_owned()))
}

/// A program that cannot be started: missing, or something else.
pub(crate) fn start_error(path: &Path, error: io::Error) -> RecordError {
    let program = path.display().to_string();
    if error.kind() == io::ErrorKind::NotFound {
        RecordError::MissingServer { program }
    } else {
        RecordError::Start { program, source: error }
    }
}

/// A running server. Killed with its process group, and reaped, when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    status: Option<ExitStatus>,
    log: PathBuf,
}

/// Who started it.
#[derive(Debug)]
enum Process {
    /// This process.
    Child(Child),
    /// A template; but it is this process's child.
    Fork(Fork),
}

impl Server {
    /// Starts the command, whose output goes to `log`, in a process group of its own that dies with this
    /// thread.
    ///
    /// # Errors
    /// As `start_error` tells them apart; or the log cannot be made.
    pub fn spawn(command: Command, log: &Path) -> Result<Server, RecordError> {
        let file = std::fs::File::create(log).map_err(RecordError::io("cannot make the log", log))?;
        let again = file.try_clone().map_err(RecordError::io("cannot make the log", log))?;
        Server::start(command, log, Stdio::from(file), again)
    }

    /// As [`Server::spawn`], but its standard output goes elsewhere.
    pub(crate) fn spawn_to(command: Command, log: &Path, stdout: Stdio) -> Result<Server, RecordError> {
        let file = std::fs::File::create(log).map_err(RecordError::io("cannot make the log", log))?;
        Server::start(command, log, stdout, file)
    }

    fn start(
        mut command: Command,
        log: &Path,
        stdout: Stdio,
        stderr: std::fs::File,
    ) -> Result<Server, RecordError> {
        tie_to_parent(&mut command);
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let program = PathBuf::from(command.get_program());
        let child = command.spawn().map_err(|e| start_error(&program, e))?;
        Ok(Server { process: Process::Child(child), status: None, log: log.to_path_buf() })
    }

    /// A server that a template has forked; its output goes to `log`.
    pub(crate) fn forked(fork: Fork, log: &Path) -> Server {
        Server { process: Process::Fork(fork), status: None, log: log.to_path_buf() }
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Child(child) => child.id(),
            Process::Fork(fork) => fork.pid,
        }
    }

    /// The tail of what it wrote, without numbers of processes and times.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log).lines().map(without_stamp).collect::<Vec<_>>().join("\n")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_some() {
            return self.status;
        }
        // Looks without reaping: while the process is not reaped its number, and with it its group's,
        // cannot be another's, so the group can be killed.
        let pid = Pid::from_raw(i32::try_from(self.pid()).ok()?);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(pid), flags) {
            Ok(WaitStatus::StillAlive) => {}
            _ => self.kill(),
        }
        self.status
    }

    /// Kills it and its process group by SIGKILL, and reaps it.
    pub fn kill(&mut self) {
        if self.status.is_some() {
            return;
        }
        kill_group(self.pid());
        self.status = match &mut self.process {
            Process::Fork(fork) => Some(fork.reap()),
            Process::Child(child) => child.wait().ok(),
        };
    }

    /// CPU time used so far; `None` once it has ended.
    pub fn cpu_time(&self) -> Option<Duration> {
        if self.status.is_some() { None } else { cpu_time(self.pid()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A line of a Redis server's log without its process's number and the time, `4711:M 21 Nov 2026 02:57:52.544 # `: they
/// are another's on each start, and no part of a result.
pub(crate) fn without_stamp(line: &str) -> &str {
    let words: Vec<&str> = line.splitn(7, ' ').collect();
    let [pid, day, month, year, time, mark, text] = words.as_slice() else { return line };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let process =
        pid.split_once(':').is_some_and(|(pid, role)| digits(pid) && ["M", "S", "C", "X"].contains(&role));
    let date = digits(day) && month.len() == 3 && digits(year);
    let clock = time.split([':', '.']).filter(|part| digits(part)).count() == 4;
    let level = [".", "-", "*", "#"].contains(mark);
    if process && date && clock && level { text } else { line }
}

/// Exit status or signal, in words.
pub(crate) fn how(status: ExitStatus) -> String {
    status.to_string()
}

/// Whether the server on this socket answers: `false` while it does not listen, or is busy.
pub(crate) fn is_serving(socket: &Path, patience: Duration) -> bool {
    Client::connect(socket).is_ok_and(|mut client| client.call(&["PING"], patience).is_ok())
}

/// Whether there may be a connection later.
pub(crate) fn not_yet(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let redis =
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0";
        assert_eq!(version(redis), Some(("redis".into(), "7.0.15".into())));
        assert_eq!(version("Valkey server v=8.1.1 sha=0"), Some(("valkey".into(), "8.1.1".into())));
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn a_missing_server_names_what_to_do() {
        let error = Program::Server("no-such-redis".into()).name().unwrap_err().to_string();
        assert!(error.contains("--server PATH") && error.contains("apt-get install redis-server"), "{error}");
    }

    #[test]
    fn the_command_line_has_the_policy_and_lets_extras_win() {
        let program = Program::Engine("/bin/unplug".into());
        let extra = [("appendfsync".to_owned(), "no".to_owned())];
        let command = program.command(Path::new("/d"), Path::new("/s"), Policy::Always, &extra);
        let args: Vec<&str> = command.get_args().filter_map(|a| a.to_str()).collect();
        assert_eq!(&args[..7], ["engine", "--dir", "/d", "--port", "0", "--unixsocket", "/s"]);
        assert_eq!(&args[args.len() - 4..], ["--appendfsync", "always", "--appendfsync", "no"]);
    }

    #[test]
    fn a_killed_server_takes_its_children_along() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & echo $!; wait"]);
        let mut server = Server::spawn(command, &dir.path().join("log")).unwrap();
        let child = loop {
            let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
            if let Ok(pid) = text.trim().parse::<i32>() {
                break Pid::from_raw(pid);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        assert_eq!(server.ended(), None);
        server.kill();
        assert!(server.ended().is_some_and(|s| !s.success()));
        // The grandchild is init's to reap: it is gone, or a zombie, soon.
        let stat = format!("/proc/{child}/stat");
        for _ in 0..500 {
            match std::fs::read_to_string(&stat) {
                Ok(text) if !text.contains(") Z ") => std::thread::sleep(Duration::from_millis(10)),
                _ => return,
            }
        }
        panic!("{child} is still there");
    }
}
