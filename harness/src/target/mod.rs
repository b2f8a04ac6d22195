//! What can be tested: a Rust store behind a trait, a RESP server.

pub mod client;
pub mod command;
pub(crate) mod command_oracle;
pub mod command_recover;
pub(crate) mod command_run;
pub mod embedded;
pub(crate) mod loadable;
pub mod options;
pub mod origin;
pub mod policy;
pub mod resp;
pub mod resp_dump;
pub(crate) mod resp_guess;
pub mod resp_op;
pub(crate) mod resp_pace;
pub mod resp_recover;
pub(crate) mod resp_run;
pub mod resp_starts;
pub mod resp_stop;
pub mod rig;
pub mod server;
pub(crate) mod template;
pub mod value;
pub mod variant;
pub(crate) mod warm;

use crate::contract::Contract;
use crate::dump::{Digest, Dump};
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

    /// Starts it once on what stands in `dir`, as a recovery does, does what is to be done after one, and records that.
    ///
    /// # Errors
    /// As [`Target::record`].
    fn record_recovery(&self, dir: &Path) -> Result<Trace, crate::record::RecordError> {
        self.record(dir, &self.after_recovery())
    }

    /// What is written after a recovery that is recorded, so that power can be lost in the middle of it. It must not
    /// depend on what was recovered, nor touch what a workload or a probe touches. By default nothing.
    fn after_recovery(&self) -> Workload {
        Workload::default()
    }

    /// What is promised of that, where this is promised of the run: a target that is recovered under other options than
    /// it was recorded with may promise something else from then on.
    fn contract_after_recovery(&self, contract: &Contract) -> Contract {
        contract.clone()
    }

    /// The command line that starts a recovery worker for this target (see [`crate::worker`]).
    fn worker(&self, contract: &Contract) -> std::process::Command;

    /// How deep its recoveries are crashed where nothing is asked for. Only a target whose runs can be repeated has
    /// the same recovery twice; of another one the results would not be the trace's alone.
    fn usual_recovery_depth(&self) -> u8 {
        1
    }

    /// Whether it can be noted what its recoveries read: its workers must recover in their own process, or in forks of
    /// it, and start no other program. If so, of how many images one must be spared its recovery by that so that it
    /// pays: noting costs what it costs, be a recovery cheap or dear.
    fn notes_reads(&self) -> Option<u64> {
        None
    }

    /// Whether a start of it recovers what a power loss has left, so that power can be lost in the middle of that.
    fn recovers(&self) -> bool {
        true
    }

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

/// In which ways an operation can have ended whose reply never came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcomes {
    /// In one: it draws nothing by chance.
    One,
    /// In several, each with a reply that tells it.
    Several(Vec<Vec<u8>>),
    /// In more than can be followed: a history with such an operation is *not measured*.
    TooMany,
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

    /// Whether `reply` is what this state would have given. A history that the model cannot follow is *not
    /// measured*; with several clients it also tells the possible orders from the impossible ones.
    fn expects(&self, op: &[u8], reply: &[u8], at_ms: u64) -> bool {
        let _ = (op, reply, at_ms);
        true
    }
    /// The identity of the state now; models of large states keep it up to date instead of dumping.
    fn digest(&mut self, now_ms: u64) -> Digest {
        self.dump().digest(now_ms)
    }
    /// What the operation means to this contract, where that differs (SAVE promises nothing of an AOF). Asked
    /// in the state before the operation, at the target's wall clock `at_ms`.
    fn meaning_under(&self, op: &[u8], reply: Option<&[u8]>, contract: &Contract, at_ms: u64) -> Meaning {
        let _ = (contract, at_ms);
        self.meaning(op, reply)
    }
    /// Whether the target may take a snapshot of its own right behind this operation, without a fork.
    fn may_save_behind(&self, op: &[u8]) -> bool {
        let _ = op;
        false
    }
    /// Whether the reply says that the operation was refused before anything was done: it has no effect then, and
    /// is not one of those of which nobody knows.
    fn is_refusal(&self, reply: &[u8]) -> bool {
        let _ = reply;
        false
    }
    /// In which ways the operation can end in this state, apart from having no effect. Asked where its reply does not
    /// say.
    fn outcomes(&self, op: &[u8], at_ms: u64) -> Outcomes {
        let _ = (op, at_ms);
        Outcomes::One
    }
    /// Operations that do a part of this one: what a torn write of it could leave.
    fn parts(&self, op: &[u8]) -> Vec<Vec<u8>> {
        let _ = op;
        Vec::new()
    }
    /// Whether an error reply speaks of the target's storage. After such a reply the window of loss of
    /// what was acknowledged before it grows no more: the client was told. What is acknowledged later has a window anew.
    fn is_storage_error(&self, reply: &[u8]) -> bool {
        self.is_error(reply)
    }
}
