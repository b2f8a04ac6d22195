//! Reading scripts.

use super::{MODES, Script, Step};
use crate::{Error, Result};
use unplug_faults::event::WriteSync;

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// [`Error::Text`] with the line that does not read.
    pub fn parse(name: &str, text: &str) -> Result<Script> {
        let mut script =
            Script { name: name.into(), about: String::new(), setup: Vec::new(), steps: Vec::new() };
        let mut about: Vec<&str> = Vec::new();
        let mut recorded = false;
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix('#') {
                if script.setup.is_empty() && !recorded {
                    about.push(comment.trim());
                }
            } else if line == "---" {
                if recorded {
                    return Err(bad(name, n, "a second ---"));
                }
                recorded = true;
            } else if !line.is_empty() {
                let line = line.split('#').next().unwrap_or_default();
                let step = Step::parse(line).map_err(|what| bad(name, n, &what))?;
                if recorded { &mut script.steps } else { &mut script.setup }.push(step);
            }
        }
        script.about = about.join(" ");
        if script.steps.is_empty() {
            return Err(bad(name, text.lines().count(), "nothing behind ---"));
        }
        Ok(script)
    }
}

fn bad(name: &str, line: usize, what: &str) -> Error {
    Error::Text { place: name.into(), line: line + 1, what: what.into() }
}

fn number(word: &str) -> std::result::Result<u64, String> {
    let (digits, unit) = word.strip_suffix('p').map_or((word, 1), |digits| (digits, 4096));
    let n: u64 = digits.parse().map_err(|_| format!("{word} is no number"))?;
    n.checked_mul(unit).ok_or_else(|| format!("{word} is too large"))
}

fn letter(word: &str) -> std::result::Result<char, String> {
    let mut chars = word.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) if c.is_ascii_alphanumeric() && c != '0' => Ok(c),
        _ => Err(format!("{word} is no letter")),
    }
}

fn handle(word: &str) -> std::result::Result<String, String> {
    if word.starts_with('@') { Ok(word.into()) } else { Err(format!("{word} is no descriptor (@name)")) }
}

fn sync(words: &[&str]) -> std::result::Result<WriteSync, String> {
    match words {
        [] => Ok(WriteSync::None),
        ["dsync"] => Ok(WriteSync::Data),
        ["sync"] => Ok(WriteSync::Full),
        _ => Err(format!("{} is neither dsync nor sync", words.join(" "))),
    }
}

impl Step {
    /// Reads one step.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> std::result::Result<Step, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let own = |word: &str| word.to_owned();
        Ok(match words.as_slice() {
            ["create", path] => Step::Create(own(path)),
            ["mkdir", path] => Step::Mkdir(own(path)),
            ["symlink", target, path] => Step::Symlink(own(target), own(path)),
            ["unlink", path] => Step::Remove { path: own(path), dir: false },
            ["rmdir", path] => Step::Remove { path: own(path), dir: true },
            ["link", from, to] => Step::Link(own(from), own(to)),
            ["rename", from, to] => Step::Rename(own(from), own(to)),
            ["exchange", a, b] => Step::Exchange(own(a), own(b)),
            ["open", h, path] => Step::Open { handle: handle(h)?, path: own(path), truncate: false },
            ["open", h, path, "trunc"] => Step::Open { handle: handle(h)?, path: own(path), truncate: true },
            ["tmpfile", h, dir] => Step::Tmpfile { handle: handle(h)?, dir: own(dir) },
            ["close", h] => Step::Close(handle(h)?),
            ["write", file, at, what, len, flags @ ..] => {
                write(file, Some(number(at)?), letter(what)?, number(len)?, sync(flags)?)?
            }
            ["append", file, what, len, flags @ ..] => {
                write(file, None, letter(what)?, number(len)?, sync(flags)?)?
            }
            ["truncate", file, size] => Step::Truncate(own(file), number(size)?),
            ["allocate", file, mode, offset, len] => {
                let known = MODES.iter().find(|(name, _)| name == mode);
                let (_, mode) = known.ok_or_else(|| format!("{mode} is no mode of fallocate"))?;
                let (offset, len) = (number(offset)?, number(len)?);
                Step::Allocate { file: own(file), mode: *mode, offset, len }
            }
            ["fsync", path] => Step::Fsync(own(path)),
            ["fdatasync", path] => Step::Fdatasync(own(path)),
            ["syncfs"] => Step::Syncfs,
            [word @ ("writeback" | "start-writeback"), file, range @ ..] => {
                let (offset, len) = match range {
                    [] => (0, 0),
                    [offset, len] => (number(offset)?, number(len)?),
                    _ => return Err("a range is an offset and a length".into()),
                };
                Step::WriteBack { file: own(file), offset, len, wait: *word == "writeback" }
            }
            ["background-sync"] => Step::BackgroundSync,
            ["commit"] => Step::Commit,
            ["sleep", ms] => Step::Sleep(number(ms)?),
            ["hold", what, ms] => Step::Hold(letter(what)?, number(ms)?),
            ["release"] => Step::Release,
            ["jitter", us] => Step::Jitter(number(us)?),
            _ => return Err(format!("no such step: {}", line.trim())),
        })
    }
}

fn write(
    file: &str,
    offset: Option<u64>,
    letter: char,
    len: u64,
    sync: WriteSync,
) -> std::result::Result<Step, String> {
    if len == 0 {
        return Err("a write of nothing".into());
    }
    Ok(Step::Write { file: file.into(), offset, letter, len, sync })
}
