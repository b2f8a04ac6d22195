//! What a new block shows whose data never came: a page that the same trace has set free before, or rubbish.
//!
//! A file system hands blocks out again, and until the new data are there a block holds what stood in it. In a store
//! that rewrites its files that is often its own, such as an old log's records with good checksums. About every other
//! effect shows such a page, where there is one; the others show rubbish, as a block would that was somebody else's.
//! The trace and the model alone decide which, so that images, hashes and replays agree, and nothing that comes later in
//! the trace has a say: a trace that is cut after the crash shows the same.
//!
//! **What may be shown**, so that some real disk can:
//!
//! - The page's block was set free by a removal, a replacing rename, a truncate, a hole or a collapse that is durable in
//!   every state from before the new data are written: ext4 hands a block out again when the transaction that frees it
//!   is committed (ext4_process_freed_data).
//! - It is the page as the file had it then, which may have been written back at any time.
//! - Each is shown once: a block gets one new owner.
//! - A file that is written to after its last name is gone is open, and has its blocks. (Closes are not in a trace: a file
//!   that is held open and left alone counts as free a little early.)
//! - A block that was allocated in advance was so at some time since its file was made; what is set free later is not in it,
//!   and where the file has written the page before, nothing foreign is.

use crate::effect::{Effect, EffectId, EffectKind, Effects, Meta, OldPage, Outcome, PAGE};
use crate::event::{AllocateMode, Clock, Event, FileId};
use crate::image::{Disk, Page};
use crate::model::Graph;
use crate::state::space::key;
use crate::trace::Trace;
use fixedbitset::FixedBitSet;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// What the choice needs of a model.
pub(crate) struct Reuse {
    /// From when on each effect is there in every state.
    durable: Vec<Clock>,
    /// The effects whose new block may show what stood there.
    stale: FixedBitSet,
}

impl Reuse {
    /// `None`: no block shows anything old under these rules.
    pub(crate) fn of<'g>(effects: &Effects, cases: impl Iterator<Item = &'g Graph>) -> Option<Reuse> {
        let n = effects.list.len();
        let mut reuse = Reuse { durable: vec![0; n], stale: FixedBitSet::with_capacity(n) };
        for graph in cases {
            for (id, fact) in graph.facts.iter().enumerate() {
                reuse.durable[id] = reuse.durable[id].max(fact.whole_from);
                // What a freed block shows is not old, but somebody else's.
                if fact.stale && !effects.list[id].kind.is_freed() {
                    reuse.stale.insert(id);
                }
            }
        }
        (!reuse.stale.is_clear()).then_some(reuse)
    }
}

/// What one effect's block shows.
#[derive(Clone, Debug)]
pub(crate) struct Leftover {
    pub(crate) was: OldPage,
    pub(crate) bytes: Arc<Page>,
}

/// A page that was set free.
struct Freed {
    left: Leftover,
    durable: Clock,
    /// What the file was called, with the numbers left out.
    kinds: Arc<[Vec<u8>]>,
}

/// Walks over a trace's effects, and chooses.
pub(crate) struct Leftovers<'r> {
    effects: &'r Effects,
    reuse: Option<&'r Reuse>,
    shown: BTreeMap<u32, Leftover>,
    /// Freed, by what becomes durable at a clock.
    waiting: BTreeMap<Clock, Vec<Freed>>,
    /// Free to be handed out, in the order in which that became so.
    free: BTreeMap<u32, Freed>,
    /// The same by the kind of their file's name (the empty one: all), page and number.
    index: BTreeMap<Vec<u8>, BTreeSet<(u64, u32)>>,
    next: u32,
    kinds: BTreeMap<FileId, BTreeSet<Vec<u8>>>,
    born: BTreeMap<FileId, Clock>,
    dead: BTreeSet<FileId>,
    /// Of these the ones that were touched since.
    open: BTreeSet<FileId>,
}

impl<'r> Leftovers<'r> {
    /// At the beginning of the trace.
    pub(crate) fn of(trace: &Trace, effects: &'r Effects, reuse: Option<&'r Reuse>) -> Leftovers<'r> {
        let mut walk = Leftovers {
            effects,
            reuse,
            shown: BTreeMap::new(),
            waiting: BTreeMap::new(),
            free: BTreeMap::new(),
            index: BTreeMap::new(),
            next: 0,
            kinds: BTreeMap::new(),
            born: BTreeMap::new(),
            dead: BTreeSet::new(),
            open: BTreeSet::new(),
        };
        if reuse.is_some() {
            for node in &trace.base {
                walk.named(node.file, &node.name);
                walk.born.insert(node.file, 0);
            }
        }
        walk
    }

    /// What each effect shows that shows an old page.
    pub(crate) fn into_shown(self) -> BTreeMap<u32, Leftover> {
        self.shown
    }

    /// The next effect, and the disk right before it, with everything whole so far.
    pub(crate) fn before(&mut self, id: u32, effect: &Effect, disk: &Disk) {
        let Some(reuse) = self.reuse else { return };
        if let Some(file) = effect.kind.content_of() {
            self.born.entry(file).or_insert(effect.issued);
            if self.dead.contains(&file) {
                if self.open.insert(file) {
                    self.keep_back(file);
                }
                return;
            }
        }
        match &effect.kind {
            EffectKind::Data { file, page, fresh, .. } if reuse.stale.contains(id as usize) => {
                self.hand_out(effect.issued);
                let known = disk.files.get(file).is_some_and(|content| content.pages.contains_key(page));
                let since = match fresh {
                    true => Some(effect.issued),
                    false => self.born.get(file).copied().filter(|_| !known),
                };
                // Every other one, without a pattern.
                if let Some(since) = since.filter(|_| key(id, Outcome::Stale) & 1 == 1)
                    && let Some(left) = self.take(*file, *page, since)
                {
                    self.shown.insert(id, left);
                }
            }
            EffectKind::Meta(meta) => self.meta(id, effect.issued, meta, disk),
            EffectKind::Data { .. } | EffectKind::Size { .. } => {}
        }
    }

    fn meta(&mut self, id: u32, issued: Clock, meta: &Meta, disk: &Disk) {
        match meta {
            Meta::Create { name, file, .. } | Meta::Link { name, file, .. } => {
                self.born.entry(*file).or_insert(issued);
                self.named(*file, name);
            }
            Meta::Rename { to_name, file, .. } => self.named(*file, to_name),
            Meta::Exchange { a_name, a, b_name, b, .. } => {
                self.named(*a, b_name);
                self.named(*b, a_name);
            }
            Meta::Truncate { file, size } => self.freed(id, *file, size.div_ceil(PAGE)..u64::MAX, disk),
            Meta::Allocate { file, mode: AllocateMode::Punch, offset, len } => {
                let pages = offset.div_ceil(PAGE)..offset.saturating_add(*len) / PAGE;
                self.freed(id, *file, pages, disk);
            }
            Meta::Allocate { file, mode: AllocateMode::Collapse, offset, len } => {
                self.freed(id, *file, offset / PAGE..offset.saturating_add(*len) / PAGE, disk);
            }
            // ZERO_RANGE leaves the blocks where they are, on ext4.
            Meta::Allocate { .. } | Meta::Unlink { .. } | Meta::Return { .. } => {}
        }
        if let Some(&file) = self.effects.deaths.get(&EffectId(id)) {
            self.freed(id, file, 0..u64::MAX, disk);
            self.dead.insert(file);
        }
    }

    fn named(&mut self, file: FileId, name: &[u8]) {
        self.kinds.entry(file).or_default().insert(kind_of(name));
    }

    /// The effect sets these pages free. Zeros are not worth showing: that is what the absent effect shows.
    fn freed(&mut self, by: u32, file: FileId, pages: Range<u64>, disk: &Disk) {
        let durable = self.reuse.map_or(Event::NEVER, |reuse| reuse.durable[by as usize]);
        let Some(content) = disk.files.get(&file) else { return };
        if durable == Event::NEVER || pages.is_empty() {
            return;
        }
        let until = self.effects.list[by as usize].issued.saturating_sub(1);
        let kinds: Arc<[Vec<u8>]> = self.kinds.get(&file).into_iter().flatten().cloned().collect();
        for (page, bytes) in content.pages.range(pages).filter(|(_, bytes)| bytes.iter().any(|b| *b != 0)) {
            let left = Leftover { was: OldPage { file, page: *page, until }, bytes: bytes.clone() };
            self.waiting.entry(durable).or_default().push(Freed { left, durable, kinds: kinds.clone() });
        }
    }

    /// What is durably free at this moment can be handed out.
    fn hand_out(&mut self, now: Clock) {
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= now) {
            for freed in first.remove() {
                for kind in freed.kinds.iter().map(Vec::as_slice).chain([&[][..]]) {
                    self.index.entry(kind.to_vec()).or_default().insert((freed.left.was.page, self.next));
                }
                self.free.insert(self.next, freed);
                self.next += 1;
            }
        }
    }

    /// The freed page for a new block: of a file that was called alike, if there is one; the same page if there is one,
    /// which is what an old log's records would be read from, else one in front of it; the one that was free last.
    fn take(&mut self, file: FileId, page: u64, since: Clock) -> Option<Leftover> {
        let everything = [Vec::new()];
        let found = self.kinds.get(&file).into_iter().flatten().chain(&everything).find_map(|kind| {
            let all = self.index.get(kind)?;
            let front = all.range(..=(page, u32::MAX)).rev();
            let behind = all.range((page + 1, 0)..);
            front.chain(behind).find(|(_, n)| self.free.get(n).is_some_and(|freed| freed.durable <= since))
        });
        let (_, n) = *found?;
        self.remove(n).map(|freed| freed.left)
    }

    fn remove(&mut self, n: u32) -> Option<Freed> {
        let freed = self.free.remove(&n)?;
        for kind in freed.kinds.iter().map(Vec::as_slice).chain([&[][..]]) {
            if let Some(all) = self.index.get_mut(kind) {
                all.remove(&(freed.left.was.page, n));
            }
        }
        Some(freed)
    }

    /// The file is open: its blocks are not free after all.
    fn keep_back(&mut self, file: FileId) {
        self.waiting.values_mut().for_each(|all| all.retain(|freed| freed.left.was.file != file));
        let its: Vec<u32> =
            self.free.iter().filter(|(_, freed)| freed.left.was.file == file).map(|(n, _)| *n).collect();
        for n in its {
            self.remove(n);
        }
    }
}

/// A name without its numbers: generations of a file differ in these. Never empty.
fn kind_of(name: &[u8]) -> Vec<u8> {
    let mut kind: Vec<u8> = Vec::with_capacity(name.len());
    for byte in name {
        let byte = if byte.is_ascii_digit() { b'#' } else { *byte };
        if byte != b'#' || kind.last() != Some(&b'#') {
            kind.push(byte);
        }
    }
    kind
}
