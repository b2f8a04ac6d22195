//! A small RESP2 client: named sockets, replies matched to their place in the reply stream, pipelining.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, socket};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
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

/// A RESP2 value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `+...`
    Simple(Vec<u8>),
    /// `-...`
    Error(Vec<u8>),
    /// `:...`
    Int(i64),
    /// `$...`; `None` is the null bulk string.
    Bulk(Option<Vec<u8>>),
    /// `*...`; `None` is the null array.
    Array(Option<Vec<Value>>),
}

impl Value {
    /// The bytes of a string reply.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(b) | Value::Bulk(Some(b)) => Some(b),
            _ => None,
        }
    }

    /// The elements of an array reply.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::Array(Some(items)) => Some(items),
            _ => None,
        }
    }
}

/// Arrays deeper than this are not a server's.
const DEPTH: u8 = 32;

/// Parses the value that `bytes` begin with, and says how many bytes it took; `None` if it is not whole yet.
///
/// # Errors
/// [`ClientError::Protocol`] where no more bytes could make it a value.
pub fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, ClientError> {
    parse_at(bytes, 0, DEPTH)
}

fn parse_at(bytes: &[u8], at: usize, depth: u8) -> Result<Option<(Value, usize)>, ClientError> {
    let Some((line, next)) = line_at(bytes, at)? else { return Ok(None) };
    let (kind, rest) = (line[0], &line[1..]);
    let value = match kind {
        b'+' => Value::Simple(rest.to_vec()),
        b'-' => Value::Error(rest.to_vec()),
        b':' => Value::Int(number(rest)?),
        b'$' => match number(rest)? {
            -1 => Value::Bulk(None),
            n => {
                let len = usize::try_from(n).map_err(|_| protocol("a negative length"))?;
                let end = next.checked_add(len).ok_or_else(|| protocol("a length beyond memory"))?;
                if bytes.len() < end + 2 {
                    return Ok(None);
                }
                if &bytes[end..end + 2] != b"\r\n" {
                    return Err(protocol("a bulk string without its line end"));
                }
                return Ok(Some((Value::Bulk(Some(bytes[next..end].to_vec())), end + 2)));
            }
        },
        b'*' => match number(rest)? {
            -1 => Value::Array(None),
            n if n < 0 => return Err(protocol("a negative length")),
            _ if depth == 0 => return Err(protocol("arrays nested too deeply")),
            n => {
                let (mut items, mut next) = (Vec::new(), next);
                for _ in 0..n {
                    let Some((item, after)) = parse_at(bytes, next, depth - 1)? else { return Ok(None) };
                    items.push(item);
                    next = after;
                }
                return Ok(Some((Value::Array(Some(items)), next)));
            }
        },
        other => return Err(protocol(&format!("a value that begins with {:?}", char::from(other)))),
    };
    Ok(Some((value, next)))
}

/// The line at `at` without its end, never empty, and where the next begins.
fn line_at(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, ClientError> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else {
        return Ok(None);
    };
    if end == 0 { Err(protocol("an empty line")) } else { Ok(Some((&rest[..end], at + end + 2))) }
}

fn number(digits: &[u8]) -> Result<i64, ClientError> {
    let text = std::str::from_utf8(digits).map_err(|_| protocol("a number that is not one"))?;
    text.parse().map_err(|_| protocol(&format!("the number {text:?}")))
}

fn protocol(what: &str) -> ClientError {
    ClientError::Protocol(what.to_owned())
}

/// Appends a command in RESP form.
pub fn encode_command<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "*{}\r\n", args.len());
    for arg in args {
        let arg = arg.as_ref();
        let _ = write!(out, "${}\r\n", arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
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

    /// Connects after binding the client's own end to `name`, an abstract name by which the recorder
    /// tells the server's connections apart.
    ///
    /// # Errors
    /// The socket's error.
    pub fn connect_named(path: &Path, name: &UnixAddr) -> std::io::Result<Client> {
        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        bind(fd.as_raw_fd(), name)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Client::from_stream(UnixStream::from(fd))
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
        self.fill()?;
        if let Some((value, len)) = parse(&self.buffer)? {
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
        self.send(&bytes, patience)?;
        commands.iter().map(|_| Ok(self.reply(patience)?.value)).collect()
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
        let mut chunk = [0; 16 << 10];
        while !self.closed {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
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

    fn whole(bytes: &[u8]) -> Value {
        let (value, len) = parse(bytes).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        value
    }

    #[test]
    fn every_kind_of_value_parses() {
        assert_eq!(whole(b"+OK\r\n"), Value::Simple(b"OK".to_vec()));
        assert_eq!(whole(b"-ERR no\r\n"), Value::Error(b"ERR no".to_vec()));
        assert_eq!(whole(b":-12\r\n"), Value::Int(-12));
        assert_eq!(whole(b"$-1\r\n"), Value::Bulk(None));
        assert_eq!(whole(b"$4\r\na\r\nb\r\n"), Value::Bulk(Some(b"a\r\nb".to_vec())));
        assert_eq!(whole(b"*-1\r\n"), Value::Array(None));
        assert_eq!(
            whole(b"*2\r\n*1\r\n:1\r\n$0\r\n\r\n"),
            Value::Array(Some(vec![Value::Array(Some(vec![Value::Int(1)])), Value::Bulk(Some(vec![]))]))
        );
    }

    #[test]
    fn no_proper_prefix_of_a_value_parses() {
        let bytes = b"*3\r\n$5\r\nhello\r\n:42\r\n*1\r\n+x\r\n";
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        assert!(parse(bytes).unwrap().is_some());
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        for bad in [&b"\r\n"[..], b"hello\r\n", b":x\r\n", b"$-2\r\n", b"$1\r\nabc\r\n", b"*-5\r\n"] {
            assert!(
                matches!(parse(bad), Err(ClientError::Protocol(_))),
                "{:?}",
                bad.escape_ascii().to_string()
            );
        }
        let deep = b"*1\r\n".repeat(usize::from(DEPTH) + 1);
        assert!(matches!(parse(&deep), Err(ClientError::Protocol(_))));
    }

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

    #[test]
    fn a_silent_server_is_told() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut client = Client::from_stream(ours).unwrap();
        assert!(matches!(client.reply(Duration::from_millis(30)), Err(ClientError::Silent(_))));
    }

    #[test]
    fn the_server_sees_the_clients_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let name = format!("unplug-test-{}", std::process::id());
        let _client =
            Client::connect_named(&path, &UnixAddr::new_abstract(name.as_bytes()).unwrap()).unwrap();
        let (server_side, _) = listener.accept().unwrap();
        let peer: UnixAddr = nix::sys::socket::getpeername(server_side.as_raw_fd()).unwrap();
        assert_eq!(peer.as_abstract(), Some(name.as_bytes()));
    }
}
