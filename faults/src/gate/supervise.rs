//! The supervisor: grants the turn to one task at a time.

use super::abi::{self, FREE, GONE, GateArea, NEVER, READY, RESERVED, RUNNING, Slot, WAIT};
use super::area::{Area, cpu_time, futex_wait, futex_wake, thread_alive};
use super::clock::Clock;
use super::error::GateError;
use super::process::{Processes, describe};
use super::rules::{Rule, Rules};
use crate::event::{Nanos, Task};
use crate::trace::Blind;
use rand_core::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::time::{Duration, Instant};

/// How a run is gated.
#[derive(Clone, Debug)]
pub struct GateOptions {
    /// Seed of the scheduler.
    pub seed: u64,
    /// Calls to be held.
    pub rules: Vec<Rule>,
    /// Processor time that a task may use between two yield points.
    pub cpu_limit: Duration,
    /// Real time that a task may spend between two yield points, asleep included.
    pub real_limit: Duration,
}

impl Default for GateOptions {
    fn default() -> Self {
        let (cpu_limit, real_limit) = (Duration::from_secs(10), Duration::from_secs(60));
        Self { seed: 0, rules: Vec::new(), cpu_limit, real_limit }
    }
}

/// What one decision came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A task had the turn and gave it back.
    Ran(Task),
    /// It is the client's turn: the harness may send one operation. The next step counts it as made.
    Client,
    /// Nothing can run without the client, the clock, or (in a deadlock) at all.
    Idle,
    /// Every task has ended.
    Exited,
    /// A task holds the turn and does not give it back, or one that should start did not: *not measured*.
    Stuck {
        /// Which task, and what it is doing.
        what: String,
    },
}

/// What [`Gate::run_until_idle`] does when nothing can run but a task waits for time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockPolicy {
    /// Returns.
    Still,
    /// Moves the clock to the earliest deadline, if it is not after this instant.
    Until(Nanos),
}

/// How [`Gate::run_until_idle`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Turns granted.
    pub steps: u64,
    /// The last step: [`Step::Idle`], [`Step::Exited`] or [`Step::Stuck`].
    pub end: Step,
}

/// The supervisor of one gated run.
#[derive(Debug)]
pub struct Gate {
    area: Arc<Area>,
    clock: Clock,
    random: rand_pcg::Pcg64Mcg,
    rules: Rules,
    options: GateOptions,
    processes: Processes,
    /// Counts steps: what is blocked on the kernel is asked again only when something has happened since.
    generation: u64,
    probed: Vec<u64>,
    signals_seen: u32,
    rechecked: u64,
}

/// States in which the supervisor must not decide yet.
fn busy(state: u32) -> bool {
    matches!(state, RUNNING | abi::PROBE | RESERVED | abi::EXITING_THREAD | abi::EXITING_PROCESS)
}

impl Gate {
    /// Prepares the area for a gated run. Call it before the target starts: slot 0 is kept for its first task.
    /// Time is virtual in a gated run: `clock` moves it.
    pub fn new(area: Arc<Area>, clock: Clock, options: GateOptions) -> Result<Self, GateError> {
        let rules = Rules::new(&options.rules)?;
        let words = area.words();
        words.ruled.store(u32::from(!rules.is_empty()), Release);
        words.next_process.store(1, Release);
        words.next_thread[0].store(1, Release);
        words.used.store(1, Release);
        words.slots[0].state.store(RESERVED, Release);
        words.gated.store(1, Release);
        Ok(Self {
            clock,
            random: rand_pcg::Pcg64Mcg::seed_from_u64(options.seed),
            rules,
            options,
            processes: Processes::default(),
            generation: 1,
            probed: vec![0; abi::SLOTS],
            signals_seen: 0,
            rechecked: 0,
            area,
        })
    }

    /// Tells the gate the number of the process that was started, so that one that dies before it comes to the
    /// gate is seen to have ended.
    pub fn started(&mut self, pid: u32) {
        let slot = &self.area.words().slots[0];
        // A task that has arrived already has put the same number there.
        let _ = slot.pid.compare_exchange(0, pid, AcqRel, Acquire);
    }

    /// One decision: waits until no task runs, picks among the tasks that can (and the client, if it has an
    /// operation ready), lets it run to its next yield point.
    pub fn step(&mut self, client_ready: bool) -> Result<Step, GateError> {
        if let Some(stuck) = self.settle()? {
            return Ok(stuck);
        }
        let area = Arc::clone(&self.area);
        let words = area.words();
        if !slots(words).iter().any(alive) {
            return Ok(Step::Exited);
        }
        if let Some(stuck) = self.probe(false)? {
            return Ok(stuck);
        }
        let mut ready = self.candidates();
        if ready.is_empty() && !client_ready {
            if let Some(stuck) = self.probe(true)? {
                return Ok(stuck);
            }
            ready = self.candidates();
        }
        let choices = ready.len() + usize::from(client_ready);
        if choices == 0 {
            return Ok(Step::Idle);
        }
        let pick = self.pick(choices);
        self.generation += 1;
        let Some(&index) = ready.get(pick) else { return Ok(Step::Client) };
        let slot = &words.slots[index];
        let task = task(slot);
        let call = self.grant(words, index);
        if let Some(stuck) = self.settle()? {
            return Ok(stuck);
        }
        self.note_calls(words, index, call);
        Ok(Step::Ran(task))
    }

    /// Steps until nothing can run, moving the clock as the policy says.
    pub fn run_until_idle(&mut self, policy: ClockPolicy, max_steps: u64) -> Result<Ran, GateError> {
        let mut steps = 0;
        loop {
            match self.step(false)? {
                Step::Ran(_) => steps += 1,
                Step::Idle => match (policy, self.next_deadline()) {
                    (ClockPolicy::Until(last), Some(next)) if next <= last => {
                        self.clock.advance_to(next);
                        self.generation += 1;
                    }
                    _ => return Ok(Ran { steps, end: Step::Idle }),
                },
                end => return Ok(Ran { steps, end }),
            }
            if steps >= max_steps {
                return Err(GateError::Restless(max_steps));
            }
        }
    }

    /// The earliest instant at which a wait of some task ends by itself.
    pub fn next_deadline(&self) -> Option<Nanos> {
        let waits = |s: &&Slot| s.state.load(Acquire) == WAIT;
        let words = self.area.words();
        slots(words).iter().filter(waits).map(|s| s.deadline.load(Acquire)).filter(|d| *d != NEVER).min()
    }

    /// The clock of this run.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Tells the gate that the harness sent the target a signal, so that blocked tasks look for it.
    pub fn signalled(&mut self) {
        self.area.words().signals.fetch_add(1, AcqRel);
    }

    /// Tasks that are alive, and whether a rule holds them, for a report on a deadlock.
    pub fn blocked(&self) -> Vec<String> {
        let words = self.area.words();
        let alive = slots(words).iter().enumerate().filter(|(_, s)| alive(s));
        let tell = |(i, s): (usize, &Slot)| {
            let t = task(s);
            let on = match (self.rules.holds(i), s.state.load(Acquire), s.kind.load(Acquire)) {
                (true, _, _) => "held by a rule",
                (_, WAIT, abi::KIND_FUTEX) => "a lock, a condition or another thread (futex)",
                (_, WAIT, abi::KIND_IO) => "a descriptor, a child or a file lock",
                (_, WAIT, _) => "time or a signal",
                _ => "nothing: it can run",
            };
            format!("process {} thread {}: {on}", t.process, t.thread)
        };
        alive.map(tell).collect()
    }

    /// What the gate and the clock met and could not serve.
    pub fn blind(&self) -> Vec<Blind> {
        blind(&self.area)
    }

    /// Lets every task run freely from now on; the run is no longer deterministic.
    pub fn release(&self) {
        let words = self.area.words();
        words.gated.store(0, Release);
        for slot in slots(words) {
            futex_wake(&slot.state);
        }
    }

    /// One of `choices`. A single choice draws too, so that the sequence depends on the number of decisions only.
    fn pick(&mut self, choices: usize) -> usize {
        let wide = u64::from(self.random.next_u32()) * choices as u64;
        usize::try_from(wide >> 32).unwrap_or(0)
    }

    /// Slots whose tasks can run, in the order of the slots.
    fn candidates(&self) -> Vec<usize> {
        let now = self.clock.now();
        let can = |(i, s): &(usize, &Slot)| match s.state.load(Acquire) {
            READY => !self.rules.holds(*i),
            abi::CAN => true,
            WAIT => s.deadline.load(Acquire) <= now,
            _ => false,
        };
        slots(self.area.words()).iter().enumerate().filter(can).map(|(i, _)| i).collect()
    }

    /// Gives the turn to a slot. Returns the call that it stood before.
    fn grant(&mut self, words: &GateArea, index: usize) -> Option<(u32, Vec<u8>)> {
        let slot = &words.slots[index];
        let call = slot.call.swap(0, AcqRel).checked_sub(1).map(|nr| (nr, path(slot)));
        words.turn.store(u32::try_from(index + 1).unwrap_or(0), Release);
        slot.state.store(RUNNING, Release);
        futex_wake(&slot.state);
        call
    }

    /// Tells the rules what was called, and what is about to be.
    fn note_calls(&mut self, words: &GateArea, index: usize, made: Option<(u32, Vec<u8>)>) {
        if self.rules.is_empty() {
            return;
        }
        if let Some((nr, path)) = made {
            self.rules.made(nr, &path);
        }
        let slot = &words.slots[index];
        if slot.state.load(Acquire) != READY {
            self.rules.forget(index);
        } else if let Some(nr) = slot.call.load(Acquire).checked_sub(1) {
            self.rules.arrived(index, nr, &path(slot));
        }
    }

    /// Asks what is blocked on the kernel whether it could go on. With `idle`, futex waiters look at their words
    /// too, as the kernel changes some itself (robust locks, threads that the gate did not see start).
    fn probe(&mut self, idle: bool) -> Result<Option<Step>, GateError> {
        let area = Arc::clone(&self.area);
        let words = area.words();
        let signals = words.signals.load(Acquire);
        let signalled = signals != self.signals_seen;
        self.signals_seen = signals;
        if idle && self.rechecked == self.generation {
            return Ok(None);
        }
        let mut asked = false;
        for (index, slot) in slots(words).iter().enumerate() {
            let state = slot.state.load(Acquire);
            if state != WAIT && state != abi::CAN {
                continue;
            }
            let io = slot.kind.load(Acquire) == abi::KIND_IO;
            let stale = self.probed[index] != self.generation;
            if (io && stale) || signalled || idle {
                self.probed[index] = self.generation;
                slot.recheck.store(u32::from(idle), Release);
                slot.state.store(abi::PROBE, Release);
                futex_wake(&slot.state);
                asked = true;
            }
        }
        if idle {
            self.rechecked = self.generation;
        }
        if asked { self.settle() } else { Ok(None) }
    }

    /// Waits until no task runs, starts, answers or ends.
    fn settle(&mut self) -> Result<Option<Step>, GateError> {
        let area = Arc::clone(&self.area);
        let words = area.words();
        let began = Instant::now();
        let mut guard = Guard::default();
        loop {
            let seen = words.bell.load(Acquire);
            let mut waiting = None;
            for (index, slot) in slots(words).iter().enumerate() {
                let state = slot.state.load(Acquire);
                let (pid, tid) = (slot.pid.load(Acquire), slot.tid.load(Acquire));
                if pid != 0 && state != FREE && state != GONE && !self.processes.watch(pid)? {
                    self.bury_process(words, pid);
                    continue;
                }
                match state {
                    abi::EXITING_THREAD => self.bury_thread(words, index, pid, tid),
                    abi::EXITING_PROCESS if self.processes.gone(pid, Duration::from_millis(20)) => {
                        self.bury_process(words, pid);
                    }
                    _ => {}
                }
                if busy(slot.state.load(Acquire)) {
                    waiting = Some(index);
                }
            }
            let Some(index) = waiting else { return Ok(None) };
            if matches!(words.slots[index].state.load(Acquire), RUNNING | abi::PROBE | RESERVED) {
                futex_wait(&words.bell, seen, guard.pause(began));
            }
            if guard.due(began)
                && let Some(stuck) = self.inspect(words, index, began, &mut guard)
            {
                return Ok(Some(stuck));
            }
        }
    }

    /// Looks at a task that keeps everybody waiting: dead, or using its time up, or within its limits.
    fn inspect(&mut self, words: &GateArea, index: usize, began: Instant, guard: &mut Guard) -> Option<Step> {
        let slot = &words.slots[index];
        let (pid, tid) = (slot.pid.load(Acquire), slot.tid.load(Acquire));
        if pid != 0 && self.processes.gone(pid, Duration::ZERO) {
            self.bury_process(words, pid);
            return None;
        }
        let cpu = cpu_time(pid).unwrap_or_default();
        let used = cpu.saturating_sub(*guard.cpu.get_or_insert(cpu));
        if used < self.options.cpu_limit && began.elapsed() < self.options.real_limit {
            return None;
        }
        let Task { process, thread } = task(slot);
        let doing = match slot.state.load(Acquire) {
            RESERVED => "did not start under the gate".to_owned(),
            _ => describe(pid, tid),
        };
        Some(Step::Stuck { what: format!("process {process} thread {thread} {doing}") })
    }

    /// A thread has called exit: once the kernel is done with it, its joiners may go on.
    fn bury_thread(&mut self, words: &GateArea, index: usize, pid: u32, tid: u32) {
        let slot = &words.slots[index];
        let word = slot.tid_word.load(Acquire);
        if word != 0 {
            futex_wait(&slot.tid_word, word, Duration::from_millis(1));
        }
        if slot.tid_word.load(Acquire) != 0 && thread_alive(pid, tid) {
            // The last thread of a process does not get its word zeroed.
            if self.processes.gone(pid, Duration::ZERO) {
                self.bury_process(words, pid);
            }
            return;
        }
        slot.state.store(GONE, Release);
        let addr = slot.tid_addr.load(Acquire);
        let process = slot.process.load(Acquire);
        for other in slots(words).iter().filter(|s| matches!(s.state.load(Acquire), WAIT | abi::CAN)) {
            let same = other.process.load(Acquire) == process && other.addr.load(Acquire) == addr;
            if addr != 0 && same && other.kind.load(Acquire) == abi::KIND_FUTEX {
                other.woken.store(1, Release);
                other.state.store(READY, Release);
            }
        }
    }

    /// A process has ended: so have all its tasks. Its parent may have been sent SIGCHLD.
    fn bury_process(&mut self, words: &GateArea, pid: u32) {
        for (index, slot) in slots(words).iter().enumerate() {
            if slot.pid.load(Acquire) == pid && alive(slot) {
                slot.tid_addr.store(0, Release);
                slot.state.store(GONE, Release);
                self.rules.forget(index);
            }
        }
        words.signals.fetch_add(1, AcqRel);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // A target that waits for a supervisor that is gone would wait for ever.
        self.release();
    }
}

/// When to look at a task that keeps everybody waiting.
#[derive(Debug, Default)]
struct Guard {
    looks: u32,
    cpu: Option<Duration>,
}

impl Guard {
    /// Most turns last microseconds: pause longer and longer.
    fn pause(&self, began: Instant) -> Duration {
        (began.elapsed() / 2).clamp(Duration::from_millis(2), Duration::from_millis(50))
    }

    /// At 2 ms, then at every further 20 ms.
    fn due(&mut self, began: Instant) -> bool {
        let due = began.elapsed() >= Duration::from_millis(2) + Duration::from_millis(20) * self.looks;
        self.looks += u32::from(due);
        due
    }
}

/// What the gate and the clock of an area met and could not serve.
pub fn blind(area: &Area) -> Vec<Blind> {
    let counts = area.words().blind.iter().map(|n| n.load(Acquire));
    let met = abi::BLINDS.iter().zip(counts).filter(|(_, n)| *n > 0);
    met.map(|(what, n)| Blind { what: (*what).to_owned(), detail: format!("{n} times") }).collect()
}

fn slots(words: &GateArea) -> &[Slot] {
    let used = usize::try_from(words.used.load(Acquire)).unwrap_or(0);
    &words.slots[..used.min(abi::SLOTS)]
}

fn alive(slot: &Slot) -> bool {
    !matches!(slot.state.load(Acquire), FREE | GONE)
}

fn task(slot: &Slot) -> Task {
    let number = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Task { process: number(slot.process.load(Acquire)), thread: number(slot.thread.load(Acquire)) }
}

fn path(slot: &Slot) -> Vec<u8> {
    let len = usize::try_from(slot.path_len.load(Acquire)).unwrap_or(0).min(abi::PATH);
    slot.path[..len].iter().map(|b| b.load(Acquire)).collect()
}
