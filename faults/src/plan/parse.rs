//! Plans as text: one rule a line, `#` begins a comment.

use super::call::{Call, UnknownCall};
use super::outcome::Outcome;
use super::rule::{Nth, Plan, Role, Rule};
use crate::abi_fault::{GLOB, RULES};
use std::str::FromStr;

/// What is wrong with a plan's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A line that cannot be read.
    #[error("line {line}: {why}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// Two rules that want different things of one call.
    #[error(
        "lines {first} and {second} contradict each other: they mean the same call, and do not do the same"
    )]
    Contradiction {
        /// The number of the first line.
        first: usize,
        /// The number of the second line.
        second: usize,
    },
    /// There is nothing in it.
    #[error("the plan has no rule")]
    Empty,
    /// There is too much in it.
    #[error("the plan has more than {RULES} rules")]
    TooMany,
}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Plan, PlanError> {
        let mut rules: Vec<(usize, Rule)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
            if !line.is_empty() {
                let rule = rule(line).map_err(|why| PlanError::Line { line: index + 1, why })?;
                rules.push((index + 1, rule));
            }
        }
        if rules.is_empty() {
            return Err(PlanError::Empty);
        }
        if rules.len() > RULES {
            return Err(PlanError::TooMany);
        }
        for (i, (second, rule)) in rules.iter().enumerate() {
            let clash = rules[..i].iter().find(|(_, r)| r.outcome != rule.outcome && r.meets(rule));
            if let Some((first, _)) = clash {
                return Err(PlanError::Contradiction { first: *first, second: *second });
            }
        }
        Ok(Plan { rules: rules.into_iter().map(|(_, rule)| rule).collect() })
    }
}

fn rule(line: &str) -> Result<Rule, String> {
    let mut words = line.split_whitespace();
    let form = "expected CALL GLOB OUTCOME, such as `fdatasync *incr* EIO nth=3`";
    let (Some(calls), Some(path), Some(outcome)) = (words.next(), words.next(), words.next()) else {
        return Err(form.to_owned());
    };
    let calls: Vec<Call> =
        calls.split(',').map(str::parse).collect::<Result<_, UnknownCall>>().map_err(|e| e.to_string())?;
    if path.len() > GLOB || path.contains('\0') {
        return Err(format!("the glob is longer than {GLOB} bytes"));
    }
    let mut outcome = Outcome::parse(outcome)
        .ok_or_else(|| format!("`{outcome}` is no outcome; there are {}", Outcome::words()))?;
    let mut nth = if matches!(outcome, Outcome::Full { .. }) { Nth::ALL } else { Nth::one(1) };
    let mut role = Role::Any;
    for word in words {
        match (word.split_once('='), &mut outcome) {
            (Some(("nth", text)), _) => {
                nth = occurrence(text)
                    .ok_or_else(|| format!("`{word}`: expected nth=N, nth=N..M or nth=all"))?;
            }
            (Some(("in", "main")), _) => role = Role::Main,
            (Some(("in", "child")), _) => role = Role::Child,
            (Some(("until", text)), Outcome::Full { refusals, .. }) => {
                *refusals = text.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                    format!("`{word}`: expected the number of refused calls after which there is room again")
                })?;
            }
            _ => {
                return Err(format!("`{word}` is not understood; there are nth=, in=main, in=child, until="));
            }
        }
    }
    suits(&calls, path, &outcome)?;
    Ok(Rule { calls, path: path.to_owned(), nth, role, outcome })
}

/// Whether the outcome can befall the calls at all: a rule that cannot fire is a mistake.
fn suits(calls: &[Call], path: &str, outcome: &Outcome) -> Result<(), String> {
    if let Outcome::Short(_) = outcome
        && let Some(call) = calls.iter().find(|c| !c.moves_bytes())
    {
        return Err(format!("{call} moves no bytes, so it cannot be short"));
    }
    if let Outcome::Full { .. } = outcome
        && let Some(call) = calls.iter().find(|c| !["write", "fallocate"].contains(&c.name()))
    {
        return Err(format!("{call} takes no room on a disk that fills; write and fallocate do"));
    }
    if let Some(call) = calls.iter().find(|c| c.has_no_path())
        && path != "*"
    {
        return Err(format!("{call} is about no path; say `{call} * {outcome}`"));
    }
    Ok(())
}

fn occurrence(text: &str) -> Option<Nth> {
    if text == "all" {
        return Some(Nth::ALL);
    }
    let nth = match text.split_once("..") {
        None => Nth::one(text.parse().ok()?),
        Some((first, "")) => Nth { first: first.parse().ok()?, last: u64::MAX },
        Some((first, last)) => Nth { first: first.parse().ok()?, last: last.parse().ok()? },
    };
    (nth.first > 0 && nth.first <= nth.last).then_some(nth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_and_printed() {
        let text = "# a comment\nfdatasync *incr* EIO nth=3\n\nwrite,copy *.aof short=5 nth=2..4 in=child # more\n\
                    pwrite64 * full=4096 until=2\nfork * EAGAIN nth=all\nrename *manifest kill in=main\n";
        let plan: Plan = text.parse().unwrap();
        assert_eq!(
            plan.to_string(),
            "fdatasync *incr* EIO nth=3; write,copy *.aof short=5 nth=2..4 in=child; \
             write * full=4096 until=2 nth=all; fork * EAGAIN nth=all; rename *manifest kill in=main"
        );
        let again: Plan = plan.to_string().replace("; ", "\n").parse().unwrap();
        assert_eq!(again, plan);
    }

    #[test]
    fn every_mistake_has_its_line_and_its_remedy() {
        let said = |text: &str| text.parse::<Plan>().unwrap_err().to_string();
        assert!(
            said("\nwriet * EIO").starts_with("line 2: no call is named `wriet`; the calls are open, write")
        );
        assert!(said("write *").contains("CALL GLOB OUTCOME"));
        assert!(said("write * EOOPS").contains("`EOOPS` is no outcome; there are EIO, ENOSPC"));
        assert!(said("write * EIO nth=0").contains("nth=N"));
        assert!(said("write * EIO nth=4..2").contains("nth=N"));
        assert!(said("write * EIO until=2").contains("not understood"));
        assert!(said("rename * short").contains("moves no bytes"));
        assert!(said("rename * full=1").contains("takes no room"));
        assert!(said("fork *x* EAGAIN").contains("fork is about no path"));
        assert_eq!(said("# nothing"), "the plan has no rule");
    }

    #[test]
    fn contradictions_are_told_with_both_lines() {
        let said = |text: &str| text.parse::<Plan>().unwrap_err().to_string();
        assert!(
            said("write a EIO nth=2\nwrite,copy a ENOSPC nth=1..3").starts_with("lines 1 and 2 contradict")
        );
        assert!(
            said("write a EIO nth=all\nfsync a EIO\nwrite a EIO in=main nth=9\nwrite a short nth=9")
                .contains("1 and 4")
        );
        for fine in [
            "write a EIO nth=2\nwrite a ENOSPC nth=3",
            "write a EIO\nwrite a EIO",
            "write a EIO in=main\nwrite a ENOSPC in=child",
            "write a EIO\nfsync a ENOSPC",
        ] {
            assert!(fine.parse::<Plan>().is_ok(), "{fine}");
        }
    }
}
