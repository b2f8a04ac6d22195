//! Reading files into a keyspace. Nothing here changes the disk.

use super::error::{At, OpenError};
use super::report::{LoadReport, Source};
use crate::aof::{Chain, FileEntry, Manifest, RespError, ScanFault, scan_chained, scan_plain};
use crate::command::{self, ReplayError};
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::rdb;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the last incr file ends.
pub(super) struct Tail {
    pub(super) path: PathBuf,
    pub(super) seq: u64,
    /// Length of what is good.
    pub(super) good: u64,
    /// The bytes behind it.
    pub(super) rest: Vec<u8>,
    /// `None` if the file was read without its checksums.
    pub(super) chain: Option<Chain>,
}

/// How the file before ended, to be compared with what the next one says.
#[derive(Clone, Copy)]
struct Before {
    len: u64,
    crc: u64,
}

pub(super) struct Loader<'c> {
    pub(super) config: &'c Config,
    pub(super) now_ms: u64,
    pub(super) keyspace: Keyspace,
    pub(super) report: LoadReport,
}

pub(super) fn corrupt(path: &Path, offset: u64, what: impl Into<String>, repair: &str) -> OpenError {
    OpenError::Corrupt { path: path.to_owned(), offset, what: what.into(), repair: repair.into() }
}

const RESTORE: &str =
    "Restore the file from a copy, or start with `aof-checksum no` to load what Redis would load";
const FIX: &str = "`redis-check-aof --fix` on this file cuts it there; what follows is lost then";

impl Loader<'_> {
    /// Loads what `manifest` lists; `dir` is the append-only directory.
    pub(super) fn aof(&mut self, dir: &Path, manifest: &Manifest) -> Result<Option<Tail>, OpenError> {
        self.report.source = Source::Aof;
        if let Some(base) = manifest.base() {
            self.base(&dir.join(&base.name), base, manifest.foreign)?;
        }
        let mut tail = None;
        let mut before = None;
        let last = manifest.incrs().next_back().map(|f| f.seq);
        for f in manifest.incrs() {
            let path = dir.join(&f.name);
            if sabotaged!("incr-ignored") {
                continue;
            }
            if sabotaged!("history-loaded") && !path.exists() {
                continue;
            }
            let bytes = self.read(&path)?;
            let is_last = last == Some(f.seq);
            let (good, chain) = if f.chained {
                let chain = self.chained(&path, &bytes, f, before, is_last)?;
                let sealed = manifest.sealed.as_ref().filter(|(name, _)| *name == f.name).map_or(0, |s| s.1);
                if chain.len < sealed {
                    let what = format!(
                        "only its first {} bytes are good, and {sealed} were when the server stopped in order: no crash \
                         does that, and cutting would lose acknowledged writes",
                        chain.len
                    );
                    return Err(corrupt(&path, chain.len, what, RESTORE));
                }
                (chain.len, Some(chain))
            } else {
                (self.plain(&path, &bytes, 0, is_last)?, None)
            };
            before = Some(Before { len: good, crc: chain.map_or(0, |c| c.crc) });
            let rest = bytes.get(good as usize..).unwrap_or_default().to_vec();
            tail = Some(Tail { path, seq: f.seq, good, rest, chain });
        }
        Ok(tail)
    }

    fn read(&mut self, path: &Path) -> Result<Vec<u8>, OpenError> {
        self.report.files.push(path.to_owned());
        match fs::read(path) {
            Ok(bytes) => Ok(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(corrupt(path, 0, "the manifest lists it and it is not there", RESTORE))
            }
            Err(e) => Err(e).at("read", path).map_err(OpenError::from),
        }
    }

    fn base(&mut self, path: &Path, entry: &FileEntry, foreign: bool) -> Result<(), OpenError> {
        let bytes = self.read(path)?;
        if bytes.starts_with(rdb::MAGIC) {
            let loaded = rdb::read(&bytes, None).map_err(|e| corrupt(path, e.offset, e.what, RESTORE))?;
            self.report.snapshot_keys = (loaded.keys, loaded.expired);
            self.keyspace = loaded.keyspace;
            self.skipped(path, &loaded.skipped);
            if loaded.len < bytes.len() as u64 {
                if !foreign {
                    return Err(corrupt(path, loaded.len, "bytes follow the snapshot's end", RESTORE));
                }
                // A hybrid file that Redis took over from an older layout: commands follow.
                self.plain(path, &bytes, loaded.len as usize, false)?;
            }
            return Ok(());
        }
        if !foreign && entry.name.ends_with(".rdb") {
            // An empty file would else pass for one without commands.
            return Err(corrupt(path, 0, "it is listed as a snapshot and does not begin as one", RESTORE));
        }
        if !entry.chained {
            return self.plain(path, &bytes, 0, false).map(drop);
        }
        let scan = self.scan(path, &bytes)?;
        if scan.header.seq != entry.seq || !scan.ended || scan.chain.len != bytes.len() as u64 {
            return Err(corrupt(path, scan.chain.len, "the base's checksums do not fit its bytes", RESTORE));
        }
        Ok(())
    }

    fn scan(&mut self, path: &Path, bytes: &[u8]) -> Result<crate::aof::ChainScan, OpenError> {
        let Loader { keyspace, report, now_ms, .. } = self;
        let mut db = 0;
        let scanned = scan_chained(bytes, &mut |argv| {
            report.commands += 1;
            command::replay(keyspace, &mut db, argv, *now_ms)
        });
        scanned.map_err(|fault| scan_fault(path, fault))
    }

    fn chained(
        &mut self,
        path: &Path,
        bytes: &[u8],
        entry: &FileEntry,
        before: Option<Before>,
        is_last: bool,
    ) -> Result<Chain, OpenError> {
        let scan = self.scan(path, bytes)?;
        if scan.header.seq != entry.seq {
            return Err(corrupt(path, 0, "it begins as another file of the chain", RESTORE));
        }
        if let Some(before) = before
            && (scan.header.prev_len, scan.header.prev_crc) != (before.len, before.crc)
        {
            return Err(corrupt(
                path,
                0,
                "the file before it does not end as this one's header says",
                RESTORE,
            ));
        }
        let good = scan.chain.len;
        if good < bytes.len() as u64 {
            if sabotaged!("torn-tail-refused") {
                return Err(corrupt(path, good, "the file does not end with a whole batch", RESTORE));
            }
            if sabotaged!("torn-tail-panics") {
                panic!("the file does not end with a whole batch");
            }
            while sabotaged!("torn-tail-loops") {
                std::hint::spin_loop();
            }
            if !is_last {
                return Err(corrupt(path, good, "a checksum fails in a file that was synced whole", RESTORE));
            }
            if let Some((at, mark)) = scan.proof {
                let what = format!(
                    "a checksum fails, and the annotation at offset {at} says that the first {mark} bytes had \
                     been synced: no crash does that, and cutting would lose acknowledged writes"
                );
                return Err(corrupt(path, good, what, RESTORE));
            }
        }
        Ok(scan.chain)
    }

    /// Reads commands without checksums from `from` on: the length of what is good.
    fn plain(&mut self, path: &Path, bytes: &[u8], from: usize, is_last: bool) -> Result<u64, OpenError> {
        let Loader { keyspace, report, now_ms, config } = self;
        let mut db = 0;
        let scanned = scan_plain(&bytes[from..], &mut |argv| {
            report.commands += 1;
            command::replay(keyspace, &mut db, argv, *now_ms)
        });
        let scan = scanned.map_err(|fault| scan_fault(path, fault))?;
        let good = from as u64 + scan.good;
        match scan.stop {
            None => Ok(good),
            Some(RespError::Truncated) if is_last && config.aof_load_truncated => Ok(good),
            Some(RespError::Truncated) => Err(corrupt(path, good, "the file ends inside a command", FIX)),
            Some(RespError::Malformed) => Err(corrupt(path, good, "no command begins there", FIX)),
        }
    }

    /// Loads the snapshot, if there is one.
    pub(super) fn snapshot(&mut self, path: &Path) -> Result<(), OpenError> {
        let Some(found) = super::disk::current(path)? else { return Ok(()) };
        let bytes = self.read(&found)?;
        let loaded = rdb::read(&bytes, Some(self.now_ms)).map_err(|e| {
            corrupt(&found, e.offset, e.what, "Restore the file from a copy, or move it away")
        })?;
        if loaded.len < bytes.len() as u64 {
            let extra = bytes.len() as u64 - loaded.len;
            self.report.warnings.push(format!("{}: {extra} bytes follow the end", found.display()));
        }
        self.report.snapshot_keys = (loaded.keys, loaded.expired);
        self.keyspace = loaded.keyspace;
        self.report.source = Source::Rdb;
        self.skipped(&found, &loaded.skipped);
        Ok(())
    }

    fn skipped(&mut self, path: &Path, skipped: &[String]) {
        let warnings = skipped.iter().map(|what| format!("{}: {what} was left out", path.display()));
        self.report.warnings.extend(warnings);
    }
}

fn scan_fault(path: &Path, fault: ScanFault<ReplayError>) -> OpenError {
    match fault {
        ScanFault::NoHeader => {
            corrupt(path, 0, "its first line, synced before the file was listed, is damaged", RESTORE)
        }
        ScanFault::Apply(at, e) => corrupt(path, at, format!("a command there cannot be applied: {e}"), FIX),
        ScanFault::Brackets(at) => corrupt(path, at, "MULTI and EXEC do not pair", FIX),
    }
}
