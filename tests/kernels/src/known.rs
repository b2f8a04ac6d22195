//! What kernels do beyond a model, seen, understood and not modelled yet: docs/models.md, last chapter. Each is
//! counted and said aloud; one that is no longer found must go from this list (tests/fixtures.rs).

use crate::compare::{Miss, shape};
use crate::observe::Trees;

/// One such mechanism.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// In words.
    pub name: &'static str,
    /// The model that lacks it.
    model: &'static str,
    /// The workloads in which it shows; none: in all.
    workloads: &'static [&'static str],
    like: Like,
}

#[derive(Clone, Copy, Debug)]
enum Like {
    /// Names and sizes are as modelled at those moments: only what pages hold is not.
    Content,
    /// This tree.
    Tree(&'static str),
}

static KNOWN: [Known; 3] = [
    Known {
        name: "data=writeback: a block is used anew before its freeing is durable, so that the old file shows \
               another file's new data; and the zeros of a page that is cut are not ordered before the new size",
        model: "ext4-writeback",
        workloads: &[],
        like: Like::Content,
    },
    Known {
        name: "xfs: a punch within a page is durable without the zeros of that page",
        model: "xfs",
        workloads: &["punch-in-page"],
        like: Like::Content,
    },
    Known {
        name: "btrfs: an inode that was synced and then replaced, twice under one temporary name, comes back under \
               that name",
        model: "btrfs",
        workloads: &["redis-rewrite"],
        like: Like::Tree(
            "a/ a/base.1=A a/base.2=EE a/incr.1=B a/incr.2=D a/manifest=(O120) a/temp-manifest=(N150)",
        ),
    },
];

/// All of them.
pub fn all() -> &'static [Known] {
    &KNOWN
}

/// The mechanism that a miss shows, if it is a known one.
pub fn known(workload: &str, model: &str, miss: &Miss, modelled: &Trees) -> Option<&'static Known> {
    let fits = |known: &&Known| {
        let here = known.workloads.is_empty() || known.workloads.contains(&workload);
        known.model == model
            && here
            && match known.like {
                Like::Tree(tree) => tree == miss.tree,
                Like::Content => {
                    let wanted = shape(&miss.tree);
                    let mut left = miss.moments;
                    let alike = modelled.iter().filter(|(tree, _)| shape(tree) == wanted);
                    alike.for_each(|(_, moments)| left = left.without(*moments));
                    left.is_empty()
                }
            }
    };
    KNOWN.iter().find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Moments;

    #[test]
    fn names_and_sizes_are_still_held_against_the_model() {
        let moments = |text: &str| Moments::parse(text).unwrap();
        let modelled: Trees = [("f=AA g=(A100)".to_owned(), moments("0-4"))].into();
        let is_known = |tree: &str, at: &str| {
            let miss = Miss { tree: tree.into(), moments: moments(at) };
            known("any", "ext4-writeback", &miss, &modelled).is_some()
        };
        assert!(is_known("f=AZ g=(A60+B40)", "3"));
        assert!(!is_known("f=AZ g=(A101)", "3") && !is_known("f=AZ g=(A100)", "5"));
        assert!(!is_known("f=A g=(A100)", "3") && !is_known("f=AZ h=(A100)", "3"));
        let miss = Miss { tree: "f=AZ g=(A100)".into(), moments: moments("3") };
        assert!(known("any", "ext4-ordered", &miss, &modelled).is_none());
    }
}
