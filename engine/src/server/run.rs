//! The event loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::connection::{Connection, Received};
use super::listen::{ListenError, Listener, listen};
use crate::clock;
use crate::engine::Engine;
use crate::persist::WriteError;

/// Why the server stopped, other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot be reached.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system refused something that the loop cannot do without.
    #[error("event loop: {0}")]
    System(#[from] io::Error),
    /// The log could not be written, and the policy promises that what is acknowledged is saved.
    #[error("can't persist: {0}. Exiting: replies that were not sent are not acknowledged")]
    Write(#[from] WriteError),
}

impl From<Errno> for RunError {
    fn from(errno: Errno) -> Self {
        RunError::System(errno.into())
    }
}

/// Tokens of epoll: signals, then listeners, then clients by slot.
const SIGNALS: u64 = u64::MAX;
const FIRST_LISTENER: u64 = u64::MAX - 16;
const EVENTS_PER_TURN: usize = 1024;
/// Clients taken in one turn from one listener, so that those who are there get their turn too.
const ACCEPTS_PER_TURN: usize = 1000;

/// A server on an engine.
pub struct Server {
    engine: Engine,
    epoll: Epoll,
    signals: SignalFd,
    listeners: Vec<Listener>,
    clients: Vec<Option<Connection>>,
    free: Vec<usize>,
    next_id: u64,
    next_cron_ms: u64,
    /// Slots with replies to send in this turn.
    ready: Vec<usize>,
    /// Slots whose clients wait for the log.
    waiting: Vec<usize>,
    scratch: Vec<u8>,
    shutdown: Option<Shutdown>,
}

/// Who asked for the end: a client's slot, or a signal.
struct Shutdown {
    save: Option<bool>,
    client: Option<usize>,
}

impl Server {
    /// Listens where the engine's configuration says.
    pub fn new(mut engine: Engine) -> Result<Server, RunError> {
        let listeners = listen(&engine.config)?;
        engine.persistence.feed().serve();
        engine.persistence.keep_from_children(listeners.iter().map(|l| l.as_fd().as_raw_fd()));
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGTERM);
        mask.add(Signal::SIGINT);
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(signals.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        for (token, listener) in (FIRST_LISTENER..).zip(&listeners) {
            epoll.add(listener.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        }
        Ok(Server {
            engine,
            epoll,
            signals,
            listeners,
            clients: Vec::new(),
            free: Vec::new(),
            next_id: 1,
            next_cron_ms: 0,
            ready: Vec::new(),
            waiting: Vec::new(),
            scratch: Vec::new(),
            shutdown: None,
        })
    }

    /// Serves until it is asked to stop.
    pub fn run(&mut self) -> Result<(), RunError> {
        let mut events = vec![EpollEvent::empty(); EVENTS_PER_TURN];
        loop {
            let timeout = self.timeout();
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(e) => return Err(e.into()),
            };
            if self.turn(&events[..count])? {
                return Ok(());
            }
        }
    }

    /// One turn: commands, then the log, and only then the replies. Says whether to stop.
    fn turn(&mut self, events: &[EpollEvent]) -> Result<bool, RunError> {
        let now_ms = clock::now_ms();
        self.engine.begin_turn(now_ms);
        for event in events {
            match event.data() {
                SIGNALS => self.take_signal()?,
                token if token >= FIRST_LISTENER => self.accept(token)?,
                slot => self.client_event(usize::try_from(slot).unwrap_or(usize::MAX), event.events()),
            }
        }
        self.resume_waiting();
        self.cron_if_due(now_ms)?;
        self.engine.end_turn()?;
        self.settle_waiting();
        self.feed_replica();
        self.send_replies();
        self.end_if_asked()
    }

    /// Until the timer's next tick; not at all if a client has input that it could not be served before.
    fn timeout(&self) -> EpollTimeout {
        let resumable = |slot: &usize| {
            self.clients
                .get(*slot)
                .and_then(Option::as_ref)
                .is_some_and(|c| c.awaiting.is_none() && c.has_input())
        };
        let wait = if self.waiting.iter().any(resumable) {
            0
        } else {
            self.next_cron_ms.saturating_sub(clock::now_ms()).min(self.period_ms())
        };
        u16::try_from(wait).map_or(EpollTimeout::ZERO, EpollTimeout::from)
    }

    fn period_ms(&self) -> u64 {
        (1000 / u64::from(self.engine.config.hz.max(1))).max(1)
    }

    fn cron_if_due(&mut self, now_ms: u64) -> Result<(), RunError> {
        // A clock that was set back must not stop the timer.
        if now_ms >= self.next_cron_ms || self.next_cron_ms > now_ms + self.period_ms() {
            self.next_cron_ms = now_ms + self.period_ms();
            self.engine.cron()?;
        }
        Ok(())
    }

    fn take_signal(&mut self) -> Result<(), RunError> {
        if self.signals.read_signal()?.is_some() {
            self.shutdown = Some(Shutdown { save: None, client: None });
        }
        Ok(())
    }

    fn accept(&mut self, token: u64) -> Result<(), RunError> {
        let Some(listener) =
            self.listeners.get(usize::try_from(token - FIRST_LISTENER).unwrap_or(usize::MAX))
        else {
            return Ok(());
        };
        for _ in 0..ACCEPTS_PER_TURN {
            let stream = match listener.accept() {
                Ok(Some(stream)) => stream,
                Ok(None) => break,
                // Out of descriptors: those who are there are still served, the others wait.
                Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => break,
                Err(e) => return Err(e.into()),
            };
            let slot = self.free.pop().unwrap_or(self.clients.len());
            let token = u64::try_from(slot).unwrap_or(0);
            self.epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            let client = Connection::new(stream, self.next_id);
            self.next_id += 1;
            if slot == self.clients.len() {
                self.clients.push(Some(client));
            } else {
                self.clients[slot] = Some(client);
            }
            self.engine.stats.connections += 1;
            self.engine.stats.clients += 1;
        }
        Ok(())
    }

    fn client_event(&mut self, slot: usize, flags: EpollFlags) {
        let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else { return };
        if flags.contains(EpollFlags::EPOLLOUT) {
            self.ready.push(slot);
        }
        if !flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
            || client.closing
        {
            return;
        }
        match client.read(&mut self.scratch) {
            Received::Data => self.process(slot),
            Received::Nothing => {}
            Received::Gone => self.drop_client(slot),
        }
    }

    fn process(&mut self, slot: usize) {
        let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else { return };
        if let Some(save) = client.process(&mut self.engine) {
            self.shutdown.get_or_insert(Shutdown { save, client: Some(slot) });
        }
        if client.awaiting.is_some() && !self.waiting.contains(&slot) {
            self.waiting.push(slot);
        }
        self.ready.push(slot);
    }

    /// Goes on with clients that were answered at the end of the last turn.
    fn resume_waiting(&mut self) {
        for slot in std::mem::take(&mut self.waiting) {
            match self.clients.get(slot).and_then(Option::as_ref) {
                Some(client) if client.awaiting.is_some() => self.waiting.push(slot),
                Some(_) => self.process(slot),
                None => {}
            }
        }
    }

    /// WAITAOF is answered after the turn's writes: under `always` they are synced by now.
    fn settle_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let durable = self.engine.persistence.waitaof_durable();
        for slot in &self.waiting {
            if let Some(client) = self.clients.get_mut(*slot).and_then(Option::as_mut) {
                client.settle(durable, self.engine.now_ms);
                self.ready.push(*slot);
            }
        }
    }

    /// Hands the replica what it is due (see `replication`). What the turn logged is on the disk by now.
    fn feed_replica(&mut self) {
        let feed = self.engine.persistence.feed();
        let Some(id) = feed.client() else { return };
        let replica = |c: &Option<Connection>| c.as_ref().is_some_and(|c| c.session.id == id);
        let Some(slot) = self.clients.iter().position(replica) else { return };
        let Some(client) = &mut self.clients[slot] else { return };
        client.closing |= !feed.fill(client.out.buffer_mut());
        client.has_more = feed.has_more();
        if client.closing || !client.out.is_empty() {
            self.ready.push(slot);
        }
    }

    fn send_replies(&mut self) {
        for slot in std::mem::take(&mut self.ready) {
            let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else { continue };
            let waited = client.wants_write;
            if !client.flush() {
                self.drop_client(slot);
            } else if client.wants_write != waited {
                let mut flags = EpollFlags::EPOLLIN;
                flags.set(EpollFlags::EPOLLOUT, client.wants_write);
                let token = u64::try_from(slot).unwrap_or(0);
                if self.epoll.modify(client.stream.as_fd(), &mut EpollEvent::new(flags, token)).is_err() {
                    self.drop_client(slot);
                }
            }
        }
    }

    fn drop_client(&mut self, slot: usize) {
        if let Some(mut client) = self.clients.get_mut(slot).and_then(Option::take) {
            self.engine.forget(&mut client.session);
            self.engine.stats.clients = self.engine.stats.clients.saturating_sub(1);
            // Closing the socket takes it out of epoll. The slot is free from the next turn on only if no
            // event of this turn can still name it: events are per socket, so none can.
            self.free.push(slot);
        }
    }

    fn end_if_asked(&mut self) -> Result<bool, RunError> {
        let Some(Shutdown { save, client }) = self.shutdown.take() else { return Ok(false) };
        let ended = self.engine.persistence.shutdown(&self.engine.keyspace, save, self.engine.now_ms);
        match (ended, client) {
            (Ok(()), _) => Ok(true),
            // As in Redis: what cannot be saved is not thrown away by stopping.
            (Err(error), client) => {
                eprintln!("unplug-engine: can't shut down: {error}");
                if let Some(slot) = client
                    && let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut)
                {
                    client.out.error("ERR Errors trying to SHUTDOWN. Check logs.");
                    self.ready.push(slot);
                    self.send_replies();
                }
                Ok(false)
            }
        }
    }
}
