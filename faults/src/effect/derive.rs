//! From events to effects: a simulation of what the kernel's memory held when each call was made.

use crate::effect::returns::Returns;
use crate::effect::unwritten::{Unwritten, Was};
use crate::effect::{Back, Effect, EffectId, EffectKind, Meta, PAGE, ZEROS};
use crate::event::{Event, FileId, Name, NodeKind, Op, SyncKind, WriteSync};
use crate::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};

/// All effects of a trace, with the indexes that models need.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// The effects, in the order of their events.
    pub list: Vec<Effect>,
    /// The effects that take a file's last name away, and the file: from then on its content is out of reach.
    pub(crate) deaths: BTreeMap<EffectId, FileId>,
    /// The data of extending writes that also lie within the size from before, where they show without the new one.
    pub(crate) straddles: BTreeSet<EffectId>,
    /// The zeros in place of what ZERO_RANGE has zeroed ([`EffectKind::is_zeros`]).
    pub(crate) zeros: BTreeMap<EffectId, Zeros>,
    /// The data that are the first in a block that was allocated in advance, or zeroed. Only in
    /// [`with_freed`](Self::with_freed).
    pub(crate) unwritten: BTreeSet<EffectId>,
    /// The data that are the first in a block that was allocated in advance.
    pub(crate) in_advance: BTreeSet<EffectId>,
}

/// Zeros in place, which may be there although the change that zeroed the page is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zeros {
    /// The ZERO_RANGE.
    pub(crate) by: EffectId,
    /// In the page of the write that they come with, in front of its data; otherwise beside it.
    pub(crate) own: bool,
}

impl Effects {
    /// The effects of a trace. A call that failed has none, unless [its sync did](Event::lost_its_sync); a call in which
    /// the target was killed has them all, since it may have got as far.
    pub fn of(trace: &Trace) -> Effects {
        Effects::derive(trace, Beside::default())
    }

    /// The same, and for each write that leaves a gap behind the end of the file a size that ends with the last page
    /// before the gap: where sizes go with the pages that are written back, that page alone moves it so far.
    pub fn with_gaps(trace: &Trace) -> Effects {
        Effects::derive(trace, Beside { gaps: true, ..Beside::default() })
    }

    /// The same, and in front of each write of a part of a page that ZERO_RANGE has zeroed the zeros around it, for
    /// models in which the page is written in place.
    pub fn with_own_zeros(trace: &Trace) -> Effects {
        Effects::derive(trace, Beside { gaps: true, own_zeros: true, ..Beside::default() })
    }

    /// The same as [`of`](Self::of), and in front of each write into a range that ZERO_RANGE has zeroed zeros in the
    /// pages beside, for models in which they are put there in place.
    pub fn with_zeros_beside(trace: &Trace) -> Effects {
        Effects::derive(trace, Beside { zeros_beside: true, ..Beside::default() })
    }

    /// All of these, and in front of each change that sets blocks free an effect for each of these
    /// ([`EffectKind::is_freed`]), for models in which they are used anew before that change is durable.
    pub fn with_freed(trace: &Trace) -> Effects {
        let all = Beside { gaps: true, freed: true, own_zeros: true, zeros_beside: true, returns: false };
        Effects::derive(trace, all)
    }

    /// The same as [`of`](Self::of), and an effect behind each change that takes a name away under which a file may
    /// come back ([`Meta::Return`]), for models in which it does.
    pub fn with_returns(trace: &Trace) -> Effects {
        Effects::derive(trace, Beside { returns: true, ..Beside::default() })
    }

    fn derive(trace: &Trace, beside: Beside) -> Effects {
        let mut live = Live::at_base(trace, beside);
        for (index, event) in trace.events.iter().enumerate() {
            if event.took_effect() {
                live.event(index as u32, event);
            }
        }
        let Live { list, deaths, straddles, zeros, first, in_advance, .. } = live;
        Effects { list, deaths, straddles, zeros, unwritten: first, in_advance }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One effect.
    pub fn get(&self, id: EffectId) -> Option<&Effect> {
        self.list.get(id.0 as usize)
    }
}

/// Effects that stand for what may show beside what was asked for.
#[derive(Clone, Copy, Default)]
pub(super) struct Beside {
    gaps: bool,
    pub(super) freed: bool,
    returns: bool,
    own_zeros: bool,
    zeros_beside: bool,
}

/// What the kernel's memory holds: it differs from the disk, and effects are cut by it (whether a write
/// extends the file, whether its page has a block yet).
pub(super) struct Live {
    pub(super) size: BTreeMap<FileId, u64>,
    /// Pages that have a block, delayed allocation included.
    pub(super) blocks: BTreeMap<FileId, BTreeSet<u64>>,
    links: BTreeMap<FileId, u32>,
    pub(super) list: Vec<Effect>,
    deaths: BTreeMap<EffectId, FileId>,
    straddles: BTreeSet<EffectId>,
    zeros: BTreeMap<EffectId, Zeros>,
    first: BTreeSet<EffectId>,
    in_advance: BTreeSet<EffectId>,
    pub(super) unwritten: Unwritten,
    pub(super) beside: Beside,
    back: Returns,
}

impl Live {
    fn at_base(trace: &Trace, beside: Beside) -> Live {
        let mut live = Live {
            beside,
            back: Returns::default(),
            size: BTreeMap::new(),
            blocks: BTreeMap::new(),
            links: BTreeMap::new(),
            list: Vec::new(),
            deaths: BTreeMap::new(),
            straddles: BTreeSet::new(),
            zeros: BTreeMap::new(),
            first: BTreeSet::new(),
            in_advance: BTreeSet::new(),
            unwritten: Unwritten::default(),
        };
        for node in &trace.base {
            live.back.named(node.file, node.dir, &node.name);
            *live.links.entry(node.file).or_default() += 1;
            if node.kind == NodeKind::File {
                let len = node.data.len() as u64;
                live.size.insert(node.file, len);
                live.blocks.insert(node.file, (0..len.div_ceil(PAGE)).collect());
            }
        }
        live
    }

    pub(super) fn push(&mut self, index: u32, event: &Event, kind: EffectKind) -> EffectId {
        self.list.push(Effect { event: index, issued: event.begin, kind });
        EffectId((self.list.len() - 1) as u32)
    }

    pub(super) fn meta(&mut self, index: u32, event: &Event, meta: Meta) -> EffectId {
        self.push(index, event, EffectKind::Meta(meta))
    }

    fn event(&mut self, index: u32, event: &Event) {
        match &event.op {
            Op::Create { dir, name, file, kind } => {
                *self.links.entry(*file).or_default() += 1;
                self.back.named(*file, *dir, name);
                let (name, kind) = (name.clone(), kind.clone());
                self.meta(index, event, Meta::Create { dir: *dir, name, file: *file, kind });
            }
            Op::Link { file, dir, name } => {
                *self.links.entry(*file).or_default() += 1;
                self.meta(index, event, Meta::Link { dir: *dir, name: name.clone(), file: *file });
            }
            Op::Unlink { dir, name, file } => {
                let meta = Meta::Unlink { dir: *dir, name: name.clone(), file: *file };
                self.name_goes(index, event, *file);
                let id = self.meta(index, event, meta);
                self.name_gone(id, *file);
                self.may_return(index, event, *file, None, (*dir, name));
            }
            Op::Rename { file, replaced, .. } if *replaced == Some(*file) => {
                // rename(2): two names of one file, nothing is done.
            }
            Op::Rename { from_dir, from_name, to_dir, to_name, file, replaced } => {
                let meta = Meta::Rename {
                    from_dir: *from_dir,
                    from_name: from_name.clone(),
                    to_dir: *to_dir,
                    to_name: to_name.clone(),
                    file: *file,
                    replaced: *replaced,
                };
                if let Some(old) = replaced {
                    self.name_goes(index, event, *old);
                }
                let id = self.meta(index, event, meta);
                if let Some(old) = replaced {
                    self.name_gone(id, *old);
                    self.synced_returns(index, event, *old, Back::Synced);
                }
                self.may_return(index, event, *file, Some(*to_dir), (*from_dir, from_name));
                if let Some(old) = replaced {
                    self.back.replaced(*file, *old, (*to_dir, to_name.clone()), event.end);
                }
                self.back.named(*file, *to_dir, to_name);
            }
            Op::Exchange { a_dir, a_name, a, b_dir, b_name, b } => {
                let meta = Meta::Exchange {
                    a_dir: *a_dir,
                    a_name: a_name.clone(),
                    a: *a,
                    b_dir: *b_dir,
                    b_name: b_name.clone(),
                    b: *b,
                };
                self.meta(index, event, meta);
            }
            Op::Write { file, offset, data, sync } => {
                self.write(index, event, *file, *offset, data.len());
                if *sync != WriteSync::None && event.errno == 0 {
                    self.back.synced(*file);
                }
            }
            Op::Truncate { file, size } => self.truncate(index, event, *file, *size),
            Op::Allocate { file, mode, offset, len } => {
                self.allocate(index, event, *file, *mode, *offset, *len);
            }
            Op::Sync { file, kind: SyncKind::Fsync | SyncKind::Fdatasync }
            | Op::ToldAgain { file, kind: SyncKind::Fsync | SyncKind::Fdatasync } => {
                self.back.synced(*file);
                if event.end != Event::NEVER {
                    self.back.settled(*file, event.begin);
                }
            }
            Op::SyncAll => self.back.forget(),
            Op::Kill => self.back.killed(event.begin),
            Op::Tmpfile { .. }
            | Op::Open { .. }
            | Op::Sync { .. }
            | Op::Send { .. }
            | Op::Invoke { .. }
            | Op::Reply { .. }
            | Op::Phase(_)
            | Op::Process(_)
            | Op::Advance
            | Op::Fault { .. }
            | Op::ToldAgain { .. } => {}
        }
    }

    /// A name went, by a removal or by a rename (into a directory): what stood there before may be there again, and
    /// the file itself under the name by which it was synced.
    fn may_return(
        &mut self,
        index: u32,
        event: &Event,
        file: FileId,
        into: Option<FileId>,
        gone: (FileId, &Name),
    ) {
        match into {
            None => self.synced_returns(index, event, file, Back::Synced),
            Some(into) if into != gone.0 => self.synced_returns(index, event, file, Back::Beside),
            Some(_) => {}
        }
        if !self.beside.returns {
            return;
        }
        let (dir, name) = gone;
        for file in self.back.lost(dir, name) {
            if self.links.get(&file) == Some(&0) {
                self.meta(index, event, Meta::Return { dir, name: name.clone(), file, back: Back::Replaced });
            }
        }
    }

    fn synced_returns(&mut self, index: u32, event: &Event, file: FileId, back: Back) {
        let alive = self.links.get(&file).is_some_and(|links| *links > 0);
        if !self.beside.returns || alive != (back == Back::Beside) {
            return;
        }
        if let Some((dir, name)) = self.back.of(file) {
            self.meta(index, event, Meta::Return { dir, name, file, back });
        }
    }

    /// Before a name goes: with the last one go the file's blocks.
    fn name_goes(&mut self, index: u32, event: &Event, file: FileId) {
        if self.links.get(&file) == Some(&1) {
            self.frees(index, event, file, 0..u64::MAX);
        }
    }

    fn name_gone(&mut self, id: EffectId, file: FileId) {
        let links = self.links.entry(file).or_default();
        *links = links.saturating_sub(1);
        if *links == 0 {
            self.deaths.insert(id, file);
        }
    }

    fn write(&mut self, index: u32, event: &Event, file: FileId, offset: u64, len: usize) {
        if len == 0 {
            return;
        }
        let end = offset.saturating_add(len as u64);
        if self.beside.gaps {
            self.gap(index, event, file, offset / PAGE);
        }
        if self.beside.zeros_beside {
            for (page, by) in self.unwritten.beside(file, offset / PAGE, (end - 1) / PAGE) {
                self.zeros(index, event, (file, page), Zeros { by, own: false });
            }
        }
        for page in offset / PAGE..=(end - 1) / PAGE {
            let from = offset.max(page * PAGE);
            let to = end.min((page + 1) * PAGE);
            // Where zeros come to the pages beside, those may have come to this one before it was written itself.
            let around = self.beside.own_zeros && (to - from < PAGE || self.beside.zeros_beside);
            if around && let Some(by) = self.unwritten.zeroed_by(file, page) {
                self.zeros(index, event, (file, page), Zeros { by, own: true });
            }
            // What write-back of this page alone would leave as the size: never beyond the page.
            let old = self.size.get(&file).copied().unwrap_or(0);
            if to > old {
                self.size.insert(file, to);
                self.push(index, event, EffectKind::Size { file, to });
            }
            let fresh = self.blocks.entry(file).or_default().insert(page);
            let kind = EffectKind::Data {
                file,
                page,
                start: (from % PAGE) as u16,
                bytes: (from - offset) as u32..(to - offset) as u32,
                fresh,
            };
            let id = self.push(index, event, kind);
            if from < old && to > old {
                self.straddles.insert(id);
            }
            let was = self.unwritten.written(file, page);
            if was.is_some() && self.beside.freed {
                self.first.insert(id);
            }
            if was == Some(Was::Allocated) {
                self.in_advance.insert(id);
            }
        }
    }

    fn zeros(&mut self, index: u32, event: &Event, (file, page): (FileId, u64), zeros: Zeros) {
        let bytes = ZEROS..ZEROS + PAGE as u32;
        let id = self.push(index, event, EffectKind::Data { file, page, start: 0, bytes, fresh: false });
        self.zeros.insert(id, zeros);
    }

    /// Before a write that begins behind the page in which the file ends: that page is no longer the last, so that its
    /// write-back moves the size to its end (mpage_map_and_submit_extent; xfs_setfilesize).
    fn gap(&mut self, index: u32, event: &Event, file: FileId, page: u64) {
        let old = self.size.get(&file).copied().unwrap_or(0);
        let last = old / PAGE;
        let has_block = self.blocks.get(&file).is_some_and(|blocks| blocks.contains(&last));
        if !old.is_multiple_of(PAGE) && page > last && has_block {
            let to = (last + 1) * PAGE;
            self.size.insert(file, to);
            self.push(index, event, EffectKind::Size { file, to });
        }
    }
}
