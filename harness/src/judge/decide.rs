//! Finding out in which way a forbidden state is wrong, in the decided order of the classes.

use super::allowed::issued;
use super::classify::{Hit, Table};
use super::court::Judge;
use super::mixture::Versions;
use super::orders::Step;
use crate::contract::Contract;
use crate::dump::{Digest, Dump};
use crate::target::Meaning;
use crate::verdict::{Class, Violation};
use unplug_faults::event::Clock;

impl Judge {
    fn may_be_there(&self, operation: usize, point: Clock) -> bool {
        self.history.operations[operation].invoked <= point
    }

    pub(super) fn classify(
        &self,
        digest: Digest,
        dump: Option<&Dump>,
        point: Clock,
        last: Clock,
    ) -> Violation {
        if self.is_issued_prefix(digest, last) {
            return self.older_prefix(digest, point, last);
        }
        let table = self.table.get_or_init(|| {
            Table::build(&self.history, &self.orders, &self.prefixes, self.oracle.as_ref(), self.now_ms)
        });
        if let Some(hit) = table.find(digest, |newest| self.may_be_there(newest, last)) {
            return self.by_table(hit, point, last);
        }
        match dump {
            Some(dump) => self.mixed(dump, point, last),
            None => self.violation(
                Class::SilentCorruption,
                point,
                None,
                false,
                "no operation gives this state".into(),
            ),
        }
    }

    /// Whether some prefix that had been issued by then gives this state.
    fn is_issued_prefix(&self, digest: Digest, last: Clock) -> bool {
        self.prefixes.get(&digest).is_some_and(|node| issued(&self.history, &self.orders, *node) <= last)
    }

    /// The class of a forbidden state as far as it is known without a table of mistakes.
    pub(super) fn class_at_once(&self, digest: Digest, point: Clock, last: Clock) -> Class {
        match self.is_issued_prefix(digest, last) {
            true => self.older_prefix(digest, point, last).class,
            false => Class::SilentCorruption,
        }
    }

    fn violation(
        &self,
        class: Class,
        point: Clock,
        operation: Option<usize>,
        stricter: bool,
        explanation: String,
    ) -> Violation {
        Violation {
            class,
            crash_point: point,
            stricter_than_documented: stricter,
            operation: operation.map(|o| self.history.operations[o].id),
            loss: None,
            explanation,
        }
    }

    /// What came back is a prefix, but not one of those allowed.
    fn older_prefix(&self, digest: Digest, point: Clock, last: Clock) -> Violation {
        // Of the prefixes with this content the newest lacks least.
        let nodes = (0..self.orders.nodes.len()).rev();
        let node = nodes
            .filter(|n| self.orders.nodes[*n].digest == digest)
            .find(|n| issued(&self.history, &self.orders, *n) <= last)
            .unwrap_or(0);
        let loss = self.allowed.loss(&self.history, &self.orders, node, point);
        let lost = self.oldest_lost(node, digest, point);
        let lawful = self.orders.nodes[node].lawful;
        let barrier = self.allowed.barrier_broken(&self.orders, node, point) || !lawful;
        if self.contract == Contract::Snapshot && !barrier {
            let text = "the content is that of a moment at which no snapshot was taken".to_string();
            return self.violation(Class::SilentCorruption, point, lost, true, text);
        }
        let (class, stricter) = match (&self.contract, barrier) {
            (Contract::EverySec { .. }, false) => (Class::WindowExceeded, false),
            // Redis documents nothing of what a rewrite makes durable where nothing else is.
            (Contract::No, _) => (Class::AcknowledgedLoss, !self.promised_outright(point)),
            _ => (Class::AcknowledgedLoss, false),
        };
        let what = lost.map_or_else(|| "an operation".to_string(), |o| self.name(o));
        let text = match class {
            _ if !lawful => {
                "after a kill the target went on from less than it had promised to keep".to_string()
            }
            Class::WindowExceeded => {
                format!("{what} was acknowledged {} before the crash and is gone", seconds(loss.unwrap_or(0)))
            }
            _ => format!("{what} was promised to be durable and is gone"),
        };
        Violation { loss, ..self.violation(class, point, lost, stricter, text) }
    }

    /// Whether an operation's own reply, up to this point, promised durability.
    fn promised_outright(&self, point: Clock) -> bool {
        let outright = |(i, o): (usize, &crate::history::Operation)| {
            self.orders.meanings[i] == Meaning::Barrier && o.acked.is_some_and(|a| a <= point)
        };
        self.history.operations.iter().enumerate().any(outright)
    }

    /// The first acknowledged operation after a node that changes the state.
    fn oldest_lost(&self, node: usize, digest: Digest, point: Clock) -> Option<usize> {
        let held = &self.orders.nodes[node].progress;
        let beyond = |s: &Step| {
            let place =
                |(c, list): (usize, &Vec<usize>)| list.binary_search(&s.operation).ok().map(|i| (c, i));
            let place = self.orders.clients.iter().enumerate().find_map(place);
            place.is_some_and(|(c, i)| i >= held[c] as usize)
        };
        let steps = self.orders.path.iter().enumerate().filter(|(_, s)| s.applied && beyond(s));
        let mut acked = steps.filter(|(_, s)| {
            self.orders.good[s.operation]
                && self.orders.meanings[s.operation] == Meaning::Write
                && self.history.operations[s.operation].acked.is_some_and(|a| a <= point)
        });
        let changes = |k: usize| self.orders.nodes[self.orders.path_nodes[k + 1]].digest != digest;
        acked.find(|(k, _)| changes(*k)).map(|(_, s)| s.operation)
    }

    fn by_table(&self, hit: Hit, point: Clock, last: Clock) -> Violation {
        let run = match hit.count {
            1 => self.name(hit.operation),
            n => format!("{n} operations from {} on", self.name(hit.operation)),
        };
        let newest = self.name(hit.newest);
        let (text, stricter) = match hit.class {
            Class::DuplicatedOperation => (format!("twice applied: {run}"), false),
            Class::Gap => (
                format!("missing, while the later {newest} is there: {run}"),
                !self.demanded(&[hit.operation], last),
            ),
            _ => (format!("only a part is there of {run}"), false),
        };
        self.violation(hit.class, point, Some(hit.operation), stricter, text)
    }

    fn mixed(&self, dump: &Dump, point: Clock, last: Clock) -> Violation {
        let may =
            self.orders.path.iter().rposition(|s| self.may_be_there(s.operation, last)).map_or(0, |k| k + 1);
        let mut mixture = self.versions().explain(dump, may, self.now_ms);
        let operation = |k: &usize| self.orders.path[*k].operation;
        // One run left out is a gap, also where it was too long for the table; and so are several.
        let gap = match mixture.class {
            Class::Resurrection if self.is_one_run(&mixture.missing, dump, may) => {
                Some(mixture.missing.clone())
            }
            // Values that came about only because something in front of them was missing.
            Class::TornOperation | Class::SilentCorruption => self.several_gaps(dump, may),
            _ => None,
        };
        if let Some(missing) = gap {
            mixture.class = Class::Gap;
            mixture.step = missing.first().copied();
            mixture.missing = missing;
        }
        let missing: Vec<usize> = mixture.missing.iter().map(operation).collect();
        let key = mixture.key.escape_ascii();
        let at = mixture.step.as_ref().map(operation);
        let name = at.map_or_else(String::new, |o| self.name(o));
        let (text, stricter) = match mixture.class {
            Class::Gap => (
                format!(
                    "missing, while later operations are there: {name} and {} more",
                    missing.len().saturating_sub(1)
                ),
                !self.demanded(&missing, last),
            ),
            Class::Resurrection => (
                format!("an old value of {key} came back, although {name} had replaced it"),
                !self.demanded(&missing, last),
            ),
            Class::TornOperation => (format!("{key} holds a part of what {name} wrote"), false),
            _ if mixture.key.is_empty() => ("no order of the operations gives this state".to_string(), false),
            _ => (format!("{key} holds what no operation ever wrote"), false),
        };
        self.violation(mixture.class, point, at, stricter, text)
    }

    /// What each key held along the one order that is followed.
    pub(super) fn versions(&self) -> &Versions {
        let of = || Versions::of(&self.history, &self.orders, self.oracle.as_ref(), self.now_ms);
        self.versions.get_or_init(of)
    }

    /// Whether the contract itself, not only the strict order, demands one of these operations.
    fn demanded(&self, operations: &[usize], point: Clock) -> bool {
        let demands =
            |o: &usize| self.allowed.demands(&self.history, &self.contract, &self.orders, *o, point);
        operations.iter().any(demands)
    }

    /// Whether leaving out the run from the first to the last of these steps gives the state.
    fn is_one_run(&self, missing: &[usize], dump: &Dump, may: usize) -> bool {
        let (Some(from), Some(to)) = (missing.first(), missing.last()) else { return false };
        let wanted = dump.digest(self.now_ms);
        let mut model = self.oracle.fork();
        for (k, step) in self.orders.path[..may].iter().enumerate() {
            if step.applied && !(*from..=*to).contains(&k) {
                self.apply(model.as_mut(), *step);
                if k > *to && model.digest(self.now_ms) == wanted {
                    return true;
                }
            }
        }
        false
    }
}

/// Nanoseconds as seconds, for a person.
fn seconds(nanos: u64) -> String {
    format!("{}.{:03} s", nanos / 1_000_000_000, nanos / 1_000_000 % 1000)
}
