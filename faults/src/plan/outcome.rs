//! What is done to a call.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What is done to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It fails with this error, and does nothing. A failed sync leaves the file's pages as a failed write-back
    /// does: what becomes of them is the persistence model's to say. If the error is the storage's (EIO, ENOSPC, EDQUOT)
    /// and the file a regular one, every other open file description of it is told once, at its next sync:
    /// [`Op::ToldAgain`](crate::event::Op::ToldAgain).
    Errno(i32),
    /// It moves so many bytes at the most; 0: half of what it was asked for.
    Short(u64),
    /// It begins so many nanoseconds late, by the target's clock.
    Delay(u64),
    /// Its process is killed before it; the page cache survives.
    Kill,
    /// Its process is killed after it.
    KillAfter,
    /// Files can grow by so many bytes; then writes are short, or fail with ENOSPC.
    Full {
        /// How many bytes find room.
        bytes: u64,
        /// After so many short or failed calls there is room again; 0: never.
        refusals: u64,
    },
    /// Nothing: it is only told of.
    Note,
}

/// The errors that a plan can name.
const ERRORS: [(&str, i32); 17] = [
    ("EIO", libc::EIO),
    ("ENOSPC", libc::ENOSPC),
    ("EDQUOT", libc::EDQUOT),
    ("EINTR", libc::EINTR),
    ("EAGAIN", libc::EAGAIN),
    ("EMFILE", libc::EMFILE),
    ("ENFILE", libc::ENFILE),
    ("ENOMEM", libc::ENOMEM),
    ("EROFS", libc::EROFS),
    ("EFBIG", libc::EFBIG),
    ("EACCES", libc::EACCES),
    ("EPERM", libc::EPERM),
    ("EBUSY", libc::EBUSY),
    ("EMLINK", libc::EMLINK),
    ("EPIPE", libc::EPIPE),
    ("ECONNRESET", libc::ECONNRESET),
    ("ENOBUFS", libc::ENOBUFS),
];

impl Outcome {
    /// What a word of a plan means: `EIO`, `short`, `short=5`, `delay=1.5s`, `delay=20ms`, `kill`, `kill-after`,
    /// `full=4096`.
    pub fn parse(word: &str) -> Option<Outcome> {
        if let Some((_, errno)) = ERRORS.iter().find(|(name, _)| *name == word) {
            return Some(Outcome::Errno(*errno));
        }
        let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v)));
        match (name, value) {
            ("short", None) => Some(Outcome::Short(0)),
            ("short", Some(bytes)) => bytes.parse().ok().filter(|n| *n > 0).map(Outcome::Short),
            ("delay", Some(time)) => duration(time).map(Outcome::Delay),
            ("kill", None) => Some(Outcome::Kill),
            ("kill-after", None) => Some(Outcome::KillAfter),
            ("full", Some(bytes)) => bytes.parse().ok().map(|bytes| Outcome::Full { bytes, refusals: 0 }),
            _ => None,
        }
    }

    /// What [`Outcome::parse`] takes.
    pub fn words() -> String {
        let errors: Vec<&str> = ERRORS.iter().map(|(name, _)| *name).collect();
        format!("{}, short, short=BYTES, delay=TIME, kill, kill-after, full=BYTES", errors.join(", "))
    }
}

/// `1.5s`, `20ms`; in nanoseconds.
fn duration(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1_000_000u64),
        None => (text.strip_suffix('s')?, 1_000_000_000),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || (number.contains('.') && (!digits(part) || part.len() > 6)) {
        return None;
    }
    let mut nanos = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    if !part.is_empty() {
        nanos = nanos.checked_add(part.parse::<u64>().ok()? * (unit / 10u64.pow(part.len() as u32)))?;
    }
    Some(nanos)
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Errno(errno) => match ERRORS.iter().find(|(_, e)| e == errno) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "errno {errno}"),
            },
            Outcome::Short(0) => f.write_str("short"),
            Outcome::Short(bytes) => write!(f, "short={bytes}"),
            Outcome::Delay(nanos) if nanos % 1_000_000_000 == 0 => {
                write!(f, "delay={}s", nanos / 1_000_000_000)
            }
            Outcome::Delay(nanos) if nanos % 1_000_000 == 0 => write!(f, "delay={}ms", nanos / 1_000_000),
            Outcome::Delay(nanos) => {
                write!(f, "delay={}.{:06}ms", nanos / 1_000_000, nanos % 1_000_000)
            }
            Outcome::Kill => f.write_str("kill"),
            Outcome::KillAfter => f.write_str("kill-after"),
            Outcome::Full { bytes, refusals: 0 } => write!(f, "full={bytes}"),
            Outcome::Full { bytes, refusals } => write!(f, "full={bytes} until={refusals}"),
            Outcome::Note => f.write_str("noted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        let words =
            ["EIO", "ENOMEM", "short", "short=5", "delay=2s", "delay=1500ms", "kill", "kill-after", "full=9"];
        for word in words {
            assert_eq!(Outcome::parse(word).map(|o| o.to_string()).as_deref(), Some(word));
        }
        assert_eq!(Outcome::parse("delay=1.5s"), Some(Outcome::Delay(1_500_000_000)));
        assert_eq!(Outcome::parse("delay=0.25ms"), Some(Outcome::Delay(250_000)));
        for bad in [
            "",
            "EWHAT",
            "short=0",
            "short=x",
            "delay",
            "delay=5",
            "delay=.5s",
            "delay=1.s",
            "kill=1",
            "full",
        ] {
            assert_eq!(Outcome::parse(bad), None, "{bad}");
        }
    }
}
