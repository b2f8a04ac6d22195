//! What is known of snapshots: those that were made, and the one that is being made.

use super::fork::{self, Progress, Reports};
use crate::replication::Feed;
use std::path::PathBuf;

/// Everything about snapshots.
#[derive(Default)]
pub(super) struct Snapshots {
    pub(super) path: PathBuf,
    pub(super) changes: u64,
    pub(super) last_save_ms: u64,
    /// When a BGSAVE was last begun.
    pub(super) last_try_ms: u64,
    pub(super) failed: bool,
    pub(super) temps: u64,
    /// Half a transaction is no state that anybody may see: no snapshot begins inside one.
    pub(super) in_transaction: bool,
    /// A FLUSHALL in the transaction calls for a snapshot behind it.
    pub(super) flushed_in_transaction: bool,
    /// The replica, which is sent a snapshot first.
    pub(super) feed: Feed,
    /// The file at `path` was made for the replica, and nobody else has asked for it.
    pub(super) only_for_sync: bool,
    /// The child of the running BGSAVE.
    running: Option<Running>,
    /// How long the last BGSAVE took.
    took_s: Option<u64>,
    /// Saves that were begun.
    saves: u64,
    last_cow: u64,
    loaded: (u64, u64),
    /// The time of the last tick.
    seen_ms: u64,
}

struct Running {
    begun_ms: u64,
    /// Keys that there were at the fork.
    keys: u64,
    reports: Reports,
    last: Progress,
    /// When that was told.
    told_ms: u64,
    peak: u64,
}

impl Running {
    fn listen(&mut self, now_ms: u64) {
        if let Some(progress) = self.reports.latest() {
            self.last = progress;
            self.told_ms = now_ms;
            self.peak = self.peak.max(progress.private_dirty);
        }
    }
}

impl Snapshots {
    pub(super) fn new(path: PathBuf, now_ms: u64, loaded: (u64, u64)) -> Snapshots {
        Snapshots { path, last_save_ms: now_ms, seen_ms: now_ms, loaded, ..Snapshots::default() }
    }

    pub(super) fn begin_transaction(&mut self) {
        self.in_transaction = true;
        self.feed.begin_transaction();
    }

    pub(super) fn end_transaction(&mut self) {
        self.in_transaction = false;
        self.feed.end_transaction();
    }

    /// The timer's tick.
    pub(super) fn tick(&mut self, now_ms: u64) {
        self.seen_ms = now_ms;
        if let Some(running) = &mut self.running {
            running.listen(now_ms);
        }
        self.feed.tick(now_ms);
    }

    /// A save begins, in the foreground or in a child.
    pub(super) fn count(&mut self) {
        self.saves += 1;
    }

    /// A save has succeeded that began when there were `changes`.
    pub(super) fn succeeded(&mut self, changes: u64, now_ms: u64) {
        self.changes -= changes.min(self.changes);
        self.last_save_ms = now_ms;
        self.failed = false;
    }

    pub(super) fn child_begun(&mut self, reports: Reports, keys: u64, now_ms: u64) {
        let last = Progress::default();
        self.running = Some(Running { begun_ms: now_ms, keys, reports, last, told_ms: now_ms, peak: 0 });
    }

    pub(super) fn child_ended(&mut self, now_ms: u64) {
        if let Some(mut running) = self.running.take() {
            running.listen(now_ms);
            self.took_s = Some(now_ms.saturating_sub(running.begun_ms) / 1000);
            self.last_cow = running.last.private_dirty;
        }
    }

    /// The child was ended by us: that is no result.
    pub(super) fn child_killed(&mut self) {
        self.running = None;
    }

    pub(super) fn info(&self) -> SnapshotInfo {
        let running = self.running.as_ref();
        SnapshotInfo {
            cow_peak: running.map_or(0, |r| r.peak),
            cow_size: running.map_or(0, |r| r.last.private_dirty),
            cow_age_s: running.map_or(0, |r| self.seen_ms.saturating_sub(r.told_ms) / 1000),
            keys_processed: running.map_or(0, |r| r.last.keys),
            keys_total: running.map_or(0, |r| r.keys),
            last_time_s: self.took_s,
            current_time_s: running.map(|r| self.seen_ms.saturating_sub(r.begun_ms) / 1000),
            saves: self.saves,
            last_cow: self.last_cow,
            loaded: self.loaded,
        }
    }
}

/// What INFO says of snapshots besides how the last one ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Most memory that the running child and this process ceased to share, in bytes. Told, as everything about the
    /// child is, every 65536 keys, and never for a snapshot of less than 1 MiB.
    pub cow_peak: u64,
    /// The same, when last told.
    pub cow_size: u64,
    /// Seconds since it was told.
    pub cow_age_s: u64,
    /// Keys that the running child has written.
    pub keys_processed: u64,
    /// Keys that it is to write.
    pub keys_total: u64,
    /// How long the last BGSAVE took.
    pub last_time_s: Option<u64>,
    /// How long the running one has taken.
    pub current_time_s: Option<u64>,
    /// Saves begun since the start.
    pub saves: u64,
    /// Bytes that the last BGSAVE's child did not share at its end.
    pub last_cow: u64,
    /// Keys that the snapshot at the start held, and those of them whose time had come.
    pub loaded: (u64, u64),
}

impl SnapshotInfo {
    /// What stands in front of the fields about the last save.
    pub(super) fn progress_lines(&self, put: &mut dyn FnMut(&str, String)) {
        put("current_cow_peak", self.cow_peak.to_string());
        put("current_cow_size", self.cow_size.to_string());
        put("current_cow_size_age", self.cow_age_s.to_string());
        let percent = self.keys_processed as f64 * 100.0 / self.keys_total.max(1) as f64;
        put("current_fork_perc", format!("{percent:.2}"));
        put("current_save_keys_processed", self.keys_processed.to_string());
        put("current_save_keys_total", self.keys_total.to_string());
    }

    /// What stands behind them.
    pub(super) fn history_lines(&self, put: &mut dyn FnMut(&str, String)) {
        let or_none = |seconds: Option<u64>| seconds.map_or("-1".to_owned(), |s| s.to_string());
        put("rdb_last_bgsave_time_sec", or_none(self.last_time_s));
        put("rdb_current_bgsave_time_sec", or_none(self.current_time_s));
        put("rdb_saves", self.saves.to_string());
        put("rdb_last_cow_size", self.last_cow.to_string());
        put("rdb_last_load_keys_expired", self.loaded.1.to_string());
        put("rdb_last_load_keys_loaded", (self.loaded.0 - self.loaded.1).to_string());
    }
}

/// Forks of this process for saves and rewrites, and microseconds that the last one took.
pub fn fork_statistics() -> (u64, u64) {
    fork::statistics()
}
