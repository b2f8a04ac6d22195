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
    let is_write = |i: &usize| {
        let e = &trace.events[*i];
        let writes = matches!(&e.op, Op::Write { data, .. } if !data.is_empty());
        e.errno == 0 && writes && (begin..=end).contains(&e.begin)
    };
    let writes: Vec<usize> = (0..trace.events.len()).filter(is_write).collect();
    let middle = *writes.get(writes.len() / 2)?;
    let mut out = trace.clone();
    let gone = out.events.remove(middle);
    let Op::Write { file, offset, data, .. } = gone.op else { return None };
    move_up(&mut out, middle, file, offset, data.len() as u64);
    Some(out)
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
    }
}
