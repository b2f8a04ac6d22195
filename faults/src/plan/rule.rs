//! Rules, and what became of them.

use super::call::Call;
use super::outcome::Outcome;
use crate::event::Op;
use crate::trace::{Blind, Trace};
use serde::{Deserialize, Serialize};
use std::fmt;

/// In which process a call is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// In any.
    #[default]
    Any,
    /// In the one that the harness has started.
    Main,
    /// In one that came of it: a rewrite's, a save's.
    Child,
}

/// Which of the matching calls are meant: the first and the last, counting from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nth {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl Nth {
    /// All of them.
    pub const ALL: Nth = Nth { first: 1, last: u64::MAX };

    /// One of them.
    pub fn one(n: u64) -> Nth {
        Nth { first: n, last: n }
    }
}

/// What is done to which calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// The calls.
    pub calls: Vec<Call>,
    /// A glob for the path, relative to the recorded directory (`.` is the directory itself): `*` any bytes, `/`
    /// too, `?` one byte; a directory's match covers what is below it.
    pub path: String,
    /// Which of the matching calls.
    pub nth: Nth,
    /// In which process.
    pub role: Role,
    /// What is done.
    pub outcome: Outcome,
}

/// A fault plan. Without rules nothing is done, and nothing is paid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// The rules.
    pub rules: Vec<Rule>,
}

/// How often each rule of a plan fired in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired(pub Vec<u64>);

impl Plan {
    /// Whether calls are made to last.
    pub fn delays(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.outcome, Outcome::Delay(_)))
    }

    /// A plan of one rule.
    pub fn single(rule: Rule) -> Plan {
        Plan { rules: vec![rule] }
    }

    /// A plan that does nothing to any call, and has each told of: the census from which a sweep is planned.
    pub fn census(reads: bool) -> Plan {
        if reads { Plan::census_of(Call::all()) } else { Plan::census_of(Call::recorded()) }
    }

    /// The same of these calls only.
    pub fn census_of(calls: impl IntoIterator<Item = Call>) -> Plan {
        let (calls, path) = (calls.into_iter().collect(), "*".to_owned());
        Plan::single(Rule { calls, path, nth: Nth::ALL, role: Role::Any, outcome: Outcome::Note })
    }

    /// How often each rule fired. A rule that never did has shown nothing.
    pub fn fired(&self, trace: &Trace) -> Fired {
        let mut fired = vec![0; self.rules.len()];
        for event in &trace.events {
            if let Op::Fault { rule, .. } = &event.op
                && let Some(n) = fired.get_mut(*rule as usize)
            {
                *n += 1;
            }
        }
        Fired(fired)
    }

    /// Two rules that wanted different things of one call: the run cannot be what either says.
    pub(crate) fn contradiction(&self, one: usize, other: usize) -> Blind {
        let text = |i: usize| self.rules.get(i).map_or_else(String::new, Rule::to_string);
        Blind {
            what: "contradictory fault rules".to_owned(),
            detail: format!("`{}` and `{}` mean the same call", text(one), text(other)),
        }
    }
}

impl Fired {
    /// How many rules fired at least once.
    pub fn rules(&self) -> usize {
        self.0.iter().filter(|n| **n > 0).count()
    }

    /// The rules that never fired.
    pub fn never(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, n)| **n == 0).map(|(i, _)| i)
    }
}

impl Rule {
    /// Whether it means a call of this kind on this path in this process; occurrences are not looked at.
    pub fn means(&self, call: Call, path: &[u8], role: Role) -> bool {
        let by_role = self.role == Role::Any || self.role == role;
        by_role && self.calls.contains(&call) && crate::abi::glob_matches(self.path.as_bytes(), path)
    }

    /// Whether some call could be meant by both: as far as that can be told without running anything.
    pub(super) fn meets(&self, other: &Rule) -> bool {
        let roles = self.role == other.role || self.role == Role::Any || other.role == Role::Any;
        let calls = self.calls.iter().any(|c| other.calls.contains(c));
        let nth = self.nth.first <= other.nth.last && other.nth.first <= self.nth.last;
        roles && calls && nth && self.path == other.path
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: Vec<&str> = self.calls.iter().map(|c| c.name()).collect();
        write!(f, "{} {} {}", calls.join(","), self.path, self.outcome)?;
        match self.nth {
            Nth::ALL => f.write_str(" nth=all")?,
            Nth { first: 1, last: 1 } => {}
            Nth { first, last } if first == last => write!(f, " nth={first}")?,
            Nth { first, last: u64::MAX } => write!(f, " nth={first}..")?,
            Nth { first, last } => write!(f, " nth={first}..{last}")?,
        }
        match self.role {
            Role::Any => Ok(()),
            Role::Main => f.write_str(" in=main"),
            Role::Child => f.write_str(" in=child"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<String> = self.rules.iter().map(Rule::to_string).collect();
        f.write_str(&rules.join("; "))
    }
}
