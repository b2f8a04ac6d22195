//! Where a violation is real: under which models one and the same mechanism was seen.

use crate::cell::{CellResult, Finding};
use crate::verdict::Verdict;
use std::fmt;

/// A mechanism, once, with every model under which it was seen.
pub struct Graded<'a> {
    /// The cell whose case is shown: the first of the most real ones.
    pub cell: &'a CellResult,
    /// The finding that is shown.
    pub finding: &'a Finding,
    /// Where it is real.
    pub grade: Grade,
    /// The other policies and phases in which the same mechanism was seen, as `policy / phase`.
    pub also: Vec<String>,
}

/// Where a violation is real. Of real file systems only models that were explored are spoken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grade {
    /// No power fails at all: processes are killed, or files damaged at rest.
    NoPowerLoss {
        /// What showed it.
        seen: Vec<String>,
    },
    /// Also where every write reaches the disk in its order (the `prefix` model).
    InOrder {
        /// All models that showed it.
        seen: Vec<String>,
    },
    /// On these real file systems.
    Real {
        /// Names of file systems.
        on: Vec<String>,
        /// All models that showed it.
        seen: Vec<String>,
    },
    /// Only under what the standard allows; models of real file systems were explored and did not show it.
    PosixOnly {
        /// All models that showed it.
        seen: Vec<String>,
        /// The real ones that did not.
        not: Vec<String>,
    },
    /// Only under the standard's models, and no real one was explored.
    Ungraded {
        /// All models that showed it.
        seen: Vec<String>,
    },
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[String]| names.join(", ");
        match self {
            Grade::NoPowerLoss { seen } => {
                write!(f, "real without any power loss, on every file system (seen under {})", list(seen))
            }
            Grade::InOrder { seen } => {
                write!(f, "real on every file system, even with writes in order (seen under {})", list(seen))
            }
            Grade::Real { on, seen } => write!(f, "real on {} (seen under {})", list(on), list(seen)),
            Grade::PosixOnly { seen, not } => {
                write!(f, "POSIX only (seen under {}; not under {})", list(seen), list(not))
            }
            Grade::Ungraded { seen } => {
                write!(f, "seen under {}; no model of a real file system was explored", list(seen))
            }
        }
    }
}

/// The file system that a model is of; `None` for models of the standard.
fn file_system(model: &str) -> Option<&str> {
    ["ext4", "xfs", "btrfs"].into_iter().find(|fs| model.split('-').next() == Some(fs))
}

/// How real a model is; smaller is more.
fn rank(model: &str) -> u8 {
    match model {
        "prefix" | "kill" | "at rest" => 0,
        m if file_system(m).is_some() => 1,
        "posix" => 2,
        _ => 3,
    }
}

/// All findings, each mechanism of one run of `check` once, in the order of the cells.
pub fn graded(cells: &[CellResult]) -> Vec<Graded<'_>> {
    let mut out: Vec<Graded<'_>> = Vec::new();
    for cell in cells {
        for finding in &cell.findings {
            let same = |c: &CellResult, f: &Finding| {
                (&c.target, c.seed) == (&cell.target, cell.seed)
                    && f.violation.class == finding.violation.class
                    && f.mechanism == finding.mechanism
            };
            if out.iter().any(|g| same(g.cell, g.finding)) {
                continue;
            }
            let mut shown: Vec<_> = cells
                .iter()
                .flat_map(|c| c.findings.iter().map(move |f| (c, f)))
                .filter(|(c, f)| same(c, f))
                .collect();
            shown.sort_by_key(|(c, _)| rank(&c.model));
            let (cell, finding) = shown.first().copied().unwrap_or((cell, finding));
            let places: Vec<&CellResult> = shown.iter().map(|(c, _)| *c).collect();
            let (grade, also) = (grade(cells, &places), also(cell, &places));
            out.push(Graded { cell, finding, grade, also });
        }
    }
    out
}

/// Where else a mechanism was seen than in the cell that is shown.
fn also(shown: &CellResult, places: &[&CellResult]) -> Vec<String> {
    let mut out = Vec::new();
    for place in places.iter().filter(|c| !same_run(c, shown)) {
        let name = format!("{} / {}", place.policy, place.phase);
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

fn same_run(a: &CellResult, b: &CellResult) -> bool {
    (&a.target, &a.policy, &a.phase, a.seed) == (&b.target, &b.policy, &b.phase, b.seed)
}

fn grade(cells: &[CellResult], places: &[&CellResult]) -> Grade {
    let mut seen: Vec<&str> = Vec::new();
    for place in places {
        if !seen.contains(&place.model.as_str()) {
            seen.push(&place.model);
        }
    }
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    if seen.iter().any(|model| ["kill", "at rest"].contains(model)) {
        return Grade::NoPowerLoss { seen: owned(&seen) };
    }
    if seen.contains(&"prefix") {
        return Grade::InOrder { seen: owned(&seen) };
    }
    let mut on: Vec<&str> = seen.iter().filter_map(|m| file_system(m)).collect();
    on.dedup();
    if !on.is_empty() {
        return Grade::Real { on: owned(&on), seen: owned(&seen) };
    }
    // A cell that was not measured shows nothing, and its silence is no evidence.
    let measured = |c: &&CellResult| {
        places.iter().any(|p| same_run(c, p)) && matches!(c.verdict, Verdict::Holds | Verdict::Violated)
    };
    let mut not: Vec<&str> = cells.iter().filter(measured).map(|c| c.model.as_str()).collect();
    not.retain(|m| file_system(m).is_some());
    not.sort_unstable();
    not.dedup();
    match not.is_empty() {
        true => Grade::Ungraded { seen: owned(&seen) },
        false => Grade::PosixOnly { seen: owned(&seen), not: owned(&not) },
    }
}
