//! What a target promises: the logical states that are allowed after a crash.

use serde::{Deserialize, Serialize};

/// A durability promise. Each says what is documented by the target and what is stricter. Acknowledged operations are
/// those that may change something: a read that was answered promises nothing of what it shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Contract {
    /// A prefix that holds every acknowledged operation (appendfsync always).
    Always,
    /// A prefix that holds every operation acknowledged longer than the window ago (appendfsync everysec).
    EverySec {
        /// The window in nanoseconds; documented is one second.
        window: u64,
    },
    /// Some prefix, not older than what a completed save or rewrite synced (appendfsync no).
    No,
    /// Exactly the content at some snapshot, never older than the last acknowledged one (RDB only).
    Snapshot,
    /// A prefix that holds every acknowledged operation, but those that wait to be written while a thread of the target
    /// syncs (appendfsync everysec, where the process is killed and the page cache lives on).
    Written {
        /// How long a write waits at the most, in nanoseconds; Redis's and the engine's two seconds.
        postponed: u64,
    },
}
