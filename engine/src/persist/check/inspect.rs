//! Looking at a file, and at all files that a manifest lists. Nothing here changes the disk.

use crate::aof::{
    Chain, FileEntry, FileKind, Manifest, OUR_LINES, RespError, ScanFault, Seal, Times, scan_chained,
    scan_plain,
};
use crate::command::{ReplayError, Replayer};
use crate::keyspace::Keyspace;
use crate::persist::cure::{self, Cure};
use crate::persist::error::{At, FileError};
use crate::persist::foreign::{NOT_SEALED, NOT_TIED, behind_seal, is_tied, not_foreign, was_single};
use crate::persist::load::{begins_chain, preamble_crc};
use crate::persist::until::number_in;
use crate::{clock, rdb};
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
    pub(super) cure: Cure,
}

/// What the files hold, as far as they were looked at.
pub(super) struct Scratch {
    keyspace: Keyspace,
    /// `false` once it is not what the next file goes on from: commands are then only read.
    pub(super) whole: bool,
    now_ms: u64,
}

impl Scratch {
    /// To begin with the first file, or (`whole` is false) with one of which nothing else is known.
    pub(super) fn new(whole: bool, databases: usize) -> Scratch {
        Scratch { keyspace: Keyspace::new(databases), whole, now_ms: clock::now_ms() }
    }

    fn apply(&mut self, replayer: &mut Replayer, argv: &[&[u8]]) -> Result<(), ReplayError> {
        match replayer.apply(&mut self.keyspace, argv, self.now_ms) {
            // Without the files before it, it cannot be known what a command meets.
            Err(ReplayError::Refused { command, .. })
                if !self.whole && !command.eq_ignore_ascii_case("select") =>
            {
                Ok(())
            }
            other => other,
        }
    }
}

/// What is known of a file from elsewhere.
#[derive(Clone, Copy)]
pub(super) struct As {
    pub(super) role: Role,
    /// Whether a manifest says that it has a chain.
    pub(super) chained: Option<bool>,
    pub(super) until: Option<u64>,
    /// The server is one that writes no checksums: an empty file is a good one.
    pub(super) plain: bool,
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
    /// The manifest does not say that it is chained.
    pub(super) loose: bool,
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

fn problem(offset: u64, what: impl Into<String>, cure: Cure) -> Problem {
    Problem { offset, what: what.into(), cure }
}

/// Looks at one file.
pub(super) fn look(path: &Path, known: As, scratch: &mut Scratch) -> Result<Checked, FileError> {
    let mut checked = Checked {
        path: path.to_owned(),
        bytes: Vec::new(),
        role: known.role,
        preamble: 0,
        chain: None,
        header: None,
        good: 0,
        commands: 0,
        times: Times::until(known.until),
        problem: None,
        loose: false,
    };
    let bytes = match fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && known.chained.is_some() => {
            checked.problem = Some(problem(0, cure::NOT_THERE, Cure::Missing));
            return Ok(checked);
        }
        other => other.at("read", path)?,
    };
    let mut crc = 0;
    if bytes.starts_with(rdb::MAGIC) {
        match rdb::read_for(&bytes, None, scratch.keyspace.dbs.len()) {
            Ok(loaded) => {
                checked.preamble = usize::try_from(loaded.len).unwrap_or(usize::MAX).min(bytes.len());
                crc = preamble_crc(&bytes[..checked.preamble]);
                scratch.keyspace = loaded.keyspace;
            }
            Err(e) => {
                let what = format!("the snapshot: {}", e.what);
                checked.problem = Some(problem(e.offset, what, Cure::Snapshot));
            }
        }
    }
    checked.bytes = bytes;
    if checked.problem.is_none() {
        let here = begins_chain(&checked.bytes[checked.preamble..]);
        if known.chained == Some(true) || here {
            checked.look_chained(crc, scratch);
        } else {
            checked.look_plain(known, scratch);
        }
    }
    Ok(checked)
}

impl Checked {
    fn look_plain(&mut self, known: As, scratch: &mut Scratch) {
        let mut replayer = Replayer::default();
        let apply = &mut |argv: &[&[u8]]| scratch.apply(&mut replayer, argv);
        let scan = match scan_plain(&self.bytes, self.preamble, self.times, apply) {
            Ok(scan) => scan,
            Err(fault) => return self.faulty(&fault),
        };
        (self.good, self.commands, self.times) = (scan.good, scan.commands, scan.times);
        let (size, from) = (self.bytes.len() as u64, self.preamble as u64);
        // A file that no manifest speaks of may have lost its chain.
        let alone = self.role == Role::Single && known.chained.is_none();
        let cut_short = OUR_LINES[1].starts_with(&self.bytes) && !(known.plain && self.bytes.is_empty());
        let torn = |what: &str| Some(problem(scan.good, what, Cure::Torn));
        self.problem = match scan.stop {
            _ if alone && cut_short => Some(problem(0, cure::CUT_SHORT, Cure::Empty)),
            _ if alone && from > 0 && number_in(&self.bytes, b"aof-base") == Some(1) => {
                Some(problem(from, cure::NO_CHAIN, Cure::Restore))
            }
            _ if alone && scan.chained_at.is_some() => {
                let what = "a line of a checksum chain, whose first line is not there";
                Some(problem(scan.chained_at.unwrap_or(0), what, Cure::Restore))
            }
            Some(RespError::Truncated) => torn("the file ends inside a command"),
            Some(RespError::Malformed) if self.bytes[self.good as usize..].iter().all(|b| *b == 0) => {
                torn("nothing but zeros follows")
            }
            Some(RespError::Malformed) => Some(problem(self.good, "no command begins there", Cure::Damaged)),
            None if self.good < size => torn("an open MULTI"),
            None => None,
        };
    }

    fn look_chained(&mut self, preamble_crc: u64, scratch: &mut Scratch) {
        let mut replayer = Replayer::default();
        let apply = &mut |argv: &[&[u8]]| scratch.apply(&mut replayer, argv);
        let scan = match scan_chained(&self.bytes, self.preamble, self.times, apply) {
            Ok(scan) => scan,
            Err(fault) => return self.faulty(&fault),
        };
        (self.good, self.commands, self.times) = (scan.chain.len, scan.commands, scan.times);
        (self.chain, self.header) = (Some(scan.chain), Some(scan.header));
        let size = self.bytes.len() as u64;
        let names = (scan.header.prev_len, scan.header.prev_crc);
        let single = self.role == Role::Single && !cure::of_several(&self.path);
        let ends = match self.role {
            Role::Base => scan.end_line == Some(size),
            Role::Single if single => scan.end_line.is_some(),
            _ => true,
        };
        self.problem = if self.preamble > 0 && names != (self.preamble as u64, preamble_crc) {
            let what = "the snapshot is not the one that the chain's first line names";
            Some(problem(self.preamble as u64, what, Cure::Restore))
        } else if !ends {
            let what = "a checksum fails in what was synced before the file got its name";
            Some(problem(self.good, what, Cure::Restore))
        } else if self.good == size {
            None
        } else if let Some((at, mark)) = scan.proof {
            let what = format!(
                "a checksum fails, and the annotation at offset {at} says that the first {mark} bytes had been synced"
            );
            Some(problem(self.good, what, Cure::Damaged))
        } else {
            Some(problem(self.good, "the file does not end with a whole batch", Cure::Torn))
        };
    }

    /// A walk stopped for good: what is in front of that is good.
    fn faulty(&mut self, fault: &ScanFault<ReplayError>) {
        let cuttable = self.role != Role::Base;
        let (at, what, cure) = cure::of_fault(&self.path, &self.bytes, self.preamble, cuttable, fault);
        let head = self.bytes.get(..at as usize).unwrap_or_default();
        let skip = &mut |_: &[&[u8]]| Ok::<(), ()>(());
        if let Ok(scan) = scan_chained(head, self.preamble, self.times, skip) {
            (self.chain, self.header, self.commands) = (Some(scan.chain), Some(scan.header), scan.commands);
        } else if let Ok(scan) = scan_plain(head, self.preamble, self.times, skip) {
            self.commands = scan.commands;
        }
        self.good = at;
        self.problem = Some(problem(at, what, cure));
    }

    /// The manifest does not say that it has a chain: where it has one, Redis's commands may follow.
    fn look_behind_chain(&mut self, known: As, scratch: &mut Scratch) {
        self.loose = true;
        let Some(chain) = self.chain.filter(|c| c.len < self.bytes.len() as u64) else { return };
        if !self.problem.as_ref().is_some_and(|p| p.cure.cuts()) {
            return;
        }
        let (good, commands, preamble) = (self.good, self.commands, self.preamble);
        let foreign = |what| problem(good, what, Cure::Restore);
        if let Some(what) = not_foreign(&self.bytes, &chain, None) {
            return self.problem = Some(foreign(what));
        }
        self.preamble = good as usize;
        self.look_plain(known, scratch);
        self.preamble = preamble;
        self.commands += commands;
        let scanned = scan_plain(&self.bytes, good as usize, Times::default(), &mut |_| Ok::<(), ()>(()));
        let line = scanned.ok().and_then(|scan| scan.chained_at);
        if let Some(what) = line.and_then(|at| not_foreign(&self.bytes, &chain, Some(at))) {
            self.problem = Some(foreign(what));
        }
        // What is good ends with Redis's bytes.
        self.chain = None;
    }

    /// Whether a single file that has a seal beside it is what that says.
    pub(super) fn check_own_seal(&mut self, seal: &Seal) {
        let newer = self.chain.is_some_and(|chain| seal.is_newer(&chain));
        if !newer {
            self.check_seal(seal.len, seal.closed);
        } else if self.problem.is_none() {
            self.problem = Some(problem(self.preamble as u64, NOT_SEALED, Cure::Restore));
        }
    }

    /// The file was whole at a stop in order; whether it still is.
    pub(super) fn check_seal(&mut self, sealed: u64, closed: bool) {
        if closed && self.good == sealed && self.bytes.len() as u64 > sealed {
            let what = behind_seal(&self.bytes[sealed as usize..]);
            return self.problem = Some(problem(self.good, what, Cure::Damaged));
        }
        let cure = self.problem.as_ref().map(|p| p.cure);
        if self.good >= sealed
            || cure.is_some_and(|cure| !cure.cuts() && cure != Cure::Restore || cure == Cure::Unfit)
        {
            return;
        }
        let what = format!("{sealed} bytes were good when the server stopped in order");
        let cure = if cure.is_none_or(Cure::cuts) { Cure::Damaged } else { Cure::Restore };
        self.problem = Some(problem(self.good, what, cure));
    }
}

/// The manifest that may list the file.
pub(super) fn manifest_of(file: &Path) -> Option<PathBuf> {
    let (prefix, _, _) = cure::parse_name_any(file)?;
    let path = file.with_file_name(format!("{prefix}.manifest"));
    path.exists().then_some(path)
}

/// The seal of a single file, unless it speaks of one before it: `Err` if it is damaged.
pub(super) fn seal_of(file: &Checked) -> Result<Option<Seal>, PathBuf> {
    let mut path = file.path.clone().into_os_string();
    path.push(".seal");
    let path = PathBuf::from(path);
    let Ok(bytes) = fs::read(&path) else { return Ok(None) };
    let Some(seal) = Seal::parse(&bytes) else { return Err(path) };
    let of_another = file.chain.is_some_and(|chain| !seal.speaks_of(&chain) && !seal.is_newer(&chain));
    Ok((!of_another).then_some(seal))
}

/// All files of a manifest, each with what is wrong with it.
pub(super) fn look_all(
    dir: &Path,
    manifest: &Manifest,
    until: Option<u64>,
    databases: usize,
) -> Result<Vec<Checked>, FileError> {
    let mut all: Vec<Checked> = Vec::new();
    let mut scratch = Scratch::new(true, databases);
    let listed = manifest.base().into_iter().chain(manifest.incrs());
    for f in listed.filter(|f| f.kind != FileKind::History) {
        let taken_over = was_single(&f.name, f.kind);
        let role = match f.kind {
            FileKind::Base if !taken_over => Role::Base,
            FileKind::Base => Role::Single,
            _ => Role::Incr,
        };
        let known = As { role, chained: Some(!manifest.foreign && f.chained), until, plain: true };
        let mut checked = look(&dir.join(&f.name), known, &mut scratch)?;
        if !f.chained && role != Role::Base {
            checked.look_behind_chain(known, &mut scratch);
        }
        if !is_tied(&checked.bytes, f.tie) && checked.problem.is_none() {
            checked.problem = Some(problem(0, NOT_TIED, Cure::Restore));
        }
        if checked.problem.is_none() {
            checked.problem = belongs(f, &checked, manifest.foreign, all.last());
        }
        if let Some((_, len)) = manifest.sealed.as_ref().filter(|(name, _)| *name == f.name) {
            checked.check_seal(*len, manifest.closed);
        }
        scratch.whole &= checked.problem.is_none();
        all.push(checked);
    }
    // What a crash can leave, it can leave only of the last one.
    let last = all.len().saturating_sub(1);
    for (n, checked) in all.iter_mut().enumerate() {
        if let Some(problem) = checked.problem.as_mut().filter(|_| n < last || checked.role == Role::Base) {
            problem.cure = problem.cure.uncut();
        }
    }
    Ok(all)
}

/// Whether a file that is good by itself is the one that belongs there, behind `before`.
fn belongs(f: &FileEntry, file: &Checked, foreign: bool, before: Option<&Checked>) -> Option<Problem> {
    let wrong = |at, what: &str| Some(problem(at, what, Cure::Restore));
    if file.role == Role::Base && !foreign {
        if file.preamble > 0 && file.preamble < file.bytes.len() {
            return wrong(file.preamble as u64, "bytes follow the snapshot's end");
        }
        if file.preamble == 0 && f.name.ends_with(".rdb") {
            return wrong(0, "it is listed as a snapshot and does not begin as one");
        }
    }
    let header = file.header.filter(|_| file.role != Role::Single)?;
    if header.seq != f.seq {
        return wrong(0, "it begins as another file of the chain");
    }
    let before = before.filter(|b| b.role != Role::Base && file.role == Role::Incr)?;
    let ends = (before.good, before.chain.map_or(0, |c| c.crc));
    let named = (header.prev_len, header.prev_crc);
    if ends == named || before.loose && [(ends.0, 0), (0, 0)].contains(&named) {
        return None;
    }
    wrong(0, "the file before it does not end as this one's header says")
}
