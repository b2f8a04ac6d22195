//! Marks that a recorded program makes by itself: its operations, its replies, its phases.
//!
//! The functions look for the shim's symbol; without a shim they do nothing and give `false`.

mod raw;

use crate::abi;
use raw::{mark, shim};

/// Whether this process is being recorded.
pub fn is_recorded() -> bool {
    // A loaded shim without a recording answers no mark; it has no environment variable then.
    shim().is_some() && std::env::var_os("UNPLUG_RING").is_some()
}

/// The client invokes operation `id`.
pub fn invoke(client: u32, id: u32, op: &[u8]) -> bool {
    mark(abi::MARK_INVOKE, client, id, op)
}

/// Operation `id` has been answered: it counts as acknowledged from here.
pub fn reply(client: u32, id: u32, reply: &[u8]) -> bool {
    mark(abi::MARK_REPLY, client, id, reply)
}

/// A new phase of the workload begins.
pub fn phase(name: &str) -> bool {
    mark(abi::MARK_PHASE, 0, 0, name.as_bytes())
}
