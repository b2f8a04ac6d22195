//! The calls of a run, as the shim sees them: from a run in which each was told of, and nothing done to any.

use std::collections::BTreeSet;
use unplug_faults::event::Op;
use unplug_faults::paths::printable;
use unplug_faults::plan::{Call, Nth, Outcome, Role, Rule};
use unplug_faults::trace::Trace;

/// One call of a run, as a rule can mean it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The call.
    pub call: Call,
    /// A glob for its path.
    pub path: String,
    /// Its process.
    pub role: Role,
    /// Which of the calls that match so far.
    pub nth: u64,
    /// The phase of the workload.
    pub phase: String,
    /// The first of its class: calls of the same kind, on the same kind of file, in the same process and phase.
    pub representative: bool,
}

/// All calls of a run.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// In the order in which they were made.
    pub sites: Vec<Site>,
}

impl Census {
    /// Reads a census out of the trace of a run under [`Plan::census`](unplug_faults::plan::Plan::census). Where a run
    /// does not repeat, numbers in names are its own (process ids): they become `*`.
    pub fn of(trace: &Trace, repeatable: bool) -> Census {
        let mut census = Census::default();
        let mut phase = crate::history::START.to_owned();
        let mut classes: BTreeSet<(Call, String, Role, String)> = BTreeSet::new();
        let mut told: Vec<(Call, Vec<u8>, Role)> = Vec::new();
        for event in &trace.events {
            match &event.op {
                Op::Phase(name) => phase.clone_from(name),
                Op::Fault { call, path, role, outcome: Outcome::Note, .. } => {
                    let shown = printable(path);
                    let glob = if call.has_no_path() {
                        "*".to_owned()
                    } else if repeatable {
                        shown.clone()
                    } else {
                        without_runs(&shown, 3, "*")
                    };
                    let mut site = Site {
                        call: *call,
                        path: glob,
                        role: *role,
                        nth: 1,
                        phase: phase.clone(),
                        representative: false,
                    };
                    let rule = site.rule(Outcome::Note);
                    let same = |(c, p, r): &&(Call, Vec<u8>, Role)| rule.means(*c, p, *r);
                    site.nth += told.iter().filter(same).count() as u64;
                    told.push((*call, path.clone(), *role));
                    let class = (*call, without_runs(&shown, 1, "#"), *role, phase.clone());
                    site.representative = classes.insert(class);
                    census.sites.push(site);
                }
                _ => {}
            }
        }
        census
    }
}

impl Site {
    /// The rule that means this call and no other.
    pub fn rule(&self, outcome: Outcome) -> Rule {
        Rule {
            calls: vec![self.call],
            path: self.path.clone(),
            nth: Nth::one(self.nth),
            role: self.role,
            outcome,
        }
    }
}

/// A name in which every run of so many digits is replaced.
fn without_runs(name: &str, digits: usize, by: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for c in name.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_digit() {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() >= digits && !run.is_empty() { by } else { &run });
        run.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use unplug_faults::event::{Event, Task};

    fn told(call: &str, path: &str, role: Role) -> Event {
        let (call, path) = (call.parse().unwrap(), path.as_bytes().to_vec());
        let op = Op::Fault { rule: 0, call, path, role, outcome: Outcome::Note };
        Event { begin: 0, end: 0, at: 0, task: Task::default(), site: None, errno: 0, op }
    }

    #[test]
    fn each_call_is_counted_among_those_that_its_rule_means() {
        let phase = Event { op: Op::Phase("append".into()), ..told("write", "", Role::Main) };
        let events = vec![
            told("write", "d/a.1.aof", Role::Main),
            told("fsync", "d/a.1.aof", Role::Main),
            // The rule for the directory means what is below it too.
            told("fsync", "d", Role::Main),
            phase,
            told("write", "d/a.1.aof", Role::Child),
            told("write", "d/a.1.aof", Role::Main),
            told("write", "d/a.1.aof", Role::Main),
            told("fork", "", Role::Main),
        ];
        let census = Census::of(&Trace { events, ..Trace::default() }, true);
        let brief: Vec<(String, u64, bool)> = census
            .sites
            .iter()
            .map(|s| (format!("{} {} {}", s.call, s.path, s.phase), s.nth, s.representative))
            .collect();
        let expected = [
            ("write d/a.1.aof start", 1, true),
            ("fsync d/a.1.aof start", 1, true),
            ("fsync d start", 2, true),
            ("write d/a.1.aof append", 1, true),
            ("write d/a.1.aof append", 2, true),
            ("write d/a.1.aof append", 3, false),
            ("fork * append", 1, true),
        ];
        let expected: Vec<(String, u64, bool)> =
            expected.iter().map(|(s, n, r)| ((*s).to_owned(), *n, *r)).collect();
        assert_eq!(brief, expected);
    }

    #[test]
    fn numbers_of_processes_are_no_part_of_a_name() {
        assert_eq!(without_runs("temp-rewriteaof-bg-31337.aof", 3, "*"), "temp-rewriteaof-bg-*.aof");
        assert_eq!(without_runs("appendonly.aof.1.incr.aof", 3, "*"), "appendonly.aof.1.incr.aof");
        assert_eq!(without_runs("a12b3", 1, "#"), "a#b#");
        assert_eq!(without_runs("a12", 1, "#"), "a#");
    }
}
