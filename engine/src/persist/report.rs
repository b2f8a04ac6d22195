//! What was loaded, and how persistence stands.

use super::snapshot_state::SnapshotInfo;
use std::fmt;
use std::path::PathBuf;

/// Where the data came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// There was nothing to load.
    #[default]
    Empty,
    /// The append-only files.
    Aof,
    /// The snapshot.
    Rdb,
}

/// Bytes that load left out of a file's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: PathBuf,
    /// Its length now.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// Whole commands at their beginning, and no line of a checksum chain in all of them: they can be what another
    /// program has appended to a file with checksums. 0 in a file without.
    pub commands: u64,
    /// Where they are kept; `None` if they were all zeros, or the directory is read-only.
    pub kept: Option<PathBuf>,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut { file, offset, bytes, commands, kept } = self;
        let name = file.display();
        write!(f, "{name}: {bytes} bytes behind offset {offset} are cut off: ")?;
        match commands {
            0 => write!(f, "a write that was not finished, or not yet synced; ")?,
            1 => write!(f, "1 whole command without a checksum; ")?,
            n => write!(f, "{n} whole commands without a checksum; ")?,
        }
        match kept {
            Some(kept) => write!(f, "they are in {}", kept.display())?,
            None => write!(f, "they are not kept")?,
        }
        if *commands > 0 {
            write!(
                f,
                ". If another program has appended them, and not a write of ours been torn: stop the server, put them \
                 back at the end of {name}, and have `unplug-engine check-aof --resign` accept them"
            )?;
        }
        Ok(())
    }
}

/// What load did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Where the data came from.
    pub source: Source,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
    /// Commands that were applied.
    pub commands: u64,
    /// Keys that snapshots held, and those of them that were left out because their time had come.
    pub snapshot_keys: (u64, u64),
    /// What was cut.
    pub cuts: Vec<Cut>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// The `# Persistence` section of INFO; field names are Redis's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Redis's own, documented there")]
pub struct PersistenceInfo {
    pub rdb_changes_since_last_save: u64,
    pub rdb_bgsave_in_progress: bool,
    pub rdb_last_save_time: u64,
    pub rdb_last_bgsave_ok: bool,
    pub snapshots: SnapshotInfo,
    pub aof_enabled: bool,
    pub aof_rewrite_in_progress: bool,
    pub aof_rewrite_scheduled: bool,
    pub aof_last_bgrewrite_ok: bool,
    pub aof_last_write_ok: bool,
    pub aof_current_size: u64,
    pub aof_base_size: u64,
    pub aof_buffer_length: u64,
    pub aof_pending_bio_fsync: u64,
    pub aof_delayed_fsync: u64,
    pub aof_rewrite_buffer_length: u64,
    pub aof_rewrites: u64,
    pub aof_rewrites_consecutive_failures: u64,
    pub aof_last_rewrite_time_sec: Option<u64>,
    pub aof_current_rewrite_time_sec: Option<u64>,
    pub aof_last_cow_size: u64,
}

impl PersistenceInfo {
    /// The section's lines, without its title, each ended by CR LF.
    pub fn lines(&self) -> String {
        let ok = |b: bool| if b { "ok" } else { "err" };
        let mut text = String::from("loading:0\r\nasync_loading:0\r\n");
        let mut put = |name: &str, value: String| {
            text.push_str(name);
            text.push(':');
            text.push_str(&value);
            text.push_str("\r\n");
        };
        self.snapshots.progress_lines(&mut put);
        put("rdb_changes_since_last_save", self.rdb_changes_since_last_save.to_string());
        put("rdb_bgsave_in_progress", u8::from(self.rdb_bgsave_in_progress).to_string());
        put("rdb_last_save_time", self.rdb_last_save_time.to_string());
        put("rdb_last_bgsave_status", ok(self.rdb_last_bgsave_ok).into());
        self.snapshots.history_lines(&mut put);
        put("aof_enabled", u8::from(self.aof_enabled).to_string());
        put("aof_rewrite_in_progress", u8::from(self.aof_rewrite_in_progress).to_string());
        put("aof_rewrite_scheduled", u8::from(self.aof_rewrite_scheduled).to_string());
        let seconds = |s: Option<u64>| s.map_or("-1".to_owned(), |s| s.to_string());
        put("aof_last_rewrite_time_sec", seconds(self.aof_last_rewrite_time_sec));
        put("aof_current_rewrite_time_sec", seconds(self.aof_current_rewrite_time_sec));
        put("aof_last_bgrewrite_status", ok(self.aof_last_bgrewrite_ok).into());
        put("aof_rewrites", self.aof_rewrites.to_string());
        put("aof_rewrites_consecutive_failures", self.aof_rewrites_consecutive_failures.to_string());
        put("aof_last_write_status", ok(self.aof_last_write_ok).into());
        put("aof_last_cow_size", self.aof_last_cow_size.to_string());
        if self.aof_enabled {
            put("aof_current_size", self.aof_current_size.to_string());
            put("aof_base_size", self.aof_base_size.to_string());
            put("aof_pending_rewrite", u8::from(self.aof_rewrite_scheduled).to_string());
            put("aof_buffer_length", self.aof_buffer_length.to_string());
            put("aof_rewrite_buffer_length", self.aof_rewrite_buffer_length.to_string());
            put("aof_pending_bio_fsync", self.aof_pending_bio_fsync.to_string());
            put("aof_delayed_fsync", self.aof_delayed_fsync.to_string());
        }
        text
    }
}
