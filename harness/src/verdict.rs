//! Violations, verdicts, exit codes.

use serde::{Deserialize, Serialize};
use unplug_faults::event::Clock;

/// How a target broke its contract, in the order in which the classes are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It declines to open what a power loss may legally leave.
    RefusesToOpen,
    /// It crashes while recovering.
    RecoveryCrash,
    /// It does not come to an end while recovering.
    RecoveryHang,
    /// An older prefix came back: acknowledged operations at the end are gone.
    AcknowledgedLoss,
    /// As `AcknowledgedLoss`, by more than the window that the policy promises.
    WindowExceeded,
    /// An operation was applied twice.
    DuplicatedOperation,
    /// A later operation is there without an earlier one.
    Gap,
    /// A part of an operation or transaction is there.
    TornOperation,
    /// Something that had been deleted or overwritten came back.
    Resurrection,
    /// Content that no operation ever wrote, and no error.
    SilentCorruption,
    /// A second start on the same directory gives something else than the first.
    NotIdempotent,
    /// What was recovered, or written after recovery, is lost by an orderly restart.
    LostAfterRecovery,
}

impl Class {
    /// The class that stands for all that one and the same mechanism may show itself as: which of them it is depends
    /// on where a page ends, on the policy, and on what the next operation is.
    pub fn family(self) -> Class {
        match self {
            Class::AcknowledgedLoss | Class::WindowExceeded => Class::AcknowledgedLoss,
            Class::DuplicatedOperation
            | Class::Gap
            | Class::TornOperation
            | Class::Resurrection
            | Class::SilentCorruption => Class::SilentCorruption,
            Class::RefusesToOpen
            | Class::RecoveryCrash
            | Class::RecoveryHang
            | Class::NotIdempotent
            | Class::LostAfterRecovery => self,
        }
    }
}

/// What is to be said of one cell: a contract under a model in a phase. The order is that of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every state checked kept the contract, and the teeth check bit.
    Holds,
    /// Something could not be observed or reached.
    NotMeasured,
    /// At least one state broke the contract.
    Violated,
    /// The teeth check did not bite, or the harness failed.
    HarnessBroken,
}

/// The process's exit codes; stable, documented in the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Every cell holds.
    Holds = 0,
    /// At least one cell is violated.
    Violated = 1,
    /// Bad usage or bad input; nothing was run.
    Usage = 2,
    /// Nothing is violated, but at least one cell is not measured.
    NotMeasured = 3,
    /// The harness is broken: none of the other results can be trusted.
    HarnessBroken = 4,
}

/// One violation: a crash state from which the target recovers to something the contract forbids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The class.
    pub class: Class,
    /// The crash point at which it is forbidden.
    pub crash_point: Clock,
    /// Whether the broken promise is stricter than what the target documents.
    pub stricter_than_documented: bool,
    /// Index of the oldest operation that is lost, doubled or torn, where there is one.
    pub operation: Option<u32>,
    /// For losses: how long ago the oldest lost operation had been acknowledged, in nanoseconds.
    pub loss: Option<u64>,
    /// One sentence.
    pub explanation: String,
}

impl Violation {
    /// A violation of what is documented, with no operation that stands for it.
    pub fn of(class: Class, crash_point: Clock, explanation: impl Into<String>) -> Violation {
        Violation {
            class,
            crash_point,
            stricter_than_documented: false,
            operation: None,
            loss: None,
            explanation: explanation.into(),
        }
    }
}

impl ExitCode {
    /// The exit code of several cells: the gravest verdict. Violations and gaps of measurement count only
    /// under the models of `fail_on`, where it is given; a broken harness always does. No cell at all, or
    /// none under these models, is nothing measured.
    pub fn of(cells: &[crate::cell::CellResult], fail_on: Option<&[String]>) -> ExitCode {
        let gates = |c: &&crate::cell::CellResult| {
            c.verdict == Verdict::HarnessBroken || fail_on.is_none_or(|models| models.contains(&c.model))
        };
        match cells.iter().filter(gates).map(|c| c.verdict).max() {
            Some(Verdict::Holds) => ExitCode::Holds,
            None | Some(Verdict::NotMeasured) => ExitCode::NotMeasured,
            Some(Verdict::Violated) => ExitCode::Violated,
            Some(Verdict::HarnessBroken) => ExitCode::HarnessBroken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{CellResult, Teeth};

    fn cell(model: &str, verdict: Verdict) -> CellResult {
        CellResult {
            target: String::new(),
            policy: String::new(),
            variant: None,
            phase: String::new(),
            model: model.to_string(),
            seed: 0,
            operations: 0,
            events: 0,
            crash_points: 0,
            legal_states: unplug_faults::model::Count { states: 0u8.into(), exact: true },
            states_checked: 0,
            images_recovered: 0,
            exhaustive: false,
            deviation_bound: 0,
            worst_loss: None,
            verdict,
            findings: vec![],
            not_measured: vec![],
            teeth: Teeth::NotNeeded,
            faults: None,
            recoveries: Default::default(),
            saved: Default::default(),
            elapsed: std::time::Duration::ZERO,
        }
    }

    #[test]
    fn the_gravest_verdict_is_the_exit_code() {
        use Verdict::{HarnessBroken, Holds, NotMeasured, Violated};
        let of = |verdicts: &[Verdict], fail_on: Option<&[String]>| {
            let names = ["a", "b", "c", "d"].iter().zip(verdicts);
            let cells: Vec<CellResult> = names.map(|(m, v)| cell(m, *v)).collect();
            ExitCode::of(&cells, fail_on) as u8
        };
        assert_eq!(of(&[Holds, Holds], None), 0);
        assert_eq!(of(&[Holds, NotMeasured], None), 3);
        assert_eq!(of(&[NotMeasured, Violated, Holds], None), 1);
        assert_eq!(of(&[Violated, HarnessBroken], None), 4);
        assert_eq!(of(&[], None), 3);
        let only_a = ["a".to_string()];
        assert_eq!(of(&[Holds, Violated], Some(&only_a)), 0);
        assert_eq!(of(&[Violated, Holds], Some(&only_a)), 1);
        assert_eq!(of(&[Holds, HarnessBroken], Some(&only_a)), 4, "nothing can be trusted then");
    }
}
