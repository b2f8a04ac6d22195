//! Commands on keys, whatever they hold, and on whole databases.

use super::RespOracle;
use super::number::integer;
use super::reply::{OK, Reply, flag, whole};
use super::typed::Value;

/// redis.conf's `databases`.
const DATABASES: u32 = 16;

/// Runs a command on keys; `None` if it is none.
pub(super) fn run(o: &mut RespOracle, name: &str, args: &[&[u8]], at: u64) -> Option<Reply> {
    Some(match (name, args) {
        ("DEL" | "UNLINK", [_, ..]) => whole(args.iter().filter(|k| o.remove(k, at)).count()),
        ("EXISTS" | "TOUCH", [_, ..]) => whole(args.iter().filter(|k| o.get(k, at).is_some()).count()),
        ("TYPE", [key]) => Reply::Simple(match o.get(key, at).map(|s| &s.value) {
            None => "none",
            Some(Value::Str(_)) => "string",
            Some(Value::List(_)) => "list",
            Some(Value::Set(_)) => "set",
            Some(Value::Hash(_)) => "hash",
            Some(Value::Sorted(_)) => "zset",
        }),
        ("RENAME", [from, to]) => match o.get(from, at).cloned() {
            Some(slot) => {
                o.remove(from, at);
                o.put(to, slot.value, slot.expires_at_ms);
                OK
            }
            None => Reply::Error,
        },
        ("RENAMENX", [from, to]) => match (o.get(from, at).cloned(), o.get(to, at)) {
            (None, _) => Reply::Error,
            (Some(_), Some(_)) => Reply::Int(0),
            (Some(slot), None) => {
                o.remove(from, at);
                o.put(to, slot.value, slot.expires_at_ms);
                Reply::Int(1)
            }
        },
        ("COPY", [from, to, options @ ..]) => copy(o, from, to, options, at),
        ("MOVE", [key, n]) => match database(n).filter(|n| *n != o.database) {
            Some(n) => match o.get(key, at).cloned() {
                Some(slot) if o.within(n, |o| o.get(key, at).is_none()) => {
                    o.remove(key, at);
                    o.within(n, |o| o.put(key, slot.value, slot.expires_at_ms));
                    Reply::Int(1)
                }
                _ => Reply::Int(0),
            },
            None => Reply::Error,
        },
        ("SWAPDB", [a, b]) => match (database(a), database(b)) {
            (Some(a), Some(b)) => {
                o.swap(a, b);
                OK
            }
            _ => Reply::Error,
        },
        ("FLUSHALL" | "FLUSHDB", _) => {
            o.flush(name == "FLUSHALL");
            OK
        }
        ("SELECT", [n]) => match database(n) {
            Some(n) => {
                o.database = n;
                OK
            }
            None => Reply::Error,
        },
        ("EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT", [key, n, options @ ..]) => {
            let unit = if name.starts_with('P') { 1 } else { 1000 };
            let base = if name.ends_with("AT") { 0 } else { at as i64 };
            let when = integer(n).and_then(|n| n.checked_mul(unit)).and_then(|n| n.checked_add(base));
            when.map_or(Reply::Error, |when| expire(o, key, when, options, at))
        }
        ("PERSIST", [key]) => {
            let had = o.get(key, at).filter(|s| s.expires_at_ms.is_some()).cloned();
            let changed = had.is_some();
            if let Some(slot) = had {
                o.put(key, slot.value, None);
            }
            flag(changed)
        }
        ("EXPIRETIME" | "PEXPIRETIME", [key]) => match o.get(key, at).map(|s| s.expires_at_ms) {
            None => Reply::Int(-2),
            Some(None) => Reply::Int(-1),
            Some(Some(ms)) if name.starts_with('P') => Reply::Int(ms as i64),
            // Rounded to the nearest second.
            Some(Some(ms)) => Reply::Int((ms as i64 + 500) / 1000),
        },
        ("TTL" | "PTTL" | "LASTSAVE" | "DBSIZE", _) => Reply::AnyInt,
        _ => return None,
    })
}

fn database(text: &[u8]) -> Option<u32> {
    integer(text).and_then(|n| u32::try_from(n).ok()).filter(|n| *n < DATABASES)
}

fn copy(o: &mut RespOracle, from: &[u8], to: &[u8], options: &[&[u8]], at: u64) -> Reply {
    let (mut into, mut replace) = (o.database, false);
    let mut rest = options;
    while let [option, tail @ ..] = rest {
        rest = tail;
        match option.to_ascii_uppercase().as_slice() {
            b"REPLACE" => replace = true,
            b"DB" => {
                let Some(n) = tail.first().and_then(|n| database(n)) else { return Reply::Error };
                into = n;
                rest = &tail[1..];
            }
            _ => return Reply::Error,
        }
    }
    if from == to && into == o.database {
        return Reply::Error;
    }
    let Some(slot) = o.get(from, at).cloned() else { return Reply::Int(0) };
    o.within(into, |o| {
        let free = replace || o.get(to, at).is_none();
        if free {
            o.put(to, slot.value, slot.expires_at_ms);
        }
        flag(free)
    })
}

fn expire(o: &mut RespOracle, key: &[u8], when: i64, options: &[&[u8]], at: u64) -> Reply {
    let Some(slot) = o.get(key, at).cloned() else { return Reply::Int(0) };
    let when = u64::try_from(when).unwrap_or(0);
    for option in options {
        // A key without an expiry counts as one that never expires.
        let has = slot.expires_at_ms;
        let passes = match option.to_ascii_uppercase().as_slice() {
            b"NX" => has.is_none(),
            b"XX" => has.is_some(),
            b"GT" => has.is_some_and(|t| when > t),
            b"LT" => has.is_none_or(|t| when < t),
            _ => return Reply::Error,
        };
        if !passes {
            return Reply::Int(0);
        }
    }
    if when <= at {
        o.remove(key, at);
    } else {
        o.put(key, slot.value, Some(when));
    }
    Reply::Int(1)
}
