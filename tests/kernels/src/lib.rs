//! Ground truth for the models of the disk: what real kernels leave behind when the power goes.
//!
//! - A [`script::Script`] is a short workload. It runs on a mounted file system, and it becomes a trace for the models.
//! - [`disk`] serves a block device from memory and records every write and flush that a file system sends to it.
//! - [`kernel`] mounts a real file system on that device, runs a script, builds the crash images that the recording
//!   allows, mounts each and reads the tree back: an [`observe::Observed`].
//! - [`modelled`] enumerates the trees that a model allows at each moment; [`compare`] holds the two against each other:
//!   every observed tree must be modelled at every moment at which the image was legal.
//! - [`fixture`] keeps observations as text, so that the models stay tested where nothing can be mounted.

pub mod compare;
pub mod disk;
pub mod draw;
pub mod error;
pub mod fixture;
pub mod generate;
pub mod kernel;
pub mod known;
pub mod live;
pub mod modelled;
pub mod observe;
mod raw;
pub mod rules;
pub mod script;
pub mod suite;
pub mod table;
pub mod variant;

pub use error::{Error, Result};
