//! The target's real time from the processor's time stamps: reading those costs the target half of what asking for
//! the time costs.

use super::mapping::stamp;
use nix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    stamp: u64,
    nanos: u64,
}

impl Moment {
    /// Now.
    pub(crate) fn now() -> Moment {
        // The kernel's clock between two stamps: their middle is nearest to it.
        let before = stamp();
        let nanos = monotonic();
        Moment { stamp: before + stamp().saturating_sub(before) / 2, nanos }
    }

    /// Now, if time stamps are to be used: where the kernel itself trusts them to run evenly on all processors.
    pub(crate) fn start() -> Option<Moment> {
        const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let source = std::fs::read_to_string(SOURCE).ok()?;
        (cfg!(target_arch = "x86_64") && source.trim() == "tsc").then(Moment::now)
    }

    /// The time at a stamp in nanoseconds since this moment; `end` is a moment after it.
    pub(crate) fn nanos_at(&self, end: &Moment, stamp: u64) -> u64 {
        let stamps = u128::from(end.stamp.saturating_sub(self.stamp)).max(1);
        let nanos = u128::from(end.nanos.saturating_sub(self.nanos));
        let since = u128::from(stamp.saturating_sub(self.stamp));
        u64::try_from(since * nanos / stamps).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_become_nanoseconds() {
        let (start, end) = (Moment { stamp: 1000, nanos: 50 }, Moment { stamp: 4000, nanos: 1050 });
        let at = |stamp| start.nanos_at(&end, stamp);
        assert_eq!([at(0), at(1000), at(2500), at(4000), at(7000)], [0, 0, 500, 1000, 2000]);
        // A run of no length at all.
        assert_eq!(start.nanos_at(&start, 1000), 0);
    }

    #[test]
    fn a_real_moment_lies_where_the_clock_says() {
        let Some(start) = Moment::start() else { return };
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (stamped, told) = (stamp(), monotonic());
        std::thread::sleep(std::time::Duration::from_millis(20));
        let at = start.nanos_at(&Moment::now(), stamped);
        let told = told - start.nanos;
        // Another process may run between the two questions, so only a coarse error is one.
        assert!(told.abs_diff(at) < 10_000_000, "{at} ns by stamp, {told} by the clock");
    }
}
