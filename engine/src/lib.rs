//! Unplug's reference subject: a Redis-compatible store.

pub mod aof;
pub mod cli;
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
pub mod server;
pub mod session;
pub mod store;
