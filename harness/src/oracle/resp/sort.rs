//! SORT with STORE, without patterns.

use super::RespOracle;
use super::commands::{Call, Run};
use super::number::{double, integer};
use super::reply::{Reply, whole};
use super::typed::{Value, WrongType, store};

/// Runs `SORT key [ALPHA] [DESC] [LIMIT offset count] STORE destination`; `None` if it is another command.
pub(super) fn run(o: &mut RespOracle, Call { name, args, at }: Call<'_>) -> Run {
    let ("SORT", [key, options @ ..]) = (name, args) else { return None };
    let plan = Plan::of(options)?;
    Some(sorted(o, key, &plan, at).map(|sorted| match sorted {
        Some(sorted) => {
            let len = whole(sorted.len());
            store(o, plan.to, sorted, at);
            len
        }
        None => Reply::Error,
    }))
}

struct Plan<'a> {
    alpha: bool,
    descending: bool,
    limit: Option<(i64, i64)>,
    to: &'a [u8],
}

impl<'a> Plan<'a> {
    /// `None` for what is not modelled.
    fn of(mut options: &[&'a [u8]]) -> Option<Plan<'a>> {
        let (mut alpha, mut descending, mut limit, mut to) = (false, false, None, None);
        while let [option, rest @ ..] = options {
            options = rest;
            match (option.to_ascii_uppercase().as_slice(), rest) {
                (b"ALPHA", _) => alpha = true,
                (b"DESC", _) => descending = true,
                (b"LIMIT", [offset, count, rest @ ..]) => {
                    limit = Some((integer(offset)?, integer(count)?));
                    options = rest;
                }
                (b"STORE", [key, rest @ ..]) => {
                    to = Some(*key);
                    options = rest;
                }
                _ => return None,
            }
        }
        Some(Plan { alpha, descending, limit, to: to? })
    }
}

/// The elements in their order; `None` if they are to be numbers, and one is none.
fn sorted(o: &RespOracle, key: &[u8], plan: &Plan<'_>, at: u64) -> Result<Option<Vec<Vec<u8>>>, WrongType> {
    let mut items: Vec<Vec<u8>> = match o.get(key, at).map(|slot| &slot.value) {
        None => Vec::new(),
        Some(Value::List(list)) => list.clone(),
        Some(Value::Set(set)) => set.iter().cloned().collect(),
        Some(Value::Sorted(set)) => set.keys().cloned().collect(),
        Some(_) => return Err(WrongType),
    };
    if plan.alpha {
        items.sort_unstable();
    } else {
        let numbers = items.into_iter().map(|item| Some((double(&item)?, item)));
        let Some(mut numbers) = numbers.collect::<Option<Vec<(f64, Vec<u8>)>>>() else { return Ok(None) };
        // Redis: what is equal as a number is in the order of its bytes.
        numbers.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        items = numbers.into_iter().map(|(_, item)| item).collect();
    }
    if plan.descending {
        items.reverse();
    }
    let Some((offset, count)) = plan.limit else { return Ok(Some(items)) };
    let start = usize::try_from(offset).unwrap_or(0);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Some(items.into_iter().skip(start).take(count).collect()))
}

/// Whether a form of SORT is not modelled.
pub(super) fn is_unknown(name: &str, command: &[Vec<u8>]) -> bool {
    let options: Vec<&[u8]> = command.iter().skip(2).map(Vec::as_slice).collect();
    name == "SORT" && Plan::of(&options).is_none()
}

/// The keys that the arguments name.
pub(super) fn keys<'a>(args: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let [key, options @ ..] = args else { return Vec::new() };
    std::iter::once(*key).chain(Plan::of(options).map(|plan| plan.to)).collect()
}
