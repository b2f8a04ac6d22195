//! Intersections, unions and differences of sets.

use super::args::{self, is};
use super::context::Ctx;
use super::error::{CommandError, SYNTAX};
use crate::keyspace::Value;
use crate::resp::Out;
use crate::value::Set;

type Done = Result<(), CommandError>;
/// What the sets of some keys give; a key that is not there is an empty set.
type Combine = for<'a> fn(&[Option<&'a Set>]) -> Set;

/// The sets of `keys`; an error if one is of another type.
fn look_up<'a>(cx: &'a mut Ctx<'_>, keys: &[&[u8]]) -> Result<Vec<Option<&'a Set>>, CommandError> {
    for key in keys {
        cx.read::<Set>(key)?;
    }
    let cx = &*cx;
    Ok(keys.iter().map(|key| cx.peek::<Set>(key)).collect())
}

/// Gives `sink` the members that all sets have, until it wants no more.
fn intersect<'a>(sets: &[Option<&'a Set>], sink: &mut dyn FnMut(&'a [u8]) -> bool) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<&Set>>>() else { return };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    for member in smallest.iter().filter(|member| others.iter().all(|set| set.contains(member))) {
        if !sink(member) {
            return;
        }
    }
}

fn intersection(sets: &[Option<&Set>]) -> Set {
    let mut result = Set::default();
    intersect(sets, &mut |member| {
        result.insert(member);
        true
    });
    result
}

fn union(sets: &[Option<&Set>]) -> Set {
    sets.iter().flatten().flat_map(|set| set.iter()).collect()
}

fn difference(sets: &[Option<&Set>]) -> Set {
    let Some((Some(first), others)) = sets.split_first() else { return Set::default() };
    let elsewhere = |member: &&[u8]| others.iter().flatten().any(|set| set.contains(member));
    first.iter().filter(|member| !elsewhere(member)).collect()
}

fn show(cx: &mut Ctx<'_>, keys: &[&[u8]], combine: Combine, out: &mut Out) -> Done {
    let result = combine(&look_up(cx, keys)?);
    out.set(result.len());
    result.iter().for_each(|member| out.bulk(member));
    Ok(())
}

fn store(cx: &mut Ctx<'_>, argv: &[&[u8]], combine: Combine, out: &mut Out) -> Done {
    let result = combine(&look_up(cx, &argv[2..])?);
    out.count(result.len());
    cx.store(argv[1], (!result.is_empty()).then(|| Value::from(result)));
    Ok(())
}

/// SINTER key...
pub(super) fn sinter(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, &argv[1..], intersection, out)
}

/// SINTERSTORE destination key...
pub(super) fn sinterstore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    store(cx, argv, intersection, out)
}

/// SUNION key...
pub(super) fn sunion(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, &argv[1..], union, out)
}

/// SUNIONSTORE destination key...
pub(super) fn sunionstore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    store(cx, argv, union, out)
}

/// SDIFF key...
pub(super) fn sdiff(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, &argv[1..], difference, out)
}

/// SDIFFSTORE destination key...
pub(super) fn sdiffstore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    store(cx, argv, difference, out)
}

/// SINTERCARD numkeys key... [LIMIT n]
pub(super) fn sintercard(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (keys, rest) = args::counted_keys(&argv[1..]).map_err(|error| {
        if error == SYNTAX {
            CommandError::fixed("ERR Number of keys can't be greater than number of args")
        } else {
            error
        }
    })?;
    let mut limit = 0;
    for option in rest.chunks(2) {
        match option {
            [name, n] if is(name, "limit") => limit = args::at_least(0, n, "ERR LIMIT can't be negative")?,
            _ => return Err(SYNTAX),
        }
    }
    let mut found = 0;
    intersect(&look_up(cx, keys)?, &mut |_| {
        found += 1;
        found != limit
    });
    out.int(found);
    Ok(())
}
