//! XFS. The rules R1 to R7: `journal`, docs/persistence-rules.md.

use crate::effect::EffectKind;
use crate::event::FileId;
use crate::model::Kind;
use crate::model::cover::Strength;
use crate::model::graph::Oddities;
use crate::model::journal::{DataGoes, Journalling, forces_all};

pub(crate) static XFS: Journalling = Journalling {
    name: "xfs",
    summary: "XFS: as ext4, but the size follows the data, and syncfs may leave overwrites behind",
    kind: Kind::Default { system: "XFS" },
    // R4: the size moves at I/O completion (xfs_setfilesize), so the last page is never zero; pages before it can
    // be, for each page is written by itself. R3: overwritten pages tear; fresh ones are unwritten extents until
    // their I/O is complete.
    data: DataGoes::SizeAfterData(Oddities { tear_old: true, ..Oddities::NONE }),
    // "rename over, source unsynced: old / empty / partial / new": the rename waits for nothing.
    rename_waits: false,
    // Measured: a hole within a page was durable (by a later change that was forced), its zeros were not.
    zeros_first: false,
    // The same of a truncate. xfs_setattr_size writes from the size on the disk up to the new one, which is nothing
    // when the file shrinks. Measured (`cut-in-page-pages`): the cut is durable, a page behind it is written back and
    // moves the size, and what was cut off shows again between the two.
    end_zeros_first: false,
    forces,
    // A truncate writes out first what was appended to the last page: `Rules::wait_for_appended`.
    // "XFS's on-disk size stays old" after a failed fsync: that is SizeAfterData. (A failed log write shuts the
    // file system down; then nothing is answered with success any more.)
    stops: false,
};

/// R7: fdatasync takes renames and links along. "syncfs: no flush if the log is clean: overwrites may be lost"; and
/// the log may have become clean by itself at any time.
fn forces(kind: &EffectKind, file: FileId, how: Strength) -> bool {
    let quirk = how == Strength::Everything && matches!(kind, EffectKind::Data { fresh: false, .. });
    !quirk && forces_all(kind, file, how)
}
