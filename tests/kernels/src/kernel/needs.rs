//! What this machine lacks.

use super::Kind;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is missing for this kind, in words; nothing: it can be measured.
pub fn missing(kind: &Kind) -> Vec<String> {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push("root privileges".into());
        return missing;
    }
    if let Err(e) = crate::disk::device_is_there() {
        missing.push(format!("/dev/fuse ({e})"));
    }
    if let Err(e) = OpenOptions::new().read(true).write(true).open("/dev/loop-control") {
        missing.push(format!("/dev/loop-control ({e})"));
    }
    for fs in ["fuse", kind.fs] {
        if !known(fs) {
            missing.push(format!("{fs} in the kernel"));
        }
    }
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    if !places.iter().any(|place| Path::new(place).join(kind.tool()).exists()) {
        missing.push(format!("the program {}", kind.tool()));
    }
    if missing.is_empty()
        && let Err(e) = super::bench::private_mounts_work()
    {
        missing.push(format!("a mount namespace of its own ({e})"));
    }
    missing
}

/// Whether the kernel has the file system, its module loaded on demand.
fn known(fs: &str) -> bool {
    let listed = || {
        let list = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        list.lines().any(|line| line.split_whitespace().last() == Some(fs))
    };
    if listed() {
        return true;
    }
    let mut modprobe = Command::new("/sbin/modprobe");
    modprobe.args(["-q", fs]).stdout(Stdio::null()).stderr(Stdio::null());
    modprobe.status().is_ok_and(|status| status.success()) && listed()
}

/// The kernel's release, for fixtures.
pub fn release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}
