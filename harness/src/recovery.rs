//! What came back when a target was started on an image.

use crate::dump::Dump;
use serde::{Deserialize, Serialize};
use unplug_faults::reads::ReadSet;

/// The result of one start on a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It opened and holds this.
    Recovered(Dump),
    /// It declined to open, in an orderly way.
    Refused {
        /// Its error message, or the tail of its log.
        message: String,
    },
    /// It panicked, aborted or died of a signal, also when repeated alone in a fresh process.
    Crashed {
        /// How it died, with the tail of its log.
        message: String,
    },
    /// It used up its CPU-time limit, also when repeated alone in a fresh process.
    Hung {
        /// The limit, in milliseconds of CPU time.
        limit_ms: u64,
    },
}

/// Recovery and what follows it, on one and the same directory: start, dump, SIGKILL; start again, dump,
/// write probes (each acknowledged as durably as the policy gives), close; start a third time, dump.
/// A later life is `None` when an earlier one did not recover. Where the first start has left every byte of the
/// directory as it was, the second would be the first again: then the probes may be written in the first life, and
/// the second is its copy. Where a directory like the one that the first start has left was lived on with before, and
/// all went well, the later lives may be those that were seen then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lives {
    /// The first start after the power loss.
    pub first: Outcome,
    /// The start after the first life was killed: must equal it, else `not-idempotent`.
    pub second: Option<Outcome>,
    /// The start after the second life took the probes and stopped in order: must hold the second life's
    /// content and the probes, else `lost-after-recovery`.
    pub third: Option<Outcome>,
    /// What the probes add to the second life's content.
    pub probes: Dump,
}

/// What is known of a recovery besides what came back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// What the lives have read of the image, all together. `None` where that is not known: then everything.
    pub read: Option<ReadSet>,
    /// The second life was not lived: the first went on as it.
    pub merged: bool,
}
