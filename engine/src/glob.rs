//! Glob patterns, as Redis's `stringmatchlen` reads them.

/// Whether `text` matches `pattern`: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a character taken literally.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stands and how much text it has taken: enough to go back to, since an earlier one
    // never needs to take more.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        let step = match text.get(t) {
            None if p >= pattern.len() => return true,
            None => return false,
            Some(c) => one(pattern, p, *c),
        };
        match (step, star) {
            (Some(next), _) => {
                p = next;
                t += 1;
            }
            (None, Some((after, taken))) => {
                star = Some((after, taken + 1));
                p = after;
                t = taken + 1;
            }
            (None, None) => return false,
        }
    }
}

/// Whether the pattern's element at `p` takes `c`, and where the next element begins.
fn one(pattern: &[u8], p: usize, c: u8) -> Option<usize> {
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => class(pattern, p + 1, c),
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == c).then_some(p + 2),
        literal => (literal == c).then_some(p + 1),
    }
}

fn class(pattern: &[u8], mut p: usize, c: u8) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match pattern.get(p) {
            // A class that is not closed ends with the pattern.
            None => break,
            Some(b']') => {
                p += 1;
                break;
            }
            Some(b'\\') if p + 1 < pattern.len() => {
                found |= pattern[p + 1] == c;
                p += 2;
            }
            Some(low) => match (pattern.get(p + 1), pattern.get(p + 2)) {
                (Some(b'-'), Some(high)) => {
                    found |= (*low.min(high)..=*low.max(high)).contains(&c);
                    p += 3;
                }
                _ => {
                    found |= *low == c;
                    p += 1;
                }
            },
        }
    }
    (found != negated).then_some(p)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*b*c", "a--b-bc", true),
            ("a*b*c", "a--b-b", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[a-e]llo", "hello", true),
            ("h[e-a]llo", "hello", true),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("[\\]]", "]", true),
            ("[a", "a", true),
            ("", "", true),
            ("", "a", false),
            ("*****a", "aaaa", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
