//! One client: its socket, what it has sent, and what it is to be sent.

use std::io::{self, Read, Write};

use super::listen::Stream;
use crate::command;
use crate::engine::Engine;
use crate::persist::{LogPosition, Persistence};
use crate::resp::{Out, Parsed, RequestParser};
use crate::session::{Outcome, Replies, Session, Stop};

/// Read at once at most. Redis reads 16 KiB; a pipeline of 64 small commands fits either.
pub(super) const READ_CHUNK: usize = 64 * 1024;
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
    /// How far the log was when what it waits for was in it; `None` while it is not.
    pub(super) until: Option<LogPosition>,
}

/// A client.
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) session: Session,
    pub(super) out: Out,
    pub(super) awaiting: Option<Awaiting>,
    /// It waits for a key; whether it wants to hear of it.
    pub(super) blocked: Option<Replies>,
    /// Close it once `out` is sent.
    pub(super) closing: bool,
    /// The socket took less than `out`: epoll says when it takes more.
    pub(super) wants_write: bool,
    /// It is a replica, and once `out` is sent there is more for it.
    pub(super) has_more: bool,
    /// What was read and could not be executed yet; it begins with a command's first byte.
    input: Vec<u8>,
    sent: usize,
    parser: RequestParser,
}

/// What reading from a client gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Something; a command may have asked for the server's end.
    Data(Option<Stop>),
    Nothing,
    Gone,
}

fn failed(error: &io::Error) -> Received {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Received::Nothing,
        _ => Received::Gone,
    }
}

impl Connection {
    pub(super) fn new(stream: Stream, id: u64) -> Connection {
        Connection {
            stream,
            session: Session::new(id),
            out: Out::default(),
            awaiting: None,
            blocked: None,
            closing: false,
            wants_write: false,
            has_more: false,
            input: Vec::new(),
            sent: 0,
            parser: RequestParser::default(),
        }
    }

    /// Reads once what the client has sent, and executes every complete command. Replies stay in `out` until
    /// the turn has ended. `scratch`, of `READ_CHUNK` bytes, is shared by all clients: what arrives whole is
    /// executed from there and copied nowhere.
    pub(super) fn receive(&mut self, engine: &mut Engine, scratch: &mut [u8]) -> Received {
        if !self.input.is_empty() {
            return self.receive_more(engine);
        }
        match self.stream.read(scratch) {
            Ok(0) => Received::Gone,
            Ok(n) => {
                engine.stats.input_bytes += n as u64;
                let (used, asked) = self.process(engine, &scratch[..n]);
                if sabotaged!("transaction-forgotten") {
                    self.session.transaction = None;
                }
                if used < n {
                    self.input.reserve_exact(self.parser.wanted().max(n - used));
                    self.input.extend_from_slice(&scratch[used..n]);
                }
                Received::Data(asked)
            }
            Err(e) => failed(&e),
        }
    }

    /// Goes on with a command that did not come whole, or behind one that the client had to wait for.
    fn receive_more(&mut self, engine: &mut Engine) -> Received {
        let had = self.input.len();
        if had > MAX_REQUEST {
            return Received::Gone;
        }
        self.input.reserve(self.parser.wanted().saturating_sub(had).max(READ_CHUNK));
        self.input.resize(had + READ_CHUNK, 0);
        let read = self.stream.read(&mut self.input[had..]);
        self.input.truncate(had + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(0) => Received::Gone,
            Ok(n) => {
                engine.stats.input_bytes += n as u64;
                Received::Data(self.resume(engine))
            }
            Err(e) => failed(&e),
        }
    }

    /// Executes what was read before.
    pub(super) fn resume(&mut self, engine: &mut Engine) -> Option<Stop> {
        let mut input = std::mem::take(&mut self.input);
        let (used, asked) = self.process(engine, &input);
        if used < input.len() || input.capacity() <= KEEP_CAPACITY {
            input.drain(..used);
            self.input = input;
        }
        asked
    }

    /// Executes every complete command of `input`; says how many bytes they took. A SHUTDOWN is handed to the
    /// caller.
    fn process(&mut self, engine: &mut Engine, input: &[u8]) -> (usize, Option<Stop>) {
        let mut at = 0;
        while !self.waits() && !self.closing {
            match self.parser.advance(&input[at..]) {
                Ok(Parsed::NeedMore) => break,
                Ok(Parsed::Command(used)) => {
                    let replies = self.session.replies;
                    let outcome = self.execute(engine, &input[at..at + used]);
                    at += used;
                    match outcome {
                        Outcome::Done => {}
                        Outcome::Close => self.closing = true,
                        Outcome::Block(block) => {
                            engine.hooks.blocked.add(self.session.id, *block, self.out.protocol());
                            self.blocked = Some(replies);
                        }
                        Outcome::Shutdown(stop) => return (at, Some(stop)),
                        Outcome::AwaitDurable { local, replicas, deadline_ms } => {
                            self.awaiting = Some(Awaiting { local, replicas, deadline_ms, until: None });
                        }
                    }
                }
                Err(error) => {
                    self.out.error(&error.to_string());
                    self.closing = true;
                }
            }
        }
        (at, None)
    }

    fn execute(&mut self, engine: &mut Engine, bytes: &[u8]) -> Outcome {
        let before = self.out.len();
        let outcome = self.call(engine, bytes);
        if self.session.replies != Replies::On {
            self.session.replies = match self.session.replies {
                Replies::SkipNext => Replies::Skip,
                Replies::Skip => Replies::On,
                other => other,
            };
            self.out.truncate(before);
        }
        outcome
    }

    fn call(&mut self, engine: &mut Engine, bytes: &[u8]) -> Outcome {
        let argc = self.parser.argc();
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

    /// Whether it waits: what it sends meanwhile is looked at afterwards.
    pub(super) fn waits(&self) -> bool {
        self.awaiting.is_some() || self.blocked.is_some()
    }

    /// Its wait for a key is over.
    pub(super) fn wake(&mut self, reply: &Out) {
        if self.blocked.take() == Some(Replies::On) {
            self.out.buffer_mut().extend_from_slice(reply.bytes());
        }
    }

    /// Answers WAITAOF if its time has come, or if its wait was `ended`, with an error or without. What it waits for is
    /// what the log held when it was asked, however much other clients write meanwhile.
    pub(super) fn settle(&mut self, persistence: &Persistence, ended: Option<bool>, now_ms: u64) {
        let Some(wait) = &mut self.awaiting else { return };
        wait.until = wait.until.or_else(|| persistence.log_position());
        let durable = match wait.until {
            Some(until) => persistence.synced_position().is_some_and(|synced| synced >= until),
            None => false,
        };
        let reached = wait.replicas == 0 && (wait.local == 0 || durable);
        if ended == Some(true) {
            self.out.error(crate::command::UNBLOCKED);
        } else if wait.local > 0 && !persistence.info().aof_enabled {
            // As Redis, when the log is switched off under a client that waits for it.
            self.out.error(crate::command::WAITAOF_OFF);
        } else if reached || ended.is_some() || (wait.deadline_ms != 0 && now_ms >= wait.deadline_ms) {
            self.out.array(2);
            self.out.int(i64::from(durable));
            self.out.int(0);
        } else {
            return;
        }
        self.awaiting = None;
    }

    /// Whether there is input that was not looked at because the client had to wait.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// How much is to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.out.len() - self.sent
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
