//! Failures that no client is told: one line each on the standard error output.

use std::fmt::Display;
use std::io::Write;

/// Says what has failed, and why. Whoever reads it may have gone.
pub(crate) fn complain(what: &str, why: &dyn Display) {
    let _ = std::io::stderr().write_all(line(what, why).as_bytes());
}

/// The same in a child, which must take no lock that another thread may have held at the fork: nothing is buffered
/// there, and what does not fit is lost.
pub(super) fn complain_in_child(what: &str, why: &dyn Display) {
    let _ = nix::unistd::write(std::io::stderr(), line(what, why).as_bytes());
}

fn line(what: &str, why: &dyn Display) -> String {
    format!("unplug-engine: {what}: {why}\n")
}
