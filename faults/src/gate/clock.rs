//! The target's clock.

use super::abi::NEVER;
use super::area::{Area, futex_wake};
use crate::event::Nanos;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// The virtual clock of a target, gated or not. It stands still until it is moved, and never goes back.
///
/// In an ungated run tasks that wait for time wake soon after an advance: waits on the clock alone, and timed
/// futex waits, at once; epoll, poll and select within a few real milliseconds, as they are cut into slices.
#[derive(Clone, Debug)]
pub struct Clock {
    area: Arc<Area>,
}

impl Clock {
    /// Makes time virtual from now on: must be called before the target starts.
    pub fn start(area: Arc<Area>, epoch_ms: u64, sync_nanos: Nanos) -> Self {
        let words = area.words();
        words.epoch.store(epoch_ms.saturating_mul(1_000_000), Release);
        words.sync_nanos.store(sync_nanos, Release);
        words.timed.store(1, Release);
        Self { area }
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Nanos {
        self.area.words().nanos.load(Acquire)
    }

    /// Moves the clock on, and wakes what waited for it in an ungated run. Returns the new time.
    pub fn advance(&self, by: Nanos) -> Nanos {
        self.advance_to(self.now().saturating_add(by))
    }

    /// As [`Clock::advance`], to an instant; one in the past changes nothing.
    pub fn advance_to(&self, instant: Nanos) -> Nanos {
        let words = self.area.words();
        let instant = instant.min(NEVER - 1);
        let before = words.nanos.fetch_max(instant, AcqRel);
        words.clock_word.fetch_add(1, AcqRel);
        futex_wake(&words.clock_word);
        before.max(instant)
    }

    /// Sets the virtual duration of every later fsync and fdatasync.
    pub fn set_sync_nanos(&self, nanos: Nanos) {
        self.area.words().sync_nanos.store(nanos, Release);
    }
}
