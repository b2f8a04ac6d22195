//! The preloaded libraries' bytes, in memory files of this process.

use std::os::fd::{AsRawFd, OwnedFd};

/// A compiled library.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Library {
    /// Records.
    Shim,
    /// Starts a server again and again.
    ForkServer,
}

impl Library {
    /// Its bytes; empty where there is none for this platform.
    #[cfg(unplug_shim)]
    fn bytes(self) -> &'static [u8] {
        match self {
            Library::Shim => include_bytes!(concat!(env!("OUT_DIR"), "/libunplug_shim.so")),
            Library::ForkServer => include_bytes!(concat!(env!("OUT_DIR"), "/libunplug_fork_server.so")),
        }
    }
    #[cfg(not(unplug_shim))]
    fn bytes(self) -> &'static [u8] {
        &[]
    }

    /// Puts it into a memory file; `None` where there is none for this platform.
    pub(crate) fn file(self) -> std::io::Result<Option<OwnedFd>> {
        use std::io::Write;
        if self.bytes().is_empty() {
            return Ok(None);
        }
        let fd = nix::sys::memfd::memfd_create(c"unplug-shim", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(self.bytes())?;
        Ok(Some(file.into()))
    }
}

/// A path by which every process of the same user finds a descriptor of this process.
pub(crate) fn path_of(fd: &impl AsRawFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd())
}
