//! The history of one run: what clients asked for, what they were told, and when.

mod delays;
mod spans;

pub use spans::{SUSPENDED, Suspended, WHILE_A_CHILD_RUNS, WHILE_THE_LOG_IS_OFF};

use std::collections::BTreeMap;
use unplug_faults::event::{Clock, Event, Nanos, Op, ProcessEvent};
use unplug_faults::trace::{Blind, Trace};

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number in the trace.
    pub id: u32,
    /// The client.
    pub client: u32,
    /// The operation, in the target's encoding.
    pub op: Vec<u8>,
    /// When it was invoked. Before this crash point nothing of it can be on the disk.
    pub invoked: Clock,
    /// The target's time then.
    pub invoked_at: Nanos,
    /// When its reply left the target; `None` if it never did.
    pub acked: Option<Clock>,
    /// The target's time then.
    pub acked_at: Option<Nanos>,
    /// The reply.
    pub reply: Option<Vec<u8>>,
    /// Index into [`History::phases`].
    pub phase: usize,
}

/// A part of the run with a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// The name; a name that comes again gets a number (`append 2`).
    pub name: String,
    /// Its first crash point.
    pub begin: Clock,
    /// Its last crash point (inclusive).
    pub end: Clock,
}

/// Everything that a contract is judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The operations, in the order of their invocation.
    pub operations: Vec<Operation>,
    /// The phases, in order; together they cover every crash point.
    pub phases: Vec<Phase>,
    /// When all processes of the target were killed.
    pub kills: Vec<Clock>,
    /// When a process of the target was forked.
    pub forks: Vec<Clock>,
    /// The target's wall clock at the start, in milliseconds since 1970.
    pub epoch_ms: u64,
    /// When the policy promised nothing, from the fork of a child until the target has noticed its end; ascending.
    pub suspended: Vec<Suspended>,
    /// When threads beside a process's first one synced a file, by the target's time.
    pub(crate) syncs: Vec<(Nanos, Nanos)>,
    /// Calls that were made to last, in the order of their beginnings.
    delays: Vec<delays::Delay>,
    /// How long after it is due the target may do something.
    tick: Nanos,
    /// The last crash point: everything that happened has ended.
    pub end: Clock,
    /// What in the trace makes no history, by name: the run is not measured.
    pub blind: Vec<Blind>,
    /// The target's time at each event that moved it: clock and nanoseconds, both ascending.
    times: Vec<(Clock, Nanos)>,
}

/// How many clients a workload has at the most. Whoever connects after the target has closed a connection is another
/// client: its number is so much higher.
pub(crate) const CLIENTS: u32 = 1 << 16;

/// The name of what comes before the first phase.
pub const START: &str = "start";

impl History {
    /// Reads the history out of a trace. What cannot be understood is told in [`History::blind`].
    pub fn of(trace: &Trace) -> History {
        let mut history = History { epoch_ms: trace.meta.epoch_ms, ..History::default() };
        let mut by_id: BTreeMap<u32, usize> = BTreeMap::new();
        let mut names: BTreeMap<String, u32> = BTreeMap::new();
        for event in &trace.events {
            history.tick(event.begin, event.at);
            history.end = history.end.max(event.begin);
            if event.end != Event::NEVER {
                history.end = history.end.max(event.end);
            }
            match &event.op {
                Op::Phase(name) => history.open_phase(name, event.begin, &mut names),
                Op::Kill => history.kills.push(event.begin),
                Op::Process(ProcessEvent::Forked { .. }) => {
                    history.forks.push(event.begin);
                }
                Op::Invoke { client, id, op } => {
                    history.open_phase_if_none(event.begin, &mut names);
                    if by_id.insert(*id, history.operations.len()).is_some() {
                        history.complain("operation number", format!("operation {id} is invoked twice"));
                    }
                    history.operations.push(Operation {
                        id: *id,
                        client: *client,
                        op: op.clone(),
                        invoked: event.begin,
                        invoked_at: event.at,
                        acked: None,
                        acked_at: None,
                        reply: None,
                        phase: history.phases.len() - 1,
                    });
                }
                Op::Reply { client, id, reply } => {
                    let operation = by_id.get(id).and_then(|i| history.operations.get_mut(*i));
                    match operation {
                        Some(o) if o.client == *client && o.acked.is_none() => {
                            o.acked = Some(event.begin);
                            o.acked_at = Some(event.at);
                            o.reply = Some(reply.clone());
                        }
                        _ => history.complain("reply", format!("a reply to operation {id} that awaits none")),
                    }
                }
                _ => history.open_phase_if_none(event.begin, &mut names),
            }
        }
        history.open_phase_if_none(0, &mut names);
        if let Some(last) = history.phases.last_mut() {
            last.end = history.end;
        }
        history.read_spans(trace);
        history
    }

    fn tick(&mut self, clock: Clock, at: Nanos) {
        // Threads may read the clock in another order than they draw their tick: time never goes back here.
        if self.times.last().is_none_or(|(_, t)| at > *t) {
            self.times.push((clock, at));
        }
    }

    /// The target's time at a moment of the trace.
    fn time(&self, clock: Clock) -> Nanos {
        let next = self.times.partition_point(|(at, _)| *at <= clock);
        next.checked_sub(1).and_then(|i| self.times.get(i)).map_or(0, |(_, at)| *at)
    }

    fn complain(&mut self, what: &str, detail: String) {
        self.blind.push(Blind { what: format!("history: {what}"), detail });
    }

    fn open_phase_if_none(&mut self, begin: Clock, names: &mut BTreeMap<String, u32>) {
        if self.phases.is_empty() {
            self.open_phase(START, begin, names);
        }
    }

    fn open_phase(&mut self, name: &str, begin: Clock, names: &mut BTreeMap<String, u32>) {
        let count = names.entry(name.to_string()).and_modify(|n| *n += 1).or_insert(1);
        let name = if *count == 1 { name.to_string() } else { format!("{name} {count}") };
        // The first phase begins at the first crash point, whatever its clock is.
        let begin = if self.phases.is_empty() { 0 } else { begin };
        if let Some(last) = self.phases.last_mut() {
            last.end = begin.saturating_sub(1);
        }
        self.phases.push(Phase { name, begin, end: begin });
    }

    /// The latest time that a crash at this point can have: the instant before the clock's next step where that
    /// is the next thing that happens, else the time that it shows. Where time is not virtual, steps are known from
    /// the begins of calls only, and what a call that is under way has lasted does not count.
    pub fn latest_time(&self, point: Clock) -> Nanos {
        let next = self.times.partition_point(|(clock, _)| *clock <= point);
        match self.times.get(next) {
            Some((clock, at)) if *clock == point + 1 => at.saturating_sub(1),
            _ => next.checked_sub(1).and_then(|i| self.times.get(i)).map_or(0, |(_, at)| *at),
        }
    }

    /// The last crash point whose latest time is not beyond `limit`; `None` if even the first one's is.
    pub fn last_point_within(&self, limit: Nanos) -> Option<Clock> {
        let later = |beyond: &dyn Fn(Nanos) -> bool, before: Clock| {
            let step = self.times.iter().find(|(_, at)| beyond(*at));
            step.map_or(Some(self.end), |(clock, _)| clock.checked_sub(before))
        };
        // In front of a step the time is just short of what it steps to.
        let in_front = later(&|at| at.saturating_sub(1) > limit, 2)?;
        let after = later(&|at| at > limit, 1)?;
        Some(in_front.min(after))
    }

    /// The one instant at which every recovery of this run happens, in milliseconds since 1970: a second
    /// after the last event where time is virtual. Where it is not, a recovery happens whenever somebody
    /// explores, so that no key with an expiry can be compared: the end of time.
    pub fn recovery_ms(&self, virtual_time: bool) -> u64 {
        match (virtual_time, self.times.last()) {
            (false, _) => u64::MAX,
            (true, last) => self.epoch_ms + last.map_or(0, |(_, at)| at / 1_000_000) + 1000,
        }
    }

    /// The target's wall clock at an operation, in milliseconds since 1970.
    pub fn wall_ms(&self, at: Nanos) -> u64 {
        self.epoch_ms + at / 1_000_000
    }

    /// The operation of this number.
    pub fn operation(&self, id: u32) -> Option<&Operation> {
        self.operations.iter().find(|o| o.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::TraceBuilder;

    #[test]
    fn operations_and_phases() {
        let mut b = TraceBuilder::new();
        b.phase("append");
        let one = b.invoke(0, b"one");
        b.reply(0, one, b"+OK");
        b.phase("rewrite");
        let two = b.invoke(1, b"two");
        b.phase("append");
        let history = History::of(&b.trace());
        assert!(history.blind.is_empty());
        let names: Vec<&str> = history.phases.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["append", "rewrite", "append 2"]);
        assert_eq!(history.phases[0].begin, 0);
        assert_eq!(history.phases[0].end + 1, history.phases[1].begin);
        assert_eq!(history.phases[2].end, history.end);
        assert_eq!(history.operations[0].id, one);
        assert_eq!(history.operations[0].reply.as_deref(), Some(&b"+OK"[..]));
        assert!(history.operations[0].acked > Some(history.operations[0].invoked));
        assert_eq!((history.operations[1].id, history.operations[1].acked), (two, None));
        assert_eq!(history.operations[1].phase, 1);
    }

    #[test]
    fn what_makes_no_history_is_told() {
        let mut b = TraceBuilder::new();
        let one = b.invoke(0, b"one");
        b.reply(1, one, b"+OK");
        b.reply(0, 77, b"+OK");
        assert_eq!(History::of(&b.trace()).blind.len(), 2);
    }

    #[test]
    fn the_latest_time_of_a_crash_is_before_the_next_step() {
        let mut b = TraceBuilder::new();
        let one = b.invoke(0, b"one");
        b.reply(0, one, b"+OK");
        b.advance(500);
        let two = b.invoke(0, b"two");
        b.reply(0, two, b"+OK");
        let h = History::of(&b.trace());
        let step = h.operations[1].invoked;
        assert_eq!(h.latest_time(h.operations[0].invoked), 0, "the reply came at the same time");
        assert_eq!(h.latest_time(step - 2), 0);
        assert_eq!(h.latest_time(step - 1), 499);
        assert_eq!(h.latest_time(step), 500);
        assert_eq!(h.latest_time(h.end), 500);
        assert_eq!(h.last_point_within(499), Some(step - 1));
        assert_eq!(h.last_point_within(498), Some(step - 2));
        assert_eq!(h.last_point_within(500), Some(h.end));
    }

    #[test]
    fn a_call_that_ended_before_the_clock_moved_is_not_stretched_to_that_moment() {
        let mut b = TraceBuilder::new();
        let sync = b.event(Op::SyncAll);
        b.advance(5_000);
        b.run(b"one", b"+OK");
        let h = History::of(&b.trace());
        assert_eq!(h.latest_time(sync), 0, "the sync has returned before the clock moved");
        assert_eq!(h.latest_time(sync + 1), 4_999);
    }

    #[test]
    fn a_call_during_which_the_clock_was_moved_lasts_until_then() {
        let mut b = TraceBuilder::new();
        let sync = b.event(Op::SyncAll);
        b.advance(1_500);
        let moved = b.event(Op::Advance);
        let mut trace = b.trace();
        trace.events[0].end = moved + 1;
        trace.events[1].end = moved;
        let h = History::of(&trace);
        assert_eq!((h.latest_time(sync), h.latest_time(moved - 1), h.latest_time(moved)), (0, 1_499, 1_500));
    }
}
