//! Looking at a file, and at all files that a manifest lists. Nothing here changes the disk.

use crate::aof::{
    Chain, FileKind, Manifest, OUR_LINES, RespError, ScanFault, Seal, Times, scan_chained, scan_plain,
};
use crate::persist::error::{At, FileError};
use crate::persist::load::{begins_chain, preamble_crc};
use crate::persist::log::parse_name;
use crate::rdb;
use std::fs;
use std::path::{Path, PathBuf};

/// What a file is to its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Base,
    Incr,
    /// A file that is all there is, or one of which nothing is known.
    Single,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) offset: u64,
    pub(super) what: String,
    /// Cutting the file there makes a good file of it.
    pub(super) fixable: bool,
    /// More than what a crash takes would go with that.
    pub(super) loses: bool,
}

/// A file that was looked at.
pub(super) struct Checked {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) role: Role,
    /// Length of the snapshot at its beginning.
    pub(super) preamble: usize,
    /// Where its chain stands at `good`, if it has one.
    pub(super) chain: Option<Chain>,
    /// Number, and what it says of the file before, if it has a chain.
    pub(super) header: Option<crate::aof::Header>,
    pub(super) good: u64,
    pub(super) commands: u64,
    pub(super) times: Times,
    pub(super) problem: Option<Problem>,
}

impl Checked {
    /// What it is, as it is told.
    pub(super) fn kind(&self) -> &'static str {
        match (self.preamble > 0, self.chain.is_some(), self.preamble == self.bytes.len()) {
            (true, false, true) => "RDB format",
            (true, false, false) => "RDB and RESP format",
            (true, true, _) => "RDB and RESP format, chained",
            (false, true, _) => "RESP format, chained",
            (false, false, _) => "RESP format",
        }
    }
}

fn problem(offset: u64, what: impl Into<String>) -> Problem {
    Problem { offset, what: what.into(), fixable: false, loses: false }
}

/// Looks at one file. `chained`: whether the manifest says that it has a chain, where there is one.
pub(super) fn look(
    path: &Path,
    role: Role,
    chained: Option<bool>,
    until: Option<u64>,
) -> Result<Checked, FileError> {
    let bytes = fs::read(path).at("read", path)?;
    let mut checked = Checked {
        path: path.to_owned(),
        bytes: Vec::new(),
        role,
        preamble: 0,
        chain: None,
        header: None,
        good: 0,
        commands: 0,
        times: Times::until(until),
        problem: None,
    };
    let mut crc = 0;
    if bytes.starts_with(rdb::MAGIC) {
        match rdb::read(&bytes, None) {
            Ok(loaded) => {
                checked.preamble = usize::try_from(loaded.len).unwrap_or(usize::MAX).min(bytes.len());
                crc = preamble_crc(&bytes[..checked.preamble]);
            }
            Err(e) => checked.problem = Some(problem(e.offset, format!("the snapshot: {}", e.what))),
        }
    }
    checked.bytes = bytes;
    if checked.problem.is_none() {
        let here = begins_chain(&checked.bytes[checked.preamble..]);
        if chained.unwrap_or(here) {
            checked.look_chained(crc);
        } else {
            checked.look_plain();
        }
    }
    Ok(checked)
}

impl Checked {
    fn look_plain(&mut self) {
        let scanned = scan_plain(&self.bytes, self.preamble, self.times, &mut |_| Ok::<(), ()>(()));
        let scan = match scanned {
            Ok(scan) => scan,
            Err(fault) => return self.problem = Some(fault_problem(&fault)),
        };
        (self.good, self.commands, self.times) = (scan.good, scan.commands, scan.times);
        let size = self.bytes.len() as u64;
        let ours = |bytes: &[u8]| !bytes.is_empty() && OUR_LINES[1].starts_with(bytes);
        self.problem = match scan.stop {
            // A header that is damaged, of a file that no manifest speaks of.
            _ if self.role == Role::Single && (scan.chained_at.is_some() || ours(&self.bytes)) => {
                let at = scan.chained_at.unwrap_or(0);
                Some(problem(at, "a line of a checksum chain, whose first line is not there"))
            }
            Some(RespError::Truncated) => {
                Some(Problem { fixable: true, ..problem(self.good, "the file ends inside a command") })
            }
            Some(RespError::Malformed) => {
                let zeros = self.bytes[self.good as usize..].iter().all(|b| *b == 0);
                let what = if zeros { "nothing but zeros follows" } else { "no command begins there" };
                Some(Problem { fixable: true, loses: !zeros, ..problem(self.good, what) })
            }
            None if self.good < size => {
                Some(Problem { fixable: true, ..problem(self.good, "an open MULTI") })
            }
            None => None,
        };
    }

    fn look_chained(&mut self, preamble_crc: u64) {
        let scanned = scan_chained(&self.bytes, self.preamble, self.times, &mut |_| Ok::<(), ()>(()));
        let scan = match scanned {
            Ok(scan) => scan,
            Err(fault) => return self.problem = Some(fault_problem(&fault)),
        };
        (self.good, self.commands, self.times) = (scan.chain.len, scan.commands, scan.times);
        (self.chain, self.header) = (Some(scan.chain), Some(scan.header));
        let size = self.bytes.len() as u64;
        let names = (scan.header.prev_len, scan.header.prev_crc);
        let single = self.role == Role::Single && parse_name_any(&self.path).is_none();
        let ends = match self.role {
            Role::Base => scan.end_line == Some(size),
            Role::Single if single => scan.end_line.is_some(),
            _ => true,
        };
        self.problem = if self.preamble > 0 && names != (self.preamble as u64, preamble_crc) {
            Some(problem(
                self.preamble as u64,
                "the snapshot is not the one that the chain's first line names",
            ))
        } else if !ends {
            Some(problem(self.good, "a checksum fails in what was synced before the file got its name"))
        } else if self.good == size {
            None
        } else if let Some((at, mark)) = scan.proof {
            let what = format!(
                "a checksum fails, and the annotation at offset {at} says that the first {mark} bytes had been synced"
            );
            Some(Problem { fixable: true, loses: true, ..problem(self.good, what) })
        } else {
            Some(Problem { fixable: true, ..problem(self.good, "the file does not end with a whole batch") })
        };
    }

    /// The file was whole at a stop in order; whether it still is.
    pub(super) fn check_seal(&mut self, sealed: u64) {
        if self.good < sealed {
            let what = format!("{sealed} bytes were good when the server stopped in order");
            let fixable = self.problem.as_ref().is_none_or(|p| p.fixable);
            self.problem = Some(Problem { fixable, loses: true, ..problem(self.good, what) });
        }
    }
}

fn fault_problem(fault: &ScanFault<()>) -> Problem {
    match fault {
        ScanFault::NoHeader => problem(0, "its first line, synced before the file was listed, is damaged"),
        ScanFault::Apply(at, ()) => problem(*at, "a command there cannot be applied"),
        ScanFault::Brackets(at) => problem(*at, "MULTI and EXEC do not pair"),
    }
}

/// Whether a path is that of a file of a directory of files: prefix, number, and whether it is an incr file.
pub(super) fn parse_name_any(path: &Path) -> Option<(String, u64, bool)> {
    let name = path.file_name()?.to_str()?;
    let stem = name.rsplit_once('.')?.0.rsplit_once('.')?.0;
    let prefix = stem.rsplit_once('.')?.0;
    let (seq, incr) = parse_name(prefix, name)?;
    Some((prefix.to_owned(), seq, incr))
}

/// The manifest that may list the file.
pub(super) fn manifest_of(file: &Path) -> Option<PathBuf> {
    let (prefix, _, _) = parse_name_any(file)?;
    let path = file.with_file_name(format!("{prefix}.manifest"));
    path.exists().then_some(path)
}

/// The seal of a single file, if it speaks of this very one: `Err` if it is damaged.
pub(super) fn seal_of(file: &Checked) -> Result<Option<Seal>, PathBuf> {
    let mut path = file.path.clone().into_os_string();
    path.push(".seal");
    let path = PathBuf::from(path);
    let Ok(bytes) = fs::read(&path) else { return Ok(None) };
    let Some(seal) = Seal::parse(&bytes) else { return Err(path) };
    let same = file.chain.is_some_and(|c| (c.seq, c.key()) == (seal.seq, seal.key));
    Ok((same || file.chain.is_none()).then_some(seal))
}

/// All files of a manifest, each with what is wrong with it.
pub(super) fn look_all(
    dir: &Path,
    manifest: &Manifest,
    until: Option<u64>,
) -> Result<Vec<Checked>, FileError> {
    let mut all: Vec<Checked> = Vec::new();
    let listed = manifest.base().into_iter().chain(manifest.incrs());
    for f in listed.filter(|f| f.kind != FileKind::History) {
        let taken_over =
            f.kind == FileKind::Base && !f.name.ends_with(".base.aof") && !f.name.ends_with(".rdb");
        let role = match f.kind {
            FileKind::Base if !taken_over => Role::Base,
            FileKind::Base => Role::Single,
            _ => Role::Incr,
        };
        let chained = (!manifest.foreign).then_some(f.chained).or(Some(false));
        let mut checked = look(&dir.join(&f.name), role, chained, until)?;
        if let (Some(header), None) = (checked.header, &checked.problem)
            && role != Role::Base
            && !taken_over
        {
            let before = all.last().filter(|b| b.role != Role::Base);
            let ends = before.map(|b| (b.good, b.chain.map_or(0, |c| c.crc)));
            if header.seq != f.seq {
                checked.problem = Some(problem(0, "it begins as another file of the chain"));
            } else if ends.is_some_and(|ends| ends != (header.prev_len, header.prev_crc)) {
                checked.problem =
                    Some(problem(0, "the file before it does not end as this one's header says"));
            }
        }
        if let Some((_, len)) = manifest.sealed.as_ref().filter(|(name, _)| *name == f.name) {
            checked.check_seal(*len);
        }
        all.push(checked);
    }
    // What a crash can leave, it can leave only of the last one.
    let last = all.len().saturating_sub(1);
    for checked in &mut all[..last] {
        if let Some(problem) = &mut checked.problem {
            problem.fixable = false;
        }
    }
    if let Some(Problem { fixable, .. }) =
        all.last_mut().filter(|c| c.role == Role::Base).and_then(|c| c.problem.as_mut())
    {
        *fixable = false;
    }
    Ok(all)
}
