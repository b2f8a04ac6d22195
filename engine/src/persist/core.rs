//! The state that all parts of the protocol share, and what the server asks of it.

use super::complain::complain;
use super::error::{At, FileError, WriteError};
use super::files::Place;
use super::fork::Reports;
use super::install::Install;
use super::log::{Log, Trouble};
use super::report::PersistenceInfo;
use super::snapshot_state::Snapshots;
use super::sync::Syncer;
use crate::aof::Manifest;
use crate::config::{AppendFsync, Config};
use std::os::fd::RawFd;

/// Redis postpones a write no longer than this while a sync runs.
const POSTPONE_MS: u64 = 2000;
/// Time between two syncs under everysec.
const SYNC_EVERY_MS: u64 = 1000;

/// The append-only files while they are on.
pub(super) struct Aof {
    pub(super) place: Place,
    /// Lists nothing where there is a single file.
    pub(super) manifest: Manifest,
    pub(super) log: Log,
    /// No base in the directory, listed or not, has this number or a higher one; nor a single file as its generation.
    pub(super) next_base: u64,
    /// The same for incr files.
    pub(super) next_incr: u64,
    pub(super) trouble: Option<Trouble>,
    pub(super) last_sync_ms: u64,
    /// When the oldest write was logged that no sync, ended or running, covers.
    pub(super) oldest_unsynced_ms: Option<u64>,
    pub(super) postponed_since_ms: Option<u64>,
    pub(super) delayed_syncs: u64,
    /// No repair is tried before: the first one at once, then one a second.
    pub(super) retry_not_before_ms: u64,
    /// Size of all files after the last rewrite or at start: what growth is measured against.
    pub(super) rewritten_size: u64,
    /// Size of the files before the current incr file.
    pub(super) settled_size: u64,
}

impl Aof {
    pub(super) fn size(&self) -> u64 {
        self.settled_size + self.log.len()
    }

    pub(super) fn take_base(&mut self) -> u64 {
        self.next_base += 1;
        self.next_base - 1
    }

    /// Numbers for a base and an incr file.
    pub(super) fn take_numbers(&mut self) -> (u64, u64) {
        (self.take_base(), self.take_incr())
    }

    pub(super) fn take_incr(&mut self) -> u64 {
        self.next_incr += 1;
        self.next_incr - 1
    }
}

/// What a child does.
pub(super) enum Job {
    /// Writes the base `base_seq` as `place` says; the incr files from `first_incr` on go with it.
    Rewrite { place: Place, base_seq: u64, first_incr: u64 },
    /// Writes the snapshot, of which `changes` is the count at the fork.
    Save { changes: u64 },
}

/// A running child.
pub(super) struct Child {
    pub(super) pid: i32,
    pub(super) job: Job,
}

/// A place in the log: a file, and a length of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    seq: u64,
    len: u64,
}

/// Figures of rewrites, for INFO.
#[derive(Default)]
pub(super) struct RewriteStats {
    /// Rewrites that were begun.
    pub(super) begun: u64,
    pub(super) began_ms: u64,
    /// How long the last one took, however it ended.
    pub(super) last_s: Option<u64>,
    /// Memory that the last child of that kind had to itself at its end.
    pub(super) last_cow: u64,
    /// What the running child tells.
    pub(super) reports: Option<Reports>,
}

/// The engine's persistence: log, rewrites and snapshots.
pub struct Persistence {
    pub(super) config: Config,
    pub(super) aof: Option<Aof>,
    pub(super) syncer: Syncer,
    pub(super) child: Option<Child>,
    /// The end of a rewrite, which goes on when its child has ended.
    pub(super) install: Option<Install>,
    pub(super) snapshots: Snapshots,
    pub(super) rewrite_scheduled: bool,
    pub(super) rewrite_failed: bool,
    /// Rewrites that failed in a row, and when the next automatic one may start.
    pub(super) rewrite_failures: u32,
    pub(super) rewrite_not_before_ms: u64,
    pub(super) read_only: bool,
    /// The second of this turn.
    pub(super) now_s: u64,
    pub(super) stats: RewriteStats,
    /// The trouble with the log that was last told.
    pub(super) told: Option<String>,
    /// Descriptors that a child closes at once.
    pub(super) not_for_children: Vec<RawFd>,
}

impl Persistence {
    /// A child closes these first: the directory's lock and the listening sockets must be free as soon as the
    /// server is gone, or the next one would find the directory in use and the address taken.
    pub fn keep_from_children(&mut self, descriptors: impl IntoIterator<Item = RawFd>) {
        self.not_for_children.extend(descriptors);
    }

    /// A turn begins: what is logged in it is executed at this time.
    pub fn begin_turn(&mut self, now_ms: u64) {
        self.now_s = now_ms / 1000;
    }

    /// Logs a write that was executed. Nothing reaches a file before [`Persistence::end_turn`].
    pub fn log(&mut self, db: usize, argv: &[&[u8]]) {
        self.snapshots.feed.log(db, argv);
        if let Some(aof) = &mut self.aof {
            if aof.place.timestamps {
                aof.log.stamp(self.now_s);
            }
            aof.log.push(db, argv);
            if sabotaged!("transaction-split") {
                // Each command is a batch of its own. A failure shows at the end of the turn.
                let _ = aof.log.write().and_then(|()| aof.log.sync());
            }
        }
    }

    /// Counts changes for the save points: one command may make several.
    pub fn count_changes(&mut self, changes: u64) {
        self.snapshots.changes += changes;
    }

    /// What is logged from here on is atomic on the disk.
    pub fn begin_transaction(&mut self) {
        self.snapshots.begin_transaction();
        if sabotaged!("transaction-split") {
            return;
        }
        if let Some(aof) = &mut self.aof {
            aof.log.begin_transaction();
        }
    }

    /// Ends the transaction; MULTI and EXEC are written only if something was logged in it.
    pub fn end_transaction(&mut self) {
        self.snapshots.end_transaction();
        if let Some(aof) = &mut self.aof {
            aof.log.end_transaction();
        }
    }

    /// To be called when all commands of a turn were executed and none of its replies has left. Under
    /// `always` the replies may leave only if this returns `Ok`; on `Err` the server must stop.
    pub fn end_turn(&mut self, now_ms: u64) -> Result<(), WriteError> {
        self.take_sync_result();
        self.take_installed(now_ms);
        let policy = self.config.appendfsync;
        let no_sync = self.config.no_appendfsync_on_rewrite && self.child.is_some();
        let Some(aof) = &mut self.aof else { return Ok(()) };
        match (&aof.trouble, policy) {
            (Some(trouble), AppendFsync::Always) => {
                return Err(WriteError::Broken(trouble.text().to_owned()));
            }
            (Some(Trouble::Rebase(_)), _) => {
                self.tell_trouble();
                return Ok(());
            }
            // The buffer waits for cron's retry, and writes are refused meanwhile. What the file has is synced in time
            // all the same.
            (Some(Trouble::Write(_)) | None, _) => {}
        }
        if policy == AppendFsync::Always && sabotaged!("reply-before-fdatasync") {
            // Syncs what the last turn wrote, whose replies have left.
            return aof.log.sync_rest().and_then(|()| aof.log.write()).map_err(|e| fatal(aof, e));
        }
        if policy == AppendFsync::Always {
            if aof.log.pending() > 0 {
                let written = aof.log.write();
                let synced = written.and_then(|()| if no_sync { Ok(()) } else { aof.log.sync() });
                synced.map_err(|e| fatal(aof, e))?;
            } else if !no_sync && !sabotaged!("suspended-stays-unsynced") {
                // What was written while a child ran, or under another policy.
                aof.log.sync_rest().map_err(|e| fatal(aof, e))?;
            }
            return Ok(());
        }
        if aof.log.pending() > 0 {
            aof.oldest_unsynced_ms.get_or_insert(now_ms);
        }
        let may_write = aof.trouble.is_none() && aof.log.pending() > 0;
        if may_write && !postpone(aof, policy, self.syncer.busy(), now_ms) {
            aof.postponed_since_ms = None;
            if let Err(e) = aof.log.write() {
                aof.trouble = Some(Trouble::Write(e.to_string()));
            }
        }
        if policy == AppendFsync::EverySec && !no_sync {
            start_sync_if_due(aof, &mut self.syncer, self.config.hz, now_ms);
        }
        self.tell_trouble();
        Ok(())
    }

    /// Says once what is the matter with the log, and once that it is over.
    fn tell_trouble(&mut self) {
        let trouble = self.aof.as_ref().and_then(|aof| aof.trouble.as_ref()).map(Trouble::text);
        if trouble == self.told.as_deref() {
            return;
        }
        match trouble {
            Some(why) => {
                complain("the append-only file cannot be written, and writes are refused until it can", &why)
            }
            None => {
                complain("the append-only file", &"it can be written again, and nothing is missing in it")
            }
        }
        self.told = trouble.map(str::to_owned);
    }

    /// Why writes must be refused, as the error reply's text.
    pub fn refuses_writes(&self) -> Option<String> {
        if self.read_only {
            return Some("MISCONF The data were loaded from a directory that cannot be written".into());
        }
        if let Some(trouble) = self.aof.as_ref().and_then(|aof| aof.trouble.as_ref()) {
            return Some(format!("MISCONF Errors writing to the AOF file: {}", trouble.text()));
        }
        let stop = self.config.stop_writes_on_bgsave_error && !self.config.save.is_empty();
        (stop && self.snapshots.failed).then(|| {
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
             Commands that may modify the data set are disabled, because this instance is configured to report \
             errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check \
             the Redis logs for details about the RDB error."
                .into()
        })
    }

    /// Something could not be written or synced, and was not made good yet.
    pub fn in_trouble(&self) -> bool {
        self.aof.as_ref().is_some_and(|aof| aof.trouble.is_some())
    }

    /// It is in trouble, and something that was logged is in memory alone.
    pub fn holds_unwritten(&self) -> bool {
        self.aof.as_ref().is_some_and(|aof| aof.trouble.is_some() && aof.log.pending() > 0)
    }

    /// The directory could not be written at start: the data are there to be read.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// When the last snapshot succeeded, in seconds since 1970; the start, if none did. A background save
    /// counts only once its child has renamed the file and synced the directory.
    pub fn last_save_s(&self) -> u64 {
        self.snapshots.last_save_ms / 1000
    }

    /// A child writes a base or a snapshot, or a base that was written is put in its place.
    pub fn background_running(&self) -> bool {
        self.child.is_some() || self.install.is_some()
    }

    /// A rewrite has not ended yet.
    pub(super) fn rewriting(&self) -> bool {
        self.install.is_some() || matches!(self.child, Some(Child { job: Job::Rewrite { .. }, .. }))
    }

    /// Everything logged until now is known to be synced (WAITAOF 1 may be answered).
    pub fn waitaof_durable(&self) -> bool {
        self.aof.as_ref().is_some_and(|aof| {
            aof.trouble.is_none() && aof.log.pending() == 0 && aof.log.synced() == aof.log.len()
        })
    }

    /// How far the log is written, if everything that was logged is: WAITAOF waits for a sync that covers it.
    pub fn log_position(&self) -> Option<LogPosition> {
        let aof = self.aof.as_ref().filter(|aof| aof.trouble.is_none() && aof.log.pending() == 0)?;
        Some(LogPosition { seq: aof.log.seq, len: aof.log.len() })
    }

    /// How far the log is known to be synced. A file is synced whole before the next one takes its place.
    pub fn synced_position(&self) -> Option<LogPosition> {
        let aof = self.aof.as_ref().filter(|aof| aof.trouble.is_none())?;
        Some(LogPosition { seq: aof.log.seq, len: aof.log.synced() })
    }

    /// The figures of INFO's section.
    pub fn info(&self) -> PersistenceInfo {
        let job = self.child.as_ref().map(|c| &c.job);
        let aof = self.aof.as_ref();
        PersistenceInfo {
            rdb_changes_since_last_save: self.snapshots.changes,
            rdb_bgsave_in_progress: matches!(job, Some(Job::Save { .. }))
                && !sabotaged!("bgsave-shown-at-once"),
            rdb_last_save_time: self.last_save_s(),
            rdb_last_bgsave_ok: !self.snapshots.failed,
            snapshots: self.snapshots.info(),
            aof_enabled: aof.is_some(),
            aof_rewrite_in_progress: self.rewriting(),
            aof_rewrite_scheduled: self.rewrite_scheduled,
            aof_last_bgrewrite_ok: !self.rewrite_failed,
            aof_last_write_ok: aof.is_none_or(|a| a.trouble.is_none()),
            aof_current_size: aof.map_or(0, Aof::size),
            aof_base_size: aof.map_or(0, |a| a.rewritten_size),
            aof_buffer_length: aof.map_or(0, |a| a.log.pending() as u64),
            aof_rewrite_buffer_length: aof.map_or(0, |a| a.log.diff_len()),
            aof_rewrites: self.stats.begun,
            aof_rewrites_consecutive_failures: u64::from(self.rewrite_failures),
            aof_last_rewrite_time_sec: self.stats.last_s,
            aof_current_rewrite_time_sec: self
                .rewriting()
                .then(|| self.now_s.saturating_sub(self.stats.began_ms / 1000)),
            aof_last_cow_size: self.stats.last_cow,
            aof_pending_bio_fsync: u64::from(self.syncer.busy()),
            aof_delayed_fsync: aof.map_or(0, |a| a.delayed_syncs),
        }
    }

    /// Takes the result of a background sync.
    pub(super) fn take_sync_result(&mut self) {
        let done = self.syncer.take();
        self.apply_sync(done);
    }

    /// Waits for a background sync to end, and takes its result.
    pub(super) fn wait_for_sync(&mut self) {
        let done = self.syncer.wait();
        self.apply_sync(done);
    }

    /// Under everysec, before the server does nothing else for as long as it takes to write a snapshot: has everything
    /// that was logged synced meanwhile, so that it does not wait for the timer behind that.
    pub(super) fn sync_meanwhile(&mut self, now_ms: u64) {
        let suspended = self.config.no_appendfsync_on_rewrite && self.child.is_some();
        let unsynced = |aof: &Aof| aof.log.pending() > 0 || aof.log.synced() < aof.log.len();
        if self.config.appendfsync != AppendFsync::EverySec
            || suspended
            || !self.aof.as_ref().is_some_and(unsynced)
        {
            return;
        }
        self.wait_for_sync();
        let Some(aof) = self.aof.as_mut().filter(|aof| aof.trouble.is_none()) else { return };
        match aof.log.write() {
            Ok(()) => start_sync(aof, &mut self.syncer, now_ms),
            Err(e) => aof.trouble = Some(Trouble::Write(e.to_string())),
        }
    }

    fn apply_sync(&mut self, done: Option<super::sync::Done>) {
        let (Some(aof), Some(done)) = (&mut self.aof, done) else { return };
        if done.seq != aof.log.seq {
            // The file that it synced is not the log any more, and what it held is elsewhere, synced.
            return;
        }
        match done.result.at("sync", &aof.log.path) {
            Ok(()) => aof.log.was_synced(done.len),
            Err(e) => aof.trouble = Some(Trouble::Rebase(e.to_string())),
        }
    }
}

impl Drop for Persistence {
    /// Nothing is written: what a turn has not written is not acknowledged. A child would otherwise go on, and
    /// could rename its snapshot over a later one.
    fn drop(&mut self) {
        self.end_children(self.now_s * 1000);
    }
}

/// Remembers that nothing may follow, in case the server goes on all the same.
fn fatal(aof: &mut Aof, e: FileError) -> WriteError {
    aof.trouble = Some(Trouble::Rebase(e.to_string()));
    WriteError::File(e)
}

/// Redis's rule: while a sync runs, a write would block, so it waits up to two seconds.
fn postpone(aof: &mut Aof, policy: AppendFsync, syncing: bool, now_ms: u64) -> bool {
    if policy != AppendFsync::EverySec || !syncing {
        return false;
    }
    let since = *aof.postponed_since_ms.get_or_insert(now_ms);
    if now_ms.saturating_sub(since) < POSTPONE_MS || sabotaged!("postponed-without-end") {
        return true;
    }
    aof.delayed_syncs += 1;
    false
}

/// Starts a background sync if one is due: a second after the last one, as Redis, or two timer ticks before the
/// oldest write that it would cover is a second old, so that "everysec" means what it says: one tick late it begins,
/// and if it fails, the next tick is in time to write everything anew.
pub(super) fn start_sync_if_due(aof: &mut Aof, syncer: &mut Syncer, hz: u32, now_ms: u64) {
    if now_ms < aof.last_sync_ms {
        // The clock went back; without this no sync would start until it has caught up.
        aof.last_sync_ms = now_ms;
    }
    let tick_ms = 1000 / u64::from(hz.clamp(1, 500));
    let age_ms = aof.oldest_unsynced_ms.map_or(0, |at| now_ms.saturating_sub(at));
    let due = now_ms - aof.last_sync_ms >= SYNC_EVERY_MS || age_ms + 2 * tick_ms >= SYNC_EVERY_MS;
    if due {
        start_sync(aof, syncer, now_ms);
    }
}

/// Starts a background sync if there is something to be synced, and none runs.
fn start_sync(aof: &mut Aof, syncer: &mut Syncer, now_ms: u64) {
    if aof.log.synced() < aof.log.len() && !syncer.busy() {
        aof.last_sync_ms = now_ms;
        aof.oldest_unsynced_ms = (aof.log.pending() > 0).then_some(now_ms);
        if let Err(e) = aof.log.start_sync(syncer) {
            aof.trouble = Some(Trouble::Rebase(e.to_string()));
        }
    }
}
