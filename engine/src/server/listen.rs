//! The sockets that clients connect to.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::config::Config;

/// Why the server cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port cannot be bound.
    #[error("could not listen on {address}:{port}: {source}")]
    Tcp {
        /// The address.
        address: String,
        /// The port.
        port: u16,
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
    /// Neither was asked for.
    #[error("configured to not listen anywhere: 'port' is 0 and there is no 'unixsocket'")]
    Nowhere,
}

/// A listening socket. A unix socket's file goes with it.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A client's socket.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Opens what the configuration names.
pub(super) fn listen(config: &Config) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = Vec::new();
    if config.port != 0 {
        listeners.push(tcp(config)?);
    }
    if let Some(path) = &config.unixsocket {
        let path = if path.is_absolute() { path.clone() } else { config.dir.join(path) };
        listeners
            .push(unix(&path).map_err(|why| ListenError::Unix { path: path.display().to_string(), why })?);
    }
    if listeners.is_empty() { Err(ListenError::Nowhere) } else { Ok(listeners) }
}

fn tcp(config: &Config) -> Result<Listener, ListenError> {
    let error = |source| ListenError::Tcp { address: config.bind.clone(), port: config.port, source };
    let address: IpAddr =
        config.bind.parse().map_err(|_| error(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let listener = TcpListener::bind((address, config.port)).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    Ok(Listener::Tcp(listener))
}

fn unix(path: &Path) -> Result<Listener, String> {
    // A socket that a killed server left is in the way, one that answers belongs to a running server, and
    // what is no socket is not ours to delete.
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err("a file of that name is there".into()),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err("another server listens there".into()),
        Ok(_) => fs::remove_file(path).map_err(|e| e.to_string())?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(|e| e.to_string())?;
    listener.set_nonblocking(true).map_err(|e| e.to_string())?;
    Ok(Listener::Unix(listener, path.to_owned()))
}

impl Listener {
    /// Takes the next client, if one waits.
    pub(super) fn accept(&self) -> io::Result<Option<Stream>> {
        let taken = match self {
            Listener::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }),
            Listener::Unix(listener, _) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(stream))
            }),
        };
        match taken {
            Ok(stream) => Ok(Some(stream)),
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
