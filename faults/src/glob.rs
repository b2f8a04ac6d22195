//! The one kind of glob that patterns of calls and syncs are written in. It is the shim's own, which can use no
//! crate: a pattern means the same on both sides.

use crate::abi;

/// Whether all of `text` matches `pattern`: `*` stands for any bytes, `/` among them (a pattern names files, not
/// levels), `?` for one byte.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    abi::glob_matches_whole(pattern, text)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs_match_as_a_shell_would_but_over_slashes() {
        for (pattern, text, want) in [
            ("*", "", true),
            ("", "x", false),
            ("a", "", false),
            ("?", "", false),
            ("*incr*", "/d/appendonly.aof.1.incr.aof", true),
            ("*.aof", "a.b.aof", true),
            ("*.aof", "/d/x.aof.bak", false),
            ("/d/?.log", "/d/a.log", true),
            ("/d/?.log", "/d/ab.log", false),
            ("a*b*c", "a__b__b_c", true),
            ("a*b*c", "aXc", false),
            ("abc", "abcd", false),
            ("**", "abc", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), want, "{pattern} on {text}");
        }
    }
}
