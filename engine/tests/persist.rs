//! The engine's persistence from outside: bytes, torn tails, interrupted steps, and real Redis.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "persist/agree.rs"]
mod agree;
#[path = "persist/bytes.rs"]
mod bytes;
#[path = "persist/check.rs"]
mod check;
#[path = "persist/foreign.rs"]
mod foreign;
#[path = "persist/fuzz.rs"]
mod fuzz;
#[path = "persist/interop.rs"]
mod interop;
#[path = "persist/layouts.rs"]
mod layouts;
#[path = "persist/older.rs"]
mod older;
#[path = "persist/races.rs"]
mod races;
#[path = "persist/rebuild.rs"]
mod rebuild;
#[path = "persist/refusals.rs"]
mod refusals;
#[path = "persist/single.rs"]
mod single;
#[path = "persist/steps.rs"]
mod steps;
#[path = "persist/support.rs"]
mod support;
#[path = "persist/tails.rs"]
mod tails;
#[path = "persist/times.rs"]
mod times;
