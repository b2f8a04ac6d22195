//! Making sets of many members.
//!
//! A small set is looked through for every member that is added to it. For one member that is quick; for all the members
//! of a set that is being loaded it would take a time that grows with the square of their number.

use super::{Repr, SMALL, SMALL_INTEGERS, Set, Table};
use crate::resp::parse_integer;
use crate::value::packed::{LONGEST, Packed};

/// Up to so many members a small set is looked through all the same: that is quicker than making a table.
const FEW: usize = 48;

/// The members of a set to be, which may be many. The set is the same as if they had been added one by one.
#[derive(Debug, Default)]
pub struct Gathered {
    /// As long as they are few, or what else is no small set.
    set: Set,
    /// All of them, once they are no longer few.
    many: Option<Many>,
}

#[derive(Debug)]
struct Many {
    table: Box<Table>,
    /// They are integers, and always were: see [`Set`].
    integers: bool,
    /// None of them is too long for a small set.
    short: bool,
}

impl Gathered {
    /// Adds a member; says whether it is new.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        if self.many.is_none() && matches!(self.set.repr, Repr::Small(_, len) if len >= FEW) {
            self.many = Some(Many::from(std::mem::take(&mut self.set)));
        }
        match &mut self.many {
            Some(many) => many.insert(member),
            None => self.set.insert(member),
        }
    }

    /// The set.
    pub fn set(self) -> Set {
        self.many.map_or(self.set, Many::set)
    }
}

impl From<Set> for Gathered {
    fn from(set: Set) -> Gathered {
        Gathered { set, many: None }
    }
}

impl Many {
    fn from(set: Set) -> Many {
        Many { table: Box::new(set.iter().map(Box::from).collect()), integers: set.integers, short: true }
    }

    fn insert(&mut self, member: &[u8]) -> bool {
        let new = self.table.insert(member.into());
        if new {
            self.integers = self.integers && parse_integer(member).is_some();
            self.short = self.short && member.len() <= LONGEST;
        }
        new
    }

    fn set(self) -> Set {
        let len = self.table.len();
        let integers = self.integers && len <= SMALL_INTEGERS;
        if self.short && (integers || len <= SMALL) {
            let packed = Packed::of(self.table.iter().map(|member| &**member));
            return Set { repr: Repr::Small(packed, len), integers };
        }
        Set { repr: Repr::Large(self.table), integers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether a set is a small one, of integers alone, and its members in their order.
    fn shape(set: &Set) -> (bool, bool, Vec<&[u8]>) {
        (matches!(set.repr, Repr::Small(..)), set.integers, set.iter().collect())
    }

    /// A set that began with some members, of which some went, and to which others came, both ways.
    fn assert_same(first: &[Vec<u8>], gone: usize, more: &[Vec<u8>]) {
        let mut one_by_one = Set::default();
        for member in first {
            one_by_one.insert(member);
        }
        for member in first.iter().take(gone) {
            one_by_one.remove(member);
        }
        let mut gathered = Gathered::from(one_by_one.clone());
        for member in more {
            assert_eq!(gathered.insert(member), one_by_one.insert(member), "{}", member.escape_ascii());
        }
        assert_eq!(shape(&gathered.set()), shape(&one_by_one));
    }

    fn integers(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
        range.map(|i| i.to_string().into_bytes()).collect()
    }

    #[test]
    fn at_every_size_the_set_is_that_of_single_insertions() {
        for n in (0..140).chain(500..520) {
            assert_same(&[], 0, &integers(0..n));
            let mixed = [integers(0..n), vec![b"x".to_vec()]].concat();
            assert_same(&[], 0, &mixed);
            assert_same(&[], 0, &[vec![b"x".to_vec()], integers(0..n)].concat());
            assert_same(&mixed, 3, &integers(n / 2..n + 60));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_comes_the_set_is_that_of_single_insertions(
            first in proptest::collection::vec(0..700u32, 0..150),
            gone in 0..150usize,
            more in proptest::collection::vec(0..700u32, 0..600),
            odd in proptest::option::weighted(0.4, (0..700u32, 0..90usize)),
        ) {
            // Most are integers; one may be none, and may be too long for a small set.
            let member = |i: &u32| match odd {
                Some((which, len)) if which == *i => format!("{i}{}", "x".repeat(len + 1)).into_bytes(),
                _ => i.to_string().into_bytes(),
            };
            let first: Vec<Vec<u8>> = first.iter().map(member).collect();
            let more: Vec<Vec<u8>> = more.iter().map(member).collect();
            assert_same(&first, gone, &more);
        }
    }
}
