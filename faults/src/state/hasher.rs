//! Image hashes without images: a state's hash follows from its prefix's by what differs.

use crate::effect::{Effect, EffectId, EffectKind, Effects, Outcome, PAGE};
use crate::event::FileId;
use crate::image::{Dirs, Disk, ImageHash, Page, hash_file, rename_entries};
use crate::state::cursor::{Cursor, Sums, View, sum_sectors, total};
use crate::state::leftover::{Leftover, Leftovers, Reuse};
use crate::state::{CrashState, Space};
use crate::trace::Trace;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Between two snapshots of a page lie at most this many writes to it.
const SNAP: usize = 16;

/// What the hasher and the image builder look up: the same for every state of a trace.
pub(crate) struct Index {
    step: u32,
    /// The disk after every `step` effects.
    checkpoints: Vec<Disk>,
    /// Effects on names, in order, and the directories before every `names_step`th of them.
    names: Vec<u32>,
    names_step: usize,
    dirs: Vec<Dirs>,
    files: BTreeMap<FileId, FileLog>,
    /// Data effects on each page, in order. Only ever looked up by key.
    pages: HashMap<(FileId, u64), PageLog>,
    /// What the effects show that show an old page of the trace.
    left: BTreeMap<u32, Leftover>,
}

#[derive(Default)]
struct FileLog {
    all: Vec<u32>,
    sizes: Vec<u32>,
    /// Truncated or allocated at some time: such a file is folded as a whole.
    shaped: bool,
}

#[derive(Default)]
struct PageLog {
    ids: Vec<u32>,
    /// The page before the first, the `SNAP`th, ... of its writes.
    snaps: Vec<Arc<Page>>,
}

impl Index {
    /// `reuse`: what is needed to choose old pages; without it every block that shows something old shows rubbish.
    pub(crate) fn of(trace: &Trace, effects: &Effects, reuse: Option<&Reuse>) -> Index {
        let n = effects.list.len();
        let step = (n / 64).max(256) as u32;
        let mut disk = Disk::base(trace);
        let mut index = Index {
            step,
            checkpoints: Vec::new(),
            names: Vec::new(),
            names_step: (effects.list.iter().filter(|e| e.kind.content_of().is_none()).count() / 64).max(32),
            dirs: vec![disk.dirs.clone()],
            files: BTreeMap::new(),
            pages: HashMap::new(),
            left: BTreeMap::new(),
        };
        let mut left = Leftovers::of(trace, effects, reuse);
        for (id, effect) in effects.list.iter().enumerate() {
            if (id as u32).is_multiple_of(step) {
                index.checkpoints.push(disk.clone());
            }
            index.note(id as u32, effect, &disk);
            left.before(id as u32, effect, &disk);
            disk.apply(trace, effect, Outcome::Whole, None);
        }
        if index.checkpoints.is_empty() {
            index.checkpoints.push(disk);
        }
        index.left = left.into_shown();
        index
    }

    fn note(&mut self, id: u32, effect: &Effect, disk: &Disk) {
        let Some(file) = effect.kind.content_of() else {
            if !self.names.is_empty() && self.names.len().is_multiple_of(self.names_step) {
                self.dirs.push(disk.dirs.clone());
            }
            self.names.push(id);
            return;
        };
        let log = self.files.entry(file).or_default();
        log.all.push(id);
        match &effect.kind {
            EffectKind::Size { .. } => log.sizes.push(id),
            EffectKind::Meta(_) => log.shaped = true,
            EffectKind::Data { page, .. } => {
                let pages = self.pages.entry((file, *page)).or_default();
                if pages.ids.len().is_multiple_of(SNAP) {
                    let now = disk.files.get(&file).and_then(|content| content.pages.get(page));
                    pages.snaps.push(now.cloned().unwrap_or_else(|| Arc::new([0; PAGE as usize])));
                }
                pages.ids.push(id);
            }
        }
    }

    /// The old page that an effect shows, if it is to show something old.
    pub(crate) fn left(&self, id: u32) -> Option<&Leftover> {
        self.left.get(&id)
    }

    /// The same page's bytes.
    pub(crate) fn old(&self, id: u32) -> Option<&Page> {
        self.left(id).map(|left| &*left.bytes)
    }

    /// The last checkpoint at or before a prefix, and its prefix.
    pub(crate) fn checkpoint(&self, prefix: u32) -> (u32, Disk) {
        let at = ((prefix / self.step) as usize).min(self.checkpoints.len() - 1);
        (at as u32 * self.step, self.checkpoints[at].clone())
    }
}

/// Hashes states; quick when they come in canonical order.
pub struct Hasher<'s> {
    space: &'s Space<'s>,
    at: Cursor,
}

impl<'s> Hasher<'s> {
    pub(crate) fn resume<'t: 's>(space: &'s Space<'t>, cursor: Option<Cursor>) -> Self {
        let space: &'s Space<'s> = space;
        let at = cursor.unwrap_or_else(|| Cursor::at(space, 0));
        Hasher { space, at }
    }

    pub(crate) fn suspend(self) -> Cursor {
        self.at
    }

    /// The hash of the state's image.
    pub fn hash(&mut self, state: &CrashState) -> ImageHash {
        self.go(state.prefix);
        if state.except.is_empty() {
            return ImageHash(self.at.total);
        }
        let mut files: Vec<FileId> = Vec::new();
        let mut names = false;
        for (id, _) in &state.except {
            match self.space.effects.list[id.0 as usize].kind.content_of() {
                Some(file) if !files.contains(&file) => files.push(file),
                Some(_) => {}
                None => names = true,
            }
        }
        let changed: Vec<(FileId, u64, u128)> = files
            .into_iter()
            .map(|file| {
                let (size, content) = self.file(file, state);
                (file, size, content)
            })
            .collect();
        ImageHash(if names { self.with_names(state, &changed) } else { self.with_files(&changed) })
    }

    fn go(&mut self, prefix: u32) {
        while self.at.prefix > prefix && self.at.back() {}
        let near = self.at.prefix <= prefix && prefix - self.at.prefix <= self.space.index().step;
        if !near {
            self.at = Cursor::at(self.space, prefix);
        }
        while self.at.prefix < prefix {
            self.at.step(self.space.trace, self.space.effects, &self.space.kinds);
        }
    }

    fn with_files(&self, changed: &[(FileId, u64, u128)]) -> u128 {
        let mut sum = self.at.total;
        for (file, size, content) in changed {
            let Some(path) = self.at.view.first.get(file) else { continue };
            let (old_size, old) = self.at.sums.get(file).map_or((0, 0), |sums| (sums.size, sums.content));
            if (old_size, old) != (*size, *content) {
                sum = sum
                    .wrapping_sub(hash_file(path, old_size, old))
                    .wrapping_add(hash_file(path, *size, *content));
            }
        }
        sum
    }

    fn with_names(&self, state: &CrashState, changed: &[(FileId, u64, u128)]) -> u128 {
        let index = self.space.index();
        let (low, end) = span(state);
        let at = index.names.partition_point(|id| *id < low) / index.names_step;
        let at = at.min(index.dirs.len() - 1);
        let mut dirs = index.dirs[at].clone();
        for &id in index.names[at * index.names_step..].iter().take_while(|id| **id < end) {
            let parts = match outcome_in(state, id) {
                Outcome::Absent => continue,
                Outcome::Parts(parts) => parts,
                _ => 7,
            };
            if let EffectKind::Meta(meta) = &self.space.effects.list[id as usize].kind {
                rename_entries(&mut dirs, meta, parts);
            }
        }
        let view = View::of(&dirs, &self.space.kinds);
        let parts = view.first.iter().map(|(file, path)| {
            let new = changed
                .iter()
                .find(|(other, _, _)| other == file)
                .map(|(_, size, content)| (*size, *content));
            let same = || self.at.sums.get(file).map_or((0, 0), |sums| (sums.size, sums.content));
            let (size, content) = new.unwrap_or_else(same);
            hash_file(path, size, content)
        });
        parts.fold(view.fixed, u128::wrapping_add)
    }

    /// Size and content sum of one file in a state.
    fn file(&self, file: FileId, state: &CrashState) -> (u64, u128) {
        let Some(log) = self.space.index().files.get(&file) else { return (0, 0) };
        if log.shaped { self.fold(file, log, state) } else { self.patch(file, log, state) }
    }

    /// All effects on the file anew, from the last checkpoint before anything differs.
    fn fold(&self, file: FileId, log: &FileLog, state: &CrashState) -> (u64, u128) {
        let (low, end) = span(state);
        let index = self.space.index();
        let at = ((low / index.step) as usize).min(index.checkpoints.len() - 1);
        let from = log.all.partition_point(|id| *id < at as u32 * index.step);
        let mut disk = Disk::default();
        if let Some(content) = index.checkpoints[at].files.get(&file) {
            disk.files.insert(file, content.clone());
        }
        for &id in log.all[from..].iter().take_while(|id| **id < end) {
            let effect = &self.space.effects.list[id as usize];
            disk.apply(self.space.trace, effect, outcome_in(state, id), index.old(id));
        }
        let sums = disk.files.get(&file).map(|content| Sums::of(content)).unwrap_or_default();
        (sums.size, sums.content)
    }

    /// Only the pages that differ. A file that was never truncated or allocated only grows.
    fn patch(&self, file: FileId, log: &FileLog, state: &CrashState) -> (u64, u128) {
        static NONE: Sums = Sums { size: 0, content: 0, pages: BTreeMap::new() };
        let sums = self.at.sums.get(&file).unwrap_or(&NONE);
        let size = self.size(log, state, sums.size);
        let mut content = sums.content;
        let mut pages: Vec<(u64, u8)> = Vec::new();
        for (id, outcome) in &state.except {
            let kind = &self.space.effects.list[id.0 as usize].kind;
            if let EffectKind::Data { file: f, page, .. } = kind
                && *f == file
            {
                let mask =
                    if matches!(outcome, Outcome::Stale | Outcome::Zeros) { 0xFF } else { kind.sectors() };
                match pages.iter_mut().rev().find(|(p, _)| p == page) {
                    Some((_, all)) => *all |= mask,
                    None => pages.push((*page, mask)),
                }
            }
        }
        let edge = size / PAGE;
        if size < sums.size {
            // Everything behind the new end goes, whether it differs or not.
            for (page, sectors) in sums.pages.range(edge..) {
                content = content.wrapping_sub(total(sectors));
                if *page == edge && !pages.iter().any(|(p, _)| p == page) {
                    pages.push((edge, 0xFF));
                }
            }
        }
        for (page, mask) in pages {
            let cut = size < sums.size && page >= edge;
            let old = sums.pages.get(&page).copied().unwrap_or_default();
            if !cut {
                content = content.wrapping_sub(total(&old));
            }
            if page * PAGE >= size {
                continue;
            }
            let mask = if cut { 0xFF } else { mask };
            let mut sectors = old;
            sum_sectors(&mut sectors, mask, page, &self.page(file, page, state), size);
            content = content.wrapping_add(total(&sectors));
        }
        (size, content)
    }

    fn size(&self, log: &FileLog, state: &CrashState, at_prefix: u64) -> u64 {
        let sized =
            |id: &EffectId| matches!(self.space.effects.list[id.0 as usize].kind, EffectKind::Size { .. });
        if !state.except.iter().any(|(id, _)| sized(id)) {
            return at_prefix;
        }
        let (_, end) = span(state);
        let candidates = log.sizes[..log.sizes.partition_point(|id| *id < end)].iter().rev();
        let mut there = candidates.filter(|id| outcome_in(state, **id) == Outcome::Whole);
        match there.next().map(|id| &self.space.effects.list[*id as usize].kind) {
            Some(EffectKind::Size { to, .. }) => *to,
            _ => self.base_size(log),
        }
    }

    fn base_size(&self, log: &FileLog) -> u64 {
        let first = log.all.first().map(|id| &self.space.effects.list[*id as usize].kind);
        let file = first.and_then(EffectKind::content_of);
        let base = self.space.index().checkpoints.first();
        file.and_then(|file| base?.files.get(&file)).map_or(0, |content| content.size)
    }

    /// One page's bytes in a state.
    fn page(&self, file: FileId, page: u64, state: &CrashState) -> Page {
        let blank = [0u8; PAGE as usize];
        let Some(log) = self.space.index().pages.get(&(file, page)) else {
            let now = self.at.disk.files.get(&file).and_then(|content| content.pages.get(&page));
            return now.map_or(blank, |bytes| **bytes);
        };
        let (low, _) = span(state);
        let differs = log.ids.partition_point(|id| *id < low);
        let snap = (differs / SNAP).min(log.snaps.len().saturating_sub(1));
        let mut bytes = log.snaps.get(snap).map_or(blank, |bytes| **bytes);
        for &id in &log.ids[snap * SNAP..] {
            let outcome = outcome_in(state, id);
            if outcome != Outcome::Absent {
                crate::image::put_data(
                    &mut bytes,
                    self.space.trace,
                    &self.space.effects.list[id as usize],
                    outcome,
                    self.space.index().old(id),
                );
            }
            let last = state.except.last().map_or(0, |(id, _)| id.0);
            if id >= state.prefix.max(last) {
                break;
            }
        }
        bytes
    }
}

/// Everything before is whole, everything from the end on absent.
fn span(state: &CrashState) -> (u32, u32) {
    let low = state.except.first().map_or(state.prefix, |(id, _)| id.0.min(state.prefix));
    (low, state.except.last().map_or(state.prefix, |(id, _)| state.prefix.max(id.0 + 1)))
}

/// What became of an effect in a state.
fn outcome_in(state: &CrashState, id: u32) -> Outcome {
    match state.except.binary_search_by_key(&id, |(other, _)| other.0) {
        Ok(at) => state.except[at].1,
        Err(_) if id < state.prefix => Outcome::Whole,
        Err(_) => Outcome::Absent,
    }
}
