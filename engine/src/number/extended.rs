//! The 80-bit floats of x86, which Redis adds in INCRBYFLOAT and HINCRBYFLOAT: 64 bits of mantissa, correctly
//! rounded, so that the sums have Redis's digits on every machine.

use num_bigint::{BigInt, BigUint, Sign};

/// Bits of the mantissa.
const BITS: u64 = 64;
/// The exponent of the last bit of the smallest number.
const LOWEST: i64 = -16445;
/// No number is 2 to this or more.
const TOP: i64 = 16384;
/// Digits after the point in Redis's form of a float.
const DECIMALS: usize = 17;
/// Longest text that Redis takes for a float.
const LONGEST: usize = 5 * 1024;

/// A float: `mantissa * 2^exponent`, or an infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    negative: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Finite { mantissa: u64, exponent: i64 },
    Infinite,
}

impl Extended {
    /// 0.
    pub const ZERO: Extended = Extended { negative: false, kind: Kind::Finite { mantissa: 0, exponent: 0 } };

    /// Reads a float as `strtold` does, but with nothing before or after it; infinities are floats, NaN is not, nor
    /// is what is too large or too small.
    pub fn parse(text: &[u8]) -> Option<Extended> {
        if text.len() >= LONGEST {
            return None;
        }
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
            return Some(Extended { negative, kind: Kind::Infinite });
        }
        let hex = digits.len() > 2 && digits[..2].eq_ignore_ascii_case(b"0x");
        let (radix, mark, digits) = if hex { (16, b'p', &digits[2..]) } else { (10, b'e', digits) };
        let end = digits.iter().position(|b| b.eq_ignore_ascii_case(&mark));
        let (number, shift) = match end {
            Some(end) => (&digits[..end], exponent(&digits[end + 1..])?),
            None => (digits, 0),
        };
        let point = number.iter().position(|b| *b == b'.');
        let joined: Vec<u8> = match point {
            Some(at) => [&number[..at], &number[at + 1..]].concat(),
            None => number.to_vec(),
        };
        let part = point.map_or(0, |at| number.len() - at - 1) as i64;
        if joined.iter().any(|b| *b == b'_' || *b == b'+') {
            return None;
        }
        let whole = BigUint::parse_bytes(&joined, radix)?;
        if whole == BigUint::ZERO {
            return Some(Extended { negative, ..Extended::ZERO });
        }
        let kind = if hex { round(whole, shift - 4 * part) } else { decimal(whole, shift - part) };
        kind.filter(|kind| *kind != Kind::Infinite && !kind.is_zero()).map(|kind| Extended { negative, kind })
    }

    /// Whether it is an infinity.
    pub fn is_infinite(self) -> bool {
        self.kind == Kind::Infinite
    }

    /// The sum, if that is a finite number.
    pub fn checked_add(self, other: Extended) -> Option<Extended> {
        let (Kind::Finite { exponent: a, .. }, Kind::Finite { exponent: b, .. }) = (self.kind, other.kind)
        else {
            return None;
        };
        let unit = a.min(b);
        let sum = self.scaled(unit) + other.scaled(unit);
        let (sign, magnitude) = sum.into_parts();
        let kind = round(magnitude, unit).filter(|kind| *kind != Kind::Infinite)?;
        Some(Extended { negative: sign == Sign::Minus, kind })
    }

    /// In units of `2^unit`, which must not be above its own.
    fn scaled(self, unit: i64) -> BigInt {
        let Kind::Finite { mantissa, exponent } = self.kind else { return BigInt::ZERO };
        let magnitude = BigInt::from(mantissa) << (exponent - unit).max(0) as u64;
        if self.negative { -magnitude } else { magnitude }
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        let magnitude = match self.kind {
            Kind::Infinite => f64::INFINITY,
            // In two steps, since neither power need be a double where the product is one.
            Kind::Finite { mantissa, exponent } => {
                let half = exponent.clamp(-2200, 2200) as i32 / 2;
                let rest = exponent.clamp(-2200, 2200) as i32 - half;
                mantissa as f64 * 2f64.powi(half) * 2f64.powi(rest)
            }
        };
        if self.negative { -magnitude } else { magnitude }
    }
}

impl Kind {
    fn is_zero(self) -> bool {
        matches!(self, Kind::Finite { mantissa: 0, .. })
    }
}

/// Redis's form: 17 decimals, rounded, without trailing zeros and without an exponent.
impl std::fmt::Display for Extended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let Kind::Finite { mantissa, exponent } = self.kind else { return write!(f, "{sign}inf") };
        let scaled = BigUint::from(mantissa) * BigUint::from(10u8).pow(DECIMALS as u32);
        let units = match u64::try_from(exponent) {
            Ok(up) => scaled << up,
            Err(_) => halved(scaled, exponent.unsigned_abs()),
        };
        let digits = format!("{:0>1$}", units.to_string(), DECIMALS + 1);
        let (whole, part) = digits.split_at(digits.len() - DECIMALS);
        match (whole, part.trim_end_matches('0')) {
            ("0", "") => write!(f, "0"),
            (whole, "") => write!(f, "{sign}{whole}"),
            (whole, part) => write!(f, "{sign}{whole}.{part}"),
        }
    }
}

/// What stands behind the `e` or the `p`; clamped to what is far out of range.
fn exponent(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().fold(0i64, |n, d| (n * 10 + i64::from(d - b'0')).min(1_000_000));
    Some(if text[0] == b'-' { -size } else { size })
}

/// `number / 2^by`, rounded to the nearest integer, halves to even.
fn halved(number: BigUint, by: u64) -> BigUint {
    if by == 0 {
        return number;
    }
    let (half, odd) = (number.bit(by - 1), number.bit(by));
    let above = half && number.trailing_zeros().is_some_and(|zeros| zeros < by - 1);
    let quotient = number >> by;
    if half && (above || odd) { quotient + 1u8 } else { quotient }
}

/// `number * 2^exponent` as the nearest float.
fn round(number: BigUint, exponent: i64) -> Option<Kind> {
    let surplus = (number.bits() as i64 - BITS as i64).max(LOWEST - exponent).max(0);
    let mut number = halved(number, surplus as u64);
    let mut exponent = exponent + surplus;
    if number.bits() > BITS {
        // Rounded up to a power of two.
        number >>= 1u8;
        exponent += 1;
    }
    if number.bits() as i64 + exponent > TOP {
        return Some(Kind::Infinite);
    }
    Some(Kind::Finite { mantissa: u64::try_from(number).ok()?, exponent })
}

/// `number * 10^exponent` as the nearest float.
fn decimal(number: BigUint, exponent: i64) -> Option<Kind> {
    let digits = number.bits() as i64 / 3;
    if exponent > 5_000 {
        return Some(Kind::Infinite);
    }
    if exponent + digits < -5_100 {
        return Some(Kind::Finite { mantissa: 0, exponent: 0 });
    }
    let power = BigUint::from(10u8).pow(exponent.unsigned_abs() as u32);
    if exponent >= 0 {
        return round(number * power, 0);
    }
    // Two bits more than are kept, and one that says whether anything follows.
    let shift = (power.bits() + BITS + 2).saturating_sub(number.bits());
    let number = number << shift;
    let quotient = &number / &power;
    let rest = u8::from(&quotient * power != number);
    round((quotient << 1u8) + rest, -(shift as i64) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        Some(Extended::parse(a.as_bytes())?.checked_add(Extended::parse(b.as_bytes())?)?.to_string())
    }

    #[test]
    fn sums_have_the_digits_of_redis() {
        // The right column is what redis-server 7.0.15 answers to SET k A, INCRBYFLOAT k B.
        for (a, b, expected) in [
            ("10.50", "0.1", "10.6"),
            ("3.0", "1.1", "4.1"),
            ("5.0e3", "2.0e2", "5200"),
            ("-1.5", "1.5", "0"),
            ("0", "-0.25", "-0.25"),
            (".5", "1.", "1.5"),
            ("0x10", "0", "16"),
            ("1e-18", "0", "0"),
            ("-1e-18", "0", "0"),
            ("1000000.1", "0.2", "1000000.30000000000001137"),
            ("123456789.123", "0.001", "123456789.12399999999615829"),
            ("1e18", "0.5", "1000000000000000000.5"),
            ("9007199254740993", "0.1", "9007199254740993.099609375"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("1e30", "1.5", "1000000000000000000024696061952"),
            ("0.1", "1e-17", "0.10000000000000001"),
            ("3.14159265358979", "1e5", "100003.14159265358978956"),
            ("1e-4940", "0", "0"),
            ("1e4000", "-1e4000", "0"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
        }
        for bad in ["", "abc", "1 ", " 1", "nan", ".", "1e5000", "1e-5000", "+-1", "0x", "inf", "1__0"] {
            assert_eq!(sum("1", bad), None, "{bad:?}");
        }
    }
}
