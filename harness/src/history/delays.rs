//! Calls that a fault plan made to last: what they last is no loss of the target's.

use super::History;
use std::collections::BTreeMap;
use unplug_faults::event::{Event, Nanos, Op};
use unplug_faults::plan::Outcome;
use unplug_faults::trace::Trace;

/// A call that was made to last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delay {
    from: Nanos,
    until: Nanos,
    /// Of a sync, what it is of.
    synced: Option<Vec<u8>>,
}

/// How many syncs of one file something can wait for: one that runs already, one that begins before it is written, and
/// the one that has it. A later one is none of its business, however many are made to last.
const SYNCS: u32 = 3;

impl History {
    /// Reads the delays out of a trace.
    pub(super) fn read_delays(&mut self, trace: &Trace) {
        let of = |(index, fault): (usize, &Event)| {
            let Op::Fault { outcome: Outcome::Delay(nanos), call, path, .. } = &fault.op else { return None };
            // The call itself is what its task did next. Where the clock goes in steps it can have lasted longer.
            let own = |e: &&Event| e.task == fault.task && !matches!(e.op, Op::Fault { .. });
            let ended = trace.events[index + 1..].iter().find(own).filter(|e| e.end != Event::NEVER);
            let ended = ended.map_or(0, |e| self.time(e.end));
            let until = fault.at.saturating_add(*nanos).max(ended);
            Some(Delay { from: fault.at, until, synced: call.syncs().then(|| path.clone()) })
        };
        let mut delays: Vec<Delay> = trace.events.iter().enumerate().filter_map(of).collect();
        delays.sort_by_key(|delay| delay.from);
        self.delays = delays;
    }

    /// When something that is due at `limit`, and became so at `from`, is due with what calls last that were under way in
    /// between. Those that were over before it, or that begin when it is done, leave it as it is.
    pub(super) fn held_up(&self, from: Nanos, mut limit: Nanos) -> Nanos {
        let mut syncs: BTreeMap<&[u8], u32> = BTreeMap::new();
        for delay in self.delays.iter().filter(|delay| delay.until >= from) {
            // One holds up the next.
            if delay.from > limit {
                break;
            }
            let count = delay.synced.as_ref().map(|path| {
                let count = syncs.entry(path).or_default();
                *count += 1;
                *count
            });
            if count.is_none_or(|count| count <= SYNCS) {
                limit = limit.saturating_add(delay.until - delay.from);
            }
        }
        limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Contract;
    use crate::dump::Dump;
    use crate::judge::{Judge, JudgeOptions};
    use crate::oracle::RespOracle;
    use crate::oracle::testing::TraceBuilder;
    use crate::recovery::{Lives, Outcome as Recovered};
    use crate::target::resp_op::RespOp;
    use crate::verdict::Class;
    use unplug_faults::plan::Role;

    const SECOND: Nanos = 1_000_000_000;

    /// A call that is made to last, and does.
    fn delay(b: &mut TraceBuilder, call: &str, path: &str, nanos: Nanos) {
        let (call, path) = (call.parse().unwrap(), path.as_bytes().to_vec());
        b.event(Op::Fault { rule: 0, call, path, role: Role::Main, outcome: Outcome::Delay(nanos) });
        b.advance(nanos);
        b.event(Op::Advance);
    }

    #[test]
    fn only_what_lasted_meanwhile_counts() {
        let mut b = TraceBuilder::new();
        delay(&mut b, "write", "f", 2 * SECOND);
        b.advance(8 * SECOND);
        delay(&mut b, "fsync", "f", 3 * SECOND);
        let h = History::of(&b.trace());
        assert_eq!(h.deadline(SECOND, SECOND), 4 * SECOND, "while the write lasted");
        assert_eq!(h.deadline(2 * SECOND, 0), 4 * SECOND, "as it ended");
        assert_eq!(h.deadline(3 * SECOND, SECOND), 4 * SECOND, "between the two");
        assert_eq!(h.deadline(9 * SECOND, SECOND), 13 * SECOND, "a sync that began in time");
        assert_eq!(h.deadline(8 * SECOND, SECOND), 9 * SECOND, "and one that did not");
        assert_eq!(h.deadline(0, 8 * SECOND), 13 * SECOND, "one holds up the next");
    }

    #[test]
    fn no_more_syncs_of_one_file_are_waited_for_than_have_to_be() {
        let run = |calls: &[(&str, &str)]| {
            let mut b = TraceBuilder::new();
            calls.iter().for_each(|(call, path)| delay(&mut b, call, path, SECOND));
            History::of(&b.trace()).deadline(0, SECOND / 2)
        };
        assert_eq!(run(&[("fsync", "f"); 9]), SECOND / 2 + 3 * SECOND);
        assert_eq!(run(&[("write", "f"); 9]), SECOND / 2 + 9 * SECOND);
        let mixed = [("fsync", "f"), ("fsync", "g"), ("fdatasync", "f"), ("fsync", "f"), ("fsync", "f")];
        assert_eq!(run(&mixed), SECOND / 2 + 4 * SECOND);
    }

    /// What many calls lasted is no excuse for a loss long before or after them.
    #[test]
    fn a_loss_between_two_delays_is_found() {
        let op = |text: &str| RespOp::command(&text.split(' ').collect::<Vec<_>>()).encode();
        let mut b = TraceBuilder::new();
        delay(&mut b, "fsync", "f", 5 * SECOND);
        b.advance(SECOND);
        b.run(&op("SET a 1"), b"+OK\r\n");
        b.advance(2 * SECOND);
        b.run(&op("PING"), b"+PONG\r\n");
        b.advance(3 * SECOND);
        delay(&mut b, "fsync", "f", 5 * SECOND);
        let history = History::of(&b.trace());
        let options = JudgeOptions::at(history.recovery_ms(true));
        let contract = Contract::EverySec { window: SECOND };
        let judge = Judge::new(&history, contract, Box::new(RespOracle::new()), options).unwrap();
        let nothing = Recovered::Recovered(Dump::default());
        let lives = Lives {
            first: nothing.clone(),
            second: Some(nothing.clone()),
            third: Some(nothing),
            probes: Dump::default(),
        };
        let point = history.operations[1].invoked;
        let found = judge.check(point, point, &lives).map(|v| v.class);
        assert_eq!(found, Some(Class::WindowExceeded));
    }
}
