//! Running the `unplug` binary in a directory of its own, as a user does.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory in memory, where there is one: the tests do not wait for a disk.
pub fn directory() -> tempfile::TempDir {
    let base = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    tempfile::Builder::new().prefix("unplug-test-").tempdir_in(base).expect("a directory")
}

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("harness stands in the workspace").to_owned()
}

/// The command with these words, in a directory, and nothing from outside that would change what it does.
pub fn unplug(dir: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unplug"));
    command.args(words.split_whitespace()).current_dir(dir);
    command.env_remove("UNPLUG_SEED").env_remove("UNPLUG_BUDGET").env("NO_COLOR", "1");
    command
}

/// What it printed on standard output, once it has ended with one of these codes.
pub fn printed(command: &mut Command, codes: &[i32]) -> String {
    let output: Output = command.output().expect("the command can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(code.is_some_and(|c| codes.contains(&c)), "{command:?} ended with {code:?}:\n{error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A line of `--format json` without its only field that differs from run to run.
pub fn without_elapsed(line: &str) -> String {
    let (before, after) = line.split_once(",\"elapsed_s\":").expect("every line says how long it took");
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | '-'));
    format!("{before}{rest}")
}

#[test]
fn only_the_time_is_taken_out() {
    assert_eq!(without_elapsed(r#"{"a":1,"elapsed_s":1.5e-3}"#), r#"{"a":1}"#);
    assert_eq!(without_elapsed(r#"{"a":1,"elapsed_s":2,"b":3}"#), r#"{"a":1,"b":3}"#);
}
