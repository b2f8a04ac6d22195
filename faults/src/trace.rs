//! A trace: everything that is known of one run, in memory. Its file form is in [`crate::codec`].

use crate::event::{Clock, Event, FileId, Name, NodeKind, Op};
pub use crate::mutate::drop_syncs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One recorded run: the tree it began with, and everything that happened, in the order of
/// [`Event::begin`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// What was run, and how.
    pub meta: Meta,
    /// The recorded directory before the first event, durable as a whole. Parents stand before children;
    /// the root itself is not listed.
    pub base: Vec<BaseNode>,
    /// Where calls came from.
    pub sites: Vec<Site>,
    /// What happened, sorted by begin clock.
    pub events: Vec<Event>,
    /// What the recorder saw but could not follow. Not empty: the run is *not measured*.
    pub blind: Vec<Blind>,
}

impl Trace {
    /// When a call was over for those that came later: when it returned; or, if its process was killed inside it, when
    /// all processes of the target had been. What it had come to by then is in the trace, and the next life goes on from
    /// it. [`Event::NEVER`] where there is no such kill, or it was not a kill of all.
    pub fn over(&self, event: usize) -> Clock {
        let Some(call) = self.events.get(event) else { return Event::NEVER };
        if call.end != Event::NEVER {
            return call.end;
        }
        let killed = |e: &&Event| e.op == Op::Kill && e.begin > call.begin;
        self.events[event..].iter().find(killed).map_or(Event::NEVER, |kill| kill.begin)
    }
}

/// What was run, and how. Holds nothing that differs between two equal runs (no pids, dates or paths).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The target, such as `engine` or `redis-server 7.0.15`.
    pub target: String,
    /// The target's options, such as `appendfsync` = `always`.
    pub options: BTreeMap<String, String>,
    /// The seed of workload and scheduler.
    pub seed: u64,
    /// Calls were granted one at a time, so that the run is repeatable.
    pub gated: bool,
    /// The target's clock was moved by the harness.
    pub virtual_time: bool,
    /// The target's wall clock at the start of the recording, in milliseconds since 1970 (fixed where time
    /// is virtual). `Event::at` counts from here.
    pub epoch_ms: u64,
}

/// A file or directory of the base image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseNode {
    /// Its identity. Two nodes with one identity are hard links.
    pub file: FileId,
    /// Its parent.
    pub dir: FileId,
    /// Its name there.
    pub name: Name,
    /// What it is.
    pub kind: NodeKind,
    /// A file's bytes.
    pub data: Vec<u8>,
}

/// Where a call came from: the innermost frames that are known, nearest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Site {
    /// The frames; the first is the call's return address. Functions inlined at one address are frames of their own.
    pub frames: Vec<Frame>,
}

/// One frame of a call site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// The module's file name, without its directory.
    pub module: String,
    /// The address within the module.
    pub offset: u64,
    /// The function, demangled, if known.
    pub symbol: Option<String>,
    /// `file:line`, if known.
    pub line: Option<String>,
}

/// Something that the recorder saw but could not follow, which makes a run *not measured*.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Blind {
    /// What, by name, such as `io_uring_setup` or `mmap(MAP_SHARED, PROT_WRITE)`.
    pub what: String,
    /// The details: path, count, what a person may do about it.
    pub detail: String,
}
