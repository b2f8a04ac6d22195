//! One worker process, as its parent sees it.

use crate::recovery::Aside;
use crate::worker::fork::{kill_group, pass_socket, tie_to_parent};
use crate::worker::pool::Limits;
use crate::worker::protocol::{Answer, Chain, decode, encode};
use crate::worker::scratch::remove;
use crate::worker::serve::{ENV_DIR, log_tail};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use unplug_faults::image::SharedImage;
use unplug_faults::reads::Log;

/// One image to recover.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: u64,
    /// Where the target's clock stands during the recovery.
    pub(crate) now_ms: u64,
    pub(crate) image: SharedImage,
    /// It is repeated alone, in a fresh process.
    pub(crate) alone: bool,
    /// What was seen of it before it was to be repeated.
    pub(crate) aside: Aside,
}

/// A worker process with the jobs that it was given. Killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    child: Child,
    socket: UnixStream,
    dir: PathBuf,
    /// Jobs without an answer, in the order in which they were given.
    jobs: VecDeque<Job>,
    chain: Chain,
    output: Vec<u8>,
    /// How much of the output the socket has taken.
    sent: usize,
    input: Vec<u8>,
    answers: VecDeque<(Job, Answer)>,
    answered: bool,
    reaped: bool,
    /// Since when there has been something to do and no answer.
    since: Instant,
    /// Where it is noted what it reads, if it is.
    _log: Option<Log>,
    /// The worker's CPU time when it was first found silent on its present job.
    cpu_then: Option<Duration>,
}

impl WorkerProcess {
    pub(crate) fn spawn(mut command: Command, dir: PathBuf, log: Option<Log>) -> io::Result<WorkerProcess> {
        std::fs::create_dir(&dir)?;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        tie_to_parent(&mut command);
        pass_socket(&mut command, theirs.into());
        command.env(ENV_DIR, &dir).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(dir.join("stderr"))?);
        if let Some(log) = &log {
            log.arm(&mut command);
        }
        let child = command.spawn()?;
        Ok(WorkerProcess {
            child,
            socket: ours,
            dir,
            jobs: VecDeque::new(),
            chain: Chain::default(),
            output: Vec::new(),
            sent: 0,
            input: Vec::new(),
            answers: VecDeque::new(),
            answered: false,
            reaped: false,
            since: Instant::now(),
            _log: log,
            cpu_then: None,
        })
    }

    /// How many jobs it has.
    pub(crate) fn load(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    pub(crate) fn ever_answered(&self) -> bool {
        self.answered
    }

    pub(crate) fn log_tail(&self) -> String {
        log_tail(&self.dir.join("stderr"))
    }

    /// Gives it a job. What the socket does not take at once goes with later exchanges.
    pub(crate) fn give(&mut self, job: Job) -> io::Result<()> {
        if self.jobs.is_empty() {
            self.progress();
        }
        encode(&mut self.output, &self.chain.job(job.id, job.image.clone(), job.now_ms, job.alone))?;
        self.jobs.push_back(job);
        // A dead worker shows in `exchange`, where its jobs are taken care of.
        let _ = self.write();
        Ok(())
    }

    /// Writes and reads what can be without waiting.
    ///
    /// # Errors
    /// The worker is dead, or talks nonsense.
    pub(crate) fn exchange(&mut self) -> io::Result<()> {
        // A worker may die with answers in the socket: they are read first.
        let written = self.write();
        self.read()?;
        written
    }

    fn write(&mut self) -> io::Result<()> {
        while self.sent < self.output.len() {
            match self.socket.write(&self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 64 << 10];
        let closed = loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => break true,
                Ok(n) => self.input.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => break true,
                Err(e) => return Err(e),
            }
        };
        let mut at = 0;
        while let Some((answer, len)) = decode::<Answer>(&self.input[at..])? {
            at += len;
            let Some(job) = self.jobs.pop_front().filter(|job| job.id == answer.id()) else {
                return Err(io::Error::other(format!("an answer to job {} out of turn", answer.id())));
            };
            self.answers.push_back((job, answer));
            self.answered = true;
            self.progress();
        }
        self.input.drain(..at);
        if closed {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, self.how_it_ended()));
        }
        Ok(())
    }

    fn how_it_ended(&mut self) -> String {
        match self.kill() {
            Ok(status) => format!("worker ended: {status}"),
            Err(e) => format!("worker ended: {e}"),
        }
    }

    /// Kills the process and its group, and reaps it. Once reaped its number may be another's: not killed again.
    fn kill(&mut self) -> io::Result<ExitStatus> {
        if !std::mem::replace(&mut self.reaped, true) {
            kill_group(self.child.id());
        }
        self.child.wait()
    }

    /// The next answer, with its job.
    pub(crate) fn answer(&mut self) -> Option<(Job, Answer)> {
        self.answers.pop_front()
    }

    fn progress(&mut self) {
        self.since = Instant::now();
        self.cpu_then = None;
    }

    /// For how long it has had something to do and not answered.
    pub(crate) fn silent_for(&self) -> Duration {
        if self.jobs.is_empty() { Duration::ZERO } else { self.since.elapsed() }
    }

    /// Whether its present job goes beyond a limit, and which. CPU time is that of the worker's own process:
    /// forked lives and servers are limited by the worker.
    pub(crate) fn overdue(&mut self, limits: &Limits) -> Option<&'static str> {
        let silent = self.silent_for();
        if silent > limits.wall {
            return Some("no answer");
        }
        // No job can have used the limit's CPU time in less real time: spares the call in nearly every case.
        if silent < limits.cpu / 4 {
            return None;
        }
        let used = cpu_time(self.child.id())?;
        let then = *self.cpu_then.get_or_insert(used);
        (used.saturating_sub(then) >= limits.cpu).then_some("over its CPU time")
    }

    /// Kills it; gives back the jobs without an answer.
    pub(crate) fn end(&mut self) -> VecDeque<Job> {
        let _ = self.kill();
        std::mem::take(&mut self.jobs)
    }
}

impl AsFd for WorkerProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How long an idle worker may take to leave.
const FAREWELL: Duration = Duration::from_secs(2);

impl WorkerProcess {
    /// Lets an idle worker end by itself, so that what it has started (a server that is forked for each image) is
    /// gone, too, when it is. One that is busy, or does not go, is killed.
    fn leave(&self) {
        if !self.jobs.is_empty() || self.reaped || self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let Ok(pid) = i32::try_from(self.child.id()) else { return };
        // Looks without reaping, as its group is killed afterwards in any case.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let begin = Instant::now();
        while begin.elapsed() < FAREWELL {
            match waitid(Id::Pid(Pid::from_raw(pid)), flags) {
                Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_micros(200)),
                _ => return,
            }
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.leave();
        self.end();
        remove(&self.dir);
    }
}

/// CPU time that a living process has used.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?);
    let clock = nix::time::clock_getcpuclockid(pid).ok()?;
    nix::time::clock_gettime(clock).ok().map(Duration::from)
}
