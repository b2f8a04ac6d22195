//! Under which names files may come back on btrfs: what its logs have held.
//!
//! Measured, until the next commit; the mechanism in the kernel is not known. A file that was synced, and so is in the
//! log under the name of that moment, and is then renamed over another one, comes back under the name of the sync when
//! it is removed, replaced or moved to another directory, though a sync of the directory has returned in between.
//! (`replaced-twice`, `removed-after-replacing`, `moved-after-replacing`; not seen where the rename replaced nothing,
//! where the other file was removed before, or by links and exchanges.) And where the file that replaced another one
//! is gone from there, that other one may be there again, where the directory was not synced in between, and until it is
//! (`old-one-back`).

use crate::event::{Clock, Event, FileId, Name};
use std::collections::{BTreeMap, BTreeSet};

type Place = (FileId, Name);

/// What is known since everything was synced.
#[derive(Default)]
pub(super) struct Returns {
    /// The name that each file was given last.
    named: BTreeMap<FileId, Place>,
    /// The one by which it was synced last.
    synced: BTreeMap<FileId, Place>,
    /// Files that were renamed over others since then.
    replacing: BTreeSet<FileId>,
    /// The files that were replaced under each name, and when.
    lost: BTreeMap<Place, Vec<(FileId, Clock)>>,
}

impl Returns {
    pub(super) fn named(&mut self, file: FileId, dir: FileId, name: &Name) {
        self.named.insert(file, (dir, name.clone()));
    }

    pub(super) fn synced(&mut self, file: FileId) {
        if let Some(place) = self.named.get(&file) {
            self.synced.insert(file, place.clone());
            self.replacing.remove(&file);
        }
    }

    /// `file` takes the name of `old`, in a call that ends at `end`.
    pub(super) fn replaced(&mut self, file: FileId, old: FileId, place: Place, end: Clock) {
        self.replacing.insert(file);
        self.lost.entry(place).or_default().push((old, end));
    }

    /// The target was killed: what it was inside of is over.
    pub(super) fn killed(&mut self, at: Clock) {
        let open = self.lost.values_mut().flatten().filter(|(_, end)| *end == Event::NEVER);
        open.for_each(|(_, end)| *end = at);
    }

    /// A directory was synced, in a call that began at `begin`.
    pub(super) fn settled(&mut self, dir: FileId, begin: Clock) {
        self.lost.retain(|place, lost| {
            lost.retain(|(_, end)| place.0 != dir || *end >= begin);
            !lost.is_empty()
        });
    }

    /// Where the file may come back.
    pub(super) fn of(&self, file: FileId) -> Option<Place> {
        self.replacing.contains(&file).then(|| self.synced.get(&file).cloned()).flatten()
    }

    /// What was replaced under a name.
    pub(super) fn lost(&self, dir: FileId, name: &Name) -> Vec<FileId> {
        self.lost.get(&(dir, name.clone())).into_iter().flatten().map(|(file, _)| *file).collect()
    }

    /// Everything was synced.
    pub(super) fn forget(&mut self) {
        self.synced.clear();
        self.replacing.clear();
        self.lost.clear();
    }
}
