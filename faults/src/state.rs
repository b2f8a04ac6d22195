//! Crash states: which outcomes the disk may hold, at which crash points, in a canonical order.
//!
//! **Distinct sets** (what is counted as *legal states*): functions from effects to outcomes that some crash
//! point allows. **Pairs**: a set and one of the crash points at which it is legal.

use crate::effect::{EffectId, Effects, Outcome};
use crate::event::Clock;
use crate::image::{Image, ImageHash};
use crate::model::{Count, Model};
use crate::trace::Trace;
use serde::{Deserialize, Serialize};

/// One crash state: outcomes for all effects, and the interval of crash points at which the model allows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CrashState {
    /// Which case of the model.
    pub case: u32,
    /// All effects with a smaller id are whole, all others absent, but for `except`.
    pub prefix: u32,
    /// The deviations, sorted by effect.
    pub except: Vec<(EffectId, Outcome)>,
    /// How many *chosen* deviations this state has (its `except` also holds what their closure dragged along).
    pub deviations: u8,
    /// First crash point at which the state is legal. What **may** be there is judged here.
    pub first: Clock,
    /// Last crash point at which the state is legal. What **must** be there is judged here.
    pub last: Clock,
}

/// A rule taken away by `--assume`, so that what it hides becomes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Assumption {
    /// `no-zero-fill`: a page inside the size never reads as zeros before its data.
    NoZeroFill,
    /// `no-tear`: pages are written whole.
    NoTear,
    /// `size-with-data`: a size never grows before the data that it covers.
    SizeWithData,
    /// `ordered-names`: changes of names reach the disk in their order.
    OrderedNames,
    /// `names-with-data`: a name never reaches the disk before what was written to the file until then.
    NamesWithData,
}

/// What is to be tried, and how much of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The greatest number of deviations that is enumerated whole.
    pub bound: u8,
    /// How many states at the most, sampling included.
    pub budget: u64,
    /// Seed of the sampling that spends what the bound leaves of the budget.
    pub seed: u64,
}

/// The crash states of one trace under one model.
pub struct Space<'t> {
    trace: &'t Trace,
    effects: &'t Effects,
}

impl<'t> Space<'t> {
    /// Prepares the states of `trace` under `model`.
    pub fn new(trace: &'t Trace, effects: &'t Effects, model: &dyn Model, assume: &[Assumption]) -> Self {
        let _ = (model, assume);
        Space { trace, effects }
    }

    /// How many legal states there are: distinct sets.
    pub fn count(&self) -> Count {
        let _ = (self.trace, self.effects);
        unimplemented!()
    }

    /// How many crash points the trace has.
    pub fn crash_points(&self) -> u64 {
        unimplemented!()
    }

    /// The states in canonical order: deviation bound first, then seeded samples.
    pub fn states(&self, plan: &Plan) -> Box<dyn Iterator<Item = CrashState> + '_> {
        let _ = plan;
        unimplemented!()
    }

    /// The hash of the state's image; cheap when neighbouring states are asked for in canonical order.
    pub fn hash(&mut self, state: &CrashState) -> ImageHash {
        let _ = state;
        unimplemented!()
    }

    /// The state's image.
    pub fn image(&self, state: &CrashState) -> Image {
        let _ = state;
        unimplemented!()
    }

    /// Legal states with fewer deviations than this one, simplest first: what the minimiser tries.
    pub fn simpler(&self, state: &CrashState) -> Vec<CrashState> {
        let _ = state;
        unimplemented!()
    }

    /// The effects that make this state differ from "everything in order up to the crash": each missing or odd
    /// effect that was issued before the state's first crash point's latest effect.
    pub fn missing(&self, state: &CrashState) -> Vec<(EffectId, Outcome)> {
        let _ = state;
        unimplemented!()
    }
}
