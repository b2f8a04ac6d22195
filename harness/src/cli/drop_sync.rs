//! `--drop-sync CALL:GLOB`: what would a missing sync do? The matching syncs are taken out of the trace
//! before anything else looks at it.

use crate::report::show::sync_name;
use std::fmt;
use std::str::FromStr;
use unplug_faults::event::{Op, WriteSync};
use unplug_faults::glob;
use unplug_faults::paths::Paths;
use unplug_faults::trace::Trace;

/// The calls that a pattern may name.
const CALLS: [&str; 8] = ["fsync", "fdatasync", "sync_file_range", "msync", "sync", "o_dsync", "o_sync", "*"];

/// Which syncs are to be dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropSync {
    call: String,
    glob: String,
}

impl FromStr for DropSync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let calls = CALLS.join(", ");
        let Some((call, glob)) = text.split_once(':') else {
            return Err(format!("expected CALL:GLOB, such as 'fdatasync:*incr*'; CALL is one of {calls}"));
        };
        if !CALLS.contains(&call) {
            return Err(format!("no sync is called '{call}'; CALL is one of {calls}"));
        }
        if glob.is_empty() {
            return Err(format!("the path glob is empty; '{call}:*' matches every file"));
        }
        Ok(DropSync { call: call.into(), glob: glob.into() })
    }
}

impl fmt::Display for DropSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.call, self.glob)
    }
}

impl DropSync {
    /// Takes the matching syncs out of the trace and says how many there were.
    ///
    /// A write that carries a sync by itself (`o_dsync`, `o_sync`) stays, as an ordinary write. Syncs that
    /// failed stay too: they promised nothing.
    pub fn apply(&self, trace: &mut Trace) -> usize {
        let mut paths = Paths::at_start(trace);
        let mut dropped = 0;
        trace.events.retain_mut(|event| {
            paths.apply(event);
            if event.errno != 0 {
                return true;
            }
            match &mut event.op {
                Op::Sync { file, kind } if self.matches(sync_name(*kind), &paths.of(*file)) => {
                    dropped += 1;
                    false
                }
                Op::SyncAll if self.matches("sync", ".") => {
                    dropped += 1;
                    false
                }
                Op::Write { file, sync, .. } if *sync != WriteSync::None => {
                    let call = if *sync == WriteSync::Data { "o_dsync" } else { "o_sync" };
                    if self.matches(call, &paths.of(*file)) {
                        *sync = WriteSync::None;
                        dropped += 1;
                    }
                    true
                }
                _ => true,
            }
        });
        dropped
    }

    fn matches(&self, call: &str, path: &str) -> bool {
        (self.call == "*" || self.call == call) && glob::matches(self.glob.as_bytes(), path.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unplug_faults::event::{Event, FileId, NodeKind, SyncKind, Task};
    use unplug_faults::trace::BaseNode;

    fn trace() -> Trace {
        let node = |file, dir, name: &[u8], kind| BaseNode {
            file: FileId(file),
            dir: FileId(dir),
            name: name.to_vec(),
            kind,
            data: Vec::new(),
        };
        let event = |n: u64, errno, op| Event {
            begin: n,
            end: n,
            at: 0,
            task: Task::default(),
            site: None,
            errno,
            op,
        };
        let sync = |file, kind| Op::Sync { file: FileId(file), kind };
        let write = |file, sync| Op::Write { file: FileId(file), offset: 0, data: b"x".to_vec(), sync };
        Trace {
            base: vec![
                node(1, 0, b"appendonlydir", NodeKind::Dir),
                node(2, 1, b"a.1.incr.aof", NodeKind::File),
                node(3, 1, b"a.manifest", NodeKind::File),
            ],
            events: vec![
                event(1, 0, sync(2, SyncKind::Fdatasync)),
                event(2, 0, sync(2, SyncKind::Fsync)),
                event(3, 0, sync(3, SyncKind::Fdatasync)),
                event(4, 5, sync(2, SyncKind::Fdatasync)),
                event(5, 0, sync(1, SyncKind::Fdatasync)),
                event(6, 0, write(2, WriteSync::Data)),
                event(7, 0, Op::SyncAll),
            ],
            ..Trace::default()
        }
    }

    fn left(pattern: &str) -> (usize, Vec<u64>) {
        let mut trace = trace();
        let dropped = pattern.parse::<DropSync>().unwrap().apply(&mut trace);
        (dropped, trace.events.iter().map(|e| e.begin).collect())
    }

    #[test]
    fn call_and_path_must_both_match() {
        assert_eq!(left("fdatasync:*incr*"), (1, vec![2, 3, 4, 5, 6, 7]));
        assert_eq!(left("fsync:*.manifest"), (0, vec![1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(left("*:appendonlydir"), (1, vec![1, 2, 3, 4, 6, 7]));
        assert_eq!(left("sync:*"), (1, vec![1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn a_write_loses_its_sync_and_stays() {
        let mut trace = trace();
        assert_eq!("o_dsync:*".parse::<DropSync>().unwrap().apply(&mut trace), 1);
        assert!(trace.events.iter().any(|e| matches!(e.op, Op::Write { sync: WriteSync::None, .. })));
    }

    #[test]
    fn every_sync_that_succeeded_can_be_dropped_at_once() {
        assert_eq!(left("*:*"), (6, vec![4, 6]));
    }

    #[test]
    fn a_bad_pattern_says_what_a_good_one_is() {
        let said = |p: &str| p.parse::<DropSync>().expect_err("bad");
        assert!(said("incr").contains("'fdatasync:*incr*'"));
        assert!(said("flush:*").contains("no sync is called 'flush'"));
        assert!(said("fsync:").contains("'fsync:*' matches every file"));
    }
}
