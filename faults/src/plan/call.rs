//! The calls that a rule can name.

use crate::abi_fault::CALLS;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A call of the target, by what it does: which of several system calls a program makes for it is its C library's
/// choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Call(pub(super) u8);

/// System calls by other names.
const ALSO: [(&str, &str); 39] = [
    ("openat", "open"),
    ("openat2", "open"),
    ("creat", "open"),
    ("mknod", "open"),
    ("mknodat", "open"),
    ("pwrite", "write"),
    ("pwrite64", "write"),
    ("writev", "write"),
    ("pwritev", "write"),
    ("pwritev2", "write"),
    ("syncfs", "sync"),
    ("ftruncate", "truncate"),
    ("ftruncate64", "truncate"),
    ("renameat", "rename"),
    ("renameat2", "rename"),
    ("linkat", "link"),
    ("symlinkat", "symlink"),
    ("unlinkat", "unlink"),
    ("rmdir", "unlink"),
    ("mkdirat", "mkdir"),
    ("sendto", "send"),
    ("sendmsg", "send"),
    ("sendmmsg", "send"),
    ("recvfrom", "recv"),
    ("recvmsg", "recv"),
    ("recvmmsg", "recv"),
    ("copy_file_range", "copy"),
    ("sendfile", "copy"),
    ("sendfile64", "copy"),
    ("splice", "copy"),
    ("clone", "fork"),
    ("vfork", "fork"),
    ("pread", "read"),
    ("pread64", "read"),
    ("readv", "read"),
    ("preadv", "read"),
    ("preadv2", "read"),
    ("posix_fallocate", "fallocate"),
    ("fallocate64", "fallocate"),
];

impl Call {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Call> {
        (0..CALLS.len() as u8).map(Call)
    }

    /// Those that a recording sees even if no rule names them.
    pub fn recorded() -> impl Iterator<Item = Call> {
        Call::all().filter(|c| !c.reads())
    }

    /// The name in plans and reports.
    pub fn name(self) -> &'static str {
        CALLS.get(usize::from(self.0)).copied().unwrap_or("?")
    }

    /// Whether it only reads, so that it is seen only where a rule names it.
    pub fn reads(self) -> bool {
        matches!(self.name(), "read" | "open-read" | "recv")
    }

    /// Whether it takes from a socket what a client has sent.
    pub fn receives(self) -> bool {
        self.name() == "recv"
    }

    /// Whether it forces something to the disk.
    pub fn syncs(self) -> bool {
        matches!(self.name(), "fsync" | "fdatasync" | "sync" | "msync")
    }

    /// Whether it moves bytes, so that it can move fewer.
    pub fn moves_bytes(self) -> bool {
        matches!(self.name(), "write" | "read" | "copy" | "send" | "recv")
    }

    /// Whether it is about no path.
    pub fn has_no_path(self) -> bool {
        matches!(self.name(), "fork" | "send" | "recv")
    }

    pub(super) fn bit(self) -> u32 {
        1 << self.0
    }

    pub(super) fn of_class(class: u64) -> Option<Call> {
        u8::try_from(class).ok().filter(|c| usize::from(*c) < CALLS.len()).map(Call)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no call's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no call is named `{0}`; the calls are {list}", list = CALLS.join(", "))]
pub struct UnknownCall(pub String);

impl FromStr for Call {
    type Err = UnknownCall;

    fn from_str(text: &str) -> Result<Call, UnknownCall> {
        let name = ALSO.iter().find(|(other, _)| *other == text).map_or(text, |(_, name)| name);
        let at = CALLS.iter().position(|c| *c == name).ok_or_else(|| UnknownCall(text.to_owned()))?;
        Ok(Call(at as u8))
    }
}
