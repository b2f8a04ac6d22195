//! A small RESP2 client: replies with their place in the reply stream, pipelining.

use crate::target::value::{Value, encode_command, parse};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Why a client has no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket failed.
    #[error("the connection to the server failed: {0}")]
    Io(#[from] std::io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection{}", if *.inside { " inside a reply" } else { "" })]
    Closed {
        /// Part of a reply had come.
        inside: bool,
    },
    /// What came is not RESP.
    #[error("the server's reply is not RESP: {0}")]
    Protocol(String),
    /// Nothing came for this long.
    #[error("no reply in {} s", .0.as_secs())]
    Silent(Duration),
    /// The server replied with an error where the harness needs an answer.
    #[error("the server replied with an error: {0}")]
    Refused(String),
}

/// One reply, with its place in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply's bytes as they came.
    pub raw: Vec<u8>,
    /// What they say.
    pub value: Value,
    /// How many bytes of this connection's reply stream had come with the reply's last byte.
    pub stream_end: u64,
}

/// A connection to a RESP server on a unix socket.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    /// Bytes that came and belong to no reply yet.
    buffer: Vec<u8>,
    /// How many bytes of the stream stand before `buffer`.
    taken: u64,
    closed: bool,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// The socket's error.
    pub fn connect(path: &Path) -> std::io::Result<Client> {
        Client::from_stream(UnixStream::connect(path)?)
    }

    /// A client on a connected stream.
    ///
    /// # Errors
    /// The socket's error.
    pub fn from_stream(stream: UnixStream) -> std::io::Result<Client> {
        stream.set_nonblocking(true)?;
        Ok(Client { stream, buffer: Vec::new(), taken: 0, closed: false })
    }

    /// Sends bytes, all of them. Replies that come meanwhile are read, so that a long pipeline cannot
    /// block both sides.
    ///
    /// # Errors
    /// The socket's error; [`ClientError::Silent`] when the server takes nothing for `patience`.
    pub fn send(&mut self, mut bytes: &[u8], patience: Duration) -> Result<(), ClientError> {
        let start = Instant::now();
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if start.elapsed() > patience {
                        return Err(ClientError::Silent(patience));
                    }
                    self.fill()?;
                    wait(self.stream.as_fd(), true, Duration::from_millis(20))?;
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// The next reply, if it has come whole. Does not wait.
    ///
    /// # Errors
    /// The socket's error, a closed connection, or bytes that are not RESP.
    pub fn try_reply(&mut self) -> Result<Option<Reply>, ClientError> {
        // Replies to one piece come in one piece: the socket is asked only when the last of them is taken.
        let whole = match parse(&self.buffer)? {
            None => {
                self.fill()?;
                parse(&self.buffer)?
            }
            whole => whole,
        };
        if let Some((value, len)) = whole {
            let raw: Vec<u8> = self.buffer.drain(..len).collect();
            self.taken += len as u64;
            return Ok(Some(Reply { raw, value, stream_end: self.taken }));
        }
        if self.closed {
            return Err(ClientError::Closed { inside: !self.buffer.is_empty() });
        }
        Ok(None)
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// As [`Client::try_reply`]; [`ClientError::Silent`] when nothing comes for `patience`.
    pub fn reply(&mut self, patience: Duration) -> Result<Reply, ClientError> {
        let start = Instant::now();
        loop {
            if let Some(reply) = self.try_reply()? {
                return Ok(reply);
            }
            let left = patience.checked_sub(start.elapsed()).ok_or(ClientError::Silent(patience))?;
            self.wait_readable(left)?;
        }
    }

    /// Sends one command and waits for its reply.
    ///
    /// # Errors
    /// As [`Client::send`] and [`Client::reply`].
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A], patience: Duration) -> Result<Value, ClientError> {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, args);
        self.send(&bytes, patience)?;
        Ok(self.reply(patience)?.value)
    }

    /// Sends the commands in one piece and waits for all replies.
    ///
    /// # Errors
    /// As [`Client::send`] and [`Client::reply`].
    pub fn pipeline(
        &mut self,
        commands: &[Vec<Vec<u8>>],
        patience: Duration,
    ) -> Result<Vec<Value>, ClientError> {
        let mut bytes = Vec::new();
        for command in commands {
            encode_command(&mut bytes, command);
        }
        self.replies(&bytes, commands.len(), patience)
    }

    /// Sends encoded commands in one piece and waits for so many replies.
    ///
    /// # Errors
    /// As [`Client::send`] and [`Client::reply`].
    pub fn replies(
        &mut self,
        commands: &[u8],
        count: usize,
        patience: Duration,
    ) -> Result<Vec<Value>, ClientError> {
        self.send(commands, patience)?;
        (0..count).map(|_| Ok(self.reply(patience)?.value)).collect()
    }

    /// Waits until something can be read, or for `at_most`.
    ///
    /// # Errors
    /// The socket's error.
    pub fn wait_readable(&self, at_most: Duration) -> std::io::Result<()> {
        wait(self.stream.as_fd(), false, at_most)
    }

    /// Reads what has come.
    fn fill(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 4 << 10];
        while !self.closed {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(n) => {
                    self.buffer.extend_from_slice(&chunk[..n]);
                    // Less than there was room for is all that there was.
                    if n < chunk.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // A killed server's socket may answer with a reset: to the client it is closed.
                Err(e) if e.kind() == ErrorKind::ConnectionReset => self.closed = true,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl Drop for Client {
    /// Ends the connection, for both sides, now. The end of the descriptor would do that only once nobody else holds it,
    /// and a process that another thread has just forked holds a copy of it until it executes its program: a server would
    /// see the end of the connection when that happens to happen, and no run would repeat.
    fn drop(&mut self) {
        // It fails only where the server was first.
        let _ = self.stream.shutdown(Shutdown::Both);
        // What nobody has read would make a reset of it, again only once the last copy is gone. Nothing can be added.
        let _ = self.fill();
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Polls one descriptor; a signal ends the wait early, which callers' loops take as nothing having come.
pub(crate) fn wait(fd: BorrowedFd<'_>, writable: bool, at_most: Duration) -> std::io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let flags = if writable { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
    let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd, flags)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn replies_know_their_place_in_the_stream() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = Client::from_stream(ours).unwrap();
        theirs.write_all(b"+OK\r\n:7").unwrap();
        assert_eq!(client.reply(SOON).unwrap().stream_end, 5);
        assert_eq!(client.try_reply().unwrap(), None);
        theirs.write_all(b"\r\n").unwrap();
        let second = client.reply(SOON).unwrap();
        assert_eq!((second.raw.as_slice(), second.stream_end), (&b":7\r\n"[..], 9));
        theirs.write_all(b"$5\r\nhe").unwrap();
        drop(theirs);
        assert!(matches!(client.reply(SOON), Err(ClientError::Closed { inside: true })));
    }

    #[test]
    fn a_pipeline_larger_than_the_socket_buffers_does_not_block() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let echo = std::thread::spawn(move || {
            let (mut read, mut write) = (theirs.try_clone().unwrap(), theirs);
            let mut seen = Vec::new();
            let mut chunk = [0; 4096];
            // Echoes arrays back as they are: an array of bulk strings is a reply too.
            while seen.len() < 4 << 20 {
                let n = read.read(&mut chunk).unwrap();
                if n == 0 {
                    break;
                }
                seen.extend_from_slice(&chunk[..n]);
                write.write_all(&chunk[..n]).unwrap();
            }
        });
        let mut client = Client::from_stream(ours).unwrap();
        let commands = vec![vec![b"SET".to_vec(), vec![b'x'; 1 << 20]]; 3];
        let replies = client.pipeline(&commands, SOON).unwrap();
        assert_eq!(replies.len(), 3);
        assert_eq!(replies[2].items().unwrap()[1].bytes().unwrap().len(), 1 << 20);
        drop(client);
        echo.join().unwrap();
    }

    /// A copy of the socket stands for what a process holds that another thread has forked and that has not executed its
    /// program yet.
    #[test]
    fn a_connection_ends_with_its_client_although_a_copy_is_held() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let copy = ours.try_clone().unwrap();
        let client = Client::from_stream(ours).unwrap();
        theirs.write_all(b"+never read\r\n").unwrap();
        assert_eq!(theirs.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(client);
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
        // Nor does the end of the copy change what the server sees: no reset because of what was not read.
        drop(copy);
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(theirs.take_error().unwrap().map(|e| e.to_string()), None);
    }

    #[test]
    fn a_silent_server_is_told() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut client = Client::from_stream(ours).unwrap();
        assert!(matches!(client.reply(Duration::from_millis(30)), Err(ClientError::Silent(_))));
    }
}
