//! What can be tested: a Rust store behind a trait, a RESP server.

use crate::contract::Contract;
use crate::dump::Dump;
use crate::workload::Workload;
use std::path::Path;
use unplug_faults::trace::Trace;

/// A thing under test. It is recorded in a process of its own and recovered in worker processes.
pub trait Target: Sync {
    /// Its name in reports, such as `engine` or `redis-server 7.0.15`.
    fn name(&self) -> String;

    /// Runs the workload once in `dir` and records it.
    ///
    /// # Errors
    /// What kept it from being recorded; the target is dead and reaped in any case.
    fn record(&self, dir: &Path, workload: &Workload) -> Result<Trace, crate::record::RecordError>;

    /// The command line that starts a recovery worker for this target (see [`crate::worker`]).
    fn worker(&self, contract: &Contract) -> std::process::Command;

    /// A fresh reference model of the target's logical state.
    fn oracle(&self) -> Box<dyn Oracle>;
}

/// What an operation means to a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// It may change the logical state.
    Write,
    /// It changes nothing and promises nothing.
    Read,
    /// Its successful reply says that all that was acknowledged before its *invocation* is on the disk
    /// (SAVE, WAITAOF 1, a flush call).
    Barrier,
    /// It asked for a snapshot or rewrite in the background; its reply promises nothing.
    Background,
    /// Its reply shows that the last background save has completed well: the newest `Background` whose
    /// snapshot is shown by it counts as acknowledged.
    SaveSeen,
}

/// The reference model of a target: what its logical state should be. It runs the history and is given the
/// replies.
pub trait Oracle: Send {
    /// Applies one operation; `reply` is `None` when it never came. `at_ms` is the target's wall clock.
    fn apply(&mut self, op: &[u8], reply: Option<&[u8]>, at_ms: u64);
    /// What the operation means.
    fn meaning(&self, op: &[u8], reply: Option<&[u8]>) -> Meaning;
    /// Whether the reply says that the operation failed (it is then indeterminate).
    fn is_error(&self, reply: &[u8]) -> bool;
    /// The state now.
    fn dump(&self) -> Dump;
    /// A copy.
    fn fork(&self) -> Box<dyn Oracle>;
    /// The operation as a person would write it, for a violation's story.
    fn describe(&self, op: &[u8]) -> String;
}
