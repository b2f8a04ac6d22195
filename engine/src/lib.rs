//! Unplug's reference subject: a Redis-compatible store.

/// Whether a bug is to be built in: see the module `sabotage`, which no ordinary build has.
#[cfg(unplug_sabotage)]
macro_rules! sabotaged {
    ($name:literal) => {
        $crate::sabotage::on($name)
    };
}
#[cfg(not(unplug_sabotage))]
macro_rules! sabotaged {
    ($name:literal) => {
        false
    };
}

pub mod aof;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod command;
pub mod config;
pub mod engine;
pub mod glob;
pub mod keyspace;
pub mod lock;
pub mod persist;
pub mod rdb;
pub mod resp;
#[cfg(unplug_sabotage)]
pub mod sabotage;
pub mod server;
pub mod session;
pub mod store;
pub mod value;
