//! Bugs at the boundary to the operating system: recorded traces, changed. The target did right, and its calls came to
//! nothing, or in another order.
#![allow(unreachable_pub)]

use unplug_faults::event::{Op, SyncKind};
use unplug_faults::mutate;
use unplug_faults::trace::Trace;

/// How a trace is changed, and how many of its events were.
pub type Change = fn(&Trace) -> (Trace, usize);

/// A bug at the boundary: the target did right, and the calls came to nothing, or in another order.
pub struct Boundary {
    /// What is done to the trace.
    pub name: &'static str,
    pub policy: &'static str,
    /// As what it must be found: these classes, and no other.
    pub found_as: &'static [&'static str],
    /// Why it must be that. Read this before a row is changed.
    pub because: &'static str,
    pub change: Change,
}

/// Written before the first run; what was changed after it says so.
pub const BOUNDARY: &[Boundary] = &[
    Boundary {
        name: "drop fdatasync of incr files",
        policy: "always",
        found_as: &["acknowledged-loss", "refuses-to-open"],
        because: "replies wait for nothing; a file that a rewrite has left is torn, or a mark says too much",
        change: |t| mutate::drop_syncs(t, "fdatasync:*incr*"),
    },
    Boundary {
        name: "drop fsync of manifests",
        policy: "always",
        found_as: &["refuses-to-open"],
        because: "the manifest's name stands for half of it",
        change: |t| mutate::drop_syncs(t, "fsync:*manifest"),
    },
    Boundary {
        name: "drop fsync of bases",
        policy: "always",
        found_as: &["refuses-to-open"],
        because: "the base's name stands for half of it",
        change: |t| mutate::drop_syncs(t, "fsync:*rewriteaof*"),
    },
    Boundary {
        name: "drop fsync of the directory",
        policy: "always",
        found_as: &["acknowledged-loss", "refuses-to-open"],
        because: "names come and go: without any manifest and with the incr file's name gone all is new",
        change: |t| mutate::drop_syncs(t, "fsync:appendonlydir"),
    },
    Boundary {
        name: "drop the background syncs",
        policy: "everysec",
        found_as: &["window-exceeded", "refuses-to-open"],
        because: "nothing is synced before the next rewrite; a mark says too much",
        change: |t| mutate::drop_syncs(t, "fdatasync:*incr*"),
    },
    Boundary {
        name: "drop fsync of snapshots",
        policy: "snapshot",
        found_as: &["refuses-to-open"],
        because: "the snapshot's name stands for half of it",
        change: |t| mutate::drop_syncs(t, "fsync:*.rdb"),
    },
    Boundary {
        name: "drop fsync of the snapshot's directory",
        policy: "snapshot",
        found_as: &["acknowledged-loss"],
        because: "the old snapshot's name comes back after a save was acknowledged",
        change: |t| mutate::drop_syncs(t, "fsync:."),
    },
    Boundary {
        name: "drop the last sync",
        policy: "always",
        found_as: &["acknowledged-loss", "refuses-to-open"],
        because: "a reply without a sync; the next batch's mark says that there was one",
        change: |t| match last_log_sync(t) {
            Some(n) => mutate::drop_nth_sync(t, n),
            None => (t.clone(), 0),
        },
    },
    Boundary {
        name: "acknowledge early",
        policy: "always",
        found_as: &["acknowledged-loss"],
        because: "replies leave before the sync that they wait for",
        change: mutate::acknowledge_early,
    },
    Boundary {
        name: "swap a write with its sync",
        policy: "always",
        found_as: &["acknowledged-loss", "refuses-to-open"],
        because: "the sync comes before what it is to force; the next mark says too much",
        change: swap_last_write_with_its_sync,
    },
    Boundary {
        name: "delete a write",
        policy: "always",
        // Corrected after the first run, which found `acknowledged-loss` as well: between the reply and the next
        // batch no later mark exists yet that could give the hole away.
        found_as: &["acknowledged-loss", "refuses-to-open"],
        because: "the batch is gone; later marks say that the hole had been synced",
        change: delete_a_log_write,
    },
];

/// The number, among the syncs, of the append phase's last one of the log.
fn last_log_sync(trace: &Trace) -> Option<usize> {
    let (_, sync) = *append_pairs(trace).last()?;
    Some(trace.events[..sync].iter().filter(|e| matches!(e.op, Op::Sync { .. } | Op::SyncAll)).count())
}

/// Writes to the log in the append phase that have their sync right behind them: all, under always.
fn append_pairs(trace: &Trace) -> Vec<(usize, usize)> {
    let end = trace.events.iter().position(|e| matches!(&e.op, Op::Phase(name) if name == "rewrite"));
    let begin = trace.events.iter().position(|e| matches!(&e.op, Op::Phase(name) if name == "append"));
    let (begin, end) = (begin.unwrap_or(0), end.unwrap_or(trace.events.len()));
    let is_pair = |at: &usize| {
        matches!(
            (&trace.events[*at].op, trace.events.get(at + 1).map(|e| &e.op)),
            (Op::Write { file, .. }, Some(Op::Sync { file: synced, kind: SyncKind::Fdatasync })) if file == synced
        )
    };
    (begin..end).filter(is_pair).map(|at| (at, at + 1)).collect()
}

fn swap_last_write_with_its_sync(trace: &Trace) -> (Trace, usize) {
    match append_pairs(trace).last() {
        Some((write, sync)) => mutate::swap_events(trace, *write, *sync),
        None => (trace.clone(), 0),
    }
}

fn delete_a_log_write(trace: &Trace) -> (Trace, usize) {
    let pairs = append_pairs(trace);
    let Some((write, _)) = pairs.get(pairs.len() / 2) else { return (trace.clone(), 0) };
    let before = trace.events[..*write].iter().filter(|e| matches!(e.op, Op::Write { .. })).count();
    mutate::delete_write(trace, before)
}
