//! Snapshots from outside: every encoding that Redis has had, both ways, and what is refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "rdb/encode.rs"]
mod encode;
#[path = "rdb/fixtures.rs"]
mod fixtures;
#[path = "rdb/interop.rs"]
mod interop;
#[path = "rdb/protocol.rs"]
mod protocol;
#[path = "rdb/refused.rs"]
mod refused;
#[path = "rdb/replica.rs"]
mod replica;
mod server_support;
#[path = "rdb/tool.rs"]
mod tool;
