//! The shim's bytes, in a memory file of this process.

use std::os::fd::{AsRawFd, OwnedFd};

/// The compiled shim; empty where it is not for this platform.
#[cfg(unplug_shim)]
const SHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libunplug_shim.so"));
#[cfg(not(unplug_shim))]
const SHIM: &[u8] = &[];

/// Puts the shim into a memory file; `None` where there is no shim for this platform.
pub(crate) fn shim_file() -> std::io::Result<Option<OwnedFd>> {
    use std::io::Write;
    if SHIM.is_empty() {
        return Ok(None);
    }
    let fd = nix::sys::memfd::memfd_create(c"unplug-shim", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(SHIM)?;
    Ok(Some(file.into()))
}

/// A path by which every process of the same user finds a descriptor of this process.
pub(crate) fn path_of(fd: &impl AsRawFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd())
}
