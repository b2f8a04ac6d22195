//! What a gated run is told, and what its steps come to.

use super::rules::Rule;
use crate::event::{Nanos, Task};
use std::time::Duration;

/// How a run is gated.
#[derive(Clone, Debug)]
pub struct GateOptions {
    /// Seed of the scheduler.
    pub seed: u64,
    /// Calls to be held.
    pub rules: Vec<Rule>,
    /// Processor time that a task may use between two yield points.
    pub cpu_limit: Duration,
    /// Real time that a task may spend between two yield points, asleep included.
    pub real_limit: Duration,
}

impl Default for GateOptions {
    fn default() -> Self {
        let (cpu_limit, real_limit) = (Duration::from_secs(10), Duration::from_secs(60));
        Self { seed: 0, rules: Vec::new(), cpu_limit, real_limit }
    }
}

/// What one decision came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A task had the turn and gave it back.
    Ran(Task),
    /// It is the client's turn: the harness may send one operation. The next step counts it as made.
    Client,
    /// Nothing can run without the client, the clock, or (in a deadlock) at all.
    Idle,
    /// Every task has ended.
    Exited,
    /// A task holds the turn and does not give it back, or one that should start did not: *not measured*.
    Stuck {
        /// Which task, and what it is doing.
        what: String,
    },
}

/// What [`Gate::run_until_idle`](super::Gate::run_until_idle) does when nothing can run but a task waits for time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockPolicy {
    /// Returns.
    Still,
    /// Moves the clock to the earliest deadline, if it is not after this instant.
    Until(Nanos),
}

/// How [`Gate::run_until_idle`](super::Gate::run_until_idle) ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Turns granted.
    pub steps: u64,
    /// The last step: [`Step::Idle`], [`Step::Exited`] or [`Step::Stuck`].
    pub end: Step,
}
