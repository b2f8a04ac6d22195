//! Hashes.

use super::RespOracle;
use super::commands::{Call, Run};
use super::number::{Long, integer};
use super::reply::{OK, Reply, flag, whole};
use super::typed::{Fields, WrongType, change, copy, read};

/// Runs a command on hashes; `None` if it is none.
pub(super) fn run(o: &mut RespOracle, Call { name, args, at }: Call<'_>) -> Run {
    Some(match (name, args) {
        ("HSET" | "HMSET", [key, pairs @ ..]) if !pairs.is_empty() && pairs.len() % 2 == 0 => {
            let new = change(o, key, at, |hash: &mut Fields| {
                pairs.chunks(2).filter(|p| hash.insert(p[0].to_vec(), p[1].to_vec()).is_none()).count()
            });
            new.map(|new| if name == "HSET" { whole(new) } else { OK })
        }
        ("HSETNX", [key, field, value]) => change(o, key, at, |hash: &mut Fields| {
            let free = !hash.contains_key(*field);
            hash.entry(field.to_vec()).or_insert_with(|| value.to_vec());
            flag(free)
        }),
        ("HDEL", [key, fields @ ..]) if !fields.is_empty() => change(o, key, at, |hash: &mut Fields| {
            whole(fields.iter().filter(|f| hash.remove(**f).is_some()).count())
        }),
        ("HINCRBY", [key, field, by]) => match (held(o, key, field, at), integer(by)) {
            (Err(wrong), _) => Err(wrong),
            (Ok(old), Some(by)) => {
                let old = old.map_or(Some(0), |old| integer(&old));
                match old.and_then(|old| old.checked_add(by)) {
                    Some(new) => put(o, key, field, new.to_string(), at).map(|()| Reply::Int(new)),
                    None => Ok(Reply::Error),
                }
            }
            (Ok(_), None) => Ok(Reply::Error),
        },
        ("HINCRBYFLOAT", [key, field, by]) => match (held(o, key, field, at), Long::parse(by)) {
            (Err(wrong), _) => Err(wrong),
            (Ok(old), Some(by)) => match old.map_or(Some(Long::zero()), |old| Long::parse(&old)) {
                Some(old) => {
                    let new = old.plus(&by).to_string();
                    put(o, key, field, new.clone(), at).map(|()| Reply::Bulk(Some(new.into_bytes())))
                }
                None => Ok(Reply::Error),
            },
            (Ok(_), None) => Ok(Reply::Error),
        },
        ("HGET", [key, field]) => held(o, key, field, at).map(Reply::Bulk),
        ("HMGET", [key, fields @ ..]) if !fields.is_empty() => copy(o, key, at).map(|hash: Fields| {
            Reply::Array(fields.iter().map(|f| Reply::Bulk(hash.get(*f).cloned())).collect())
        }),
        ("HGETALL", [key]) => copy(o, key, at).map(|hash: Fields| Reply::Pairs(hash.into_iter().collect())),
        ("HKEYS", [key]) => copy(o, key, at).map(|hash: Fields| Reply::Bag(hash.into_keys().collect())),
        ("HVALS", [key]) => copy(o, key, at).map(|hash: Fields| Reply::Bag(hash.into_values().collect())),
        ("HLEN", [key]) => read::<Fields>(o, key, at).map(|h| whole(h.map_or(0, Fields::len))),
        ("HEXISTS", [key, field]) => held(o, key, field, at).map(|v| flag(v.is_some())),
        ("HSTRLEN", [key, field]) => held(o, key, field, at).map(|v| whole(v.map_or(0, |v| v.len()))),
        _ => return None,
    })
}

fn held(o: &RespOracle, key: &[u8], field: &[u8], at: u64) -> Result<Option<Vec<u8>>, WrongType> {
    Ok(read::<Fields>(o, key, at)?.and_then(|hash| hash.get(field).cloned()))
}

fn put(o: &mut RespOracle, key: &[u8], field: &[u8], value: String, at: u64) -> Result<(), WrongType> {
    change(o, key, at, |hash: &mut Fields| {
        hash.insert(field.to_vec(), value.into_bytes());
    })
}
