//! The manifest's text.

use crate::resp::split_line;
use crc64fast::Digest;
use std::fmt::Write as _;

/// What a file of the manifest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The result of a rewrite.
    Base,
    /// What was logged since.
    Incr,
    /// Replaced by a rewrite, and to be deleted.
    History,
}

impl FileKind {
    fn letter(self) -> char {
        match self {
            FileKind::Base => 'b',
            FileKind::Incr => 'i',
            FileKind::History => 'h',
        }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its name in the append-only directory.
    pub name: String,
    /// Its sequence number.
    pub seq: u64,
    /// What it is.
    pub kind: FileKind,
    /// It carries the checksum chain.
    pub chained: bool,
}

/// The whole manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Base first, then history, then incr files in their order: as Redis writes them.
    pub files: Vec<FileEntry>,
    /// Without `#unplug` lines: written by Redis, or with `aof-checksum no`.
    pub foreign: bool,
    /// An incr file's name, and the length up to which it was whole and synced when the server last stopped in order.
    /// A file that is good for less has been damaged since: a crash takes nothing of what was synced, and behind its
    /// end there is no mark that could say so.
    pub sealed: Option<(String, u64)>,
}

/// Why a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A line that is neither a comment nor a file.
    #[error("line {0} is not 'file <name> seq <number> type <b|h|i>'")]
    Line(usize),
    /// Two bases, or incr files out of order.
    #[error("line {0}: a second base, a repeated name, or an incr file out of order")]
    Order(usize),
    /// The checksum does not fit.
    #[error("its checksum does not fit its text")]
    Checksum,
    /// There is nothing in it.
    #[error("it lists no file")]
    Empty,
}

const MARK: &str = "#unplug:1 ";

fn crc(text: &str) -> u64 {
    let mut digest = Digest::new();
    digest.write(text.as_bytes());
    digest.sum64()
}

impl Manifest {
    /// The base.
    pub fn base(&self) -> Option<&FileEntry> {
        self.files.iter().find(|f| f.kind == FileKind::Base)
    }

    /// The incr files, in order.
    pub fn incrs(&self) -> impl DoubleEndedIterator<Item = &FileEntry> {
        let loaded = |f: &&FileEntry| {
            sabotaged!("history-loaded") && f.kind == FileKind::History && f.name.ends_with(".incr.aof")
        };
        self.files.iter().filter(move |f| f.kind == FileKind::Incr || loaded(f))
    }

    /// The text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let of = |kind| self.files.iter().filter(move |f| f.kind == kind);
        let ordered = || of(FileKind::Base).chain(of(FileKind::History)).chain(of(FileKind::Incr));
        for f in ordered() {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "file {} seq {} type {}", shown(&f.name), f.seq, f.kind.letter());
        }
        if self.foreign {
            return text;
        }
        for f in ordered().filter(|f| f.chained) {
            let _ = writeln!(text, "{MARK}chained {}", f.name);
        }
        if let Some((name, len)) = &self.sealed
            && self.files.iter().any(|f| f.kind == FileKind::Incr && f.name == *name)
        {
            let _ = writeln!(text, "{MARK}sealed {len} {name}");
        }
        let sum = crc(&text);
        let _ = writeln!(text, "{MARK}crc64 {sum:016x}");
        text
    }

    /// Reads the text.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::Checksum)?;
        let mut files: Vec<FileEntry> = Vec::new();
        let mut chained = Vec::new();
        let mut sealed = None;
        let mut summed = false;
        let mut ours = false;
        let mut at = 0;
        for (n, line) in text.split_inclusive('\n').enumerate() {
            let n = n + 1;
            let whole = line.strip_suffix('\n').ok_or(ManifestError::Line(n))?;
            if let Some(rest) = whole.strip_prefix(MARK) {
                ours = true;
                if let Some(name) = rest.strip_prefix("chained ") {
                    chained.push(name);
                } else if let Some(seal) = rest.strip_prefix("sealed ") {
                    let (len, name) = seal.split_once(' ').ok_or(ManifestError::Line(n))?;
                    sealed = Some((name.to_owned(), len.parse().map_err(|_| ManifestError::Line(n))?));
                } else if let Some(sum) = rest.strip_prefix("crc64 ") {
                    let fits = format!("{:016x}", crc(&text[..at])) == sum && at + line.len() == text.len();
                    summed = fits.then_some(true).ok_or(ManifestError::Checksum)?;
                }
            } else if !whole.starts_with('#') {
                let entry = parse_line(whole).ok_or(ManifestError::Line(n))?;
                let clash = files.iter().any(|f| {
                    f.name == entry.name
                        || (f.kind == FileKind::Base && entry.kind == FileKind::Base)
                        || (f.kind == FileKind::Incr && entry.kind == FileKind::Incr && f.seq >= entry.seq)
                });
                if clash {
                    return Err(ManifestError::Order(n));
                }
                files.push(entry);
            }
            at += line.len();
        }
        if files.is_empty() {
            return Err(ManifestError::Empty);
        }
        if ours && !summed {
            return Err(ManifestError::Checksum);
        }
        for f in &mut files {
            f.chained = chained.contains(&f.name.as_str());
        }
        Ok(Manifest { files, foreign: !ours, sealed })
    }
}

/// A name as Redis writes it: in quotes, with escapes, where it has to be.
fn shown(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"'\\".contains(&b);
    if !name.is_empty() && name.bytes().all(plain) {
        return name.to_owned();
    }
    let mut text = String::from("\"");
    for b in name.bytes() {
        match b {
            b'"' | b'\\' => text.extend(['\\', char::from(b)]),
            b' '..=b'~' => text.push(char::from(b)),
            // Writing into a String cannot fail.
            _ => drop(write!(text, "\\x{b:02x}")),
        }
    }
    text.push('"');
    text
}

/// One `file` line; quotes and escapes are Redis's.
fn parse_line(line: &str) -> Option<FileEntry> {
    let words = split_line(line.as_bytes())?;
    let words: Vec<String> = words.into_iter().map(|w| String::from_utf8(w).ok()).collect::<Option<_>>()?;
    let mut words = words.into_iter();
    let (mut name, mut seq, mut kind) = (None, None, None);
    while let Some(key) = words.next() {
        let value = words.next()?;
        match key.as_str() {
            "file" => name = Some(value),
            "seq" => seq = Some(value.parse().ok()?),
            "type" => {
                kind = Some(match value.as_str() {
                    "b" => FileKind::Base,
                    "i" => FileKind::Incr,
                    "h" => FileKind::History,
                    _ => return None,
                })
            }
            // Later versions of Redis add pairs (startoffset, endoffset); Redis itself skips unknown ones.
            _ => {}
        }
    }
    let name = name.filter(|n: &String| !n.is_empty() && !n.contains(['/', '\0', '\n']))?;
    Some(FileEntry { name, seq: seq?, kind: kind?, chained: false })
}
