//! Persistence: what is written when, what is synced when, and what a start makes of whatever a crash left.
//!
//! [`crate::aof`] and [`crate::rdb`] know the bytes; this module does the I/O. Nothing is assumed of the file
//! system but what POSIX says of fsync, and that fsync of a directory makes its names durable: data, sizes and
//! names reach the disk in any order and one by one, and a rename may come apart into "the old target is
//! gone", "the source's name is gone" and "the new name is there".
//!
//! # A turn
//! 1. Commands are executed, and logged into a buffer ([`Persistence::log`]; SELECT where the database
//!    changes, MULTI and EXEC around a transaction that logged something).
//! 2. [`Persistence::end_turn`], before any reply leaves, seals the buffer with its annotation and hands it to
//!    the kernel in one `write` on an O_APPEND descriptor.
//! 3. `always`: `fdatasync`. It keeps data and size; the name was made durable when the file was created. One
//!    sync serves all replies of the turn. `everysec`: a background thread syncs a second after its last sync,
//!    or one timer tick before the oldest write is a second old; while a sync runs, writes wait in the buffer
//!    up to two seconds, as in Redis, and then go ahead (until then they go with the process). So a write can be
//!    lost until its own sync has ended, which begins a second after it at the latest, or one tick after the end
//!    of the sync in front of it where that takes longer. `no`: nothing.
//!
//! The annotation's *mark* is the length that a sync which has **returned** covers. It is what tells a torn
//! tail (cut) from rot (refused): see [`crate::aof`].
//!
//! # Replacing a file (manifest, snapshot)
//! 1. Write the new content under a temporary name; `fsync` it, so that no name can ever stand for less.
//! 2. `link` the current file to `<name>.prev`, so that it keeps a name if the rename comes apart. (Where an earlier
//!    replacement ended unknown, `<name>.prev` is still there, and goes only after a sync of the directory.)
//! 3. `fsync` the directory: the second name is durable, and so is each file created in it before (a base or
//!    incr file that the new manifest lists).
//! 4. `rename` the temporary file over `<name>`.
//! 5. `fsync` the directory. Only now does anything rely on the new content: a reply, a deletion, an append.
//! 6. Unlink `<name>.prev`. No sync: while `<name>` is there, `<name>.prev` is ignored.
//!
//! A start takes `<name>`, or `<name>.prev` where there is none. Step 3 before 4 makes one of them certain;
//! either is legal until step 5 has returned. No generation numbers are needed, a snapshot that a person
//! removes or puts in place counts, and Redis finds the same names. (On a file system without hard links,
//! step 2 is left out, and the rename has to be atomic by itself.)
//!
//! # Snapshots (SAVE, BGSAVE, save points)
//! 1. For BGSAVE: `fork`, outside a transaction. The child closes the lock and the listening sockets, and dies with
//!    the server. What hangs or is killed leaves a temporary file, which goes when the child is reaped, or at the next
//!    start; FLUSHALL and SHUTDOWN end a running one.
//! 2. The snapshot under a temporary name, write-out begun (not waited for) every 4 MiB, then replaced as above.
//! 3. Only when all of that has returned does LASTSAVE move: for a child, when its exit status was read.
//!
//! A replica's full synchronisation ([`crate::replication`]) is a BGSAVE whose file is then sent. With
//! `rdb-del-sync-files`, and nothing else kept on the disk, the file is removed after it.
//!
//! # First log
//! 1. `mkdir` the directory, `fsync` its parent.
//! 2. Base from the data in memory (a snapshot's, if there is one): temporary name, `fsync`, `rename`.
//! 3. Incr file: header batch, `fdatasync`.
//! 4. Manifest, replaced as above; its step 3 makes the names of base and incr file durable. Only then does the
//!    log accept a write: so a start that finds no manifest, and no incr file with a command in it, is a first
//!    start, and one that finds commands refuses.
//!
//! # Rewrite (BGREWRITEAOF)
//! 1. The buffer is written to the current incr file, and that is `fdatasync`ed: a file that is not the last
//!    one is always whole, and nothing in it may be cut.
//! 2. A new incr file, `fdatasync`ed; its header holds length and checksum of the one before.
//! 3. The manifest that lists it, replaced as above. From here on it is appended to. If the rename's fate is
//!    unknown (the last directory sync failed), neither file may grow: everything is written anew. Clients wait
//!    for all of this, so the four syncs in front of the rename (both incr files, the new manifest, the directory)
//!    are made at once, when everything that they are to force is there.
//! 4. `fork`. The child writes the base under a temporary name, syncing as it goes, and `fsync`s it.
//! 5. The child has ended well, and what follows is a thread's work: `rename` the base to its name.
//! 6. The manifest with the new base, and the old base and incr files as history, replaced as above; its step 3
//!    makes the base's name durable before the manifest's can be.
//! 7. Unlink the history. What was once cut from it stays.
//! 8. The manifest without history, replaced as above.
//!
//! Both manifests around each step say the same data: a command is in the old files or in the base, never in
//! both that are listed. Numbers of files are never used twice while a file of that number may exist.
//!
//! # Single file (`aof-layout single`)
//! Redis 6's protocol. A *generation* is one file of that name; see [`crate::aof`] for its bytes.
//!
//! First start, and each time that everything is written anew from memory: base, chain and end line under the
//! temporary name `temp-rewriteaof-bg-<generation>.aof`, `fsync`ed, then replaced as above. Only then does the log
//! accept a write.
//!
//! BGREWRITEAOF:
//! 1. What is pending is written to the file: it is older than the fork.
//! 2. `fork`. The child writes the base (snapshot or commands) under the temporary name, and `fsync`s it. From here
//!    on whatever is written to the file is kept in memory as well: the *diff*. It begins with a SELECT.
//! 3. The child has ended well: the diff, turn by turn, and the end line are appended to its file, and that is
//!    `fsync`ed. No command is executed meanwhile.
//! 4. Replaced as above. Up to its end the old file is the log, and it has missed nothing; from its end on the new one
//!    is, and what waited to be written goes to it. If the last directory sync failed, neither may grow, as above.
//!
//! A child that fails, or any failure in step 3, costs the new file and nothing else. A command is in the base if it
//! was executed before the fork, in the diff if it was written after it, and in the buffer otherwise.
//!
//! A stop in order writes `<name>.seal` (replaced as above): how long the file of this generation was. A seal of
//! another generation's first batch says nothing. Where a file without checksums takes the place of a sealed one, the
//! seal is durably removed before.
//!
//! # A stop in order
//! 1. Children are ended, the log is written and `fdatasync`ed, and a snapshot made if one is due.
//! 2. The manifest (a single file: its seal) says how long the log is, and that it is *closed*; replaced as above.
//!
//! The next start takes back, durably and before the first write, that it is closed; the length stays. So a log that is
//! good for less than that length was damaged, and bytes behind the end of a closed one are not ours: both are refused.
//!
//! # From one layout to the other
//! A start under the other layout, or CONFIG SET appendonly yes, brings both layouts into being for a while. A marker,
//! `<name>.converting`, names the one that is being made; while it is there and the old one is, the old one counts.
//! 1. Load the old layout and cut its tail, as at every start.
//! 2. The marker: written, `fsync`ed, its directory `fsync`ed.
//! 3. The new layout, whole and durable. To a directory: as Redis 7 does, the file becomes the base under its own
//!    name, by a second link and not by a copy; then an incr file whose header says how it ends; then the manifest.
//!    To a single file: written from memory.
//! 4. The old layout goes: first the second name of what makes it count (manifest, or file), `fsync`; then that itself,
//!    renamed to a temporary name, `fsync`, and removed, `fsync`; then the other files, `fsync`. Removed at once, it
//!    could come back with foreign bytes: ext4 with data=writeback uses its blocks anew before the removal is durable.
//! 5. The marker goes, `fsync`.
//!
//! No write is accepted before step 5 has ended. Both layouts without a marker are refused: nothing says which is
//! newer. A manifest that lists nothing but the single file, which is not beside it, is Redis's own upgrade,
//! interrupted: the single file counts.
//!
//! # Other checksum setting, and Redis's files
//! A chain is verified wherever there is one, whatever `aof-checksum` and the manifest say. Under `aof-checksum no` the log goes on in
//! a new incr file, or a single file is written anew; the same the other way round. Files without a chain are loaded
//! as Redis loads them; one that has lines of a chain and not its beginning is refused. What Redis appended to a chained
//! file is accepted by `check-aof --resign` only. After a stop in order a start refuses it. After a kill it cannot be
//! told with certainty from a torn write of ours, which can end between a command and the annotation behind it: it is
//! cut, kept aside, and reported as what it may be, with the way to take it back.
//!
//! Redis drops our lines whenever it writes the manifest: when it begins an incr file of its own behind ours, and when it
//! deletes history. Such a *foreign* manifest is taken as it is, and each file that it lists and that begins a chain is
//! verified as far as the chain goes; Redis's commands may follow, and no further line of the chain. It is refused where
//! lines are missing in it: an incr file with a higher number holds data behind our header and is not listed, or no base
//! is listed and the first incr file is not the first. What else it does not list gets the name `<file>.unlisted` before
//! a manifest of ours takes its place: only under a manifest of ours is an unlisted file a leftover.
//!
//! A base that is a snapshot is tied to the manifest by its length and last checksum: an older one in its place is
//! refused. A base of Redis's is tied when it is taken over.
//!
//! # Times
//! `aof-timestamp-enabled` writes `#TS:<second>` in front of the first command of each second, never inside a
//! transaction. `recover-until` loads up to the first line that names a later second, gives all files as they were
//! second names in `<name>.before-<second>/`, durably, and writes everything anew. Refused: a base made later, and a
//! log without times.
//!
//! # Snapshot (SAVE, BGSAVE)
//! Temporary file, then replaced as above; BGSAVE does it all in the child. LASTSAVE and INFO show success only
//! after the child's end, so after step 5. A child dies with its parent (with the *thread* that forked it,
//! to be exact), lest an orphan renames an old snapshot over a newer one.
//!
//! # Start
//! 1. `fsync` both directories: after a kill their names are seen but may not be durable, and from here on
//!    things are built on them.
//! 2. Find the layout that counts, and load all of it. What cannot be is refused here, with file, offset and
//!    repair; nothing was changed.
//! 3. Cut the last incr file's bad tail: copy it to `<file>.cut-<offset>` (unless it is all zeros), `fsync`
//!    that and the directory; `ftruncate`, `fsync`. New batches never stand behind old bytes. A second cut at that
//!    offset goes to `<file>.cut-<offset>-2`, and so on. Nothing here removes these files: that is for a person to do.
//! 4. `fsync` every listed file: after a kill their bytes may not be durable, and Redis leaves its own so.
//! 5. Unlink what no manifest lists, and temporary files; `fsync` the directory if there was any.
//! 6. A new manifest, where the old one was found under its second name, lists history, says that the log is closed, or
//!    was Redis's (then also a new incr file: a file is chained whole or not at all). A single file: a new seal, where
//!    it is closed.
//!
//! Each step can be repeated from the beginning, and only step 3 changes what is loaded: it removes what the
//! next start would not load either. A directory that cannot be written is loaded without steps 1 and 3-6
//! ([`Persistence::read_only`]), and writes are refused.
//!
//! # Failing writes and syncs
//! `always`: [`Persistence::end_turn`] fails and the server must stop; nothing of the turn is acknowledged.
//! `everysec`, `no`: a failed write is cut off again, whoever waits for a reply is cut off without one, writes
//! are refused with MISCONF, the buffer waits, and [`Persistence::cron`] tries again every second; what the file
//! has is synced as ever. A failed **sync** forces nothing, and drops pages that a later sync then reports as
//! fine: the files are given up, and base, incr file and manifest are written anew from memory.
//!
//! # Where it differs from Redis 7
//! With the log on, no append-only files, and a snapshot, Redis starts empty; this starts with the snapshot.
//! What could not be written is not answered with OK. BGREWRITEAOF needs the log to be on: Redis
//! 7.0.15 then makes a base and a manifest, which a later start with appendonly yes loads in place of a snapshot that is
//! newer, and what was written and saved since is silently gone (tried: SET, BGREWRITEAOF, SET, SAVE). An old incr file is
//! synced in the foreground when it is left.

mod begin;
mod beside;
pub mod check;
mod complain;
mod core;
mod cron;
mod cure;
mod disk;
mod error;
mod files;
mod foreign;
mod fork;
mod install;
#[cfg(test)]
mod install_tests;
mod layout;
mod load;
mod log;
mod mapping;
mod open;
mod open_single;
#[cfg(test)]
mod postpone_tests;
mod raw;
mod reload;
mod report;
mod rewrite;
mod single;
#[cfg(test)]
mod single_trouble_tests;
mod snapshot;
mod snapshot_state;
mod switch;
mod sync;
#[cfg(test)]
mod trouble_tests;
mod until;

pub(crate) use complain::complain;
pub(crate) use disk::{current, replace_with};

pub use core::{LogPosition, Persistence};
pub use error::{FileError, OpenError, RewriteError, RewriteStart, SaveError, WriteError};
pub use report::{Cut, LoadReport, PersistenceInfo, Source};
pub use snapshot_state::{SnapshotInfo, fork_statistics};
