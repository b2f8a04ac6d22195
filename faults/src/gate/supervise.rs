//! The supervisor: grants the turn to one task at a time.

use super::abi::{self, FREE, GONE, GateArea, NEVER, READY, RESERVED, RUNNING, Slot, WAIT};
use super::area::{Area, futex_wake};
use super::clock::Clock;
use super::error::GateError;
use super::options::{ClockPolicy, GateOptions, Ran, Step};
use super::process::Processes;
use super::rules::{Rules, Stopped};
use crate::event::{Nanos, Task};
use crate::trace::Blind;
use rand_core::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// The supervisor of one gated run.
#[derive(Debug)]
pub struct Gate {
    pub(super) area: Arc<Area>,
    clock: Clock,
    random: rand_pcg::Pcg64Mcg,
    pub(super) rules: Rules,
    pub(super) options: GateOptions,
    pub(super) processes: Processes,
    /// Counts steps: what is blocked on the kernel is asked again only when something has happened since.
    generation: u64,
    probed: Vec<u64>,
    signals_seen: u32,
    rechecked: u64,
}

impl Gate {
    /// Prepares the area for a gated run. Call it before the target starts: slot 0 is kept for its first task.
    /// Time is virtual in a gated run: `clock` moves it.
    pub fn new(area: Arc<Area>, clock: Clock, options: GateOptions) -> Result<Self, GateError> {
        let rules = Rules::new(&options.rules)?;
        let words = area.words();
        words.ruled.store(u32::from(!rules.is_empty()), Release);
        words.next_process.store(1, Release);
        words.starter.store(std::process::id(), Release);
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

    /// Whichever task comes to the `nth` recorded call from now on, counting from 1, is held before it until
    /// [`Gate::let_go`].
    pub fn stop_at(&mut self, nth: u32) {
        self.area.words().ruled.store(1, Release);
        self.rules.stop_at(nth);
    }

    /// The call before which a task is held.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.rules.stopped()
    }

    /// Sets the task free that is held. Says whether there was one.
    pub fn let_go(&mut self) -> bool {
        self.generation += 1;
        self.rules.let_go()
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
                (_, WAIT, abi::KIND_IO | abi::KIND_LOCK) => "a descriptor, a child or a file lock",
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

    /// Every process of the target was killed and has ended: a later life finds all slots free, whatever the
    /// supervisor had seen of their ends.
    pub fn killed(&mut self) {
        let words = self.area.words();
        for slot in slots(words) {
            slot.tid_addr.store(0, Release);
            slot.state.store(abi::GONE, Release);
        }
        words.turn.store(0, Release);
        self.processes = Processes::default();
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
            let kind = slot.kind.load(Acquire);
            let lock = kind == abi::KIND_LOCK;
            let io = lock || kind == abi::KIND_IO;
            let stale = self.probed[index] != self.generation;
            if (io && stale) || signalled || idle {
                if lock && let Some(stuck) = self.settle()? {
                    return Ok(Some(stuck));
                }
                self.probed[index] = self.generation;
                slot.recheck.store(u32::from(idle), Release);
                slot.state.store(abi::PROBE, Release);
                futex_wake(&slot.state);
                asked = true;
                if lock && let Some(stuck) = self.settle()? {
                    return Ok(Some(stuck));
                }
            }
        }
        if idle {
            self.rechecked = self.generation;
        }
        if asked { self.settle() } else { Ok(None) }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // A target that waits for a supervisor that is gone would wait for ever.
        self.release();
    }
}

/// What the gate and the clock of an area met and could not serve.
pub fn blind(area: &Area) -> Vec<Blind> {
    let counts = area.words().blind.iter().map(|n| n.load(Acquire));
    let met = abi::BLINDS.iter().zip(counts).filter(|(_, n)| *n > 0);
    met.map(|(what, n)| Blind { what: (*what).to_owned(), detail: format!("{n} times") }).collect()
}

pub(super) fn slots(words: &GateArea) -> &[Slot] {
    let used = usize::try_from(words.used.load(Acquire)).unwrap_or(0);
    &words.slots[..used.min(abi::SLOTS)]
}

pub(super) fn alive(slot: &Slot) -> bool {
    !matches!(slot.state.load(Acquire), FREE | GONE)
}

pub(super) fn task(slot: &Slot) -> Task {
    let number = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Task { process: number(slot.process.load(Acquire)), thread: number(slot.thread.load(Acquire)) }
}

fn path(slot: &Slot) -> Vec<u8> {
    let len = usize::try_from(slot.path_len.load(Acquire)).unwrap_or(0).min(abi::PATH);
    slot.path[..len].iter().map(|b| b.load(Acquire)).collect()
}
