//! The parent's side: keeps worker processes busy, replaces those that die, repeats suspects alone.

use crate::pool::{Pool, PoolError};
use crate::recovery::{Aside, Lives, Outcome};
use crate::worker::process::{Job, WorkerProcess};
use crate::worker::protocol::Answer;
use crate::worker::scratch::Scratch;
use crate::worker::sound::ENV_SOUND;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use unplug_faults::image::SharedImage;
use unplug_faults::reads::Log;

/// When a recovery has gone on for too long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// CPU time that one image may use in a worker's own process. Beyond it the target *hangs*, if it does so
    /// again alone.
    pub cpu: Duration,
    /// Real time without an answer, after which the state is *not measured*. Generous: a busy machine is no
    /// fault of the target's.
    pub wall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { cpu: Duration::from_secs(5), wall: Duration::from_secs(180) }
    }
}

/// The environment variable that gives the limit of CPU time, in whole seconds.
pub const ENV_CPU: &str = "UNPLUG_CPU_LIMIT";

impl Limits {
    /// The limits that the environment asks for; workers inherit them.
    ///
    /// # Errors
    /// What is wrong with [`ENV_CPU`].
    pub fn asked() -> Result<Limits, String> {
        let asked = std::env::var(ENV_CPU).ok().filter(|text| !text.is_empty());
        Limits::with_cpu(asked.as_deref())
    }

    fn with_cpu(seconds: Option<&str>) -> Result<Limits, String> {
        let Some(text) = seconds else { return Ok(Limits::default()) };
        match text.parse::<u64>() {
            Ok(seconds @ 1..=3600) => Ok(Limits { cpu: Duration::from_secs(seconds), ..Limits::default() }),
            _ => Err(format!("{ENV_CPU} is '{text}': it is whole seconds of CPU time, from 1 to 3600")),
        }
    }
}

/// Images that one worker has at hand at once, so that it need not wait for its parent.
const DEPTH: usize = 4;
/// So many neighbours in a row are one worker's: they differ in least, and what one comes to often spares another a
/// start.
const RUN: usize = 8;
/// Suspects that are repeated at the same time: each alone in its process.
const REPEATED_AT_ONCE: usize = 2;
/// How often a silent worker is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Workers that die in a row without ever having answered, before the pool gives up.
const STILLBORN: u32 = 3;

/// What came of one job, and what is known besides.
type Done = Result<(u64, Lives, Aside), PoolError>;

/// A pool of recovery worker processes.
pub struct Workers<'a> {
    command: Box<dyn Fn() -> Command + 'a>,
    limits: Limits,
    workers: Vec<WorkerProcess>,
    /// Fresh processes, each with one suspect.
    repeats: Vec<WorkerProcess>,
    waiting: VecDeque<Job>,
    /// What each worker is to be handed next.
    runs: Vec<VecDeque<Job>>,
    suspects: VecDeque<Job>,
    done: VecDeque<Done>,
    /// What is known besides of what was given out last.
    aside: Aside,
    /// Whether it can be noted what the workers read, and whether it is.
    may_log: bool,
    logged: bool,
    /// The workers of the other kind, those that are logged or those that are not.
    idle: Vec<WorkerProcess>,
    in_flight: usize,
    started: u64,
    stillborn: u32,
    interrupted: Option<Arc<AtomicBool>>,
    /// Last: the directory goes when no worker writes to it any more.
    scratch: Scratch,
}

impl<'a> Workers<'a> {
    /// Starts `count` workers (at least one), each by a fresh `command`.
    ///
    /// # Errors
    /// [`PoolError`] when a process or its directory cannot be made.
    pub fn start(
        count: usize,
        limits: Limits,
        command: impl Fn() -> Command + 'a,
    ) -> Result<Self, PoolError> {
        Workers::start_logged(count, limits, false, command)
    }

    /// As [`Workers::start`]; if `may_log`, it can be noted what recoveries read ([`Pool::log_reads`]). Only for
    /// workers that recover in their own process, or in forks of it.
    ///
    /// # Errors
    /// As [`Workers::start`].
    pub fn start_logged(
        count: usize,
        limits: Limits,
        may_log: bool,
        command: impl Fn() -> Command + 'a,
    ) -> Result<Self, PoolError> {
        let scratch = Scratch::new().map_err(PoolError::LayOut)?;
        let mut pool = Workers {
            command: Box::new(command),
            scratch,
            limits,
            workers: Vec::new(),
            repeats: Vec::new(),
            waiting: VecDeque::new(),
            runs: Vec::new(),
            suspects: VecDeque::new(),
            done: VecDeque::new(),
            aside: Aside::default(),
            may_log,
            logged: may_log,
            idle: Vec::new(),
            in_flight: 0,
            started: 0,
            stillborn: 0,
            interrupted: None,
        };
        for _ in 0..count.max(1) {
            let worker = pool.spawn(may_log)?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// A pool that ends with [`PoolError::Interrupted`] once `flag` is set.
    #[must_use]
    pub fn interrupted_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.interrupted = Some(flag);
        self
    }

    fn spawn(&mut self, logged: bool) -> Result<WorkerProcess, PoolError> {
        let dir = self.scratch.path().join(format!("worker-{}", self.started));
        self.started += 1;
        let failed = |e| PoolError::Worker(format!("cannot start: {e}"));
        let log = if logged { Log::new().map_err(failed)? } else { None };
        let mut command = (self.command)();
        command.env(ENV_SOUND, self.scratch.path().join("sound"));
        WorkerProcess::spawn(command, dir, log).map_err(failed)
    }

    /// Hands waiting jobs to workers that have room, the idlest first, and suspects to fresh processes.
    fn hand_out(&mut self) -> Result<(), PoolError> {
        self.runs.resize_with(self.workers.len(), VecDeque::new);
        while let Some(index) = (0..self.workers.len()).min_by_key(|index| self.workers[*index].load())
            && self.workers[index].load() < DEPTH
            && let Some(job) = self.next_for(index)
        {
            self.workers[index].give(job).map_err(|e| PoolError::Worker(e.to_string()))?;
        }
        while self.repeats.len() < REPEATED_AT_ONCE
            && let Some(mut job) = self.suspects.pop_front()
        {
            job.alone = true;
            // What convicts is seen where nothing but the target is at work.
            let mut fresh = match self.spawn(false) {
                Ok(fresh) => fresh,
                // Its answer is that there is none: nobody waits for it for ever.
                Err(error) => {
                    self.done.push_back(Err(error));
                    continue;
                }
            };
            fresh.give(job).map_err(|e| PoolError::Worker(e.to_string()))?;
            self.repeats.push(fresh);
        }
        Ok(())
    }

    /// The next job for a worker: of its own run; else it begins one; where none is left to begin, it takes half of
    /// what is left of another's.
    fn next_for(&mut self, index: usize) -> Option<Job> {
        if self.runs[index].is_empty() {
            let run = self.waiting.len().min(RUN);
            self.runs[index].extend(self.waiting.drain(..run));
        }
        if self.runs[index].is_empty()
            && let Some(longest) = self.runs.iter_mut().max_by_key(|run| run.len())
        {
            let rest = longest.split_off(longest.len() / 2);
            self.runs[index] = rest;
        }
        self.runs[index].pop_front()
    }

    /// Moves bytes, waits for answers for at most one tick, and looks after workers that are silent or dead.
    fn pump(&mut self) -> Result<(), PoolError> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        if self.interrupted.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            return Err(PoolError::Interrupted);
        }
        self.hand_out()?;
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        for worker in self.workers.iter().chain(&self.repeats) {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, worker.has_output());
            fds.push(PollFd::new(worker.as_fd(), flags));
        }
        let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(PoolError::Worker(format!("poll: {e}"))),
        }
        for index in 0..self.workers.len() {
            self.serve_worker(index)?;
        }
        let mut index = 0;
        while index < self.repeats.len() {
            if self.serve_repeat(index) {
                // Dropped: killed and reaped.
                self.repeats.remove(index);
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    fn serve_worker(&mut self, index: usize) -> Result<(), PoolError> {
        let worker = &mut self.workers[index];
        let fault = worker.exchange().err().map(|e| e.to_string());
        let mut answered = false;
        while let Some((mut job, answer)) = worker.answer() {
            answered = true;
            match answer {
                Answer::Suspect(_, aside) => {
                    job.aside = aside;
                    self.suspects.push_back(job);
                }
                answer => self.done.push_back(result(answer)),
            }
        }
        if answered {
            self.stillborn = 0;
        }
        let worker = &mut self.workers[index];
        let overdue = worker.overdue(&self.limits);
        if fault.is_none() && overdue.is_none() {
            return Ok(());
        }
        if !worker.ever_answered() {
            self.stillborn += 1;
        }
        let log = worker.log_tail();
        let mut left = worker.end();
        // Jobs are served in order: the first without an answer is the one that ended the worker.
        self.suspects.extend(left.pop_front());
        for job in left.into_iter().rev() {
            self.waiting.push_front(job);
        }
        if self.stillborn >= STILLBORN {
            let how = fault.unwrap_or_else(|| "no answer".into());
            return Err(PoolError::Worker(format!(
                "{STILLBORN} in a row died ({how}); the last one's log:\n{log}"
            )));
        }
        self.workers[index] = self.spawn(self.logged)?;
        Ok(())
    }

    /// Whether the repetition has come to its end.
    fn serve_repeat(&mut self, index: usize) -> bool {
        let worker = &mut self.repeats[index];
        let fault = worker.exchange().err();
        if let Some((job, answer)) = worker.answer() {
            self.done.push_back(result(answer).map(|(id, lives, aside)| {
                // It crashed in its first life both times: what that had read when it did is known.
                let same = matches!(lives.first, Outcome::Crashed { .. });
                (id, lives, if same { job.aside } else { aside })
            }));
            return true;
        }
        let why = match fault {
            Some(e) => format!("{e}; its log:\n{}", worker.log_tail()),
            // Its forks and servers have CPU limits of their own: here only the real time counts.
            None if worker.silent_for() > self.limits.wall => {
                format!("no result in {} s, though little CPU time was used", self.limits.wall.as_secs())
            }
            None => return false,
        };
        self.done.push_back(Err(PoolError::Worker(format!("repeating a recovery alone: {why}"))));
        true
    }
}

fn result(answer: Answer) -> Done {
    match answer {
        Answer::Lives(id, told, aside) => Ok((id, told.into(), aside)),
        Answer::LayOut(_, 0, message) => Err(PoolError::LayOut(std::io::Error::other(message))),
        Answer::LayOut(_, errno, _) => Err(PoolError::LayOut(std::io::Error::from_raw_os_error(errno))),
        Answer::Failed(_, why) => Err(PoolError::Worker(why)),
        Answer::Suspect(id, _) => {
            Err(PoolError::Worker(format!("job {id} is still unclear when repeated alone")))
        }
    }
}

impl Pool for Workers<'_> {
    fn submit(&mut self, job: u64, image: SharedImage, now_ms: u64) -> Result<(), PoolError> {
        self.waiting.push_back(Job { id: job, now_ms, image, alone: false, aside: Aside::default() });
        self.in_flight += 1;
        self.hand_out()
    }

    fn next(&mut self) -> Result<(u64, Lives), PoolError> {
        loop {
            if let Some(result) = self.done.pop_front() {
                self.in_flight -= 1;
                let (job, lives, aside) = result?;
                self.aside = aside;
                return Ok((job, lives));
            }
            if self.in_flight == 0 {
                return Err(PoolError::Idle);
            }
            self.pump()?;
        }
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn capacity(&self) -> usize {
        self.workers.len() * (DEPTH + RUN)
    }

    fn aside(&mut self) -> Aside {
        std::mem::take(&mut self.aside)
    }

    fn log_reads(&mut self, on: bool) -> Result<bool, PoolError> {
        if self.may_log && on != self.logged && self.in_flight == 0 {
            // Both sets of workers stay: to start one costs as much as many recoveries.
            std::mem::swap(&mut self.workers, &mut self.idle);
            self.logged = on;
            while self.workers.len() < self.idle.len() {
                let worker = self.spawn(on)?;
                self.workers.push(worker);
            }
        }
        Ok(self.logged)
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
