//! Numbers as Redis reads and writes them.

use num_bigint::{BigInt, BigUint, Sign};

/// A 64-bit integer. Redis takes only the canonical form: no "+1", no "01".
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let n: i64 = text.parse().ok()?;
    (n.to_string() == text).then_some(n)
}

/// A score or weight: a decimal number or an infinity, but not NaN. (C's hexadecimal form is not read.)
pub(super) fn double(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let n: f64 = text.parse().ok()?;
    // An infinity must be written as one: what is merely too large is out of range.
    let fits = n.is_finite() || text.to_ascii_lowercase().contains("inf");
    (fits && !n.is_nan()).then_some(n)
}

/// A number with a mantissa of 64 bits, as x86-64's `long double`, in which INCRBYFLOAT is documented to compute:
/// `mantissa * 2^exponent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Long {
    mantissa: BigInt,
    exponent: i64,
}

/// Bits of the mantissa.
const BITS: i64 = 64;
/// INCRBYFLOAT's documented precision: digits behind the point.
const DIGITS: u32 = 17;
/// Decimal exponents beyond this are not read: the type ends a little behind it.
const LARGEST: i64 = 4900;

impl Long {
    /// 0.
    pub(super) fn zero() -> Long {
        Long { mantissa: BigInt::ZERO, exponent: 0 }
    }

    /// The number nearest to a decimal one; `None` for what is none, and for infinities, which Redis does not keep.
    pub(super) fn parse(text: &[u8]) -> Option<Long> {
        let text = std::str::from_utf8(text).ok()?;
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (digits, power) = match digits.split_once(['e', 'E']) {
            Some((digits, power)) => (digits, power.parse::<i64>().ok()?),
            None => (digits, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) || power.abs() > LARGEST {
            return None;
        }
        let magnitude: BigUint = all.parse().ok()?;
        let power = power - i64::try_from(fraction.len()).ok()?;
        let ten = |n: i64| BigUint::from(10u32).pow(n.unsigned_abs() as u32);
        let (above, below) =
            if power < 0 { (magnitude, ten(power)) } else { (magnitude * ten(power), BigUint::from(1u32)) };
        Some(Long::nearest(negative, above, below))
    }

    /// The sum, rounded to the nearest.
    pub(super) fn plus(&self, other: &Long) -> Long {
        let least = self.exponent.min(other.exponent);
        let at_least = |l: &Long| l.mantissa.clone() << (l.exponent - least).unsigned_abs();
        let sum = at_least(self) + at_least(other);
        let rounded = Long::nearest(sum.sign() == Sign::Minus, sum.magnitude().clone(), 1u32.into());
        Long { exponent: rounded.exponent + least, ..rounded }
    }

    /// The number nearest to a fraction, the even one of two.
    fn nearest(negative: bool, above: BigUint, below: BigUint) -> Long {
        if above == BigUint::ZERO {
            return Long::zero();
        }
        let mut exponent = above.bits() as i64 - below.bits() as i64 - BITS;
        loop {
            let (above, below) = if exponent < 0 {
                (&above << exponent.unsigned_abs(), below.clone())
            } else {
                (above.clone(), &below << exponent.unsigned_abs())
            };
            let quotient = halves_to_even(&above, &below);
            // The first guess is short of the right exponent by one at the most.
            if (&above / &below).bits() as i64 <= BITS {
                let sign = if negative { Sign::Minus } else { Sign::Plus };
                return Long { mantissa: BigInt::from_biguint(sign, quotient), exponent };
            }
            exponent += 1;
        }
    }
}

/// A quotient, rounded to the nearest integer, the even one of two.
fn halves_to_even(above: &BigUint, below: &BigUint) -> BigUint {
    let (quotient, rest) = (above / below, above % below);
    let up = match (rest * 2u32).cmp(below) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient.bit(0),
        std::cmp::Ordering::Greater => true,
    };
    if up { quotient + 1u32 } else { quotient }
}

/// Without an exponent, with 17 digits behind the point, of which zeros at the end are left out.
impl std::fmt::Display for Long {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scaled = self.mantissa.magnitude() * BigUint::from(10u32).pow(DIGITS);
        let scaled = if self.exponent < 0 {
            halves_to_even(&scaled, &(BigUint::from(1u32) << self.exponent.unsigned_abs()))
        } else {
            scaled << self.exponent.unsigned_abs()
        };
        let digits = format!("{:0>width$}", scaled.to_string(), width = DIGITS as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - DIGITS as usize);
        let fraction = fraction.trim_end_matches('0');
        let sign = if self.mantissa.sign() == Sign::Minus && scaled != BigUint::ZERO { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        Long::parse(a.as_bytes()).unwrap().plus(&Long::parse(b.as_bytes()).unwrap()).to_string()
    }

    /// The first three are INCRBYFLOAT's documented examples; the others were seen in redis-server 7.0.15.
    #[test]
    fn sums_are_redis_sums() {
        for (a, b, expected) in [
            ("10.50", "0.1", "10.6"),
            ("10.6", "-5", "5.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0", "-0", "0"),
            ("-0.5", "0.5", "0"),
            ("1e-17", "0", "0.00000000000000001"),
            ("-1e-18", "0", "0"),
            ("3", "1e20", "100000000000000000000"),
            ("3", "1e19", "10000000000000000003"),
            ("100.1", "0", "100.1"),
            ("1000.1", "1", "1001.09999999999999998"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for bad in ["", "-", "x", "1x", " 1", "1 ", "e5", ".", "inf", "nan", "1e99999", "--1"] {
            assert_eq!(Long::parse(bad.as_bytes()), None, "{bad}");
        }
        for bad in ["", "x", "1x", " 1", "nan", "1e999"] {
            assert_eq!(double(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(double(b"-inf"), Some(f64::NEG_INFINITY));
        assert_eq!((integer(b"01"), integer(b"+1"), integer(b"-7")), (None, None, Some(-7)));
    }
}
