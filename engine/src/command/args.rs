//! Reading arguments.

use super::error::{CommandError, DB_RANGE, NOT_FLOAT, NOT_INTEGER, NOT_POSITIVE, SYNTAX};
use crate::keyspace::Keyspace;
use crate::number::parse_double;
use crate::resp::parse_integer;

/// A 64-bit integer.
pub(super) fn integer(arg: &[u8]) -> Result<i64, CommandError> {
    parse_integer(arg).ok_or(NOT_INTEGER)
}

/// A count that is not negative.
pub(super) fn count(arg: &[u8]) -> Result<usize, CommandError> {
    parse_integer(arg).and_then(|n| usize::try_from(n).ok()).ok_or(NOT_POSITIVE)
}

/// A double.
pub(super) fn double(arg: &[u8]) -> Result<f64, CommandError> {
    parse_double(arg).filter(|d| !d.is_nan()).ok_or(NOT_FLOAT)
}

/// A 64-bit integer that is no less than `least`; every other argument gets one error.
pub(super) fn at_least(least: i64, arg: &[u8], error: &'static str) -> Result<i64, CommandError> {
    parse_integer(arg).filter(|n| *n >= least).ok_or(CommandError::fixed(error))
}

/// An integer whose negative is one too.
pub(super) fn symmetric(arg: &[u8]) -> Result<i64, CommandError> {
    let number = integer(arg)?;
    if number == i64::MIN {
        return Err(CommandError::fixed(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    Ok(number)
}

/// Arguments.
type Words<'w, 'a> = &'w [&'a [u8]];

/// `numkeys key... rest`: the keys and the rest, for commands that want at least one key.
pub(super) fn counted_keys<'w, 'a>(
    argv: Words<'w, 'a>,
) -> Result<(Words<'w, 'a>, Words<'w, 'a>), CommandError> {
    let count = at_least(1, argv[0], "ERR numkeys should be greater than 0")?;
    usize::try_from(count).ok().and_then(|count| argv[1..].split_at_checked(count)).ok_or(SYNTAX)
}

/// The number of a database that is there.
pub(super) fn database(keyspace: &Keyspace, arg: &[u8]) -> Result<usize, CommandError> {
    let number = i32::try_from(integer(arg)?).map_err(|_| {
        CommandError::fixed("ERR value is out of range, value must between -2147483648 and 2147483647")
    })?;
    keyspace.number(number.into()).ok_or(DB_RANGE)
}

/// Whether an argument is `word`, in any case.
pub(super) fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// Turns a range with Redis's negative indexes into `from..to` within `len`; empty if it holds nothing.
pub(super) fn range(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let length = i64::try_from(len).unwrap_or(i64::MAX);
    let from = if start < 0 { (length.saturating_add(start)).max(0) } else { start };
    let to = if end < 0 { length.saturating_add(end) } else { end.min(length - 1) };
    if from > to || from >= length {
        return 0..0;
    }
    // Both lie within 0..len.
    from as usize..to as usize + 1
}

/// An index from the front or, negative, from the back; `None` if there is no such element.
pub(super) fn index(at: i64, len: usize) -> Option<usize> {
    let length = i64::try_from(len).ok()?;
    let at = if at < 0 { length.checked_add(at)? } else { at };
    usize::try_from(at).ok().filter(|i| *i < len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_from_both_ends() {
        for (start, end, len, expected) in [
            (0, -1, 5, 0..5),
            (-2, -1, 5, 3..5),
            (-100, 100, 5, 0..5),
            (3, 1, 5, 0..0),
            (5, 9, 5, 0..0),
            (0, -6, 5, 0..0),
            (0, -1, 0, 0..0),
            (i64::MIN, i64::MAX, 2, 0..2),
        ] {
            assert_eq!(range(start, end, len), expected, "{start} {end} of {len}");
        }
        assert_eq!((index(-1, 3), index(3, 3), index(-4, 3)), (Some(2), None, None));
    }
}
