//! A set whose members have scores, in the order of their scores.

use indexmap::IndexMap;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::BuildHasherDefault;

use crate::keyspace::FixedHasher;

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
#[derive(Clone, Debug, Default)]
pub struct SortedSet {
    scores: IndexMap<Vec<u8>, Score, BuildHasherDefault<FixedHasher>>,
    order: BTreeSet<(Score, Vec<u8>)>,
}

impl PartialEq for SortedSet {
    fn eq(&self, other: &SortedSet) -> bool {
        self.order == other.order
    }
}

impl Eq for SortedSet {}

impl SortedSet {
    /// Adds a member or moves it; gives the score that it had.
    pub fn insert(&mut self, member: &[u8], score: Score) -> Option<Score> {
        let old = self.remove(member);
        self.scores.insert(member.to_vec(), score);
        self.order.insert((score, member.to_vec()));
        old
    }

    /// A member's score.
    pub fn score(&self, member: &[u8]) -> Option<Score> {
        self.scores.get(member).copied()
    }

    /// Takes a member away; gives the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<Score> {
        let score = self.scores.swap_remove(member)?;
        self.order.remove(&(score, member.to_vec()));
        Some(score)
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// Its members with their scores, lowest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], Score)> {
        self.order.iter().map(|(score, member)| (member.as_slice(), *score))
    }
}
