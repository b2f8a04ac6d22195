//! Scripts: short workloads in words. One script is both run on a mounted file system and made into a trace.
//!
//! ```text
//! # Replace a file: temporary, fsync, rename.
//! create f
//! write f 0 A 2p
//! ---
//! create t
//! append t B 3p
//! fsync t
//! rename t f
//! ```
//!
//! What stands above `---` is on the disk, whole, before the recording begins. Content is a letter, over and over;
//! lengths are bytes, or pages with a `p`. A path that begins with `@` is an open descriptor; a synchronous write by
//! path opens it with O_DSYNC or O_SYNC, one by descriptor is a pwritev2 with RWF_DSYNC or RWF_SYNC. Names that begin with
//! `z` are helpers: they are part of the trace but not of the trees that are compared.

mod parse;
mod run;
mod sim;

pub use run::Runner;
pub use sim::{Lowered, lower};

use std::fmt;
use unplug_faults::event::{AllocateMode, WriteSync};

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new, empty file.
    Create(String),
    /// A new directory.
    Mkdir(String),
    /// A symbolic link: target, path.
    Symlink(String, String),
    /// A name goes: unlink, or rmdir.
    Remove {
        /// The name.
        path: String,
        /// It is a directory.
        dir: bool,
    },
    /// A further name, from a name or a descriptor.
    Link(String, String),
    /// rename(2).
    Rename(String, String),
    /// renameat2(2) with RENAME_EXCHANGE.
    Exchange(String, String),
    /// A descriptor stays open under a name of its own.
    Open {
        /// The descriptor, with its `@`.
        handle: String,
        /// What is opened.
        path: String,
        /// O_TRUNC.
        truncate: bool,
    },
    /// O_TMPFILE in a directory.
    Tmpfile {
        /// The descriptor, with its `@`.
        handle: String,
        /// The directory.
        dir: String,
    },
    /// A descriptor is closed.
    Close(String),
    /// Bytes are written.
    Write {
        /// Path or descriptor.
        file: String,
        /// Where; `None` is the end of the file.
        offset: Option<u64>,
        /// Of what.
        letter: char,
        /// How many.
        len: u64,
        /// O_DSYNC, O_SYNC; of a descriptor RWF_DSYNC, RWF_SYNC.
        sync: WriteSync,
    },
    /// truncate(2).
    Truncate(String, u64),
    /// fallocate(2).
    Allocate {
        /// Path or descriptor.
        file: String,
        /// The mode.
        mode: AllocateMode,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// fsync of a file or directory.
    Fsync(String),
    /// fdatasync of a file.
    Fdatasync(String),
    /// syncfs.
    Syncfs,
    /// sync_file_range: write-back without a promise.
    WriteBack {
        /// Path or descriptor.
        file: String,
        /// First byte.
        offset: u64,
        /// Bytes; 0 is up to the end.
        len: u64,
        /// Wait for it, or only start it.
        wait: bool,
    },
    /// syncfs by another thread: nobody waits for it.
    BackgroundSync,
    /// The file system commits by itself, data that were not written back left out (btrfs alone can be told to).
    Commit,
    /// Time passes, in milliseconds.
    Sleep(u64),
    /// The disk keeps writes of this letter for so many milliseconds.
    Hold(char, u64),
    /// The disk keeps no write any longer.
    Release,
    /// The disk takes a random time for half of its writes, up to so many microseconds.
    Jitter(u64),
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its name: the file's, without the extension.
    pub name: String,
    /// What it is, from its first comment.
    pub about: String,
    /// What is on the disk before the recording.
    pub setup: Vec<Step>,
    /// What is recorded.
    pub steps: Vec<Step>,
}

impl Script {
    /// A number that changes with the steps: recorded observations are kept with it.
    pub fn fingerprint(&self) -> u32 {
        // FNV-1a: nothing depends on its strength.
        let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        self.to_string().bytes().fold(0x811C_9DC5, step)
    }
}

/// Only what is run: comments do not change a fingerprint.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.setup.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        writeln!(f, "---")?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

pub(crate) const MODES: [(&str, AllocateMode); 7] = [
    ("extend", AllocateMode::Extend),
    ("keep", AllocateMode::KeepSize),
    ("punch", AllocateMode::Punch),
    ("zero", AllocateMode::Zero { keep_size: false }),
    ("zero-keep", AllocateMode::Zero { keep_size: true }),
    ("collapse", AllocateMode::Collapse),
    ("insert", AllocateMode::Insert),
];

fn amount(n: u64) -> String {
    if n != 0 && n.is_multiple_of(4096) { format!("{}p", n / 4096) } else { n.to_string() }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Create(path) => write!(f, "create {path}"),
            Step::Mkdir(path) => write!(f, "mkdir {path}"),
            Step::Symlink(target, path) => write!(f, "symlink {target} {path}"),
            Step::Remove { path, dir: true } => write!(f, "rmdir {path}"),
            Step::Remove { path, dir: false } => write!(f, "unlink {path}"),
            Step::Link(from, to) => write!(f, "link {from} {to}"),
            Step::Rename(from, to) => write!(f, "rename {from} {to}"),
            Step::Exchange(a, b) => write!(f, "exchange {a} {b}"),
            Step::Open { handle, path, truncate } => {
                write!(f, "open {handle} {path}{}", if *truncate { " trunc" } else { "" })
            }
            Step::Tmpfile { handle, dir } => write!(f, "tmpfile {handle} {dir}"),
            Step::Close(handle) => write!(f, "close {handle}"),
            Step::Write { file, offset, letter, len, sync } => {
                match offset {
                    Some(offset) => write!(f, "write {file} {} {letter} {}", amount(*offset), amount(*len))?,
                    None => write!(f, "append {file} {letter} {}", amount(*len))?,
                }
                match sync {
                    WriteSync::None => Ok(()),
                    WriteSync::Data => write!(f, " dsync"),
                    WriteSync::Full => write!(f, " sync"),
                }
            }
            Step::Truncate(file, size) => write!(f, "truncate {file} {}", amount(*size)),
            Step::Allocate { file, mode, offset, len } => {
                let mode = MODES.iter().find(|(_, m)| m == mode).map_or("extend", |(name, _)| name);
                write!(f, "allocate {file} {mode} {} {}", amount(*offset), amount(*len))
            }
            Step::Fsync(path) => write!(f, "fsync {path}"),
            Step::Fdatasync(path) => write!(f, "fdatasync {path}"),
            Step::Syncfs => write!(f, "syncfs"),
            Step::WriteBack { file, offset, len, wait } => {
                let word = if *wait { "writeback" } else { "start-writeback" };
                write!(f, "{word} {file} {} {}", amount(*offset), amount(*len))
            }
            Step::BackgroundSync => write!(f, "background-sync"),
            Step::Commit => write!(f, "commit"),
            Step::Sleep(ms) => write!(f, "sleep {ms}"),
            Step::Hold(letter, ms) => write!(f, "hold {letter} {ms}"),
            Step::Release => write!(f, "release"),
            Step::Jitter(us) => write!(f, "jitter {us}"),
        }
    }
}
