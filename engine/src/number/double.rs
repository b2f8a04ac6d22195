//! Doubles: read as C's `strtod` reads them, printed as `%.17g` prints them.

use super::extended::Extended;

/// A double with nothing before or after it, as Redis takes it where a value is a double: no NaN, nothing that is
/// too large or too small to be told from an infinity or from 0.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    if text.first().is_none_or(u8::is_ascii_whitespace) {
        return None;
    }
    match scan(text)? {
        Scanned::Exact(value) => Some(value),
        Scanned::OutOfRange(_) => None,
    }
}

/// A double as it bounds a range: spaces may stand in front, nothing at all is 0, and what is too large is infinite.
pub fn parse_bound(text: &[u8]) -> Option<f64> {
    let blank = |b: &u8| b.is_ascii_whitespace() || *b == 0x0b;
    let start = text.iter().position(|b| !blank(b)).unwrap_or(0);
    if text.is_empty() {
        return Some(0.0);
    }
    match scan(&text[start..])? {
        Scanned::Exact(value) | Scanned::OutOfRange(value) => Some(value),
    }
}

enum Scanned {
    Exact(f64),
    /// C's library reports `ERANGE`, and gives this.
    OutOfRange(f64),
}

fn scan(text: &[u8]) -> Option<Scanned> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.trim_start_matches(['+', '-']);
    if digits.len() + 1 < text.len() {
        return None;
    }
    if digits.starts_with("0x") || digits.starts_with("0X") {
        let value = Extended::parse(text.as_bytes())?.to_f64();
        return Some(if value.is_finite() { Scanned::Exact(value) } else { Scanned::OutOfRange(value) });
    }
    let value: f64 = text.parse().ok()?;
    if value.is_nan() {
        return None;
    }
    let spelled = digits.starts_with(['i', 'I']);
    let mantissa = digits.split(['e', 'E']).next().unwrap_or("");
    let vanished = value == 0.0 && mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b));
    Some(if (value.is_infinite() && !spelled) || vanished {
        Scanned::OutOfRange(value)
    } else {
        Scanned::Exact(value)
    })
}

/// Significant digits: enough for every double to be read back as itself.
const DIGITS: i32 = 17;

/// A double as `%.17g` prints it: 17 significant digits without trailing zeros, with an exponent where that is below
/// -4 or above 16.
pub fn format_double(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    if value.fract() == 0.0 && value.abs() < 1e15 && !(value == 0.0 && value.is_sign_negative()) {
        // An integer that is exact in a double, which most scores are.
        return (value as i64).to_string();
    }
    let scientific = format!("{value:.*e}", DIGITS as usize - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let (whole, part) = if (-4..DIGITS).contains(&exponent) {
        let Ok(places) = usize::try_from(exponent) else {
            let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
            return format!("{sign}0.{zeros}{}", digits.trim_end_matches('0'));
        };
        digits.split_at(places + 1)
    } else {
        digits.split_at(1)
    };
    let part = part.trim_end_matches('0');
    let point = if part.is_empty() { "" } else { "." };
    if (-4..DIGITS).contains(&exponent) {
        return format!("{sign}{whole}{point}{part}");
    }
    let direction = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{whole}{point}{part}e{direction}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_printed_as_c_prints_them() {
        // The right column is printf's.
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-17.0, "-17"),
            (0.1, "0.10000000000000001"),
            (-0.5, "-0.5"),
            (0.0001, "0.0001"),
            (0.00012345, "0.00012344999999999999"),
            (1e-5, "1.0000000000000001e-05"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789012345678.0, "1.2345678901234568e+17"),
            (1e21, "1e+21"),
            (1e300, "1.0000000000000001e+300"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            // Halves go to the even digit.
            (1125899906842624.0 + 0.25, "1125899906842624.2"),
            (1125899906842624.0 + 0.75, "1125899906842624.8"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(format_double(value), text);
        }
    }

    #[test]
    fn doubles_are_read_as_c_reads_them() {
        for (text, value) in [
            ("1", Some(1.0)),
            ("+.5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("INF", Some(f64::INFINITY)),
            ("-infinity", Some(f64::NEG_INFINITY)),
            ("0x10", Some(16.0)),
            ("-0X1.8p3", Some(-12.0)),
            ("0e400", Some(0.0)),
            ("1e400", None),
            ("1e-400", None),
            ("nan", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("+-1", None),
            ("1e", None),
            ("0x", None),
            ("1_0", None),
        ] {
            assert_eq!(parse_double(text.as_bytes()), value, "{text:?}");
        }
        for (text, value) in
            [("", Some(0.0)), ("  2", Some(2.0)), ("  ", None), ("-1e400", Some(f64::NEG_INFINITY))]
        {
            assert_eq!(parse_bound(text.as_bytes()), value, "{text:?}");
        }
    }
}
