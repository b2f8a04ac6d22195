//! Testing a Rust store under `cargo test`.
//!
//! Implement [`Store`] for it, and write a plain `#[test]`:
//!
//! ```no_run
//! # use unplug::testing::{BoxError, MapOp, Reply, Store};
//! # use unplug::dump::Dump;
//! # struct MyStore;
//! # impl Store for MyStore {
//! #     type Op = MapOp;
//! #     type Model = unplug::testing::Map;
//! #     fn open(_: &std::path::Path) -> Result<Self, BoxError> { Ok(MyStore) }
//! #     fn apply(&mut self, _: &MapOp) -> Result<Reply, BoxError> { Ok(Reply::DONE) }
//! #     fn dump(&mut self) -> Result<Dump, BoxError> { Ok(Dump::default()) }
//! # }
//! #[test]
//! fn a_commit_survives_a_power_loss() {
//!     unplug::check!(MyStore).ops([MapOp::put("a", "1"), MapOp::put("b", "2"), MapOp::delete("a")]).assert_holds();
//! }
//! ```
//!
//! The test is started again in two roles. In the *recording* role it opens the store in a fresh directory,
//! runs the operations once with every file operation recorded, and ends. Every state that a power loss may
//! legally have left, at every moment, is then laid out and recovered in *worker* roles: opened, read, killed,
//! opened, read, written to, closed, opened and read once more. Some of the recoveries are recorded in their turn,
//! and power is lost in the middle of them, too ([`Check::recovery_depth`]). Nothing that stands before the check in
//! the test may depend on running only once.
//!
//! A power loss is not the only thing that can befall the store: [`Check::faults`] has calls of the recorded run fail,
//! come short, find a disk that is full, or kill the process, by the rules of a fault plan, and power is lost around
//! that. [`Check::sweep`] tries every single fault of some kinds, each in a run of its own. Damage at rest is for servers
//! that speak RESP: `unplug check engine --faults rest`.
//!
//! What fails is kept as a repro file in `unplug-regressions/TEST/` of the package, to be checked in: the next run
//! tries it first. The failure's last line replays it.
//!
//! Environment: `UNPLUG_SEED`, `UNPLUG_CASES`, `UNPLUG_BUDGET`, `UNPLUG_REPLAY` (see [`env::Settings`]).

pub mod check;
pub mod env;
pub mod error;
mod failed;
pub mod path;
#[cfg(feature = "proptest")]
pub mod property;
pub(crate) mod regressions;
pub mod report;
pub(crate) mod role;
pub mod store;
mod sweep;
pub mod target;
mod trial;

pub use crate::oracle::MapOp;
pub use crate::worker::store::BoxError;
pub use check::{Check, check};
pub use error::CheckError;
pub use path::TestPath;
#[cfg(feature = "proptest")]
pub use property::{Property, property};
pub use report::Report;
pub use store::{Map, Reply, Store, StoreModel};
pub use target::StoreTarget;
