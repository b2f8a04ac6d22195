//! Sets.

use super::RespOracle;
use super::commands::{Call, Run};
use super::number::integer;
use super::reply::{Reply, Said, flag, whole};
use super::typed::{Members, WrongType, change, copy, read, store};

/// Runs a command on sets; `None` if it is none. `said` is what the server is known to have replied: only it tells which
/// members SPOP took.
pub(super) fn run(o: &mut RespOracle, Call { name, args, at }: Call<'_>, said: Option<&Said>) -> Run {
    Some(match (name, args) {
        ("SADD", [key, members @ ..]) if !members.is_empty() => change(o, key, at, |set: &mut Members| {
            whole(members.iter().filter(|m| set.insert(m.to_vec())).count())
        }),
        ("SREM", [key, members @ ..]) if !members.is_empty() => {
            change(o, key, at, |set: &mut Members| whole(members.iter().filter(|m| set.remove(**m)).count()))
        }
        ("SMOVE", [from, to, member]) => smove(o, from, to, member, at),
        ("SCARD", [key]) => read::<Members>(o, key, at).map(|s| whole(s.map_or(0, Members::len))),
        ("SISMEMBER", [key, member]) => {
            read::<Members>(o, key, at).map(|s| flag(s.is_some_and(|s| s.contains(*member))))
        }
        ("SMISMEMBER", [key, members @ ..]) if !members.is_empty() => {
            let has = |s: &Members| members.iter().map(|m| flag(s.contains(*m))).collect();
            copy(o, key, at).map(|s| Reply::Array(has(&s)))
        }
        ("SMEMBERS", [key]) => copy(o, key, at).map(|s: Members| Reply::Bag(s.into_iter().collect())),
        // Which one it draws is its own affair.
        ("SRANDMEMBER", [key]) => read::<Members>(o, key, at).map(|s| match s {
            Some(_) => Reply::Any,
            None => Reply::Bulk(None),
        }),
        ("SINTER" | "SUNION" | "SDIFF", keys) if !keys.is_empty() => {
            algebra(o, name, keys, at).map(|s| Reply::Bag(s.into_iter().collect()))
        }
        ("SINTERSTORE" | "SUNIONSTORE" | "SDIFFSTORE", [to, keys @ ..]) if !keys.is_empty() => {
            algebra(o, name, keys, at).map(|result| {
                let len = whole(result.len());
                store(o, to, result, at);
                len
            })
        }
        ("SPOP", [key]) => pop(o, key, None, at, said),
        ("SPOP", [key, count]) => match integer(count).and_then(|n| usize::try_from(n).ok()) {
            Some(count) => pop(o, key, Some(count), at, said),
            None => Ok(Reply::Error),
        },
        _ => return None,
    })
}

fn smove(o: &mut RespOracle, from: &[u8], to: &[u8], member: &[u8], at: u64) -> Result<Reply, WrongType> {
    // Where there is no source, nothing is asked of the destination.
    let Some(source) = read::<Members>(o, from, at)? else { return Ok(Reply::Int(0)) };
    let there = source.contains(member);
    read::<Members>(o, to, at)?;
    if there && from != to {
        change(o, from, at, |set: &mut Members| set.remove(member))?;
        change(o, to, at, |set: &mut Members| set.insert(member.to_vec()))?;
    }
    Ok(flag(there))
}

/// What the first set has in common with, together with, or above the others.
fn algebra(o: &RespOracle, name: &str, keys: &[&[u8]], at: u64) -> Result<Members, WrongType> {
    let sets = keys.iter().map(|key| copy(o, key, at)).collect::<Result<Vec<Members>, WrongType>>()?;
    let combine = |a: Members, b: &Members| match name.as_bytes()[1] {
        b'I' => a.intersection(b).cloned().collect(),
        b'U' => a.union(b).cloned().collect(),
        _ => a.difference(b).cloned().collect(),
    };
    let mut sets = sets.into_iter();
    let first = sets.next().unwrap_or_default();
    Ok(sets.fold(first, |a, b| combine(a, &b)))
}

fn pop(
    o: &mut RespOracle,
    key: &[u8],
    count: Option<usize>,
    at: u64,
    said: Option<&Said>,
) -> Result<Reply, WrongType> {
    let Some(set) = read::<Members>(o, key, at)? else {
        return Ok(if count.is_some() { Reply::Array(Vec::new()) } else { Reply::Bulk(None) });
    };
    let wanted = count.unwrap_or(1).min(set.len());
    let taken: Members = match said.and_then(Said::strings) {
        Some(strings) => {
            let all = strings.len() == wanted && strings.iter().all(|m| set.contains(*m));
            let taken: Members = strings.into_iter().map(<[u8]>::to_vec).collect();
            if !all || taken.len() != wanted {
                return Ok(Reply::Impossible);
            }
            taken
        }
        // Nobody knows: `draws` has all that may be.
        None => set.iter().take(wanted).cloned().collect(),
    };
    change(o, key, at, |set: &mut Members| set.retain(|m| !taken.contains(m)))?;
    Ok(match count {
        Some(_) => Reply::Bag(taken.into_iter().collect()),
        None => Reply::Bulk(taken.into_iter().next()),
    })
}

/// What SPOP may take.
pub(super) enum Draws {
    /// Nothing is drawn, or there is no choice.
    One,
    /// Every way there is.
    Several(Vec<Vec<Vec<u8>>>),
    /// More ways than can be followed.
    TooMany,
}

/// More ways than this are not followed.
const MOST_DRAWS: u128 = 1 << 12;

/// The members that a command may take, in every way there is.
pub(super) fn draws(o: &RespOracle, name: &str, args: &[&[u8]], at: u64) -> Draws {
    let asked = match (name, args) {
        ("SPOP", [key]) => Some((key, 1)),
        ("SPOP", [key, count]) => integer(count).and_then(|n| usize::try_from(n).ok()).map(|n| (key, n)),
        _ => None,
    };
    let Some((key, count)) = asked else { return Draws::One };
    let Ok(Some(set)) = read::<Members>(o, key, at) else { return Draws::One };
    let members: Vec<&Vec<u8>> = set.iter().collect();
    if count == 0 || count >= members.len() {
        return Draws::One;
    }
    let few = count.min(members.len() - count) as u128;
    let ways = |so_far: u128, i: u128| so_far.saturating_mul(members.len() as u128 - i) / (i + 1);
    if (0..few).fold(1, ways) > MOST_DRAWS {
        return Draws::TooMany;
    }
    let mut draws: Vec<Vec<usize>> = vec![Vec::new()];
    for left in (0..count).rev() {
        // As many as are still to be drawn must be left behind this one.
        let longer = |draw: &Vec<usize>| {
            let from = draw.last().map_or(0, |last| last + 1);
            (from..members.len() - left).map(|next| [draw.as_slice(), &[next]].concat()).collect::<Vec<_>>()
        };
        draws = draws.iter().flat_map(longer).collect();
    }
    Draws::Several(draws.iter().map(|draw| draw.iter().map(|i| members[*i].clone()).collect()).collect())
}
