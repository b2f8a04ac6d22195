//! SAVE, BGSAVE, and what calls for them.

use super::complain::{complain, complain_in_child};
use super::core::{Child, Job, Persistence};
use super::disk::{self, ReplaceError};
use super::error::{FileError, SaveError};
use super::fork::{self, Ended};
use crate::keyspace::Keyspace;
use crate::rdb::{self, WriteOptions};
use crate::replication::Feed;
use std::path::{Path, PathBuf};

/// Snapshots of less than this are written faster than it takes to find out what memory that has cost.
const WORTH_MEASURING: u64 = 1 << 20;

impl Persistence {
    /// Writes a snapshot in the foreground; when this returns `Ok` it is durable.
    pub fn save(&mut self, keyspace: &Keyspace, now_ms: u64) -> Result<(), SaveError> {
        self.may_save()?;
        if matches!(self.child, Some(Child { job: Job::Save { .. }, .. })) {
            return Err(SaveError::InProgress);
        }
        if self.snapshots.in_transaction {
            return Err(SaveError::InTransaction);
        }
        self.sync_meanwhile(now_ms);
        self.snapshots.count();
        let job = self.write_job(now_ms);
        job.run(keyspace, &mut |_, _| ())?;
        self.snapshots.only_for_sync = false;
        self.snapshots.succeeded(self.snapshots.changes, now_ms);
        Ok(())
    }

    /// Starts a child that writes a snapshot. [`Persistence::cron`] notices its end.
    pub fn begin_bgsave(&mut self, keyspace: &Keyspace, now_ms: u64) -> Result<(), SaveError> {
        self.spawn_save(keyspace, now_ms)?;
        self.snapshots.only_for_sync = false;
        Ok(())
    }

    fn spawn_save(&mut self, keyspace: &Keyspace, now_ms: u64) -> Result<(), SaveError> {
        self.may_save()?;
        match &self.child {
            Some(Child { job: Job::Save { .. }, .. }) => return Err(SaveError::InProgress),
            Some(_) => return Err(SaveError::RewriteInProgress),
            None if self.install.is_some() => return Err(SaveError::RewriteInProgress),
            None if self.snapshots.in_transaction => return Err(SaveError::InTransaction),
            None => {}
        }
        self.snapshots.last_try_ms = now_ms;
        self.snapshots.count();
        let job = self.write_job(now_ms);
        let spawned = fork::spawn_reporting(&self.not_for_children, |reporter| {
            let done = job.run(keyspace, &mut |keys, len| {
                if len >= WORTH_MEASURING {
                    reporter.tell(keys);
                }
            });
            done.inspect_err(|e| complain_in_child("the snapshot was not made", e)).is_ok()
        });
        match spawned {
            Ok((pid, reports)) => {
                self.child = Some(Child { pid, job: Job::Save { changes: self.snapshots.changes } });
                let keys = keyspace.dbs.iter().map(|db| db.len() as u64).sum();
                self.snapshots.child_begun(reports, keys, now_ms);
                Ok(())
            }
            Err(source) => {
                self.snapshots.failed = true;
                Err(FileError { doing: "fork for", path: job.path, source }.into())
            }
        }
    }

    /// FLUSHALL was executed: as Redis, a running BGSAVE is ended, and with save points the empty data are
    /// saved at once. In a transaction that waits for [`Persistence::transaction_flushed`].
    pub fn flushed(&mut self, keyspace: &Keyspace, now_ms: u64) -> Result<(), SaveError> {
        self.end_save_child();
        if self.config.save.is_empty() || self.read_only {
            return Ok(());
        }
        if self.snapshots.in_transaction {
            self.snapshots.flushed_in_transaction = true;
            return Ok(());
        }
        self.save(keyspace, now_ms).inspect_err(|_| self.snapshots.failed = true)
    }

    /// A transaction has ended: if FLUSHALL was executed in it, saves what there is now.
    pub fn transaction_flushed(&mut self, keyspace: &Keyspace, now_ms: u64) -> Result<(), SaveError> {
        match std::mem::take(&mut self.snapshots.flushed_in_transaction) {
            true => self.flushed(keyspace, now_ms),
            false => Ok(()),
        }
    }

    pub(super) fn finish_save(&mut self, ended: Ended, changes: u64, now_ms: u64) {
        self.snapshots.child_ended(now_ms);
        match ended {
            // The child has renamed the file and synced the directory before it ended.
            Ended::Ok => {
                self.snapshots.succeeded(changes, now_ms);
                self.snapshots.feed.snapshot_made(&self.snapshots.path);
            }
            Ended::Failed => {
                self.snapshots.failed = true;
                self.snapshots.feed.snapshot_failed();
                self.remove_snapshot_temps();
            }
        }
    }

    /// Kills a child that writes a snapshot.
    pub(super) fn end_save_child(&mut self) {
        if let Some(Child { pid, job: Job::Save { .. } }) = self.child {
            fork::kill(pid);
            self.child = None;
            self.snapshots.child_killed();
            self.snapshots.feed.snapshot_put_off();
            self.remove_snapshot_temps();
        }
    }

    fn remove_snapshot_temps(&self) {
        let temp = snapshot_temp(&self.config.dir, self.snapshots.temps);
        let _ = disk::remove_if_there(&temp);
    }

    fn may_save(&self) -> Result<(), SaveError> {
        if self.read_only { Err(SaveError::ReadOnly) } else { Ok(()) }
    }

    /// What is to be written now, and where.
    fn write_job(&mut self, now_ms: u64) -> WriteJob {
        self.snapshots.temps += 1;
        WriteJob {
            temp: snapshot_temp(&self.config.dir, self.snapshots.temps),
            path: self.snapshots.path.clone(),
            options: WriteOptions {
                now_ms,
                aof_base: false,
                first_incr: None,
                checksum: self.config.rdbchecksum,
                compress: self.config.rdbcompression,
            },
            steadily: self.config.rdb_save_incremental_fsync,
        }
    }
}

/// For the replica.
impl Persistence {
    /// The replica, and what it is to be sent.
    pub fn feed(&mut self) -> &mut Feed {
        &mut self.snapshots.feed
    }

    /// What INFO calls the replica's state.
    pub fn replica_state(&self) -> Option<&'static str> {
        self.snapshots.feed.state()
    }

    /// A replica wants a snapshot: begins one if nothing stands in the way. To be called at every tick.
    pub(super) fn begin_sync_save(&mut self, keyspace: &Keyspace, now_ms: u64) {
        if self.snapshots.feed.wants_snapshot() && !self.background_running() {
            match self.spawn_save(keyspace, now_ms) {
                Ok(()) => {
                    self.snapshots.only_for_sync = true;
                    self.snapshots.feed.snapshot_begun();
                }
                Err(e) => {
                    complain("no snapshot can be made for the replica", &e);
                    self.snapshots.feed.snapshot_failed();
                }
            }
        }
        self.remove_what_was_sent();
    }

    /// With `rdb-del-sync-files`, and where nothing else is kept on the disk either, a snapshot that was only made to be
    /// sent goes when it has been.
    fn remove_what_was_sent(&mut self) {
        let kept = self.aof.is_some() || !self.config.save.is_empty() || !self.config.rdb_del_sync_files;
        if self.snapshots.only_for_sync
            && !kept
            && self.child.is_none()
            && !self.snapshots.feed.needs_snapshot()
        {
            self.snapshots.only_for_sync = false;
            // Its second name first: alone, that would be taken for the snapshot.
            for path in [&disk::prev_name(&self.snapshots.path), &self.snapshots.path] {
                let _ = disk::remove_if_there(path);
            }
        }
    }
}

/// A snapshot to be written.
struct WriteJob {
    temp: PathBuf,
    path: PathBuf,
    options: WriteOptions,
    steadily: bool,
}

impl WriteJob {
    /// Writes, syncs, puts in place, and syncs the place. `progress` is told the keys and bytes written, and again
    /// when the writing is done.
    fn run(&self, keyspace: &Keyspace, progress: &mut dyn FnMut(u64, u64)) -> Result<(), FileError> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let written = disk::write_synced_by(&self.temp, self.steadily, |out| {
            rdb::write(out, keyspace, self.options, progress)
        });
        let placed =
            written.map_err(ReplaceError::Before).and_then(|()| disk::replace(dir, &self.temp, &self.path));
        placed.map_err(|e| {
            let _ = disk::remove_if_there(&self.temp);
            e.into_inner()
        })
    }
}

/// Counted, not by process id, so that equal runs use equal names. Not `temp-<number>.rdb`, as Redis names its own:
/// what somebody else has made in this directory, and called so, is not to be removed.
fn snapshot_temp(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("temp-unplug-{n}.rdb"))
}

/// Whether `name` is a snapshot that was never finished.
pub(super) fn is_snapshot_temp(name: &str) -> bool {
    let middle = name.strip_prefix("temp-unplug-").and_then(|n| n.strip_suffix(".rdb"));
    middle.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}
