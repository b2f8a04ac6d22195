//! What a recovery has read of the image that it was started on.
//!
//! A process is started under the shim in a mode in which it records nothing and changes nothing, but notes which
//! files' sizes and pages its calls may have told of ([`Log`]). Around each recovery the process says which files are
//! meant ([`Watch`]), and gets what was read of them ([`ReadSet`]). Images of one set of names that agree in that are
//! one and the same to a target that is deterministic.

mod log;
mod set;
mod watch;

pub use log::Log;
pub use set::{Heed, Part, ReadSet};
pub use watch::Watch;
