//! Reading files into a keyspace. Nothing here changes the disk.

use super::cure::{self, Cure};
use super::error::{At, OpenError};
use super::foreign::{self, check_seal};
use super::mapping::{self, Content};
use super::report::{LoadReport, Source};
use super::until;
use crate::aof::{
    Chain, ChainScan, FileEntry, Manifest, OUR_LINES, PlainScan, RespError, ScanFault, Seal, Times,
    scan_chained, scan_plain,
};
use crate::command::{ReplayError, Replayer};
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::rdb;
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
    /// The manifest does not say that it is chained: it was another program's, and the next file may name no checksum.
    loose: bool,
}

pub(super) struct Loader<'c> {
    pub(super) config: &'c Config,
    pub(super) now_ms: u64,
    pub(super) keyspace: Keyspace,
    pub(super) report: LoadReport,
    /// What `#TS:` lines have said so far.
    pub(super) times: Times,
    /// The log goes on from a snapshot.
    based: bool,
}

pub(super) fn corrupt(path: &Path, offset: u64, what: impl Into<String>, repair: &str) -> OpenError {
    OpenError::Corrupt { path: path.to_owned(), offset, what: what.into(), repair: repair.into() }
}

pub(super) const RESTORE: &str =
    "Restore the file from a copy, or have `unplug-engine check-aof --resign` accept its bytes as they are";
const FIX: &str = "`unplug-engine check-aof --fix` on this file cuts it there; what follows is kept aside";
const SINGLE_DAMAGED: &str = "a checksum fails in what was synced before the file got its name";

/// Which part of a file is read, and as what.
#[derive(Clone, Copy)]
pub(super) struct Part<'b> {
    pub(super) path: &'b Path,
    pub(super) bytes: &'b [u8],
    pub(super) from: usize,
    /// The file is the last one: its tail may be torn.
    pub(super) is_last: bool,
    /// How long it was at the last stop in order; closed: and no server of ours has been started since. The next start
    /// takes that back, durably, before the first write.
    pub(super) sealed: Option<(u64, bool)>,
}

impl<'c> Loader<'c> {
    pub(super) fn new(config: &'c Config, now_ms: u64) -> Loader<'c> {
        let (keyspace, report) = (Keyspace::new(config.databases), LoadReport::default());
        Loader { config, now_ms, keyspace, report, times: Times::until(config.recover_until), based: false }
    }

    /// Loads what `manifest` lists; `dir` is the append-only directory.
    pub(super) fn aof(&mut self, dir: &Path, manifest: &Manifest) -> Result<Option<Tail>, OpenError> {
        self.report.source = Source::Aof;
        let mut before = None;
        if let Some(base) = manifest.base() {
            before = self.base(&dir.join(&base.name), base, manifest)?;
        }
        let mut tail = None;
        let last = manifest.incrs().next_back().map(|f| f.seq);
        for f in manifest.incrs() {
            let path = dir.join(&f.name);
            if sabotaged!("incr-ignored") || self.times.stopped_at.is_some() {
                continue;
            }
            if sabotaged!("history-loaded") && !path.exists() {
                continue;
            }
            let bytes = self.read(&path)?;
            let named = manifest.sealed.as_ref().filter(|(name, _)| *name == f.name);
            let sealed = named.map(|(_, len)| (*len, manifest.closed));
            let part = Part { path: &path, bytes: &bytes, from: 0, is_last: last == Some(f.seq), sealed };
            let (good, chain, crc) = if f.chained {
                let scan = self.chained(&part, None)?;
                self.check_header(&part, &scan, f.seq, before)?;
                (scan.chain.len, Some(scan.chain), scan.chain.crc)
            } else if begins_chain(&bytes) {
                let (good, scan) = self.mixed(&part)?;
                self.check_header(&part, &scan, f.seq, before)?;
                // No batch of ours goes behind it: it is gone on with in a new file.
                (good, None, if good == scan.chain.len { scan.chain.crc } else { 0 })
            } else {
                (self.plain(&part)?.good, None, 0)
            };
            before = Some(Before { len: good, crc, loose: !f.chained });
            let rest = bytes.get(good as usize..).unwrap_or_default().to_vec();
            tail = Some(Tail { path, seq: f.seq, good, rest, chain });
        }
        self.check_times(tail.as_ref().map_or(dir, |t| &t.path))?;
        Ok(tail)
    }

    /// Loads a single file; `seal` is what a stop in order has said of it.
    pub(super) fn single(&mut self, path: &Path, seal: Option<&Seal>) -> Result<Tail, OpenError> {
        self.report.source = Source::Aof;
        let bytes = self.read(path)?;
        let (from, crc) = self.preamble(path, &bytes)?;
        let part = Part { path, bytes: &bytes, from, is_last: true, sealed: None };
        let tail = |good: u64, seq, chain| {
            let rest = bytes.get(good as usize..).unwrap_or_default().to_vec();
            Tail { path: path.to_owned(), seq, good, rest, chain }
        };
        let tail = if begins_chain(&bytes[from..]) {
            let scan = self.chained_single(&part, crc, seal)?;
            tail(scan.chain.len, scan.header.seq, Some(scan.chain))
        } else {
            let scan = self.plain(&part)?;
            let cut_short = OUR_LINES[1].starts_with(&bytes);
            if cut_short && (self.config.aof_checksum || !bytes.is_empty()) {
                return Err(corrupt(path, 0, cure::CUT_SHORT, Cure::Empty.text()));
            }
            if from > 0 && until::number_in(&bytes, b"aof-base") == Some(1) {
                return Err(corrupt(path, from as u64, cure::NO_CHAIN, RESTORE));
            }
            if let Some(at) = scan.chained_at {
                return Err(corrupt(
                    path,
                    at,
                    "a line of a checksum chain, whose first line is not there",
                    RESTORE,
                ));
            }
            if let Some(seal) = seal {
                let what =
                    format!("it has no checksums, and its seal says that it had, over {} bytes", seal.len);
                return Err(corrupt(path, from as u64, what, RESTORE));
            }
            if self.config.aof_checksum {
                let warning = format!("{}: written without checksums, and loaded without", path.display());
                self.report.warnings.push(warning);
            }
            tail(scan.good, 0, None)
        };
        self.check_times(path)?;
        Ok(tail)
    }

    fn chained_single(
        &mut self,
        part: &Part<'_>,
        preamble_crc: u64,
        seal: Option<&Seal>,
    ) -> Result<ChainScan, OpenError> {
        let scan = self.chained(part, seal)?;
        check_preamble(part, &scan, preamble_crc)?;
        if seal.is_some_and(|seal| seal.is_newer(&scan.chain)) {
            return Err(corrupt(part.path, part.from as u64, foreign::NOT_SEALED, RESTORE));
        }
        Ok(scan)
    }

    fn read(&mut self, path: &Path) -> Result<Content, OpenError> {
        self.report.files.push(path.to_owned());
        match mapping::read(path) {
            Ok(bytes) => Ok(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(corrupt(path, 0, cure::NOT_THERE, Cure::Missing.text()))
            }
            Err(e) => Err(e).at("read", path).map_err(OpenError::from),
        }
    }

    /// Reads the snapshot that a file begins with, if it does: its length and checksum.
    fn preamble(&mut self, path: &Path, bytes: &[u8]) -> Result<(usize, u64), OpenError> {
        if !bytes.starts_with(rdb::MAGIC) {
            return Ok((0, 0));
        }
        until::check_snapshot(path, bytes, self.times.until)?;
        let loaded = rdb::read_for(bytes, None, self.config.databases)
            .map_err(|e| corrupt(path, e.offset, e.what, Cure::Snapshot.text()))?;
        self.keyspace = loaded.keyspace;
        self.report.snapshot_keys = (loaded.keys, loaded.expired);
        self.based = true;
        self.skipped(path, &loaded.skipped);
        let len = usize::try_from(loaded.len).unwrap_or(usize::MAX).min(bytes.len());
        Ok((len, preamble_crc(&bytes[..len])))
    }

    /// The base. How it ends, where a header can say so: where it is a single file that was taken over.
    fn base(
        &mut self,
        path: &Path,
        entry: &FileEntry,
        manifest: &Manifest,
    ) -> Result<Option<Before>, OpenError> {
        let bytes = self.read(path)?;
        let (from, crc) = self.preamble(path, &bytes)?;
        let taken_over = entry.name == self.config.appendfilename;
        let part = Part { path, bytes: &bytes, from, is_last: false, sealed: None };
        if from > 0 && !foreign::is_tied(&bytes[..from], entry.tie) {
            return Err(corrupt(path, 0, foreign::NOT_TIED, RESTORE));
        }
        let chain_here = begins_chain(&bytes[from..]);
        if !entry.chained && chain_here && (from > 0 || foreign::was_single(&entry.name, entry.kind)) {
            let (len, scan) = self.mixed(&part)?;
            check_preamble(&part, &scan, crc)?;
            let crc = if len == scan.chain.len { scan.chain.crc } else { 0 };
            return Ok((taken_over && !manifest.foreign).then_some(Before { len, crc, loose: true }));
        }
        if taken_over && !manifest.foreign {
            let (len, crc) = if entry.chained {
                let scan = self.chained_single(&part, crc, None)?;
                (scan.chain.len, scan.chain.crc)
            } else {
                (self.plain(&part)?.good, 0)
            };
            return Ok(Some(Before { len, crc, loose: !entry.chained }));
        }
        if from > 0 {
            if from < bytes.len() {
                if !manifest.foreign {
                    return Err(corrupt(path, from as u64, "bytes follow the snapshot's end", RESTORE));
                }
                // A hybrid file that Redis took over from an older layout: commands follow.
                self.plain(&part)?;
            }
            return Ok(None);
        }
        if !manifest.foreign && entry.name.ends_with(".rdb") {
            // An empty file would else pass for one without commands.
            return Err(corrupt(path, 0, "it is listed as a snapshot and does not begin as one", RESTORE));
        }
        if !entry.chained && !chain_here {
            return self.plain(&part).map(|_| None);
        }
        let scan = self.scan(&part)?;
        let whole = scan.end_line == Some(bytes.len() as u64);
        if scan.header.seq != entry.seq || !whole || scan.chain.len != bytes.len() as u64 {
            return Err(corrupt(path, scan.chain.len, "the base's checksums do not fit its bytes", RESTORE));
        }
        Ok(None)
    }

    pub(super) fn scan(&mut self, part: &Part<'_>) -> Result<ChainScan, OpenError> {
        let Loader { keyspace, report, now_ms, times, .. } = self;
        let mut replayer = Replayer::default();
        let scanned = scan_chained(part.bytes, part.from, *times, &mut |argv| {
            report.commands += 1;
            replayer.apply(keyspace, argv, *now_ms)
        });
        let scan = scanned.map_err(|fault| scan_fault(part, &fault))?;
        *times = scan.times;
        Ok(scan)
    }

    fn check_header(
        &self,
        part: &Part<'_>,
        scan: &ChainScan,
        seq: u64,
        before: Option<Before>,
    ) -> Result<(), OpenError> {
        if scan.header.seq != seq {
            return Err(corrupt(part.path, 0, "it begins as another file of the chain", RESTORE));
        }
        let named = (scan.header.prev_len, scan.header.prev_crc);
        if let Some(before) = before
            && named != (before.len, before.crc)
            && !(before.loose && [(before.len, 0), (0, 0)].contains(&named))
        {
            let what = "the file before it does not end as this one's header says";
            return Err(corrupt(part.path, 0, what, RESTORE));
        }
        Ok(())
    }

    /// Reads a chained file, or a part of one: all of it is good, or its tail is one that a crash can leave.
    fn chained(&mut self, part: &Part<'_>, seal: Option<&Seal>) -> Result<ChainScan, OpenError> {
        let scan = self.scan(part)?;
        let (path, good) = (part.path, scan.chain.len);
        let seal = seal.filter(|s| s.speaks_of(&scan.chain)).map(|s| (s.len, s.closed));
        if let Some((sealed, closed)) = part.sealed.or(seal) {
            check_seal(part, good, sealed, closed)?;
        }
        if good < part.bytes.len() as u64 {
            if sabotaged!("torn-tail-refused") {
                return Err(corrupt(path, good, "the file does not end with a whole batch", RESTORE));
            }
            if sabotaged!("torn-tail-panics") {
                panic!("the file does not end with a whole batch");
            }
            while sabotaged!("torn-tail-loops") {
                std::hint::spin_loop();
            }
            if !part.is_last {
                return Err(corrupt(path, good, "a checksum fails in a file that was synced whole", RESTORE));
            }
            if let Some((at, mark)) = scan.proof {
                let what = format!(
                    "a checksum fails, and the annotation at offset {at} says that the first {mark} bytes had \
                     been synced: no crash does that, and cutting would lose acknowledged writes"
                );
                return Err(corrupt(path, good, what, RESTORE));
            }
            if !self.config.aof_load_truncated {
                let what = "the file ends with a torn batch, and aof-load-truncated is no";
                return Err(corrupt(path, good, what, FIX));
            }
        }
        Ok(scan)
    }

    /// Reads commands without checksums.
    pub(super) fn plain(&mut self, part: &Part<'_>) -> Result<PlainScan, OpenError> {
        let Loader { keyspace, report, now_ms, config, times, .. } = self;
        let path = part.path;
        let mut replayer = Replayer::default();
        let scanned = scan_plain(part.bytes, part.from, *times, &mut |argv| {
            report.commands += 1;
            replayer.apply(keyspace, argv, *now_ms)
        });
        let scan = scanned.map_err(|fault| scan_fault(part, &fault))?;
        *times = scan.times;
        match scan.stop {
            None => Ok(scan),
            Some(RespError::Truncated) if part.is_last && config.aof_load_truncated => Ok(scan),
            Some(RespError::Truncated) => {
                Err(corrupt(path, scan.good, "the file ends inside a command", FIX))
            }
            Some(RespError::Malformed) => {
                let zeros = part.bytes[scan.good as usize..].iter().all(|b| *b == 0);
                let what = if zeros { "nothing but zeros follows" } else { "no command begins there" };
                Err(corrupt(path, scan.good, what, FIX))
            }
        }
    }

    /// What has no times cannot be loaded up to one.
    fn check_times(&mut self, path: &Path) -> Result<(), OpenError> {
        until::check_log(path, &self.times, self.report.commands, self.based)
    }

    /// Loads the snapshot, if there is one.
    pub(super) fn snapshot(&mut self, path: &Path) -> Result<(), OpenError> {
        let Some(found) = super::disk::current(path)? else { return Ok(()) };
        let bytes = self.read(&found)?;
        let loaded = rdb::read_for(&bytes, Some(self.now_ms), self.config.databases).map_err(|e| {
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

/// What a single file held when it got its name is whole.
fn check_preamble(part: &Part<'_>, scan: &ChainScan, preamble_crc: u64) -> Result<(), OpenError> {
    if (scan.header.prev_len, scan.header.prev_crc) != (part.from as u64, preamble_crc) {
        let what = "the snapshot before it is not the one that its first line names";
        return Err(corrupt(part.path, part.from as u64, what, RESTORE));
    }
    if scan.end_line.is_none() {
        return Err(corrupt(part.path, scan.chain.len, SINGLE_DAMAGED, RESTORE));
    }
    Ok(())
}

/// Whether the bytes begin a checksum chain.
pub(super) fn begins_chain(bytes: &[u8]) -> bool {
    bytes.starts_with(OUR_LINES[1])
}

/// The checksum that a snapshot ends with.
pub(super) fn preamble_crc(preamble: &[u8]) -> u64 {
    preamble.last_chunk().map_or(0, |sum| u64::from_le_bytes(*sum))
}

fn scan_fault(part: &Part<'_>, fault: &ScanFault<ReplayError>) -> OpenError {
    let (at, what, cure) = cure::of_fault(part.path, part.bytes, part.from, part.is_last, fault);
    corrupt(part.path, at, what, cure.text())
}
