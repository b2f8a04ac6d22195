//! What a crash state is, and what is asked of an exploration.

use crate::effect::{EffectId, Outcome};
use crate::event::Clock;
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
    /// `no-old-pages`: a block that shows what stood there before shows rubbish, never a page that the trace has set
    /// free. It takes no state away, but changes what some show.
    NoOldPages,
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

impl Assumption {
    /// All assumptions.
    pub fn all() -> &'static [Assumption] {
        static ALL: [Assumption; 6] = [
            Assumption::NoZeroFill,
            Assumption::NoTear,
            Assumption::SizeWithData,
            Assumption::OrderedNames,
            Assumption::NamesWithData,
            Assumption::NoOldPages,
        ];
        &ALL
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Assumption::NoZeroFill => "no-zero-fill",
            Assumption::NoTear => "no-tear",
            Assumption::SizeWithData => "size-with-data",
            Assumption::OrderedNames => "ordered-names",
            Assumption::NamesWithData => "names-with-data",
            Assumption::NoOldPages => "no-old-pages",
        }
    }

    /// The assumption of this name.
    pub fn parse(name: &str) -> Option<Assumption> {
        Assumption::all().iter().copied().find(|assumption| assumption.name() == name)
    }
}
