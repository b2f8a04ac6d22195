//! The current incr file, or the single file: what is buffered, written, and known to be synced.

use super::disk;
use super::error::{At, FileError};
use super::single::Diff;
use super::sync::Syncer;
use crate::aof::{Chain, Header, Seal, encode_command, encode_time};
use crate::config::AppendFsync;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A buffer that one huge turn has blown up is given back.
const KEEP_BUFFER: usize = 1 << 20;

/// Where a transaction stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    /// Begun, and nothing logged yet.
    Begun,
    /// MULTI is in the buffer.
    Logged,
}

/// Why the log refuses writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A write failed; the file ends with its last good batch, and the buffer waits to be written.
    Write(String),
    /// A sync failed, or a change of the manifest may or may not have happened. What is in the files can no
    /// longer be known (a later sync proves nothing about pages that an earlier one failed to write), so only
    /// new files written from memory help.
    Rebase(String),
}

impl Trouble {
    /// After a write that failed. Under always its turn fails with it, and nothing may follow in the file; else it is tried
    /// again.
    pub(super) fn of_write(policy: AppendFsync, e: &FileError) -> Trouble {
        let text = e.to_string();
        if policy == AppendFsync::Always { Trouble::Rebase(text) } else { Trouble::Write(text) }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Trouble::Write(text) | Trouble::Rebase(text) => text,
        }
    }
}

/// The file that is appended to: the current incr file, or the single file.
pub(super) struct Log {
    pub(super) path: PathBuf,
    pub(super) seq: u64,
    file: Arc<File>,
    /// `None` with `aof-checksum no`.
    chain: Option<Chain>,
    /// Length of what was written whole.
    len: u64,
    /// Length of what a sync that has returned covers: the mark of the next batch.
    synced: u64,
    /// The file may be longer than `len`.
    ragged: bool,
    buffer: Vec<u8>,
    selected: Option<usize>,
    transaction: Transaction,
    /// What is written while a rewrite of a single file runs.
    diff: Option<Diff>,
    /// The second that the last `#TS:` line named.
    stamped_s: Option<u64>,
}

impl Log {
    /// A log of `len` bytes, all of them synced.
    pub(super) fn over(file: File, path: PathBuf, seq: u64, len: u64, chain: Option<Chain>) -> Log {
        Log {
            path,
            seq,
            file: Arc::new(file),
            chain,
            len,
            synced: len,
            ragged: false,
            buffer: Vec::new(),
            selected: None,
            transaction: Transaction::None,
            diff: None,
            stamped_s: None,
        }
    }

    /// Creates an incr file, its first batch written and synced. Its name is not yet durable.
    pub(super) fn create(
        path: PathBuf,
        seq: u64,
        chained: bool,
        predecessor: Option<(u64, u64)>,
    ) -> Result<Log, FileError> {
        let mut log = Log::create_unsynced(path, seq, chained, predecessor)?;
        log.sync()?;
        Ok(log)
    }

    /// The same, and its first batch is not synced yet.
    pub(super) fn create_unsynced(
        path: PathBuf,
        seq: u64,
        chained: bool,
        predecessor: Option<(u64, u64)>,
    ) -> Result<Log, FileError> {
        let file = disk::create_append(&path)?;
        let mut log = Log::over(file, path, seq, 0, None);
        if chained {
            let (prev_len, prev_crc) = predecessor.unwrap_or((0, 0));
            let header = Header { seq, prev_len, prev_crc };
            log.chain = Some(Chain::new(&header));
            log.buffer = header.line();
            log.write()?;
        }
        Ok(log)
    }

    /// Goes on with a file that was loaded, cut to `len`, and synced.
    pub(super) fn resume(path: PathBuf, seq: u64, len: u64, chain: Option<Chain>) -> Result<Log, FileError> {
        let file = disk::open_append(&path)?;
        #[cfg(unplug_sabotage)]
        crate::sabotage::RESUMED.fetch_or(len > 1000, std::sync::atomic::Ordering::Relaxed);
        Ok(Log::over(file, path, seq, len, chain))
    }

    /// From here on what is written is remembered too, for the file that will take this one's place. Nothing may be
    /// pending: that is older than the fork.
    pub(super) fn begin_diff(&mut self) {
        self.diff = Some(Diff::default());
        // The other file begins without a selected database, and without a time.
        self.selected = None;
        self.stamped_s = None;
    }

    /// Gives what was written since [`Log::begin_diff`].
    pub(super) fn end_diff(&mut self) -> Diff {
        self.diff.take().unwrap_or_default()
    }

    /// How much is remembered.
    pub(super) fn diff_len(&self) -> u64 {
        self.diff.as_ref().map_or(0, Diff::len)
    }

    /// Takes over what waits to be written to `old`, whose content this file has.
    pub(super) fn go_on_from(&mut self, old: &mut Log) {
        self.buffer = std::mem::take(&mut old.buffer);
        self.selected = old.selected;
        self.transaction = old.transaction;
        self.stamped_s = old.stamped_s;
    }

    /// What a stop in order says of a single file.
    pub(super) fn seal(&self) -> Option<Seal> {
        self.chain.map(|c| Seal { len: self.len, seq: self.seq, key: c.key(), closed: true })
    }

    /// Says when what is logged next was executed, where that is another second than the last one.
    pub(super) fn stamp(&mut self, second: u64) {
        // Not inside a transaction: it is one thing, and has one time.
        if self.transaction != Transaction::Logged && self.stamped_s.is_none_or(|last| last < second) {
            encode_time(&mut self.buffer, second);
            self.stamped_s = Some(second);
        }
    }

    /// Length and last checksum, for the next file's header.
    pub(super) fn end(&self) -> (u64, u64) {
        (self.len, self.chain.map_or(0, |c| c.crc))
    }

    pub(super) fn chained(&self) -> bool {
        self.chain.is_some()
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn synced(&self) -> u64 {
        self.synced
    }

    pub(super) fn pending(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.transaction != Transaction::None
    }

    pub(super) fn push(&mut self, db: usize, argv: &[&[u8]]) {
        if self.selected != Some(db) {
            // Before MULTI if the transaction logs its first command now: as Redis has it.
            encode_command(&mut self.buffer, &[b"SELECT", db.to_string().as_bytes()]);
            self.selected = Some(db);
        }
        if self.transaction == Transaction::Begun {
            encode_command(&mut self.buffer, &[b"MULTI"]);
            self.transaction = Transaction::Logged;
        }
        encode_command(&mut self.buffer, argv);
    }

    pub(super) fn begin_transaction(&mut self) {
        if self.transaction == Transaction::None {
            self.transaction = Transaction::Begun;
        }
    }

    pub(super) fn end_transaction(&mut self) {
        if self.transaction == Transaction::Logged {
            encode_command(&mut self.buffer, &[b"EXEC"]);
        }
        self.transaction = Transaction::None;
    }

    /// Writes the buffer as one batch. On failure the file is cut back and the buffer stays.
    pub(super) fn write(&mut self) -> Result<(), FileError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.ragged {
            self.file.set_len(self.len).at("cut back", &self.path)?;
            self.ragged = false;
        }
        let content = self.buffer.len();
        let crc = self.chain.map(|c| c.seal(&mut self.buffer, self.synced));
        let mut out = &*self.file;
        let wrote = if sabotaged!("short-write-taken-whole") {
            out.write(&self.buffer).map(|_| ())
        } else {
            out.write_all(&self.buffer)
        };
        if sabotaged!("full-disk-acknowledged") && wrote.is_err() {
            self.buffer.clear();
            return Ok(());
        }
        if let Err(e) = wrote {
            self.buffer.truncate(content);
            // Part of the batch may be in the file. If it cannot be cut off now, the next write does it first.
            self.ragged = self.file.set_len(self.len).is_err();
            return Err(e).at("append to", &self.path);
        }
        let written = self.buffer.len() as u64;
        self.len += written;
        if let (Some(chain), Some(crc)) = (&mut self.chain, crc) {
            chain.accept(written, crc);
        }
        match &mut self.diff {
            Some(diff) => diff.take(&mut self.buffer, content),
            None => self.buffer.clear(),
        }
        self.buffer.shrink_to(KEEP_BUFFER);
        Ok(())
    }

    /// Syncs what was written.
    pub(super) fn sync(&mut self) -> Result<(), FileError> {
        self.force()?;
        self.synced = self.len;
        Ok(())
    }

    /// The same, and does not note it.
    pub(super) fn force(&self) -> Result<(), FileError> {
        // The size is part of what fdatasync keeps, and nothing else of the inode matters.
        #[cfg(unplug_sabotage)]
        if sabotaged!("resumed-log-unsynced")
            && crate::sabotage::RESUMED.load(std::sync::atomic::Ordering::Relaxed)
        {
            return Ok(());
        }
        let mut synced = self.file.sync_data();
        if sabotaged!("fsync-tried-again") && synced.is_err() {
            synced = self.file.sync_data();
        }
        if !sabotaged!("failed-fsync-ignored") {
            synced.at("sync", &self.path)?;
        }
        Ok(())
    }

    /// Syncs what was written, if any of it is not synced yet.
    pub(super) fn sync_rest(&mut self) -> Result<(), FileError> {
        if self.synced == self.len { Ok(()) } else { self.sync() }
    }

    /// Starts a sync in the background.
    pub(super) fn start_sync(&self, syncer: &mut Syncer) -> Result<(), FileError> {
        syncer.start(Arc::clone(&self.file), self.seq, self.len).at("start the thread that syncs", &self.path)
    }

    /// A background sync of this file has covered its first `len` bytes.
    pub(super) fn was_synced(&mut self, len: u64) {
        self.synced = self.synced.max(len);
    }
}

#[cfg(test)]
impl Log {
    /// From here on every write fails: the descriptor is open for reading only.
    pub(super) fn spoil(&mut self) -> Arc<File> {
        let broken = Arc::new(File::open(&self.path).unwrap());
        std::mem::replace(&mut self.file, broken)
    }

    pub(super) fn mend(&mut self, file: Arc<File>) {
        self.file = file;
    }
}

/// The name of a file of the append-only directory, as Redis has it.
pub(super) fn incr_name(prefix: &str, seq: u64) -> String {
    format!("{prefix}.{seq}.incr.aof")
}

/// The name of a base.
pub(super) fn base_name(prefix: &str, seq: u64, rdb: bool) -> String {
    format!("{prefix}.{seq}.base.{}", if rdb { "rdb" } else { "aof" })
}

/// The sequence number in the name of a base or incr file, and whether it is an incr file.
pub(super) fn parse_name(prefix: &str, name: &str) -> Option<(u64, bool)> {
    let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
    let (seq, suffix) = rest.split_once('.')?;
    let seq = seq.parse().ok()?;
    match suffix {
        "incr.aof" => Some((seq, true)),
        "base.rdb" | "base.aof" => Some((seq, false)),
        _ => None,
    }
}

/// Whether `name` is a file that an interrupted step has left.
pub(super) fn is_temporary(prefix: &str, name: &str) -> bool {
    name.strip_prefix("temp-").is_some_and(|rest| rest.starts_with(prefix) || rest.starts_with("rewriteaof-"))
}

/// `path` under another name in the same directory.
pub(super) fn sibling(path: &Path, name: &str) -> PathBuf {
    path.with_file_name(name)
}
