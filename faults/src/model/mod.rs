//! Persistence models: the rules of a file system, behind one small trait.
//!
//! A model turns a trace into one or more [`Case`]s. A case is a [`Graph`]: which effect cannot be on the disk
//! without which other (each edge with the [`Rule`] that it comes from), from when on a sync forces an effect,
//! and which odd outcomes an effect may have. Everything else (closures, counting, enumeration) follows.

mod allowance;
mod assume;
mod btrfs;
mod btrfs_held;
mod btrfs_log;
mod count;
mod cover;
mod ext4;
mod graph;
mod journal;
mod killed;
mod list;
mod overlap;
mod posix;
mod prefix;
mod rule;
mod visible;
mod xfs;

use crate::effect::{EffectId, Effects, Outcome};
use crate::event::Clock;
use crate::trace::Trace;
use fixedbitset::FixedBitSet;
use num_bigint::BigUint;

pub use allowance::{Allowance, Altered, Lacks};
pub use btrfs::Btrfs;
pub use cover::{change_after_failure, is_of_storage};
pub use graph::{Grain, Graph, Need};
pub use killed::Killed;
pub use list::{all, by_name, usual};
pub use posix::Posix;
pub use prefix::Prefix;
pub use rule::Rule;

pub(crate) use count::Counter;
pub(crate) use graph::heads;

/// The rules of one file system. It decides what is legal, never what is tried.
pub trait Model: Send + Sync {
    /// The name on the command line and in reports.
    fn name(&self) -> &'static str;
    /// One line for `--help` and the table of models.
    fn summary(&self) -> &'static str;
    /// What the rules are of.
    fn kind(&self) -> Kind;
    /// The effects of a trace as the model sees them.
    fn effects(&self, trace: &Trace) -> Effects {
        Effects::of(trace)
    }
    /// The cases, over [`effects`](Self::effects), whose union is the model's legal states: one for most file systems.
    fn cases<'t>(&self, trace: &'t Trace, effects: &'t Effects) -> Vec<Box<dyn Case + 't>>;
    /// Whether the file system takes no change any more once a sync has failed because the device or its space did.
    /// A run that [changed something after that](change_after_failure) was on another one.
    fn stops(&self) -> bool {
        false
    }
}

/// What a model's rules are of: where a violation under it is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of every file system: nothing is out of order.
    InOrder,
    /// Of a file system as it is mounted when nothing is said.
    Default {
        /// Its name.
        system: &'static str,
    },
    /// Of a file system mounted with an option.
    Mounted {
        /// Its name.
        system: &'static str,
        /// The option.
        option: &'static str,
    },
    /// Of the standard.
    Standard,
}

/// One case of a model for one trace.
pub trait Case: Send + Sync {
    /// The rules as a graph, from which the rest follows.
    fn graph(&self) -> &Graph;
    /// From this crash point on, the effect must be on the disk whole ([`Event::NEVER`](crate::event::Event::NEVER):
    /// nothing forces it).
    fn forced_at(&self, effect: EffectId) -> Clock {
        self.graph().forced_at(effect)
    }
    /// The outcomes that the effect may have besides absent and whole, where nothing forces it.
    fn other_outcomes(&self, effect: EffectId) -> Vec<Outcome> {
        self.graph().other_outcomes(effect)
    }
    /// Adds to the set every effect that cannot be missing when the set is on the disk.
    fn close_down(&self, set: &mut FixedBitSet) {
        self.graph().close(set, Graph::needs);
    }
    /// Adds to the set of *missing* effects every effect that cannot be there when those are missing.
    fn close_up(&self, missing: &mut FixedBitSet) {
        self.graph().close(missing, Graph::users);
    }
    /// How many legal states there are over all crash points.
    fn count(&self) -> Count {
        Counter::new(self.graph()).over(0, Clock::MAX)
    }
}

/// A number of states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The number, or an upper bound.
    pub states: BigUint,
    /// Whether it is the number.
    pub exact: bool,
}
