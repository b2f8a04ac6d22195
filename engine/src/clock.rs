//! The one place where the engine reads a clock.

use std::time::{Duration, SystemTime};

/// The wall clock, since 1970. A clock set before that counts as 1970.
pub fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock in milliseconds.
pub fn now_ms() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}
