//! The rules that edges come from.

/// Why one effect cannot be on the disk without another. The names stand in stories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The model `prefix`: everything reaches the disk in the order of the calls.
    InOrder,
    /// Not a rule of a file system but of counting: sizes of one file are nested, so only the largest shows.
    SizeChain,
    /// Likewise: data beyond the size cannot be seen.
    DataInSize,
    /// Likewise: what a truncate or the removal of the last name took away cannot be seen.
    OutOfReach,
    /// R1: a journal keeps all changes of names and shapes in their order.
    Journal,
    /// R2: an allocation or extension is journalled after the changes issued before its write.
    AllocationAfterNames,
    /// A page is written back with everything that was in it.
    PageHoldsEarlier,
    /// R5: data behind a truncate need the truncate.
    DataAfterTruncate,
    /// auto_da_alloc: a rename over a file waits until the new file's blocks are allocated.
    ReplaceViaRename,
    /// data=ordered: a hole is journalled when the zeros at its edges are written.
    HoleAfterZeros,
    /// R4 for XFS: a size is journalled when the data of its page are written.
    SizeAfterData,
    /// XFS: what was appended since the last journalled size is written before a truncate journals another one.
    TruncateAfterData,
    /// btrfs: a commit holds all changes of names and shapes issued before it.
    Commit,
    /// btrfs: what the log of a sync holds comes back together.
    Log,
    /// btrfs: an entry comes back into a directory that is there, at a place that is free.
    Place,
    /// `--assume`: one of the user's assumptions.
    Assumed,
}

impl Rule {
    /// Every rule, in the order of the type.
    pub const ALL: [Rule; 16] = [
        Rule::InOrder,
        Rule::SizeChain,
        Rule::DataInSize,
        Rule::OutOfReach,
        Rule::Journal,
        Rule::AllocationAfterNames,
        Rule::PageHoldsEarlier,
        Rule::DataAfterTruncate,
        Rule::ReplaceViaRename,
        Rule::HoleAfterZeros,
        Rule::SizeAfterData,
        Rule::TruncateAfterData,
        Rule::Commit,
        Rule::Log,
        Rule::Place,
        Rule::Assumed,
    ];

    /// The name in stories.
    pub fn name(self) -> &'static str {
        match self {
            Rule::InOrder => "everything in order",
            Rule::SizeChain => "sizes grow in order",
            Rule::DataInSize => "data show only within the size",
            Rule::OutOfReach => "what is out of reach does not show",
            Rule::Journal => "the journal keeps its order",
            Rule::AllocationAfterNames => "an allocation follows the names before it",
            Rule::PageHoldsEarlier => "a page holds its earlier writes",
            Rule::DataAfterTruncate => "data follow the truncate before them",
            Rule::ReplaceViaRename => "a replacing rename follows the allocation",
            Rule::HoleAfterZeros => "a hole follows the zeros at its edges",
            Rule::SizeAfterData => "a size follows the data of its page",
            Rule::TruncateAfterData => "a truncate follows the data before its end",
            Rule::Commit => "a commit holds what was issued before it",
            Rule::Log => "a log comes back as a whole",
            Rule::Place => "an entry needs its directory and a free name",
            Rule::Assumed => "assumed on the command line",
        }
    }

    /// Whether it forbids nothing that can be seen: it is there so that each state is counted once.
    pub fn only_counts(self) -> bool {
        matches!(self, Rule::SizeChain | Rule::DataInSize | Rule::OutOfReach)
    }

    /// Where the rule comes from.
    pub fn source(self) -> &'static str {
        match self {
            Rule::InOrder => {
                "prefix: by definition; ext4 data=journal: every page is a journalled handle \
                              (ext4_journalled_write_end)"
            }
            Rule::SizeChain | Rule::DataInSize | Rule::OutOfReach => "forbids nothing that can be seen",
            Rule::Journal => "R1, measured; jbd2 and the XFS log replay whole transactions in order",
            Rule::AllocationAfterNames => {
                "R2, measured; the allocation is journalled at write-back, after them"
            }
            Rule::PageHoldsEarlier => "R3, measured; the page cache holds one version of a page",
            Rule::DataAfterTruncate => "R5, measured; the blocks are allocated anew",
            Rule::ReplaceViaRename => "ext4(5), auto_da_alloc; ext4_rename calls ext4_alloc_da_blocks",
            Rule::HoleAfterZeros => "ext4_block_zero_page_range calls ext4_jbd2_inode_add_write",
            Rule::SizeAfterData => "R4, measured; xfs_setfilesize runs when the I/O is complete",
            Rule::TruncateAfterData => {
                "xfs_setattr_size: 'previous writes that are beyond the on disk EOF and the new EOF' are written out first"
            }
            Rule::Commit => "measured; a btrfs commit writes the trees as they are, without flushing data",
            Rule::Log => "measured; the tree log is written by the sync as a whole and replayed as a whole",
            Rule::Place => "btrfs_log_inode: new ancestors, and inodes whose names conflict, are logged too",
            Rule::Assumed => "--assume",
        }
    }
}
