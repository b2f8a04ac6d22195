//! A set of byte strings.

mod gather;

pub use gather::Gathered;

use either::Either;
use indexmap::IndexSet;
use std::hash::BuildHasherDefault;

use super::packed::{Counted, LONGEST, Packed, scan_page};
use crate::keyspace::FixedHasher;
use crate::resp::parse_integer;

type Table = IndexSet<Box<[u8]>, BuildHasherDefault<FixedHasher>>;

/// Members of a small set.
const SMALL: usize = 128;
/// Members of a small set of nothing but integers, as the default of set-max-intset-entries.
const SMALL_INTEGERS: usize = 512;
/// From so many members at once on it pays to make a table of those that are there.
const MANY: usize = 8;

/// A set. Its order depends on nothing but the operations on it.
#[derive(Clone, Debug)]
pub struct Set {
    repr: Repr,
    /// It has never been anything but a small set of integers: Redis stores such sets as arrays of numbers.
    integers: bool,
}

#[derive(Clone, Debug)]
enum Repr {
    Small(Packed, usize),
    /// In a box, so that a small one is not as large as this.
    Large(Box<Table>),
}

impl Default for Set {
    fn default() -> Self {
        Set { repr: Repr::Small(Packed::default(), 0), integers: true }
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Set) -> bool {
        self.len() == other.len() && self.iter().all(|member| other.contains(member))
    }
}

impl Eq for Set {}

fn find(packed: &Packed, member: &[u8]) -> Option<usize> {
    packed.iter().find(|(_, m)| *m == member).map(|(at, _)| at)
}

impl Set {
    /// Adds a member; says whether it is new.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        let integer = self.integers && parse_integer(member).is_some();
        if let (Repr::Small(packed, len), true) = (&mut self.repr, member.len() <= LONGEST) {
            if find(packed, member).is_some() {
                return false;
            }
            let most = if integer { SMALL_INTEGERS } else { SMALL };
            if *len < most {
                packed.insert(packed.end(), [member]);
                *len += 1;
                self.integers = integer;
                return true;
            }
        }
        self.integers = false;
        if let Repr::Small(packed, _) = &self.repr {
            self.repr = Repr::Large(Box::new(packed.iter().map(|(_, member)| member.into()).collect()));
        }
        match &mut self.repr {
            Repr::Large(table) => table.insert(member.into()),
            Repr::Small(..) => false,
        }
    }

    /// Adds members; says how many of them are new. Of many it is quicker than one by one.
    pub fn extend(&mut self, members: &[&[u8]]) -> usize {
        if members.len() < MANY {
            return members.iter().filter(|member| self.insert(member)).count();
        }
        let mut gathered = Gathered::from(std::mem::take(self));
        let new = members.iter().filter(|member| gathered.insert(member)).count();
        *self = gathered.set();
        new
    }

    /// Takes a member away; says whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.repr {
            Repr::Small(packed, len) => {
                let found = find(packed, member);
                if let Some(at) = found {
                    packed.remove(at, 1);
                    *len -= 1;
                }
                found.is_some()
            }
            Repr::Large(table) => table.swap_remove(member),
        }
    }

    /// Whether `member` is in it.
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.repr {
            Repr::Small(packed, _) => find(packed, member).is_some(),
            Repr::Large(table) => table.contains(member),
        }
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Small(_, len) => *len,
            Repr::Large(table) => table.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its members.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        match &self.repr {
            Repr::Small(packed, len) => Either::Left(Counted(packed.iter().map(|(_, member)| member), *len)),
            Repr::Large(table) => Either::Right(table.iter().map(|member| &**member)),
        }
    }

    /// The member at a place, for picking one at random.
    pub fn at(&self, place: usize) -> Option<&[u8]> {
        match &self.repr {
            Repr::Small(packed, _) => packed.iter().nth(place).map(|(_, member)| member),
            Repr::Large(table) => table.get_index(place).map(|member| &**member),
        }
    }

    /// One page of a walk over all members, and the cursor of the next page (0 at the end). What is there throughout
    /// the walk is given, whatever comes and goes meanwhile.
    pub fn scan(&self, cursor: u64, count: usize) -> (impl Iterator<Item = &[u8]>, u64) {
        match &self.repr {
            Repr::Small(..) => (Either::Left(self.iter()), 0),
            Repr::Large(table) => {
                let (page, next) = scan_page(cursor, count, table.len());
                (Either::Right(page.filter_map(|place| self.at(place))), next)
            }
        }
    }

    /// What Redis calls the way in which it would be stored there.
    pub fn encoding(&self) -> &'static str {
        if self.integers { "intset" } else { "hashtable" }
    }
}

impl<'a> FromIterator<&'a [u8]> for Set {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(members: I) -> Self {
        let mut set = Gathered::default();
        for member in members {
            set.insert(member);
        }
        set.set()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_sets_behave_alike() {
        let mut set = Set::default();
        for i in 0..600u32 {
            assert!(set.insert(i.to_string().as_bytes()));
            assert!(!set.insert(i.to_string().as_bytes()));
            assert_eq!((set.len(), set.encoding() == "intset"), (i as usize + 1, i < 512), "{i}");
        }
        for i in (0..600u32).step_by(3) {
            assert!(set.remove(i.to_string().as_bytes()));
        }
        assert!((0..600u32).all(|i| set.contains(i.to_string().as_bytes()) == (i % 3 != 0)));
        assert_eq!(set.iter().len(), 400);
        let mut seen: Vec<&[u8]> = (0..400).filter_map(|i| set.at(i)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 400);
    }

    #[test]
    fn what_was_no_set_of_integers_is_never_one_again() {
        let mut set: Set = [b"1".as_slice(), b"02", b"3"].into_iter().collect();
        assert_eq!(set.encoding(), "hashtable");
        assert!(set.remove(b"02") && set.encoding() == "hashtable");
        assert!(set == [b"3".as_slice(), b"1"].into_iter().collect());
        // A string among many integers.
        let mut set = Set::default();
        for i in 0..300u32 {
            set.insert(i.to_string().as_bytes());
        }
        assert!(set.insert(b"x") && set.len() == 301 && set.contains(b"299") && set.contains(b"x"));
    }
}
