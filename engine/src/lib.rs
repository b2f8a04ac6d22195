//! Unplug's reference subject: a Redis-compatible store.

pub mod aof;
pub mod command;
pub mod config;
pub mod keyspace;
pub mod persist;
pub mod rdb;
