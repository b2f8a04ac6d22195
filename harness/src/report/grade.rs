//! Where a violation is real: under which models one and the same mechanism was seen.

use super::number::grouped;
use crate::cell::{AFTER_RECOVERY, CellResult, DURING_RECOVERY, Finding};
use crate::verdict::{Class, Verdict};
use std::fmt;
use unplug_faults::model::{self, Kind};

/// A mechanism, once, with every model under which it was seen.
pub struct Graded<'a> {
    /// The cell whose case is shown: the first of the most real ones.
    pub cell: &'a CellResult,
    /// The finding that is shown.
    pub finding: &'a Finding,
    /// Where it is real.
    pub grade: Grade,
    /// Where it was seen: one line for each policy and phase, with how many of the checked states under each model.
    pub seen_in: Vec<String>,
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
    /// On these real file systems as they are mounted today when nothing is said.
    Today {
        /// Names of file systems.
        on: Vec<String>,
        /// All models that showed it.
        seen: Vec<String>,
    },
    /// On real file systems, but only mounted with these options.
    Mounted {
        /// File systems with their options.
        on: Vec<String>,
        /// All models that showed it.
        seen: Vec<String>,
    },
    /// Only under what the standard allows; models of real file systems were explored whole and did not show it.
    PosixOnly {
        /// All models that showed it.
        seen: Vec<String>,
        /// The real ones that did not.
        not: Vec<String>,
    },
    /// Under what the standard allows; of some models of real file systems not every state was looked at.
    NotAmongThose {
        /// All models that showed it.
        seen: Vec<String>,
        /// The real ones that did not, though every state was looked at.
        not: Vec<String>,
        /// The real ones that did not as far as they were looked at.
        sampled: Vec<String>,
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
            Grade::Today { on, seen } => write!(f, "real on {} today (seen under {})", list(on), list(seen)),
            Grade::Mounted { on, seen } => write!(f, "real on {} (seen under {})", list(on), list(seen)),
            Grade::PosixOnly { seen, not } => {
                write!(f, "allowed by POSIX only (seen under {}; not under {})", list(seen), list(not))
            }
            Grade::NotAmongThose { seen, not, sampled } => {
                write!(f, "seen under {}; ", list(seen))?;
                if !not.is_empty() {
                    write!(f, "not under {}; ", list(not))?;
                }
                write!(f, "not among the states that were tried under {}: more with --budget", list(sampled))
            }
            Grade::Ungraded { seen } => {
                write!(f, "seen under {}; no model of a real file system was explored", list(seen))
            }
        }
    }
}

/// Names that stand for a model where there was no power loss.
const NO_POWER_LOSS: [&str; 2] = ["kill", "at rest"];

/// What a model's rules are of. A name that this build does not know is no evidence of a real file system.
fn kind(model: &str) -> Kind {
    model::by_name(model).map_or(Kind::Standard, |model| model.kind())
}

/// The file system that a model is of, with its option if it needs one; `None` for models of the standard.
fn real(kind: Kind) -> Option<String> {
    match kind {
        Kind::Default { system } => Some(system.to_owned()),
        Kind::Mounted { system, option } => Some(format!("{system} mounted with {option}")),
        Kind::InOrder | Kind::Standard => None,
    }
}

/// How real a model is; smaller is more.
fn rank(model: &str) -> u8 {
    if NO_POWER_LOSS.contains(&model) {
        return 0;
    }
    match kind(model) {
        Kind::InOrder => 0,
        Kind::Default { .. } => 1,
        Kind::Mounted { .. } => 2,
        Kind::Standard if model == "posix" => 3,
        Kind::Standard => 4,
    }
}

/// The mistake that a finding shows. One of the writing that shows after a recovery only, in one phase, and by itself in
/// another one is the same.
fn mistake(finding: &Finding) -> &str {
    finding.mechanism.strip_prefix(AFTER_RECOVERY).unwrap_or(&finding.mechanism)
}

/// All findings, each mechanism of one run of `check` once, in the order of the cells.
pub fn graded(cells: &[CellResult]) -> Vec<Graded<'_>> {
    let mut out: Vec<Graded<'_>> = Vec::new();
    for cell in cells {
        for finding in &cell.findings {
            let same = |c: &CellResult, f: &Finding| {
                (&c.target, c.seed) == (&cell.target, cell.seed)
                    && mistake(f) == mistake(finding)
                    && family(cells, c, f) == family(cells, cell, finding)
            };
            if out.iter().any(|g| same(g.cell, g.finding)) {
                continue;
            }
            let mut shown: Vec<_> = cells
                .iter()
                .flat_map(|c| c.findings.iter().map(move |f| (c, f)))
                .filter(|(c, f)| same(c, f))
                .collect();
            // What the first start shows is told before what only a later one does, and what shows by itself before
            // what shows after a recovery.
            let later =
                |c, f: &Finding| family(cells, c, f).is_some_and(|of| of != f.violation.class.family());
            shown.sort_by_key(|(c, f)| (rank(&c.model), later(c, f), mistake(f) != f.mechanism));
            let (cell, finding) = shown.first().copied().unwrap_or((cell, finding));
            let places: Vec<&CellResult> = shown.iter().map(|(c, _)| *c).collect();
            let (grade, seen_in) = (grade(cells, &places), seen_in(&shown));
            out.push(Graded { cell, finding, grade, seen_in });
        }
    }
    out
}

/// The classes in which the finding's mechanism is one and the same: what a later start shows is of the family of what
/// the first start shows, where one state shows both. A crash during recovery may show itself as anything.
fn family(cells: &[CellResult], cell: &CellResult, finding: &Finding) -> Option<Class> {
    if finding.mechanism.starts_with(DURING_RECOVERY) {
        return None;
    }
    let class = finding.violation.class;
    let of_run = cells.iter().filter(|c| (&c.target, c.seed) == (&cell.target, cell.seed));
    let mut all = of_run.flat_map(|c| &c.findings).filter(|f| mistake(f) == mistake(finding));
    Some(all.find(|f| f.also.contains(&class)).map_or(class, |f| f.violation.class).family())
}

/// Where a mechanism was seen, the runs in the order of the most real model's cells.
fn seen_in(shown: &[(&CellResult, &Finding)]) -> Vec<String> {
    let mut out: Vec<(&CellResult, String)> = Vec::new();
    for (cell, finding) in shown {
        // A finding has the states of recoveries that show it, too.
        let judged = cell.states_checked + cell.recoveries.states;
        let count = format!("{} {} of {}", cell.model, grouped(finding.states), grouped(judged));
        match out.iter_mut().find(|(c, _)| same_run(c, cell)) {
            Some((_, line)) => line.push_str(&format!(", {count}")),
            None => out.push((cell, format!("{} / {}: {count}", cell.configuration(), cell.phase))),
        }
    }
    out.into_iter().map(|(_, line)| line).collect()
}

fn same_run(a: &CellResult, b: &CellResult) -> bool {
    let run = |c: &CellResult| (c.target.clone(), c.configuration(), c.phase.clone(), c.seed);
    run(a) == run(b)
}

fn grade(cells: &[CellResult], places: &[&CellResult]) -> Grade {
    let mut seen: Vec<&str> = Vec::new();
    for place in places {
        if !seen.contains(&place.model.as_str()) {
            seen.push(&place.model);
        }
    }
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    if seen.iter().any(|model| NO_POWER_LOSS.contains(model)) {
        return Grade::NoPowerLoss { seen: owned(&seen) };
    }
    let of = |wanted: fn(&Kind) -> bool| -> Vec<String> {
        seen.iter().map(|m| kind(m)).filter(wanted).filter_map(real).collect()
    };
    if seen.iter().any(|m| kind(m) == Kind::InOrder) {
        return Grade::InOrder { seen: owned(&seen) };
    }
    let today = of(|kind| matches!(kind, Kind::Default { .. }));
    if !today.is_empty() {
        return Grade::Today { on: today, seen: owned(&seen) };
    }
    let mounted = of(|kind| matches!(kind, Kind::Mounted { .. }));
    if !mounted.is_empty() {
        return Grade::Mounted { on: mounted, seen: owned(&seen) };
    }
    // A cell that was not measured shows nothing, and its silence is no evidence.
    let measured = |c: &&CellResult| {
        places.iter().any(|p| same_run(c, p)) && matches!(c.verdict, Verdict::Holds | Verdict::Violated)
    };
    let silent: Vec<&CellResult> =
        cells.iter().filter(measured).filter(|c| real(kind(&c.model)).is_some()).collect();
    let models = |sampled: bool| {
        let partly = |model: &str| silent.iter().any(|c| c.model == model && !c.exhaustive);
        let mut names: Vec<&str> = silent.iter().map(|c| c.model.as_str()).collect();
        names.retain(|model| partly(model) == sampled);
        names.sort_unstable();
        names.dedup();
        owned(&names)
    };
    let (seen, not, sampled) = (owned(&seen), models(false), models(true));
    match (not.is_empty(), sampled.is_empty()) {
        (true, true) => Grade::Ungraded { seen },
        (false, true) => Grade::PosixOnly { seen, not },
        (_, false) => Grade::NotAmongThose { seen, not, sampled },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::policy::Policy;
    use crate::verdict::Violation;
    use std::collections::BTreeSet;

    fn cell(model: &str, verdict: Verdict) -> CellResult {
        let mut cell = CellResult::unrecorded("store", Policy::Always, model, 1, "");
        (cell.verdict, cell.exhaustive) = (verdict, true);
        if verdict == Verdict::Violated {
            cell.findings.push(Finding {
                violation: Violation::of(Class::Gap, 1, ""),
                states: 1,
                mechanism: "the same".into(),
                also: BTreeSet::new(),
                story: Default::default(),
                repro: None,
            });
        }
        cell
    }

    /// The grade of one mechanism, violated under some models and not under others.
    fn graded_as(violated: &[&str], holds: &[&str]) -> String {
        let cells: Vec<CellResult> = violated
            .iter()
            .map(|m| cell(m, Verdict::Violated))
            .chain(holds.iter().map(|m| cell(m, Verdict::Holds)))
            .collect();
        let found = graded(&cells);
        assert_eq!(found.len(), 1, "one mechanism, one finding");
        found[0].grade.to_string()
    }

    /// What an earlier phase shows after a recovery only is told as the later phase shows it.
    #[test]
    fn a_mistake_that_shows_by_itself_is_not_another_one_after_a_recovery() {
        let mut cells = [cell("posix", Verdict::Violated), cell("posix", Verdict::Violated)];
        cells[0].phase = "start".into();
        cells[0].findings[0].mechanism = format!("{AFTER_RECOVERY}the same");
        let found = graded(&cells);
        assert_eq!((found.len(), found[0].finding.mechanism.as_str()), (1, "the same"));
        assert_eq!(found[0].seen_in.len(), 2);
        cells[1].findings.clear();
        assert_eq!(graded(&cells)[0].finding.mechanism, format!("{AFTER_RECOVERY}the same"));
    }

    #[test]
    fn real_today_before_mounted_before_posix_only() {
        assert_eq!(
            graded_as(&["ext4-ordered", "xfs", "posix"], &["btrfs"]),
            "real on ext4, XFS today (seen under ext4-ordered, xfs, posix)"
        );
        assert_eq!(
            graded_as(&["ext4-writeback", "posix"], &["ext4-ordered", "xfs"]),
            "real on ext4 mounted with data=writeback (seen under ext4-writeback, posix)"
        );
        assert_eq!(
            graded_as(&["posix-split"], &["posix", "ext4-ordered", "btrfs"]),
            "allowed by POSIX only (seen under posix-split; not under btrfs, ext4-ordered)"
        );
        assert_eq!(
            graded_as(&["prefix", "btrfs"], &[]),
            "real on every file system, even with writes in order (seen under prefix, btrfs)"
        );
        assert_eq!(
            graded_as(&["posix"], &[]),
            "seen under posix; no model of a real file system was explored"
        );
    }

    /// That a sample does not show it says little.
    #[test]
    fn what_was_looked_at_in_part_is_not_said_not_to_show_it() {
        let mut cells =
            [cell("posix", Verdict::Violated), cell("xfs", Verdict::Holds), cell("btrfs", Verdict::Holds)];
        cells[2].exhaustive = false;
        let grade = |cells: &[CellResult]| graded(cells)[0].grade.to_string();
        assert_eq!(
            grade(&cells),
            "seen under posix; not under xfs; not among the states that were tried under btrfs: more with --budget"
        );
        cells[1].exhaustive = false;
        assert_eq!(
            grade(&cells),
            "seen under posix; not among the states that were tried under btrfs, xfs: more with --budget"
        );
    }

    /// Findings of one mechanism in two phases, the second of which shows these at a later start, too.
    fn counted(mechanism: &str, classes: [Class; 2], also: &[Class]) -> Vec<Class> {
        let mut cells = [cell("posix", Verdict::Violated), cell("posix", Verdict::Violated)];
        for (cell, class) in cells.iter_mut().zip(classes) {
            cell.findings[0].mechanism = mechanism.to_owned();
            cell.findings[0].violation.class = class;
        }
        cells[1].findings[0].also = also.iter().copied().collect();
        graded(&cells).iter().map(|g| g.finding.violation.class).collect()
    }

    #[test]
    fn a_later_start_is_no_finding_of_its_own_where_one_state_shows_both() {
        let classes = [Class::NotIdempotent, Class::TornOperation];
        assert_eq!(counted("a", classes, &[Class::NotIdempotent]), [Class::TornOperation]);
        assert_eq!(counted("a", classes, &[]), classes);
        assert_eq!(counted("a", classes, &[Class::LostAfterRecovery]), classes);
    }

    #[test]
    fn a_mistake_of_recovery_is_one_finding_in_all_phases() {
        let classes = [Class::RefusesToOpen, Class::AcknowledgedLoss];
        assert_eq!(counted("during recovery: a", classes, &[]), classes[..1]);
        assert_eq!(counted("a", classes, &[]), classes);
    }

    /// A real model that could not be measured is no evidence that it does not happen there.
    #[test]
    fn what_was_not_measured_says_nothing() {
        let cells = [cell("posix", Verdict::Violated), cell("xfs", Verdict::NotMeasured)];
        assert!(matches!(graded(&cells)[0].grade, Grade::Ungraded { .. }));
    }
}
