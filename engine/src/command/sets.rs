//! Sets, one at a time.

use super::args;
use super::context::Ctx;
use super::error::{CommandError, SYNTAX};
use crate::keyspace::Value;
use crate::resp::Out;
use crate::value::Set;

type Done = Result<(), CommandError>;

/// SADD key member...
pub(super) fn sadd(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let set = cx.get_or_new::<Set>(argv[1])?;
    let added = set.extend(&argv[2..]);
    if added > 0 {
        cx.touch(argv[1]);
        cx.count(added);
    }
    out.count(added);
    Ok(())
}

/// SREM key member...
pub(super) fn srem(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (mut removed, mut empty) = (0, false);
    if let Some(set) = cx.get::<Set>(argv[1])? {
        removed = argv[2..].iter().filter(|member| set.remove(member)).count();
        empty = set.is_empty();
    }
    if removed > 0 {
        cx.changed_to(argv[1], empty);
        cx.count(removed);
    }
    out.count(removed);
    Ok(())
}

/// SISMEMBER key member
pub(super) fn sismember(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let set = cx.read::<Set>(argv[1])?;
    out.int(i64::from(set.is_some_and(|set| set.contains(argv[2]))));
    Ok(())
}

/// SMISMEMBER key member...
pub(super) fn smismember(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let set = cx.read::<Set>(argv[1])?;
    out.array(argv.len() - 2);
    for member in &argv[2..] {
        out.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

/// SMEMBERS key
pub(super) fn smembers(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    match cx.read::<Set>(argv[1])? {
        None => out.set(0),
        Some(set) => {
            out.set(set.len());
            set.iter().for_each(|member| out.bulk(member));
        }
    }
    Ok(())
}

/// SCARD key
pub(super) fn scard(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let len = cx.read::<Set>(argv[1])?.map_or(0, Set::len);
    out.count(len);
    Ok(())
}

/// SMOVE source destination member
pub(super) fn smove(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (from, to, member) = (argv[1], argv[2], argv[3]);
    // Both types are checked before anything is taken.
    cx.expire_if_due(cx.db, to);
    let Some(source) = cx.get::<Set>(from)? else {
        out.int(0);
        return Ok(());
    };
    let present = source.contains(member);
    cx.get::<Set>(to)?;
    if present && from != to {
        if let Some(source) = cx.get::<Set>(from)? {
            source.remove(member);
            let empty = source.is_empty();
            cx.changed_to(from, empty);
        }
        if cx.get_or_new::<Set>(to)?.insert(member) {
            cx.touch(to);
            cx.count(2);
        }
        if sabotaged!("smove-logged-by-half") {
            cx.translate(&[b"SREM", from, member]);
        }
    }
    out.int(i64::from(present));
    Ok(())
}

/// Takes members out of a set that has them, and logs which: a replay draws nothing.
fn take(cx: &mut Ctx<'_>, key: &[u8], members: &[Vec<u8>]) -> Done {
    let Some(set) = cx.get::<Set>(key)? else { return Ok(()) };
    members.iter().for_each(|member| {
        set.remove(member);
    });
    let left = set.len();
    if left * 5 <= members.len() {
        // As in Redis, the few that are left become a new set, in the form that suits them.
        *set = set.iter().collect();
    }
    cx.changed_to(key, left == 0);
    cx.count(members.len());
    if sabotaged!("spop-logged-as-itself") {
        cx.translate(&[b"SPOP", key, members.len().to_string().as_bytes()]);
    } else if left == 0 {
        cx.translate(&[b"DEL", key]);
    } else {
        let mut argv: Vec<&[u8]> = vec![b"SREM", key];
        argv.extend(members.iter().map(Vec::as_slice));
        cx.translate(&argv);
    }
    Ok(())
}

/// SPOP key [count]
pub(super) fn spop(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    if argv.len() > 3 {
        return Err(SYNTAX);
    }
    let count = argv.get(2).map(|n| args::count(n)).transpose()?;
    let len = cx.get::<Set>(argv[1])?.map_or(0, |set| set.len());
    let places = cx.hooks.random.places(count.unwrap_or(1), len);
    let set = cx.peek::<Set>(argv[1]);
    let members: Vec<Vec<u8>> = if places.len() == len {
        set.into_iter().flat_map(Set::iter).map(<[u8]>::to_vec).collect()
    } else {
        places.iter().filter_map(|place| set?.at(*place)).map(<[u8]>::to_vec).collect()
    };
    match count {
        None => out.bulk_or_null(members.first().map(Vec::as_slice)),
        Some(_) => {
            out.set(members.len());
            members.iter().for_each(|member| out.bulk(member));
        }
    }
    if members.is_empty() { Ok(()) } else { take(cx, argv[1], &members) }
}

/// SRANDMEMBER key [count]
pub(super) fn srandmember(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    if argv.len() > 3 {
        return Err(SYNTAX);
    }
    let count = argv.get(2).map(|n| args::symmetric(n)).transpose()?;
    let len = cx.read::<Set>(argv[1])?.map_or(0, Set::len);
    if len == 0 {
        match count {
            Some(_) => out.array(0),
            None => out.null(),
        }
        return Ok(());
    }
    let Some(Value::Set(set)) = cx.keyspace.dbs[cx.db].get(argv[1]).map(|e| &e.value) else { return Ok(()) };
    let (places, total) = cx.hooks.random.draw(count.unwrap_or(1), len);
    if count.is_some() {
        out.array(total);
    }
    if total == len && count.is_some_and(|count| count > 0) {
        set.iter().for_each(|member| out.bulk(member));
    } else {
        places.for_each(|place| out.bulk_or_null(set.at(place)));
    }
    Ok(())
}
