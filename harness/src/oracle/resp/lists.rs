//! Lists.

use super::RespOracle;
use super::commands::{Call, Run};
use super::number::integer;
use super::reply::{OK, Reply, bulks, whole};
use super::typed::{WrongType, change, copy, read};

type List = Vec<Vec<u8>>;

/// Runs a command on lists; `None` if it is none.
pub(super) fn run(o: &mut RespOracle, Call { name, args, at }: Call<'_>) -> Run {
    Some(match (name, args) {
        ("RPUSH" | "LPUSH" | "RPUSHX" | "LPUSHX", [key, elements @ ..]) if !elements.is_empty() => {
            let elements: List = elements.iter().map(|e| e.to_vec()).collect();
            push(o, key, &elements, name.starts_with('L'), name.ends_with('X'), at)
        }
        ("LPOP" | "RPOP", [key]) => pop(o, key, None, name == "LPOP", at),
        ("LPOP" | "RPOP", [key, count]) => match integer(count).and_then(|n| usize::try_from(n).ok()) {
            Some(count) => pop(o, key, Some(count), name == "LPOP", at),
            None => Ok(Reply::Error),
        },
        ("LLEN", [key]) => read::<List>(o, key, at).map(|l| whole(l.map_or(0, Vec::len))),
        ("LRANGE", [key, start, stop]) => match (integer(start), integer(stop)) {
            (Some(start), Some(stop)) => {
                copy::<List>(o, key, at).map(|l| bulks(l[range(l.len(), start, stop)].to_vec()))
            }
            _ => Ok(Reply::Error),
        },
        ("LINDEX", [key, index]) => match integer(index) {
            // Where there is no list, nothing is asked of the index.
            _ if o.get(key, at).is_none() => Ok(Reply::Bulk(None)),
            Some(index) => {
                copy::<List>(o, key, at).map(|l| Reply::Bulk(place(l.len(), index).map(|i| l[i].clone())))
            }
            None => Ok(Reply::Error),
        },
        ("LSET", [key, index, element]) => match (read::<List>(o, key, at), integer(index)) {
            (Err(wrong), _) => Err(wrong),
            (Ok(Some(list)), Some(index)) => match place(list.len(), index) {
                Some(i) => change(o, key, at, |list: &mut List| {
                    list[i] = element.to_vec();
                    OK
                }),
                None => Ok(Reply::Error),
            },
            _ => Ok(Reply::Error),
        },
        ("LINSERT", [key, side, pivot, element]) => insert(o, key, side, pivot, element, at),
        ("LREM", [key, count, element]) => match integer(count) {
            Some(count) => change(o, key, at, |list: &mut List| whole(remove(list, count, element))),
            None => Ok(Reply::Error),
        },
        ("LTRIM", [key, start, stop]) => match (integer(start), integer(stop)) {
            (Some(start), Some(stop)) => change(o, key, at, |list: &mut List| {
                *list = list[range(list.len(), start, stop)].to_vec();
                OK
            }),
            _ => Ok(Reply::Error),
        },
        ("RPOPLPUSH", [from, to]) => travel(o, (from, false), (to, true), at),
        ("LMOVE", [from, to, off, on]) => match (end(off), end(on)) {
            (Some(off), Some(on)) => travel(o, (from, off), (to, on), at),
            _ => Ok(Reply::Error),
        },
        ("LMPOP", _) => match ManyKeys::of(args) {
            Some(ManyKeys { keys, word, count }) => match end(word) {
                Some(front) => pop_of_many(o, keys, front, count, at),
                None => Ok(Reply::Error),
            },
            None => Ok(Reply::Error),
        },
        _ => return None,
    })
}

/// What LMPOP and ZMPOP are told: keys, a word that names an end, and how many.
pub(super) struct ManyKeys<'a> {
    pub(super) keys: &'a [&'a [u8]],
    pub(super) word: &'a [u8],
    pub(super) count: usize,
}

impl<'a> ManyKeys<'a> {
    /// Reads `numkeys key... WORD [COUNT n]`; `None` for what is an error.
    pub(super) fn of(args: &'a [&'a [u8]]) -> Option<ManyKeys<'a>> {
        let keys = many_keys(args);
        if keys.is_empty() {
            return None;
        }
        let (word, count) = match &args[1 + keys.len()..] {
            [word] => (word, 1),
            [word, option, n] if option.eq_ignore_ascii_case(b"COUNT") => {
                (word, usize::try_from(integer(n)?).ok().filter(|n| *n > 0)?)
            }
            _ => return None,
        };
        Some(ManyKeys { keys, word, count })
    }
}

/// The keys of `numkeys key...`; none where it is not written so.
pub(super) fn many_keys<'b, 'a>(args: &'b [&'a [u8]]) -> &'b [&'a [u8]] {
    let count = args.first().and_then(|n| integer(n)).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    args.get(1..).and_then(|rest| rest.get(..count)).unwrap_or_default()
}

/// Takes elements off the first of the lists that exists.
fn pop_of_many(
    o: &mut RespOracle,
    keys: &[&[u8]],
    front: bool,
    count: usize,
    at: u64,
) -> Result<Reply, WrongType> {
    for key in keys {
        if read::<List>(o, key, at)?.is_some() {
            let popped = pop(o, key, Some(count), front, at)?;
            return Ok(Reply::Array(vec![Reply::Bulk(Some(key.to_vec())), popped]));
        }
    }
    Ok(Reply::NullArray)
}

/// Whether a word means the list's front.
fn end(word: &[u8]) -> Option<bool> {
    match word.to_ascii_uppercase().as_slice() {
        b"LEFT" => Some(true),
        b"RIGHT" => Some(false),
        _ => None,
    }
}

/// An index, negative from the end.
fn place(len: usize, index: i64) -> Option<usize> {
    let len = len as i64;
    let i = if index < 0 { len.saturating_add(index) } else { index };
    (0..len).contains(&i).then_some(i as usize)
}

/// The places from `start` to `stop`, both inclusive, negative from the end, as LRANGE has it.
pub(super) fn range(len: usize, start: i64, stop: i64) -> std::ops::Range<usize> {
    let len = len as i64;
    let from = |i: i64| if i < 0 { len.saturating_add(i) } else { i };
    let (start, stop) = (from(start).max(0), from(stop).min(len - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

fn push(
    o: &mut RespOracle,
    key: &[u8],
    elements: &[Vec<u8>],
    front: bool,
    only_existing: bool,
    at: u64,
) -> Result<Reply, WrongType> {
    if only_existing && read::<List>(o, key, at)?.is_none() {
        return Ok(Reply::Int(0));
    }
    change(o, key, at, |list: &mut List| {
        if front {
            list.splice(0..0, elements.iter().rev().cloned());
        } else {
            list.extend_from_slice(elements);
        }
        whole(list.len())
    })
}

fn pop(
    o: &mut RespOracle,
    key: &[u8],
    count: Option<usize>,
    front: bool,
    at: u64,
) -> Result<Reply, WrongType> {
    if read::<List>(o, key, at)?.is_none() {
        return Ok(if count.is_some() { Reply::NullArray } else { Reply::Bulk(None) });
    }
    let off = change(o, key, at, |list: &mut List| {
        let count = count.unwrap_or(1).min(list.len());
        if front {
            list.drain(..count).collect()
        } else {
            let mut off = list.split_off(list.len() - count);
            off.reverse();
            off
        }
    })?;
    Ok(match count {
        Some(_) => bulks(off),
        None => Reply::Bulk(off.into_iter().next()),
    })
}

fn insert(
    o: &mut RespOracle,
    key: &[u8],
    side: &[u8],
    pivot: &[u8],
    element: &[u8],
    at: u64,
) -> Result<Reply, WrongType> {
    let behind = match side.to_ascii_uppercase().as_slice() {
        b"BEFORE" => 0,
        b"AFTER" => 1,
        _ => return Ok(Reply::Error),
    };
    if read::<List>(o, key, at)?.is_none() {
        return Ok(Reply::Int(0));
    }
    change(o, key, at, |list: &mut List| match list.iter().position(|e| e == pivot) {
        Some(i) => {
            list.insert(i + behind, element.to_vec());
            whole(list.len())
        }
        None => Reply::Int(-1),
    })
}

/// Removes the first so many equal elements; the last ones where the count is negative, all where it is 0.
fn remove(list: &mut List, count: i64, element: &[u8]) -> usize {
    let all = list.len();
    let mut left = if count == 0 { u64::MAX } else { count.unsigned_abs() };
    let mut keep = |e: &Vec<u8>| {
        let gone = left > 0 && e == element;
        left -= u64::from(gone);
        !gone
    };
    if count < 0 {
        list.reverse();
        list.retain(&mut keep);
        list.reverse();
    } else {
        list.retain(&mut keep);
    }
    all - list.len()
}

/// Takes an element off one end of a list and puts it on an end of another, or of the same.
fn travel(
    o: &mut RespOracle,
    (from, off_front): (&[u8], bool),
    (to, on_front): (&[u8], bool),
    at: u64,
) -> Result<Reply, WrongType> {
    if read::<List>(o, from, at)?.is_none() {
        return Ok(Reply::Bulk(None));
    }
    read::<List>(o, to, at)?;
    // Of a list that goes round, nothing vanishes in between: its expiry stays.
    let turn = |list: &mut List| {
        let element = if off_front { list.remove(0) } else { list.pop().unwrap_or_default() };
        list.insert(if on_front { 0 } else { list.len() }, element.clone());
        element
    };
    if from == to {
        return change(o, from, at, turn).map(|e| Reply::Bulk(Some(e)));
    }
    let element =
        change(
            o,
            from,
            at,
            |list: &mut List| {
                if off_front { list.remove(0) } else { list.pop().unwrap_or_default() }
            },
        )?;
    push(o, to, std::slice::from_ref(&element), on_front, false, at)?;
    Ok(Reply::Bulk(Some(element)))
}
