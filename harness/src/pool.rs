//! The boundary between an exploration and the processes that recover images for it.

use crate::recovery::{Aside, Lives};
use std::sync::atomic::{AtomicU64, Ordering};
use unplug_faults::image::SharedImage;

/// Workers that lay out images, start the target on them, and say what came back.
///
/// Results may arrive in any order: callers match them by job number, and must not let the order of arrival
/// show in any result.
pub trait Pool {
    /// Hands an image in. Where no worker is free it waits in the pool; callers keep
    /// [`Pool::in_flight`] at or below [`Pool::capacity`]. It is cheapest to hand in neighbours in a row: a worker
    /// is sent what differs from the image before. The target's clock stands at `now_ms`
    /// (milliseconds since 1970) during the recovery, where its time is virtual.
    ///
    /// # Errors
    /// [`PoolError`] when no worker can be had any more.
    fn submit(&mut self, job: u64, image: SharedImage, now_ms: u64) -> Result<(), PoolError>;

    /// Waits for one result.
    ///
    /// # Errors
    /// [`PoolError::Idle`] when nothing was handed in; others when the *harness* failed. A target that
    /// refuses, crashes or hangs is a result, not an error.
    // Not an iterator's: it waits, and fails when nothing is under way.
    #[allow(clippy::should_implement_trait)]
    fn next(&mut self) -> Result<(u64, Lives), PoolError>;

    /// How many images were handed in whose results were not yet taken.
    fn in_flight(&self) -> usize;

    /// How many images are worth handing in at once: enough to keep every worker busy.
    fn capacity(&self) -> usize;

    /// What is known, besides, of the recovery that [`Pool::next`] gave last.
    fn aside(&mut self) -> Aside {
        Aside::default()
    }

    /// From now on it is noted what recoveries read, if `on`, so that [`Pool::aside`] tells it. Says whether it is:
    /// not every pool can, and none changes while something is in flight.
    ///
    /// # Errors
    /// [`PoolError`] when no worker can be had for it.
    fn log_reads(&mut self, on: bool) -> Result<bool, PoolError> {
        let _ = on;
        Ok(false)
    }
}

/// The first of a few thousand million job numbers that nobody else in this process has: what is left in a pool by
/// something that was broken off is never taken for an answer to something else.
pub fn first_job() -> u64 {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    TAKEN.fetch_add(1, Ordering::Relaxed) << 32
}

/// The harness could not recover an image. Says nothing about the target: such a state is *not measured*.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// `next` was called with nothing in flight.
    #[error("no recovery is under way")]
    Idle,
    /// An image could not be laid out (disk full, directory gone).
    #[error(
        "cannot lay out an image: {0}; make room for scratch directories, or name another place with UNPLUG_TMP"
    )]
    LayOut(#[source] std::io::Error),
    /// A worker process could not be started, or died in a way that is not the target's.
    #[error("a recovery worker failed: {0}")]
    Worker(String),
    /// The user interrupted the run.
    #[error("interrupted")]
    Interrupted,
}
