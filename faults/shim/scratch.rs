//! Buffers for paths. The handler may run on an alternate stack of a few KiB, so large buffers stand here.

use crate::sys;
use core::sync::atomic::{AtomicU32, Ordering::*};

/// Number of buffers: how many threads of one process can resolve a path at the same time.
pub const SLOTS: usize = 32;
/// Bytes of one buffer.
pub const SLOT: usize = 16384;

/// A buffer that is given back on drop.
pub struct Scratch {
    slot: usize,
}

fn bits() -> &'static AtomicU32 {
    // SAFETY: the second word of the page that fork empties: a child starts with every buffer free.
    unsafe { &*(sys::wiped().add(4) as *const AtomicU32) }
}

impl Scratch {
    /// Takes a free buffer; yields until there is one.
    pub fn take() -> Scratch {
        loop {
            let used = bits().load(Relaxed);
            let slot = used.trailing_ones() as usize;
            if slot < SLOTS {
                if bits().compare_exchange(used, used | 1 << slot, Acquire, Relaxed).is_ok() {
                    return Scratch { slot };
                }
            } else {
                // SAFETY: sched_yield changes nothing.
                unsafe { sys::call0(crate::num::SCHED_YIELD) };
            }
        }
    }

    /// The buffer.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the slot is ours until drop.
        unsafe { core::slice::from_raw_parts_mut(sys::wiped().add(4096 + self.slot * SLOT), SLOT) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        bits().fetch_and(!(1 << self.slot), Release);
    }
}
