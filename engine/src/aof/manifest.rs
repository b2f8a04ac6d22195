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
    /// Of a base that is a snapshot: its length, and the checksum that it ends with.
    pub tie: Option<(u64, u64)>,
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
    /// No server of ours has been started since that stop: what stands behind that length, none has written.
    pub closed: bool,
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
        for f in of(FileKind::Base) {
            if let Some((len, crc)) = f.tie {
                let _ = writeln!(text, "{MARK}base {len} {crc:016x} {}", f.name);
            }
        }
        if let Some((name, len)) = &self.sealed
            && self.files.iter().any(|f| f.kind == FileKind::Incr && f.name == *name)
        {
            let word = if self.closed { "closed" } else { "sealed" };
            let _ = writeln!(text, "{MARK}{word} {len} {name}");
        }
        let sum = crc(&text);
        let _ = writeln!(text, "{MARK}crc64 {sum:016x}");
        text
    }

    /// Reads the text.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::Checksum)?;
        let mut files: Vec<FileEntry> = Vec::new();
        let (mut chained, mut ties) = (Vec::new(), Vec::new());
        let (mut sealed, mut closed) = (None, false);
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
                } else if let Some(tie) = rest.strip_prefix("base ") {
                    ties.push(parse_tie(tie).ok_or(ManifestError::Line(n))?);
                } else if let Some((word @ ("sealed" | "closed"), seal)) = rest.split_once(' ') {
                    closed = word == "closed";
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
            f.tie = ties.iter().find(|(name, _)| *name == f.name).map(|(_, tie)| *tie);
        }
        Ok(Manifest { files, foreign: !ours, sealed, closed })
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

/// Length, checksum and name of a base.
fn parse_tie(text: &str) -> Option<(&str, (u64, u64))> {
    let (len, rest) = text.split_once(' ')?;
    let (crc, name) = rest.split_once(' ')?;
    Some((name, (len.parse().ok()?, u64::from_str_radix(crc, 16).ok()?)))
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
    Some(FileEntry { name, seq: seq?, kind: kind?, chained: false, tie: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(text.as_bytes())
    }

    /// Ends a text with its checksum.
    fn summed(text: &str) -> String {
        format!("{text}{MARK}crc64 {:016x}\n", crc(text))
    }

    #[test]
    fn what_redis_would_not_write_is_refused_and_the_line_named() {
        use ManifestError::{Checksum, Empty, Line, Order};
        for (text, error) in [
            ("file a seq 1 type b\nfile b seq 2 type b\n", Order(2)),
            ("file a seq 1 type i\nfile b seq 1 type i\n", Order(2)),
            ("file a seq 2 type i\nfile b seq 1 type i\n", Order(2)),
            ("# x\nfile a seq 1 type i\nfile a seq 2 type i\n", Order(3)),
            ("file a seq 1 type b\nfile a seq 1 type i\n", Order(2)),
            ("", Empty),
            ("# nothing\n", Empty),
            ("file a seq 1 type b\nfile b seq 1 type i", Line(2)),
            ("file a seq 1 type b\nfile b seq 1 type x\n", Line(2)),
            ("file a seq -1 type b\n", Line(1)),
            ("file a seq 1\n", Line(1)),
            ("file a type b\n", Line(1)),
            ("seq 1 type b\n", Line(1)),
            ("file a seq 1 type\n", Line(1)),
            ("file ../a seq 1 type b\n", Line(1)),
            ("file \"a seq 1 type b\n", Line(1)),
            ("file \"a\"b seq 1 type b\n", Line(1)),
            ("file \"\" seq 1 type b\n", Line(1)),
            ("file \"../a\" seq 1 type b\n", Line(1)),
            ("file \"\\xff\" seq 1 type b\n", Line(1)),
            ("\nfile a seq 1 type b\n", Line(1)),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Manifest::parse(b"file \xff seq 1 type b\n"), Err(Checksum));
    }

    /// Found by starting with such a name: the start refused it, and Redis takes it.
    #[test]
    fn names_are_quoted_as_redis_quotes_them() {
        for name in ["a b", "\"", "it's", "\\", "\u{e9}", "x#y", " "] {
            let file =
                FileEntry { name: name.into(), seq: 1, kind: FileKind::Incr, chained: true, tie: None };
            let sealed = Some((name.to_owned(), 7));
            let manifest = Manifest { files: vec![file], foreign: false, sealed, closed: false };
            assert_eq!(parse(&manifest.encode()), Ok(manifest), "{name}");
        }
        assert_eq!(shown("a b\u{e9}\"\\"), r#""a b\xc3\xa9\"\\""#);
        assert_eq!(shown("appendonly.aof.1.incr.aof"), "appendonly.aof.1.incr.aof");
        assert_eq!(parse("file \"a\" seq 1 type b\n").unwrap().files[0].name, "a");
    }

    #[test]
    fn what_redis_writes_is_read() {
        let text = "# x\nfile a seq 2 type b startoffset 7\nfile h seq 1 type h\nfile i seq 1 type i\nfile j seq 3 type i\n";
        let manifest = parse(text).unwrap();
        let all: Vec<_> =
            manifest.files.iter().map(|f| (f.name.as_str(), f.seq, f.kind, f.chained)).collect();
        use FileKind::{Base, History, Incr};
        let wanted =
            [("a", 2, Base, false), ("h", 1, History, false), ("i", 1, Incr, false), ("j", 3, Incr, false)];
        assert_eq!(all, wanted);
        assert!(manifest.foreign && manifest.sealed.is_none());
        assert_eq!(manifest.base().map(|f| f.seq), Some(2));
        assert_eq!(manifest.incrs().map(|f| f.seq).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn the_checksum_stands_behind_everything() {
        let files = "file a seq 1 type b\nfile i seq 1 type i\n";
        let ours = format!("{files}{MARK}chained i\n{MARK}sealed 77 i\n");
        let whole = summed(&ours);
        let manifest = parse(&whole).unwrap();
        assert_eq!(manifest.files.iter().map(|f| f.chained).collect::<Vec<_>>(), [false, true]);
        assert_eq!((manifest.foreign, &manifest.sealed), (false, &Some(("i".to_owned(), 77))));
        assert_eq!(manifest.encode(), whole);
        for text in [
            ours.clone(),
            format!("{whole}file j seq 2 type i\n"),
            format!("{whole}# x\n"),
            whole.replace("seq 1 type i", "seq 2 type i"),
            format!("{}{MARK}crc64 0\n", ours),
        ] {
            assert_eq!(parse(&text), Err(ManifestError::Checksum), "{text}");
        }
        let unclear = summed(&format!("{files}{MARK}sealed 7x i\n"));
        assert_eq!(parse(&unclear), Err(ManifestError::Line(3)));
    }
}
