//! Faults that are no power loss, and the power loss after them: single faults swept over a run's calls, each by
//! running the target again; processes killed at any moment; files damaged while nothing runs.
//!
//! The contract stays: an operation that failed, or whose reply never came, is indeterminate; what was acknowledged
//! before and after stays promised. A store may stop, refuse writes or repair, but not lie. A fault that never fired
//! has shown nothing: *not measured*.

mod asked;
mod census;
mod killed;
mod recording;
mod rest;
mod runs;
mod single;
mod sweep;
mod tails;
mod tally;
mod trim;

pub use asked::{Asked, AskedError, Kind, Wanted};
pub use census::{Census, Site};
pub(crate) use killed::{Kills, killed};
pub use runs::{Runs, Subject};
pub use single::{Group, Single};
pub(crate) use single::{full_disks, singles};
pub use sweep::{Sweep, SweepError, Told, sweep};
pub(crate) use trim::FAULTED;
