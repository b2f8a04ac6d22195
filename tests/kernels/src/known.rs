//! Real states that are outside their model and that the project knows of. Each is counted and named on the page of the
//! ground truth, and each must still be seen in what is recorded: an entry that nothing shows any more is a mistake.

use crate::suite::Finding;
use std::fmt::Write;

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

/// All of them: none at present.
pub const KNOWN: &[Known] = &[];

impl Known {
    /// Whether this is what was found.
    pub fn is(&self, finding: &Finding) -> bool {
        self.workload == finding.workload && self.kind == finding.kind && self.tree == finding.miss.tree
    }
}

/// What was found, without what is on the list; and that.
pub fn apart(found: Vec<Finding>, list: &[Known]) -> (Vec<Finding>, Vec<Finding>) {
    found.into_iter().partition(|finding| !list.iter().any(|known| known.is(finding)))
}

/// The entries of the list that nothing shows.
pub fn unshown<'l>(list: &'l [Known], found: &[Finding]) -> Vec<&'l Known> {
    list.iter().filter(|known| !found.iter().any(|finding| known.is(finding))).collect()
}

/// What the page says of them.
pub fn said(list: &[Known], found: &[Finding]) -> String {
    let mut out = String::new();
    for known in list {
        let runs = found.iter().filter(|finding| known.is(finding)).count();
        let Known { workload, kind, tree, about } = known;
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "\nNot counted there, **known to be outside**: `{workload}` on {kind}, `{tree}`, in {runs} runs. {about}"
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Miss;
    use crate::observe::Moments;
    use crate::script::Script;
    use crate::variant::variants;

    fn finding(workload: &str, kind: &str, tree: &str) -> Finding {
        let script = Script::parse(workload, "create f\n---\nappend f B 1p\n").unwrap();
        let variant = variants(&script, crate::variant::Depth::Few).unwrap().remove(0);
        let miss = Miss { tree: tree.into(), moments: Moments::parse("1-2").unwrap() };
        Finding { workload: workload.into(), kind: kind.into(), kernel: "6".into(), variant, miss }
    }

    #[test]
    fn what_is_known_is_told_apart_named_and_missed_when_nothing_shows_it() {
        let entry = |tree| Known { workload: "w", kind: "xfs", tree, about: "Nobody knows why." };
        let list = [entry("f=B"), entry("f=C")];
        let found = vec![
            finding("w", "xfs", "f=B"),
            finding("w", "xfs", "f=B"),
            finding("w", "xfs", "f=BB"),
            finding("w", "btrfs", "f=B"),
            finding("v", "xfs", "f=B"),
        ];
        let (other, known) = apart(found.clone(), &list);
        assert_eq!((other.len(), known.len()), (3, 2), "workload, kind and tree must all be the entry's");
        assert!(known.iter().all(|finding| list[0].is(finding)));
        assert_eq!(unshown(&list, &known).iter().map(|known| known.tree).collect::<Vec<_>>(), ["f=C"]);
        let page = said(&list, &known);
        assert!(page.contains("`w` on xfs, `f=B`, in 2 runs. Nobody knows why."), "{page}");
        assert!(page.contains("`f=C`, in 0 runs"), "{page}");
        let (other, known) = apart(found, &[]);
        assert_eq!((other.len(), known.len(), said(&[], &other)), (5, 0, String::new()));
    }
}
