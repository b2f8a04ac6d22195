//! The recorder sees every call in the list, with the right file, offset and bytes.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;
mod roles;

use common::{lines, record};

/// Plays a role when this binary was started for it; as a test of its own it checks that every role is known.
#[test]
fn play() {
    if let Ok(role) = std::env::var(common::ROLE) {
        roles::play(&role);
        std::process::exit(0);
    }
    assert!(roles::ROLES.iter().all(|(name, _)| !name.is_empty()));
}

fn assert_lines(role: &str, expected: &[&str]) {
    let trace = record(role);
    assert_eq!(trace.blind, [], "role {role}");
    assert_eq!(lines(&trace), expected, "role {role}");
}

#[test]
fn writes() {
    assert_lines(
        "writes",
        &[
            "create ./f File",
            "write f 0 \"hello\" None",
            "write f 1 \"EL\" None",
            "write f 5 \"abcd\" None",
            "write f 2 \"xyz\" None",
            "write f 9 \"v2\" None",
            "write f 0 \"D\" Data",
            "write f 1 \"S\" Full",
            "write f 11 \"end\" None",
            "write f 14 \"tail\" None",
            "sync f Fsync",
            "sync f Fdatasync",
            "sync f Range { offset: 0, len: 4 }",
        ],
    );
}
