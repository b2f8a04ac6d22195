//! Hashes.

use super::args::{self, is};
use super::context::Ctx;
use super::error::{COUNTER_OVERFLOW, CommandError, NOT_FLOAT, SYNTAX};
use crate::keyspace::Value;
use crate::number::Extended;
use crate::resp::{Out, parse_integer};
use crate::value::Hash;

type Done = Result<(), CommandError>;

/// Sets fields to values; says how many fields are new.
fn set_pairs(cx: &mut Ctx<'_>, key: &[u8], pairs: &[&[u8]]) -> Result<usize, CommandError> {
    let hash = cx.get_or_new::<Hash>(key)?;
    let new = pairs.chunks_exact(2).filter(|pair| hash.insert(pair[0], pair[1].to_vec())).count();
    cx.touch(key);
    cx.count(pairs.len() / 2);
    Ok(new)
}

/// HSET key field value...
pub(super) fn hset(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    if !argv.len().is_multiple_of(2) {
        return Err(CommandError::arity("hset"));
    }
    out.count(set_pairs(cx, argv[1], &argv[2..])?);
    Ok(())
}

/// HMSET key field value...
pub(super) fn hmset(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    if !argv.len().is_multiple_of(2) {
        return Err(CommandError::arity("hmset"));
    }
    set_pairs(cx, argv[1], &argv[2..])?;
    out.ok();
    Ok(())
}

/// HSETNX key field value
pub(super) fn hsetnx(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let hash = cx.get_or_new::<Hash>(argv[1])?;
    let absent = hash.get(argv[2]).is_none();
    if absent {
        hash.insert(argv[2], argv[3].to_vec());
        cx.touch(argv[1]);
    }
    out.int(i64::from(absent));
    Ok(())
}

/// HGET key field
pub(super) fn hget(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let hash = cx.read::<Hash>(argv[1])?;
    out.bulk_or_null(hash.and_then(|hash| hash.get(argv[2])));
    Ok(())
}

/// HMGET key field...
pub(super) fn hmget(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let hash = cx.read::<Hash>(argv[1])?;
    out.array(argv.len() - 2);
    argv[2..].iter().for_each(|field| out.bulk_or_null(hash.and_then(|hash| hash.get(field))));
    Ok(())
}

/// HGETALL key
pub(super) fn hgetall(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let Some(hash) = cx.read::<Hash>(argv[1])? else {
        out.map(0);
        return Ok(());
    };
    out.map(hash.len());
    for (field, value) in hash.iter() {
        out.bulk(field);
        out.bulk(value);
    }
    Ok(())
}

/// HKEYS key
pub(super) fn hkeys(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let hash = cx.read::<Hash>(argv[1])?;
    out.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|(field, _)| out.bulk(field));
    Ok(())
}

/// HVALS key
pub(super) fn hvals(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let hash = cx.read::<Hash>(argv[1])?;
    out.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|(_, value)| out.bulk(value));
    Ok(())
}

/// HLEN key
pub(super) fn hlen(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let len = cx.read::<Hash>(argv[1])?.map_or(0, Hash::len);
    out.count(len);
    Ok(())
}

/// HEXISTS key field
pub(super) fn hexists(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let hash = cx.read::<Hash>(argv[1])?;
    out.int(i64::from(hash.is_some_and(|hash| hash.get(argv[2]).is_some())));
    Ok(())
}

/// HSTRLEN key field
pub(super) fn hstrlen(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let hash = cx.read::<Hash>(argv[1])?;
    out.count(hash.and_then(|hash| hash.get(argv[2])).map_or(0, <[u8]>::len));
    Ok(())
}

/// HDEL key field...
pub(super) fn hdel(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (mut removed, mut empty) = (0, false);
    if let Some(hash) = cx.get::<Hash>(argv[1])? {
        removed = argv[2..].iter().filter(|field| hash.remove(field)).count();
        empty = hash.is_empty();
    }
    if removed > 0 {
        cx.changed_to(argv[1], empty);
        cx.count(removed);
    }
    out.count(removed);
    Ok(())
}

/// HINCRBY key field n
pub(super) fn hincrby(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let by = args::integer(argv[3])?;
    let old = match cx.get::<Hash>(argv[1])?.and_then(|hash| hash.get(argv[2])) {
        Some(text) => parse_integer(text).ok_or(CommandError::fixed("ERR hash value is not an integer"))?,
        None => 0,
    };
    let new = old.checked_add(by).ok_or(COUNTER_OVERFLOW)?;
    cx.get_or_new::<Hash>(argv[1])?.insert(argv[2], new.to_string().into_bytes());
    cx.touch(argv[1]);
    out.int(new);
    Ok(())
}

/// HINCRBYFLOAT key field n. Logged as an HSET of the sum, so that a replay does no arithmetic.
pub(super) fn hincrbyfloat(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (key, field) = (argv[1], argv[2]);
    let by = Extended::parse(argv[3]).ok_or(NOT_FLOAT)?;
    if by.is_infinite() {
        return Err(CommandError::fixed("ERR value is NaN or Infinity"));
    }
    let old = match cx.get::<Hash>(key)?.and_then(|hash| hash.get(field)) {
        Some(text) => Extended::parse(text).ok_or(CommandError::fixed("ERR hash value is not a float"))?,
        None => Extended::ZERO,
    };
    let sum = old.checked_add(by);
    let sum = sum.ok_or(CommandError::fixed("ERR increment would produce NaN or Infinity"))?.to_string();
    cx.get_or_new::<Hash>(key)?.insert(field, sum.clone().into_bytes());
    cx.touch(key);
    cx.translate(&[b"HSET", key, field, sum.as_bytes()]);
    out.bulk(sum.as_bytes());
    Ok(())
}

/// HRANDFIELD key [count [WITHVALUES]]
pub(super) fn hrandfield(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let Some(count) = random_count(&argv[2..], "withvalues")? else {
        let len = cx.read::<Hash>(argv[1])?.map_or(0, Hash::len);
        let place = if len > 0 { cx.hooks.random.below(len) } else { 0 };
        let field = cx.peek::<Hash>(argv[1]).and_then(|hash| hash.at(place));
        out.bulk_or_null(field.map(|(field, _)| field));
        return Ok(());
    };
    let len = cx.read::<Hash>(argv[1])?.map_or(0, Hash::len);
    let Some(Value::Hash(hash)) = cx.keyspace.dbs[cx.db].get(argv[1]).map(|e| &e.value) else {
        out.array(0);
        return Ok(());
    };
    let (places, total) = cx.hooks.random.draw(count.number, len);
    count.header(total, out);
    for (field, value) in places.filter_map(|place| hash.at(place)) {
        count.each(out);
        out.bulk(field);
        if count.with {
            out.bulk(value);
        }
    }
    Ok(())
}

/// The count of HRANDFIELD and ZRANDMEMBER, and whether values or scores are wanted too.
pub(super) struct RandomCount {
    /// How many; negative: with repetitions.
    pub(super) number: i64,
    /// Whether what belongs to each is wanted.
    pub(super) with: bool,
}

/// Reads `[count [WITH...]]`; `None` if there is nothing.
pub(super) fn random_count(argv: &[&[u8]], with: &str) -> Result<Option<RandomCount>, CommandError> {
    let Some(number) = argv.first() else { return Ok(None) };
    let number = args::symmetric(number)?;
    match argv[1..] {
        [] => Ok(Some(RandomCount { number, with: false })),
        [option] if is(option, with) => {
            if number.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
                return Err(CommandError::fixed("ERR value is out of range"));
            }
            Ok(Some(RandomCount { number, with: true }))
        }
        _ => Err(SYNTAX),
    }
}

impl RandomCount {
    /// The reply's header: RESP2 knows no pairs, there they come one after the other.
    pub(super) fn header(&self, total: usize, out: &mut Out) {
        let flat = self.with && !out.resp3();
        out.array(if flat { total.saturating_mul(2) } else { total });
    }

    /// What stands before each.
    pub(super) fn each(&self, out: &mut Out) {
        if self.with && out.resp3() {
            out.array(2);
        }
    }
}
