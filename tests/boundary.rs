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

const fn row(
    name: &'static str,
    policy: &'static str,
    found_as: &'static [&'static str],
    because: &'static str,
    change: Change,
) -> Boundary {
    Boundary { name, policy, found_as, because, change }
}

/// Written before the first run; what was changed after it says so.
pub const BOUNDARY: &[Boundary] = &[
    row(
        "drop fdatasync of incr files",
        "always",
        &["acknowledged-loss", "refuses-to-open"],
        "replies wait for nothing; a file that a rewrite has left is torn, or a mark says too much",
        |t| mutate::drop_syncs(t, "fdatasync:*incr*"),
    ),
    row(
        "drop fsync of manifests",
        "always",
        &["refuses-to-open"],
        "the manifest's name stands for half of it",
        |t| mutate::drop_syncs(t, "fsync:*manifest"),
    ),
    row(
        "drop fsync of bases",
        "always",
        &["refuses-to-open"],
        "the base's name stands for half of it",
        |t| mutate::drop_syncs(t, "fsync:*rewriteaof*"),
    ),
    row(
        "drop fsync of the directory",
        "always",
        &["acknowledged-loss", "refuses-to-open"],
        "names come and go: without any manifest and with the incr file's name gone all is new",
        |t| mutate::drop_syncs(t, "fsync:appendonlydir"),
    ),
    row(
        "drop the background syncs",
        "everysec",
        &["window-exceeded", "refuses-to-open"],
        "nothing is synced before the next rewrite; a mark says too much",
        |t| mutate::drop_syncs(t, "fdatasync:*incr*"),
    ),
    row(
        "drop fsync of snapshots",
        "snapshot",
        &["refuses-to-open"],
        "the snapshot's name stands for half of it",
        |t| mutate::drop_syncs(t, "fsync:*.rdb"),
    ),
    row(
        "drop fsync of the snapshot's directory",
        "snapshot",
        &["acknowledged-loss"],
        "the old snapshot's name comes back after a save was acknowledged",
        |t| mutate::drop_syncs(t, "fsync:."),
    ),
    row(
        "drop the last sync",
        "always",
        &["acknowledged-loss", "refuses-to-open"],
        "a reply without a sync; the next batch's mark says that there was one",
        |t| match last_log_sync(t) {
            Some(n) => mutate::drop_nth_sync(t, n),
            None => (t.clone(), 0),
        },
    ),
    row(
        "acknowledge early",
        "always",
        &["acknowledged-loss"],
        "replies leave before the sync that they wait for",
        mutate::acknowledge_early,
    ),
    row(
        "swap a write with its sync",
        "always",
        &["acknowledged-loss", "refuses-to-open"],
        "the sync comes before what it is to force; the next mark says too much",
        swap_last_write_with_its_sync,
    ),
    row(
        "delete a write",
        "always",
        // Corrected after the first run, which found `acknowledged-loss` as well: between the reply and the next
        // batch no later mark exists yet that could give the hole away.
        &["acknowledged-loss", "refuses-to-open"],
        "the batch is gone; later marks say that the hole had been synced",
        delete_a_log_write,
    ),
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
