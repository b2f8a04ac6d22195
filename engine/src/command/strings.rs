//! Strings: SET and GET in all their forms, and parts of strings.

use super::args::{self, is};
use super::context::Ctx;
use super::error::{CommandError, SYNTAX, TOO_LONG};
use super::expiry::{self, Unit};
use crate::keyspace::{Str, Value};
use crate::resp::Out;

type Done = Result<(), CommandError>;

/// Longest string, as the default of proto-max-bulk-len.
const MAX_STRING: usize = 512 * 1024 * 1024;

/// What SET and GETEX may be told.
#[derive(Default)]
struct Options<'a> {
    if_absent: bool,
    if_present: bool,
    get: bool,
    keep_ttl: bool,
    persist: bool,
    expire: Option<(Unit, &'a [u8])>,
}

impl<'a> Options<'a> {
    /// Reads options as Redis does: `getex` takes PERSIST and the expiries, SET all others.
    fn read(argv: &[&'a [u8]], getex: bool) -> Result<Options<'a>, CommandError> {
        let mut options = Options::default();
        let mut at = 0;
        while let Some(word) = argv.get(at) {
            let unit = Unit::of_option(word);
            let other_expiry = options.expire.as_ref().is_some_and(|(u, _)| Some(*u) != unit)
                || options.keep_ttl
                || options.persist;
            if is(word, "nx") && !getex && !options.if_present {
                options.if_absent = true;
            } else if is(word, "xx") && !getex && !options.if_absent {
                options.if_present = true;
            } else if is(word, "get") && !getex {
                options.get = true;
            } else if is(word, "keepttl") && !getex && options.expire.is_none() {
                options.keep_ttl = true;
            } else if is(word, "persist") && getex && options.expire.is_none() {
                options.persist = true;
            } else if let (Some(unit), Some(value), false) = (unit, argv.get(at + 1), other_expiry) {
                options.expire = Some((unit, value));
                at += 1;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }
}

/// SET key value [NX|XX] [GET] [EX|PX|EXAT|PXAT n|KEEPTTL]
pub(super) fn set(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (key, value) = (argv[1], argv[2]);
    if argv.len() == 3 {
        cx.expire_if_due(cx.db, key);
        cx.put(key, Value::from(value), None);
        out.ok();
        return Ok(());
    }
    let options = Options::read(&argv[3..], false)?;
    let at = options.expire.map(|(unit, value)| unit.at(value, cx.now_ms, "set")).transpose()?;
    if options.get {
        let old = cx.read::<Str>(key)?;
        out.bulk_or_null(old.map(|v| &**v));
    }
    let found = cx.exists(key);
    if (options.if_absent && found) || (options.if_present && !found) {
        if !options.get {
            out.null();
        }
        return Ok(());
    }
    let kept = if options.keep_ttl { cx.entry(key).and_then(|e| e.expires_at_ms()) } else { None };
    cx.put(key, Value::from(value), at.or(kept));
    match (at, options.expire) {
        (Some(at), Some((unit, _))) if unit != Unit::UnixMilliseconds => set_until(cx, key, value, at),
        (None, _) if options.get => {
            let kept: Vec<&[u8]> =
                argv.iter().enumerate().filter(|(i, a)| *i < 3 || !is(a, "get")).map(|(_, a)| *a).collect();
            cx.translate(&kept);
        }
        _ => {}
    }
    if !options.get {
        out.ok();
    }
    Ok(())
}

/// Logs a SET with a moment of expiry that does not move when it is replayed.
fn set_until(cx: &mut Ctx<'_>, key: &[u8], value: &[u8], at_ms: u64) {
    cx.translate(&[b"SET", key, value, b"PXAT", at_ms.to_string().as_bytes()]);
}

/// SETEX and PSETEX.
fn set_expiring(cx: &mut Ctx<'_>, argv: &[&[u8]], unit: Unit, name: &str, out: &mut Out) -> Done {
    let at = unit.at(argv[2], cx.now_ms, name)?;
    cx.expire_if_due(cx.db, argv[1]);
    cx.put(argv[1], Value::from(argv[3]), Some(at));
    set_until(cx, argv[1], argv[3], at);
    out.ok();
    Ok(())
}

/// SETEX key seconds value
pub(super) fn setex(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    set_expiring(cx, argv, Unit::Seconds, "setex", out)
}

/// PSETEX key milliseconds value
pub(super) fn psetex(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    set_expiring(cx, argv, Unit::Milliseconds, "psetex", out)
}

/// SETNX key value
pub(super) fn setnx(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let absent = !cx.exists(argv[1]);
    if absent {
        cx.put(argv[1], Value::from(argv[2]), None);
    }
    out.int(i64::from(absent));
    Ok(())
}

/// GET key
pub(super) fn get(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let value = cx.read::<Str>(argv[1])?;
    out.bulk_or_null(value.map(|v| &**v));
    Ok(())
}

/// GETSET key value
pub(super) fn getset(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    get(cx, argv, out)?;
    cx.put(argv[1], Value::from(argv[2]), None);
    cx.translate(&[b"SET", argv[1], argv[2]]);
    Ok(())
}

/// GETDEL key
pub(super) fn getdel(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    get(cx, argv, out)?;
    if cx.remove(argv[1]).is_some() {
        cx.translate(&[b"DEL", argv[1]]);
    }
    Ok(())
}

/// GETEX key [EX|PX|EXAT|PXAT n|PERSIST]
pub(super) fn getex(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let options = Options::read(&argv[2..], true)?;
    let key = argv[1];
    if cx.get::<Str>(key)?.is_none() {
        cx.hooks.misses += 1;
        out.null();
        return Ok(());
    }
    let at = options.expire.map(|(unit, value)| unit.at(value, cx.now_ms, "getex")).transpose()?;
    get(cx, argv, out)?;
    let expires = cx.entry(key).and_then(|e| e.expires_at_ms());
    match at {
        Some(at) => expiry::expire_at(cx, key, at),
        None if options.persist && expires.is_some() => {
            cx.set_expiry(key, None);
            cx.translate(&[b"PERSIST", key]);
        }
        None => {}
    }
    Ok(())
}

/// MGET key...
pub(super) fn mget(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    out.array(argv.len() - 1);
    for key in &argv[1..] {
        let value = cx.read::<Str>(key).unwrap_or(None);
        out.bulk_or_null(value.map(|v| &**v));
    }
    Ok(())
}

fn put_pairs(cx: &mut Ctx<'_>, argv: &[&[u8]]) {
    for pair in argv[1..].chunks_exact(2) {
        cx.expire_if_due(cx.db, pair[0]);
        cx.put(pair[0], Value::from(pair[1]), None);
    }
    cx.count(argv.len() / 2);
}

/// MSET key value...
pub(super) fn mset(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    if argv.len().is_multiple_of(2) {
        return Err(CommandError::arity("mset"));
    }
    put_pairs(cx, argv);
    out.ok();
    Ok(())
}

/// MSETNX key value...
pub(super) fn msetnx(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    if argv.len().is_multiple_of(2) {
        return Err(CommandError::arity("msetnx"));
    }
    let free = argv[1..].chunks_exact(2).all(|pair| !cx.exists(pair[0]));
    if free {
        put_pairs(cx, argv);
    }
    out.int(i64::from(free));
    Ok(())
}

/// APPEND key value
pub(super) fn append(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let old = cx.get::<Str>(argv[1])?.map(|v| v.len());
    if old.unwrap_or(0).saturating_add(argv[2].len()) > MAX_STRING {
        return Err(TOO_LONG);
    }
    let value = cx.get_or_new::<Str>(argv[1])?;
    match old {
        Some(_) => value.extend_from_slice(argv[2]),
        None => value.replace(argv[2]),
    }
    out.count(value.len());
    cx.touch(argv[1]);
    Ok(())
}

/// STRLEN key
pub(super) fn strlen(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let len = cx.read::<Str>(argv[1])?.map_or(0, |v| v.len());
    out.count(len);
    Ok(())
}

/// GETRANGE key start end
pub(super) fn getrange(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (start, end) = (args::integer(argv[2])?, args::integer(argv[3])?);
    let Some(value) = cx.read::<Str>(argv[1])? else {
        out.bulk(b"");
        return Ok(());
    };
    // Unlike a list's, a string's range of two negative indexes in the wrong order is empty even where
    // clamping both to the start would leave one byte; one that clamps to the start leaves that byte.
    if start < 0 && end < 0 && start > end {
        out.bulk(b"");
        return Ok(());
    }
    let len = i64::try_from(value.len()).unwrap_or(i64::MAX);
    let end = if end < 0 { len.saturating_add(end).max(0) } else { end };
    out.bulk(&value[args::range(start, end, value.len())]);
    Ok(())
}

/// SETRANGE key offset value
pub(super) fn setrange(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let offset = usize::try_from(args::integer(argv[2])?)
        .map_err(|_| CommandError::fixed("ERR offset is out of range"))?;
    let old = cx.get::<Str>(argv[1])?.map_or(0, |v| v.len());
    if argv[3].is_empty() {
        out.count(old);
        return Ok(());
    }
    let end = offset.saturating_add(argv[3].len());
    if end > MAX_STRING {
        return Err(TOO_LONG);
    }
    let value = cx.get_or_new::<Str>(argv[1])?;
    value.pad(end);
    value[offset..end].copy_from_slice(argv[3]);
    out.count(value.len());
    cx.touch(argv[1]);
    Ok(())
}
