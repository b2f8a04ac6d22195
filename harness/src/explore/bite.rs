//! What a cell's teeth check came to, and the verdict that follows.

use crate::cell::Teeth;
use crate::pool::PoolError;
use crate::verdict::{Class, Verdict};
use unplug_faults::trace::Blind;

/// What the teeth check of one phase came to.
pub(super) enum Bite {
    /// It was run.
    Teeth(Teeth),
    /// No state of the phase came back with any content.
    NothingToBreak,
}

pub(super) fn teeth_of(sabotage: String, class: Option<Class>) -> Bite {
    Bite::Teeth(match class {
        Some(class) => Teeth::Bit { sabotage, class },
        None => Teeth::Blunt { sabotage },
    })
}

pub(super) fn broken_off(error: &PoolError) -> Blind {
    let what = match error {
        PoolError::Interrupted => "interrupted",
        _ => "recovery of images",
    };
    Blind { what: what.to_string(), detail: error.to_string() }
}

/// A cell's verdict: what was found weighs more than what was not looked at, and a harness without teeth
/// more than either.
pub(super) fn verdict(violated: bool, not_measured: bool, teeth: &Teeth) -> Verdict {
    match teeth {
        Teeth::Blunt { .. } => Verdict::HarnessBroken,
        _ if violated => Verdict::Violated,
        _ if not_measured => Verdict::NotMeasured,
        Teeth::Bit { .. } => Verdict::Holds,
        // Nothing was found and nothing was shown to be findable.
        Teeth::NotNeeded => Verdict::NotMeasured,
    }
}
