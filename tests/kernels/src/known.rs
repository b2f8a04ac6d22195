//! Real states that are outside their model and that the project knows of. Each is counted and named on the page of the
//! ground truth, and each must still be seen in what is recorded: an entry that nothing shows any more is a mistake.

use crate::suite::Finding;

/// A real tree that a model leaves out.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The workload that shows it.
    pub workload: &'static str,
    /// The file system.
    pub kind: &'static str,
    /// The tree.
    pub tree: &'static str,
    /// What is known of it.
    pub about: &'static str,
}

/// All of them.
pub const KNOWN: &[Known] = &[Known {
    workload: "zero-then-write",
    kind: "ext4-journal",
    tree: "f=AA0 g=A",
    about: "ZERO_RANGE of two pages and a write over the first, which is written back: the second page reads as zeros, the \
            first as before both. The model keeps the order of the two. Why is not understood.",
}];

impl Known {
    /// Whether this is what was found.
    pub fn is(&self, finding: &Finding) -> bool {
        self.workload == finding.workload && self.kind == finding.kind && self.tree == finding.miss.tree
    }
}

/// Whether something found is known.
pub fn is_known(finding: &Finding) -> bool {
    KNOWN.iter().any(|known| known.is(finding))
}
