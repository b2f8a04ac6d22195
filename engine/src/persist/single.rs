//! A single file: its rewrite, and everything else that differs from the directory of files.

use super::core::Aof;
use super::disk::{self, ReplaceError};
use super::error::{At, FileError};
use super::files::Place;
use super::load::preamble_crc;
use super::log::Log;
use crate::aof::{Chain, END_LINE, Header, Seal};
use crate::keyspace::Keyspace;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// Longest first batch: a header line and its annotation, with room.
const HEAD: usize = 256;
/// A file of this length is freed aside.
const LARGE: u64 = 4 << 20;
/// Size of a block of what is logged during a rewrite; each becomes a batch.
const BLOCK: usize = 64 << 10;

/// What was logged since the fork, to be written behind the child's base: turn by turn, joined to blocks.
#[derive(Debug, Default)]
pub(super) struct Diff {
    blocks: Vec<Vec<u8>>,
    len: u64,
}

impl Diff {
    /// Takes the first `content` bytes of the buffer of a turn that was written to the old file, and leaves it empty.
    /// Large ones are moved, not copied.
    pub(super) fn take(&mut self, buffer: &mut Vec<u8>, content: usize) {
        buffer.truncate(content);
        self.len += content as u64;
        if content >= BLOCK {
            self.blocks.push(std::mem::take(buffer));
            return;
        }
        match self.blocks.last_mut() {
            Some(last) if last.len() < BLOCK => last.append(buffer),
            _ => {
                let mut block = Vec::with_capacity(BLOCK + content);
                block.append(buffer);
                self.blocks.push(block);
            }
        }
    }

    /// How much it holds.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

impl Place {
    /// The single file.
    pub(super) fn single_path(&self) -> PathBuf {
        self.dir.join(&self.prefix)
    }

    /// What a stop in order says of it.
    pub(super) fn seal_path(&self) -> PathBuf {
        self.dir.join(format!("{}.seal", self.prefix))
    }

    /// Writes `diff` and the end line behind the base `seq`, which was written and synced under its temporary name,
    /// and syncs that.
    fn complete(&self, seq: u64, mut diff: Diff) -> Result<Log, FileError> {
        let temp = self.base_temp(seq);
        let mut file = disk::open_append(&temp)?;
        let base_len = file.metadata().at("look at", &temp)?.len();
        let mut chain = None;
        if self.chained {
            let mut ends = || {
                if self.rdb_base { self.begin(&mut file, seq, base_len) } else { reopen(&mut file, base_len) }
            };
            chain = Some(ends().at("go on with", &temp)?);
            diff.blocks.push(END_LINE.to_vec());
        }
        let mut len = chain.map_or(base_len, |c| c.len);
        for mut block in diff.blocks {
            // The child has synced the base.
            let crc = chain.map(|c| c.seal(&mut block, base_len));
            file.write_all(&block).at("write", &temp)?;
            len += block.len() as u64;
            if let (Some(chain), Some(crc)) = (&mut chain, crc) {
                chain.accept(block.len() as u64, crc);
            }
        }
        if !sabotaged!("rename-before-fsync") {
            file.sync_all().at("sync", &temp)?;
        }
        Ok(Log::over(file, self.single_path(), seq, len, chain))
    }

    /// Begins the chain behind a snapshot.
    fn begin(&self, file: &mut File, seq: u64, base_len: u64) -> std::io::Result<Chain> {
        let mut sum = [0; 8];
        file.seek(SeekFrom::Start(base_len.saturating_sub(8)))?;
        file.read_exact(&mut sum)?;
        let header = Header { seq, prev_len: base_len, prev_crc: preamble_crc(&sum) };
        let mut chain = Chain::behind(&header, base_len);
        let mut batch = header.line();
        let crc = chain.seal(&mut batch, 0);
        file.write_all(&batch)?;
        chain.accept(batch.len() as u64, crc);
        Ok(chain)
    }

    /// Puts the file whose base `seq` stands under its temporary name in the place of the old one.
    pub(super) fn install_single(&self, seq: u64, diff: Diff) -> Result<Log, ReplaceError> {
        let temp = self.base_temp(seq);
        let put = self
            .complete(seq, diff)
            .map_err(ReplaceError::Before)
            .and_then(|log| disk::replace(&self.dir, &temp, &self.single_path()).map(|()| log));
        if matches!(put, Err(ReplaceError::Before(_))) {
            let _ = disk::remove_if_there(&temp);
        }
        put
    }

    /// Writes the file anew from memory, in the foreground.
    pub(super) fn anew_single(
        &self,
        keyspace: &Keyspace,
        seq: u64,
        now_ms: u64,
    ) -> Result<Log, ReplaceError> {
        let mut base = self.write_base(keyspace, seq, None, now_ms);
        if !self.chained && base.is_ok() {
            // It speaks of checksums, and would be missing them.
            base = disk::remove_replaced(&self.dir, &self.seal_path());
        }
        base.map_err(|e| {
            let _ = disk::remove_if_there(&self.base_temp(seq));
            ReplaceError::Before(e)
        })?;
        self.install_single(seq, Diff::default())
    }

    /// Reads the seal: `Err` with its path if it is damaged.
    pub(super) fn read_seal(&self) -> Result<Option<Result<Seal, PathBuf>>, FileError> {
        let Some(found) = disk::current(&self.seal_path())? else { return Ok(None) };
        let bytes = fs::read(&found).at("read", &found)?;
        Ok(Some(Seal::parse(&bytes).ok_or(found)))
    }

    /// The generation of the next single file, where the present one's is `seq`.
    pub(super) fn next_generation(&self, seq: u64) -> Result<u64, FileError> {
        let sealed = self.read_seal()?.and_then(Result::ok).map_or(0, |s| s.seq);
        Ok(seq.max(sealed) + 1)
    }

    /// Writes the seal of a file that is whole and synced.
    pub(super) fn put_seal(&self, seal: Seal) -> Result<(), FileError> {
        let temp = self.dir.join(format!("temp-{}.seal", self.prefix));
        let text = seal.encode();
        disk::write_synced(&temp, |out| out.write_all(text.as_bytes()))?;
        disk::replace(&self.dir, &temp, &self.seal_path()).map_err(ReplaceError::into_inner)
    }

    /// Whether `name` is a file in the directory of the data that an interrupted step has left.
    pub(super) fn is_single_temp(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix("temp-") else { return false };
        let bg = rest.strip_prefix("rewriteaof-").and_then(|r| r.strip_suffix(".aof"));
        let number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
        // The last is what `check-aof` writes.
        bg.is_some_and(|n| number(n.strip_prefix("bg-").unwrap_or(n)))
            || ["seal", "converting"]
                .iter()
                .any(|s| rest.strip_suffix(s) == Some(&format!("{}.", self.prefix)))
            || rest == self.prefix
    }
}

/// The chain of a base of commands, as the child has left it.
fn reopen(file: &mut File, len: u64) -> std::io::Result<Chain> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::by_ref(file).take(HEAD as u64).read_to_end(&mut head)?;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(len.saturating_sub(HEAD as u64)))?;
    file.read_to_end(&mut tail)?;
    Chain::reopen(&head, &tail, len).ok_or_else(|| std::io::Error::other("its chain cannot be read back"))
}

/// The child has written the base `seq`: what was logged since goes behind it, and the file into its place. The old
/// one is left as it is until the new one is durable.
pub(super) fn finish_single(aof: &mut Aof, place: &Place, seq: u64) -> Result<(), ReplaceError> {
    let diff = aof.log.end_diff();
    let mut log = place.install_single(seq, diff)?;
    log.go_on_from(&mut aof.log);
    if log.pending() == 0 {
        aof.oldest_unsynced_ms = None;
        aof.postponed_since_ms = None;
    }
    let old = std::mem::replace(&mut aof.log, log);
    if old.len() >= LARGE {
        // It has no name any more, and to free it takes a while. Where there is no thread to be had it is done here.
        let _ = std::thread::Builder::new().name("free".into()).spawn(move || drop(old));
    }
    aof.rewritten_size = aof.size();
    Ok(())
}
