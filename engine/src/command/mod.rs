//! The commands: what each does to the data, what it replies, and in which form it is logged.

mod about;
mod admin;
mod args;
mod client;
mod config;
mod connection;
mod context;
mod counters;
mod dispatch;
mod emit;
mod error;
mod expiry;
mod hooks;
mod info;
mod keys;
mod lists;
mod replay;
mod strings;
mod table;
mod transaction;

pub use admin::WAITAOF_OFF;
pub use context::{Ctx, Journal, NoJournal, Typed};
pub use dispatch::execute;
pub use emit::emit;
pub use error::CommandError;
pub use hooks::{Expiries, Hooks, Watched};
pub use replay::{ReplayError, replay};
pub use transaction::unwatch_all;
