//! All the files that a manifest lists.

use super::cli::{Options, accepted, failed, repair, told, truncate, verdict};
use super::fix::NotFixed;
use super::inspect::{self, Checked};
use super::rebuild::{Dir, rebuild};
use super::resign::{self, How};
use crate::aof::Manifest;
use crate::persist::cure::Cure;
use crate::persist::disk;
use crate::persist::foreign;
use crate::persist::log::parse_name;
use crate::persist::open::holds_commands;
use std::fmt::Write as _;
use std::path::Path;

pub(super) fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads the manifest, under whichever of its names it is: its bytes, and what they say or why they say nothing.
fn read_manifest(path: &Path) -> Result<(Vec<u8>, Result<Manifest, String>), NotFixed> {
    let Some(found) = disk::current(path)? else {
        return Ok((Vec::new(), Err("it is missing".into())));
    };
    let bytes = std::fs::read(&found).map_err(|e| failed(format!("cannot read {}: {e}", found.display())))?;
    let parsed = Manifest::parse(&bytes).map_err(|e| format!("the manifest is damaged: {e}"));
    Ok((bytes, parsed))
}

/// The manifest, written anew if that is wanted and needed.
fn sound_manifest(options: &Options, prefix: &str, text: &mut String) -> Result<Manifest, NotFixed> {
    let path = &options.path;
    let (bytes, parsed) = read_manifest(path)?;
    let why = match parsed {
        Ok(manifest) => match unlisted(dir_of(path), prefix, &manifest)? {
            None => return Ok(manifest),
            Some(newer) => format!("it is older than {newer}, which holds data and is not listed"),
        },
        Err(why) => why,
    };
    let _ = writeln!(text, "{}: {why}", path.display());
    if !options.fix || options.resign {
        return Err(failed(format!("{} is not valid. {}", path.display(), Cure::Manifest.text())));
    }
    let dir = Dir { path: dir_of(path), prefix, databases: options.databases };
    let (renewed, kept) = rebuild(&dir, path, &bytes).map_err(|e| {
        failed(format!("{} cannot be written anew: {e}. Restore it from a copy", path.display()))
    })?;
    let names: Vec<&str> = renewed.files.iter().map(|f| f.name.as_str()).collect();
    let _ = writeln!(
        text,
        "Written anew; it lists {}. Whether there was a newer file, no file says. The files as they were are in {}",
        names.join(", "),
        kept.display()
    );
    Ok(renewed)
}

pub(super) fn of_manifest(options: &Options, text: &mut String) -> Result<bool, NotFixed> {
    let path = &options.path;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = name.strip_suffix(".manifest").unwrap_or(&name);
    let manifest = sound_manifest(options, prefix, text)?;
    let mut files = inspect::look_all(dir_of(path), &manifest, options.until, options.databases)?;
    files.iter().for_each(|file| told(file, text));
    let missing = foreign::what_is_missing(dir_of(path), prefix, &manifest).map_err(failed)?;
    if let Some(what) = missing {
        let name = path.display();
        let told = format!("{name}: {what}\n{name} is not valid. {}\n", foreign::MANIFEST);
        text.push_str(&told);
        return Ok(false);
    }
    if options.resign {
        let how = How { torn_ends: options.fix, from: 0 };
        let (signed, kept) = resign::all(path, prefix, &manifest, &files, how)?;
        accepted(&signed, &kept, text);
        let renewed = read_manifest(path)?.1.map_err(failed)?;
        let after = inspect::look_all(dir_of(path), &renewed, None, options.databases)?;
        let bad = after.iter().find(|f| f.problem.is_some());
        return Ok(verdict(bad.map_or(path, |f| &f.path), bad.and_then(|f| f.problem.as_ref()), text));
    }
    let bad = files.iter().filter(|f| f.problem.is_some()).count();
    let last = files.len().saturating_sub(1);
    if options.until.is_some() && bad == 0 {
        return truncate_all(options, prefix, &manifest, &mut files, text);
    }
    if bad == 1 && options.fix && files[last].problem.is_some() {
        return repair(options, &files[last], text);
    }
    for file in files.iter().filter(|f| f.problem.is_some()) {
        verdict(&file.path, file.problem.as_ref(), text);
    }
    if bad == 0 {
        let _ = writeln!(text, "All AOF files and manifest are valid");
    }
    Ok(bad == 0)
}

/// An incr file that holds data and is newer than all that the manifest lists.
fn unlisted(dir: &Path, prefix: &str, manifest: &Manifest) -> Result<Option<String>, NotFixed> {
    let last = manifest.incrs().next_back().map_or(0, |f| f.seq);
    for name in disk::names(dir)?.into_iter().filter(|_| !manifest.foreign) {
        let newer = parse_name(prefix, &name).is_some_and(|(seq, incr)| incr && seq > last);
        if newer && holds_commands(&dir.join(&name)).map_err(failed)? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn truncate_all(
    options: &Options,
    prefix: &str,
    manifest: &Manifest,
    files: &mut [Checked],
    text: &mut String,
) -> Result<bool, NotFixed> {
    let Some(n) = files.iter().position(|f| f.times.stopped_at.is_some()) else {
        let _ = writeln!(text, "Nothing is later");
        return Ok(true);
    };
    if n != files.len() - 1 {
        // As redis-check-aof.
        return Err(failed(format!(
            "{} is not the last file: what follows is all later, and has to be taken from the manifest by hand",
            files[n].path.display()
        )));
    }
    if files[n].chain.is_none() {
        return truncate(options, &files[n], text);
    }
    let at = files[n].times.stopped_at.unwrap_or(0);
    files[n].bytes.truncate(at as usize);
    let how = How { torn_ends: false, from: n };
    let (signed, kept) = resign::all(&options.path, prefix, manifest, files, how)?;
    accepted(&signed, &kept, text);
    Ok(true)
}
