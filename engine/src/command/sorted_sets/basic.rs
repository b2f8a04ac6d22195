//! Members of sorted sets, one by one.

use crate::command::args::{self, is};
use crate::command::context::Ctx;
use crate::command::error::{CommandError, SYNTAX};
use crate::resp::Out;
use crate::value::{Score, SortedSet};

type Done = Result<(), CommandError>;

/// What ZADD may be told.
#[derive(Clone, Copy, Default)]
struct Flags {
    if_absent: bool,
    if_present: bool,
    if_greater: bool,
    if_less: bool,
    count_changed: bool,
    increment: bool,
}

impl Flags {
    /// Reads the options in front of the scores; gives the scores and members.
    fn read<'a, 'b>(mut argv: &'b [&'a [u8]]) -> Result<(Flags, &'b [&'a [u8]]), CommandError> {
        let mut flags = Flags::default();
        while let Some((word, rest)) = argv.split_first() {
            let flag = match word.to_ascii_lowercase().as_slice() {
                b"nx" => &mut flags.if_absent,
                b"xx" => &mut flags.if_present,
                b"gt" => &mut flags.if_greater,
                b"lt" => &mut flags.if_less,
                b"ch" => &mut flags.count_changed,
                b"incr" => &mut flags.increment,
                _ => break,
            };
            *flag = true;
            argv = rest;
        }
        if argv.is_empty() || !argv.len().is_multiple_of(2) {
            return Err(SYNTAX);
        }
        if flags.if_absent && flags.if_present {
            return Err(CommandError::fixed("ERR XX and NX options at the same time are not compatible"));
        }
        if [flags.if_absent, flags.if_greater, flags.if_less].into_iter().filter(|f| *f).count() > 1 {
            return Err(CommandError::fixed(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if flags.increment && argv.len() > 2 {
            return Err(CommandError::fixed("ERR INCR option supports a single increment-element pair"));
        }
        Ok((flags, argv))
    }
}

/// What became of one member.
enum Added {
    New(f64),
    Changed(f64),
    Same(f64),
    /// A condition kept it as it was.
    Refused,
}

fn add(set: &mut SortedSet, flags: Flags, score: f64, member: &[u8]) -> Result<Added, CommandError> {
    const NAN: CommandError = CommandError::fixed("ERR resulting score is not a number (NaN)");
    let Some(old) = set.score(member) else {
        if flags.if_present {
            return Ok(Added::Refused);
        }
        set.insert(member, Score::new(score).ok_or(NAN)?);
        return Ok(Added::New(score));
    };
    if flags.if_absent {
        return Ok(Added::Refused);
    }
    let score = if flags.increment { old.get() + score } else { score };
    let new = Score::new(score).ok_or(NAN)?;
    if (flags.if_less && new >= old) || (flags.if_greater && new <= old) {
        return Ok(Added::Refused);
    }
    set.insert(member, new);
    Ok(if new == old { Added::Same(score) } else { Added::Changed(score) })
}

fn add_all(cx: &mut Ctx<'_>, key: &[u8], flags: Flags, pairs: &[&[u8]], out: &mut Out) -> Done {
    let mut scores = Vec::with_capacity(pairs.len() / 2);
    for pair in pairs.chunks_exact(2) {
        scores.push(args::double(pair[0])?);
    }
    let (mut new, mut changed, mut last) = (0, 0, None);
    if cx.get::<SortedSet>(key)?.is_some() || !flags.if_present {
        let set = cx.get_or_new::<SortedSet>(key)?;
        for (pair, score) in pairs.chunks_exact(2).zip(scores) {
            // Only an increment can fail, and it stands alone.
            last = match add(set, flags, score, pair[1])? {
                Added::New(score) => {
                    new += 1;
                    Some(score)
                }
                Added::Changed(score) => {
                    changed += 1;
                    Some(score)
                }
                Added::Same(score) => Some(score),
                Added::Refused => None,
            };
        }
    }
    if new + changed > 0 {
        cx.touch(key);
        cx.count(new + changed);
        if sabotaged!("zadd-incr-logged-as-zadd") && flags.increment {
            cx.translate(&[b"ZADD", key, pairs[0], pairs[1]]);
        }
    }
    match last {
        Some(score) if flags.increment => out.double(score),
        None if flags.increment => out.null(),
        _ => out.count(if flags.count_changed { new + changed } else { new }),
    }
    Ok(())
}

/// ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member...
pub(in crate::command) fn zadd(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (flags, pairs) = Flags::read(&argv[2..])?;
    add_all(cx, argv[1], flags, pairs, out)
}

/// ZINCRBY key increment member
pub(in crate::command) fn zincrby(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let flags = Flags { increment: true, ..Flags::default() };
    add_all(cx, argv[1], flags, &argv[2..], out)
}

/// ZREM key member...
pub(in crate::command) fn zrem(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (mut removed, mut empty) = (0, false);
    if let Some(set) = cx.get::<SortedSet>(argv[1])? {
        removed = argv[2..].iter().filter(|member| set.remove(member).is_some()).count();
        empty = set.is_empty();
    }
    if removed > 0 {
        cx.changed_to(argv[1], empty);
        cx.count(removed);
    }
    out.count(removed);
    Ok(())
}

fn double_or_null(score: Option<Score>, out: &mut Out) {
    match score {
        Some(score) => out.double(score.get()),
        None => out.null(),
    }
}

/// ZSCORE key member
pub(in crate::command) fn zscore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let set = cx.read::<SortedSet>(argv[1])?;
    double_or_null(set.and_then(|set| set.score(argv[2])), out);
    Ok(())
}

/// ZMSCORE key member...
pub(in crate::command) fn zmscore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let set = cx.read::<SortedSet>(argv[1])?;
    out.array(argv.len() - 2);
    argv[2..].iter().for_each(|member| double_or_null(set.and_then(|set| set.score(member)), out));
    Ok(())
}

/// ZCARD key
pub(in crate::command) fn zcard(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let len = cx.read::<SortedSet>(argv[1])?.map_or(0, SortedSet::len);
    out.count(len);
    Ok(())
}

fn rank_generic(cx: &mut Ctx<'_>, argv: &[&[u8]], from_top: bool, out: &mut Out) -> Done {
    let set = cx.read::<SortedSet>(argv[1])?;
    match set.and_then(|set| Some((set.rank(argv[2])?, set.len()))) {
        Some((rank, len)) => out.count(if from_top { len - 1 - rank } else { rank }),
        None => out.null(),
    }
    Ok(())
}

/// ZRANK key member
pub(in crate::command) fn zrank(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    rank_generic(cx, argv, false, out)
}

/// ZREVRANK key member
pub(in crate::command) fn zrevrank(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    rank_generic(cx, argv, true, out)
}

/// How many of `words` an argument is; for options that are one of two.
pub(super) fn one_of(arg: Option<&&[u8]>, words: [&str; 2]) -> Result<bool, CommandError> {
    let arg = arg.ok_or(SYNTAX)?;
    if is(arg, words[0]) {
        Ok(false)
    } else if is(arg, words[1]) {
        Ok(true)
    } else {
        Err(SYNTAX)
    }
}
