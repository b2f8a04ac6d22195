//! The fork server's library, to be preloaded into a server that is started again and again.
//!
//! What it does, and what is said on its control socket, stands in `shim/fork_server/lib.rs`.

use crate::embed::{Library, path_of};
use std::os::fd::OwnedFd;
use std::process::Command;

/// The library, in a memory file of this process, which must live as long as it is to be preloaded.
#[derive(Debug)]
pub struct ForkServer(OwnedFd);

impl ForkServer {
    /// Makes the library's file; `None` where there is none for this platform.
    ///
    /// # Errors
    /// The memory file cannot be made.
    pub fn new() -> std::io::Result<Option<ForkServer>> {
        Ok(Library::ForkServer.file()?.map(ForkServer))
    }

    /// Has the command's process preload the library and find its control socket under the number `control`.
    pub fn arm(&self, command: &mut Command, control: i32) {
        command.env("LD_PRELOAD", path_of(&self.0)).env("UNPLUG_FORK_FD", control.to_string());
        // What is looked up once in the template is not looked up again in each fork.
        command.env("LD_BIND_NOW", "1");
    }
}
