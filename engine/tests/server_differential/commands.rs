//! Commands made of templates.

use crate::templates::{HASHES, KEYS, LISTS, SETS, SORTED_SETS, STRINGS};
use proptest::prelude::*;

/// A command's arguments.
pub(crate) type Words = Vec<String>;

const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "2",
    "7",
    "-3",
    "x",
    "xy",
    "3.5",
    "9223372036854775807",
    "1e2",
    "01",
    "*",
    "m1",
    "*x",
    "a text of thirty-two characters!",
    "a text that is longer than what Redis stores with its header",
];
const COUNTS: &[&str] = &["0", "1", "2", "3", "5", "-1", "-2", "-4", "20", "1.5", "y"];
const MEMBERS: &[&str] =
    &["m0", "m1", "m2", "m3", "m10", "m11", "m100", "a", "b", "", "7", "long member of a set"];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "1.5",
    "-0",
    "0.1",
    "3.0",
    "1e300",
    "-1e300",
    "inf",
    "-inf",
    "+inf",
    "1e17",
    "123456789012345678",
    "0.30000000000000004",
    "1e-5",
    "nan",
    "1e400",
    "0x10",
    "x",
    "-2.5",
    "4503599627370497",
    "1e22",
];
const BORDERS: &[&str] = &[
    "-inf", "+inf", "0", "(0", "1", "(1", "2", "(2.5", "100", "(50", "-1", "", "x", "(x", " 1", "nan",
    "1e400", "60.5",
];
const LEX: &[&str] =
    &["-", "+", "[m1", "(m1", "[m2", "(m10", "[m100", "[", "(", "[z", "(a", "x", "", "++", "[\u{e4}"];
const EXPIRIES: &[&str] = &["100", "1000", "0", "-1", "-100", "x", "9223372036854775807", "1.5", "500000"];
const WIDTHS: &[&str] = &[
    "u1", "i1", "u8", "i8", "u7", "i5", "u16", "i33", "u63", "i64", "i64", "u64", "i65", "u0", "x8", "I8",
    "u", "#",
];
const PATTERNS: &[&str] = &["*", "?1", "m*", "[a-m]*", "*1*", "", "[^m]*", "\\*", "t1", "m?"];

/// Every key but those of ranges of members.
pub(crate) const ANY: &[&str] = &["t1", "l1", "s1", "h1", "z1", "none", "t2", "l2", "s2", "h2", "z2", "z3"];

struct Filler(u64);

impl Filler {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from[(self.0 >> 33) as usize % from.len()]
    }

    /// Mostly a key of one type, now and then another.
    fn key<'a>(&mut self, keys: &[&'a str]) -> &'a str {
        if self.pick(&["", "", "", "", "", "", "", "any"]).is_empty() {
            self.pick(keys)
        } else {
            self.pick(ANY)
        }
    }

    fn fill(&mut self, part: &str, out: &mut Words) {
        let word = match part {
            "K" => self.pick(ANY),
            "T" => self.key(&["t1", "t2"]),
            "L" => self.key(&["l1", "l2"]),
            "S" => self.key(&["s1", "s2", "s3"]),
            "H" => self.key(&["h1", "h2"]),
            "Z" => self.key(&["z1", "z2", "z3"]),
            "X" => self.pick(&["x1", "x2"]),
            "V" => self.pick(VALUES),
            "C" => self.pick(COUNTS),
            "J" => self.pick(&["0", "1", "7", "8", "9", "15", "23", "-1", "-9", "100", "4294967296", "x"]),
            "I" => self.pick(&["0", "1", "1", "0", "1", "2"]),
            "M" => self.pick(MEMBERS),
            "N" => self.pick(NUMBERS),
            "B" => self.pick(BORDERS),
            "F" => self.pick(LEX),
            "E" => self.pick(EXPIRIES),
            "P" => self.pick(PATTERNS),
            "W" => self.pick(WIDTHS),
            "D" => self.pick(&["0.001", "0.002", "1e-3", "-1", "x", "-0.5", "", "1e30"]),
            // Nothing is told to overflow as is usual.
            "O" => {
                out.extend(
                    self.pick(&["", "OVERFLOW SAT", "OVERFLOW FAIL", "overflow wrap"])
                        .split_whitespace()
                        .map(str::to_owned),
                );
                return;
            }
            _ if part.starts_with('@') => return many(part, out),
            other => other,
        };
        out.push(word.to_owned());
    }
}

/// `@i9` is integers, `@m9` members, `@h9` fields and values, `@z9` scores and members, `@e9` members with equal scores,
/// `@l9` one long word.
fn many(part: &str, out: &mut Words) {
    let n: usize = part[2..].parse().unwrap();
    for i in 0..n {
        match &part[1..2] {
            "i" => out.push(format!("{}", i * 3)),
            "m" => out.push(format!("m{i}")),
            "h" => out.extend([format!("m{i}"), format!("v{}", i % 7)]),
            "z" => out.extend([format!("{}", (i * 37) % 101), format!("m{i}")]),
            "e" => out.extend(["0".to_owned(), format!("m{i}")]),
            _ => {}
        }
    }
    if part.starts_with("@l") {
        out.push("l".repeat(n));
    }
}

/// A command of any kind, its arguments often wrong.
pub(crate) fn command() -> impl Strategy<Value = Words> {
    let families = [STRINGS, KEYS, LISTS, SETS, HASHES, SORTED_SETS, SORTED_SETS];
    (prop::sample::select(families.to_vec()), any::<prop::sample::Index>(), any::<u64>()).prop_map(
        |(family, template, seed)| {
            let (mut filler, mut words) = (Filler(seed), Words::new());
            for part in template.get(family).split(' ') {
                filler.fill(part, &mut words);
            }
            words
        },
    )
}
