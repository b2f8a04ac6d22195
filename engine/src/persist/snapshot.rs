//! SAVE, BGSAVE, and what calls for them.

use super::core::{Child, Job, Persistence};
use super::disk::{self, ReplaceError};
use super::error::{FileError, SaveError};
use super::fork::{self, Ended};
use crate::keyspace::Keyspace;
use crate::rdb;
use std::path::{Path, PathBuf};

impl Persistence {
    /// Writes a snapshot in the foreground; when this returns `Ok` it is durable.
    pub fn save(&mut self, keyspace: &Keyspace, now_ms: u64) -> Result<(), SaveError> {
        self.may_save()?;
        if matches!(self.child, Some(Child { job: Job::Save { .. }, .. })) {
            return Err(SaveError::InProgress);
        }
        let temp = self.snapshot_temp();
        write_snapshot(&temp, &self.snapshots.path, keyspace, now_ms, self.config.rdbchecksum)?;
        self.snapshots.changes = 0;
        self.snapshots.last_save_ms = now_ms;
        self.snapshots.failed = false;
        Ok(())
    }

    /// Starts a child that writes a snapshot. [`Persistence::cron`] notices its end.
    pub fn begin_bgsave(&mut self, keyspace: &Keyspace, now_ms: u64) -> Result<(), SaveError> {
        self.may_save()?;
        match &self.child {
            Some(Child { job: Job::Save { .. }, .. }) => return Err(SaveError::InProgress),
            Some(_) => return Err(SaveError::RewriteInProgress),
            None => {}
        }
        self.snapshots.last_try_ms = now_ms;
        let temp = self.snapshot_temp();
        let path = self.snapshots.path.clone();
        let checksum = self.config.rdbchecksum;
        let spawned = fork::spawn(&self.not_for_children, || {
            write_snapshot(&temp, &path, keyspace, now_ms, checksum).is_ok()
        });
        match spawned {
            Ok(pid) => {
                self.child = Some(Child { pid, job: Job::Save { changes: self.snapshots.changes } });
                Ok(())
            }
            Err(source) => {
                self.snapshots.failed = true;
                Err(FileError { doing: "fork for", path, source }.into())
            }
        }
    }

    /// FLUSHALL was executed: as Redis, a running BGSAVE is ended, and with save points the empty data are
    /// saved at once.
    pub fn flushed(&mut self, keyspace: &Keyspace, now_ms: u64) -> Result<(), SaveError> {
        self.end_save_child();
        if self.config.save.is_empty() || self.read_only {
            return Ok(());
        }
        self.save(keyspace, now_ms)
    }

    pub(super) fn finish_save(&mut self, ended: Ended, changes: u64, now_ms: u64) {
        match ended {
            // The child has renamed the file and synced the directory before it ended.
            Ended::Ok => {
                self.snapshots.changes -= changes.min(self.snapshots.changes);
                self.snapshots.last_save_ms = now_ms;
                self.snapshots.failed = false;
            }
            Ended::Failed => {
                self.snapshots.failed = true;
                self.remove_snapshot_temps();
            }
        }
    }

    /// Kills a child that writes a snapshot.
    pub(super) fn end_save_child(&mut self) {
        if let Some(Child { pid, job: Job::Save { .. } }) = self.child {
            fork::kill(pid);
            self.child = None;
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

    fn snapshot_temp(&mut self) -> PathBuf {
        self.snapshots.temps += 1;
        snapshot_temp(&self.config.dir, self.snapshots.temps)
    }
}

/// Counted, not by process id, so that equal runs use equal names.
fn snapshot_temp(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("temp-{n}.rdb"))
}

/// Whether `name` is a snapshot that was never finished.
pub(super) fn is_snapshot_temp(name: &str) -> bool {
    let middle = name.strip_prefix("temp-").and_then(|n| n.strip_suffix(".rdb"));
    middle.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Writes, syncs, puts in place, and syncs the place.
fn write_snapshot(
    temp: &Path,
    path: &Path,
    keyspace: &Keyspace,
    now_ms: u64,
    checksum: bool,
) -> Result<(), FileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let written = disk::write_synced(temp, |out| rdb::write(out, keyspace, now_ms, false, checksum));
    let placed = written.map_err(ReplaceError::Before).and_then(|()| disk::replace(dir, temp, path));
    placed.map_err(|e| {
        let _ = disk::remove_if_there(temp);
        e.into_inner()
    })
}
