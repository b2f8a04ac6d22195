//! Observed against modelled.

use crate::observe::{Moments, Trees};

/// A real tree that the model does not allow at some moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The tree.
    pub tree: String,
    /// The moments at which a kernel may leave it and the model says that it cannot.
    pub moments: Moments,
}

/// Every real tree that is outside the model.
pub fn misses(observed: &Trees, modelled: &Trees) -> Vec<Miss> {
    let outside = |(tree, seen): (&String, &Moments)| {
        let moments = seen.without(modelled.get(tree).copied().unwrap_or_default());
        (!moments.is_empty()).then(|| Miss { tree: tree.clone(), moments })
    };
    observed.iter().filter_map(outside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_must_be_modelled_at_every_moment_at_which_it_was_possible() {
        let trees = |list: &[(&str, &str)]| -> Trees {
            list.iter().map(|(tree, m)| ((*tree).to_owned(), Moments::parse(m).unwrap())).collect()
        };
        let modelled = trees(&[("f=A", "0-4"), ("f=B", "1-6")]);
        assert!(misses(&trees(&[("f=A", "0-4"), ("f=B", "3-6")]), &modelled).is_empty());
        let found = misses(&trees(&[("f=A", "0-6"), ("f=C", "2")]), &modelled);
        let said: Vec<String> = found.iter().map(|m| format!("{} at {}", m.tree, m.moments)).collect();
        assert_eq!(said, ["f=A at 5-6", "f=C at 2"]);
    }
}
