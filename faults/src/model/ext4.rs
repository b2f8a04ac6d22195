//! ext4, as it is mounted by default and otherwise. The rules R1 to R7: `journal`, docs/persistence-rules.md.

use crate::model::Kind;
use crate::model::graph::Oddities;
use crate::model::journal::{DataGoes, Journalling, forces_but_fdatasync_names};

/// data=ordered, delalloc, dioread_nolock, auto_da_alloc: the defaults since Linux 5.6.
pub(crate) static ORDERED: Journalling = Journalling {
    name: "ext4-ordered",
    summary: "ext4 by default: names in the journal's order, data by page, zeros before appended data",
    kind: Kind::Default { system: "ext4" },
    // R3: an overwritten page tears. A fresh one, or one allocated in advance, does not: its extent is marked written
    // when all of the page is (dioread_nolock); until then it reads as zeros, any page of it, the last too (R4), which is the absent effect.
    data: DataGoes::SizeAtAllocation(Oddities { tear_old: true, ..Oddities::NONE }),
    // auto_da_alloc (ext4_rename: ext4_alloc_da_blocks) starts the allocation, so the size is journalled before the
    // rename; it does not wait for the data. The like for O_TRUNC, write, close only starts the I/O at the close:
    // a commit between truncate and close shows the file empty, so it forbids nothing.
    rename_waits: true,
    // ext4_block_zero_page_range: ext4_jbd2_inode_add_write, so the commit waits for that page.
    zeros_first: true,
    end_zeros_first: true,
    // R7: fdatasync does not commit a rename or link of the file (i_datasync_tid).
    forces: forces_but_fdatasync_names,
    // Data EIO leaves the journal alive (errors=continue of data_err): the append comes back zero-extended.
    stops: false,
};

/// data=writeback with whatever else may be mounted: dioread_lock, noauto_da_alloc.
pub(crate) static WRITEBACK: Journalling = Journalling {
    name: "ext4-writeback",
    summary: "ext4 with data=writeback: new blocks may also show what stood there before",
    kind: Kind::Mounted { system: "ext4", option: "data=writeback" },
    // R4: with dioread_lock the block counts as written once it is allocated, and data=writeback does not wait for
    // the data: stale bytes, zeros (dioread_nolock, as by default), or some of its sectors.
    data: DataGoes::SizeAtAllocation(Oddities {
        tear_old: true,
        tear_fresh: true,
        stale: true,
        // ext4_free_blocks: a freed block is kept back until the transaction is committed, with "an exception if the
        // inode is to be written in writeback mode".
        reuse: true,
        ..Oddities::NONE
    }),
    // "with noauto_da_alloc the file is empty".
    rename_waits: false,
    zeros_first: false,
    end_zeros_first: false,
    forces: forces_but_fdatasync_names,
    stops: false,
};

/// data=journal.
pub(crate) static JOURNAL: Journalling = Journalling {
    name: "ext4-journal",
    summary: "ext4 with data=journal: writes keep their order, whole pages",
    kind: Kind::Mounted { system: "ext4", option: "data=journal" },
    // "writes join M in order (seen old or complete); assume that large writes can split": a page is one handle
    // (ext4_journalled_write_end), which also moves the size.
    data: DataGoes::IntoTheJournal,
    rename_waits: false,
    // Everything is in order anyway.
    zeros_first: false,
    end_zeros_first: false,
    forces: forces_but_fdatasync_names,
    // "ext4 data=journal: abort, EROFS".
    stops: true,
};
