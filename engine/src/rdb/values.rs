//! Values, in every encoding that they have had.

use super::input::{Input, module_name};
use super::packed::{self, Broken, Element, Reader, pairs};
use super::*;
use crate::keyspace::Value;
use crate::value::{Gathered, Hash, List, Score, Set, SortedSet};
use std::borrow::Cow;

/// What stands where a value belongs.
pub(super) enum Found {
    /// A value.
    Value(Value),
    /// A collection without elements, which old bugs have written; it is no key.
    Nothing,
}

/// What a value's type is called, or `None` for a type that nobody knows.
pub(super) fn type_name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        TYPE_STRING => "string",
        TYPE_LIST | TYPE_LIST_ZIPLIST | TYPE_LIST_QUICKLIST | TYPE_LIST_QUICKLIST_2 => "list",
        TYPE_SET | TYPE_SET_INTSET | TYPE_SET_LISTPACK => "set",
        TYPE_ZSET | TYPE_ZSET_2 | TYPE_ZSET_ZIPLIST | TYPE_ZSET_LISTPACK => "sorted set",
        TYPE_HASH | TYPE_HASH_ZIPMAP | TYPE_HASH_ZIPLIST | TYPE_HASH_LISTPACK => "hash",
        TYPE_MODULE | TYPE_MODULE_2 => "value of a module",
        TYPE_STREAM | TYPE_STREAM_2 | TYPE_STREAM_3 => "stream",
        _ => return None,
    })
}

const TWICE_MEMBER: Broken = "a member stands there twice";
const TWICE_FIELD: Broken = "a field stands there twice";
const NO_SCORE: Broken = "a score is no number";

/// Reads a value of type `kind`.
pub(super) fn value(input: &mut Input<'_>, kind: u8) -> Result<Found, RdbError> {
    match kind {
        TYPE_STRING => Ok(Found::Value(match input.string()? {
            Cow::Borrowed(text) => Value::from(text),
            Cow::Owned(text) => Value::from(text),
        })),
        TYPE_LIST | TYPE_LIST_ZIPLIST | TYPE_LIST_QUICKLIST | TYPE_LIST_QUICKLIST_2 => {
            let list = list(input, kind)?;
            Ok(found(list.is_empty(), Value::from(list)))
        }
        TYPE_SET | TYPE_SET_INTSET | TYPE_SET_LISTPACK => {
            let set = set(input, kind)?;
            Ok(found(set.is_empty(), Value::from(set)))
        }
        TYPE_HASH | TYPE_HASH_ZIPMAP | TYPE_HASH_ZIPLIST | TYPE_HASH_LISTPACK => {
            let hash = hash(input, kind)?;
            Ok(found(hash.is_empty(), Value::from(hash)))
        }
        TYPE_ZSET | TYPE_ZSET_2 | TYPE_ZSET_ZIPLIST | TYPE_ZSET_LISTPACK => {
            let set = sorted_set(input, kind)?;
            Ok(found(set.is_empty(), Value::from(set)))
        }
        TYPE_STREAM | TYPE_STREAM_2 | TYPE_STREAM_3 => input.fail("streams are not supported"),
        TYPE_MODULE | TYPE_MODULE_2 => {
            let begin = input.at();
            let (name, version) = module_name(input.len()?);
            let what = format!(
                "it belongs to the module type '{name}' (version {version}); modules are not supported"
            );
            Err(RdbError { offset: begin as u64, what })
        }
        other => input.fail(format!("no value has the type {other}")),
    }
}

fn found(empty: bool, value: Value) -> Found {
    if empty { Found::Nothing } else { Found::Value(value) }
}

/// Reads a string that is a packed array, and gives its elements to `sink`.
fn unpack(
    input: &mut Input<'_>,
    read: Reader,
    sink: &mut dyn FnMut(Element<'_>) -> Result<(), Broken>,
) -> Result<(), RdbError> {
    let begin = input.at();
    let bytes = input.string()?;
    read(&bytes, sink).map_err(|what| RdbError { offset: begin as u64, what: what.into() })
}

fn unpack_pairs(
    input: &mut Input<'_>,
    read: Reader,
    sink: &mut dyn FnMut(Element<'_>, Element<'_>) -> Result<(), Broken>,
) -> Result<(), RdbError> {
    let begin = input.at();
    let bytes = input.string()?;
    pairs(read, &bytes, sink).map_err(|what| RdbError { offset: begin as u64, what: what.into() })
}

fn list(input: &mut Input<'_>, kind: u8) -> Result<List, RdbError> {
    let mut list = List::default();
    if kind == TYPE_LIST {
        for _ in 0..input.len()? {
            list.push_back(&input.string()?);
        }
        return Ok(list);
    }
    let nodes = if kind == TYPE_LIST_ZIPLIST { 1 } else { input.len()? };
    for _ in 0..nodes {
        let mut push = |element: Element<'_>| {
            list.push_back(&element.bytes());
            Ok(())
        };
        if kind != TYPE_LIST_QUICKLIST_2 {
            unpack(input, packed::ziplist, &mut push)?;
            continue;
        }
        // 1 is a node that holds one element as it stands, 2 a listpack.
        match input.len()? {
            1 => list.push_back(&input.string()?),
            2 => unpack(input, packed::listpack, &mut push)?,
            other => return input.fail(format!("unknown container {other} of a list's elements")),
        }
    }
    Ok(list)
}

fn set(input: &mut Input<'_>, kind: u8) -> Result<Set, RdbError> {
    let mut set = Gathered::default();
    let mut add = |member: &[u8]| if set.insert(member) { Ok(()) } else { Err(TWICE_MEMBER) };
    match kind {
        TYPE_SET_INTSET => unpack(input, packed::intset, &mut |e| add(&e.bytes()))?,
        TYPE_SET_LISTPACK => unpack(input, packed::listpack, &mut |e| add(&e.bytes()))?,
        _ => {
            for _ in 0..input.len()? {
                let begin = input.at();
                let member = input.string()?;
                add(&member).map_err(|what| RdbError { offset: begin as u64, what: what.into() })?;
            }
        }
    }
    Ok(set.set())
}

fn hash(input: &mut Input<'_>, kind: u8) -> Result<Hash, RdbError> {
    let mut hash = Hash::default();
    let mut put =
        |field: &[u8], value: Vec<u8>| if hash.insert(field, value) { Ok(()) } else { Err(TWICE_FIELD) };
    let reader: Reader = match kind {
        TYPE_HASH_ZIPMAP => packed::zipmap,
        TYPE_HASH_ZIPLIST => packed::ziplist,
        TYPE_HASH_LISTPACK => packed::listpack,
        _ => {
            for _ in 0..input.len()? {
                let begin = input.at();
                let (field, value) = (input.string()?, input.string()?);
                put(&field, value.into_owned())
                    .map_err(|what| RdbError { offset: begin as u64, what: what.into() })?;
            }
            return Ok(hash);
        }
    };
    unpack_pairs(input, reader, &mut |field, value| put(&field.bytes(), value.bytes().into_owned()))?;
    Ok(hash)
}

fn sorted_set(input: &mut Input<'_>, kind: u8) -> Result<SortedSet, RdbError> {
    let mut set = SortedSet::default();
    let mut add = |member: &[u8], score: Option<f64>| {
        let score = score.and_then(Score::new).ok_or(NO_SCORE)?;
        if set.insert(member, score).is_none() { Ok(()) } else { Err(TWICE_MEMBER) }
    };
    let reader: Reader = match kind {
        TYPE_ZSET_ZIPLIST => packed::ziplist,
        TYPE_ZSET_LISTPACK => packed::listpack,
        _ => return plain_sorted_set(input, kind),
    };
    unpack_pairs(input, reader, &mut |member, score| add(&member.bytes(), score.score()))?;
    Ok(set)
}

fn plain_sorted_set(input: &mut Input<'_>, kind: u8) -> Result<SortedSet, RdbError> {
    let (mut set, mut unpacked) = (SortedSet::default(), false);
    for _ in 0..input.len()? {
        let begin = input.at();
        let wrong = |what: Broken| RdbError { offset: begin as u64, what: what.into() };
        let member = input.string()?;
        let score = if kind == TYPE_ZSET { input.text_double()? } else { f64::from_le_bytes(input.array()?) };
        if score == 0.0 && score.is_sign_negative() {
            // The small form has no -0, and whether the set is a small one shows only at its end.
            set.unpack();
            unpacked = true;
        }
        if set.insert(&member, Score::new(score).ok_or(wrong(NO_SCORE))?).is_some() {
            return Err(wrong(TWICE_MEMBER));
        }
    }
    Ok(if unpacked { set.packed() } else { set })
}
