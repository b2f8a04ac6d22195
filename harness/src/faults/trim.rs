//! A faulted run, ready to be crashed: only the moments from the fault on are new.

use crate::repro::cut;
use unplug_faults::event::{Event, Op};
use unplug_faults::model::{change_after_failure, is_of_storage};
use unplug_faults::plan::Outcome;
use unplug_faults::trace::Trace;
use xxhash_rust::xxh3::xxh3_128;

/// The name of what comes after the fault.
pub(crate) const FAULTED: &str = "from the fault on";

/// Whether an event is a fault that did something.
fn is_fault(event: &Event) -> bool {
    matches!(&event.op, Op::Fault { outcome, .. } if *outcome != Outcome::Note)
}

/// The trace with two phases: before the first fault, and from it on. `None` where none fired.
pub(super) fn from_fault(trace: &Trace) -> Option<Trace> {
    let first = trace.events.iter().position(is_fault)?;
    let mut out = trace.clone();
    let begin = Event { op: Op::Phase(FAULTED.to_owned()), ..trace.events[first].clone() };
    out.events.insert(first, begin);
    let mut kept = true;
    out.events.retain(|e| {
        kept = !matches!(&e.op, Op::Phase(name) if name != FAULTED);
        kept
    });
    Some(out)
}

/// What of a faulted run can have been on a file system that stops when a sync fails: all of it up to the first change
/// that came after that. What a store does when its changes are refused from then on is another run.
pub(super) fn on_one_that_stops(trace: &Trace) -> Option<Trace> {
    change_after_failure(trace).map(|begin| cut(trace, begin.saturating_sub(1)))
}

/// The trace without phases and notes: one run, one cell.
pub(super) fn whole(trace: &Trace) -> Trace {
    let mut out = trace.clone();
    out.events.retain(|e| !matches!(&e.op, Op::Phase(_) | Op::Fault { outcome: Outcome::Note, .. }));
    out
}

/// What two faulted runs must have in common for the disk and the clients to have seen the same: everything but
/// which error it was, of the storage or else. `make_plain` takes the same out of the target's replies.
pub(super) fn fingerprint(trace: &Trace, make_plain: impl Fn(&mut Trace)) -> Option<u128> {
    let mut same = trace.clone();
    make_plain(&mut same);
    same.meta.options.remove("faults");
    same.sites.clear();
    for event in &mut same.events {
        event.errno = kind_of(event.errno);
        event.site = None;
        if let Op::Fault { rule, outcome, .. } = &mut event.op {
            *rule = 0;
            *outcome = match *outcome {
                Outcome::Errno(errno) => Outcome::Errno(kind_of(errno)),
                other => other,
            };
        }
    }
    postcard::to_stdvec(&same).ok().map(|bytes| xxh3_128(&bytes))
}

/// As far as models tell errors apart.
fn kind_of(errno: i32) -> i32 {
    if is_of_storage(errno) { libc::EIO } else { i32::from(errno != 0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Subject;
    use crate::history::History;
    use crate::oracle::testing::TraceBuilder;
    use crate::target::policy::Policy;
    use crate::target::resp::RespTarget;
    use unplug_faults::plan::Role;

    fn fault(errno: i32) -> Op {
        let (call, path) = ("fsync".parse().unwrap(), b"f".to_vec());
        Op::Fault { rule: 0, call, path, role: Role::Main, outcome: Outcome::Errno(errno) }
    }

    fn trace(errno: i32, reply: &[u8]) -> Trace {
        let mut b = TraceBuilder::new();
        b.phase("append");
        b.run(b"one", b"+OK");
        b.event(fault(errno));
        b.phase("save");
        b.run(b"two", reply);
        b.trace()
    }

    #[test]
    fn the_last_phase_begins_at_the_fault() {
        let trace = trace(5, b"-ERR x");
        let history = History::of(&from_fault(&trace).unwrap());
        assert_eq!(history.phases.len(), 2);
        assert_eq!(history.phases[1].name, FAULTED);
        assert!(history.phases[1].begin > history.operations[0].acked.unwrap());
        assert!(history.phases[1].begin < history.operations[1].invoked);
        assert!(from_fault(&whole(&TraceBuilder::new().trace())).is_none());
        assert_eq!(History::of(&whole(&trace)).phases.len(), 1);
    }

    #[test]
    fn which_error_it_was_makes_no_other_run() {
        let target = RespTarget::engine("unplug", Policy::Always);
        let plain = |trace: &mut Trace| target.make_plain(trace);
        let of = |errno, reply: &[u8]| fingerprint(&trace(errno, reply), plain).unwrap();
        assert_eq!(of(5, b"-MISCONF I/O error"), of(28, b"-MISCONF no space"));
        assert_ne!(of(5, b"-MISCONF I/O error"), of(5, b"-ERR I/O error"));
        assert_ne!(of(5, b"-ERR x"), of(5, b"+OK"));
        // After EIO pages are clean and lost; after EINTR they are as dirty as before.
        assert_ne!(of(libc::EIO, b"+OK"), of(libc::EINTR, b"+OK"));
        assert_eq!(of(libc::EAGAIN, b"+OK"), of(libc::EINTR, b"+OK"));
    }

    /// A file system that stops when a sync fails takes no change from then on, and no sync of what came before.
    #[test]
    fn a_run_that_changes_or_syncs_something_after_a_failed_sync_is_cut_there() {
        use unplug_faults::event::{FileId, SyncKind, WriteSync};
        let write = || Op::Write { file: FileId(1), offset: 0, data: vec![1], sync: WriteSync::None };
        let sync = |file| Op::Sync { file: FileId(file), kind: SyncKind::Fsync };
        for (after, cut) in [(Some(write()), true), (Some(sync(1)), true), (None, false)] {
            let mut b = TraceBuilder::new();
            b.event(write());
            b.event(sync(2));
            let mut trace = b.trace();
            trace.events[1].errno = libc::EIO;
            let begin = trace.events[1].end + 1;
            let event =
                after.map(|op| Event { begin, end: begin + 1, errno: 0, op, ..trace.events[0].clone() });
            trace.events.extend(event);
            let left = on_one_that_stops(&trace).map(|trace| trace.events.len());
            assert_eq!(left, cut.then_some(2));
        }
    }
}
