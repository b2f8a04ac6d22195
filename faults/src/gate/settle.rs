//! Waiting until nobody runs: for grants to be given back, for tasks to start, and for the dead to be gone.

use super::abi::{self, FREE, GONE, GateArea, READY, RESERVED, RUNNING, WAIT};
use super::area::{cpu_time, futex_wait, thread_alive};
use super::error::GateError;
use super::options::Step;
use super::process::describe;
use super::supervise::{Gate, alive, slots, task};
use crate::event::Task;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::time::{Duration, Instant};

/// States in which the supervisor must not decide yet.
fn busy(state: u32) -> bool {
    matches!(state, RUNNING | abi::PROBE | RESERVED | abi::EXITING_THREAD | abi::EXITING_PROCESS)
}

/// When to look at a task that keeps everybody waiting.
#[derive(Debug, Default)]
struct Guard {
    looks: u32,
    /// The process that was first looked at, and the time that it had used by then.
    cpu: Option<(u32, Duration)>,
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

    /// The time that a process has used since it was first looked at. Of one that has not come to the gate no number is
    /// known: to the system, 0 is whoever asks.
    fn used(&mut self, pid: u32, cpu_time: impl Fn(u32) -> Option<Duration>) -> Duration {
        let cpu = if pid == 0 { Duration::ZERO } else { cpu_time(pid).unwrap_or_default() };
        let (first, before) = *self.cpu.get_or_insert((pid, cpu));
        if first == pid {
            return cpu.saturating_sub(before);
        }
        // Another one keeps everybody waiting now.
        self.cpu = Some((pid, cpu));
        Duration::ZERO
    }
}

impl Gate {
    /// Waits until no task runs, starts, answers or ends.
    pub(super) fn settle(&mut self) -> Result<Option<Step>, GateError> {
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
        let used = guard.used(pid, cpu_time);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_one_has_used_is_not_another_ones() {
        let mut guard = Guard::default();
        let seconds = |pid| Some(Duration::from_secs(u64::from(pid)));
        assert_eq!(guard.used(3, seconds), Duration::ZERO);
        // Not yet at the gate: not the time of this very process either.
        assert_eq!(guard.used(0, |_| Some(Duration::from_secs(1000))), Duration::ZERO);
        assert_eq!(guard.used(0, |_| Some(Duration::from_secs(2000))), Duration::ZERO);
        assert_eq!(guard.used(900, seconds), Duration::ZERO);
        assert_eq!(guard.used(900, |_| Some(Duration::from_secs(905))), Duration::from_secs(5));
    }
}
