//! Renewing the checksum chain over bytes that were changed by hand, or that never had one.

use super::fix::{NotFixed, replace};
use super::inspect::{Checked, Problem, Role};
use crate::aof::{Chain, END_LINE, FileEntry, FileKind, Header, Item, Manifest, OUR_LINES, Seal, next_item};
use crate::persist::disk::{self, ReplaceError};
use crate::persist::error::FileError;
use crate::persist::files::put_manifest_at;
use crate::persist::foreign;
use crate::persist::load::preamble_crc;
use crate::persist::log::{base_name, incr_name};
use crate::persist::open::next_numbers;
use crate::persist::until::keep_aside;
use std::path::{Path, PathBuf};

/// Commands are signed in batches of this size, where nothing else ends one.
const BATCH: usize = 64 << 10;

/// What was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) commands: u64,
    /// Commands of batches whose checksum does not fit, or that have none.
    pub(super) unverified: u64,
    /// Bytes that are no whole command.
    pub(super) left_out: u64,
    /// Where the checksums of a file stop fitting, one line for each file.
    pub(super) gaps: Vec<String>,
}

/// A file with a new chain.
struct Signed {
    bytes: Vec<u8>,
    chain: Chain,
    accepted: Accepted,
}

/// How bytes are to be signed.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// What follows the last whole command is left out; else it is refused.
    pub(super) torn_ends: bool,
    /// Files before this one stay as they are.
    pub(super) from: usize,
}

/// Signs what stands behind the preamble as file `header.seq`. With `keep_preamble` it stays in front.
fn sign(
    file: &Checked,
    header: Header,
    keep_preamble: bool,
    end_line: bool,
    how: How,
) -> Result<Signed, NotFixed> {
    let refuse = |at: usize, what: &str| {
        let path = file.path.display();
        NotFixed::Refused(format!("{path}: at offset {at}: {what}; --resign --fix leaves out what follows"))
    };
    let bytes = &file.bytes;
    let mut out = if keep_preamble { bytes[..file.preamble].to_vec() } else { Vec::new() };
    let mut chain = Chain::behind(&header, out.len() as u64);
    let mut batch = header.line();
    let mut accepted = Accepted::default();
    let mut end = |batch: &mut Vec<u8>, chain: &mut Chain| {
        // Everything is synced before the file gets its name: what a mark would say, the seal says.
        let crc = chain.seal(batch, 0);
        chain.accept(batch.len() as u64, crc);
        out.append(batch);
    };
    end(&mut batch, &mut chain);
    let (mut at, mut args) = (file.preamble, Vec::new());
    // Where an open MULTI begins: in the file, and in the batch.
    let mut open: Option<(usize, usize, u64)> = None;
    while at < bytes.len() {
        args.clear();
        let Ok(parsed) = next_item(bytes, at, &mut args) else {
            if how.torn_ends {
                break;
            }
            return Err(refuse(at, "no whole command begins there"));
        };
        let item = &bytes[at..parsed.end];
        match parsed.item {
            Item::Line if OUR_LINES.iter().any(|ours| item.starts_with(ours)) => {}
            Item::Line => batch.extend_from_slice(item),
            Item::Command => {
                let is = |name: &[u8]| matches!(&args[..], [only] if only.eq_ignore_ascii_case(name));
                match (is(b"MULTI"), is(b"EXEC"), open) {
                    (true, _, None) => open = Some((at, batch.len(), accepted.commands)),
                    (_, true, Some(_)) => open = None,
                    (false, false, _) => {}
                    _ => return Err(refuse(at, "MULTI and EXEC do not pair")),
                }
                accepted.commands += 1;
                batch.extend_from_slice(item);
            }
        }
        at = parsed.end;
        if batch.len() >= BATCH && open.is_none() {
            end(&mut batch, &mut chain);
        }
    }
    if let Some((from, len, commands)) = open {
        if !how.torn_ends {
            return Err(refuse(from, "a MULTI has no EXEC"));
        }
        (at, accepted.commands) = (from, commands);
        batch.truncate(len);
    }
    if !batch.is_empty() {
        end(&mut batch, &mut chain);
    }
    if end_line {
        batch.extend_from_slice(END_LINE);
        end(&mut batch, &mut chain);
    }
    let verified = if file.chain.is_some() { file.commands } else { 0 };
    accepted.unverified = accepted.commands.saturating_sub(verified);
    accepted.left_out = (bytes.len() - at) as u64;
    accepted.gaps.extend(gap(file, at));
    Ok(Signed { bytes: out, chain, accepted })
}

/// Where the checksums of the file stop fitting, as far as `end`: what is accepted is everything from there on.
fn gap(file: &Checked, end: usize) -> Option<String> {
    let from = file.chain.map_or(file.preamble, |chain| chain.len as usize);
    let (mut at, mut args) = (from, Vec::new());
    let (mut first, mut annotations, mut commands) = (None, 0u64, 0u64);
    while at < end {
        args.clear();
        let Ok(parsed) = next_item(&file.bytes, at, &mut args) else { break };
        match parsed.item {
            Item::Command => commands += 1,
            Item::Line if file.bytes[at..].starts_with(OUR_LINES[0]) => {
                first.get_or_insert(at);
                annotations += 1;
            }
            Item::Line => {}
        }
        at = parsed.end;
    }
    let path = file.path.display();
    if from >= end {
        return None;
    }
    Some(match first {
        Some(first) => format!(
            "{path}: the annotation at offset {first} does not fit the bytes from offset {from} to it; with it, \
             {annotations} annotations and {commands} commands in front of them or between them"
        ),
        None => {
            format!("{path}: {commands} commands from offset {from} on, behind which no annotation stands")
        }
    })
}

fn seal_path(path: &Path) -> PathBuf {
    let mut seal = path.to_owned().into_os_string();
    seal.push(".seal");
    PathBuf::from(seal)
}

fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Signing helps only where the bytes can be read and their commands be executed.
fn may_sign(file: &Checked) -> Result<(), NotFixed> {
    match &file.problem {
        Some(Problem { offset, what, cure }) if !cure.signs() => Err(NotFixed::Refused(format!(
            "{}: at offset {offset}: {what}. Signing does not change that. {}",
            file.path.display(),
            cure.text()
        ))),
        _ => Ok(()),
    }
}

/// Renews the chain of a single file, and its seal.
pub(super) fn single(file: &Checked, how: How) -> Result<(Accepted, PathBuf), NotFixed> {
    let dir = dir_of(&file.path);
    may_sign(file)?;
    let seq = file.header.map_or(0, |h| h.seq).max(seal_seq(&file.path)) + 1;
    let prev_crc = preamble_crc(&file.bytes[..file.preamble]);
    let header = Header { seq, prev_len: file.preamble as u64, prev_crc };
    let signed = sign(file, header, true, true, how)?;
    let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kept = keep_aside(dir, &name, "resign", std::slice::from_ref(&file.path))?;
    let seal_path = seal_path(&file.path);
    disk::remove_replaced(dir, &seal_path)?;
    replace(&file.path, &signed.bytes)?;
    let seal = Seal { len: signed.chain.len, seq, key: signed.chain.key(), closed: true };
    replace(&seal_path, seal.encode().as_bytes())?;
    Ok((signed.accepted, kept))
}

fn seal_seq(path: &Path) -> u64 {
    std::fs::read(seal_path(path)).ok().and_then(|bytes| Seal::parse(&bytes)).map_or(0, |s| s.seq)
}

/// Renews the chain through the files of a manifest: each gets a new number, and the manifest lists them all at once.
pub(super) fn all(
    path: &Path,
    prefix: &str,
    manifest: &Manifest,
    files: &[Checked],
    how: How,
) -> Result<(Accepted, PathBuf), NotFixed> {
    let dir = dir_of(path);
    files.iter().try_for_each(may_sign)?;
    let mut new = New {
        prefix,
        dir,
        next: next_numbers(prefix, &disk::names(dir)?),
        listed: Vec::new(),
        written: Vec::new(),
        before: (0, 0),
        total: Accepted::default(),
    };
    for (n, file) in files.iter().enumerate() {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let old = manifest.files.iter().find(|f| f.name == name).cloned();
        let old = old.ok_or_else(|| NotFixed::Refused(format!("{name} is not listed")))?;
        let base = file.role != Role::Incr;
        let snapshot_only = file.preamble > 0 && file.preamble == file.bytes.len();
        if n < how.from || base && snapshot_only {
            // A snapshot has a checksum of its own.
            new.before = (file.good, file.chain.map_or(0, |c| c.crc));
            let tie = if base { foreign::tie(&file.path)? } else { None };
            new.listed.push(FileEntry { tie, ..old });
        } else if base && file.preamble > 0 {
            // A hybrid file: its snapshot becomes the base, and its commands the first incr file.
            new.put(FileKind::Base, true, file.bytes[..file.preamble].to_vec());
            new.sign(file, false, how)?;
        } else {
            new.sign(file, base, how)?;
        }
    }
    let sealed = new.written.last().map(|(path, bytes)| (path.clone(), bytes.len() as u64));
    let sealed = sealed.and_then(|(p, len)| Some((p.file_name()?.to_string_lossy().into_owned(), len)));
    let mut originals = vec![path.to_owned()];
    originals.extend(files.iter().map(|f| f.path.clone()));
    let kept = keep_aside(dir, prefix, "resign", &originals)?;
    foreign::set_aside(dir, prefix, manifest).map_err(|e| NotFixed::Refused(e.to_string()))?;
    for (path, bytes) in &new.written {
        disk::write_synced(path, |out| out.write_all(bytes))?;
    }
    let renewed = Manifest { files: new.listed, foreign: false, sealed, closed: true };
    put_manifest_at(path, &renewed).map_err(ReplaceError::into_inner)?;
    remove_old(dir, manifest, &renewed)?;
    Ok((new.total, kept))
}

/// The files of the new manifest.
struct New<'p> {
    prefix: &'p str,
    dir: &'p Path,
    /// Numbers that no file has: of a base, of an incr file.
    next: (u64, u64),
    listed: Vec<FileEntry>,
    written: Vec<(PathBuf, Vec<u8>)>,
    /// How the last incr file ends.
    before: (u64, u64),
    total: Accepted,
}

impl New<'_> {
    fn put(&mut self, kind: FileKind, rdb: bool, bytes: Vec<u8>) {
        let (name, seq) = if kind == FileKind::Base {
            self.next.0 += 1;
            (base_name(self.prefix, self.next.0 - 1, rdb), self.next.0 - 1)
        } else {
            self.next.1 += 1;
            (incr_name(self.prefix, self.next.1 - 1), self.next.1 - 1)
        };
        let tie = rdb.then(|| (bytes.len() as u64, preamble_crc(&bytes)));
        self.written.push((self.dir.join(&name), bytes));
        self.listed.push(FileEntry { name, seq, kind, chained: !rdb, tie });
    }

    fn sign(&mut self, file: &Checked, base: bool, how: How) -> Result<(), NotFixed> {
        let header = if base {
            Header { seq: self.next.0, prev_len: self.next.1, prev_crc: 0 }
        } else {
            Header { seq: self.next.1, prev_len: self.before.0, prev_crc: self.before.1 }
        };
        let signed = sign(file, header, false, base, how)?;
        self.total.commands += signed.accepted.commands;
        self.total.unverified += signed.accepted.unverified;
        self.total.left_out += signed.accepted.left_out;
        self.total.gaps.extend(signed.accepted.gaps);
        self.before = (signed.chain.len, signed.chain.crc);
        self.put(if base { FileKind::Base } else { FileKind::Incr }, false, signed.bytes);
        Ok(())
    }
}

/// Removes what the new manifest does not list any more; it has second names among what is kept aside.
fn remove_old(dir: &Path, old: &Manifest, new: &Manifest) -> Result<(), FileError> {
    for f in old.files.iter().filter(|f| !new.files.iter().any(|n| n.name == f.name)) {
        disk::remove_if_there(&dir.join(&f.name))?;
    }
    disk::sync_dir(dir)
}
