//! The disk at one prefix, hashed: it goes from effect to effect, forwards and some way back.

use crate::effect::{EffectKind, Effects, Meta, Outcome, PAGE, SECTOR};
use crate::event::{FileId, NodeKind};
use crate::image::{
    Content, Dirs, Disk, Kinds, Page, hash_dir, hash_file, hash_link, hash_sector, hash_symlink, paths,
};
use crate::state::Space;
use crate::trace::Trace;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The names of one moment.
#[derive(Clone, Default)]
pub(crate) struct View {
    /// The hashes of directories, links and symbolic links.
    pub(crate) fixed: u128,
    /// The first path of every file.
    pub(crate) first: BTreeMap<FileId, Vec<u8>>,
}

impl View {
    pub(crate) fn of(dirs: &Dirs, kinds: &Kinds) -> View {
        let mut view = View::default();
        for (path, file) in paths(dirs, kinds) {
            let part = match kinds.get(&file) {
                Some(NodeKind::Dir) => hash_dir(&path),
                Some(NodeKind::Symlink(target)) => hash_symlink(&path, target),
                Some(NodeKind::File) | None => match view.first.get(&file) {
                    Some(first) => hash_link(&path, first),
                    None => {
                        view.first.insert(file, path);
                        continue;
                    }
                },
            };
            view.fixed = view.fixed.wrapping_add(part);
        }
        view
    }
}

/// The sums over a file's sectors.
#[derive(Clone, Default)]
pub(crate) struct Sums {
    pub(crate) size: u64,
    pub(crate) content: u128,
    pub(crate) pages: BTreeMap<u64, [u128; 8]>,
}

impl Sums {
    pub(crate) fn of(content: &Content) -> Sums {
        let mut sums = Sums { size: content.size, ..Sums::default() };
        for (&page, bytes) in content.pages.range(..content.size.div_ceil(PAGE)) {
            let mut sectors = [0; 8];
            sum_sectors(&mut sectors, 0xFF, page, bytes, content.size);
            sums.content = sums.content.wrapping_add(total(&sectors));
            sums.pages.insert(page, sectors);
        }
        sums
    }
}

pub(crate) fn total(sectors: &[u128; 8]) -> u128 {
    sectors.iter().fold(0, |sum, sector| sum.wrapping_add(*sector))
}

/// Hashes anew those sectors of a page whose bits are set, as far as they lie within the size.
pub(crate) fn sum_sectors(sectors: &mut [u128; 8], mask: u8, page: u64, bytes: &Page, size: u64) {
    for bit in (0..8u64).filter(|bit| mask & (1 << bit) != 0) {
        let from = (bit * SECTOR) as usize;
        let inside = size.saturating_sub(page * PAGE + bit * SECTOR).min(SECTOR) as usize;
        sectors[bit as usize] = hash_sector(page * 8 + bit, &bytes[from..from + inside]);
    }
}

/// The disk at one prefix with its sums: what a hasher keeps between two states.
pub(crate) struct Cursor {
    pub(crate) prefix: u32,
    pub(crate) disk: Disk,
    pub(crate) sums: BTreeMap<FileId, Sums>,
    pub(crate) view: View,
    pub(crate) total: u128,
    /// How to take the last effects back.
    trail: VecDeque<Undo>,
}

/// So many effects can be taken back.
const TRAIL: usize = 512;

/// Changes of names can be taken back where there are not more files than this.
const FEW: usize = 256;

/// What stood there before an effect.
struct Undo {
    total: u128,
    what: Before,
}

enum Before {
    Names(Box<(Dirs, View)>),
    File(FileId, Box<(Arc<Content>, Sums)>),
    Size(FileId, u64),
    Page(FileId, u64, Box<([u128; 8], u128)>, Option<Arc<Page>>),
}

impl Cursor {
    pub(crate) fn at(space: &Space<'_>, prefix: u32) -> Cursor {
        let (from, disk) = space.index().checkpoint(prefix);
        let sums = disk.files.iter().map(|(file, content)| (*file, Sums::of(content))).collect();
        let (view, trail) = (View::default(), VecDeque::new());
        let mut cursor = Cursor { prefix: from, disk, sums, view, total: 0, trail };
        cursor.look(&space.kinds);
        while cursor.prefix < prefix {
            cursor.step(space.trace, space.effects, &space.kinds);
        }
        cursor
    }

    /// Takes the names and the whole sum anew.
    fn look(&mut self, kinds: &Kinds) {
        self.view = View::of(&self.disk.dirs, kinds);
        let parts = self.view.first.iter().map(|(file, path)| self.part(*file, path));
        self.total = parts.fold(self.view.fixed, u128::wrapping_add);
    }

    fn part(&self, file: FileId, path: &[u8]) -> u128 {
        let (size, content) = self.sums.get(&file).map_or((0, 0), |sums| (sums.size, sums.content));
        hash_file(path, size, content)
    }

    pub(crate) fn step(&mut self, trace: &Trace, effects: &Effects, kinds: &Kinds) {
        let effect = &effects.list[self.prefix as usize];
        self.remember(&effect.kind);
        self.prefix += 1;
        self.disk.apply(trace, effect, Outcome::Whole, None);
        let Some(file) = effect.kind.content_of() else {
            self.look(kinds);
            return;
        };
        let path = self.view.first.get(&file).cloned();
        let before = path.as_ref().map_or(0, |path| self.part(file, path));
        let content = self.disk.files.entry(file).or_default();
        let sums = self.sums.entry(file).or_default();
        match &effect.kind {
            EffectKind::Size { .. } => sums.size = content.size,
            EffectKind::Data { page, .. } => {
                if let Some(bytes) = content.pages.get(page) {
                    let sectors = sums.pages.entry(*page).or_default();
                    sums.content = sums.content.wrapping_sub(total(sectors));
                    sum_sectors(sectors, effect.kind.sectors(), *page, bytes, content.size);
                    sums.content = sums.content.wrapping_add(total(sectors));
                }
            }
            EffectKind::Meta(Meta::Truncate { .. } | Meta::Allocate { .. }) => *sums = Sums::of(content),
            EffectKind::Meta(_) => {}
        }
        if let Some(path) = path {
            self.total = self.total.wrapping_sub(before).wrapping_add(self.part(file, &path));
        }
    }

    /// Keeps what the next effect changes.
    fn remember(&mut self, kind: &EffectKind) {
        let what = match (kind, kind.content_of()) {
            (EffectKind::Data { page, .. }, Some(file)) => {
                let sums = self.sums.get(&file);
                let sectors = sums.and_then(|sums| sums.pages.get(page)).copied().unwrap_or_default();
                let bytes = self.disk.files.get(&file).and_then(|content| content.pages.get(page)).cloned();
                Before::Page(file, *page, Box::new((sectors, sums.map_or(0, |sums| sums.content))), bytes)
            }
            (EffectKind::Size { .. }, Some(file)) => {
                Before::Size(file, self.disk.files.get(&file).map_or(0, |content| content.size))
            }
            (_, Some(file)) => {
                let content = self.disk.files.get(&file).cloned().unwrap_or_default();
                Before::File(file, Box::new((content, self.sums.get(&file).cloned().unwrap_or_default())))
            }
            (_, None) if self.view.first.len() > FEW => {
                // Copies of many names cost more than beginning at a checkpoint now and then.
                self.trail.clear();
                return;
            }
            (_, None) => Before::Names(Box::new((self.disk.dirs.clone(), self.view.clone()))),
        };
        if self.trail.len() == TRAIL {
            self.trail.pop_front();
        }
        self.trail.push_back(Undo { total: self.total, what });
    }

    /// Takes the last effect back; `false`: it is not known any more what stood there before.
    pub(crate) fn back(&mut self) -> bool {
        let Some(undo) = self.trail.pop_back() else { return false };
        self.prefix -= 1;
        self.total = undo.total;
        match undo.what {
            Before::Names(names) => (self.disk.dirs, self.view) = *names,
            Before::File(file, old) => {
                let (content, sums) = *old;
                self.disk.files.insert(file, content);
                self.sums.insert(file, sums);
            }
            Before::Size(file, size) => {
                Arc::make_mut(self.disk.files.entry(file).or_default()).size = size;
                self.sums.entry(file).or_default().size = size;
            }
            Before::Page(file, page, old, bytes) => {
                let sums = self.sums.entry(file).or_default();
                sums.content = old.1;
                sums.pages.insert(page, old.0);
                let pages = &mut Arc::make_mut(self.disk.files.entry(file).or_default()).pages;
                match bytes {
                    Some(bytes) => pages.insert(page, bytes),
                    None => pages.remove(&page),
                };
            }
        }
        true
    }
}
