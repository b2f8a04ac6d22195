//! Recording: a run of a target under the shim becomes a [`Trace`](crate::trace::Trace).

mod client;
mod disk;
mod mapping;
mod modules;
mod raw;
mod recorder;
mod resolve;
mod tasks;
mod tree;
mod weave;

pub(crate) use mapping::{Memory, Setup};

pub use client::SocketName;
pub(crate) use disk::{Found, scan_dir};
pub use recorder::{Options, RecordError, Recorder};
