//! Sabotages of a trace, as pure functions: what a missing sync or a hasty acknowledgement would have done.
//! Each gives the changed trace and how many events it changed; 0 means that it found nothing to break.

use crate::effect::{Effects, Names};
use crate::event::{Clock, Event, Op, SyncKind, WriteSync};
use crate::glob;
use crate::trace::Trace;

/// Removes the syncs that match `call:path`, both globs with `*` and `?`, as `fdatasync:*incr*`; without a
/// colon the pattern is for the call and any path. The sync that a write carries counts as `fdatasync` or
/// `o_dsync`, as `fsync` or `o_sync`; sync and syncfs are `sync` of the path `.`.
pub fn drop_syncs(trace: &Trace, pattern: &str) -> (Trace, usize) {
    let (call, path) = pattern.split_once(':').unwrap_or((pattern, "*"));
    let names = Names::of(trace, &Effects::of(trace));
    retain_syncs(trace, |event| {
        let (calls, file): (&[&str], _) = match &event.op {
            Op::Sync { file, kind: SyncKind::Fsync } => (&["fsync"], Some(*file)),
            Op::Sync { file, kind: SyncKind::Fdatasync } => (&["fdatasync"], Some(*file)),
            Op::Sync { file, kind: SyncKind::Msync } => (&["msync"], Some(*file)),
            Op::Sync { file, kind: SyncKind::Range { .. } } => (&["sync_file_range"], Some(*file)),
            Op::SyncAll => (&["sync", "syncfs"], None),
            Op::Write { file, sync: WriteSync::Data, .. } => (&["fdatasync", "o_dsync"], Some(*file)),
            Op::Write { file, sync: WriteSync::Full, .. } => (&["fsync", "o_sync"], Some(*file)),
            _ => return true,
        };
        let at = file.map_or_else(|| ".".to_owned(), |file| names.path_at(file, event.begin));
        !(calls.iter().any(|name| glob::matches(call.as_bytes(), name.as_bytes()))
            && glob::matches(path.as_bytes(), at.as_bytes()))
    })
}

/// Removes every sync.
pub fn drop_all_syncs(trace: &Trace) -> (Trace, usize) {
    retain_syncs(trace, |event| !is_sync(&event.op))
}

/// Removes the `n`th sync, counting from 0.
pub fn drop_nth_sync(trace: &Trace, n: usize) -> (Trace, usize) {
    let mut seen = 0usize;
    retain_syncs(trace, |event| {
        let hit = is_sync(&event.op) && seen == n;
        seen += usize::from(is_sync(&event.op));
        !hit
    })
}

/// How many syncs a trace has.
pub fn count_syncs(trace: &Trace) -> usize {
    trace.events.iter().filter(|event| is_sync(&event.op)).count()
}

/// Removes the `n`th write, counting from 0.
pub fn delete_write(trace: &Trace, n: usize) -> (Trace, usize) {
    let writes = trace.events.iter().enumerate().filter(|(_, event)| matches!(event.op, Op::Write { .. }));
    let mut changed = trace.clone();
    match writes.map(|(index, _)| index).nth(n) {
        Some(index) => {
            changed.events.remove(index);
            (changed, 1)
        }
        None => (changed, 0),
    }
}

/// Two events change places: each happens when, and as long as, the other did.
pub fn swap_events(trace: &Trace, a: usize, b: usize) -> (Trace, usize) {
    let mut changed = trace.clone();
    if a == b || a.max(b) >= trace.events.len() {
        return (changed, 0);
    }
    changed.events.swap(a, b);
    let when = |event: &Event| (event.begin, event.end, event.at);
    let (of_a, of_b) = (when(&trace.events[a]), when(&trace.events[b]));
    (changed.events[a].begin, changed.events[a].end, changed.events[a].at) = of_a;
    (changed.events[b].begin, changed.events[b].end, changed.events[b].at) = of_b;
    (changed, 1)
}

/// Moves every reply that waited for a sync to just before that sync: the last one that was called after the
/// operation was invoked and had returned before the reply left.
pub fn acknowledge_early(trace: &Trace) -> (Trace, usize) {
    let mut ticks = Ticks::of(trace);
    let mut moved = 0;
    for (index, event) in trace.events.iter().enumerate() {
        let Op::Reply { id, .. } = &event.op else { continue };
        let invoked =
            trace.events.iter().find(|e| matches!(&e.op, Op::Invoke { id: other, .. } if other == id));
        let Some(since) = invoked.map(|e| e.begin) else { continue };
        let waited = |e: &&Event| is_sync(&e.op) && e.begin > since && e.end < event.begin;
        if let Some(sync) = trace.events.iter().filter(waited).max_by_key(|e| e.end) {
            ticks.move_before(index, sync.begin);
            moved += 1;
        }
    }
    (ticks.apply(trace), moved)
}

fn is_sync(op: &Op) -> bool {
    match op {
        Op::Sync { .. } | Op::SyncAll => true,
        Op::Write { sync, .. } => *sync != WriteSync::None,
        _ => false,
    }
}

fn retain_syncs(trace: &Trace, mut keep: impl FnMut(&Event) -> bool) -> (Trace, usize) {
    let mut changed = trace.clone();
    let mut count = 0;
    changed.events.retain_mut(|event| {
        if keep(event) {
            return true;
        }
        count += 1;
        // What failed was that sync.
        if event.lost_its_sync() {
            event.errno = 0;
        }
        if let Op::Write { sync, .. } = &mut event.op {
            *sync = WriteSync::None;
            return true;
        }
        false
    });
    (changed, count)
}

/// The ticks of a trace in order, so that an event can be moved without two events sharing a tick.
struct Ticks {
    /// Clock, event, whether it is the event's end.
    order: Vec<(Clock, usize, bool)>,
}

impl Ticks {
    fn of(trace: &Trace) -> Ticks {
        let mut order = Vec::with_capacity(trace.events.len() * 2);
        for (index, event) in trace.events.iter().enumerate() {
            order.push((event.begin, index, false));
            if event.end != Event::NEVER && event.end != event.begin {
                order.push((event.end, index, true));
            }
        }
        order.sort_unstable_by_key(|(clock, _, end)| (*clock, *end));
        Ticks { order }
    }

    fn move_before(&mut self, event: usize, clock: Clock) {
        let (mine, mut rest): (Vec<_>, Vec<_>) =
            self.order.drain(..).partition(|(_, index, _)| *index == event);
        // Places count, not clocks: earlier moves may have put other ticks there.
        let at = rest.iter().position(|(at, index, _)| *at == clock && *index != event).unwrap_or(rest.len());
        rest.splice(at..at, mine);
        self.order = rest;
    }

    /// The trace with its own clock values dealt out in the new order.
    fn apply(self, trace: &Trace) -> Trace {
        let mut changed = trace.clone();
        let mut values: Vec<Clock> = self.order.iter().map(|(clock, _, _)| *clock).collect();
        values.sort_unstable();
        for (value, (_, index, end)) in values.into_iter().zip(self.order) {
            let event = &mut changed.events[index];
            if end {
                event.end = value;
            } else {
                if event.end == event.begin {
                    event.end = value;
                }
                event.begin = value;
            }
        }
        changed.events.sort_by_key(|event| event.begin);
        changed
    }
}
