//! Two servers side by side: the engine and redis-server, and what they cost.

pub(crate) mod client;
pub(crate) mod figures;
pub(crate) mod server;

/// What a measurement needs and may not get.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
