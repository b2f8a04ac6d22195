//! The sockets that clients connect to.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, setsockopt, sockopt,
};

use crate::config::Config;

/// Why the server cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port cannot be bound.
    #[error("could not listen on {address}: {source}")]
    Tcp {
        /// The address, with the port.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The unix socket cannot be bound.
    #[error("could not open unix socket '{path}': {why}")]
    Unix {
        /// The path.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// What is to be bound is no address.
    #[error("{0}")]
    Address(String),
    /// Neither was asked for.
    #[error("configured to not listen anywhere: 'port' is 0 and there is no 'unixsocket'")]
    Nowhere,
}

/// A listening socket. A unix socket's file goes with it.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Who has come.
pub(super) struct Guest {
    pub(super) stream: Stream,
    /// Where from.
    pub(super) address: String,
    /// To which of the server's addresses.
    pub(super) local: String,
    /// From another machine.
    pub(super) far: bool,
}

/// Asks a silent client's system now and then whether it is still there. A system that cannot is no reason to
/// turn anyone away.
fn keep_alive(stream: &TcpStream, every_s: u32) {
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(stream, sockopt::TcpKeepIdle, &every_s);
    let _ = setsockopt(stream, sockopt::TcpKeepInterval, &(every_s / 3).max(1));
    let _ = setsockopt(stream, sockopt::TcpKeepCount, &3);
}

/// A client's socket.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The sockets that a server listens on. Whoever comes waits until there is someone to serve him.
pub struct Sockets(pub(super) Vec<Listener>);

impl Sockets {
    /// Opens what the configuration names. Nothing of the data is touched by this: it can be done before they are
    /// loaded, so that a port that is taken is found out first. They listen at once, as only a socket that listens is
    /// seen by others: two may be bound to one port, and one on a path that does not listen looks like a leftover.
    pub fn open(config: &Config) -> Result<Sockets, ListenError> {
        let mut listeners = Vec::new();
        if config.port != 0 {
            for (address, optional) in config.addresses().map_err(ListenError::Address)? {
                match tcp(config.port, address, config.tcp_backlog) {
                    Ok(listener) => listeners.push(listener),
                    Err(e) if optional && is_absent(&e) => {}
                    Err(source) => {
                        let address = SocketAddr::new(address, config.port);
                        return Err(ListenError::Tcp { address, source });
                    }
                }
            }
        }
        if let Some(path) = &config.unixsocket {
            let path = if path.is_absolute() { path.clone() } else { config.dir.join(path) };
            let listener = unix(&path, config.unixsocketperm, config.tcp_backlog)
                .map_err(|why| ListenError::Unix { path: path.display().to_string(), why })?;
            listeners.push(listener);
        }
        if listeners.is_empty() { Err(ListenError::Nowhere) } else { Ok(Sockets(listeners)) }
    }
}

/// Lets clients come.
fn listen(socket: &impl AsFd, backlog: u32) -> io::Result<()> {
    // The system has a limit of its own.
    let backlog = Backlog::new(i32::try_from(backlog).unwrap_or(i32::MAX).min(libc::SOMAXCONN))?;
    Ok(socket::listen(socket, backlog)?)
}

/// Whether this machine does not have such an address.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOPROTOOPT)
    )
}

/// A socket that is to listen; it does not block.
fn new_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket::socket(family, SockType::Stream, flags, None)?)
}

fn tcp(port: u16, address: IpAddr, backlog: u32) -> io::Result<Listener> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = new_socket(family)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        // The same port for IPv4 is another address, which may be bound as well.
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, port)))?;
    listen(&fd, backlog)?;
    Ok(Listener::Tcp(TcpListener::from(fd)))
}

/// Whether a socket is what a killed server has left: nobody listens there. One whose backlog is full is not waited for.
fn is_left_over(path: &Path) -> io::Result<bool> {
    let probe = new_socket(AddressFamily::Unix)?;
    match socket::connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => Ok(true),
        Ok(()) | Err(Errno::EAGAIN) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn unix(path: &Path, mode: u32, backlog: u32) -> Result<Listener, String> {
    // What is no socket is not ours to delete, nor is one that somebody listens on.
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err("a file of that name is there".into()),
        Ok(_) if is_left_over(path).map_err(|e| e.to_string())? => {
            fs::remove_file(path).map_err(|e| e.to_string())?;
        }
        Ok(_) => return Err("another server listens there".into()),
        Err(_) => {}
    }
    let bound = || -> io::Result<Listener> {
        let fd = new_socket(AddressFamily::Unix)?;
        socket::bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        // From here on the file goes again if something fails.
        let listener = Listener::Unix(UnixListener::from(fd), path.to_owned());
        if mode != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        // Not before the permissions are what they are to be.
        listen(&listener, backlog)?;
        Ok(listener)
    };
    bound().map_err(|e| e.to_string())
}

impl Listener {
    /// Takes the next client, if one waits.
    pub(super) fn accept(&self, keepalive_s: u32) -> io::Result<Option<Guest>> {
        let taken = match self {
            Listener::Tcp(listener) => listener.accept().and_then(|(stream, peer)| {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                if keepalive_s > 0 {
                    keep_alive(&stream, keepalive_s);
                }
                let local = stream.local_addr().map(|a| a.to_string()).unwrap_or_default();
                let far = !peer.ip().to_canonical().is_loopback();
                Ok(Guest { stream: Stream::Tcp(stream), address: peer.to_string(), local, far })
            }),
            Listener::Unix(listener, path) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                // As Redis shows them: the path, and a port of 0.
                let local = format!("{}:0", path.display());
                Ok(Guest { stream: Stream::Unix(stream), address: local.clone(), local, far: false })
            }),
        };
        match taken {
            Ok(guest) => Ok(Some(guest)),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            let _ = fs::remove_file(path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(l) => l.as_fd(),
            Listener::Unix(l, _) => l.as_fd(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(s) => s.as_fd(),
            Stream::Unix(s) => s.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.read(buffer),
            Stream::Unix(s) => s.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.write(bytes),
            Stream::Unix(s) => s.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
