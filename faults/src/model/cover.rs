//! Which sync covers which effect.
//!
//! A sync covers an effect only if the call that caused it was over before the sync was called: it had returned, or its
//! process had been killed inside it, in an earlier life ([`Trace::over`]). It forces
//! what it covers from its own end on: while it runs, its effects are allowed, not forced. A failed sync, and
//! one in which the target was killed, forces nothing; after one that failed because the device or its space
//! did, the data that it may have tried to write are void ([`Failures`]): their pages were marked clean, so a later
//! sync's success says nothing of them (notes, *Failed fsync*).

use crate::effect::{Effect, EffectKind, Effects, Meta, PAGE};
use crate::event::{Clock, Event, FileId, Op, SyncKind, WriteSync};
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::ops::Range;

/// How a file is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    /// fdatasync.
    Data,
    /// fsync.
    Full,
    /// O_DSYNC: the write's own data and size, and the inode's changes as fdatasync does.
    WriteData,
    /// O_SYNC: likewise, as fsync does.
    WriteFull,
    /// sync or syncfs.
    Everything,
}

/// Whether a sync of `file` forces the covered effect. A write's own effects are always forced by its flag.
pub(crate) type Forces = fn(kind: &EffectKind, file: FileId, how: Strength) -> bool;

/// One sync.
pub(crate) struct Point {
    pub(crate) begin: Clock,
    pub(crate) end: Clock,
    /// `None`: everything.
    pub(crate) file: Option<FileId>,
    pub(crate) how: Strength,
    /// The synchronous write itself.
    pub(crate) own: Option<u32>,
    /// The pages that it writes back: those of a synchronous write are its own (generic_write_sync).
    pub(crate) pages: Range<u64>,
    pub(crate) came: Came,
}

impl Point {
    /// From when on it forces what it covers.
    pub(crate) fn forces(&self) -> Clock {
        if self.came == Came::Forced { self.end } else { Event::NEVER }
    }
}

/// What came of a sync.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// What it covers is on the disk.
    Forced,
    /// It has given up what it was to write.
    Lost,
    /// It was told of what another one has given up ([`Op::ToldAgain`]): what it covers may be on the disk.
    Told,
    /// Its process was killed inside it: likewise.
    Cut,
}

/// The syncs that failed, and when they ran.
pub(crate) struct Failures {
    all: Vec<Failure>,
}

struct Failure {
    file: Option<FileId>,
    pages: Range<u64>,
    begin: Clock,
    end: Clock,
}

impl Failures {
    pub(crate) fn of(points: &[Point]) -> Failures {
        let failed = points.iter().filter(|point| point.came == Came::Lost);
        let failure = |Point { file, pages, begin, end, .. }: &Point| Failure {
            file: *file,
            pages: pages.clone(),
            begin: *begin,
            end: *end,
        };
        Failures { all: failed.map(failure).collect() }
    }

    /// Whether a sync that ended at this moment, and said that all was well, says nothing of an effect: data that were
    /// written before a sync of their file had failed, which had begun by then. They may have been in its write-back,
    /// or not: also those that were written while it ran.
    pub(crate) fn void(&self, effect: &Effect, end: Clock) -> bool {
        let EffectKind::Data { file: of, page, .. } = effect.kind else { return false };
        let took = |failed: &Failure| {
            let reached = failed.file.is_none_or(|file| file == of) && failed.pages.contains(&page);
            reached && failed.begin < end && effect.issued < failed.end
        };
        self.all.iter().any(took)
    }
}

/// The clock from which on each effect is forced by a sync itself, closures left to the graph.
pub(crate) fn forced(trace: &Trace, effects: &Effects, forces: Forces) -> Vec<Clock> {
    forced_among(trace, effects, forces, |_| true)
}

/// Likewise, of some effects only.
pub(crate) fn forced_among(
    trace: &Trace,
    effects: &Effects,
    forces: Forces,
    wanted: fn(&EffectKind) -> bool,
) -> Vec<Clock> {
    let mut points = points(trace);
    // In the order of their ends, so that the first that covers an effect is the earliest that forces it.
    points.sort_by_key(|point| (point.end, point.begin));
    let failures = Failures::of(&points);
    let mut forced = vec![Event::NEVER; effects.list.len()];
    let mut pending = Pending::of(effects, wanted);
    for point in points.iter().filter(|point| point.came == Came::Forced) {
        if let Some(own) = point.own {
            let from = effects.list.partition_point(|effect| effect.event < own);
            for (id, e) in effects.list.iter().enumerate().skip(from).take_while(|(_, e)| e.event == own) {
                if !failures.void(e, point.end) {
                    forced[id] = forced[id].min(point.end);
                }
            }
        }
        let files: Vec<FileId> = match point.file {
            Some(file) => vec![file],
            None => pending.lists.keys().copied().collect(),
        };
        for file in files {
            pending.scan(file, point.begin, effects, |id| {
                let effect = &effects.list[id as usize];
                if forced[id as usize] <= point.end {
                    // Another list, or the write's own flag, has it already.
                    return true;
                }
                let covered = trace.over(effect.event as usize) < point.begin;
                let hit = covered && forces(&effect.kind, file, point.how);
                // What is void for one sync is so for all that end later: off the list without being forced.
                if hit && !failures.void(effect, point.end) {
                    forced[id as usize] = forced[id as usize].min(point.end);
                }
                hit
            });
        }
    }
    forced
}

/// When the first sync failed because the device or its space did.
pub(crate) fn first_failure(trace: &Trace) -> Clock {
    let points = points(trace);
    let failed = points.iter().filter(|point| point.came == Came::Lost);
    failed.map(|point| point.begin).min().unwrap_or(Event::NEVER)
}

/// When the first call began that changed or synced something although a sync had failed before it, because the device
/// or its space did. Where a file system [stops](crate::model::Model::stops), nothing of the run from there on can be: it
/// refuses both.
pub fn change_after_failure(trace: &Trace) -> Option<Clock> {
    let points = points(trace);
    let failed = points.iter().filter(|point| point.came == Came::Lost).map(|point| point.end).min()?;
    let changes = |event: &&Event| {
        let changing = matches!(
            event.op,
            Op::Create { .. }
                | Op::Tmpfile { .. }
                | Op::Link { .. }
                | Op::Unlink { .. }
                | Op::Rename { .. }
                | Op::Exchange { .. }
                | Op::Write { .. }
                | Op::Truncate { .. }
                | Op::Allocate { .. }
                | Op::Sync { .. }
        );
        changing && event.errno == 0
    };
    trace.events.iter().filter(changes).map(|event| event.begin).find(|begin| *begin > failed)
}

/// Whether an error is the device's or its space's. A sync that fails so has lost what it was to keep; after any other
/// one it can be asked for again.
pub fn is_of_storage(errno: i32) -> bool {
    [libc::EIO, libc::ENOSPC, libc::EDQUOT].contains(&errno)
}

/// All syncs that count, in the order of the trace.
pub(crate) fn points(trace: &Trace) -> Vec<Point> {
    let mut points = Vec::new();
    for (index, event) in trace.events.iter().enumerate() {
        let cut = event.end == Event::NEVER;
        let failed = is_of_storage(event.errno);
        if event.errno != 0 && !failed {
            continue;
        }
        let mut point = |file, how, own| {
            let pages = pages_of(&event.op);
            let came = match event.op {
                _ if cut => Came::Cut,
                Op::ToldAgain { .. } => Came::Told,
                _ if failed => Came::Lost,
                _ => Came::Forced,
            };
            let end = trace.over(index);
            points.push(Point { begin: event.begin, end, file, how, own, pages, came });
        };
        match &event.op {
            Op::Sync { file, kind: SyncKind::Fsync } | Op::ToldAgain { file, kind: SyncKind::Fsync } => {
                point(Some(*file), Strength::Full, None);
            }
            Op::Sync { file, kind: SyncKind::Fdatasync }
            | Op::ToldAgain { file, kind: SyncKind::Fdatasync } => {
                point(Some(*file), Strength::Data, None);
            }
            // sync_file_range(2): "none of these operations write out the file's metadata [...] no guarantees
            // that the data will be available after a crash". msync: its range is not recorded, and writable
            // shared mappings are not followed, so nothing is known to be forced.
            // A failed one gives pages up all the same: "an error already consumed (by sync_file_range, say) lets
            // a new descriptor's fsync return 0" (notes, *Failed fsync*).
            Op::Sync { file, kind: SyncKind::Range { .. } | SyncKind::Msync } if failed => {
                point(Some(*file), Strength::Data, None);
            }
            Op::Sync { kind: SyncKind::Range { .. } | SyncKind::Msync, .. } => {}
            Op::SyncAll => point(None, Strength::Everything, None),
            // One that was refused never came to its sync.
            Op::Write { .. } if failed && !event.lost_its_sync() => {}
            Op::Write { file, sync: WriteSync::Data, .. } => {
                point(Some(*file), Strength::WriteData, Some(index as u32));
            }
            Op::Write { file, sync: WriteSync::Full, .. } => {
                point(Some(*file), Strength::WriteFull, Some(index as u32));
            }
            _ => {}
        }
    }
    points
}

/// The pages that a call's sync writes back.
fn pages_of(op: &Op) -> Range<u64> {
    match op {
        Op::Write { offset, data, .. } => {
            offset / PAGE..offset.saturating_add(data.len() as u64).div_ceil(PAGE)
        }
        _ => 0..u64::MAX,
    }
}

/// The effects that no sync has forced yet, by every file or directory that they touch.
struct Pending {
    lists: BTreeMap<FileId, (usize, Vec<u32>)>,
}

impl Pending {
    fn of(effects: &Effects, wanted: fn(&EffectKind) -> bool) -> Pending {
        let mut lists: BTreeMap<FileId, (usize, Vec<u32>)> = BTreeMap::new();
        for (id, effect) in effects.list.iter().enumerate().filter(|(_, effect)| wanted(&effect.kind)) {
            for file in touched(&effect.kind) {
                lists.entry(file).or_default().1.push(id as u32);
            }
        }
        Pending { lists }
    }

    /// Offers the file's effects that were issued before `before`; those that `take` accepts leave the list.
    fn scan(&mut self, file: FileId, before: Clock, effects: &Effects, mut take: impl FnMut(u32) -> bool) {
        let Some((start, list)) = self.lists.get_mut(&file) else { return };
        let stop = *start + list[*start..].partition_point(|id| effects.list[*id as usize].issued < before);
        let kept: Vec<u32> = list[*start..stop].iter().copied().filter(|id| !take(*id)).collect();
        // What stays moves up against the part not yet reached, so that no scan sees the rest again.
        *start = stop - kept.len();
        list[*start..stop].copy_from_slice(&kept);
    }
}

/// Every file and directory that an effect touches.
pub(crate) fn touched(kind: &EffectKind) -> Vec<FileId> {
    let mut files = match kind {
        EffectKind::Data { file, .. } | EffectKind::Size { file, .. } => vec![*file],
        EffectKind::Meta(meta) => match meta {
            Meta::Create { dir, file, .. }
            | Meta::Link { dir, file, .. }
            | Meta::Unlink { dir, file, .. } => {
                vec![*dir, *file]
            }
            Meta::Rename { from_dir, to_dir, file, replaced, .. } => {
                let mut all = vec![*from_dir, *to_dir, *file];
                all.extend(*replaced);
                all
            }
            Meta::Exchange { a_dir, a, b_dir, b, .. } => vec![*a_dir, *a, *b_dir, *b],
            // No sync of a file or directory has it; one of everything, see `model/btrfs.rs`.
            Meta::Return { .. } => Vec::new(),
            Meta::Truncate { file, .. } | Meta::Allocate { file, .. } => vec![*file],
        },
    };
    files.sort_unstable();
    files.dedup();
    files
}

/// The directories whose entries a change of names changes.
pub(crate) fn parents(meta: &Meta) -> [Option<FileId>; 2] {
    match meta {
        Meta::Create { dir, .. } | Meta::Link { dir, .. } | Meta::Unlink { dir, .. } => [Some(*dir), None],
        Meta::Rename { from_dir, to_dir, .. } => [Some(*from_dir), Some(*to_dir)],
        Meta::Exchange { a_dir, b_dir, .. } => [Some(*a_dir), Some(*b_dir)],
        Meta::Return { .. } | Meta::Truncate { .. } | Meta::Allocate { .. } => [None, None],
    }
}
