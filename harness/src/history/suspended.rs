//! Spans of a run in which a policy promises nothing of what is acknowledged then.

use super::History;
use unplug_faults::event::{Clock, Event, Nanos, Op, ProcessEvent};
use unplug_faults::trace::Trace;

/// A span in which a policy promises nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspended {
    /// Its first and last crash points.
    pub clocks: (Clock, Clock),
    /// The target's time at both.
    pub times: (Nanos, Nanos),
}

/// The option of a trace that says when its policy promises nothing: [`WHILE_A_CHILD_RUNS`] or [`WHILE_A_SYNC_RUNS`].
pub const SUSPENDED: &str = "promises-nothing";
/// Redis's `no-appendfsync-on-rewrite yes`.
pub const WHILE_A_CHILD_RUNS: &str = "while a child runs";
/// Redis's `appendfsync everysec` where processes are killed (`flushAppendOnlyFile` in aof.c): while a thread syncs, what
/// is to be written waits in memory, for two seconds at the most.
pub const WHILE_A_SYNC_RUNS: &str = "while a thread syncs";
/// How long after the end of a child a target may learn of it: a tick of its timer.
const NOTICED: Nanos = 100_000_000;

impl History {
    /// The spans that a trace's options speak of.
    pub(super) fn spans(&self, trace: &Trace) -> Vec<Suspended> {
        match trace.meta.options.get(SUSPENDED).map(String::as_str) {
            Some(WHILE_A_CHILD_RUNS) => self.children(trace),
            Some(WHILE_A_SYNC_RUNS) => self.syncs(trace),
            _ => Vec::new(),
        }
    }

    /// The lives of children, each until the target has noticed its end.
    fn children(&self, trace: &Trace) -> Vec<Suspended> {
        let mut spans = Vec::new();
        for (index, fork) in trace.events.iter().enumerate() {
            let Op::Process(ProcessEvent::Forked { child }) = fork.op else { continue };
            let ends = |e: &&Event| match e.op {
                Op::Process(ProcessEvent::Exit { .. }) => e.task.process == child,
                Op::Kill => true,
                _ => false,
            };
            let end = trace.events[index..].iter().find(ends);
            // One that was killed alone, or whose end was not recorded, is told from one that goes on by nothing.
            let until = end.map_or(Nanos::MAX, |e| e.at.saturating_add(NOTICED));
            let last = self.last_point_within(until).unwrap_or(self.end);
            spans.push(Suspended { clocks: (fork.begin, last), times: (fork.at, until) });
        }
        spans
    }

    /// The syncs of threads other than a process's first, each from the write in front of it, behind which it was asked
    /// for at some time, to the write behind it, which holds what has waited.
    fn syncs(&self, trace: &Trace) -> Vec<Suspended> {
        let is_sync = |e: &&Event| matches!(e.op, Op::Sync { .. }) && e.task.thread != 0;
        let mut spans = Vec::new();
        for sync in trace.events.iter().filter(is_sync) {
            let writes = || {
                let write = |e: &&Event| {
                    e.errno == 0 && e.task.process == sync.task.process && matches!(e.op, Op::Write { .. })
                };
                trace.events.iter().filter(write)
            };
            let before = writes().rfind(|e| e.end < sync.begin).unwrap_or(sync);
            let behind = writes().find(|e| e.begin > sync.end && e.end != Event::NEVER);
            let last = behind.map_or(self.end, |e| e.end);
            let until = behind.map_or(Nanos::MAX, |e| self.latest_time(e.end));
            spans.push(Suspended { clocks: (before.begin, last), times: (before.at, until) });
        }
        spans
    }

    /// Whether the policy promised nothing at this crash point.
    pub fn is_suspended(&self, point: Clock) -> bool {
        self.suspended.iter().any(|s| (s.clocks.0..=s.clocks.1).contains(&point))
    }

    /// Until when what was acknowledged at `acked_at` may be lost under a window: it begins anew at the end of each span
    /// in which nothing is promised.
    pub fn deadline(&self, acked_at: Nanos, window: Nanos) -> Nanos {
        let mut limit = acked_at.saturating_add(window);
        for span in &self.suspended {
            let (from, to) = span.times;
            if from <= limit && acked_at <= to {
                limit = limit.max(to.saturating_add(window));
            }
        }
        limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::TraceBuilder;
    use unplug_faults::event::{FileId, SyncKind, WriteSync};

    const SECOND: Nanos = 1_000_000_000;

    fn suspended_acks(history: &History) -> Vec<bool> {
        history.operations.iter().filter_map(|o| o.acked).map(|acked| history.is_suspended(acked)).collect()
    }

    #[test]
    fn while_a_child_runs_a_policy_may_promise_nothing() {
        let mut b = TraceBuilder::new();
        b.run(b"one", b"+OK");
        b.advance(SECOND / 2);
        b.event(Op::Process(ProcessEvent::Forked { child: 1 }));
        b.run(b"two", b"+OK");
        b.advance(SECOND);
        b.exit(1);
        b.advance(SECOND);
        b.run(b"three", b"+OK");
        let mut trace = b.trace();
        assert_eq!(History::of(&trace).suspended, []);
        trace.meta.options.insert(SUSPENDED.into(), WHILE_A_CHILD_RUNS.into());
        let h = History::of(&trace);
        assert_eq!(suspended_acks(&h), [false, true, false]);
        // What is a second old only after the fork waits for a second after the child's end; what was so before does not.
        let end = SECOND * 3 / 2 + NOTICED;
        assert_eq!(h.deadline(0, SECOND), end + SECOND);
        assert_eq!(h.deadline(0, SECOND / 4), SECOND / 4);
        assert_eq!(h.deadline(2 * SECOND, SECOND), 3 * SECOND);
    }

    #[test]
    fn while_a_thread_syncs_writes_may_wait_in_memory() {
        let mut b = TraceBuilder::new();
        let mut offset = 0;
        let mut write = |b: &mut TraceBuilder| {
            offset += 1;
            b.event(Op::Write { file: FileId(1), offset, data: vec![0], sync: WriteSync::None })
        };
        let sync = |b: &mut TraceBuilder| b.event(Op::Sync { file: FileId(1), kind: SyncKind::Fdatasync });
        write(&mut b);
        b.run(b"one", b"+OK");
        // A sync of the first thread holds everybody up.
        sync(&mut b);
        write(&mut b);
        b.run(b"two", b"+OK");
        let of_a_thread = sync(&mut b);
        b.run(b"waits", b"+OK");
        write(&mut b);
        b.run(b"three", b"+OK");
        let mut trace = b.trace();
        for event in &mut trace.events {
            event.task.thread = u16::from(event.begin == of_a_thread);
        }
        assert_eq!(History::of(&trace).suspended, []);
        trace.meta.options.insert(SUSPENDED.into(), WHILE_A_SYNC_RUNS.into());
        // The sync may have been asked for before the second reply.
        assert_eq!(suspended_acks(&History::of(&trace)), [false, true, true, false]);
    }
}
