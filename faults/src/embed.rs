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
        let mut file = std::fs::File::from(executable_file()?);
        file.write_all(self.bytes())?;
        Ok(Some(file.into()))
    }
}

/// A file without a name that may be executed: in memory, unless the system forbids that (`vm.memfd_noexec`).
fn executable_file() -> std::io::Result<OwnedFd> {
    use nix::errno::Errno;
    use nix::fcntl::{OFlag, open};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::sys::stat::Mode;
    let plain = MFdFlags::MFD_CLOEXEC;
    // Asked for since Linux 6.3, where an administrator may make the opposite the default; refused before.
    let made = match memfd_create(c"unplug-shim", plain | MFdFlags::from_bits_retain(libc::MFD_EXEC)) {
        Err(Errno::EINVAL) => memfd_create(c"unplug-shim", plain),
        made => made,
    };
    match made {
        Err(Errno::EACCES) => {
            let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
            Ok(open(&std::env::temp_dir(), flags, Mode::S_IRWXU)?)
        }
        made => Ok(made?),
    }
}

/// Makes a command's process load the shim, and find its shared memory.
pub(crate) fn preload(command: &mut std::process::Command, shim: &OwnedFd, memory: &OwnedFd) {
    let name = std::str::from_utf8(crate::abi::ENV_RING).unwrap_or_default();
    command.env("LD_PRELOAD", path_of(shim)).env(name, path_of(memory));
}

/// A path by which every process of the same user finds a descriptor of this process.
pub(crate) fn path_of(fd: &impl AsRawFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd())
}
