//! Recovery workers: processes that lay out images, start the target on them and say what came back.
//!
//! One worker a core, started by [`pool::Workers`], fed through a socket (descriptor 3) with the frames of
//! [`protocol`]. A worker runs [`serve::serve`] on a [`serve::Recover`]: [`store::StoreRecovery`] for stores
//! in its own process or in forks of it, [`crate::target::resp_recover`] for servers.

pub mod command;
pub mod fork;
pub mod pool;
pub(crate) mod process;
pub mod protocol;
pub mod scratch;
pub mod serve;
pub(crate) mod sound;
pub mod store;
pub(crate) mod three;

pub use pool::{Limits, Workers};
pub use serve::{Recover, Unclear, serve};
