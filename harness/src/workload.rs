//! Workloads: what clients do to a target, as plain data that can be generated, shrunk and stored.

mod commands;
pub mod onward;
pub mod phases;
pub mod random;
pub mod resp;
#[cfg(feature = "proptest")]
pub mod strategy;
mod tour;

use serde::{Deserialize, Serialize};

/// A workload: steps in the order in which they are issued. Within one client each waits for its reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// What is done.
    pub steps: Vec<Step>,
    /// Seed of the scheduler (and of the generator that made the steps).
    pub seed: u64,
}

/// How a server is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// By SIGKILL, with all its processes.
    Kill,
    /// By SHUTDOWN. That it ends with status 0 is its answer, and stands in the history as one.
    Stop,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A client invokes an operation (opaque here; RESP targets: a postcard-encoded list of arguments) and
    /// waits for its reply.
    Invoke {
        /// The client, counting from 0.
        client: u32,
        /// The operation.
        op: Vec<u8>,
    },
    /// Several clients invoke at once; the step ends when all have their replies.
    Together(Vec<(u32, Vec<u8>)>),
    /// The target's clock moves on (virtual time; with real time: a sleep).
    Advance {
        /// By how much, in nanoseconds.
        nanos: u64,
    },
    /// A phase begins: it names the part of the report that later crash points belong to.
    Phase(String),
    /// Every process of the target is killed and it is started again on the same directory.
    KillAndRestart,
    /// Waits until the target's background work (rewrite, save) has ended.
    Settle,
    /// A server is ended in this way, and started again with these options in place of its own of the same names.
    Restart {
        /// How it is ended.
        how: Ending,
        /// Options of redis.conf, by name and value.
        set: Vec<(String, String)>,
    },
}
