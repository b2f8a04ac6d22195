//! Clients name their sockets, so that a send of the target can be matched to a connection.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The name that a unix client binds its socket to before it connects (an abstract one: no file).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketName {
    bytes: Vec<u8>,
}

impl SocketName {
    pub(crate) fn new(recorder: u64, client: u32, generation: u32) -> SocketName {
        let pid = std::process::id();
        SocketName { bytes: format!("unplug-{pid}-{recorder}-{client}-{generation}").into_bytes() }
    }

    /// The abstract name, without its leading NUL.
    pub fn abstract_name(&self) -> &[u8] {
        &self.bytes
    }

    /// Connects to a server's unix socket under this name.
    ///
    /// # Errors
    /// Whatever socket, bind or connect says.
    pub fn connect(&self, server: &Path) -> io::Result<UnixStream> {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, socket};
        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        bind(fd.as_raw_fd(), &UnixAddr::new_abstract(&self.bytes)?)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(server)?)?;
        Ok(UnixStream::from(fd))
    }
}

/// Whom a socket connects, from the `struct sockaddr` that the shim recorded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Abstract(Vec<u8>),
    Port(u16),
    Other,
}

impl Peer {
    pub(crate) fn parse(address: &[u8]) -> Peer {
        let [low, high, rest @ ..] = address else { return Peer::Other };
        match (i32::from(u16::from_le_bytes([*low, *high])), rest) {
            (libc::AF_UNIX, [0, name @ ..]) => Peer::Abstract(name.to_vec()),
            (libc::AF_INET | libc::AF_INET6, [a, b, ..]) => Peer::Port(u16::from_be_bytes([*a, *b])),
            _ => Peer::Other,
        }
    }
}
