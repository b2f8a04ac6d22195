//! Unplug's reference subject: a Redis-compatible store.

pub mod command;
pub mod config;
pub mod keyspace;
