//! What another program or a person has done to the files: bytes without checksums behind a chain, a manifest without
//! our lines. Redis drops those lines whenever it writes the manifest anew, and goes on behind our last file or in one
//! of its own.

use super::disk;
use super::error::{At, FileError, OpenError};
use super::load::{Loader, Part, RESTORE, Tail, begins_chain, corrupt};
use super::log::parse_name;
use super::open::holds_commands;
use super::report::Cut;
use crate::aof::{
    Chain, ChainScan, FileKind, Header, Manifest, RespError, Times, scan_plain, vouched_behind,
};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const ACCEPT: &str =
    "`unplug-engine check-aof --resign` accepts them; `check-aof --fix` cuts them off and keeps them aside";
pub(super) const MANIFEST: &str = "Restore the manifest that belongs to the files";

impl Tail {
    /// What is told of cutting it.
    pub(super) fn cut(&self, kept: Option<PathBuf>) -> Cut {
        let commands = if self.chain.is_some() { foreign_commands(&self.rest) } else { 0 };
        let bytes = self.rest.len() as u64;
        Cut { file: self.path.clone(), offset: self.good, bytes, commands, kept }
    }
}

/// How many whole commands the bytes behind a chain begin with, where nothing follows but more of them: as another
/// program has appended them. A torn write of ours can look the same, cut in front of its annotation.
fn foreign_commands(rest: &[u8]) -> u64 {
    let Ok(scan) = scan_plain(rest, 0, Times::default(), &mut |_| Ok::<(), ()>(())) else { return 0 };
    let ours = scan.chained_at.is_some() || rest[scan.good as usize..].starts_with(b"#");
    if ours || scan.stop == Some(RespError::Malformed) { 0 } else { scan.commands }
}

/// The file was whole up to `sealed` at a stop in order; closed: and no server of ours has been started since.
pub(super) fn check_seal(part: &Part<'_>, good: u64, sealed: u64, closed: bool) -> Result<(), OpenError> {
    let len = part.bytes.len() as u64;
    if good < sealed {
        let what = format!(
            "only its first {good} bytes are good, and {sealed} were when the server stopped in order: no crash does \
             that, and cutting would lose acknowledged writes"
        );
        return Err(corrupt(part.path, good, what, RESTORE));
    }
    if closed && good == sealed && len > sealed {
        return Err(corrupt(part.path, good, behind_seal(&part.bytes[good as usize..]), ACCEPT));
    }
    Ok(())
}

/// What is told of bytes behind the end of a file that was stopped in order.
pub(super) fn behind_seal(rest: &[u8]) -> String {
    format!(
        "here the file ended when the server stopped in order, and {} bytes follow, {} whole commands among them: no \
         crash does that, another program has appended them",
        rest.len(),
        foreign_commands(rest)
    )
}

/// What speaks against bytes behind a chain being another program's.
pub(super) fn not_foreign(bytes: &[u8], chain: &Chain, chained_at: Option<u64>) -> Option<String> {
    let at = chained_at.or_else(|| vouched_behind(bytes, chain))?;
    Some(format!("a checksum fails, and a line of the checksum chain follows, at offset {at}"))
}

impl Loader<'_> {
    /// Reads a file that begins a chain, and of which the manifest does not say so: verified as far as the chain goes,
    /// and behind it Redis's commands. Gives the length of what is good, too.
    pub(super) fn mixed(&mut self, part: &Part<'_>) -> Result<(u64, ChainScan), OpenError> {
        let scan = self.scan(part)?;
        let good = scan.chain.len;
        if good == part.bytes.len() as u64 {
            return Ok((good, scan));
        }
        let refuse = |what: String| corrupt(part.path, good, what, RESTORE);
        if let Some(what) = not_foreign(part.bytes, &scan.chain, None) {
            return Err(refuse(what));
        }
        let plain = self.plain(&Part { from: good as usize, ..*part })?;
        match not_foreign(part.bytes, &scan.chain, plain.chained_at) {
            Some(what) => Err(refuse(what)),
            None => Ok((plain.good, scan)),
        }
    }
}

/// Whether a foreign manifest has lost lines: what it does not list, and data of ours is in.
pub(super) fn what_is_missing(
    dir: &Path,
    prefix: &str,
    manifest: &Manifest,
) -> Result<Option<String>, OpenError> {
    if !manifest.foreign {
        // Its checksum has told.
        return Ok(None);
    }
    let names = disk::names(dir)?;
    let unlisted = || names.iter().filter(|n| !manifest.files.iter().any(|f| f.name == **n));
    let last = manifest.incrs().next_back().map_or(0, |f| f.seq);
    for name in unlisted() {
        let path = dir.join(name);
        // A start that takes over Redis's files makes an incr file before it has a manifest; nothing is in it then.
        if parse_name(prefix, name).is_some_and(|(seq, incr)| incr && seq > last)
            && begins_chain(&head(&path)?)
            && holds_commands(&path)?
        {
            return Ok(Some(format!("it is older than {name}, which holds data and is not listed")));
        }
    }
    if let (None, Some(first)) = (manifest.base(), manifest.incrs().next()) {
        let path = dir.join(&first.name);
        let header = if disk::exists(&path)? { Header::parse(&head(&path)?) } else { None };
        let base = unlisted().find(|n| parse_name(prefix, n).is_some_and(|(_, incr)| !incr));
        if let Some((header, _)) = header
            && (header.prev_len > 0 || base.is_some())
        {
            return Ok(Some(format!("it lists no base, and {} is not the first file", first.name)));
        }
    }
    Ok(None)
}

/// The same, as a refusal.
pub(super) fn refuse_what_is_missing(
    path: &Path,
    dir: &Path,
    prefix: &str,
    manifest: &Manifest,
) -> Result<(), OpenError> {
    let missing = what_is_missing(dir, prefix, manifest)?;
    missing.map_or(Ok(()), |what| Err(corrupt(path, 0, what, MANIFEST)))
}

/// The beginning of a file.
fn head(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(96).read_to_end(&mut head)).at("read", path)?;
    Ok(head)
}

/// Before the manifest that was not ours is replaced by one that is: what it did not list gets another name, lest a
/// later start takes it for a leftover of ours and removes it.
pub(super) fn set_aside(dir: &Path, prefix: &str, manifest: &Manifest) -> Result<(), OpenError> {
    if !manifest.foreign {
        return Ok(());
    }
    let mut old = Vec::new();
    for name in disk::names(dir)? {
        let listed = manifest.files.iter().any(|f| f.name == name);
        let Some((_, incr)) = parse_name(prefix, &name).filter(|_| !listed) else { continue };
        let path = dir.join(&name);
        if incr && !holds_commands(&path)? {
            continue;
        }
        let mut aside = dir.join(format!("{name}.unlisted"));
        let mut number = 1u64;
        while disk::exists(&aside)? {
            number += 1;
            aside = dir.join(format!("{name}.unlisted.{number}"));
        }
        disk::link_or_copy(&path, &aside)?;
        old.push(path);
    }
    if old.is_empty() {
        return Ok(());
    }
    disk::sync_dir(dir)?;
    for path in &old {
        disk::remove_if_there(path)?;
    }
    disk::sync_dir(dir)?;
    Ok(())
}

/// What ties a base to its manifest: its length, and the checksum that the snapshot ends with. `None` for a file that is
/// no snapshot: a base of commands has its number in its chain.
pub(super) fn tie(path: &Path) -> Result<Option<(u64, u64)>, FileError> {
    use std::io::{Seek, SeekFrom};
    if path.extension().is_none_or(|e| e != "rdb") {
        return Ok(None);
    }
    let mut sum = Vec::new();
    let read = |file: &mut File, sum: &mut Vec<u8>| {
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(8)))?;
        file.read_to_end(sum)?;
        Ok(len)
    };
    let len = File::open(path).and_then(|mut file| read(&mut file, &mut sum)).at("read", path)?;
    Ok(Some((len, super::load::preamble_crc(&sum))))
}

/// Whether a base is the one that the manifest names.
pub(super) fn is_tied(bytes: &[u8], tie: Option<(u64, u64)>) -> bool {
    tie.is_none_or(|tie| tie == (bytes.len() as u64, super::load::preamble_crc(bytes)))
}

pub(super) const NOT_TIED: &str =
    "it is not the base that the manifest was written for, but an older or another one";

pub(super) const NOT_SEALED: &str = "it is not the file that the seal beside it speaks of, but an older one";

/// What is not a base of commands, and was once a single file: a chain in it does not end with the file.
pub(super) fn was_single(name: &str, kind: FileKind) -> bool {
    kind == FileKind::Base && !name.ends_with(".base.aof") && !name.ends_with(".rdb")
}
