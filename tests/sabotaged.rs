//! The program with the bugs of `engine/src/sabotage.rs` in it. It is built here, by a private cfg and into a target
//! directory of its own; an environment variable chooses a bug.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A command in `dir`, without a bug and without anything from outside that would change what it does.
pub fn unplug(program: &Path, dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::null());
    for name in ["UNPLUG_SABOTAGE", "UNPLUG_SEED", "UNPLUG_BUDGET"] {
        command.env_remove(name);
    }
    command
}

/// What a command printed.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Builds the program with the bugs in it.
pub fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let target = root.join("target/sabotage");
    let built = output(
        Command::new(env!("CARGO"))
            .args(["build", "--locked", "--package", "unplug", "--bin", "unplug"])
            .args(["--no-default-features", "--features", "cli"])
            .current_dir(root)
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_INCREMENTAL", "0")
            .env("RUSTFLAGS", "--cfg unplug_sabotage")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_BUILD_TARGET"),
    );
    assert!(built.status.success(), "the build failed:\n{}", String::from_utf8_lossy(&built.stderr));
    target.join("debug/unplug")
}
