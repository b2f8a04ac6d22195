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

/// A call before which a task is held until it is let go.
#[derive(Debug)]
struct Stop {
    /// How many calls come before it.
    before: u32,
    /// Where the task stands, once it has come there.
    at: Option<(usize, Stopped)>,
}

/// The call before which a task is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The system call's name as strace prints it.
    pub call: String,
    /// The path as the program gave it, or as the kernel knows the descriptor.
    pub path: Vec<u8>,
}

/// The rules of a run and how far they have come.
#[derive(Debug, Default)]
pub(super) struct Rules {
    live: Vec<Live>,
    stop: Option<Stop>,
}

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
        Ok(Self { live: rules.iter().map(live).collect::<Result<_, _>>()?, stop: None })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.stop.is_none()
    }

    /// Whichever task comes to the `nth` recorded call from now on, counting from 1, is held there.
    pub(super) fn stop_at(&mut self, nth: u32) {
        self.stop = Some(Stop { before: nth.saturating_sub(1), at: None });
    }

    /// The call before which a task is held.
    pub(super) fn stopped(&self) -> Option<&Stopped> {
        self.stop.as_ref()?.at.as_ref().map(|(_, stopped)| stopped)
    }

    /// Sets the task free. Says whether there was one.
    pub(super) fn let_go(&mut self) -> bool {
        self.stop.take().is_some_and(|stop| stop.at.is_some())
    }

    /// A task has arrived before a call.
    pub(super) fn arrived(&mut self, slot: usize, nr: u32, path: &[u8]) {
        match &mut self.stop {
            Some(Stop { before: 0, at: at @ None }) => {
                let known = CALLS.iter().find(|(_, known)| *known == i64::from(nr));
                let call = known.map_or_else(|| nr.to_string(), |(name, _)| (*name).to_owned());
                *at = Some((slot, Stopped { call, path: path.to_vec() }));
            }
            Some(Stop { before, at: None }) => *before -= 1,
            _ => {}
        }
        for rule in &mut self.live {
            if rule.hold.hit(nr, path) && !rule.met {
                rule.holding.push(slot);
            }
        }
    }

    /// A task has made a call and come to its next yield point.
    pub(super) fn made(&mut self, nr: u32, path: &[u8]) {
        for rule in &mut self.live {
            if rule.until.hit(nr, path) {
                rule.met = true;
                rule.holding.clear();
            }
        }
    }

    /// Whether some rule holds this slot's task.
    pub(super) fn holds(&self, slot: usize) -> bool {
        self.live.iter().any(|rule| rule.holding.contains(&slot))
            || self.stop.as_ref().is_some_and(|stop| stop.at.as_ref().is_some_and(|(at, _)| *at == slot))
    }

    /// The task is gone, and with it its call.
    pub(super) fn forget(&mut self, slot: usize) {
        for rule in &mut self.live {
            rule.holding.retain(|s| *s != slot);
        }
        if self.stop.as_ref().is_some_and(|stop| stop.at.as_ref().is_some_and(|(at, _)| *at == slot)) {
            self.stop = None;
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
    fn whoever_comes_to_the_nth_call_is_held_until_it_is_let_go() {
        let mut rules = Rules::new(&[]).unwrap();
        assert!(rules.is_empty());
        rules.stop_at(2);
        let (write, rename) = (libc::SYS_write as u32, libc::SYS_rename as u32);
        rules.arrived(0, write, b"/log");
        assert!(!rules.holds(0) && rules.stopped().is_none() && !rules.is_empty());
        rules.arrived(3, rename, b"/a");
        rules.arrived(1, write, b"/b");
        assert!(rules.holds(3) && !rules.holds(0) && !rules.holds(1));
        assert_eq!(rules.stopped(), Some(&Stopped { call: "rename".into(), path: b"/a".to_vec() }));
        assert!(rules.let_go() && !rules.holds(3) && !rules.let_go());
        rules.stop_at(1);
        rules.arrived(2, write, b"/c");
        assert!(rules.holds(2));
        rules.forget(2);
        assert!(!rules.holds(2) && rules.stopped().is_none(), "its task is gone");
    }

    #[test]
    fn an_unknown_call_is_an_error() {
        let rule = Rule { hold: pattern("wriet", "*", 1), until: pattern("*", "*", 1) };
        assert!(matches!(Rules::new(&[rule]), Err(GateError::UnknownCall(name)) if name == "wriet"));
    }
}
