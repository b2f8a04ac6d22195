//! Which bytes of a stopped store's files nothing can vouch for.
//!
//! A checksum that was written to a log after a sync can say that what the sync covered has to be there, and a file
//! that got its name after a sync is there as a whole. What was written to a file after the last sync that was followed
//! by another write to it, or by a change of its name, is the *unsealed tail*: a disk that damages it leaves what a
//! power loss may leave.

use std::collections::BTreeMap;
use unplug_faults::event::{Clock, FileId, Op, WriteSync};
use unplug_faults::paths::Paths;
use unplug_faults::trace::Trace;

/// The unsealed tail of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Its first byte.
    pub(super) from: u64,
    /// The crash point after which a power loss may have damaged it.
    pub(super) since: Clock,
}

/// The tails of a run's files, by path; a file that is not there has none.
pub(super) fn tails(trace: &Trace) -> BTreeMap<Vec<u8>, Tail> {
    let mut paths = Paths::at_start(trace);
    trace.events.iter().for_each(|e| paths.apply(e));
    let mut writes: BTreeMap<FileId, Vec<(Clock, u64)>> = BTreeMap::new();
    // Each sync's begin and end.
    let mut syncs: BTreeMap<FileId, Vec<(Clock, Clock)>> = BTreeMap::new();
    let mut changes: BTreeMap<FileId, Clock> = BTreeMap::new();
    for event in trace.events.iter().filter(|e| e.errno == 0) {
        match &event.op {
            Op::Write { file, offset, sync, .. } => {
                writes.entry(*file).or_default().push((event.begin, *offset));
                changes.insert(*file, event.begin);
                if *sync != WriteSync::None {
                    syncs.entry(*file).or_default().push((event.begin + 1, event.end));
                }
            }
            Op::Sync { file, .. } => syncs.entry(*file).or_default().push((event.begin, event.end)),
            Op::Rename { file, .. } | Op::Link { file, .. } => drop(changes.insert(*file, event.begin)),
            Op::Exchange { a, b, .. } => {
                changes.insert(*a, event.begin);
                changes.insert(*b, event.begin);
            }
            _ => {}
        }
    }
    let tail = |file: &FileId, writes: &Vec<(Clock, u64)>| {
        let none = Vec::new();
        let last_change = changes.get(file).copied().unwrap_or(0);
        let sealed = syncs.get(file).unwrap_or(&none).iter().rev().find(|(_, end)| *end < last_change);
        let (begin, since) = sealed.copied().unwrap_or((0, 0));
        let from = writes.iter().filter(|(at, _)| *at > begin).map(|(_, offset)| *offset).min()?;
        Some((paths.of(*file).into_bytes(), Tail { from, since }))
    };
    writes.iter().filter_map(|(file, list)| tail(file, list)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::TraceBuilder;
    use unplug_faults::event::{NodeKind, SyncKind};

    #[test]
    fn what_was_synced_before_the_last_change_is_sealed() {
        let mut b = TraceBuilder::new();
        let create = |file: u32, name: &str| Op::Create {
            dir: FileId::ROOT,
            name: name.into(),
            file: FileId(file),
            kind: NodeKind::File,
        };
        let write = |file, offset, text: &str| Op::Write {
            file: FileId(file),
            offset,
            data: text.into(),
            sync: WriteSync::None,
        };
        let sync = |file| Op::Sync { file: FileId(file), kind: SyncKind::Fsync };
        b.event(create(1, "log"));
        b.event(create(2, "temp"));
        b.event(write(1, 0, "aaa"));
        let sealed = b.event(sync(1));
        b.event(write(1, 3, "bbb"));
        b.event(write(1, 6, "ccc"));
        b.event(write(2, 0, "snapshot"));
        b.event(sync(2));
        let rename = Op::Rename {
            from_dir: FileId::ROOT,
            from_name: b"temp".to_vec(),
            to_dir: FileId::ROOT,
            to_name: b"dump".to_vec(),
            file: FileId(2),
            replaced: None,
        };
        b.event(rename);
        b.event(sync(1));
        let tails = tails(&b.trace());
        let log = tails[&b"log"[..]];
        assert_eq!(log.from, 3, "the last sync was followed by no write to it");
        assert!(log.since >= sealed);
        assert_eq!(tails.len(), 1, "the snapshot was renamed after its sync");
    }
}
