//! Sabotages: what the teeth check of a cell breaks on purpose. A harness that does not see it is broken.

use unplug_faults::event::{Clock, FileId, Op, WriteSync};
use unplug_faults::trace::Trace;

/// The name of [`drop_syncs`].
pub const SYNCS_DROPPED: &str = "all syncs dropped";
/// The name of [`delete_middle_write`].
pub const WRITE_DELETED: &str = "one middle write deleted";

/// The trace without any sync: what every promise rests on is gone.
pub fn drop_syncs(trace: &Trace) -> Trace {
    let mut out = trace.clone();
    out.events.retain(|e| !matches!(e.op, Op::Sync { .. } | Op::SyncAll));
    for event in &mut out.events {
        if let Op::Write { sync, .. } = &mut event.op {
            *sync = WriteSync::None;
        }
    }
    out
}

/// The trace without the middle one of the writes between two crash points, as if the target had never made
/// it: what follows in the file moves up. `None` where nothing is written there.
pub fn delete_middle_write(trace: &Trace, begin: Clock, end: Clock) -> Option<Trace> {
    delete_a_write(trace, begin, end).next()
}

/// As [`delete_middle_write`], and then without another one instead, from the middle outwards: of one write nobody may miss
/// anything, as of one to a snapshot that is made beside a log.
pub fn delete_a_write(trace: &Trace, begin: Clock, end: Clock) -> impl Iterator<Item = Trace> {
    let is_write = |i: &usize| {
        let e = &trace.events[*i];
        let writes = matches!(&e.op, Op::Write { data, .. } if !data.is_empty());
        e.errno == 0 && writes && (begin..=end).contains(&e.begin)
    };
    let writes: Vec<usize> = (0..trace.events.len()).filter(is_write).collect();
    let without = move |at: usize| {
        let mut out = trace.clone();
        let gone = out.events.remove(at);
        let Op::Write { file, offset, data, .. } = gone.op else { return None };
        move_up(&mut out, at, file, offset, data.len() as u64);
        Some(out)
    };
    // The half, the quarters that are no half, the eighths that are no quarters.
    let parts = [(1, 2), (1, 4), (3, 4), (1, 8), (3, 8), (5, 8), (7, 8)];
    let mut chosen: Vec<usize> = Vec::new();
    for (part, of) in parts {
        let at = writes.get(writes.len() * part / of).filter(|at| !chosen.contains(at));
        chosen.extend(at);
    }
    chosen.into_iter().filter_map(without)
}

/// Moves the later appends to a file up by the length of a write that is gone.
fn move_up(trace: &mut Trace, from: usize, gone_from: FileId, at: u64, len: u64) {
    for event in trace.events.iter_mut().skip(from) {
        match &mut event.op {
            Op::Write { file, offset, .. } if *file == gone_from && *offset >= at + len => *offset -= len,
            // From here on offsets mean something else.
            Op::Truncate { file, .. } if *file == gone_from => break,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::TraceBuilder;
    use unplug_faults::event::SyncKind;

    fn write(file: u32, offset: u64, text: &str) -> Op {
        Op::Write { file: FileId(file), offset, data: text.into(), sync: WriteSync::Full }
    }

    #[test]
    fn no_sync_is_left() {
        let mut b = TraceBuilder::new();
        b.event(write(1, 0, "abc"));
        b.event(Op::Sync { file: FileId(1), kind: SyncKind::Fsync });
        b.event(Op::SyncAll);
        let trace = drop_syncs(&b.trace());
        assert_eq!(trace.events.len(), 1);
        assert!(matches!(trace.events[0].op, Op::Write { sync: WriteSync::None, .. }));
    }

    #[test]
    fn what_follows_a_deleted_write_moves_up() {
        let mut b = TraceBuilder::new();
        b.event(write(1, 0, "abc"));
        let second = b.event(write(1, 3, "de"));
        b.event(write(1, 5, "f"));
        b.event(write(2, 5, "x"));
        let trace = b.trace();
        let cut = delete_middle_write(&trace, 0, second).unwrap();
        let offsets: Vec<u64> = cut
            .events
            .iter()
            .filter_map(|e| if let Op::Write { offset, .. } = &e.op { Some(*offset) } else { None })
            .collect();
        assert_eq!(offsets, [0, 3, 5]);
        assert!(delete_middle_write(&trace, 100, 200).is_none());
        let writes = |trace: &Trace| -> Vec<(u32, u64)> {
            let of = |e: &unplug_faults::event::Event| match &e.op {
                Op::Write { file, offset, .. } => Some((file.0, *offset)),
                _ => None,
            };
            trace.events.iter().filter_map(of).collect()
        };
        // Each of the four once, from the middle outwards.
        let without: Vec<_> = delete_a_write(&trace, 0, u64::MAX).map(|t| writes(&t)).collect();
        let expected = [
            vec![(1, 0), (1, 3), (2, 5)],
            vec![(1, 0), (1, 3), (2, 5)],
            vec![(1, 0), (1, 3), (1, 5)],
            vec![(1, 0), (1, 2), (2, 5)],
        ];
        assert_eq!(without, expected);
    }
}
