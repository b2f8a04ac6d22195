//! Members taken from an end of a sorted set, and members at random.

use super::basic::one_of;
use crate::command::args::{self, is};
use crate::command::context::Ctx;
use crate::command::error::{CommandError, SYNTAX};
use crate::command::hashes::random_count;
use crate::keyspace::Value;
use crate::resp::Out;
use crate::value::{Score, SortedSet};

type Done = Result<(), CommandError>;

/// Takes up to `count` members from an end, the outermost first.
fn take(
    cx: &mut Ctx<'_>,
    key: &[u8],
    count: usize,
    top: bool,
) -> Result<Vec<(Vec<u8>, Score)>, CommandError> {
    let Some(set) = cx.get::<SortedSet>(key)? else { return Ok(Vec::new()) };
    let count = count.min(set.len());
    let ranks = if top { set.len() - count..set.len() } else { 0..count };
    let mut taken = set.remove_range(ranks);
    let empty = set.is_empty();
    if top {
        taken.reverse();
    }
    if !taken.is_empty() {
        cx.changed_to(key, empty);
        cx.count(taken.len());
    }
    Ok(taken)
}

fn pop(cx: &mut Ctx<'_>, argv: &[&[u8]], top: bool, out: &mut Out) -> Done {
    if argv.len() > 3 {
        return Err(SYNTAX);
    }
    let count = argv.get(2).map(|n| args::count(n)).transpose()?;
    let taken = take(cx, argv[1], count.unwrap_or(1), top)?;
    let pairs = out.resp3() && count.is_some();
    out.array(if pairs { taken.len() } else { taken.len() * 2 });
    show(&taken, pairs, out);
    Ok(())
}

fn show(taken: &[(Vec<u8>, Score)], pairs: bool, out: &mut Out) {
    for (member, score) in taken {
        if pairs {
            out.array(2);
        }
        out.bulk(member);
        out.double(score.get());
    }
}

/// ZPOPMIN key [count]
pub(in crate::command) fn zpopmin(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    pop(cx, argv, false, out)
}

/// ZPOPMAX key [count]
pub(in crate::command) fn zpopmax(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    pop(cx, argv, true, out)
}

/// ZMPOP numkeys key... MIN|MAX [COUNT n]
pub(in crate::command) fn zmpop(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (keys, rest) = args::counted_keys(&argv[1..])?;
    let (top, count) = end_and_count(rest)?;
    for key in keys {
        if pop_many(cx, key, count, top, out)? {
            return Ok(());
        }
    }
    out.null_array();
    Ok(())
}

/// Reads `MIN|MAX [COUNT n]`: whether the highest are wanted, and how many.
pub(in crate::command) fn end_and_count(options: &[&[u8]]) -> Result<(bool, usize), CommandError> {
    let top = one_of(options.first(), ["min", "max"])?;
    Ok((top, pop_count(&options[1..])?))
}

fn pop_name(top: bool) -> &'static [u8] {
    if top { b"ZPOPMAX" } else { b"ZPOPMIN" }
}

/// Takes up to `count` members from an end, replies with the key and them, and is logged as ZPOPMIN or ZPOPMAX. Says
/// whether there is such a set.
pub(in crate::command) fn pop_many(
    cx: &mut Ctx<'_>,
    key: &[u8],
    count: usize,
    top: bool,
    out: &mut Out,
) -> Result<bool, CommandError> {
    let taken = take(cx, key, count, top)?;
    if taken.is_empty() {
        return Ok(false);
    }
    out.array(2);
    out.bulk(key);
    out.array(taken.len());
    show(&taken, true, out);
    cx.translate(&[pop_name(top), key, taken.len().to_string().as_bytes()]);
    Ok(true)
}

/// Takes the outermost member: see [`pop_many`].
pub(in crate::command) fn pop_one(
    cx: &mut Ctx<'_>,
    key: &[u8],
    top: bool,
    out: &mut Out,
) -> Result<bool, CommandError> {
    let taken = take(cx, key, 1, top)?;
    if taken.is_empty() {
        return Ok(false);
    }
    out.array(3);
    out.bulk(key);
    show(&taken, false, out);
    cx.translate(&[pop_name(top), key]);
    Ok(true)
}

/// Reads `[COUNT n]` of ZMPOP and LMPOP.
pub(in crate::command) fn pop_count(options: &[&[u8]]) -> Result<usize, CommandError> {
    match options {
        [] => Ok(1),
        [name, n, rest @ ..] if is(name, "count") => {
            let count = args::at_least(1, n, "ERR count should be greater than 0")?;
            if rest.is_empty() { Ok(usize::try_from(count).unwrap_or(usize::MAX)) } else { Err(SYNTAX) }
        }
        _ => Err(SYNTAX),
    }
}

/// ZRANDMEMBER key [count [WITHSCORES]]
pub(in crate::command) fn zrandmember(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let count = random_count(&argv[2..], "withscores")?;
    let len = cx.read::<SortedSet>(argv[1])?.map_or(0, SortedSet::len);
    let Some(Value::SortedSet(set)) = cx.keyspace.dbs[cx.db].get(argv[1]).map(|e| &e.value) else {
        match count {
            Some(_) => out.array(0),
            None => out.null(),
        }
        return Ok(());
    };
    let (places, total) = cx.hooks.random.draw(count.as_ref().map_or(1, |count| count.number), len);
    if let Some(count) = &count {
        count.header(total, out);
    }
    for place in places {
        for (member, score) in set.range(place..place + 1) {
            if let Some(count) = &count {
                count.each(out);
            }
            out.bulk(member);
            if count.as_ref().is_some_and(|count| count.with) {
                out.double(score.get());
            }
        }
    }
    Ok(())
}
