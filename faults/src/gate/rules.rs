//! Rules: *hold this call until that event*, for races that a seed would find only by luck.

use super::error::GateError;
use crate::glob;
use serde::{Deserialize, Serialize};

/// The calls that a rule may name, with their numbers on x86-64 Linux.
const CALLS: &[(&str, i64)] = &[
    ("write", libc::SYS_write),
    ("pwrite64", libc::SYS_pwrite64),
    ("writev", libc::SYS_writev),
    ("pwritev", libc::SYS_pwritev),
    ("pwritev2", libc::SYS_pwritev2),
    ("open", libc::SYS_open),
    ("openat", libc::SYS_openat),
    ("openat2", libc::SYS_openat2),
    ("creat", libc::SYS_creat),
    ("truncate", libc::SYS_truncate),
    ("ftruncate", libc::SYS_ftruncate),
    ("fallocate", libc::SYS_fallocate),
    ("fsync", libc::SYS_fsync),
    ("fdatasync", libc::SYS_fdatasync),
    ("sync_file_range", libc::SYS_sync_file_range),
    ("rename", libc::SYS_rename),
    ("renameat", libc::SYS_renameat),
    ("renameat2", libc::SYS_renameat2),
    ("link", libc::SYS_link),
    ("linkat", libc::SYS_linkat),
    ("symlink", libc::SYS_symlink),
    ("symlinkat", libc::SYS_symlinkat),
    ("unlink", libc::SYS_unlink),
    ("unlinkat", libc::SYS_unlinkat),
    ("mkdir", libc::SYS_mkdir),
    ("mkdirat", libc::SYS_mkdirat),
    ("rmdir", libc::SYS_rmdir),
    ("copy_file_range", libc::SYS_copy_file_range),
    ("sendfile", libc::SYS_sendfile),
    ("sendto", libc::SYS_sendto),
    ("sendmsg", libc::SYS_sendmsg),
];

/// A recorded call, by name, path and occurrence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallPattern {
    /// The system call's name as strace prints it, or `*`. C libraries differ in which one they use: `rename`
    /// of a C program may arrive as `renameat2`.
    pub call: String,
    /// A glob for the path as the program gave it, or as the kernel knows the descriptor; `*` also matches `/`.
    pub path: String,
    /// Which of the matching calls, counting from 1; 0 stands for each.
    pub nth: u32,
}

/// Holds a task that stands before one call until another call has been made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// What is held.
    pub hold: CallPattern,
    /// What sets it free: the call was granted, and its task has come to its next yield point.
    pub until: CallPattern,
}

/// A pattern with its call resolved and its occurrences counted.
#[derive(Debug)]
struct Counter {
    nr: Option<u32>,
    glob: Vec<u8>,
    nth: u32,
    seen: u32,
}

impl Counter {
    fn new(pattern: &CallPattern) -> Result<Self, GateError> {
        let nr = match pattern.call.as_str() {
            "*" => None,
            name => {
                let known =
                    CALLS.iter().find(|(n, _)| *n == name).and_then(|(_, nr)| u32::try_from(*nr).ok());
                Some(known.ok_or_else(|| GateError::UnknownCall(name.to_owned()))?)
            }
        };
        Ok(Self { nr, glob: pattern.path.clone().into_bytes(), nth: pattern.nth, seen: 0 })
    }

    /// Whether this very call is the one meant. Counts it.
    fn hit(&mut self, nr: u32, path: &[u8]) -> bool {
        if self.nr.is_some_and(|want| want != nr) || !glob::matches(&self.glob, path) {
            return false;
        }
        self.seen += 1;
        self.nth == 0 || self.nth == self.seen
    }
}

#[derive(Debug)]
struct Live {
    hold: Counter,
    until: Counter,
    met: bool,
    /// Slots that stand before a held call.
    holding: Vec<usize>,
}

/// The rules of a run and how far they have come.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Live>);

impl Rules {
    pub(super) fn new(rules: &[Rule]) -> Result<Self, GateError> {
        let live = |r: &Rule| {
            Ok(Live {
                hold: Counter::new(&r.hold)?,
                until: Counter::new(&r.until)?,
                met: false,
                holding: Vec::new(),
            })
        };
        rules.iter().map(live).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A task has arrived before a call.
    pub(super) fn arrived(&mut self, slot: usize, nr: u32, path: &[u8]) {
        for rule in &mut self.0 {
            if rule.hold.hit(nr, path) && !rule.met {
                rule.holding.push(slot);
            }
        }
    }

    /// A task has made a call and come to its next yield point.
    pub(super) fn made(&mut self, nr: u32, path: &[u8]) {
        for rule in &mut self.0 {
            if rule.until.hit(nr, path) {
                rule.met = true;
                rule.holding.clear();
            }
        }
    }

    /// Whether some rule holds this slot's task.
    pub(super) fn holds(&self, slot: usize) -> bool {
        self.0.iter().any(|rule| rule.holding.contains(&slot))
    }

    /// The task is gone, and with it its call.
    pub(super) fn forget(&mut self, slot: usize) {
        for rule in &mut self.0 {
            rule.holding.retain(|s| *s != slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(call: &str, path: &str, nth: u32) -> CallPattern {
        CallPattern { call: call.into(), path: path.into(), nth }
    }

    #[test]
    fn the_nth_call_is_held_until_the_event_and_then_no_more() {
        let rule = Rule { hold: pattern("write", "*log", 2), until: pattern("rename", "*", 1) };
        let mut rules = Rules::new(&[rule]).unwrap();
        let (write, rename) = (libc::SYS_write as u32, libc::SYS_rename as u32);
        rules.arrived(0, write, b"/log");
        assert!(!rules.holds(0), "the first is not meant");
        rules.arrived(1, write, b"/other");
        rules.arrived(0, write, b"/log");
        assert!(rules.holds(0) && !rules.holds(1));
        rules.made(write, b"/other");
        assert!(rules.holds(0));
        rules.made(rename, b"/x");
        assert!(!rules.holds(0));
        rules.arrived(0, write, b"/log");
        assert!(!rules.holds(0));
    }

    #[test]
    fn an_unknown_call_is_an_error() {
        let rule = Rule { hold: pattern("wriet", "*", 1), until: pattern("*", "*", 1) };
        assert!(matches!(Rules::new(&[rule]), Err(GateError::UnknownCall(name)) if name == "wriet"));
    }
}
