//! Persistence models: the rules of a file system, behind one small trait.

use crate::effect::{EffectId, Effects, Outcome};
use crate::event::Clock;
use crate::trace::Trace;
use fixedbitset::FixedBitSet;
use num_bigint::BigUint;

/// The rules of one file system. It decides what is legal, never what is tried.
pub trait Model: Send + Sync {
    /// The name on the command line and in reports.
    fn name(&self) -> &'static str;
    /// One line for `--help` and the table of models.
    fn summary(&self) -> &'static str;
    /// The cases whose union is the model's legal states: one for most file systems.
    fn cases<'t>(&self, trace: &'t Trace, effects: &'t Effects) -> Vec<Box<dyn Case + 't>>;
}

/// One case of a model for one trace.
pub trait Case: Send + Sync {
    /// From this crash point on, the effect must be on the disk whole ([`Event::NEVER`](crate::event::Event::NEVER):
    /// nothing forces it).
    fn forced_at(&self, effect: EffectId) -> Clock;
    /// The outcomes that the effect may have besides absent and whole, where nothing forces it.
    fn other_outcomes(&self, effect: EffectId) -> Vec<Outcome>;
    /// Adds to the set every effect that cannot be missing when the set is on the disk.
    fn close_down(&self, set: &mut FixedBitSet);
    /// Adds to the set of *missing* effects every effect that cannot be there when those are missing.
    fn close_up(&self, missing: &mut FixedBitSet);
    /// How many legal states there are over all crash points.
    fn count(&self) -> Count;
}

/// A number of states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The number, or an upper bound.
    pub states: BigUint,
    /// Whether it is the number.
    pub exact: bool,
}
