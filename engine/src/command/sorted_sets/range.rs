//! Ranges of sorted sets: read, counted, stored, taken away.

use super::bounds::{Bounds, By};
use crate::command::args::{self, is};
use crate::command::context::Ctx;
use crate::command::error::{CommandError, SYNTAX};
use crate::keyspace::Value;
use crate::resp::Out;
use crate::value::{Score, SortedSet};

type Done = Result<(), CommandError>;

/// What a command of the family leaves open.
struct Form {
    /// `None`: BYSCORE and BYLEX say.
    by: Option<By>,
    /// `None`: REV says.
    reverse: Option<bool>,
    /// Whether it may be told WITHSCORES.
    scores: bool,
}

/// A range, as a command asks for it.
struct Request<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    with_scores: bool,
    /// How many are skipped, and how many are wanted; negative: none skipped gives nothing, all wanted.
    offset: i64,
    limit: i64,
}

impl Form {
    /// Reads `min max [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`.
    fn read<'a>(&self, argv: &[&'a [u8]]) -> Result<Request<'a>, CommandError> {
        let (mut by, mut reverse, mut with_scores) = (self.by, self.reverse, false);
        let (mut offset, mut limit) = (0, -1);
        let mut rest = &argv[2..];
        while let Some((word, more)) = rest.split_first() {
            rest = more;
            if self.scores && is(word, "withscores") {
                with_scores = true;
            } else if let (true, [o, l, more @ ..]) = (is(word, "limit"), more) {
                (offset, limit) = (args::integer(o)?, args::integer(l)?);
                rest = more;
            } else if reverse.is_none() && is(word, "rev") {
                reverse = Some(true);
            } else if by.is_none() && is(word, "bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && is(word, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(SYNTAX);
            }
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(CommandError::fixed(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(CommandError::fixed(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        // From the highest down, the upper end comes first, but for ranks.
        let (min, max) = if reverse && by != By::Rank { (argv[1], argv[0]) } else { (argv[0], argv[1]) };
        Ok(Request { bounds: Bounds::read(by, min, max)?, reverse, with_scores, offset, limit })
    }
}

impl Request<'_> {
    /// The members, in the order asked for.
    fn find<'s>(&self, set: &'s SortedSet) -> impl ExactSizeIterator<Item = (&'s [u8], Score)> {
        let all = self.bounds.ranks(set, self.reverse);
        let skipped = usize::try_from(self.offset).unwrap_or(usize::MAX).min(all.len());
        let wanted = usize::try_from(self.limit).unwrap_or(usize::MAX).min(all.len() - skipped);
        let ranks = if self.reverse {
            all.end - skipped - wanted..all.end - skipped
        } else {
            all.start + skipped..all.start + skipped + wanted
        };
        let found = set.range(ranks);
        if self.reverse { either::Either::Left(found.rev()) } else { either::Either::Right(found) }
    }
}

fn show(cx: &mut Ctx<'_>, argv: &[&[u8]], form: &Form, out: &mut Out) -> Done {
    let request = form.read(&argv[2..])?;
    match cx.read::<SortedSet>(argv[1])? {
        None => out.array(0),
        Some(set) => show_members(request.find(set), request.with_scores, out),
    }
    Ok(())
}

/// Members, and their scores if wanted: in RESP3 as pairs, in RESP2 one after the other.
pub(super) fn show_members<'s>(
    members: impl ExactSizeIterator<Item = (&'s [u8], Score)>,
    with_scores: bool,
    out: &mut Out,
) {
    let pairs = with_scores && out.resp3();
    out.array(if with_scores && !pairs { members.len() * 2 } else { members.len() });
    for (member, score) in members {
        if pairs {
            out.array(2);
        }
        out.bulk(member);
        if with_scores {
            out.double(score.get());
        }
    }
}

/// ZRANGE key min max [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
pub(in crate::command) fn zrange(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, argv, &Form { by: None, reverse: None, scores: true }, out)
}

/// ZREVRANGE key start stop [WITHSCORES]
pub(in crate::command) fn zrevrange(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, argv, &Form { by: Some(By::Rank), reverse: Some(true), scores: true }, out)
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
pub(in crate::command) fn zrangebyscore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, argv, &Form { by: Some(By::Score), reverse: Some(false), scores: true }, out)
}

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
pub(in crate::command) fn zrevrangebyscore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, argv, &Form { by: Some(By::Score), reverse: Some(true), scores: true }, out)
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
pub(in crate::command) fn zrangebylex(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, argv, &Form { by: Some(By::Lex), reverse: Some(false), scores: true }, out)
}

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
pub(in crate::command) fn zrevrangebylex(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, argv, &Form { by: Some(By::Lex), reverse: Some(true), scores: true }, out)
}

/// ZRANGESTORE destination source min max [BYSCORE|BYLEX] [REV] [LIMIT offset count]
pub(in crate::command) fn zrangestore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let form = Form { by: None, reverse: None, scores: false };
    let request = form.read(&argv[3..])?;
    let mut result = SortedSet::default();
    if let Some(source) = cx.read::<SortedSet>(argv[2])? {
        for (member, score) in request.find(source) {
            result.insert(member, score);
        }
    }
    out.count(result.len());
    cx.store(argv[1], (!result.is_empty()).then(|| Value::from(result)));
    Ok(())
}

fn count(cx: &mut Ctx<'_>, argv: &[&[u8]], by: By, out: &mut Out) -> Done {
    let bounds = Bounds::read(by, argv[2], argv[3])?;
    let found = cx.read::<SortedSet>(argv[1])?.map_or(0, |set| bounds.ranks(set, false).len());
    out.count(found);
    Ok(())
}

/// ZCOUNT key min max
pub(in crate::command) fn zcount(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    count(cx, argv, By::Score, out)
}

/// ZLEXCOUNT key min max
pub(in crate::command) fn zlexcount(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    count(cx, argv, By::Lex, out)
}

fn take_away(cx: &mut Ctx<'_>, argv: &[&[u8]], by: By, out: &mut Out) -> Done {
    let bounds = Bounds::read(by, argv[2], argv[3])?;
    let (mut removed, mut empty) = (0, false);
    if let Some(set) = cx.get::<SortedSet>(argv[1])? {
        let ranks = bounds.ranks(set, false);
        removed = set.remove_range(ranks).len();
        empty = set.is_empty();
    }
    if removed > 0 {
        cx.changed_to(argv[1], empty);
        cx.count(removed);
    }
    out.count(removed);
    Ok(())
}

/// ZREMRANGEBYRANK key start stop
pub(in crate::command) fn zremrangebyrank(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    take_away(cx, argv, By::Rank, out)
}

/// ZREMRANGEBYSCORE key min max
pub(in crate::command) fn zremrangebyscore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    take_away(cx, argv, By::Score, out)
}

/// ZREMRANGEBYLEX key min max
pub(in crate::command) fn zremrangebylex(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    take_away(cx, argv, By::Lex, out)
}
