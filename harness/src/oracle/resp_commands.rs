//! The commands of the RESP model, one small function each, as Redis 7's documentation describes them.

use super::list;
use super::resp::{RespOracle, Value};
use super::resp_reply::Reply;
use crate::target::resp_op::RespOp;

/// What kind of command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meta {
    /// May change keys.
    Write,
    /// Changes nothing.
    Read,
    /// Speaks of saving.
    Persistence,
}

const OK: Reply = Reply::Simple("OK");

/// The command's name in capitals.
pub(super) fn name(command: &[Vec<u8>]) -> String {
    command.first().map(|n| String::from_utf8_lossy(n).to_ascii_uppercase()).unwrap_or_default()
}

/// What kind of command this is; `None` if the model does not know it.
pub(super) fn meta(name: &str) -> Option<Meta> {
    Some(match name {
        "SET" | "SETNX" | "SETEX" | "PSETEX" | "GETSET" | "DEL" | "UNLINK" | "INCR" | "DECR" | "INCRBY"
        | "DECRBY" | "APPEND" | "RPUSH" | "LPUSH" | "RPUSHX" | "LPUSHX" | "LPOP" | "RPOP" | "EXPIRE"
        | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT" | "PERSIST" | "GETDEL" | "SETRANGE" | "MSET" | "RENAME"
        | "FLUSHALL" | "FLUSHDB" => Meta::Write,
        "GET" | "EXISTS" | "STRLEN" | "LLEN" | "LRANGE" | "TTL" | "PTTL" | "SELECT" | "PING" | "CONFIG"
        | "DBSIZE" => Meta::Read,
        "SAVE" | "BGSAVE" | "BGREWRITEAOF" | "LASTSAVE" | "INFO" | "WAITAOF" | "SHUTDOWN" => {
            Meta::Persistence
        }
        _ => return None,
    })
}

/// Whether the model knows the command.
pub(super) fn is_known(name: &str) -> bool {
    meta(name).is_some()
}

/// The keys that a command speaks of.
pub(super) fn keys(command: &[Vec<u8>]) -> Vec<&[u8]> {
    let args: Vec<&[u8]> = command.iter().skip(1).map(Vec::as_slice).collect();
    match name(command).as_str() {
        "DEL" | "UNLINK" | "EXISTS" => args,
        "RENAME" => args.into_iter().take(2).collect(),
        "MSET" => args.into_iter().step_by(2).collect(),
        known if matches!(meta(known), Some(Meta::Persistence)) => Vec::new(),
        "SELECT" | "PING" | "CONFIG" | "FLUSHALL" | "FLUSHDB" | "DBSIZE" => Vec::new(),
        _ => args.into_iter().take(1).collect(),
    }
}

/// Operations that do only a part of this one.
pub(super) fn parts(op: &RespOp) -> Vec<RespOp> {
    let count = op.commands.len();
    let mut out = Vec::new();
    if op.is_transaction() {
        for i in 1..count {
            out.push(RespOp { commands: op.commands[..i].to_vec() });
            out.push(RespOp { commands: op.commands[i..].to_vec() });
            if count > 2 {
                let without = op.commands.iter().enumerate().filter(|(j, _)| *j != i);
                out.push(RespOp { commands: without.map(|(_, c)| c.clone()).collect() });
            }
        }
    }
    for (i, command) in op.commands.iter().enumerate() {
        let (fixed, step) = match name(command).as_str() {
            "RPUSH" | "LPUSH" | "RPUSHX" | "LPUSHX" => (2, 1),
            "MSET" => (1, 2),
            "DEL" | "UNLINK" => (1, 1),
            _ => continue,
        };
        for end in (fixed + step..command.len()).step_by(step) {
            let mut commands = op.commands[..i].to_vec();
            commands.push(command[..end].to_vec());
            out.push(RespOp { commands });
        }
    }
    out
}

/// Runs one command.
pub(super) fn run(o: &mut RespOracle, command: &[Vec<u8>], at: u64) -> Reply {
    let args: Vec<&[u8]> = command.iter().skip(1).map(Vec::as_slice).collect();
    let name = name(command);
    match (name.as_str(), args.as_slice()) {
        ("SET", [key, value, options @ ..]) => set(o, key, value, options, at),
        ("SETNX", [key, value]) => {
            let free = o.get(key, at).is_none();
            if free {
                o.put(key, Value::Str(value.to_vec()), None);
            }
            Reply::Int(i64::from(free))
        }
        ("SETEX", [key, n, value]) => set(o, key, value, &[b"EX", n], at),
        ("PSETEX", [key, n, value]) => set(o, key, value, &[b"PX", n], at),
        ("GETSET", [key, value]) => set(o, key, value, &[b"GET"], at),
        ("GET", [key]) => string(o, key, at).map_or(Reply::Error, Reply::Bulk),
        ("GETDEL", [key]) => match string(o, key, at) {
            Ok(old) => {
                o.remove(key, at);
                Reply::Bulk(old)
            }
            Err(WrongType) => Reply::Error,
        },
        ("STRLEN", [key]) => {
            string(o, key, at).map_or(Reply::Error, |s| Reply::Int(s.map_or(0, |s| s.len()) as i64))
        }
        ("DEL" | "UNLINK", [_, ..]) => Reply::Int(args.iter().filter(|k| o.remove(k, at)).count() as i64),
        ("EXISTS", [_, ..]) => Reply::Int(args.iter().filter(|k| o.get(k, at).is_some()).count() as i64),
        ("INCR", [key]) => add(o, key, Some(1), at),
        ("DECR", [key]) => add(o, key, Some(-1), at),
        ("INCRBY", [key, by]) => add(o, key, number(by), at),
        ("DECRBY", [key, by]) => add(o, key, number(by).and_then(i64::checked_neg), at),
        ("APPEND", [key, more]) => edit(o, key, at, |old| old.extend_from_slice(more)),
        ("SETRANGE", [key, offset, value]) => set_range(o, key, number(offset), value, at),
        ("MSET", pairs) if !pairs.is_empty() && pairs.len() % 2 == 0 => {
            for pair in pairs.chunks(2) {
                o.put(pair[0], Value::Str(pair[1].to_vec()), None);
            }
            OK
        }
        ("RENAME", [from, to]) => match o.get(from, at).cloned() {
            Some(slot) => {
                o.remove(from, at);
                o.put(to, slot.value, slot.expires_at_ms);
                OK
            }
            None => Reply::Error,
        },
        ("FLUSHALL" | "FLUSHDB", _) => {
            o.flush(name == "FLUSHALL");
            OK
        }
        ("SELECT", [n]) => match number(n).and_then(|n| u32::try_from(n).ok()) {
            Some(n) => {
                o.database = n;
                OK
            }
            None => Reply::Error,
        },
        ("PING", []) => Reply::Simple("PONG"),
        ("PING", [text]) => Reply::Bulk(Some(text.to_vec())),
        ("TTL" | "PTTL" | "LASTSAVE" | "DBSIZE", _) => Reply::AnyInt,
        ("SAVE", []) | ("SHUTDOWN", _) => OK,
        ("BGSAVE" | "BGREWRITEAOF" | "INFO" | "CONFIG" | "WAITAOF", _) => Reply::Any,
        _ => other(o, &name, &args, at),
    }
}

/// Lists and expiry.
fn other(o: &mut RespOracle, name: &str, args: &[&[u8]], at: u64) -> Reply {
    match (name, args) {
        ("RPUSH" | "LPUSH" | "RPUSHX" | "LPUSHX", [key, elements @ ..]) if !elements.is_empty() => {
            let Ok(old) = elements_of(o, key, at) else { return Reply::Error };
            if name.ends_with('X') && old.is_none() {
                return Reply::Int(0);
            }
            let mut all = old.unwrap_or_default();
            let elements: Vec<Vec<u8>> = elements.iter().map(|e| e.to_vec()).collect();
            list::push(&mut all, &elements, name.starts_with('L'));
            let len = all.len() as i64;
            put_list(o, key, all, at);
            Reply::Int(len)
        }
        ("LPOP" | "RPOP", [key]) => pop(o, key, None, name == "LPOP", at),
        ("LPOP" | "RPOP", [key, count]) => match number(count).and_then(|n| usize::try_from(n).ok()) {
            Some(count) => pop(o, key, Some(count), name == "LPOP", at),
            None => Reply::Error,
        },
        ("LLEN", [key]) => {
            elements_of(o, key, at).map_or(Reply::Error, |l| Reply::Int(l.map_or(0, |l| l.len()) as i64))
        }
        ("LRANGE", [key, start, stop]) => match (elements_of(o, key, at), number(start), number(stop)) {
            (Ok(l), Some(start), Some(stop)) => {
                let l = l.unwrap_or_default();
                let part = list::range(&l, start, stop);
                Reply::Array(part.iter().map(|e| Reply::Bulk(Some(e.clone()))).collect())
            }
            _ => Reply::Error,
        },
        ("EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT", [key, n, options @ ..]) => {
            let unit = if name.starts_with('P') { 1 } else { 1000 };
            let base = if name.ends_with("AT") { 0 } else { at as i64 };
            let when = number(n).and_then(|n| n.checked_mul(unit)).and_then(|n| n.checked_add(base));
            when.map_or(Reply::Error, |when| expire(o, key, when, options, at))
        }
        ("PERSIST", [key]) => {
            let had = o.get(key, at).filter(|s| s.expires_at_ms.is_some()).cloned();
            let changed = had.is_some();
            if let Some(slot) = had {
                o.put(key, slot.value, None);
            }
            Reply::Int(i64::from(changed))
        }
        _ => Reply::Error,
    }
}

/// The key holds another type than the command is for.
struct WrongType;

fn string(o: &RespOracle, key: &[u8], at: u64) -> Result<Option<Vec<u8>>, WrongType> {
    match o.get(key, at).map(|s| &s.value) {
        None => Ok(None),
        Some(Value::Str(s)) => Ok(Some(s.clone())),
        Some(Value::List(_)) => Err(WrongType),
    }
}

fn elements_of(o: &RespOracle, key: &[u8], at: u64) -> Result<Option<Vec<Vec<u8>>>, WrongType> {
    match o.get(key, at).map(|s| &s.value) {
        None => Ok(None),
        Some(Value::List(l)) => Ok(Some(l.clone())),
        Some(Value::Str(_)) => Err(WrongType),
    }
}

fn expiry_of(o: &RespOracle, key: &[u8], at: u64) -> Option<u64> {
    o.get(key, at).and_then(|s| s.expires_at_ms)
}

fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let n: i64 = text.parse().ok()?;
    // Redis takes only the canonical form: no "+1", no "01".
    (n.to_string() == text).then_some(n)
}

fn set(o: &mut RespOracle, key: &[u8], value: &[u8], options: &[&[u8]], at: u64) -> Reply {
    let (mut expires, mut keep, mut get, mut only) = (None, false, false, None);
    let mut rest = options;
    while let [option, tail @ ..] = rest {
        rest = tail;
        match option.to_ascii_uppercase().as_slice() {
            b"NX" => only = Some(false),
            b"XX" => only = Some(true),
            b"GET" => get = true,
            b"KEEPTTL" => keep = true,
            unit @ (b"EX" | b"PX" | b"EXAT" | b"PXAT") => {
                let [n, tail @ ..] = rest else { return Reply::Error };
                rest = tail;
                let Some(n) = number(n).and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0) else {
                    return Reply::Error;
                };
                let ms = if unit.starts_with(b"E") { n.saturating_mul(1000) } else { n };
                expires = Some(if unit.ends_with(b"AT") { ms } else { at.saturating_add(ms) });
            }
            _ => return Reply::Error,
        }
    }
    let old = string(o, key, at);
    if get && old.is_err() {
        return Reply::Error;
    }
    let there = o.get(key, at).is_some();
    let done = only.is_none_or(|must| must == there);
    if done {
        let expires = if keep { expiry_of(o, key, at) } else { expires };
        // An absolute time in the past: the key is gone at once.
        if expires.is_some_and(|t| t < at) {
            o.remove(key, at);
        } else {
            o.put(key, Value::Str(value.to_vec()), expires);
        }
    }
    match (get, done) {
        (true, _) => Reply::Bulk(old.unwrap_or(None)),
        (false, true) => OK,
        (false, false) => Reply::Bulk(None),
    }
}

fn add(o: &mut RespOracle, key: &[u8], by: Option<i64>, at: u64) -> Reply {
    let (Some(by), Ok(old)) = (by, string(o, key, at)) else { return Reply::Error };
    let old = old.map_or(Some(0), |s| number(&s));
    let Some(new) = old.and_then(|n| n.checked_add(by)) else { return Reply::Error };
    let expires = expiry_of(o, key, at);
    o.put(key, Value::Str(new.to_string().into_bytes()), expires);
    Reply::Int(new)
}

/// Changes a string in place, keeping its expiry; replies with its length.
fn edit(o: &mut RespOracle, key: &[u8], at: u64, change: impl FnOnce(&mut Vec<u8>)) -> Reply {
    let Ok(old) = string(o, key, at) else { return Reply::Error };
    let expires = expiry_of(o, key, at);
    let mut new = old.unwrap_or_default();
    change(&mut new);
    let len = new.len() as i64;
    o.put(key, Value::Str(new), expires);
    Reply::Int(len)
}

fn set_range(o: &mut RespOracle, key: &[u8], offset: Option<i64>, value: &[u8], at: u64) -> Reply {
    let Some(offset) = offset.and_then(|n| usize::try_from(n).ok()) else { return Reply::Error };
    // Nothing to write changes nothing, and makes no key.
    if value.is_empty() {
        return string(o, key, at).map_or(Reply::Error, |s| Reply::Int(s.map_or(0, |s| s.len()) as i64));
    }
    // Redis's limit on a string.
    if offset.saturating_add(value.len()) > 512 << 20 {
        return Reply::Error;
    }
    edit(o, key, at, |s| {
        if s.len() < offset + value.len() {
            s.resize(offset + value.len(), 0);
        }
        s[offset..offset + value.len()].copy_from_slice(value);
    })
}

fn put_list(o: &mut RespOracle, key: &[u8], list: Vec<Vec<u8>>, at: u64) {
    if list.is_empty() {
        o.remove(key, at);
    } else {
        let expires = expiry_of(o, key, at);
        o.put(key, Value::List(list), expires);
    }
}

fn pop(o: &mut RespOracle, key: &[u8], count: Option<usize>, front: bool, at: u64) -> Reply {
    let Ok(old) = elements_of(o, key, at) else { return Reply::Error };
    let Some(mut all) = old else {
        return if count.is_some() { Reply::NullArray } else { Reply::Bulk(None) };
    };
    let off = list::pop(&mut all, count.unwrap_or(1), front);
    put_list(o, key, all, at);
    match count {
        Some(_) => Reply::Array(off.into_iter().map(|e| Reply::Bulk(Some(e))).collect()),
        None => Reply::Bulk(off.into_iter().next()),
    }
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
