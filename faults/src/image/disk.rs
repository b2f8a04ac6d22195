//! What the disk holds after some effects: the plain way from a crash state to its image.

use crate::effect::{Back, Effect, EffectKind, Meta, Outcome, PAGE, RETURNED, SECTOR};
use crate::event::{AllocateMode, FileId, Name, NodeKind, Op};
use crate::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One page's bytes.
pub(crate) type Page = [u8; PAGE as usize];

/// The entries of every directory.
pub(crate) type Dirs = BTreeMap<FileId, BTreeMap<Name, FileId>>;

/// What every file of a trace is.
pub(crate) type Kinds = BTreeMap<FileId, NodeKind>;

/// A file's content on the disk: pages that are not here are zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) pages: BTreeMap<u64, Arc<Page>>,
}

/// A whole disk. Contents and their pages are shared between copies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) dirs: Dirs,
    pub(crate) files: BTreeMap<FileId, Arc<Content>>,
}

/// What an old block holds that was not the trace's, where a page shows stale content: never zeros, never text.
pub(crate) fn garbage(page: u64) -> Page {
    let mut bytes = [0u8; PAGE as usize];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = 0x80 | ((at as u64).wrapping_mul(31) ^ page.wrapping_mul(7)) as u8;
    }
    bytes
}

impl Disk {
    /// The disk before the first event.
    pub(crate) fn base(trace: &Trace) -> Disk {
        let mut disk = Disk::default();
        for node in &trace.base {
            disk.dirs.entry(node.dir).or_default().insert(node.name.clone(), node.file);
            if node.kind == NodeKind::File {
                disk.files.insert(node.file, Arc::new(Content::of(&node.data)));
            }
        }
        disk
    }

    /// What every file of the trace is.
    pub(crate) fn kinds(trace: &Trace) -> Kinds {
        let mut kinds: Kinds = trace.base.iter().map(|node| (node.file, node.kind.clone())).collect();
        for event in &trace.events {
            match &event.op {
                Op::Create { file, kind, .. } => kinds.insert(*file, kind.clone()),
                Op::Tmpfile { file } => kinds.insert(*file, NodeKind::File),
                _ => None,
            };
        }
        kinds
    }

    /// Puts one effect on the disk; `old` is what its block shows that shows something old, if not rubbish.
    pub(crate) fn apply(&mut self, trace: &Trace, effect: &Effect, outcome: Outcome, old: Option<&Page>) {
        if outcome == Outcome::Absent {
            return;
        }
        match &effect.kind {
            // Nothing was written there: the page is as it was.
            EffectKind::Data { .. } if effect.kind.is_freed() && outcome == Outcome::Whole => {}
            EffectKind::Data { file, page, .. } => {
                let content = self.content(*file);
                let target = content.pages.entry(*page).or_insert_with(|| Arc::new([0; PAGE as usize]));
                put_data(Arc::make_mut(target), trace, effect, outcome, old);
            }
            EffectKind::Size { file, to } => {
                let content = self.content(*file);
                content.size = content.size.max(*to);
            }
            EffectKind::Meta(meta @ (Meta::Truncate { .. } | Meta::Allocate { .. })) => self.shape(meta),
            EffectKind::Meta(meta) => {
                let parts = if let Outcome::Parts(parts) = outcome { parts } else { 7 };
                rename_entries(&mut self.dirs, meta, parts);
            }
        }
    }

    fn shape(&mut self, meta: &Meta) {
        match meta {
            Meta::Truncate { file, size } => self.content(*file).truncate(*size),
            Meta::Allocate { file, mode, offset, len } => self.content(*file).allocate(*mode, *offset, *len),
            _ => {}
        }
    }

    /// A file's content, to be changed.
    fn content(&mut self, file: FileId) -> &mut Content {
        Arc::make_mut(self.files.entry(file).or_default())
    }
}

/// All paths below the root in byte order. A directory that a half-done rename has put in two places is shown
/// in the first that a walk in name order meets: a file system check would remove the other.
pub(crate) fn paths(dirs: &Dirs, kinds: &Kinds) -> BTreeMap<Vec<u8>, FileId> {
    let mut found = BTreeMap::new();
    let mut visited = BTreeSet::from([FileId::ROOT]);
    let mut todo: Vec<(Vec<u8>, FileId)> = vec![(Vec::new(), FileId::ROOT)];
    while let Some((prefix, dir)) = todo.pop() {
        let Some(entries) = dirs.get(&dir) else { continue };
        for (name, file) in entries {
            let mut path = prefix.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            if kinds.get(file) == Some(&NodeKind::Dir) {
                if !visited.insert(*file) {
                    continue;
                }
                todo.push((path.clone(), *file));
            }
            found.insert(path, *file);
        }
    }
    found
}

/// The bytes of a data effect, out of the event's data; of a change of shape that cuts a page they are zeros.
pub(crate) fn data_of<'t>(trace: &'t Trace, effect: &Effect) -> Option<&'t [u8]> {
    static ZEROS: Page = [0; PAGE as usize];
    let EffectKind::Data { bytes, .. } = &effect.kind else { return None };
    if effect.kind.is_zeros() {
        return ZEROS.get(..(bytes.end - bytes.start) as usize);
    }
    let all: &[u8] = match &trace.events.get(effect.event as usize)?.op {
        Op::Write { data, .. } => data,
        Op::Truncate { .. } | Op::Allocate { .. } => &ZEROS,
        _ => &[],
    };
    all.get(bytes.start as usize..bytes.end as usize)
}

/// Puts a data effect on its page; `old` as for [`Disk::apply`].
pub(crate) fn put_data(
    target: &mut Page,
    trace: &Trace,
    effect: &Effect,
    outcome: Outcome,
    old: Option<&Page>,
) {
    let EffectKind::Data { page, start, .. } = &effect.kind else { return };
    let mask = match outcome {
        Outcome::Absent => return,
        Outcome::Stale => {
            *target = old.copied().unwrap_or_else(|| garbage(*page));
            return;
        }
        Outcome::Zeros => {
            *target = [0; PAGE as usize];
            return;
        }
        Outcome::Sectors(mask) => mask,
        Outcome::Whole | Outcome::Parts(_) => 0xFF,
    };
    if let Some(source) = data_of(trace, effect) {
        write_sectors(target, usize::from(*start), source, mask);
    }
}

/// Writes those bytes of `source` that lie in the chosen sectors of the page.
fn write_sectors(page: &mut Page, start: usize, source: &[u8], mask: u8) {
    if mask == 0xFF {
        page[start..start + source.len()].copy_from_slice(source);
        return;
    }
    let sector = SECTOR as usize;
    for bit in (0..8).filter(|bit| mask & (1 << bit) != 0) {
        let from = (bit * sector).max(start);
        let to = ((bit + 1) * sector).min(start + source.len());
        if from < to {
            page[from..to].copy_from_slice(&source[from - start..to - start]);
        }
    }
}

/// A change of names. A name is only taken away if it stands for what the call took it from: an effect whose
/// forerunner is missing does not harm what stands there instead.
pub(crate) fn rename_entries(dirs: &mut Dirs, meta: &Meta, parts: u8) {
    match meta {
        Meta::Create { dir, name, file, .. } | Meta::Link { dir, name, file } => put(dirs, *dir, name, *file),
        Meta::Exchange { a_dir, a_name, a, b_dir, b_name, b } => {
            put(dirs, *a_dir, a_name, *b);
            put(dirs, *b_dir, b_name, *a);
        }
        Meta::Unlink { dir, name, file } => take(dirs, *dir, name, *file),
        Meta::Rename { from_dir, from_name, to_dir, to_name, file, replaced } => {
            if let Some(old) = replaced
                && parts & 1 != 0
            {
                take(dirs, *to_dir, to_name, *old);
            }
            if parts & 2 != 0 {
                take(dirs, *from_dir, from_name, *file);
            }
            if parts & 4 != 0 {
                put(dirs, *to_dir, to_name, *file);
            }
        }
        Meta::Return { dir, name, file, back } => {
            let named = |entries: &BTreeMap<Name, FileId>| entries.values().any(|other| other == file);
            let free = dirs.get(dir).is_none_or(|entries| !entries.contains_key(name));
            if parts == RETURNED && free && (*back == Back::Beside || !dirs.values().any(named)) {
                put(dirs, *dir, name, *file);
            }
        }
        Meta::Truncate { .. } | Meta::Allocate { .. } => {}
    }
}

fn put(dirs: &mut Dirs, dir: FileId, name: &Name, file: FileId) {
    dirs.entry(dir).or_default().insert(name.clone(), file);
}

fn take(dirs: &mut Dirs, dir: FileId, name: &Name, file: FileId) {
    if let Some(entries) = dirs.get_mut(&dir)
        && entries.get(name) == Some(&file)
    {
        entries.remove(name);
    }
}

impl Content {
    /// A file of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Content {
        let pages = bytes.chunks(PAGE as usize).enumerate().map(|(page, bytes)| {
            let mut whole = [0u8; PAGE as usize];
            whole[..bytes.len()].copy_from_slice(bytes);
            (page as u64, Arc::new(whole))
        });
        Content { size: bytes.len() as u64, pages: pages.collect() }
    }

    /// The file's bytes, up to its size.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0u8; self.size as usize];
        for (page, bytes) in self.pages.range(..self.size.div_ceil(PAGE)) {
            let from = (page * PAGE) as usize;
            let to = out.len().min(from + PAGE as usize);
            out[from..to].copy_from_slice(&bytes[..to - from]);
        }
        out
    }

    pub(crate) fn truncate(&mut self, size: u64) {
        self.size = size;
        // Whole pages: the zeros within the last one are data, an effect of their own.
        self.pages.split_off(&size.div_ceil(PAGE));
    }

    fn holes(&mut self, from: u64, to: u64) {
        let (from, to) = (from.div_ceil(PAGE), to / PAGE);
        self.pages.retain(|page, _| !(from..to).contains(page));
    }

    pub(crate) fn allocate(&mut self, mode: AllocateMode, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        match mode {
            AllocateMode::Extend => self.size = self.size.max(end),
            AllocateMode::KeepSize => {}
            // Whole pages: the zeros within others are data, an effect of their own.
            AllocateMode::Punch => self.holes(offset, end),
            AllocateMode::Zero { keep_size } => {
                self.holes(offset, end);
                if !keep_size {
                    self.size = self.size.max(end);
                }
            }
            // The kernel takes both only at whole blocks.
            AllocateMode::Collapse => {
                self.size = self.size.saturating_sub(len);
                let tail = self.pages.split_off(&(offset / PAGE));
                let kept = tail.into_iter().filter(|(page, _)| *page >= end / PAGE);
                self.pages.extend(kept.map(|(page, bytes)| (page - len / PAGE, bytes)));
            }
            AllocateMode::Insert => {
                self.size = self.size.saturating_add(len);
                let tail = self.pages.split_off(&(offset / PAGE));
                self.pages.extend(tail.into_iter().map(|(page, bytes)| (page + len / PAGE, bytes)));
            }
        }
    }
}
