//! The command line.

use super::fix::{self, NotFixed};
use super::inspect::{self, As, Checked, Problem, Role, Scratch};
use super::listed::{dir_of, of_manifest};
use super::resign::{self, Accepted, How};
use crate::aof::Manifest;
use crate::keyspace::{DATABASES, MOST_DATABASES};
use crate::lock::DirLock;
use crate::persist::cure;
use crate::persist::disk;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How it is used.
pub const HELP: &str = "\
Usage: unplug-engine check-aof [--fix] [--truncate-to-timestamp SECOND] [--resign] [--plain]
                               [--databases N] FILE|MANIFEST|DIRECTORY

Checks append-only files: a single file, one file of a directory, or all that a manifest lists; the
engine's, with checksums or without, and Redis's. What the server would refuse is found, and for that
the commands are executed, in memory.

  --fix                           cut a file where it stops being good; write a damaged or missing
                                  manifest anew, where its files leave no doubt
  --truncate-to-timestamp SECOND  cut it in front of the first later second (since 1970)
  --resign                        accept the bytes as they are, after a change by hand or without
                                  checksums, and write the checksums anew
  --plain                         the server has aof-checksum no: an empty file is valid
  --databases N                   the server has `databases N`, and not 16

What is cut or replaced is kept: in FILE.cut-OFFSET, or in a directory FILE.before-resign or
FILE.before-rebuild.
Exit code: 0 valid, or repaired; 1 not valid, or not repaired; 2 wrong arguments.
";

pub(super) struct Options {
    pub(super) fix: bool,
    pub(super) resign: bool,
    plain: bool,
    pub(super) until: Option<u64>,
    pub(super) databases: usize,
    pub(super) path: PathBuf,
}

impl Default for Options {
    fn default() -> Options {
        let path = PathBuf::new();
        Options { fix: false, resign: false, plain: false, until: None, databases: DATABASES, path }
    }
}

/// Runs `check-aof` with its arguments (the name not among them).
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let (text, code) = check(args);
    let mut stdout = std::io::stdout();
    // Whoever reads this may have gone.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    ExitCode::from(code)
}

/// The same: what is to be printed, and the exit code.
pub fn check(args: impl Iterator<Item = OsString>) -> (String, u8) {
    let mut options = match parse(args) {
        Ok(Some(options)) => options,
        Ok(None) => return (HELP.to_owned(), 0),
        Err(why) => return (format!("{why}\n\n{HELP}"), 2),
    };
    let mut text = String::new();
    let resolved = resolve(&options.path);
    let checked = resolved.and_then(|path| {
        options.path = path;
        let _locks = take_locks(&options)?;
        if is_manifest(&options.path)? {
            of_manifest(&options, &mut text)
        } else {
            of_file(&options, &mut text)
        }
    });
    match checked {
        Ok(valid) => (text, u8::from(!valid)),
        Err(e) => {
            let _ = writeln!(text, "{e}");
            (text, 1)
        }
    }
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    let mut paths = Vec::new();
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--fix") => options.fix = true,
            Some("--resign") => options.resign = true,
            Some("--plain") => options.plain = true,
            Some("--help" | "-h") => return Ok(None),
            Some("--truncate-to-timestamp") => {
                let second = args.next().and_then(|s| s.to_str()?.parse().ok());
                options.until = Some(second.ok_or("--truncate-to-timestamp needs a second since 1970")?);
            }
            Some("--databases") => options.databases = databases(args.next())?,
            Some(other) if other.starts_with("--") => return Err(format!("unknown option {other}")),
            _ => paths.push(PathBuf::from(arg)),
        }
    }
    if options.until.is_some() && (options.fix || options.resign) {
        return Err("--truncate-to-timestamp goes with no other repair".into());
    }
    match <[PathBuf; 1]>::try_from(paths) {
        Ok([path]) => Ok(Some(Options { path, ..options })),
        Err(_) => Err("exactly one file is to be named".into()),
    }
}

/// The value of `--databases`.
pub(crate) fn databases(value: Option<OsString>) -> Result<usize, String> {
    let number = value.and_then(|n| n.to_str()?.parse().ok()).filter(|n| (1..=MOST_DATABASES).contains(n));
    number.ok_or_else(|| format!("--databases needs a number between 1 and {MOST_DATABASES}"))
}

pub(super) fn failed(e: impl std::fmt::Display) -> NotFixed {
    NotFixed::Refused(e.to_string())
}

/// A repair needs the directory for itself: the file's, and where that is an append-only directory, the one above.
fn take_locks(options: &Options) -> Result<Vec<DirLock>, NotFixed> {
    if !options.fix && !options.resign && options.until.is_none() {
        return Ok(Vec::new());
    }
    let path = std::path::absolute(&options.path).map_err(failed)?;
    let dirs = path.ancestors().skip(1).take(2);
    let mut locks = Vec::new();
    for (n, dir) in dirs.enumerate() {
        match DirLock::take(dir) {
            Ok(lock) => locks.push(lock),
            Err(e @ crate::lock::LockError::InUse(_)) => return Err(failed(e)),
            Err(e) if n == 0 => return Err(failed(e)),
            Err(_) => {}
        }
    }
    Ok(locks)
}

/// Of a directory, the manifest that is or should be in it.
fn resolve(path: &Path) -> Result<PathBuf, NotFixed> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let names = disk::names(path)?;
    let manifest = |name: &String| {
        let name = name.strip_suffix(".prev").unwrap_or(name);
        let prefix = name.strip_suffix(".manifest").filter(|name| !name.starts_with("temp-"))?;
        Some(prefix.to_owned())
    };
    let mut prefixes: Vec<String> = names.iter().filter_map(manifest).collect();
    if prefixes.is_empty() {
        prefixes.extend(names.iter().filter_map(|name| Some(cure::parse_name_any(Path::new(name))?.0)));
    }
    prefixes.sort();
    prefixes.dedup();
    match &prefixes[..] {
        [prefix] => Ok(path.join(format!("{prefix}.manifest"))),
        [] => Err(failed(format!("{}: there are no append-only files of a directory in it", path.display()))),
        _ => {
            Err(failed(format!("{}: there are several sets of files in it: name a manifest", path.display())))
        }
    }
}

fn is_manifest(path: &Path) -> Result<bool, NotFixed> {
    if path.extension().is_some_and(|e| e == "manifest") {
        return Ok(true);
    }
    let mut head = Vec::new();
    let file =
        std::fs::File::open(path).map_err(|e| failed(format!("cannot open {}: {e}", path.display())))?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 5), &mut head).map_err(failed)?;
    Ok(head == b"file ")
}

pub(super) fn told(file: &Checked, text: &mut String) {
    let name = file.path.display();
    let _ = writeln!(
        text,
        "{name}: {}, {} bytes, {} commands, good up to {}",
        file.kind(),
        file.bytes.len(),
        file.commands,
        file.good.max(if file.problem.is_none() { file.preamble as u64 } else { 0 })
    );
    if let Some(Problem { offset, what, .. }) = &file.problem {
        let _ = writeln!(text, "{name}: at offset {offset}: {what}");
    }
}

pub(super) fn verdict(path: &Path, problem: Option<&Problem>, text: &mut String) -> bool {
    let name = path.display();
    let _ = match problem {
        None => writeln!(text, "{name} is valid"),
        Some(problem) => writeln!(text, "{name} is not valid. {}", problem.cure.text()),
    };
    problem.is_none()
}

pub(super) fn accepted(a: &Accepted, kept: &Path, text: &mut String) {
    let _ = writeln!(
        text,
        "Signed {} commands; accepted without a checksum that fits: {}; left out: {} bytes. The files as they were \
         are in {}",
        a.commands,
        a.unverified,
        a.left_out,
        kept.display()
    );
    for gap in &a.gaps {
        let _ = writeln!(text, "Accepted: {gap}");
    }
}

/// What is to be said of a single file, its seal included.
fn look_alone(path: &Path, role: Role, options: &Options) -> Result<Checked, NotFixed> {
    let known = As { role, chained: None, until: options.until, plain: options.plain };
    let mut file = inspect::look(path, known, &mut Scratch::new(role == Role::Single, options.databases))?;
    if role == Role::Single {
        match inspect::seal_of(&file) {
            Ok(seal) => seal.iter().for_each(|seal| file.check_own_seal(seal)),
            Err(seal) => {
                let seal = seal.display();
                return Err(failed(format!(
                    "{seal}: the seal is damaged. If the append-only file is trusted, remove it"
                )));
            }
        }
    }
    Ok(file)
}

/// A file that a manifest lists is looked at behind those in front of it.
fn look_among(path: &Path, options: &Options) -> Result<Option<Checked>, NotFixed> {
    let Some(manifest) = inspect::manifest_of(path) else { return Ok(None) };
    let Ok(listed) = Manifest::parse(&std::fs::read(&manifest).map_err(failed)?) else { return Ok(None) };
    let all = inspect::look_all(dir_of(path), &listed, options.until, options.databases)?;
    Ok(all.into_iter().find(|file| file.path.file_name() == path.file_name()))
}

fn of_file(options: &Options, text: &mut String) -> Result<bool, NotFixed> {
    let path = &options.path;
    let role = match cure::parse_name_any(path) {
        Some((_, _, true)) => Role::Incr,
        Some((_, _, false)) => Role::Base,
        None => Role::Single,
    };
    let file = match look_among(path, options)? {
        Some(file) => file,
        None => look_alone(path, role, options)?,
    };
    told(&file, text);
    if options.resign {
        if role != Role::Single {
            return Err(failed("it is one of several that belong together: --resign needs the manifest"));
        }
        let how = How { torn_ends: options.fix, from: 0 };
        let (signed, kept) = resign::single(&file, how)?;
        accepted(&signed, &kept, text);
        let after = look_alone(path, role, options)?;
        return Ok(verdict(path, after.problem.as_ref(), text));
    }
    if options.until.is_some() && file.problem.is_none() {
        return truncate(options, &file, text);
    }
    repair(options, &file, text)
}

/// Cuts a file that may be cut.
pub(super) fn repair(options: &Options, file: &Checked, text: &mut String) -> Result<bool, NotFixed> {
    match &file.problem {
        Some(Problem { cure, .. }) if options.fix && cure.cuts() => {
            let kept = fix::cut(file)?;
            let bytes = file.bytes.len() as u64 - file.good;
            let _ =
                writeln!(text, "Cut {bytes} bytes at offset {}; they are in {}", file.good, kept.display());
            let _ = writeln!(text, "{} is valid now", file.path.display());
            Ok(true)
        }
        problem => Ok(verdict(&file.path, problem.as_ref(), text)),
    }
}

pub(super) fn truncate(options: &Options, file: &Checked, text: &mut String) -> Result<bool, NotFixed> {
    let until = options.until.unwrap_or(u64::MAX);
    let Some(at) = file.times.stopped_at else {
        let _ = writeln!(text, "Nothing in it is later than {until}");
        return Ok(true);
    };
    if at == 0 || file.times.first.is_some_and(|first| first > until) && file.preamble == 0 {
        return Err(failed(format!("nothing in it is as old as {until}")));
    }
    let kept = match (file.chain, file.role) {
        (None, _) => fix::cut_plain(file, at)?,
        (Some(_), Role::Single) => fix::cut_chained_single(file, at)?,
        _ => return Err(failed("it is one of several that belong together: give the manifest")),
    };
    let second = fix::second_at(file, at).unwrap_or(0);
    let _ = writeln!(
        text,
        "Cut at offset {at}, where the second {second} begins; what followed is in {}",
        kept.display()
    );
    Ok(true)
}
