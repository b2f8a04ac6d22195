//! Marks that a recorded program makes by itself: its operations, its replies, its phases.
//!
//! The functions look for the shim's symbol; without a shim they do nothing and give `false`. This module
//! holds the `unsafe` of calling it.

use crate::abi;
use std::sync::OnceLock;

type Mark = unsafe extern "C" fn(u32, u32, u32, *const u8, usize) -> i32;

fn shim() -> Option<Mark> {
    static FOUND: OnceLock<Option<Mark>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: plain look-up; the symbol, where it exists, is the shim's function of this type.
        unsafe {
            let at = libc::dlsym(libc::RTLD_DEFAULT, c"unplug_mark".as_ptr());
            (!at.is_null()).then(|| std::mem::transmute::<*mut libc::c_void, Mark>(at))
        }
    })
}

fn mark(kind: u16, client: u32, id: u32, data: &[u8]) -> bool {
    match shim() {
        // SAFETY: the data are read during the call only.
        Some(mark) => unsafe { mark(kind.into(), client, id, data.as_ptr(), data.len()) != 0 },
        None => false,
    }
}

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
