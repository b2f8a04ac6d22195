//! The memory in which one process's reads are noted, as who starts the process has it.

use crate::abi;
use crate::abi_reads::FLAG_READS;
use crate::embed;
use crate::record::{Memory, Setup};
use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

/// The log of one process, and of those that come of it. It must live for as long as they do.
#[derive(Debug)]
pub struct Log {
    memory: Memory,
    shim: OwnedFd,
}

impl Log {
    /// An empty log; `None` where there is no shim for this platform.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new() -> io::Result<Option<Log>> {
        let Some(shim) = embed::Library::Shim.file()? else { return Ok(None) };
        let setup = Setup { root: b"", ignore: &[], root_dev: 0, start_mono: 0, flags: FLAG_READS };
        Ok(Some(Log { memory: Memory::new(0, &setup)?, shim }))
    }

    /// Makes a command's process note what it reads.
    pub fn arm(&self, command: &mut Command) {
        embed::preload(command, &self.shim, self.memory.fd());
    }

    /// Makes a command run without a log, though this process may have one.
    pub fn disarm(command: &mut Command) {
        let ring = std::str::from_utf8(abi::ENV_RING).unwrap_or_default();
        command.env_remove("LD_PRELOAD").env_remove(ring);
    }
}
