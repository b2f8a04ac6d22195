//! The event loop.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::connection::{Connection, READ_CHUNK, Received};
use super::listen::{Guest, ListenError, Listener, Sockets, Stream};
use crate::clients::Client;
use crate::clock;
use crate::engine::Engine;
use crate::persist::{WriteError, complain};
use crate::session::Stop;

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
pub(super) const FIRST_LISTENER: u64 = u64::MAX - 16;
const EVENTS_PER_TURN: usize = 1024;
/// Clients taken in one turn from one listener, so that those who are there get their turn too.
const ACCEPTS_PER_TURN: usize = 1000;

/// A server on an engine.
pub struct Server {
    pub(super) engine: Engine,
    pub(super) epoll: Epoll,
    signals: SignalFd,
    pub(super) listeners: Vec<Listener>,
    pub(super) clients: Vec<Option<Connection>>,
    free: Vec<usize>,
    next_id: u64,
    next_cron_ms: u64,
    /// Slots with replies to send in this turn.
    pub(super) ready: Vec<usize>,
    /// Slots whose clients wait for the log.
    pub(super) waiting: Vec<usize>,
    scratch: Vec<u8>,
    shutdown: Option<Shutdown>,
    /// Why the last guest could not be let in, since somebody was.
    turned_away: Option<i32>,
    /// Until when the listeners are not watched.
    pub(super) paused_until_ms: Option<u64>,
}

/// Who asked for the end: a client's slot, or a signal.
struct Shutdown {
    stop: Stop,
    client: Option<usize>,
}

/// Descriptors that the engine needs for itself.
const OWN_DESCRIPTORS: u64 = 32;

/// Sees to it that so many clients can be served, or lowers their number to what can.
fn make_room_for_clients(maxclients: &mut u32) -> Result<(), RunError> {
    let wanted = u64::from(*maxclients) + OWN_DESCRIPTORS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < wanted {
        let got = hard.min(wanted).max(soft);
        if got > soft {
            setrlimit(Resource::RLIMIT_NOFILE, got, hard)?;
        }
        if got < wanted {
            *maxclients = u32::try_from(got.saturating_sub(OWN_DESCRIPTORS).max(1)).unwrap_or(*maxclients);
            complain("maxclients is lowered", &format!("to {maxclients}, as only {got} files may be open"));
        }
    }
    Ok(())
}

/// Lets a client in, or tells it why not.
fn welcome(engine: &mut Engine, mut guest: Guest) -> Option<Guest> {
    let refusal: &[u8] = if engine.stats.clients >= engine.config.maxclients as usize {
        b"-ERR max number of clients reached\r\n"
    } else if guest.far && engine.config.protected_mode {
        b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set. In \
          this mode connections are only accepted from the loopback interface. Set protected-mode to no, and see \
          that nobody else can connect.\r\n"
    } else {
        return Some(guest);
    };
    engine.stats.rejected += 1;
    // Whether it hears that or not, it is turned away.
    let _ = guest.stream.write(refusal);
    None
}

/// Says why a guest could not be let in, if it has not been said since the last one was.
fn tell_once(told: &mut Option<i32>, error: &io::Error) {
    let number = error.raw_os_error();
    if *told != number || number.is_none() {
        *told = number;
        complain("a client could not be let in", error);
    }
}

impl Server {
    /// Serves an engine on sockets that listen.
    pub fn new(mut engine: Engine, sockets: Sockets) -> Result<Server, RunError> {
        let listeners = sockets.0;
        make_room_for_clients(&mut engine.config.maxclients)?;
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
            scratch: vec![0; READ_CHUNK],
            shutdown: None,
            turned_away: None,
            paused_until_ms: None,
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
        self.end_pause_if_due(now_ms)?;
        let was_in_trouble = self.engine.persistence.in_trouble();
        for event in events {
            match event.data() {
                SIGNALS => self.take_signal()?,
                token if token >= FIRST_LISTENER => self.accept(token),
                slot => self.client_event(usize::try_from(slot).unwrap_or(usize::MAX), event.events()),
            }
        }
        self.go_on_with_waiting();
        self.cron_if_due(now_ms)?;
        // A fast path for clients that wait for the rest of a reply, which forgets what replies wait for.
        #[cfg(unplug_sabotage)]
        if sabotaged!("slow-client-answered-early")
            && crate::sabotage::SLOW.load(std::sync::atomic::Ordering::Relaxed)
        {
            self.send_replies();
        }
        self.engine.end_turn()?;
        if !was_in_trouble
            && self.engine.persistence.holds_unwritten()
            && !sabotaged!("failed-write-answered")
        {
            self.leave_unanswered();
        }
        self.settle_waiting();
        self.feed_replica();
        self.send_replies();
        self.drop_killed();
        self.end_if_asked()
    }

    /// Until the timer's next tick; not at all if a client has input that it could not be served before.
    fn timeout(&self) -> EpollTimeout {
        let resumable = |slot: &usize| {
            self.clients.get(*slot).and_then(Option::as_ref).is_some_and(|c| !c.waits() && c.has_input())
        };
        let wait = if self.waiting.iter().any(resumable) {
            0
        } else {
            let next =
                self.engine.hooks.blocked.next_deadline_ms().unwrap_or(u64::MAX).min(self.next_cron_ms);
            let next = self.paused_until_ms.map_or(next, |until| next.min(until));
            next.saturating_sub(clock::now_ms()).min(self.period_ms())
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
            self.drop_idle(now_ms);
            self.engine.cron()?;
        }
        Ok(())
    }

    fn take_signal(&mut self) -> Result<(), RunError> {
        if self.signals.read_signal()?.is_some() {
            self.shutdown = Some(Shutdown { stop: Stop::default(), client: None });
        }
        Ok(())
    }

    /// Lets in who waits. What goes wrong with one of them is his affair, and no reason to stop: those who are there are
    /// still served.
    fn accept(&mut self, token: u64) {
        let Some(listener) =
            self.listeners.get(usize::try_from(token - FIRST_LISTENER).unwrap_or(usize::MAX))
        else {
            return;
        };
        for _ in 0..ACCEPTS_PER_TURN {
            let guest = match listener.accept(self.engine.config.tcp_keepalive) {
                Ok(Some(guest)) => guest,
                Ok(None) => break,
                Err(e) => {
                    // Out of descriptors, which those who are there have: the others wait, and nothing is said.
                    if !matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                        tell_once(&mut self.turned_away, &e);
                    }
                    self.pause();
                    break;
                }
            };
            let Some(guest) = welcome(&mut self.engine, guest) else { continue };
            let slot = self.free.last().copied().unwrap_or(self.clients.len());
            let token = u64::try_from(slot).unwrap_or(0);
            if let Err(e) = self.epoll.add(guest.stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, token))
            {
                tell_once(&mut self.turned_away, &e.into());
                self.engine.stats.rejected += 1;
                continue;
            }
            self.turned_away = None;
            self.free.pop();
            let now_ms = self.engine.now_ms;
            let facts = Client {
                descriptor: guest.stream.as_fd().as_raw_fd(),
                unix: matches!(guest.stream, Stream::Unix(_)),
                address: guest.address,
                local: guest.local,
                since_ms: now_ms,
                last_ms: now_ms,
                slot,
                ..Client::default()
            };
            self.engine.clients.add(self.next_id, facts);
            let client = Connection::new(guest.stream, self.next_id);
            self.next_id += 1;
            if slot == self.clients.len() {
                self.clients.push(Some(client));
            } else {
                self.clients[slot] = Some(client);
            }
            self.engine.stats.connections += 1;
            self.engine.stats.clients += 1;
        }
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
        match client.receive(&mut self.engine, &mut self.scratch) {
            Received::Data(asked) => self.executed(slot, asked),
            Received::Nothing => {}
            Received::Gone => self.drop_client(slot),
        }
    }

    /// A client's commands were executed: its replies are to be sent, or it waits, or all ends.
    pub(super) fn executed(&mut self, slot: usize, asked: Option<Stop>) {
        if let Some(stop) = asked {
            self.shutdown.get_or_insert(Shutdown { stop, client: Some(slot) });
        }
        let Some(client) = self.clients[slot].as_ref() else { return };
        let now_ms = self.engine.now_ms;
        if let Some(facts) = self.engine.clients.get_mut(client.session.id) {
            facts.update(&client.session, client.out.resp3(), now_ms);
            facts.waits = client.awaiting.is_some();
        }
        if client.awaiting.is_some() && !self.waiting.contains(&slot) {
            self.waiting.push(slot);
        }
        self.ready.push(slot);
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
        let mut ready = std::mem::take(&mut self.ready);
        for slot in ready.drain(..) {
            let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else { continue };
            let (waited, unsent) = (client.wants_write, client.unsent());
            let stays = client.flush();
            self.engine.stats.output_bytes += unsent.saturating_sub(client.unsent()) as u64;
            #[cfg(unplug_sabotage)]
            crate::sabotage::SLOW.fetch_or(client.wants_write, std::sync::atomic::Ordering::Relaxed);
            if !stays {
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
        self.ready = ready;
    }

    /// What this turn logged could not be written. It was executed, and is written once the disk lets it; until then a
    /// power loss, or a kill, undoes it. An error would say that it was not done, OK that it is safe: neither is true, so
    /// whoever waits for a reply is cut off, and knows that it knows nothing.
    fn leave_unanswered(&mut self) {
        for slot in std::mem::take(&mut self.ready) {
            self.drop_client(slot);
        }
    }

    fn drop_client(&mut self, slot: usize) {
        if let Some(mut client) = self.clients.get_mut(slot).and_then(Option::take) {
            self.engine.forget(&mut client.session);
            self.engine.clients.remove(client.session.id);
            self.engine.stats.clients = self.engine.stats.clients.saturating_sub(1);
            // Closing the socket does not take it out of epoll while a child has a copy of it: the loop would turn
            // without a pause until that ends. That it is gone already is no harm.
            let _ = self.epoll.delete(client.stream.as_fd());
            // The slot is free from the next turn on only if no event of this turn can still name it: events are per
            // socket, so none can.
            self.free.push(slot);
        }
    }

    /// Ends the connections that CLIENT KILL named.
    fn drop_killed(&mut self) {
        if std::mem::take(&mut self.engine.clients.killing) {
            self.drop_where(|client| client.killed);
        }
    }

    /// Ends the connections that have been silent for longer than `timeout`. One that waits is not silent.
    fn drop_idle(&mut self, now_ms: u64) {
        let timeout_ms = u64::from(self.engine.config.timeout) * 1000;
        if timeout_ms > 0 {
            self.drop_where(|client| now_ms.saturating_sub(client.last_ms) > timeout_ms);
        }
    }

    fn drop_where(&mut self, chosen: impl Fn(&Client) -> bool) {
        for slot in 0..self.clients.len() {
            let Some(client) = self.clients[slot].as_ref() else { continue };
            let facts = self.engine.clients.get(client.session.id);
            if facts.is_some_and(|f| chosen(f) && (f.killed || !client.waits())) {
                self.drop_client(slot);
            }
        }
    }

    fn end_if_asked(&mut self) -> Result<bool, RunError> {
        let Some(Shutdown { stop, client }) = self.shutdown.take() else { return Ok(false) };
        let ended = self.engine.persistence.shutdown(&self.engine.keyspace, stop.save, self.engine.now_ms);
        match (ended, client) {
            (Ok(()), _) => Ok(true),
            (Err(error), _) if stop.force => {
                complain("shutting down, as asked, although", &error);
                Ok(true)
            }
            // As in Redis: what cannot be saved is not thrown away by stopping.
            (Err(error), client) => {
                complain("can't shut down", &error);
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
