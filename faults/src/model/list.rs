//! The models that there are.

use super::{Ext4Ordered, Model, Posix, Prefix};

static POSIX: Posix = Posix { split: false };
static POSIX_SPLIT: Posix = Posix { split: true };

/// All models, the most orderly first.
pub fn all() -> &'static [&'static dyn Model] {
    static ALL: [&dyn Model; 4] = [&Prefix, &Ext4Ordered, &POSIX, &POSIX_SPLIT];
    &ALL
}

/// The model of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Model> {
    all().iter().copied().find(|model| model.name() == name)
}
