//! SORT with STORE, without patterns.

use super::RespOracle;
use super::commands::{Call, Run};
use super::number::{double, integer};
use super::reply::{Reply, whole};
use super::typed::{Value, WrongType, store};
use std::cmp::Ordering;

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
        let numbers = items.into_iter().map(|item| Some((weight(&item)?, item)));
        let Some(mut numbers) = numbers.collect::<Option<Vec<(f64, Vec<u8>)>>>() else { return Ok(None) };
        // Redis: what is equal as a number is in the order of its bytes.
        numbers.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(&b.1)));
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

/// What an item is sorted by, read as strtod reads it (sortCommandGeneric in sort.c): white space in front is none of it,
/// and of nothing at all it makes 0. `None` for what is no number; hexadecimal ones are not modelled.
fn weight(item: &[u8]) -> Option<f64> {
    if item.is_empty() {
        return Some(0.0);
    }
    let blank = |b: &&u8| b.is_ascii_whitespace() || **b == 0x0b;
    let text = &item[item.iter().take_while(blank).count()..];
    let n = double(text)?;
    // What is merely too small is out of range, as what is too large.
    let digits = text.iter().take_while(|b| !b.eq_ignore_ascii_case(&b'e'));
    let too_small = n.abs() < f64::MIN_POSITIVE && digits.into_iter().any(|b| (b'1'..=b'9').contains(b));
    (!too_small).then_some(n)
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

#[cfg(test)]
mod tests {
    use super::weight;

    /// Each was tried on redis-server 7.0.15, beside 0.1.
    #[test]
    fn numbers_are_read_as_redis_does() {
        let read = |text: &str| weight(text.as_bytes());
        for (text, n) in
            [("", 0.0), (" 1", 1.0), ("\u{b}1", 1.0), ("-0", 0.0), ("+1", 1.0), (".5", 0.5), ("5.", 5.0)]
        {
            assert_eq!(read(text), Some(n), "{text:?}");
        }
        for text in ["inf", "infinity", "InF"] {
            assert_eq!(read(text), Some(f64::INFINITY), "{text:?}");
        }
        for text in ["1 ", " ", "1e400", "1e-400", "1_0", "nan", "1\u{b}"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
