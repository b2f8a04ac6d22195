//! Running the `unplug` binary in a directory of its own, as a user does.
#![allow(dead_code, unreachable_pub)]

use std::fs;
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

/// The command with these words, as [`unplug`], with scratch directories of its own below the directory.
pub fn tidy_unplug(dir: &Path, words: &str) -> Command {
    let tmp = dir.join("tmp");
    fs::create_dir_all(&tmp).expect("a directory");
    let mut command = unplug(dir, words);
    command.env("UNPLUG_TMP", tmp).env_remove("UNPLUG_RING_BYTES");
    command
}

/// No scratch directory is left of any [`tidy_unplug`].
pub fn assert_tidy(dir: &Path) {
    let left: Vec<_> = fs::read_dir(dir.join("tmp")).expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What a run printed on standard output and on standard error, once it has ended with this code.
pub fn ran(command: &mut Command, code: i32) -> (String, String) {
    let output = command.output().expect("started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{out}\n{err}");
    (out, err)
}

/// As [`ran`], all that it printed.
pub fn said(command: &mut Command, code: i32) -> String {
    let (out, err) = ran(command, code);
    out + &err
}

/// Compiles a C program; `None`, and a word about it, where there is no compiler or no static library.
pub fn compiled(dir: &Path, name: &str, options: &[&str], text: &str) -> Option<PathBuf> {
    let (source, program) = (dir.join(format!("{name}.c")), dir.join(name));
    fs::write(&source, text).expect("writable");
    let output = Command::new("gcc").args(options).arg("-o").args([&program, &source]).output();
    match output {
        Ok(output) if output.status.success() => Some(program),
        other => {
            eprintln!("not measured: {name} cannot be compiled: {other:?}");
            None
        }
    }
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
