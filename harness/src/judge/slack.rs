//! Deadlines that the target worked out at a time that nobody saw: between an operation's invocation and its reply.
//!
//! The reference model dates an operation at its invocation. A server that is in a slow sync dates it later, so that
//! `EXPIRE k 10` gives any deadline within an interval. Before contents are compared, a deadline within an interval of
//! its own key is set to the interval's begin, which is the model's.

use super::orders::Orders;
use crate::dump::Dump;
use crate::history::History;
use crate::recovery::{Lives, Outcome};
use crate::target::Oracle;
use std::collections::BTreeMap;

/// How a judge looks at what came back. Two judges with the same lens sum up the same lives in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lens {
    pub(super) now_ms: u64,
    pub(super) slack: Slack,
}

/// The intervals of one history.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slack {
    /// For each key, in the order of the operations: the model's deadline, and the latest that may be.
    spans: BTreeMap<Vec<u8>, Vec<(u64, u64)>>,
}

impl Slack {
    /// Runs each operation that took time at both its ends. Where no key with a deadline is compared (`now_ms` is the
    /// end of time), nothing is to be done.
    pub(super) fn of(history: &History, orders: &Orders, oracle: &dyn Oracle, now_ms: u64) -> Slack {
        let mut slack = Slack::default();
        if now_ms == u64::MAX {
            return slack;
        }
        let mut model = oracle.fork();
        for step in orders.path.iter().filter(|s| s.applied) {
            let o = &history.operations[step.operation];
            let reply = orders.reply(history, *step);
            let begin = history.wall_ms(o.invoked_at);
            // What was never answered may have been done as late as the run's end.
            let end = history.wall_ms(o.acked_at.unwrap_or_else(|| history.latest_time(history.end)));
            let mut late = (end > begin).then(|| model.fork());
            model.apply(&o.op, reply, begin);
            if let Some(late) = &mut late {
                late.apply(&o.op, reply, end);
                // 0 is before every deadline: nothing is left out.
                if late.digest(0) != model.digest(0) {
                    slack.note(&model.dump(), &late.dump());
                }
            }
        }
        slack
    }

    fn note(&mut self, early: &Dump, late: &Dump) {
        for (key, entry) in &early.0 {
            let ends = (entry.expires_at_ms, late.0.get(key).and_then(|e| e.expires_at_ms));
            if let (Some(begin), Some(end)) = ends
                && begin < end
            {
                self.spans.entry(key.clone()).or_default().push((begin, end));
            }
        }
    }

    /// Sets deadlines within an interval to its begin. In later lives only those that are as in the first: a second
    /// start that gives another deadline is no better for lying within the interval.
    pub(super) fn settle(&self, lives: &mut Lives) {
        let Outcome::Recovered(first) = &mut lives.first else { return };
        let mut settled = Vec::new();
        for (key, spans) in &self.spans {
            let Some(entry) = first.0.get_mut(key) else { continue };
            let Some(found) = entry.expires_at_ms else { continue };
            // Of several the newest: it is the one that overwrote the others.
            if let Some((begin, _)) = spans.iter().rev().find(|(begin, end)| (*begin..=*end).contains(&found))
            {
                entry.expires_at_ms = Some(*begin);
                settled.push((key, found, *begin));
            }
        }
        for later in [&mut lives.second, &mut lives.third].into_iter().flatten() {
            let Outcome::Recovered(dump) = later else { continue };
            for (key, found, begin) in &settled {
                let Some(entry) = dump.0.get_mut(*key) else { continue };
                // Exchanged, so that what differed differs still.
                entry.expires_at_ms = match entry.expires_at_ms {
                    Some(at) if at == *found => Some(*begin),
                    Some(at) if at == *begin => Some(*found),
                    at => at,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Judge, JudgeOptions};
    use super::*;
    use crate::contract::Contract;
    use crate::dump::Entry;
    use crate::oracle::RespOracle;
    use crate::oracle::testing::TraceBuilder;
    use crate::target::resp_op::RespOp;
    use crate::verdict::Class;

    fn line(text: &str) -> Vec<u8> {
        RespOp::command(&text.split(' ').collect::<Vec<_>>()).encode()
    }

    /// `EXPIRE a 10` while the server syncs for 2.5 s, and an operation behind it; b's deadline is exact.
    fn judge() -> (Judge, u64) {
        let mut b = TraceBuilder::new();
        b.run(&line("SET a 1"), b"+OK\r\n");
        b.run(&line("SET b 1 PX 10000"), b"+OK\r\n");
        let id = b.invoke(0, &line("EXPIRE a 10"));
        b.advance(2_500_000_000);
        b.reply(0, id, b":1\r\n");
        b.run(&line("SET c 1"), b"+OK\r\n");
        let history = History::of(&b.trace());
        let options = JudgeOptions::at(history.recovery_ms(true));
        let judge = Judge::new(&history, Contract::Always, Box::new(RespOracle::new()), options);
        (judge.unwrap(), history.end)
    }

    /// What a server holds whose keys a and b have these deadlines, in milliseconds after the start.
    fn held(a: u64, b: u64) -> Outcome {
        let entry = |at: Option<u64>| Entry {
            value: crate::target::resp_op::canonical_string(b"1"),
            expires_at_ms: at.map(|ms| 1_000_000 + ms),
        };
        let key = |name: &[u8]| crate::target::resp_op::canonical_key(0, name);
        let all = [(key(b"a"), Some(a)), (key(b"b"), Some(b)), (key(b"c"), None)];
        Outcome::Recovered(Dump(all.into_iter().map(|(key, at)| (key, entry(at))).collect()))
    }

    fn class(first: Outcome, second: Outcome) -> Option<Class> {
        let (judge, end) = judge();
        let lives =
            Lives { first, third: Some(second.clone()), second: Some(second), probes: Dump::default() };
        judge.check(end, end, &lives).map(|v| v.class)
    }

    #[test]
    fn a_server_may_date_an_operation_whenever_it_was_under_way() {
        for a in [10_000, 10_001, 11_234, 12_500] {
            assert_eq!(class(held(a, 10_000), held(a, 10_000)), None, "{a}");
        }
    }

    #[test]
    fn a_deadline_outside_is_wrong_and_so_is_that_of_another_key() {
        for (a, b) in [(9_999, 10_000), (12_501, 10_000), (10_000, 10_001), (10_000, 9_999)] {
            assert!(class(held(a, b), held(a, b)).is_some(), "{a} {b}");
        }
    }

    #[test]
    fn starts_that_differ_within_the_interval_differ() {
        assert_eq!(class(held(11_000, 10_000), held(11_001, 10_000)), Some(Class::NotIdempotent));
        assert_eq!(class(held(11_000, 10_000), held(10_000, 10_000)), Some(Class::NotIdempotent));
    }
}
