//! Numbers for a table's column: short, and honest about bounds.

use num_bigint::BigUint;
use unplug_faults::model::Count;

/// A count: whole up to six digits, then as `3.1e12`; `<=` in front where it is an upper bound.
pub fn count(count: &Count) -> String {
    let mark = if count.exact { "" } else { "<=" };
    format!("{mark}{}", big(&count.states, count.exact))
}

/// A number that fits a machine word, grouped by thousands.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Nanoseconds as milliseconds or seconds; `>=` where not every state was judged, so that it is a lower bound.
pub fn loss(nanos: Option<u64>, exhaustive: bool) -> String {
    let Some(nanos) = nanos else { return "-".into() };
    let mark = if exhaustive || nanos == 0 { "" } else { ">=" };
    // Cut, not rounded: a loss just under the window must not read as the window.
    let (whole, unit, tenth) = match nanos {
        0..1_000_000_000 => (nanos / 1_000_000, "ms", nanos / 100_000 % 10),
        _ => (nanos / 1_000_000_000, "s", nanos / 100_000_000 % 10),
    };
    format!("{mark}{whole}.{tenth} {unit}")
}

fn big(n: &BigUint, exact: bool) -> String {
    let digits = n.to_string();
    if digits.len() <= 6 {
        return digits.parse().map_or(digits, grouped);
    }
    // Cut to two digits; an upper bound must not become smaller than what it bounds, so it is raised.
    let exponent = digits.len() - 1;
    let lead: u32 = digits[..2].parse().unwrap_or_default();
    let more = digits[2..].bytes().any(|b| b != b'0');
    let lead = if more && !exact { lead + 1 } else { lead };
    let (lead, exponent) = if lead == 100 { (10, exponent + 1) } else { (lead, exponent) };
    format!("{}.{}e{exponent}", lead / 10, lead % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(n: &str, exact: bool) -> String {
        count(&Count { states: n.parse().unwrap(), exact })
    }

    #[test]
    fn counts_are_short() {
        assert_eq!(shown("0", true), "0");
        assert_eq!(shown("12345", true), "12,345");
        assert_eq!(shown("999999", true), "999,999");
        assert_eq!(shown("1000000", true), "1.0e6");
        assert_eq!(shown("3199999999999", true), "3.1e12");
    }

    #[test]
    fn a_bound_is_marked_and_never_shrinks() {
        assert_eq!(shown("12345", false), "<=12,345");
        assert_eq!(shown("3100000000001", false), "<=3.2e12");
        assert_eq!(shown("3100000000000", false), "<=3.1e12");
        assert_eq!(shown("9990000", false), "<=1.0e7");
    }

    #[test]
    fn a_loss_is_cut_and_marked() {
        assert_eq!(loss(None, true), "-");
        assert_eq!(loss(Some(999_999_999), true), "999.9 ms");
        assert_eq!(loss(Some(1_250_000_000), false), ">=1.2 s");
        assert_eq!(loss(Some(0), false), "0.0 ms");
    }
}
