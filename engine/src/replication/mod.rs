//! One replica: a full synchronisation by SYNC, then everything that is written, as it is written.
//!
//! It goes as in Redis before 2.8, which every later replica still understands: PSYNC is refused, the replica falls
//! back to SYNC, is sent a snapshot that a child wrote (its length, then its bytes), and after it the commands that were
//! logged since the fork, and those to come. There is no backlog: a replica that was away begins again.
//!
//! What the server does for it is little: at the end of a turn, when everything that the turn logged is written and
//! (under `always`) synced, it asks the [`Feed`] for bytes and sends them to the client that it names.

mod feed;

pub use feed::{Feed, Refusal};
