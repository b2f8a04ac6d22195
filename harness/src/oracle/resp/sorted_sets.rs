//! Sorted sets, one at a time.

use super::RespOracle;
use super::commands::{Call, Run};
use super::lists::{ManyKeys, range};
use super::number::{double, integer};
use super::reply::{Reply, whole};
use super::typed::{Scores, WrongType, change, copy, read, store};

/// Runs a command on sorted sets; `None` if it is none.
pub(super) fn run(o: &mut RespOracle, Call { name, args, at }: Call<'_>) -> Run {
    Some(match (name, args) {
        ("ZADD", [key, rest @ ..]) => zadd(o, key, rest, at),
        ("ZINCRBY", [key, by, member]) => zadd(o, key, &[b"INCR", by, member], at),
        ("ZREM", [key, members @ ..]) if !members.is_empty() => change(o, key, at, |set: &mut Scores| {
            whole(members.iter().filter(|m| set.remove(**m).is_some()).count())
        }),
        ("ZSCORE", [key, member]) => {
            copy(o, key, at).map(|s: Scores| s.get(*member).map_or(Reply::Bulk(None), |x| Reply::Double(*x)))
        }
        ("ZCARD", [key]) => read::<Scores>(o, key, at).map(|s| whole(s.map_or(0, Scores::len))),
        ("ZCOUNT", [key, low, high]) => match Bounds::of(low, high) {
            Some(bounds) => {
                copy(o, key, at).map(|s: Scores| whole(s.values().filter(|x| bounds.hold(**x)).count()))
            }
            None => Ok(Reply::Error),
        },
        ("ZRANK" | "ZREVRANK", [key, member]) => copy(o, key, at).map(|s: Scores| {
            let order = in_order(&s, name == "ZREVRANK");
            order.iter().position(|(m, _)| m == member).map_or(Reply::Bulk(None), whole)
        }),
        ("ZPOPMIN" | "ZPOPMAX", [key]) => pop(o, key, 1, name == "ZPOPMAX", at),
        ("ZPOPMIN" | "ZPOPMAX", [key, count]) => match integer(count).and_then(|n| usize::try_from(n).ok()) {
            Some(count) => pop(o, key, count, name == "ZPOPMAX", at),
            None => Ok(Reply::Error),
        },
        ("ZRANGE", [key, start, stop, options @ ..]) => zrange(o, key, start, stop, options, at),
        ("ZREMRANGEBYRANK", [key, start, stop]) => match (integer(start), integer(stop)) {
            (Some(start), Some(stop)) => change(o, key, at, |set: &mut Scores| {
                let gone: Vec<Vec<u8>> = in_order(set, false)[range(set.len(), start, stop)]
                    .iter()
                    .map(|(m, _)| m.clone())
                    .collect();
                set.retain(|m, _| !gone.contains(m));
                whole(gone.len())
            }),
            _ => Ok(Reply::Error),
        },
        ("ZREMRANGEBYSCORE", [key, low, high]) => match Bounds::of(low, high) {
            Some(bounds) => change(o, key, at, |set: &mut Scores| {
                let before = set.len();
                set.retain(|_, score| !bounds.hold(*score));
                whole(before - set.len())
            }),
            None => Ok(Reply::Error),
        },
        ("ZREMRANGEBYLEX", [key, low, high]) => match (Mark::of(low), Mark::of(high)) {
            (Some(low), Some(high)) => change(o, key, at, |set: &mut Scores| {
                let before = set.len();
                set.retain(|member, _| !(low.is_below(member) && high.is_above(member)));
                whole(before - set.len())
            }),
            _ => Ok(Reply::Error),
        },
        ("ZRANGESTORE", [to, key, start, stop, options @ ..]) => {
            match Range::of(start, stop, options).filter(|range| !range.scores) {
                Some(range) => copy(o, key, at).map(|set: Scores| {
                    let found: Scores = range.select(&set).into_iter().collect();
                    let len = whole(found.len());
                    store(o, to, found, at);
                    len
                }),
                None => Ok(Reply::Error),
            }
        }
        ("ZMPOP", _) => match ManyKeys::of(args) {
            Some(ManyKeys { keys, word, count }) => match word.to_ascii_uppercase().as_slice() {
                b"MIN" => pop_of_many(o, keys, count, false, at),
                b"MAX" => pop_of_many(o, keys, count, true, at),
                _ => Ok(Reply::Error),
            },
            None => Ok(Reply::Error),
        },
        _ => return None,
    })
}

/// Takes members off the first of the sorted sets that exists.
fn pop_of_many(
    o: &mut RespOracle,
    keys: &[&[u8]],
    count: usize,
    largest: bool,
    at: u64,
) -> Result<Reply, WrongType> {
    for key in keys {
        if read::<Scores>(o, key, at)?.is_some() {
            let popped = take(o, key, count, largest, at)?;
            let pair = |(m, x)| Reply::Array(vec![Reply::Bulk(Some(m)), Reply::Double(x)]);
            let pairs = Reply::Array(popped.into_iter().map(pair).collect());
            return Ok(Reply::Array(vec![Reply::Bulk(Some(key.to_vec())), pairs]));
        }
    }
    Ok(Reply::NullArray)
}

/// One end of an interval in lexicographic order.
enum Mark<'a> {
    Least,
    Greatest,
    With(&'a [u8]),
    Without(&'a [u8]),
}

impl<'a> Mark<'a> {
    fn of(text: &'a [u8]) -> Option<Mark<'a>> {
        match text {
            b"-" => Some(Mark::Least),
            b"+" => Some(Mark::Greatest),
            [b'[', member @ ..] => Some(Mark::With(member)),
            [b'(', member @ ..] => Some(Mark::Without(member)),
            _ => None,
        }
    }

    fn is_below(&self, member: &[u8]) -> bool {
        match self {
            Mark::Least => true,
            Mark::Greatest => false,
            Mark::With(end) => *end <= member,
            Mark::Without(end) => *end < member,
        }
    }

    fn is_above(&self, member: &[u8]) -> bool {
        match self {
            Mark::Least => false,
            Mark::Greatest => true,
            Mark::With(end) => *end >= member,
            Mark::Without(end) => *end > member,
        }
    }
}

/// The one zero: see [`Scores`].
pub(super) fn without_sign(score: f64) -> f64 {
    if score == 0.0 { 0.0 } else { score }
}

/// By score, and by member where scores are equal.
pub(super) fn in_order(set: &Scores, reverse: bool) -> Vec<(Vec<u8>, f64)> {
    let mut all: Vec<(Vec<u8>, f64)> = set.iter().map(|(m, score)| (m.clone(), *score)).collect();
    // Stable: members of one score stay in their order.
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    if reverse {
        all.reverse();
    }
    all
}

/// An interval of scores.
struct Bounds {
    low: (f64, bool),
    high: (f64, bool),
}

impl Bounds {
    fn of(low: &[u8], high: &[u8]) -> Option<Bounds> {
        let end = |text: &[u8]| match text.strip_prefix(b"(") {
            Some(text) => Some((double(text)?, false)),
            None => Some((double(text)?, true)),
        };
        Some(Bounds { low: end(low)?, high: end(high)? })
    }

    fn hold(&self, score: f64) -> bool {
        let above = score > self.low.0 || self.low.1 && score == self.low.0;
        above && (score < self.high.0 || self.high.1 && score == self.high.0)
    }
}

/// What ZADD is told besides scores and members.
#[derive(Default)]
struct How {
    only_new: bool,
    only_old: bool,
    greater: bool,
    less: bool,
    changed: bool,
    add: bool,
}

impl How {
    /// Reads the options; what is left are pairs.
    fn of<'a, 'b>(mut args: &'a [&'b [u8]]) -> (How, &'a [&'b [u8]]) {
        let mut how = How::default();
        while let [option, rest @ ..] = args {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" => how.only_new = true,
                b"XX" => how.only_old = true,
                b"GT" => how.greater = true,
                b"LT" => how.less = true,
                b"CH" => how.changed = true,
                b"INCR" => how.add = true,
                _ => break,
            }
            args = rest;
        }
        (how, args)
    }

    fn contradicts_itself(&self) -> bool {
        self.only_new && (self.only_old || self.greater || self.less) || self.greater && self.less
    }

    /// The score that takes the place of the old one, if any does; NaN where a sum has no value.
    fn new_score(&self, old: Option<f64>, given: f64) -> Option<f64> {
        let Some(old) = old else { return (!self.only_old).then_some(given) };
        let new = if self.add { old + given } else { given };
        let refused = self.only_new || self.greater && new <= old || self.less && new >= old;
        (new.is_nan() || !refused).then_some(new)
    }
}

fn zadd(o: &mut RespOracle, key: &[u8], args: &[&[u8]], at: u64) -> Result<Reply, WrongType> {
    let (how, pairs) = How::of(args);
    let wrong_number = pairs.is_empty() || pairs.len() % 2 != 0 || how.add && pairs.len() != 2;
    if wrong_number || how.contradicts_itself() {
        return Ok(Reply::Error);
    }
    let pairs: Option<Vec<(f64, &[u8])>> = pairs.chunks(2).map(|p| Some((double(p[0])?, p[1]))).collect();
    let Some(pairs) = pairs else { return Ok(Reply::Error) };
    let mut set: Scores = copy(o, key, at)?;
    let (mut added, mut updated, mut last) = (0, 0, None);
    for (given, member) in pairs {
        let old = set.get(member).copied();
        // NX refuses an old member before anything is added up.
        let new = if how.only_new && old.is_some() { None } else { how.new_score(old, given) };
        last = new.map(without_sign);
        let Some(new) = last else { continue };
        if new.is_nan() {
            return Ok(Reply::Error);
        }
        added += usize::from(old.is_none());
        updated += usize::from(old.is_some_and(|old| old != new));
        set.insert(member.to_vec(), new);
    }
    change(o, key, at, |held: &mut Scores| *held = set)?;
    Ok(match (how.add, last) {
        (true, Some(score)) => Reply::Double(score),
        (true, None) => Reply::Bulk(None),
        (false, _) => whole(if how.changed { added + updated } else { added }),
    })
}

fn with_scores(members: Vec<(Vec<u8>, f64)>) -> Reply {
    Reply::Array(members.into_iter().flat_map(|(m, x)| [Reply::Bulk(Some(m)), Reply::Double(x)]).collect())
}

fn pop(o: &mut RespOracle, key: &[u8], count: usize, largest: bool, at: u64) -> Result<Reply, WrongType> {
    take(o, key, count, largest, at).map(with_scores)
}

/// Takes the outermost members away.
fn take(
    o: &mut RespOracle,
    key: &[u8],
    count: usize,
    largest: bool,
    at: u64,
) -> Result<Vec<(Vec<u8>, f64)>, WrongType> {
    change(o, key, at, |set: &mut Scores| {
        let off: Vec<(Vec<u8>, f64)> = in_order(set, largest).into_iter().take(count).collect();
        set.retain(|member, _| !off.iter().any(|(gone, _)| gone == member));
        off
    })
}

/// What ZRANGE and ZRANGESTORE are told.
struct Range {
    within: Within,
    reverse: bool,
    /// `WITHSCORES`, which only ZRANGE takes.
    scores: bool,
}

enum Within {
    Ranks(i64, i64),
    Scores(Bounds, Option<(i64, i64)>),
}

impl Range {
    /// Reads `start stop [BYSCORE] [REV] [LIMIT offset count] [WITHSCORES]`; `None` for what is an error.
    fn of(start: &[u8], stop: &[u8], options: &[&[u8]]) -> Option<Range> {
        let (mut by_score, mut reverse, mut limit, mut scores) = (false, false, None, false);
        let mut rest = options;
        while let [option, tail @ ..] = rest {
            rest = tail;
            match (option.to_ascii_uppercase().as_slice(), tail) {
                (b"BYSCORE", _) => by_score = true,
                (b"REV", _) => reverse = true,
                (b"WITHSCORES", _) => scores = true,
                (b"LIMIT", [offset, count, tail @ ..]) => {
                    limit = Some((integer(offset)?, integer(count)?));
                    rest = tail;
                }
                _ => return None,
            }
        }
        let within = if by_score {
            // The larger one comes first where the order is turned round.
            let (low, high) = if reverse { (stop, start) } else { (start, stop) };
            Within::Scores(Bounds::of(low, high)?, limit)
        } else {
            limit.is_none().then_some(Within::Ranks(integer(start)?, integer(stop)?))?
        };
        Some(Range { within, reverse, scores })
    }

    /// The members in it.
    fn select(&self, set: &Scores) -> Vec<(Vec<u8>, f64)> {
        let all = in_order(set, self.reverse);
        match &self.within {
            Within::Ranks(start, stop) => all[range(all.len(), *start, *stop)].to_vec(),
            Within::Scores(bounds, limit) => {
                let within = all.into_iter().filter(|(_, score)| bounds.hold(*score));
                match limit {
                    Some((offset, _)) if *offset < 0 => Vec::new(),
                    Some((offset, count)) => {
                        let count = usize::try_from(*count).unwrap_or(usize::MAX);
                        within.skip(*offset as usize).take(count).collect()
                    }
                    None => within.collect(),
                }
            }
        }
    }
}

fn zrange(
    o: &RespOracle,
    key: &[u8],
    start: &[u8],
    stop: &[u8],
    options: &[&[u8]],
    at: u64,
) -> Result<Reply, WrongType> {
    let Some(range) = Range::of(start, stop, options) else { return Ok(Reply::Error) };
    let found = range.select(&copy(o, key, at)?);
    Ok(if range.scores {
        with_scores(found)
    } else {
        Reply::Array(found.into_iter().map(|(m, _)| Reply::Bulk(Some(m))).collect())
    })
}

/// Whether a form of a command is not modelled: ranges by lexicographic order.
pub(super) fn is_unknown(name: &str, command: &[Vec<u8>]) -> bool {
    matches!(name, "ZRANGE" | "ZRANGESTORE")
        && command.iter().skip(4).any(|a| a.eq_ignore_ascii_case(b"BYLEX"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_open_where_they_say_so() {
        let holds = |low: &str, high: &str, x| Bounds::of(low.as_bytes(), high.as_bytes()).unwrap().hold(x);
        assert!(holds("1", "2", 1.0) && holds("1", "2", 2.0) && !holds("1", "2", 2.5));
        assert!(!holds("(1", "2", 1.0) && !holds("1", "(2", 2.0) && holds("-inf", "(2", 1.9));
        assert!(Bounds::of(b"a", b"1").is_none());
    }
}
