//! Deadlines that the target worked out at a time that nobody saw: between an operation's invocation and its reply.
//!
//! The reference model dates an operation at its invocation. A server that is in a slow sync dates it later, so that
//! `EXPIRE k 10` gives any deadline within an interval. Before contents are compared, a deadline within an interval of
//! its own key is set to the interval's begin, which is the model's. Where several intervals of a key have it, nobody can
//! tell which operation it is of: it may stand for each of them, and nothing is wrong that is right for one.

use super::orders::{Orders, Step, over};
use crate::dump::{Digest, Dump, Entry};
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

/// For some keys, the deadlines that theirs may stand for, the newest operation's first.
pub(super) type Readings = Vec<(Vec<u8>, Vec<u64>)>;

/// One operation, with when it began and when it had ended at the latest, in milliseconds since 1970.
struct Dated<'h> {
    step: Step,
    op: &'h [u8],
    reply: Option<&'h [u8]>,
    begin: u64,
    end: u64,
}

impl Slack {
    /// Runs each operation that took time at both its ends. Where no key with a deadline is compared (`now_ms` is the
    /// end of time), nothing is to be done.
    pub(super) fn of(history: &History, orders: &Orders, oracle: &dyn Oracle, now_ms: u64) -> Slack {
        if now_ms == u64::MAX {
            return Slack::default();
        }
        let over = over(history);
        let dated = |step: &Step| {
            let o = &history.operations[step.operation];
            // What was never answered may have been done as late as it could take effect at all.
            let end =
                o.acked_at.unwrap_or_else(|| history.latest_time(over[step.operation].min(history.end)));
            let (begin, end) = (history.wall_ms(o.invoked_at), history.wall_ms(end));
            Dated { step: *step, op: &o.op, reply: orders.reply(history, *step), begin, end }
        };
        let steps: Vec<Dated<'_>> = orders.path.iter().map(dated).collect();
        let mut spans: BTreeMap<Vec<u8>, Vec<(usize, u64, u64)>> = BTreeMap::new();
        wide(&steps, oracle.fork(), &mut spans);
        if !spans.is_empty() {
            exact(&steps, oracle.fork(), &mut spans);
        }
        let in_order = |(key, mut spans): (Vec<u8>, Vec<(usize, u64, u64)>)| {
            spans.sort_unstable();
            (key, spans.into_iter().map(|(_, begin, end)| (begin, end)).collect())
        };
        Slack { spans: spans.into_iter().map(in_order).collect() }
    }

    /// Adds what another order of the same history has.
    pub(super) fn join(&mut self, other: &Slack) {
        for (key, spans) in &other.spans {
            let own = self.spans.entry(key.clone()).or_default();
            let new: Vec<(u64, u64)> = spans.iter().filter(|span| !own.contains(span)).copied().collect();
            // An earlier life's are the older ones.
            own.splice(..0, new);
        }
    }

    /// Sets deadlines within an interval to its begin; says which others they may stand for. In later lives only those
    /// that are as in the first: a second start that gives another deadline is no better for lying within the interval.
    pub(super) fn settle(&self, lives: &mut Lives) -> Readings {
        let Outcome::Recovered(first) = &mut lives.first else { return Vec::new() };
        let (mut settled, mut readings) = (Vec::new(), Vec::new());
        for (key, spans) in &self.spans {
            let Some(entry) = first.0.get_mut(key) else { continue };
            let Some(found) = entry.expires_at_ms else { continue };
            // Of several first the newest: it is the one that overwrote the others, if it was done.
            let within = spans.iter().rev().filter(|(begin, end)| (*begin..=*end).contains(&found));
            let mut begins: Vec<u64> = Vec::new();
            within.for_each(|(begin, _)| {
                if !begins.contains(begin) {
                    begins.push(*begin)
                }
            });
            let Some(begin) = begins.first().copied() else { continue };
            entry.expires_at_ms = Some(begin);
            settled.push((key, found, begin));
            if begins.len() > 1 {
                readings.push((key.clone(), begins));
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
        readings
    }
}

/// The other identities that a settled state may have, at the most so many.
pub(super) fn others(first: &Outcome, readings: &Readings, now_ms: u64) -> Vec<Digest> {
    const MOST: usize = 256;
    let Outcome::Recovered(dump) = first else { return Vec::new() };
    let identity = |entry: &Entry, key: &[u8], at: u64| {
        let alive = at > now_ms;
        if alive { Entry { expires_at_ms: Some(at), ..entry.clone() }.identity(key) } else { 0 }
    };
    let mut all = vec![dump.digest(now_ms).0];
    for (key, begins) in readings {
        let (Some(entry), Some(newest)) = (dump.0.get(key), begins.first()) else { continue };
        let own = identity(entry, key, *newest);
        for sum in all.clone() {
            let other = |at: &u64| sum.wrapping_sub(own).wrapping_add(identity(entry, key, *at));
            all.extend(begins[1..].iter().map(other));
        }
        all.truncate(MOST);
    }
    all.into_iter().skip(1).map(Digest).collect()
}

/// Deadlines that depend on when an operation was done while it was under way.
fn wide(
    steps: &[Dated<'_>],
    mut model: Box<dyn Oracle>,
    spans: &mut BTreeMap<Vec<u8>, Vec<(usize, u64, u64)>>,
) {
    for (index, Dated { step, op, reply, begin, end }) in steps.iter().enumerate() {
        if end > begin {
            let (mut early, mut late) = (model.fork(), model.fork());
            early.apply(op, *reply, *begin);
            late.apply(op, *reply, *end);
            // 0 is before every deadline: nothing is left out.
            if late.digest(0) != early.digest(0) {
                let (early, late) = (early.dump(), late.dump());
                for (key, entry) in &early.0 {
                    let ends = (entry.expires_at_ms, late.0.get(key).and_then(|e| e.expires_at_ms));
                    if let (Some(begin), Some(end)) = ends
                        && begin < end
                    {
                        spans.entry(key.clone()).or_default().push((index, begin, end));
                    }
                }
            }
        }
        if step.applied {
            model.apply(op, *reply, *begin);
        }
    }
}

/// The other deadlines of the same keys, which may lie within an interval without being the one that it is of.
fn exact(
    steps: &[Dated<'_>],
    mut model: Box<dyn Oracle>,
    spans: &mut BTreeMap<Vec<u8>, Vec<(usize, u64, u64)>>,
) {
    let mut before = model.dump();
    for (index, Dated { step, op, reply, begin, end }) in steps.iter().enumerate() {
        if end == begin {
            let digest = model.digest(0);
            let mut done = model.fork();
            done.apply(op, *reply, *begin);
            if done.digest(0) != digest {
                let after = done.dump();
                for (key, spans) in spans.iter_mut() {
                    let deadline = |dump: &Dump| dump.0.get(key).and_then(|e| e.expires_at_ms);
                    if let Some(at) = deadline(&after).filter(|at| deadline(&before) != Some(*at)) {
                        spans.push((index, at, at));
                    }
                }
            }
        }
        if step.applied {
            model.apply(op, *reply, *begin);
            before = model.dump();
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

    /// One key with this deadline, in milliseconds after the start.
    fn only(at: u64) -> Outcome {
        let value = crate::target::resp_op::canonical_string(b"1");
        let entry = Entry { value, expires_at_ms: Some(1_000_000 + at) };
        Outcome::Recovered(Dump([(crate::target::resp_op::canonical_key(0, b"a"), entry)].into()))
    }

    fn at(trace: TraceBuilder, point: impl Fn(&History) -> u64, outcome: Outcome) -> Option<Class> {
        let history = History::of(&trace.trace());
        let options = JudgeOptions::at(history.recovery_ms(true));
        let judge = Judge::new(&history, Contract::Always, Box::new(RespOracle::new()), options).unwrap();
        let (second, third) = (Some(outcome.clone()), Some(outcome.clone()));
        let lives = Lives { first: outcome, second, third, probes: Dump::default() };
        judge.check(point(&history), point(&history), &lives).map(|v| v.class)
    }

    /// `EXPIRE a 10`, which takes 2.5 s, then `EXPIRE a 9`, which takes as long: both may give 12 s.
    fn overlapping() -> TraceBuilder {
        let mut b = TraceBuilder::new();
        b.run(&line("SET a 1"), b"+OK\r\n");
        for (time, reply) in [("10", b":1\r\n"), ("9", b":1\r\n")] {
            let id = b.invoke(0, &line(&format!("EXPIRE a {time}")));
            b.advance(2_500_000_000);
            b.reply(0, id, reply);
        }
        b
    }

    #[test]
    fn a_deadline_that_two_operations_can_have_given_stands_for_either() {
        let first_done = |history: &History| history.operations[1].acked.unwrap();
        let both_done = |history: &History| history.operations[2].acked.unwrap();
        // 10 to 12.5 s are the first's, 11.5 to 14 the second's.
        for (deadline, first, both) in
            [(10_500, true, false), (12_000, true, true), (13_000, false, true), (9_000, false, false)]
        {
            assert_eq!(at(overlapping(), first_done, only(deadline)).is_none(), first, "{deadline}");
            assert_eq!(at(overlapping(), both_done, only(deadline)).is_none(), both, "{deadline}");
        }
    }

    #[test]
    fn an_exact_deadline_within_what_another_may_have_given_is_its_own() {
        let mut b = TraceBuilder::new();
        b.run(&line("SET a 1"), b"+OK\r\n");
        // Never answered, so that it may have been done at any time until the end.
        b.invoke(1, &line("EXPIRE a 10"));
        b.advance(3_000_000_000);
        b.run(&line("EXPIRE a 9"), b":1\r\n");
        b.advance(3_000_000_000);
        b.run(&line("SET b 1"), b"+OK\r\n");
        let done = |history: &History| history.operations[2].acked.unwrap();
        assert_eq!(at(b, done, only(12_000)), None);
    }
}
