//! A manifest that is damaged, missing, or older than its files: written anew from what the files say of themselves.
//!
//! A base says which incr file goes on from it, and the header of each later incr file says how the one before it ends.
//! Where all of that fits, no other set of these files can be meant: a base that fits holds what the files before its
//! first incr file hold.

use super::fix::NotFixed;
use super::inspect::{As, Checked, Role, Scratch, look};
use crate::aof::{FileEntry, FileKind, Header, Manifest};
use crate::persist::disk::{self, ReplaceError};
use crate::persist::files::put_manifest_at;
use crate::persist::load::begins_chain;
use crate::persist::log::parse_name;
use crate::persist::open::holds_commands;
use crate::persist::until::{keep_aside, number_in};
use crate::resp::split_line;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory in which manifest and files are called `prefix`.
pub(super) struct Dir<'p> {
    pub(super) path: &'p Path,
    pub(super) prefix: &'p str,
    /// How many databases the server has.
    pub(super) databases: usize,
}

fn refused(why: impl Into<String>) -> NotFixed {
    NotFixed::Refused(why.into())
}

/// Writes the manifest anew: what it lists now, and where the files and the old one are kept.
pub(super) fn rebuild(dir: &Dir<'_>, manifest: &Path, old: &[u8]) -> Result<(Manifest, PathBuf), NotFixed> {
    let names = disk::names(dir.path)?;
    let incrs = incrs(dir, &names)?;
    let newest = incrs.last().map_or(0, |(entry, _)| entry.seq);
    let named = |line: &[u8]| String::from_utf8(split_line(line)?.into_iter().nth(1)?).ok();
    for name in old.split(|b| *b == b'\n').filter_map(named) {
        if parse_name(dir.prefix, &name).is_some_and(|(seq, incr)| incr && seq > newest) {
            return Err(refused(format!("the old manifest names {name}, and that is not there")));
        }
    }
    let mut why = Vec::new();
    let mut found = None;
    for base in bases(dir, &names)?.into_iter().rev() {
        match set(&base, &incrs) {
            Ok(first) => {
                let listed = incrs[first..].iter().map(|(entry, _)| entry.clone());
                found = Some(std::iter::once(base.entry).chain(listed).collect());
                break;
            }
            Err(reason) => why.push(format!("{}: {reason}", base.entry.name)),
        }
    }
    let Some(files) = found else {
        if why.is_empty() {
            why.push("there is no base".into());
        }
        return Err(refused(why.join("; ")));
    };
    let ours = |name: &&String| {
        parse_name(dir.prefix, name).is_some() || *name == dir.prefix || dir.path.join(name) == manifest
    };
    let originals: Vec<PathBuf> = names.iter().filter(ours).map(|name| dir.path.join(name)).collect();
    let kept = keep_aside(dir.path, dir.prefix, "rebuild", &originals)?;
    let renewed = Manifest { files, foreign: false, sealed: None, closed: false };
    put_manifest_at(manifest, &renewed).map_err(ReplaceError::into_inner)?;
    Ok((renewed, kept))
}

struct Base {
    entry: FileEntry,
    file: Checked,
    /// The incr file that goes on from it, where it says so.
    first: Option<u64>,
}

fn looked_at(path: &Path, role: Role, databases: usize) -> Result<Checked, NotFixed> {
    let head = fs::read(path).map_err(|e| refused(format!("cannot read {}: {e}", path.display())))?;
    let chained = (role != Role::Single).then(|| begins_chain(&head));
    // Not executed: it is only asked whether the checksums fit.
    Ok(look(path, As { role, chained, until: None, plain: false }, &mut Scratch::new(false, databases))?)
}

/// The files that could be the base, the newest one last.
fn bases(dir: &Dir<'_>, names: &[String]) -> Result<Vec<Base>, NotFixed> {
    let mut all = Vec::new();
    for name in names {
        let (role, seq) = match parse_name(dir.prefix, name) {
            Some((seq, false)) => (Role::Base, seq),
            // A single file that was taken over.
            None if name == dir.prefix => (Role::Single, 0),
            _ => continue,
        };
        let file = looked_at(&dir.path.join(name), role, dir.databases)?;
        let said = if file.preamble > 0 {
            number_in(&file.bytes, b"aof-first-incr")
        } else {
            file.header.map(|h| h.prev_len).filter(|seq| *seq > 0)
        };
        let chained = file.chain.is_some();
        let entry =
            FileEntry { name: name.clone(), seq: seq.max(1), kind: FileKind::Base, chained, tie: None };
        all.push(Base { entry, file, first: said.filter(|_| role == Role::Base) });
    }
    all.sort_by_key(|base| (base.file.role == Role::Base, base.entry.seq));
    Ok(all)
}

/// The incr files in their order, each with its header.
fn incrs(dir: &Dir<'_>, names: &[String]) -> Result<Vec<(FileEntry, Checked)>, NotFixed> {
    let mut all: Vec<(FileEntry, Checked)> = Vec::new();
    for name in names {
        let Some((seq, true)) = parse_name(dir.prefix, name) else { continue };
        let path = dir.path.join(name);
        let file = looked_at(&path, Role::Incr, dir.databases)?;
        if file.chain.is_none() && !holds_commands(&path).map_err(|e| refused(e.to_string()))? {
            // A crash has left its beginning; nothing was ever written to it.
            continue;
        }
        all.push((
            FileEntry { name: name.clone(), seq, kind: FileKind::Incr, chained: true, tie: None },
            file,
        ));
    }
    all.sort_by_key(|(entry, _)| entry.seq);
    Ok(all)
}

fn header((entry, file): &(FileEntry, Checked)) -> Result<Header, String> {
    let header = file.header.ok_or_else(|| format!("{} has no checksums that fit", entry.name))?;
    if header.seq == entry.seq { Ok(header) } else { Err(format!("{} is another file's", entry.name)) }
}

fn end(file: &Checked) -> (u64, u64) {
    (file.good, file.chain.map_or(0, |chain| chain.crc))
}

/// Where, among the incr files, those begin that go on from `base`; else why that cannot be told.
fn set(base: &Base, incrs: &[(FileEntry, Checked)]) -> Result<usize, String> {
    if let Some(problem) = &base.file.problem {
        return Err(format!("at offset {}: {}", problem.offset, problem.what));
    }
    let first = if base.file.role == Role::Single {
        // The first incr file's header says how it ends.
        incrs.iter().position(|incr| {
            header(incr).is_ok_and(|h| (h.prev_len, h.prev_crc) == end(&base.file) && h.prev_len > 0)
        })
    } else {
        let Some(seq) = base.first else { return Err("it does not say which file goes on from it".into()) };
        incrs.iter().position(|(entry, _)| entry.seq == seq)
    };
    let Some(first) = first else { return Err("the incr file that goes on from it is not there".into()) };
    header(&incrs[first])?;
    for pair in incrs[first..].windows(2) {
        let named = header(&pair[1])?;
        if (named.prev_len, named.prev_crc) != end(&pair[0].1) {
            let (before, behind) = (&pair[0].0.name, &pair[1].0.name);
            return Err(format!("{before} does not end as the header of {behind} says"));
        }
    }
    Ok(first)
}
