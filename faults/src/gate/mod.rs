//! The gate: a seeded scheduler that lets one task of the target run at a time, and the target's clock.
//!
//! In a gated run every thread of every process of the target waits in the shim for a grant before each recorded
//! call and wherever it would block, so that the order of recorded calls is a function of the program, the
//! client's operations and the seed. [`Gate::step`] is one decision. Time may be virtual with or without the
//! gate: see [`Clock`].

/// The layout that is shared with the shim.
#[path = "../../shim/abi_gate.rs"]
pub mod abi;
mod area;
mod clock;
mod error;
mod options;
mod process;
mod rules;
mod settle;
mod supervise;

pub use area::Area;
pub use clock::Clock;
pub use error::GateError;
pub use options::{ClockPolicy, GateOptions, Ran, Step};
pub use rules::{CallPattern, Rule};
pub use supervise::{Gate, blind};
