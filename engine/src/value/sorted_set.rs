//! A set whose members have scores, in the order of their scores.

use either::Either;
use indexmap::IndexMap;
use std::cmp::Ordering;
use std::hash::BuildHasherDefault;
use std::ops::Range;

use super::order::{Item, Order};
use super::packed::{LONGEST, Packed, scan_page};
use crate::keyspace::FixedHasher;

/// Members of a small sorted set, as the default of zset-max-listpack-entries.
const SMALL: usize = 128;

/// A score: a double that is not NaN.
#[derive(Clone, Copy, Debug)]
pub struct Score(f64);

impl Score {
    /// A score; `None` for NaN.
    pub fn new(score: f64) -> Option<Score> {
        (!score.is_nan()).then_some(Score(score))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Score) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Score) -> Ordering {
        // Never NaN. As in Redis, 0 and -0 are the same score.
        self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal)
    }
}

/// A sorted set: members by score, members of one score by their bytes.
#[derive(Clone, Debug)]
pub struct SortedSet(Repr);

#[derive(Clone, Debug)]
enum Repr {
    /// Members in their order, each before its score as [`Short`] has it; and how many.
    Small(Packed, usize),
    /// In a box, so that a small one is not as large as this.
    Large(Box<Large>),
}

#[derive(Clone, Debug, Default)]
struct Large {
    scores: IndexMap<Box<[u8]>, Score, BuildHasherDefault<FixedHasher>>,
    order: Order,
}

impl Default for SortedSet {
    fn default() -> Self {
        SortedSet(Repr::Small(Packed::default(), 0))
    }
}

impl PartialEq for SortedSet {
    fn eq(&self, other: &SortedSet) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SortedSet {}

/// A score in as few bytes as it needs: the eight of a double, or, if it is an integer for which fewer do, its lowest
/// ones, the sign among them.
struct Short {
    bytes: [u8; 8],
    len: usize,
}

impl Short {
    fn new(score: f64) -> Short {
        // Saturates: what does not fit is another number then.
        let integer = score as i64;
        let fits = |len: &usize| (integer << (64 - 8 * len)) >> (64 - 8 * len) == integer;
        match (1..8).find(fits).filter(|_| integer as f64 == score) {
            Some(len) => Short { bytes: integer.to_le_bytes(), len },
            None => Short { bytes: score.to_le_bytes(), len: 8 },
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn read(bytes: &[u8]) -> Option<f64> {
        let unused = 8usize.checked_sub(bytes.len()).filter(|unused| *unused < 8)?;
        let mut whole = [0; 8];
        whole[unused..].copy_from_slice(bytes);
        // The lowest bytes stand in the highest places: shifting them down repeats the sign.
        let integer = || (i64::from_le_bytes(whole) >> (8 * unused)) as f64;
        Some(if unused == 0 { f64::from_le_bytes(whole) } else { integer() })
    }
}

/// The members of a small one with their offsets and scores.
fn members(packed: &Packed) -> impl Iterator<Item = (usize, &[u8], Score)> {
    let mut items = packed.iter();
    std::iter::from_fn(move || {
        let (at, member) = items.next()?;
        Some((at, member, Score(Short::read(items.next()?.1)?)))
    })
}

impl Large {
    fn member(&self, place: usize) -> &[u8] {
        self.scores.get_index(place).map_or(&[], |(member, _)| member)
    }

    /// The rank at which a member with this score stands, or would stand.
    fn rank(&self, member: &[u8], score: Score) -> usize {
        // The member is somewhere else in memory: it is looked at only where the score does not decide.
        self.order.rank(|i| i.score.cmp(&score).then_with(|| self.member(i.place).cmp(member)).is_lt())
    }

    fn insert(&mut self, member: &[u8], score: Score) {
        let rank = self.rank(member, score);
        let place = match self.scores.get_full_mut(member) {
            Some((place, _, old)) => {
                *old = score;
                place
            }
            None => self.scores.insert_full(member.into(), score).0,
        };
        self.order.insert(rank, Item { score, place });
    }

    fn remove_at(&mut self, rank: usize) -> Option<(Box<[u8]>, Score)> {
        let place = self.order.remove(rank).place;
        // The table's last member takes the free place.
        let last = self.scores.len() - 1;
        if place != last
            && let Some((moved, score)) = self.scores.get_index(last)
        {
            let rank = self.rank(moved, *score);
            self.order.moved(rank, place);
        }
        self.scores.swap_remove_index(place)
    }
}

impl SortedSet {
    /// An empty one in the large form, for results that are shown, or else stored [`packed`](SortedSet::packed).
    pub fn unpacked() -> SortedSet {
        SortedSet(Repr::Large(Box::default()))
    }

    /// The same in the small form, if it fits that.
    pub fn packed(self) -> SortedSet {
        if self.len() > SMALL || self.iter().any(|(member, _)| member.len() > LONGEST) {
            return self;
        }
        let mut small = SortedSet::default();
        for (member, score) in self.iter() {
            small.insert(member, score);
        }
        small
    }

    /// Takes the large form.
    pub fn unpack(&mut self) {
        if let Repr::Small(packed, _) = &self.0 {
            let mut large = Box::<Large>::default();
            members(packed).for_each(|(_, member, score)| large.insert(member, score));
            self.0 = Repr::Large(large);
        }
    }

    /// Adds a member or moves it; gives the score that it had. An equal score is left as it is: 0 does not become -0.
    pub fn insert(&mut self, member: &[u8], score: Score) -> Option<Score> {
        let old = self.score(member);
        if old == Some(score) {
            return old;
        }
        if member.len() > LONGEST || (self.len() >= SMALL && old.is_none()) {
            self.unpack();
        }
        match &mut self.0 {
            Repr::Large(large) => {
                if let Some(old) = old {
                    // The member keeps its place in the table.
                    large.order.remove(large.rank(member, old));
                }
                large.insert(member, score);
            }
            Repr::Small(packed, len) => {
                let found = members(packed).find(|(_, m, _)| *m == member).map(|(at, _, _)| at);
                if let Some(at) = found {
                    packed.remove(at, 2);
                }
                let next = members(packed).find(|(_, m, s)| (*s, *m) > (score, member));
                let at = next.map_or(packed.end(), |(at, _, _)| at);
                // As in Redis, a small one knows no -0.
                packed.insert(at, [member, Short::new(score.0 + 0.0).as_slice()]);
                *len += usize::from(found.is_none());
            }
        }
        old
    }

    /// A member's score.
    pub fn score(&self, member: &[u8]) -> Option<Score> {
        match &self.0 {
            Repr::Small(packed, _) => members(packed).find(|(_, m, _)| *m == member).map(|(_, _, s)| s),
            Repr::Large(large) => large.scores.get(member).copied(),
        }
    }

    /// Takes a member away; gives the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<Score> {
        match &mut self.0 {
            Repr::Large(large) => {
                let score = *large.scores.get(member)?;
                large.remove_at(large.rank(member, score)).map(|(_, score)| score)
            }
            Repr::Small(packed, len) => {
                let (at, _, score) = members(packed).find(|(_, m, _)| *m == member)?;
                packed.remove(at, 2);
                *len -= 1;
                Some(score)
            }
        }
    }

    /// Takes the members of some ranks away, and gives them with their scores, lowest first.
    pub fn remove_range(&mut self, ranks: Range<usize>) -> Vec<(Vec<u8>, Score)> {
        match &mut self.0 {
            Repr::Large(large) => {
                let gone = ranks.clone().filter_map(|_| large.remove_at(ranks.start));
                gone.map(|(member, score)| (member.into_vec(), score)).collect()
            }
            Repr::Small(packed, len) => {
                let part = members(packed).skip(ranks.start).take(ranks.len());
                let gone: Vec<_> = part.map(|(at, member, score)| (at, (member.to_vec(), score))).collect();
                if let Some((at, _)) = gone.first() {
                    packed.remove(*at, 2 * gone.len());
                }
                *len -= gone.len();
                gone.into_iter().map(|(_, pair)| pair).collect()
            }
        }
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Small(_, len) => *len,
            Repr::Large(large) => large.scores.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its members with their scores, lowest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], Score)> + ExactSizeIterator {
        self.range(0..self.len())
    }

    /// The members of some ranks with their scores, lowest first. The ranks must be those of members.
    pub fn range(
        &self,
        ranks: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = (&[u8], Score)> + ExactSizeIterator {
        match &self.0 {
            Repr::Small(packed, _) => {
                let all = members(packed).skip(ranks.start).take(ranks.len());
                Either::Left(all.map(|(_, member, score)| (member, score)).collect::<Vec<_>>().into_iter())
            }
            Repr::Large(large) => {
                Either::Right(large.order.range(ranks).map(|i| (large.member(i.place), i.score)))
            }
        }
    }

    /// The rank of a member, counted from the lowest.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        match &self.0 {
            Repr::Small(packed, _) => members(packed).position(|(_, m, _)| m == member),
            Repr::Large(large) => Some(large.rank(member, *large.scores.get(member)?)),
        }
    }

    /// How many members stand before a border of scores: `before` holds for them, and for none behind it.
    pub fn rank_of_score(&self, before: impl Fn(Score) -> bool) -> usize {
        match &self.0 {
            Repr::Small(packed, _) => members(packed).take_while(|(_, _, score)| before(*score)).count(),
            Repr::Large(large) => large.order.rank(|i| before(i.score)),
        }
    }

    /// The same for a border of members, where all scores are equal.
    pub fn rank_of_member(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        match &self.0 {
            Repr::Small(packed, _) => members(packed).take_while(|(_, member, _)| before(member)).count(),
            Repr::Large(large) => large.order.rank(|i| before(large.member(i.place))),
        }
    }

    /// One page of a walk over all members, and the cursor of the next page (0 at the end). What is there throughout
    /// the walk is given, whatever comes and goes meanwhile.
    pub fn scan(&self, cursor: u64, count: usize) -> (impl Iterator<Item = (&[u8], Score)>, u64) {
        match &self.0 {
            Repr::Small(..) => (Either::Left(self.iter()), 0),
            Repr::Large(large) => {
                let (page, next) = scan_page(cursor, count, large.scores.len());
                let at = |place| large.scores.get_index(place).map(|(member, score)| (&**member, *score));
                (Either::Right(page.filter_map(at)), next)
            }
        }
    }

    /// Whether it has the small form, in which Redis searches from one end.
    pub fn is_small(&self) -> bool {
        matches!(self.0, Repr::Small(..))
    }

    /// What Redis calls the way in which it would be stored there.
    pub fn encoding(&self) -> &'static str {
        if self.is_small() { "listpack" } else { "skiplist" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn score(score: f64) -> Score {
        Score::new(score).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_a_map_and_an_order(
            steps in prop::collection::vec((0u8..10, 0u32..400, -9i8..9), 1..1500),
            removals in 1u8..6,
        ) {
            let mut set = SortedSet::default();
            let mut scores = BTreeMap::<Vec<u8>, Score>::new();
            for (kind, member, at) in steps {
                let member = format!("m{member}").into_bytes();
                if kind < removals {
                    prop_assert_eq!(set.remove(&member), scores.remove(&member));
                } else {
                    let at = score(f64::from(at) / 2.0);
                    prop_assert_eq!(set.insert(&member, at), scores.insert(member, at));
                }
            }
            let order: BTreeSet<(Score, &[u8])> = scores.iter().map(|(m, s)| (*s, m.as_slice())).collect();
            prop_assert!(set.iter().map(|(m, s)| (s, m)).eq(order.iter().copied()));
            prop_assert!(set.iter().rev().map(|(m, s)| (s, m)).eq(order.iter().rev().copied()));
            for (rank, (s, m)) in order.iter().enumerate() {
                prop_assert_eq!((set.rank(m), set.score(m)), (Some(rank), Some(*s)));
                let below = order.iter().filter(|(score, _)| score < s).count();
                prop_assert_eq!(set.rank_of_score(|score| score < *s), below);
            }
            let gone = set.remove_range(order.len() / 4..order.len() / 2);
            prop_assert_eq!(set.len(), order.len() - gone.len());
            prop_assert!(gone.iter().all(|(m, s)| scores[m] == *s && set.score(m).is_none()));
        }
    }

    #[test]
    fn a_score_comes_back_from_its_short_form() {
        let borders =
            (0..63).flat_map(|bits| [1i64 << bits, (1 << bits) - 1, -(1 << bits), -(1 << bits) - 1]);
        let odd = [0.5, -0.25, 1e300, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY, 1e19];
        for score in borders.map(|n| n as f64).chain(odd) {
            let short = Short::new(score);
            assert_eq!(Short::read(short.as_slice()), Some(score));
            assert!(
                short.len <= 8 && (score.abs() >= 128.0 || score.fract() != 0.0 || short.len == 1),
                "{score}"
            );
        }
        assert_eq!(Short::new(-32_769.0).len, 3);
        assert_eq!((Short::read(&[0; 9]), Short::read(&[])), (None, None));
    }

    #[test]
    fn the_form_is_that_of_redis() {
        let mut set = SortedSet::default();
        for i in 0..130i32 {
            assert_eq!(set.is_small(), i <= 128);
            set.insert(format!("{i}").as_bytes(), score(f64::from(-i)));
        }
        assert_eq!(set.iter().next().map(|(m, _)| m), Some(&b"129"[..]));
        let mut set = SortedSet::default();
        set.insert(&[b'x'; LONGEST], score(1.0));
        assert_eq!(set.encoding(), "listpack");
        set.insert(&[b'x'; LONGEST + 1], score(-0.0));
        assert_eq!(set.encoding(), "skiplist");
        assert!(set.iter().next().is_some_and(|(_, s)| s.get().is_sign_negative()));
    }
}
