//! Results of many runs, put together into one cell.

use crate::cell::{CellResult, FaultCount, Finding, Saved, Teeth};
use crate::target::policy::Policy;
use crate::verdict::Verdict;
use num_bigint::BigUint;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use unplug_faults::model::Count;
use unplug_faults::trace::Blind;

/// How many reasons not to be measured are told apart.
const MOST_REASONS: usize = 8;

/// A cell in the making.
pub(super) struct Tally {
    target: String,
    policy: Policy,
    phase: String,
    model: String,
    seed: u64,
    pub(super) count: FaultCount,
    operations: u64,
    events: u64,
    crash_points: u64,
    legal: Count,
    states: u64,
    images: u64,
    saved: Saved,
    bound: Option<u8>,
    exhaustive: bool,
    worst_loss: Option<u64>,
    findings: Vec<Finding>,
    blind: Vec<Blind>,
    teeth: Teeth,
    spent: Duration,
    reasons_left_out: u64,
    /// Mechanisms that show without any fault.
    known: BTreeSet<String>,
}

impl Tally {
    pub(super) fn new(target: &str, policy: Policy, phase: &str, model: &str, seed: u64) -> Tally {
        Tally {
            target: target.to_owned(),
            policy,
            phase: phase.to_owned(),
            model: model.to_owned(),
            seed,
            count: FaultCount::default(),
            operations: 0,
            events: 0,
            crash_points: 0,
            legal: Count { states: BigUint::ZERO, exact: true },
            states: 0,
            images: 0,
            saved: Saved::default(),
            bound: None,
            exhaustive: true,
            worst_loss: None,
            findings: Vec::new(),
            blind: Vec::new(),
            teeth: Teeth::NotNeeded,
            spent: Duration::ZERO,
            reasons_left_out: 0,
            known: BTreeSet::new(),
        }
    }

    /// Mechanisms that show without any fault.
    pub(super) fn knowing(mut self, known: &BTreeSet<String>) -> Tally {
        self.known.clone_from(known);
        self
    }

    /// Adds one run's cell. `fault` says what was done in it.
    pub(super) fn add(&mut self, cell: CellResult, fault: &str) {
        self.operations = self.operations.max(cell.operations);
        self.events = self.events.max(cell.events);
        self.crash_points += cell.crash_points;
        self.legal.states += cell.legal_states.states;
        self.legal.exact &= cell.legal_states.exact;
        self.states += cell.states_checked;
        self.images += cell.images_recovered;
        self.saved += cell.saved;
        self.exhaustive &= cell.exhaustive;
        self.bound = Some(self.bound.map_or(cell.deviation_bound, |b| b.min(cell.deviation_bound)));
        self.worst_loss = self.worst_loss.max(cell.worst_loss);
        self.spent += cell.elapsed;
        for finding in cell.findings {
            self.find(finding, fault);
        }
        for blind in cell.not_measured {
            // A run that the fault ended before anything was promised has been looked at all the same.
            if !NOTHING_AT_STAKE.contains(&blind.what.as_str()) {
                self.blind(Blind { detail: format!("{} (after {fault})", blind.detail), ..blind });
            }
        }
        match (&self.teeth, cell.teeth) {
            (Teeth::Blunt { .. }, _) | (_, Teeth::NotNeeded) => {}
            (_, Teeth::Blunt { sabotage }) => {
                self.teeth = Teeth::Blunt { sabotage: format!("{sabotage} (after {fault})") };
            }
            (Teeth::Bit { .. }, Teeth::Bit { .. }) => {}
            (Teeth::NotNeeded, bit) => self.teeth = bit,
        }
    }

    /// Adds a finding; one that shows by the same mechanism and the same kind of fault is the same.
    pub(super) fn find(&mut self, mut finding: Finding, fault: &str) {
        // What the run without faults shows too is the same finding: reports show it once, with all its places.
        if !self.known.contains(&finding.mechanism) {
            finding.mechanism = format!("after {}: {}", kind(fault), finding.mechanism);
        }
        finding.violation.explanation = format!("after `{fault}`: {}", finding.violation.explanation);
        self.found(finding);
    }

    /// Adds a finding as it stands.
    pub(super) fn found(&mut self, finding: Finding) {
        match self.findings.iter_mut().find(|f| f.mechanism == finding.mechanism) {
            Some(same) => same.states += finding.states,
            None => self.findings.push(finding),
        }
    }

    /// Whether a sabotage of one of its runs was found.
    pub(super) fn has_bitten(&self) -> bool {
        matches!(self.teeth, Teeth::Bit { .. })
    }

    /// Something was not measured.
    pub(super) fn blind(&mut self, blind: Blind) {
        if self.blind.len() < MOST_REASONS {
            self.blind.push(blind);
        } else {
            self.reasons_left_out += 1;
        }
    }

    /// What the teeth check of the cell came to.
    pub(super) fn teeth(&mut self, teeth: Teeth) {
        self.teeth = teeth;
    }

    /// States judged and images recovered by other means than an exploration.
    pub(super) fn looked_at(&mut self, states: u64, since: Instant) {
        self.states += states;
        self.images += states;
        self.spent += since.elapsed();
        self.exhaustive = false;
    }

    /// The whole run of which this speaks.
    pub(super) fn of_run(&mut self, operations: u64, events: u64) {
        (self.operations, self.events) = (operations, events);
    }

    /// The cell. Faults that were planned and never fired keep it from being measured.
    pub(super) fn cell(mut self) -> CellResult {
        if self.count.fired < self.count.planned {
            let n = self.count.planned - self.count.fired;
            let detail = format!("{n} of {} planned faults", self.count.planned);
            self.blind.insert(0, Blind { what: "faults that never fired".to_owned(), detail });
        }
        if self.reasons_left_out > 0 {
            let detail = self.reasons_left_out.to_string();
            self.blind.push(Blind { what: "more of the same kind".to_owned(), detail });
        }
        self.findings.sort_by_key(|f| f.violation.class);
        let verdict = match &self.teeth {
            Teeth::Blunt { .. } => Verdict::HarnessBroken,
            _ if !self.findings.is_empty() => Verdict::Violated,
            _ if !self.blind.is_empty() => Verdict::NotMeasured,
            Teeth::Bit { .. } => Verdict::Holds,
            Teeth::NotNeeded => {
                let detail = "no run had anything that its sabotage could have broken".to_owned();
                self.blind.push(Blind { what: "nothing was promised".to_owned(), detail });
                Verdict::NotMeasured
            }
        };
        CellResult {
            target: self.target,
            policy: self.policy.name().to_owned(),
            variant: None,
            phase: self.phase,
            model: self.model,
            seed: self.seed,
            operations: self.operations,
            events: self.events,
            crash_points: self.crash_points,
            legal_states: self.legal,
            states_checked: self.states,
            images_recovered: self.images,
            saved: self.saved,
            exhaustive: self.exhaustive,
            deviation_bound: self.bound.unwrap_or(0),
            worst_loss: self.worst_loss,
            verdict,
            findings: self.findings,
            not_measured: self.blind,
            teeth: self.teeth,
            recoveries: crate::cell::Recoveries::default(),
            faults: Some(self.count),
            elapsed: self.spent,
        }
    }
}

/// What a fault is, for findings that are the same but for the error's number and the place: `fdatasync fails`.
fn kind(fault: &str) -> String {
    let words: Vec<&str> = fault.split(' ').collect();
    match words.as_slice() {
        [call, _, outcome, ..] if outcome.starts_with('E') => format!("{call} fails"),
        [call, _, outcome, ..] => format!("{call} {}", outcome.split('=').next().unwrap_or(outcome)),
        _ => fault.to_owned(),
    }
}

/// Why a run's cell has no verdict of its own although it was looked at.
const NOTHING_AT_STAKE: [&str; 1] = ["nothing was promised"];

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new("t", Policy::Always, "fault: error", "posix", 1)
    }

    fn bit() -> Teeth {
        Teeth::Bit { sabotage: "s".into(), class: crate::verdict::Class::AcknowledgedLoss }
    }

    #[test]
    fn a_fault_that_never_fired_is_no_pass() {
        let mut one = tally();
        one.count = FaultCount { planned: 3, fired: 3 };
        one.teeth(bit());
        assert_eq!(one.cell().verdict, Verdict::Holds);
        let mut two = tally();
        two.count = FaultCount { planned: 3, fired: 2 };
        two.teeth(bit());
        let cell = two.cell();
        assert_eq!(cell.verdict, Verdict::NotMeasured);
        assert_eq!(cell.not_measured[0].detail, "1 of 3 planned faults");
    }

    #[test]
    fn without_teeth_nothing_holds() {
        assert_eq!(tally().cell().verdict, Verdict::NotMeasured);
        let mut blunt = tally();
        blunt.teeth(Teeth::Blunt { sabotage: "s".into() });
        assert_eq!(blunt.cell().verdict, Verdict::HarnessBroken);
    }
}
