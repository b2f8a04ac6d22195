//! One client: its socket, what it has sent, and what it is to be sent.

use std::io::{self, Read, Write};

use super::listen::Stream;
use crate::command;
use crate::engine::Engine;
use crate::resp::{Out, Parsed, RequestParser};
use crate::session::{Outcome, Session};

/// Read at once at most. Redis reads 16 KiB; a pipeline of 64 small commands fits either.
const READ_CHUNK: usize = 64 * 1024;
/// A buffer that grew past this is given back once it is empty.
const KEEP_CAPACITY: usize = 256 * 1024;
/// Largest unparsed request, as client-query-buffer-limit.
const MAX_REQUEST: usize = 1024 * 1024 * 1024;
/// Arguments of a command that need no allocation.
const FEW: usize = 8;

/// A client that waits for its log to be synced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaiting {
    pub(super) local: i64,
    pub(super) replicas: i64,
    pub(super) deadline_ms: u64,
}

/// A client.
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) session: Session,
    pub(super) out: Out,
    pub(super) awaiting: Option<Awaiting>,
    /// Close it once `out` is sent.
    pub(super) closing: bool,
    /// The socket took less than `out`: epoll says when it takes more.
    pub(super) wants_write: bool,
    /// It is a replica, and once `out` is sent there is more for it.
    pub(super) has_more: bool,
    input: Vec<u8>,
    sent: usize,
    parser: RequestParser,
}

/// What reading from a client gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    Data,
    Nothing,
    Gone,
}

impl Connection {
    pub(super) fn new(stream: Stream, id: u64) -> Connection {
        Connection {
            stream,
            session: Session::new(id),
            out: Out::default(),
            awaiting: None,
            closing: false,
            wants_write: false,
            has_more: false,
            input: Vec::new(),
            sent: 0,
            parser: RequestParser::default(),
        }
    }

    /// Reads once what the client has sent. `scratch` is shared by all clients.
    pub(super) fn read(&mut self, scratch: &mut Vec<u8>) -> Received {
        scratch.resize(READ_CHUNK, 0);
        self.input.reserve(self.parser.wanted().saturating_sub(self.input.len()));
        match self.stream.read(scratch) {
            Ok(0) => Received::Gone,
            Ok(_) if self.input.len() > MAX_REQUEST => Received::Gone,
            Ok(n) => {
                self.input.extend_from_slice(&scratch[..n]);
                Received::Data
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Received::Nothing
            }
            Err(_) => Received::Gone,
        }
    }

    /// Executes every complete command. Replies stay in `out` until the turn has ended. A SHUTDOWN is handed
    /// to the caller.
    pub(super) fn process(&mut self, engine: &mut Engine) -> Option<Option<bool>> {
        let mut at = 0;
        let mut shutdown = None;
        while self.awaiting.is_none() && !self.closing && shutdown.is_none() {
            match self.parser.advance(&self.input[at..]) {
                Ok(Parsed::NeedMore) => break,
                Ok(Parsed::Command(used)) => {
                    match self.execute(engine, at) {
                        Outcome::Done => {}
                        Outcome::Close => self.closing = true,
                        Outcome::Shutdown(save) => shutdown = Some(save),
                        Outcome::AwaitDurable { local, replicas, deadline_ms } => {
                            self.awaiting = Some(Awaiting { local, replicas, deadline_ms });
                        }
                    }
                    at += used;
                }
                Err(error) => {
                    self.out.error(&error.to_string());
                    self.closing = true;
                }
            }
        }
        if at == self.input.len() && self.input.capacity() > KEEP_CAPACITY {
            self.input = Vec::new();
        } else {
            self.input.drain(..at);
        }
        shutdown
    }

    fn execute(&mut self, engine: &mut Engine, at: usize) -> Outcome {
        let (bytes, argc) = (&self.input[at..], self.parser.argc());
        if argc <= FEW {
            let mut few: [&[u8]; FEW] = [b""; FEW];
            for (i, slot) in few.iter_mut().enumerate().take(argc) {
                *slot = self.parser.arg(bytes, i);
            }
            return command::execute(engine, &mut self.session, &few[..argc], &mut self.out);
        }
        let many: Vec<&[u8]> = (0..argc).map(|i| self.parser.arg(bytes, i)).collect();
        command::execute(engine, &mut self.session, &many, &mut self.out)
    }

    /// Answers WAITAOF if its time has come.
    pub(super) fn settle(&mut self, durable: bool, now_ms: u64) {
        let Some(wait) = self.awaiting else { return };
        let reached = wait.replicas == 0 && (wait.local == 0 || durable);
        if reached || (wait.deadline_ms != 0 && now_ms >= wait.deadline_ms) {
            self.awaiting = None;
            self.out.array(2);
            self.out.int(i64::from(durable));
            self.out.int(0);
        }
    }

    /// Whether there is input that was not looked at because the client had to wait.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Sends what the socket takes. Says whether the client is still there.
    pub(super) fn flush(&mut self) -> bool {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out.bytes()[self.sent..]) {
                Ok(0) => return false,
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.wants_write = true;
                    return true;
                }
                Err(_) => return false,
            }
        }
        self.wants_write = self.has_more;
        self.sent = 0;
        if self.out.buffer_mut().capacity() > KEEP_CAPACITY {
            *self.out.buffer_mut() = Vec::new();
        }
        self.out.clear();
        !self.closing
    }
}
