//! Results: one cell is one contract, in one phase, under one model.

use crate::target::policy::Policy;
use crate::verdict::{Class, Verdict, Violation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;
use unplug_faults::model::Count;
use unplug_faults::trace::Blind;

/// Everything that is known of one cell. Reports print it and decide nothing.
#[derive(Clone, Debug)]
pub struct CellResult {
    /// The target's name.
    pub target: String,
    /// The policy's name: always, everysec, no, snapshot.
    pub policy: String,
    /// The variant of the target's configuration, where it is not the default one.
    pub variant: Option<String>,
    /// The phase of the workload: append, rewrite, save ...
    pub phase: String,
    /// The model's name.
    pub model: String,
    /// The seed.
    pub seed: u64,
    /// Operations in the history.
    pub operations: u64,
    /// Events in the trace.
    pub events: u64,
    /// Crash points of this phase.
    pub crash_points: u64,
    /// Legal states of this phase.
    pub legal_states: Count,
    /// States judged.
    pub states_checked: u64,
    /// Distinct images recovered.
    pub images_recovered: u64,
    /// What was not done, because it could show nothing new.
    pub saved: Saved,
    /// Every legal state was judged.
    pub exhaustive: bool,
    /// The greatest number of deviations that was enumerated whole.
    pub deviation_bound: u8,
    /// The worst loss seen, in nanoseconds, where the contract speaks of time.
    pub worst_loss: Option<u64>,
    /// The verdict.
    pub verdict: Verdict,
    /// One for each mechanism, the gravest first.
    pub findings: Vec<Finding>,
    /// Why it was not measured, where it was not.
    pub not_measured: Vec<Blind>,
    /// Whether the same exploration of a sabotaged trace was violated.
    pub teeth: Teeth,
    /// Of a sweep over faults: how many were planned, and how many fired.
    pub faults: Option<FaultCount>,
    /// What was done about power that is lost during recovery.
    pub recoveries: Recoveries,
    /// Wall-clock time spent.
    pub elapsed: std::time::Duration,
}

/// How many faults a cell speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCount {
    /// Faults that were to happen.
    pub planned: u64,
    /// Faults that did. One that did not has shown nothing.
    pub fired: u64,
}

/// What a cell's states were spared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// States whose image is another state's as well.
    pub equal_images: u64,
    /// Images that were not recovered: each differs from a recovered one only in what that one's recovery, with
    /// the writes and the restarts after it, has not read.
    pub unread: u64,
    /// Images on which a start was saved: the first start had changed nothing, and went on as the second.
    pub starts: u64,
}

impl std::ops::AddAssign for Saved {
    fn add_assign(&mut self, other: Saved) {
        self.equal_images += other.equal_images;
        self.unread += other.unread;
        self.starts += other.starts;
    }
}

/// Crashes during recovery: how many recoveries were recorded, and what was tried of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recoveries {
    /// How deep: 1 is a crash during recovery, 2 also one during the recovery from that.
    pub depth: u8,
    /// Recoveries that were recorded, or were under another model.
    pub recorded: u64,
    /// Recoveries that could have been recorded as well, of images of the run and of crashed recoveries: they were more
    /// than the budget pays for.
    pub left_out: u64,
    /// Of the recorded ones, in how many power was lost: in all but those behind as many losses as `depth` says.
    pub crashed: u64,
    /// Of the crashed ones, how many changed nothing on the disk: a crash during them is no crash.
    pub quiet: u64,
    /// Of the recorded ones, how many did not come to their end.
    pub refused: u64,
    /// Of the recorded ones, after how many was written, and power lost in the middle of that.
    pub written: u64,
    /// Crash states of recoveries, and of what was written after them, that were judged.
    pub states: u64,
    /// Images among them that were not known before.
    pub images: u64,
}

impl CellResult {
    /// What was run: the policy, and the variant if it is not the default one.
    pub fn configuration(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}, {variant}", self.policy),
            None => self.policy.clone(),
        }
    }

    /// The cell of a policy whose run could not be recorded.
    pub fn unrecorded(target: &str, policy: Policy, model: &str, seed: u64, why: &str) -> CellResult {
        CellResult {
            target: target.to_owned(),
            policy: policy.name().to_owned(),
            variant: None,
            phase: "all".to_owned(),
            model: model.to_owned(),
            seed,
            operations: 0,
            events: 0,
            crash_points: 0,
            legal_states: Count { states: 0u8.into(), exact: false },
            states_checked: 0,
            images_recovered: 0,
            saved: Saved::default(),
            exhaustive: false,
            deviation_bound: 0,
            worst_loss: None,
            verdict: Verdict::NotMeasured,
            findings: Vec::new(),
            not_measured: vec![Blind { what: "recording".to_owned(), detail: why.to_owned() }],
            teeth: Teeth::NotNeeded,
            faults: None,
            recoveries: Recoveries::default(),
            elapsed: std::time::Duration::ZERO,
        }
    }
}

/// The teeth check of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Teeth {
    /// The sabotage was found, as this class.
    Bit {
        /// What was broken on purpose.
        sabotage: String,
        /// How it showed.
        class: Class,
    },
    /// The sabotage was not found: *harness broken*.
    Blunt {
        /// What was broken on purpose.
        sabotage: String,
    },
    /// Not run, because the cell was violated or not measured anyway.
    NotNeeded,
}

/// How a mechanism that needs a crash during recovery begins.
pub const DURING_RECOVERY: &str = "during recovery: ";
/// How a mechanism that needs writes after a recovery begins.
pub const AFTER_RECOVERY: &str = "after recovery: ";

/// One mechanism by which the contract is broken, shown by its smallest case.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The smallest case's violation.
    pub violation: Violation,
    /// How many checked states show it.
    pub states: u64,
    /// The mechanism: class, effect kinds, call site.
    pub mechanism: String,
    /// As what its cases show at a later start besides, where the first start has decided the class.
    pub also: BTreeSet<Class>,
    /// The story, as paragraphs.
    pub story: Story,
    /// Where the repro file stands.
    pub repro: Option<PathBuf>,
}

/// A violation told as a short story.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// What was acknowledged: one line an operation.
    pub acknowledged: Vec<String>,
    /// What the disk kept and lost: one line an effect.
    pub disk: Vec<String>,
    /// What came back.
    pub recovered: Vec<String>,
    /// What was allowed.
    pub allowed: Vec<String>,
    /// The call that left the gap, with its source line or symbol where there is one.
    pub gap: Option<String>,
}
