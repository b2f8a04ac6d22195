//! Counters: strings that hold a number.

use super::args;
use super::context::Ctx;
use super::error::{COUNTER_OVERFLOW, CommandError, NOT_FLOAT, NOT_INTEGER};
use crate::keyspace::{Str, Value};
use crate::resp::{Out, parse_integer};

type Done = Result<(), CommandError>;

fn add(cx: &mut Ctx<'_>, key: &[u8], by: i64, out: &mut Out) -> Done {
    let old = match cx.get::<Str>(key)? {
        None => 0,
        Some(text) => parse_integer(text).ok_or(NOT_INTEGER)?,
    };
    let new = old.checked_add(by).ok_or(COUNTER_OVERFLOW)?;
    let value = cx.get_or_new::<Str>(key)?;
    value.replace(new.to_string().as_bytes());
    cx.touch(key);
    out.int(new);
    Ok(())
}

/// INCR key
pub(super) fn incr(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    add(cx, argv[1], 1, out)
}

/// DECR key
pub(super) fn decr(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    add(cx, argv[1], -1, out)
}

/// INCRBY key n
pub(super) fn incrby(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    add(cx, argv[1], args::integer(argv[2])?, out)
}

/// DECRBY key n
pub(super) fn decrby(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let by =
        args::integer(argv[2])?.checked_neg().ok_or(CommandError::fixed("ERR decrement would overflow"))?;
    add(cx, argv[1], by, out)
}

/// INCRBYFLOAT key n. Logged as a SET of the sum, so that a replay does no arithmetic.
pub(super) fn incrbyfloat(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let key = argv[1];
    let old = match cx.get::<Str>(key)? {
        None => b"0".to_vec(),
        Some(text) => text.to_vec(),
    };
    let new = float_sum(&old, argv[2])?.into_bytes();
    let expires = cx.entry(key).and_then(|e| e.expires_at_ms());
    cx.put(key, Value::from(new.as_slice()), expires);
    cx.translate(&[b"SET", key, &new, b"KEEPTTL"]);
    out.bulk(&new);
    Ok(())
}

/// Digits after the point in Redis's form of a float.
const DECIMALS: usize = 17;

/// The sum of two floats in Redis's form: no exponent, no trailing zeros.
///
/// Redis adds 80-bit floats and prints 17 decimals. Numbers of moderate size are added here exactly, as
/// decimals, which gives the same digits while the sum is below about 30 and fewer stray ones above; others
/// are added as 64-bit floats.
fn float_sum(a: &[u8], b: &[u8]) -> Result<String, CommandError> {
    let (fa, fb) = (float(a)?, float(b)?);
    let overflow = CommandError::fixed("ERR increment would produce NaN or Infinity");
    if let Some(sum) = decimal(a).zip(decimal(b)).and_then(|(a, b)| a.checked_add(b)) {
        let unit = 10i128.pow(DECIMALS as u32).unsigned_abs();
        let digits = format!(
            "{}{}.{:017}",
            if sum < 0 { "-" } else { "" },
            sum.unsigned_abs() / unit,
            sum.unsigned_abs() % unit
        );
        return Ok(trimmed(digits));
    }
    let sum = fa + fb;
    if !sum.is_finite() {
        return Err(overflow);
    }
    Ok(trimmed(format!("{sum:.DECIMALS$}")))
}

fn trimmed(text: String) -> String {
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// A float as `strtold` reads it, but with nothing before or after it; infinities are floats, NaN is not.
fn float(text: &[u8]) -> Result<f64, CommandError> {
    let text = std::str::from_utf8(text).map_err(|_| NOT_FLOAT)?;
    text.parse::<f64>().ok().filter(|f| !f.is_nan()).ok_or(NOT_FLOAT)
}

/// A plain decimal number in units of 10^-17, if it has no more decimals than that and is not huge.
fn decimal(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let point = digits.iter().position(|b| *b == b'.').unwrap_or(digits.len());
    let (whole, part) = (&digits[..point], digits.get(point + 1..).unwrap_or(b""));
    if whole.len() > 20 || part.len() > DECIMALS {
        return None;
    }
    let mut value: i128 = 0;
    let padding = std::iter::repeat_n(&b'0', DECIMALS - part.len());
    for digit in whole.iter().chain(part).chain(padding) {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_added_and_printed_without_noise_or_exponents() {
        for (a, b, sum) in [
            ("10.50", "0.1", "10.6"),
            ("3.0", "1.1", "4.1"),
            ("5.0e3", "2.0e2", "5200"),
            ("-1.5", "1.5", "0"),
            ("0", "-0.25", "-0.25"),
            ("1", "-1e0", "0"),
            (".5", "1.", "1.5"),
        ] {
            assert_eq!(float_sum(a.as_bytes(), b.as_bytes()), Ok(sum.into()), "{a} + {b}");
        }
        for bad in ["", "abc", "1 ", " 1", "nan", "."] {
            assert_eq!(float_sum(b"1", bad.as_bytes()), Err(NOT_FLOAT), "{bad:?}");
        }
        assert!(float_sum(b"1", b"inf").is_err());
    }
}
