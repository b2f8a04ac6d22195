//! Which part of a sorted set a command means: by rank, by score, or by member.

use std::ops::Range;

use crate::command::args;
use crate::command::error::CommandError;
use crate::number::parse_bound;
use crate::value::{Score, SortedSet};

/// What a range is given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Rank,
    Score,
    Lex,
}

/// A range of a sorted set.
#[derive(Clone, Debug)]
pub(super) enum Bounds<'a> {
    /// From one rank to another, negative ones from the end.
    Rank(i64, i64),
    /// From one score to another.
    Score(Edge<Score>, Edge<Score>),
    /// From one member to another; meant for sets whose scores are all equal.
    Lex(LexEdge<'a>, LexEdge<'a>),
}

/// Where a range begins or ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge<T> {
    at: T,
    /// Whether the edge itself is out.
    open: bool,
}

/// The same for members.
#[derive(Clone, Copy, Debug)]
pub(super) enum LexEdge<'a> {
    Least,
    Greatest,
    At(Edge<&'a [u8]>),
}

impl<T: PartialOrd + Copy> Edge<T> {
    /// Whether `item` is within a range that begins here.
    fn lets_begin(&self, item: T) -> bool {
        if self.open { item > self.at } else { item >= self.at }
    }

    /// Whether `item` is within a range that ends here.
    fn lets_end(&self, item: T) -> bool {
        if self.open { item < self.at } else { item <= self.at }
    }
}

impl<'a> LexEdge<'a> {
    fn read(arg: &'a [u8]) -> Result<LexEdge<'a>, CommandError> {
        match arg {
            b"-" => Ok(LexEdge::Least),
            b"+" => Ok(LexEdge::Greatest),
            [b'(', at @ ..] => Ok(LexEdge::At(Edge { at, open: true })),
            [b'[', at @ ..] => Ok(LexEdge::At(Edge { at, open: false })),
            _ => Err(CommandError::fixed("ERR min or max not valid string range item")),
        }
    }

    fn lets_begin(&self, member: &[u8]) -> bool {
        match self {
            LexEdge::Least => true,
            LexEdge::Greatest => false,
            LexEdge::At(edge) => edge.lets_begin(member),
        }
    }

    fn lets_end(&self, member: &[u8]) -> bool {
        match self {
            LexEdge::Least => false,
            LexEdge::Greatest => true,
            LexEdge::At(edge) => edge.lets_end(member),
        }
    }

    /// Whether nothing lies between two edges.
    fn nothing_between(min: &LexEdge<'_>, max: &LexEdge<'_>) -> bool {
        match (min, max) {
            (LexEdge::Greatest, _) | (_, LexEdge::Least) => true,
            (LexEdge::At(min), LexEdge::At(max)) => {
                min.at > max.at || (min.at == max.at && (min.open || max.open))
            }
            _ => false,
        }
    }
}

fn score_edge(arg: &[u8]) -> Result<Edge<Score>, CommandError> {
    let (open, number) = arg.strip_prefix(b"(").map_or((false, arg), |number| (true, number));
    let score = parse_bound(number).and_then(Score::new);
    score.map(|at| Edge { at, open }).ok_or(CommandError::fixed("ERR min or max is not a float"))
}

impl<'a> Bounds<'a> {
    /// Reads the two ends of a range.
    pub(super) fn read(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Bounds<'a>, CommandError> {
        Ok(match by {
            By::Rank => Bounds::Rank(args::integer(min)?, args::integer(max)?),
            By::Score => Bounds::Score(score_edge(min)?, score_edge(max)?),
            By::Lex => Bounds::Lex(LexEdge::read(min)?, LexEdge::read(max)?),
        })
    }

    /// The ranks of what lies within; `reverse` counts ranks from the highest score, and says from which end a range of
    /// members is looked for.
    pub(super) fn ranks(&self, set: &SortedSet, reverse: bool) -> Range<usize> {
        match self {
            Bounds::Rank(start, end) => {
                let range = args::range(*start, *end, set.len());
                if reverse { set.len() - range.end..set.len() - range.start } else { range }
            }
            Bounds::Score(min, max) => {
                let start = set.rank_of_border(|_, score| !min.lets_begin(score));
                start..set.rank_of_border(|_, score| max.lets_end(score)).max(start)
            }
            Bounds::Lex(min, max) => {
                let mut ends =
                    set.range(0..set.len().min(1)).chain(set.range(set.len().saturating_sub(1)..set.len()));
                let (first, last) = (ends.next(), ends.next());
                let none = LexEdge::nothing_between(min, max)
                    || first.is_none_or(|(member, _)| !max.lets_end(member))
                    || last.is_none_or(|(member, _)| !min.lets_begin(member));
                if none {
                    return 0..0;
                }
                if set.is_small() {
                    return lex_in_small(set, min, max, reverse);
                }
                let start = set.rank_of_border(|member, _| !min.lets_begin(member));
                start..set.rank_of_border(|member, _| max.lets_end(member)).max(start)
            }
        }
    }
}

/// A range of members in a small set. Where its scores differ there is no such thing, and what Redis finds is what it
/// meets first, going from one end.
fn lex_in_small(set: &SortedSet, min: &LexEdge<'_>, max: &LexEdge<'_>, reverse: bool) -> Range<usize> {
    let members: Vec<&[u8]> = set.iter().map(|(member, _)| member).collect();
    let begins = |member: &&&[u8]| min.lets_begin(member);
    let ends = |member: &&&[u8]| max.lets_end(member);
    if reverse {
        let end = members.len() - members.iter().rev().take_while(|m| !ends(m)).count();
        end - members[..end].iter().rev().take_while(begins).count()..end
    } else {
        let start = members.iter().take_while(|m| !begins(m)).count();
        start..start + members[start..].iter().take_while(ends).count()
    }
}
