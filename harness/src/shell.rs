//! Words for lines that a person copies into a shell.

/// A word that a shell takes as it is, quoted where it needs to be.
pub(crate) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn a_shell_reads_a_word_as_it_was_meant() {
        for text in ["plain", "", "two words", "it's", "a'b'c", "$HOME `id` \\ \"x\" *", "new\nline"] {
            let line = format!("printf %s {}", word(text));
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), text, "{line}");
        }
    }
}
