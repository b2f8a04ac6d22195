//! SORT and SORT_RO.

use std::cmp::Ordering;

use super::args::{self, is};
use super::context::Ctx;
use super::error::{CommandError, SYNTAX, WRONG_TYPE};
use crate::keyspace::{Str, Value};
use crate::number::parse_double;
use crate::resp::Out;
use crate::value::{Hash, List};

type Done = Result<(), CommandError>;

/// `key [BY pattern] [LIMIT offset count] [GET pattern]... [ASC|DESC] [ALPHA] [STORE destination]`
struct Options<'a> {
    by: Option<&'a [u8]>,
    /// A pattern without a `*`: nothing is sorted.
    unsorted: bool,
    limit: Option<(i64, i64)>,
    get: Vec<&'a [u8]>,
    descending: bool,
    alpha: bool,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn read(mut rest: &[&'a [u8]], read_only: bool) -> Result<Options<'a>, CommandError> {
        let mut options = Options {
            by: None,
            unsorted: false,
            limit: None,
            get: Vec::new(),
            descending: false,
            alpha: false,
            store: None,
        };
        while let Some((word, more)) = rest.split_first() {
            rest = more;
            if is(word, "asc") {
                options.descending = false;
            } else if is(word, "desc") {
                options.descending = true;
            } else if is(word, "alpha") {
                options.alpha = true;
            } else if let (true, [offset, count, more @ ..]) = (is(word, "limit"), more) {
                options.limit = Some((args::integer(offset)?, args::integer(count)?));
                rest = more;
            } else if let (true, false, [key, more @ ..]) = (is(word, "store"), read_only, more) {
                options.store = Some(key);
                rest = more;
            } else if let (true, [pattern, more @ ..]) = (is(word, "by"), more) {
                options.by = Some(pattern);
                options.unsorted = !pattern.contains(&b'*');
                rest = more;
            } else if let (true, [pattern, more @ ..]) = (is(word, "get"), more) {
                options.get.push(pattern);
                rest = more;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }
}

/// What a pattern stands for with `item` in the place of its `*`: a string's value, or after `->` a hash's field.
fn look_up(cx: &mut Ctx<'_>, pattern: &[u8], item: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(item.to_vec());
    }
    let star = pattern.iter().position(|b| *b == b'*')?;
    let arrow = pattern[star + 1..].windows(2).position(|w| w == b"->").map(|at| star + 1 + at);
    // An arrow with nothing behind it is a part of the key's name.
    let arrow = arrow.filter(|at| at + 2 < pattern.len());
    let end = arrow.unwrap_or(pattern.len());
    let key = [&pattern[..star], item, &pattern[star + 1..end]].concat();
    match arrow {
        Some(at) => cx.read::<Hash>(&key).ok()??.get(&pattern[at + 2..]).map(<[u8]>::to_vec),
        None => cx.read::<Str>(&key).ok()?.map(|text| text.to_vec()),
    }
}

/// What an item is sorted by.
enum Weight {
    Number(f64),
    Text(Option<Vec<u8>>),
}

fn weigh(cx: &mut Ctx<'_>, options: &Options<'_>, item: &[u8]) -> Result<Weight, CommandError> {
    let text = match options.by {
        Some(pattern) => look_up(cx, pattern, item),
        None => Some(item.to_vec()),
    };
    if options.alpha {
        return Ok(Weight::Text(text));
    }
    number(text.as_deref())
        .map(Weight::Number)
        .ok_or(CommandError::fixed("ERR One or more scores can't be converted into double"))
}

/// A weight as strtod reads it, which Redis asks: white space in front is none of it, and of nothing at all it makes 0.
fn number(text: Option<&[u8]>) -> Option<f64> {
    let blank = |b: &&u8| b.is_ascii_whitespace() || **b == 0x0b;
    match text {
        None | Some([]) => Some(0.0),
        Some(text) => parse_double(&text[text.iter().take_while(blank).count()..]),
    }
}

fn compare(a: &(Weight, Vec<u8>), b: &(Weight, Vec<u8>)) -> Ordering {
    let by_weight = match (&a.0, &b.0) {
        (Weight::Number(a), Weight::Number(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Weight::Text(a), Weight::Text(b)) => a.cmp(b),
        _ => Ordering::Equal,
    };
    // Of equal numbers the items decide; of equal texts the order in which they are found.
    if matches!(a.0, Weight::Number(_)) { by_weight.then_with(|| a.1.cmp(&b.1)) } else { by_weight }
}

/// The items of a list, a set or a sorted set, and which of the two it is if they have an order.
fn items(cx: &mut Ctx<'_>, key: &[u8]) -> Result<(Vec<Vec<u8>>, Option<&'static str>), CommandError> {
    Ok(match cx.entry(key).map(|e| &mut e.value) {
        None => (Vec::new(), None),
        Some(Value::List(list)) => (list.iter().map(<[u8]>::to_vec).collect(), Some("list")),
        Some(Value::Set(set)) => (set.iter().map(<[u8]>::to_vec).collect(), None),
        Some(Value::SortedSet(set)) => {
            // As Redis does, and OBJECT ENCODING shows.
            set.unpack();
            (set.iter().map(|(m, _)| m.to_vec()).collect(), Some("zset"))
        }
        Some(_) => return Err(WRONG_TYPE),
    })
}

fn sorted(cx: &mut Ctx<'_>, key: &[u8], options: &Options<'_>) -> Result<Vec<Vec<u8>>, CommandError> {
    let (mut items, ordered) = items(cx, key)?;
    // A set has no order of its own: what is stored of it must be the same at every replay.
    let unsorted = options.unsorted && (ordered.is_some() || options.store.is_none());
    if unsorted {
        if options.descending && ordered == Some("zset") {
            items.reverse();
        }
    } else {
        let by_themselves = options.unsorted;
        let mut weighed = Vec::with_capacity(items.len());
        for item in items {
            let weight =
                if by_themselves { Weight::Text(Some(item.clone())) } else { weigh(cx, options, &item)? };
            weighed.push((weight, item));
        }
        weighed.sort_by(|a, b| if options.descending { compare(b, a) } else { compare(a, b) });
        items = weighed.into_iter().map(|(_, item)| item).collect();
    }
    let Some((offset, count)) = options.limit else { return Ok(items) };
    let len = items.len();
    let start = usize::try_from(offset.max(0)).unwrap_or(usize::MAX).min(len);
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(len - start);
    Ok(items.drain(start..start + count).collect())
}

fn sort_generic(cx: &mut Ctx<'_>, argv: &[&[u8]], read_only: bool, out: &mut Out) -> Done {
    let options = Options::read(&argv[2..], read_only)?;
    let items = sorted(cx, argv[1], &options)?;
    let mut results: Vec<Option<Vec<u8>>> = Vec::new();
    if options.get.is_empty() {
        results.extend(items.into_iter().map(Some));
    } else {
        for item in &items {
            for pattern in &options.get {
                results.push(look_up(cx, pattern, item));
            }
        }
    }
    let Some(destination) = options.store else {
        out.array(results.len());
        results.iter().for_each(|result| out.bulk_or_null(result.as_deref()));
        return Ok(());
    };
    out.count(results.len());
    let list: List = results.iter().map(|result| result.as_deref().unwrap_or_default()).collect();
    let len = list.len();
    cx.store(destination, (!list.is_empty()).then(|| Value::from(list)));
    if len > 0 {
        cx.count(len);
    }
    Ok(())
}

/// SORT key [BY pattern] [LIMIT offset count] [GET pattern]... [ASC|DESC] [ALPHA] [STORE destination]
pub(super) fn sort(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    sort_generic(cx, argv, false, out)
}

/// SORT_RO: SORT without STORE.
pub(super) fn sort_ro(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    sort_generic(cx, argv, true, out)
}

#[cfg(test)]
mod tests {
    use super::number;

    /// Each was tried on redis-server 7.0.15, beside 0.1.
    #[test]
    fn numbers_are_read_as_redis_does() {
        assert_eq!(number(None), Some(0.0));
        let read = |text: &str| number(Some(text.as_bytes()));
        for (text, n) in
            [("", 0.0), (" 1", 1.0), ("\u{b}1", 1.0), ("-0", 0.0), ("+1", 1.0), ("5.", 5.0), ("0x10", 16.0)]
        {
            assert_eq!(read(text), Some(n), "{text:?}");
        }
        for text in ["1 ", " ", "1e400", "1e-400", "1_0", "nan", "1\u{b}"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
