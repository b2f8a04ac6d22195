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
    // Trees with rubbish in them: what stood on the disk before may be anything.
    let rubbish: Vec<(&String, &Moments)> = modelled.iter().filter(|(tree, _)| tree.contains('?')).collect();
    let outside = |(tree, seen): (&String, &Moments)| {
        let mut moments = seen.without(modelled.get(tree).copied().unwrap_or_default());
        if !moments.is_empty() {
            let like = rubbish.iter().filter(|(pattern, _)| matches(pattern, tree));
            like.for_each(|(_, allowed)| moments = moments.without(**allowed));
        }
        (!moments.is_empty()).then(|| Miss { tree: tree.clone(), moments })
    };
    observed.iter().filter_map(outside).collect()
}

/// Whether a tree is one of those that a modelled tree with rubbish stands for: its `?` is any page, its `(?100)`
/// any last page of that length.
pub fn matches(pattern: &str, tree: &str) -> bool {
    let (mut pattern, mut tree) = (pages(pattern), pages(tree));
    loop {
        match (pattern.next(), tree.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b => {}
            // A page is a letter or a bracket, and only behind a `=`; a name's letter is never met by a `?`.
            (Some("?"), Some(b)) if length(b) == Some(PAGE) => {}
            (Some(a), Some(b)) if a.starts_with("(?") && length(a) == length(b) => {}
            _ => return false,
        }
    }
}

const PAGE: u64 = 4096;

/// A line as brackets and single characters.
fn pages(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let len = match first {
            '(' => rest.find(')').map_or(rest.len(), |end| end + 1),
            first => first.len_utf8(),
        };
        let (page, after) = rest.split_at(len);
        rest = after;
        Some(page)
    })
}

/// How many bytes a page stands for.
fn length(page: &str) -> Option<u64> {
    match page.strip_prefix('(') {
        Some(runs) => {
            let run = |run: &str| run.get(1..).and_then(|digits| digits.parse::<u64>().ok());
            runs.strip_suffix(')')?.split('+').map(run).sum()
        }
        None => page.chars().all(|c| c.is_ascii_alphanumeric() || c == '?').then_some(PAGE),
    }
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

    #[test]
    fn modelled_rubbish_is_any_page_of_its_length() {
        assert!(matches("f=A?", "f=AB") && matches("f=A?", "f=A0") && matches("f=A?", "f=A?"));
        assert!(matches("f=?", "f=(A2048+B2048)") && matches("f=A(?100) g=", "f=A(B60+040) g="));
        assert!(!matches("f=A?", "f=A") && !matches("f=A?", "f=ABC") && !matches("f=A?", "f=BB"));
        assert!(!matches("f=?", "f=(A100)") && !matches("f=(?100)", "f=(A101)") && !matches("f=?", "f= "));
        let modelled: Trees = [("f=?".to_owned(), Moments::parse("2-3").unwrap())].into();
        let observed: Trees = [("f=Z".to_owned(), Moments::parse("2-5").unwrap())].into();
        assert_eq!(misses(&observed, &modelled)[0].moments.to_string(), "4-5");
    }
}
