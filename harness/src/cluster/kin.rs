//! Mechanisms that are one mistake: one sync would mend them all.

use super::Mechanism;
use crate::verdict::Class;

/// What the cases of one mistake have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shared {
    /// Which sync is missing and what came after it: a sync in front of that mends them all.
    After,
    /// What is missing: a sync right behind that mends them all.
    Missing,
}

#[derive(Clone, Debug)]
struct Family {
    class: Class,
    name: String,
    first: Mechanism,
    /// Known from the second mechanism on.
    shared: Option<Shared>,
}

/// The mistakes of one run. A name that no sync forced may show in several ways: by what was written in reliance on it,
/// or by what was removed. Joined are cases of which all share what is missing, or all share what came after; never
/// one by this and another by that, since no single sync would mend such three.
#[derive(Clone, Debug, Default)]
pub struct Kin(Vec<Family>);

impl Kin {
    /// The name of the mistake that this mechanism shows, for all of one class's family: that of the first mechanism
    /// that was met of it.
    pub fn name(&mut self, class: Class, mechanism: Mechanism) -> String {
        let class = class.family();
        let missing = |f: &&mut Family| {
            f.class == class && mechanism.missing.is_some() && f.first.missing == mechanism.missing
        };
        let of_missing = |f: &&mut Family| f.shared == Some(Shared::Missing);
        if let Some(family) = self.0.iter_mut().filter(of_missing).find(missing) {
            return family.name.clone();
        }
        let after = |f: &&mut Family| f.class == class && f.first.text == mechanism.text;
        if let Some(family) = self.0.iter_mut().filter(|f| !of_missing(f)).find(after) {
            if family.first.missing != mechanism.missing {
                family.shared = Some(Shared::After);
            }
            return family.name.clone();
        }
        if let Some(family) = self.0.iter_mut().filter(|f| f.shared.is_none()).find(missing) {
            family.shared = Some(Shared::Missing);
            return family.name.clone();
        }
        let mut name = mechanism.text.clone();
        while self.0.iter().any(|f| f.class == class && f.name == name) {
            name.push_str(", for another reason");
        }
        self.0.push(Family { class, name: name.clone(), first: mechanism, shared: None });
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that pairs of what is missing and what came after are given, one after the other.
    fn names(pairs: &[(&str, &str)]) -> Vec<String> {
        let mut kin = Kin::default();
        let one = |(missing, after): &(&str, &str)| {
            let missing = (!missing.is_empty()).then(|| (*missing).to_owned());
            kin.name(Class::RefusesToOpen, Mechanism { text: (*after).to_owned(), missing })
        };
        pairs.iter().map(one).collect()
    }

    #[test]
    fn what_is_missing_joins_and_what_came_after_does() {
        assert_eq!(names(&[("m", "write"), ("m", "removal"), ("m", "write")]), ["write"; 3]);
        assert_eq!(names(&[("base", "rename"), ("incr", "rename"), ("base", "rename")]), ["rename"; 3]);
        assert_eq!(names(&[("", "write"), ("", "removal")]), ["write", "removal"], "content joins nothing");
    }

    #[test]
    fn no_chain_is_made_of_both() {
        // (a, x) and (a, y) are mended behind a; (b, y) is not.
        assert_eq!(names(&[("a", "x"), ("a", "y"), ("b", "y")]), ["x", "x", "y"]);
        assert_eq!(names(&[("a", "x"), ("b", "x"), ("a", "y"), ("b", "y")]), ["x", "x", "y", "y"]);
        let other = "x, for another reason";
        assert_eq!(names(&[("a", "x"), ("a", "y"), ("b", "x"), ("a", "x")]), ["x", "x", other, "x"]);
    }

    #[test]
    fn classes_that_are_no_family_stay_apart() {
        let mut kin = Kin::default();
        let mechanism = |text: &str| Mechanism { text: text.into(), missing: Some("a".into()) };
        assert_eq!(kin.name(Class::RefusesToOpen, mechanism("x")), "x");
        assert_eq!(kin.name(Class::Gap, mechanism("y")), "y");
        assert_eq!(kin.name(Class::SilentCorruption, mechanism("z")), "y");
    }
}
