//! Unplug's reference subject: a Redis-compatible store.
//!
//! # What each configuration promises
//! What a client was told is *acknowledged*. After each of these events a start brings back the data as they were
//! after some prefix of the operations, each transaction whole or not at all; the table says which prefix at least.
//! It holds for both values of `aof-layout`, and while a rewrite, a snapshot, or a change of the layout runs.
//! `tests/contracts.rs` of the repository proves it, cell by cell.
//!
//! | | process kill | power loss | failed fsync | full disk, failed write |
//! |---|---|---|---|---|
//! | `appendfsync always` | all acknowledged | all acknowledged | the server stops; what it had not acknowledged may be there or not | the same |
//! | `appendfsync everysec` | all acknowledged, but what was acknowledged while a sync runs and waits in memory for its end: two seconds and a tick of the timer at most, if nothing else keeps the server | all acknowledged longer than a second before, if no sync takes longer than that; else up to the end of the sync before | writes are refused (MISCONF), everything is written anew from memory at the next tick, and nothing acknowledged is lost unless the power goes before | as in power loss; the write that failed is not answered (the connection is closed), later ones are refused, the file is cut back to its last batch, and writing is tried again each second |
//! | `appendfsync no` | all acknowledged | at least what the last finished rewrite, SHUTDOWN or change of the log held | as everysec; syncs happen only at those | as everysec |
//! | snapshots alone (`appendonly no`) | the last snapshot whose success was shown (SAVE's reply, LASTSAVE, INFO), or a newer one | the same | that snapshot fails, is shown as failed, and the one before stays | the same |
//!
//! - In a transaction nothing begins that would cut it in two: BGSAVE, BGREWRITEAOF and the snapshot behind FLUSHALL wait
//!   for its end; CONFIG SET appendonly and DEBUG RELOAD are refused, which Redis does not.
//! - After a failed sync everysec writes the log anew in the thread that serves clients: until the last of five syncs has
//!   ended (base, log, manifest, and the directory twice; a rewrite that is ending first has six of its own), what was
//!   acknowledged since the last good one is in memory alone. On a slow disk their time is added to the window.
//! - CONFIG SET appendonly yes writes the log in the foreground, and its reply says that all of the data are in it: from
//!   then on the policy promises what it says of what was acknowledged before, too. (In Redis the reply promises nothing;
//!   the log is made in the background.) CONFIG SET appendonly no promises what was acknowledged before it, to a start with
//!   appendonly yes, and nothing of what follows: that is in memory, and in snapshots, until the log is on again.
//! - `no-appendfsync-on-rewrite yes`: while a child runs, always and everysec promise what no does. What was acknowledged
//!   then is synced at the tick after the child's end (always), or within a second of it (everysec).
//! - With `aof-checksum yes` (the default) this holds on every file system that keeps to POSIX: a page of zeros or an
//!   old block in front of a surviving one is seen. With `aof-checksum no`, as with Redis itself, a power loss
//!   may bring back a value with zeros in it, or a log that is refused, unless the file system keeps the order of writes
//!   (ext4 with data=journal): under always in the middle of a write, under everysec and no also later.
//! - Bytes that were synced and change later (rot, a block in the wrong place) are refused at the next start, with
//!   file, offset and repair, where a checksum covers them: all of a base, and of a log everything in front of the last
//!   batch, or everything there was at the last SHUTDOWN.
//! - So is one file in the place of which an older version of it is found after a stop in order, whichever it is of a
//!   directory's, or a single file with its seal; where that file tells nothing that another one does not, the content
//!   is as it was. All files of an older moment together cannot be told from a store of that moment, nor can a snapshot
//!   where there is no log, nor, after a kill, a last log that is an older version of itself.
//! - The sync policy is about the log; bases, manifests, single files and snapshots are synced whole before they count,
//!   under every policy.
//! - A directory that this process may not write is served as it is: the start says so, and every write is refused
//!   (MISCONF). Where there is nothing in it that could be served, the start fails.
//! - What fails in the background (a save, a rewrite, a write or a sync that is tried again) is told on the standard
//!   error output, once for each failure, with its reason.
//!
//! # Commands
//! Those of Redis 7.0 for strings (bits included), lists, sets, hashes, sorted sets, keys, expiry, transactions,
//! databases, connections and the server, and WAITAOF of 7.2. Clients that wait (BLPOP and its like, WAIT) are served in
//! the order in which they came, and what they take is logged as if they had not waited. Not there, and refused as
//! unknown: streams, GEO*, PF*, publish and subscribe, scripts and functions, ACL, cluster, modules, MIGRATE and
//! REPLICAOF, DUMP and RESTORE, MONITOR, SLOWLOG, LATENCY, MEMORY, LOLWUT, and of CLIENT what belongs to caching
//! (TRACKING, CACHING) and PAUSE. Replicas are not asked what they have: WAIT counts none.
//!
//! How this is done stands in [`persist`]; the formats in [`mod@aof`] and [`rdb`].

/// Whether a bug is to be built in: see the module `sabotage`, which no ordinary build has.
#[cfg(unplug_sabotage)]
macro_rules! sabotaged {
    ($name:literal) => {
        $crate::sabotage::on($name)
    };
}
#[cfg(not(unplug_sabotage))]
macro_rules! sabotaged {
    ($name:literal) => {
        false
    };
}

pub mod aof;
pub mod check_rdb;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod command;
pub mod config;
pub mod engine;
pub mod glob;
pub mod keyspace;
pub mod lock;
pub mod number;
pub mod persist;
pub mod rdb;
pub mod replication;
pub mod resp;
#[cfg(unplug_sabotage)]
pub mod sabotage;
pub mod server;
pub mod session;
pub mod store;
pub mod value;
