//! SCAN and its like: walks in pages, which give everything that is there throughout, and remember nothing.

use super::args::{self, is};
use super::context::Ctx;
use super::error::{CommandError, SYNTAX};
use super::keys::type_name;
use crate::glob;
use crate::number::format_double;
use crate::resp::Out;
use crate::value::{Hash, Set, SortedSet};

type Done = Result<(), CommandError>;

struct Options<'a> {
    pattern: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    count: usize,
}

impl<'a> Options<'a> {
    /// `keys`: whether it is keys that are walked, which have types.
    fn read(argv: &[&'a [u8]], keys: bool) -> Result<Options<'a>, CommandError> {
        let mut options = Options { pattern: None, kind: None, count: 10 };
        for option in argv.chunks(2) {
            match *option {
                [name, value] if is(name, "count") => {
                    let count = args::integer(value)?;
                    if count < 1 {
                        return Err(SYNTAX);
                    }
                    options.count = usize::try_from(count).unwrap_or(usize::MAX);
                }
                [name, value] if is(name, "match") => options.pattern = Some(value),
                [name, value] if keys && is(name, "type") => options.kind = Some(value),
                _ => return Err(SYNTAX),
            }
        }
        Ok(options)
    }

    fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

/// A cursor is a number of 64 bits, which Redis reads with strtoul: a sign turns it round.
fn cursor(arg: &[u8]) -> Result<u64, CommandError> {
    let (digits, turned) = match arg {
        // Nothing is left to complain of.
        b"" => return Ok(0),
        [b'-', digits @ ..] => (digits, true),
        [b'+', digits @ ..] => (digits, false),
        digits => (digits, false),
    };
    let number = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let number = number.and_then(|text| text.parse::<u64>().ok());
    let number = number.ok_or(CommandError::fixed("ERR invalid cursor"))?;
    Ok(if turned { number.wrapping_neg() } else { number })
}

fn page(next: u64, items: &[&[u8]], out: &mut Out) {
    out.array(2);
    out.bulk(next.to_string().as_bytes());
    out.array(items.len());
    items.iter().for_each(|item| out.bulk(item));
}

/// SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]
pub(super) fn scan(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let cursor = cursor(argv[1])?;
    let options = Options::read(&argv[2..], true)?;
    let now = cx.now_ms;
    let (next, found) = cx.database().scan(cursor, options.count);
    let live = found.into_iter().filter(|(key, entry)| {
        !entry.is_due(now)
            && options.matches(key)
            && options.kind.is_none_or(|kind| is(kind, type_name(&entry.value)))
    });
    let keys: Vec<&[u8]> = live.map(|(key, _)| key).collect();
    page(next, &keys, out);
    Ok(())
}

/// SSCAN key cursor [MATCH pattern] [COUNT n]
pub(super) fn sscan(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let cursor = cursor(argv[2])?;
    let Some(set) = cx.read::<Set>(argv[1])? else {
        page(0, &[], out);
        return Ok(());
    };
    let options = Options::read(&argv[3..], false)?;
    let (members, next) = set.scan(cursor, options.count);
    let members: Vec<&[u8]> = members.filter(|member| options.matches(member)).collect();
    page(next, &members, out);
    Ok(())
}

/// HSCAN key cursor [MATCH pattern] [COUNT n]
pub(super) fn hscan(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let cursor = cursor(argv[2])?;
    let Some(hash) = cx.read::<Hash>(argv[1])? else {
        page(0, &[], out);
        return Ok(());
    };
    let options = Options::read(&argv[3..], false)?;
    let (fields, next) = hash.scan(cursor, options.count);
    let found = fields.filter(|(field, _)| options.matches(field));
    let items: Vec<&[u8]> = found.flat_map(|(field, value)| [field, value]).collect();
    page(next, &items, out);
    Ok(())
}

/// A score as ZSCAN gives it. What Redis stores in its small form are integers where they are such, without an exponent.
fn shown(score: f64, small: bool) -> String {
    let integer = score.fract() == 0.0 && score.abs() <= (i64::MAX / 2) as f64;
    if small && integer { (score as i64).to_string() } else { format_double(score) }
}

/// ZSCAN key cursor [MATCH pattern] [COUNT n]
pub(super) fn zscan(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let cursor = cursor(argv[2])?;
    let Some(set) = cx.read::<SortedSet>(argv[1])? else {
        page(0, &[], out);
        return Ok(());
    };
    let options = Options::read(&argv[3..], false)?;
    let (members, next) = set.scan(cursor, options.count);
    let found: Vec<(&[u8], String)> = members
        .filter(|(member, _)| options.matches(member))
        .map(|(member, score)| (member, shown(score.get(), set.is_small())))
        .collect();
    let items: Vec<&[u8]> = found.iter().flat_map(|(member, score)| [*member, score.as_bytes()]).collect();
    page(next, &items, out);
    Ok(())
}
