//! The boundary to the operating system, and the model of the disk.
//!
//! - A recorded call becomes an [`event::Event`]; a run is a [`trace::Trace`].
//! - Events cause [`effect::Effects`]: data of a page, a file's size, a name. Each is separately durable.
//! - A [`model::Model`] says which outcomes of the effects a power loss may leave at which moment.
//! - A [`state::Space`] enumerates and counts those crash states; an [`image::Image`] is one, laid out.
//!
//! This crate knows nothing of any store, history or contract.

#[allow(unreachable_pub)]
#[path = "../shim/abi.rs"]
pub(crate) mod abi;
#[allow(unreachable_pub)]
#[path = "../shim/abi_fault.rs"]
pub(crate) mod abi_fault;
#[allow(unreachable_pub)]
#[path = "../shim/abi_reads.rs"]
pub(crate) mod abi_reads;
pub mod bytes;
pub mod codec;
pub mod effect;
mod embed;
pub mod event;
pub mod fork_server;
pub mod gate;
pub mod glob;
pub mod image;
pub mod mark;
pub mod model;
pub mod mutate;
pub mod paths;
pub mod plan;
pub mod reads;
pub mod record;
pub mod state;
mod symbol;
pub mod trace;
