//! Strings, counters and bits.

use super::RespOracle;
use super::commands::{Call, Run};
use super::number::{Long, integer};
use super::reply::{OK, Reply, flag, whole};
use super::typed::{Value, WrongType, change, copy, expiry, read, store};

type Str = Vec<u8>;

/// Redis's limit on a string.
const LONGEST: usize = 512 << 20;

/// Runs a command on strings; `None` if it is none.
pub(super) fn run(o: &mut RespOracle, Call { name, args, at }: Call<'_>) -> Run {
    Some(match (name, args) {
        ("SET", [key, value, options @ ..]) => set(o, key, value, options, at),
        ("SETNX", [key, value]) => Ok(flag(put_new(o, &[key, value], at))),
        ("SETEX", [key, n, value]) => set(o, key, value, &[b"EX", n], at),
        ("PSETEX", [key, n, value]) => set(o, key, value, &[b"PX", n], at),
        ("GETSET", [key, value]) => set(o, key, value, &[b"GET"], at),
        ("GET", [key]) => read::<Str>(o, key, at).map(|s| Reply::Bulk(s.cloned())),
        ("GETDEL", [key]) => read::<Str>(o, key, at).map(|s| s.cloned()).map(|old| {
            o.remove(key, at);
            Reply::Bulk(old)
        }),
        ("GETEX", [key, options @ ..]) => getex(o, key, options, at),
        ("MGET", keys) if !keys.is_empty() => {
            let one = |key: &&[u8]| Reply::Bulk(read::<Str>(o, key, at).ok().flatten().cloned());
            Ok(Reply::Array(keys.iter().map(one).collect()))
        }
        ("MSET", pairs) if !pairs.is_empty() && pairs.len() % 2 == 0 => {
            put_all(o, pairs);
            Ok(OK)
        }
        ("MSETNX", pairs) if !pairs.is_empty() && pairs.len() % 2 == 0 => Ok(flag(put_new(o, pairs, at))),
        ("STRLEN", [key]) => read::<Str>(o, key, at).map(|s| whole(s.map_or(0, Vec::len))),
        ("APPEND", [key, more]) => change(o, key, at, |s: &mut Str| {
            s.extend_from_slice(more);
            whole(s.len())
        }),
        ("SETRANGE", [key, offset, value]) => set_range(o, key, offset, value, at),
        ("INCR", [key]) => add(o, key, Some(1), at),
        ("DECR", [key]) => add(o, key, Some(-1), at),
        ("INCRBY", [key, by]) => add(o, key, integer(by), at),
        ("DECRBY", [key, by]) => add(o, key, integer(by).and_then(i64::checked_neg), at),
        ("INCRBYFLOAT", [key, by]) => match (read::<Str>(o, key, at), Long::parse(by)) {
            (Err(wrong), _) => Err(wrong),
            (Ok(old), Some(by)) => match old.map_or(Some(Long::zero()), |old| Long::parse(old)) {
                Some(old) => change(o, key, at, |s: &mut Str| {
                    *s = old.plus(&by).to_string().into_bytes();
                    Reply::Bulk(Some(s.clone()))
                }),
                None => Ok(Reply::Error),
            },
            (Ok(_), None) => Ok(Reply::Error),
        },
        ("GETBIT", [key, offset]) => match bit_offset(offset) {
            Some(offset) => copy::<Str>(o, key, at).map(|s| flag(bit(&s, offset))),
            None => Ok(Reply::Error),
        },
        ("SETBIT", [key, offset, value]) => match (bit_offset(offset), *value) {
            (Some(offset), b"0" | b"1") => change(o, key, at, |s: &mut Str| {
                let old = bit(s, offset);
                let mask = 0x80 >> (offset % 8);
                s.resize(s.len().max(offset / 8 + 1), 0);
                let byte = &mut s[offset / 8];
                *byte = if *value == b"1" { *byte | mask } else { *byte & !mask };
                flag(old)
            }),
            _ => Ok(Reply::Error),
        },
        ("BITOP", [how, to, keys @ ..]) if !keys.is_empty() => bitop(o, how, to, keys, at),
        ("BITFIELD", [key, how, b"u8", place, n]) => {
            let place = place.strip_prefix(b"#").and_then(integer).and_then(|n| usize::try_from(n).ok());
            match (place.filter(|n| *n < FARTHEST), integer(n)) {
                (Some(place), Some(n)) => change(o, key, at, |s: &mut Str| byte_field(s, how, place, n)),
                _ => Ok(Reply::Error),
            }
        }
        _ => return None,
    })
}

/// The bytes of BITFIELD that are modelled.
const FARTHEST: usize = 1 << 20;

/// Sets a byte, or adds to it, without looking at what overflows: BITFIELD with the type u8 and an offset in such.
fn byte_field(s: &mut Str, how: &[u8], place: usize, n: i64) -> Reply {
    s.resize(s.len().max(place + 1), 0);
    let old = s[place];
    // The low eight bits are what is kept.
    let (new, said) = if how.eq_ignore_ascii_case(b"SET") {
        (n as u8, old)
    } else {
        let sum = old.wrapping_add(n as u8);
        (sum, sum)
    };
    s[place] = new;
    Reply::Array(vec![Reply::Int(i64::from(said))])
}

/// Whether a form of BITFIELD is not modelled: all but one SET or INCRBY of a whole byte.
pub(super) fn is_unknown(name: &str, command: &[Vec<u8>]) -> bool {
    let words: Vec<&[u8]> = command.iter().skip(2).map(Vec::as_slice).collect();
    let known = |how: &[u8]| how.eq_ignore_ascii_case(b"SET") || how.eq_ignore_ascii_case(b"INCRBY");
    name == "BITFIELD" && !matches!(words.as_slice(), [how, b"u8", [b'#', ..], _] if known(how))
}

fn put_all(o: &mut RespOracle, pairs: &[&[u8]]) {
    pairs.chunks(2).for_each(|pair| o.put(pair[0], Value::Str(pair[1].to_vec()), None));
}

/// Puts all if none of the keys exists; whether it did.
fn put_new(o: &mut RespOracle, pairs: &[&[u8]], at: u64) -> bool {
    let free = pairs.chunks(2).all(|pair| o.get(pair[0], at).is_none());
    if free {
        put_all(o, pairs);
    }
    free
}

/// The deadline that `EX n` and its like mean; `None` for a number that is none, or not above 0.
fn deadline(unit: &[u8], n: &[u8], at: u64) -> Option<u64> {
    let n = integer(n).and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0)?;
    let ms = if unit.starts_with(b"E") { n.saturating_mul(1000) } else { n };
    Some(if unit.ends_with(b"AT") { ms } else { at.saturating_add(ms) })
}

fn set(o: &mut RespOracle, key: &[u8], value: &[u8], options: &[&[u8]], at: u64) -> Result<Reply, WrongType> {
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
                let [n, tail @ ..] = rest else { return Ok(Reply::Error) };
                rest = tail;
                expires = deadline(unit, n, at);
                if expires.is_none() {
                    return Ok(Reply::Error);
                }
            }
            _ => return Ok(Reply::Error),
        }
    }
    let old = if get { read::<Str>(o, key, at)?.cloned() } else { None };
    let there = o.get(key, at).is_some();
    let done = only.is_none_or(|must| must == there);
    if done {
        let expires = if keep { expiry(o, key, at) } else { expires };
        // An absolute time in the past: the key is gone at once.
        if expires.is_some_and(|t| t < at) {
            o.remove(key, at);
        } else {
            o.put(key, Value::Str(value.to_vec()), expires);
        }
    }
    Ok(match (get, done) {
        (true, _) => Reply::Bulk(old),
        (false, true) => OK,
        (false, false) => Reply::Bulk(None),
    })
}

fn getex(o: &mut RespOracle, key: &[u8], options: &[&[u8]], at: u64) -> Result<Reply, WrongType> {
    let unit = options.first().map(|unit| unit.to_ascii_uppercase());
    let (change, when) = match (unit.as_deref(), options) {
        (None, _) => (false, None),
        (Some(b"PERSIST"), [_]) => (true, None),
        (Some(unit @ (b"EX" | b"PX" | b"EXAT" | b"PXAT")), [_, n]) => (true, Some(deadline(unit, n, at))),
        _ => return Ok(Reply::Error),
    };
    let Some(held) = read::<Str>(o, key, at)?.cloned() else { return Ok(Reply::Bulk(None)) };
    match when {
        Some(None) => return Ok(Reply::Error),
        // A time in the past deletes the key.
        Some(Some(when)) if when <= at => drop(o.remove(key, at)),
        when if change => o.put(key, Value::Str(held.clone()), when.flatten()),
        _ => {}
    }
    Ok(Reply::Bulk(Some(held)))
}

fn add(o: &mut RespOracle, key: &[u8], by: Option<i64>, at: u64) -> Result<Reply, WrongType> {
    let Some(by) = by else { return Ok(Reply::Error) };
    let old = read::<Str>(o, key, at)?.map_or(Some(0), |s| integer(s));
    let Some(new) = old.and_then(|n| n.checked_add(by)) else { return Ok(Reply::Error) };
    change(o, key, at, |s: &mut Str| {
        *s = new.to_string().into_bytes();
        Reply::Int(new)
    })
}

fn set_range(
    o: &mut RespOracle,
    key: &[u8],
    offset: &[u8],
    value: &[u8],
    at: u64,
) -> Result<Reply, WrongType> {
    let Some(offset) = integer(offset).and_then(|n| usize::try_from(n).ok()) else { return Ok(Reply::Error) };
    // Nothing to write changes nothing, and makes no key.
    if value.is_empty() {
        return read::<Str>(o, key, at).map(|s| whole(s.map_or(0, Vec::len)));
    }
    if offset.saturating_add(value.len()) > LONGEST {
        return Ok(Reply::Error);
    }
    change(o, key, at, |s: &mut Str| {
        s.resize(s.len().max(offset + value.len()), 0);
        s[offset..offset + value.len()].copy_from_slice(value);
        whole(s.len())
    })
}

fn bit_offset(text: &[u8]) -> Option<usize> {
    integer(text).and_then(|n| usize::try_from(n).ok()).filter(|n| n / 8 < LONGEST)
}

fn bit(s: &[u8], offset: usize) -> bool {
    s.get(offset / 8).is_some_and(|byte| byte & (0x80 >> (offset % 8)) != 0)
}

fn bitop(o: &mut RespOracle, how: &[u8], to: &[u8], keys: &[&[u8]], at: u64) -> Result<Reply, WrongType> {
    let join: fn(u8, u8) -> u8 = match (how.to_ascii_uppercase().as_slice(), keys.len()) {
        (b"AND", _) => |a, b| a & b,
        (b"OR", _) => |a, b| a | b,
        (b"XOR", _) => |a, b| a ^ b,
        (b"NOT", 1) => |a, _| a,
        _ => return Ok(Reply::Error),
    };
    let inputs = keys.iter().map(|key| copy(o, key, at)).collect::<Result<Vec<Str>, WrongType>>()?;
    let len = inputs.iter().map(Vec::len).max().unwrap_or(0);
    // Short strings are filled up with zeros.
    let byte = |i: usize| inputs.iter().map(|s| s.get(i).copied().unwrap_or(0)).reduce(join).unwrap_or(0);
    let invert = how.eq_ignore_ascii_case(b"NOT");
    let result: Str = (0..len).map(|i| if invert { !byte(i) } else { byte(i) }).collect();
    if result.is_empty() {
        o.remove(to, at);
    } else {
        store(o, to, result, at);
    }
    Ok(whole(len))
}
