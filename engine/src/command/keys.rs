//! Keys as such, whatever they hold.

use super::args::{self, is};
use super::context::Ctx;
use super::error::{CommandError, DB_RANGE, NO_KEY, SAME_OBJECT, SYNTAX};
use crate::glob;
use crate::keyspace::{Db, Value};
use crate::resp::{Out, parse_integer};

type Done = Result<(), CommandError>;

/// DEL key... and UNLINK key...
pub(super) fn del(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let removed = argv[1..].iter().filter(|key| cx.remove(key).is_some()).count();
    cx.count(removed);
    out.count(removed);
    Ok(())
}

/// EXISTS key... and TOUCH key...
pub(super) fn exists(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let found = argv[1..].iter().filter(|key| cx.exists(key)).count();
    out.count(found);
    Ok(())
}

/// The name of a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Str(_) => "string",
        Value::List(_) => "list",
        Value::Set(_) => "set",
        Value::Hash(_) => "hash",
        Value::SortedSet(_) => "zset",
    }
}

/// TYPE key
pub(super) fn type_of(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let name = cx.entry(argv[1]).map_or("none", |e| type_name(&e.value));
    out.simple(name);
    Ok(())
}

/// The keys of a database that have not expired, in a stable order.
fn live_keys<'a>(cx: &'a mut Ctx<'_>) -> Vec<&'a [u8]> {
    let (now, loading) = (cx.now_ms, cx.loading);
    let live = cx.database().iter().filter(|(_, e)| loading || !e.is_due(now));
    let mut keys: Vec<_> = live.map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys
}

/// KEYS pattern
pub(super) fn keys(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let mut keys = live_keys(cx);
    keys.retain(|key| glob::matches(argv[1], key));
    out.array(keys.len());
    keys.iter().for_each(|key| out.bulk(key));
    Ok(())
}

/// DBSIZE
pub(super) fn dbsize(cx: &mut Ctx<'_>, _argv: &[&[u8]], out: &mut Out) -> Done {
    out.count(cx.database().len());
    Ok(())
}

/// RANDOMKEY
pub(super) fn randomkey(cx: &mut Ctx<'_>, _argv: &[&[u8]], out: &mut Out) -> Done {
    /// So many may have expired without having been deleted before every key is looked at.
    const TRIES: u64 = 100;
    let now = cx.now_ms;
    let live = (0..TRIES).find_map(|_| {
        let seed = cx.hooks.random.bits();
        cx.keyspace.dbs[cx.db].pick(seed).filter(|(_, e)| !e.is_due(now)).map(|(key, _)| key.to_vec())
    });
    let key = live.or_else(|| live_keys(cx).first().map(|key| key.to_vec()));
    out.bulk_or_null(key.as_deref());
    Ok(())
}

fn rename_generic(cx: &mut Ctx<'_>, argv: &[&[u8]], only_new: bool) -> Result<bool, CommandError> {
    let (from, to) = (argv[1], argv[2]);
    if !cx.exists(from) {
        return Err(NO_KEY);
    }
    if from == to {
        return Ok(false);
    }
    if cx.exists(to) && only_new {
        return Ok(false);
    }
    if let Some(entry) = cx.remove(from) {
        cx.put_in(cx.db, to, entry);
    }
    Ok(true)
}

/// RENAME key newkey
pub(super) fn rename(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    rename_generic(cx, argv, false)?;
    out.ok();
    Ok(())
}

/// RENAMENX key newkey
pub(super) fn renamenx(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    out.int(i64::from(rename_generic(cx, argv, true)?));
    Ok(())
}

/// MOVE key db
pub(super) fn move_key(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let to = args::database(cx.keyspace, argv[2])?;
    if to == cx.db {
        return Err(SAME_OBJECT);
    }
    let movable = cx.exists(argv[1]) && cx.entry_in(to, argv[1]).is_none();
    if movable && let Some(entry) = cx.remove(argv[1]) {
        cx.put_in(to, argv[1], entry);
    }
    out.int(i64::from(movable));
    Ok(())
}

/// COPY source destination [DB n] [REPLACE]
pub(super) fn copy(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (mut db, mut replace, mut at) = (cx.db, false, 3);
    while let Some(option) = argv.get(at) {
        if is(option, "replace") {
            replace = true;
        } else if let (true, Some(number)) = (is(option, "db"), argv.get(at + 1)) {
            db = args::database(cx.keyspace, number)?;
            at += 1;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    if db == cx.db && argv[1] == argv[2] {
        return Err(SAME_OBJECT);
    }
    let entry = cx.entry(argv[1]).cloned();
    let free = cx.entry_in(db, argv[2]).is_none() || replace;
    let copied = match entry {
        Some(entry) if free => {
            cx.put_in(db, argv[2], entry);
            true
        }
        _ => false,
    };
    out.int(i64::from(copied));
    Ok(())
}

/// SWAPDB a b
pub(super) fn swapdb(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let number = |arg: &[u8], text: &'static str| {
        parse_integer(arg).and_then(|n| i32::try_from(n).ok()).ok_or(CommandError::fixed(text))
    };
    let a = number(argv[1], "ERR invalid first DB index")?;
    let b = number(argv[2], "ERR invalid second DB index")?;
    let within = |n: i32| cx.keyspace.number(n.into()).ok_or(DB_RANGE);
    let (a, b) = (within(a)?, within(b)?);
    for db in [a, b] {
        let dbs = &cx.keyspace.dbs;
        cx.hooks.watched.touch_db(db, |key| dbs[a].contains_key(key) || dbs[b].contains_key(key));
    }
    cx.keyspace.dbs.swap(a, b);
    for db in [a, b] {
        for key in cx.hooks.blocked.awaited(db) {
            if matches!(
                cx.keyspace.dbs[db].get(&key).map(|e| &e.value),
                Some(Value::List(_) | Value::SortedSet(_))
            ) {
                cx.hooks.blocked.signal(db, &key);
            }
        }
    }
    if !cx.loading {
        cx.hooks.expiries.rebuild(cx.keyspace);
    }
    cx.changed = true;
    out.ok();
    Ok(())
}

fn flush(cx: &mut Ctx<'_>, argv: &[&[u8]], dbs: std::ops::Range<usize>, out: &mut Out) -> Done {
    if argv.len() > 2 || argv.get(1).is_some_and(|how| !is(how, "sync") && !is(how, "async")) {
        return Err(SYNTAX);
    }
    let mut removed = 0;
    for db in dbs {
        let keys = std::mem::take(&mut cx.keyspace.dbs[db]);
        removed += keys.len();
        cx.hooks.watched.touch_db(db, |key| keys.contains_key(key));
        keys.discard();
    }
    // Logged in any case, as in Redis.
    cx.changed = true;
    cx.count(removed);
    out.ok();
    Ok(())
}

/// FLUSHDB [ASYNC|SYNC]
pub(super) fn flushdb(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    flush(cx, argv, cx.db..cx.db + 1, out)
}

/// FLUSHALL [ASYNC|SYNC]
pub(super) fn flushall(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    flush(cx, argv, 0..cx.keyspace.dbs.len(), out)?;
    cx.flushed_all = true;
    Ok(())
}

/// How many keys a database has, and how many of them expire.
pub(super) fn counts(db: &Db) -> (usize, usize) {
    (db.len(), db.expiring())
}
