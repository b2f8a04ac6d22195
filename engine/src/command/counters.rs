//! Counters: strings that hold a number.

use super::args;
use super::context::Ctx;
use super::error::{COUNTER_OVERFLOW, CommandError, NOT_FLOAT, NOT_INTEGER};
use crate::keyspace::{Origin, Str, Value};
use crate::number::Extended;
use crate::resp::{Out, parse_integer};

type Done = Result<(), CommandError>;

fn add(cx: &mut Ctx<'_>, key: &[u8], by: i64, out: &mut Out) -> Done {
    let old = match cx.get::<Str>(key)? {
        None => 0,
        Some(text) => parse_integer(text).ok_or(NOT_INTEGER)?,
    };
    let new = old.checked_add(by).ok_or(COUNTER_OVERFLOW)?;
    let value = cx.get_or_new::<Str>(key)?;
    value.replace(new.to_string().as_bytes());
    cx.touch(key);
    out.int(new);
    Ok(())
}

/// INCR key
pub(super) fn incr(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    add(cx, argv[1], 1, out)
}

/// DECR key
pub(super) fn decr(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    add(cx, argv[1], -1, out)
}

/// INCRBY key n
pub(super) fn incrby(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    add(cx, argv[1], args::integer(argv[2])?, out)
}

/// DECRBY key n
pub(super) fn decrby(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let by =
        args::integer(argv[2])?.checked_neg().ok_or(CommandError::fixed("ERR decrement would overflow"))?;
    add(cx, argv[1], by, out)
}

/// INCRBYFLOAT key n. Logged as a SET of the sum, so that a replay does no arithmetic.
pub(super) fn incrbyfloat(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let key = argv[1];
    let old = match cx.get::<Str>(key)? {
        None => Extended::ZERO,
        Some(text) => Extended::parse(text).ok_or(NOT_FLOAT)?,
    };
    let sum = old.checked_add(Extended::parse(argv[2]).ok_or(NOT_FLOAT)?);
    let sum = sum.ok_or(CommandError::fixed("ERR increment would produce NaN or Infinity"))?.to_string();
    let new = sum.as_bytes();
    let expires = cx.entry(key).and_then(|e| e.expires_at_ms());
    cx.put(key, Value::Str(Str::new(new, Origin::Sum)), expires);
    if sabotaged!("keepttl-not-logged") {
        cx.translate(&[b"SET", key, new]);
    } else {
        cx.translate(&[b"SET", key, new, b"KEEPTTL"]);
    }
    out.bulk(new);
    Ok(())
}
