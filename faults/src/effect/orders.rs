//! Calls that overlapped and touch the same thing: the trace gives them one order, the kernel may have taken
//! the other.

use crate::event::{Event, FileId, Op};
use crate::trace::{Blind, Trace};

/// How many linearisations are explored at the most.
pub const MAX_ORDERS: usize = 16;

/// The linearisations of a trace.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The traces, the recorded order first. They differ only in the order of overlapping, conflicting calls.
    pub traces: Vec<Trace>,
    /// Why not all orders are here, where they are not: then the run is *not measured*.
    pub blind: Option<Blind>,
}

impl Orders {
    /// All linearisations of overlapping conflicting calls, up to [`MAX_ORDERS`].
    ///
    /// Two calls conflict when both change one file's content, or both change names (a journalling file
    /// system orders all changes of names, so their order matters even over directories). The second of a
    /// swapped pair keeps its own clocks' span: only the *begin* clocks of the two events are exchanged where
    /// both were still running, so no call moves out of the time in which it ran.
    pub fn of(trace: &Trace) -> Orders {
        let pairs = conflicts(trace);
        let mut traces = vec![trace.clone()];
        let mut dropped = 0usize;
        for (a, b) in pairs {
            if traces.len() * 2 > MAX_ORDERS {
                dropped += 1;
                continue;
            }
            let swapped: Vec<Trace> = traces.iter().map(|t| swap(t, a, b)).collect();
            traces.extend(swapped);
        }
        let blind = (dropped > 0).then(|| Blind {
            what: "overlapping calls".to_owned(),
            detail: format!(
                "{dropped} more pairs of calls ran at the same time on one file or directory than can be \
                 explored in both orders; record with the gate"
            ),
        });
        Orders { traces, blind }
    }
}

/// Pairs of neighbours among the changing events that overlap and conflict, by index.
fn conflicts(trace: &Trace) -> Vec<(usize, usize)> {
    let changing: Vec<usize> = (0..trace.events.len())
        .filter(|i| trace.events[*i].errno == 0 && changes(&trace.events[*i].op).is_some())
        .collect();
    let mut pairs = Vec::new();
    for (n, &a) in changing.iter().enumerate() {
        for &b in &changing[n + 1..] {
            if trace.events[b].begin > trace.events[a].end {
                break;
            }
            if conflict(&trace.events[a], &trace.events[b]) {
                pairs.push((a, b));
            }
        }
    }
    pairs
}

#[derive(PartialEq, Eq)]
enum Change {
    Content(FileId),
    Names,
}

fn changes(op: &Op) -> Option<Change> {
    match op {
        Op::Write { file, .. } | Op::Truncate { file, .. } | Op::Allocate { file, .. } => {
            Some(Change::Content(*file))
        }
        Op::Create { .. } | Op::Link { .. } | Op::Unlink { .. } | Op::Rename { .. } | Op::Exchange { .. } => {
            Some(Change::Names)
        }
        _ => None,
    }
}

fn conflict(a: &Event, b: &Event) -> bool {
    match (changes(&a.op), changes(&b.op)) {
        // Writes to disjoint ranges of one file give the same content in either order, but their sizes do
        // not: the order in which an append extends the file is the order of its size effects.
        (Some(x), Some(y)) => x == y,
        _ => false,
    }
}

/// The trace with the two events' places exchanged; both keep their ends, and take each other's begin.
fn swap(trace: &Trace, a: usize, b: usize) -> Trace {
    let mut swapped = trace.clone();
    let (begin_a, begin_b) = (trace.events[a].begin, trace.events[b].begin);
    swapped.events.swap(a, b);
    swapped.events[a].begin = begin_a;
    swapped.events[b].begin = begin_b;
    swapped
}
