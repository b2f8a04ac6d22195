//! Spans of a run in which something else is promised: while a child runs, while the log is off, and while a sync keeps
//! writes waiting.

use super::History;
use crate::target::resp_op::RespOp;
use unplug_faults::event::{Clock, Event, Nanos, Op, ProcessEvent, SyncKind};
use unplug_faults::trace::Trace;

/// A span in which a policy promises nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspended {
    /// Its first and last crash points.
    pub clocks: (Clock, Clock),
    /// The target's time at both.
    pub times: (Nanos, Nanos),
    /// The target lived to its end.
    pub outlived: bool,
}

/// The option of a trace that says when its policy promises nothing: [`WHILE_A_CHILD_RUNS`] or [`WHILE_THE_LOG_IS_OFF`].
pub const SUSPENDED: &str = "promises-nothing";
/// See [`SUSPENDED`]. What was acknowledged meanwhile is promised as soon as the child's end was noticed.
pub const WHILE_A_CHILD_RUNS: &str = "while a child runs";
/// See [`SUSPENDED`]. The run begins without a log; what was acknowledged before it was switched on, or on again, is promised
/// with the reply to that.
pub const WHILE_THE_LOG_IS_OFF: &str = "while the log is off";
/// How long after it is due a target may do something: a tick of its timer, which ticks ten times a second or more
/// unless it is told otherwise. So late it may learn of a child's end.
const TICK: Nanos = 100_000_000;
/// The option of servers that says how often.
const HZ: &str = "hz";

impl History {
    /// Reads the spans out of a trace of which everything else is known.
    pub(super) fn read_spans(&mut self, trace: &Trace) {
        let hz = trace.meta.options.get(HZ).and_then(|hz| hz.parse().ok()).filter(|hz| *hz > 0);
        self.tick = hz.map_or(TICK, |hz: u64| TICK.max(10 * TICK / hz));
        self.read_delays(trace);
        self.suspended = match trace.meta.options.get(SUSPENDED).map(String::as_str) {
            Some(WHILE_A_CHILD_RUNS) => self.children(trace),
            Some(WHILE_THE_LOG_IS_OFF) => self.without_a_log(),
            _ => Vec::new(),
        };
        // How long a server that is not gated takes to hand a sync to its thread is nothing that its clock shows.
        let early = if trace.meta.gated { 0 } else { self.tick };
        let in_background = |e: &&Event| {
            let kind = match e.op {
                Op::Sync { kind, .. } | Op::ToldAgain { kind, .. } => Some(kind),
                _ => None,
            };
            kind == Some(SyncKind::Fdatasync) && e.task.thread != 0
        };
        let syncs = trace.events.iter().filter(in_background).map(|e| {
            let end = if e.end == Event::NEVER { Nanos::MAX } else { self.time(e.end).max(e.at) };
            (e.at.saturating_sub(early), end.saturating_add(early))
        });
        self.syncs = syncs.collect();
    }

    /// The lives of children, each until the target has noticed its end.
    fn children(&self, trace: &Trace) -> Vec<Suspended> {
        // A timer is late where the clock goes in steps.
        let ticks = if trace.meta.gated { 1 } else { 2 };
        let mut spans = Vec::new();
        for (index, fork) in trace.events.iter().enumerate() {
            let Op::Process(ProcessEvent::Forked { child }) = fork.op else { continue };
            let ends_of = |process: u16| {
                let ends = move |e: &&Event| match e.op {
                    Op::Process(ProcessEvent::Exit { .. }) => e.task.process == process,
                    Op::Kill => true,
                    _ => false,
                };
                trace.events[index..].iter().find(ends)
            };
            // One that was killed alone, or whose end was not recorded, is told from one that goes on by nothing.
            // What calls were made to last, the sync at the end may last.
            let noticed = |e: &Event| self.held_up(e.at, e.at.saturating_add(ticks * self.tick));
            let until = ends_of(child).map_or(Nanos::MAX, noticed);
            let last = self.last_point_within(until).unwrap_or(self.end);
            let outlived = ends_of(fork.task.process).is_none_or(|end| end.begin > last);
            spans.push(Suspended { clocks: (fork.begin, last), times: (fork.at, until), outlived });
        }
        spans
    }

    /// From the beginning until the log is switched on, and each time that it is switched off until it is on again: from
    /// the invocation of the one (what is executed behind it is not logged) to the reply to the other.
    fn without_a_log(&self) -> Vec<Suspended> {
        let switched = |op: &[u8]| RespOp::decode(op).ok()?.switches_the_log();
        let mut spans = Vec::new();
        let mut since = Some((0, 0));
        for operation in &self.operations {
            let good = operation.reply.as_deref().map(|reply| !reply.starts_with(b"-"));
            match (switched(&operation.op), good, operation.acked.zip(operation.acked_at)) {
                (Some(true), Some(true), Some((acked, at))) => {
                    let span = |(clock, time)| {
                        let (clocks, times) = ((clock, acked.saturating_sub(1)), (time, at));
                        Suspended { clocks, times, outlived: true }
                    };
                    spans.extend(since.take().map(span));
                }
                // Without a reply it may have been done. With an error it was not, and the promise stands.
                (Some(false), None | Some(true), _) => {
                    since.get_or_insert((operation.invoked, operation.invoked_at));
                }
                _ => {}
            }
        }
        let rest = |(clock, time)| Suspended {
            clocks: (clock, self.end),
            times: (time, Nanos::MAX),
            outlived: false,
        };
        spans.extend(since.map(rest));
        spans
    }

    /// Whether the policy promised nothing at this crash point.
    pub fn is_suspended(&self, point: Clock) -> bool {
        self.suspended.iter().any(|s| (s.clocks.0..=s.clocks.1).contains(&point))
    }

    /// The first crash point at which the policy promises again what was acknowledged at this one; `None` if there is
    /// none, as the target ends before.
    pub fn promised_again(&self, mut point: Clock) -> Option<Clock> {
        // One child may follow another.
        while let Some(span) = self.suspended.iter().find(|s| (s.clocks.0..=s.clocks.1).contains(&point)) {
            if !span.outlived || span.clocks.1 >= self.end {
                return None;
            }
            point = span.clocks.1 + 1;
        }
        Some(point)
    }

    /// Until when what was acknowledged at `acked_at` may be lost under a window: it begins anew at the end of each span
    /// in which nothing is promised, and is longer by what calls were made to last meanwhile.
    pub fn deadline(&self, acked_at: Nanos, window: Nanos) -> Nanos {
        let after = |from: Nanos| self.held_up(from, from.saturating_add(window));
        let mut limit = after(acked_at);
        for span in &self.suspended {
            let (from, to) = span.times;
            if from <= limit && acked_at <= to {
                limit = limit.max(after(to));
            }
        }
        limit
    }

    /// Until when what was acknowledged at `acked_at` may not have been written, as a sync that ran then kept it waiting;
    /// no write waits longer than `postponed`, and a tick. `None` if none ran.
    pub(crate) fn written_by(&self, acked_at: Nanos, postponed: Nanos) -> Option<Nanos> {
        let running = self.syncs.iter().filter(|(from, to)| (*from..=*to).contains(&acked_at));
        let longest = acked_at.saturating_add(postponed);
        running.map(|(_, to)| (*to).min(longest).saturating_add(self.tick)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::TraceBuilder;

    const SECOND: Nanos = 1_000_000_000;

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
        let acked: Vec<Clock> = h.operations.iter().filter_map(|o| o.acked).collect();
        assert_eq!(acked.iter().map(|a| h.is_suspended(*a)).collect::<Vec<_>>(), [false, true, false]);
        // What is a second old only after the fork waits for a second after the child's end; what was so before does not.
        let end = SECOND * 3 / 2 + TICK;
        assert_eq!(h.deadline(0, SECOND), end + SECOND);
        assert_eq!(h.deadline(0, SECOND / 4), SECOND / 4);
        assert_eq!(h.deadline(2 * SECOND, SECOND), 3 * SECOND);
    }

    #[test]
    fn what_was_acknowledged_while_a_child_ran_is_promised_at_its_end() {
        let promised_again = |end: fn(&mut TraceBuilder)| {
            let mut b = TraceBuilder::new();
            b.event(Op::Process(ProcessEvent::Forked { child: 1 }));
            b.run(b"one", b"+OK");
            b.exit(1);
            end(&mut b);
            let mut trace = b.trace();
            trace.meta.options.insert(SUSPENDED.into(), WHILE_A_CHILD_RUNS.into());
            let h = History::of(&trace);
            let acked = h.operations[0].acked.expect("acknowledged");
            (h.promised_again(acked), h.latest_time(h.promised_again(acked).unwrap_or(0)))
        };
        let goes_on = |b: &mut TraceBuilder| {
            b.advance(SECOND);
            b.event(Op::Advance);
        };
        let dies = |b: &mut TraceBuilder| {
            b.exit(0);
            b.advance(SECOND);
            b.event(Op::Advance);
        };
        let another = |b: &mut TraceBuilder| {
            b.event(Op::Process(ProcessEvent::Forked { child: 2 }));
            b.advance(SECOND);
            b.exit(2);
            b.advance(SECOND);
            b.event(Op::Advance);
        };
        assert_eq!(promised_again(goes_on), (Some(8), SECOND - 1), "when the clock may show a tick more");
        assert_eq!(promised_again(another), (Some(12), 2 * SECOND - 1));
        assert_eq!(promised_again(dies).0, None);
        assert_eq!(promised_again(|_| ()).0, None, "it may not have been noticed yet");
    }

    #[test]
    fn a_log_that_is_off_promises_what_was_done_when_it_is_on_again() {
        let mut b = TraceBuilder::new();
        let all = [
            ("SET a 1", "+OK"),
            ("CONFIG SET appendonly yes", "-ERR no room"),
            ("config set hz 20 AppendOnly yes", "+OK"),
            ("SET b 1", "+OK"),
            ("CONFIG SET appendonly no", "-ERR no"),
            ("SET c 1", "+OK"),
            ("CONFIG SET appendonly no", "+OK"),
            ("SET d 1", "+OK"),
            ("CONFIG SET appendonly yes", "+OK"),
            ("CONFIG SET appendonly no", "+OK"),
            ("SET e 1", "+OK"),
        ];
        for (text, reply) in all {
            b.advance(SECOND);
            let words: Vec<&str> = text.split(' ').collect();
            b.run(&RespOp::command(&words).encode(), reply.as_bytes());
        }
        let mut trace = b.trace();
        assert_eq!(History::of(&trace).suspended, []);
        trace.meta.options.insert(SUSPENDED.into(), WHILE_THE_LOG_IS_OFF.into());
        let h = History::of(&trace);
        let acked = |i: usize| h.operations[i].acked.expect("acknowledged");
        let promised = [0, 3, 5, 7, 10].map(|i| h.promised_again(acked(i)));
        assert_eq!(promised, [Some(acked(2)), Some(acked(3)), Some(acked(5)), Some(acked(8)), None]);
        // A window begins anew when the log is on.
        let at = |i: usize| h.operations[i].acked_at.expect("acknowledged");
        assert_eq!(h.deadline(at(0), SECOND), at(2) + SECOND);
    }

    #[test]
    fn a_sync_that_runs_keeps_writes_waiting_for_a_while() {
        let mut b = TraceBuilder::new();
        b.advance(SECOND);
        let sync = b.background_sync();
        b.advance(5 * SECOND);
        b.ends_now(sync);
        let mut trace = b.trace();
        trace.meta.gated = true;
        let h = History::of(&trace);
        let by = |acked| h.written_by(acked, 2 * SECOND);
        assert_eq!((by(SECOND - 1), by(6 * SECOND + 1)), (None, None));
        assert_eq!(by(SECOND), Some(3 * SECOND + TICK), "no longer than two seconds");
        assert_eq!(by(5 * SECOND), Some(6 * SECOND + TICK), "no longer than the sync");
        trace.meta.gated = false;
        assert!(History::of(&trace).written_by(SECOND - TICK, 0).is_some());
        trace.events[0].task.thread = 0;
        assert_eq!(
            History::of(&trace).written_by(SECOND, 0),
            None,
            "a sync that the server itself waits for"
        );
    }
}
