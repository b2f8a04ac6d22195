//! The models that there are.

use super::{Btrfs, Kind, Model, Posix, Prefix, ext4, xfs};

static POSIX: Posix = Posix { split: false };
static POSIX_SPLIT: Posix = Posix { split: true };

/// All models, the most orderly first.
pub fn all() -> &'static [&'static dyn Model] {
    static ALL: [&dyn Model; 8] =
        [&Prefix, &ext4::JOURNAL, &ext4::ORDERED, &ext4::WRITEBACK, &xfs::XFS, &Btrfs, &POSIX, &POSIX_SPLIT];
    &ALL
}

/// The models that are tried where nothing is said: all but those of file systems mounted with an option.
pub fn usual() -> impl Iterator<Item = &'static dyn Model> {
    all().iter().copied().filter(|model| !matches!(model.kind(), Kind::Mounted { .. }))
}

/// The model of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Model> {
    all().iter().copied().find(|model| model.name() == name)
}
