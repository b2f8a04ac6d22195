//! Real programs that some tests need. One that is missing is said loudly, and where it is required it is an error.
#![allow(unreachable_pub)]

use std::process::{Command, Stdio};

/// What redis-server says of its version, if there is one.
///
/// # Panics
/// Where there is none, and `UNPLUG_REQUIRE_REDIS` is set.
pub fn redis_version() -> Option<String> {
    let output = Command::new("redis-server").arg("--version").stdin(Stdio::null()).output();
    if let Ok(output) = output {
        return Some(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let required = std::env::var_os("UNPLUG_REQUIRE_REDIS").is_some();
    assert!(!required, "redis-server is required, and missing");
    eprintln!("NOT MEASURED: no redis-server in PATH");
    None
}
