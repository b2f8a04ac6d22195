//! Who is connected, as CLIENT LIST shows it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::session::Session;

/// What is known of one client besides its session.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Its address, and the one that it connected to.
    pub address: String,
    /// The address that it connected to.
    pub local: String,
    /// The number of its socket's descriptor.
    pub descriptor: i32,
    /// Whether it came through the unix socket.
    pub unix: bool,
    /// When it came.
    pub since_ms: u64,
    /// When it last sent something.
    pub last_ms: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// Its database.
    pub db: usize,
    /// Commands queued since MULTI; `None` outside of it.
    pub queued: Option<usize>,
    /// How many keys it watches.
    pub watching: usize,
    /// Its last command.
    pub command: &'static str,
    /// Whether it speaks RESP3.
    pub resp3: bool,
    /// It waits for the log.
    pub waits: bool,
    /// Its wait for the log is to end, with an error or without.
    pub unblocked: Option<bool>,
    /// Where the server finds it.
    pub slot: usize,
    /// It is to be disconnected.
    pub killed: bool,
}

/// All clients, by number.
#[derive(Debug, Default)]
pub struct Clients {
    all: BTreeMap<u64, Client>,
    /// Some are to be disconnected: the server looks for them at the end of the turn.
    pub killing: bool,
}

impl Client {
    /// Whether it came from this machine, by a way that no other has.
    pub fn is_local(&self) -> bool {
        let address = self.address.parse::<SocketAddr>();
        self.unix || address.is_ok_and(|address| address.ip().to_canonical().is_loopback())
    }

    /// Takes over what a session says of itself.
    pub fn update(&mut self, session: &Session, resp3: bool, now_ms: u64) {
        self.last_ms = now_ms;
        self.db = session.db;
        self.queued = session.transaction.as_ref().map(|t| t.commands.len());
        self.watching = session.watching.len();
        self.command = session.command;
        self.resp3 = resp3;
        if self.name != session.name {
            self.name.clone_from(&session.name);
        }
    }

    /// Its line in CLIENT LIST, as Redis writes it; `waits`: for whatever.
    pub fn line(&self, id: u64, waits: bool, now_ms: u64) -> String {
        let seconds = |since: u64| now_ms.saturating_sub(since) / 1000;
        let mut flags = String::new();
        flags.extend(self.queued.is_some().then_some('x'));
        flags.extend(waits.then_some('b'));
        flags.extend(self.unix.then_some('U'));
        if flags.is_empty() {
            flags.push('N');
        }
        format!(
            "id={id} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} sub=0 psub=0 ssub=0 \
             multi={} qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} \
             user=default redir=-1 resp={}",
            self.address,
            self.local,
            self.descriptor,
            String::from_utf8_lossy(&self.name),
            seconds(self.since_ms),
            seconds(self.last_ms),
            self.db,
            self.queued.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX)),
            if self.command.is_empty() { "NULL" } else { self.command },
            if self.resp3 { 3 } else { 2 },
        )
    }
}

impl Clients {
    /// One has come.
    pub fn add(&mut self, id: u64, client: Client) {
        self.all.insert(id, client);
    }

    /// One has gone.
    pub fn remove(&mut self, id: u64) {
        self.all.remove(&id);
    }

    /// What is known of one.
    pub fn get(&self, id: u64) -> Option<&Client> {
        self.all.get(&id)
    }

    /// What is known of one, to be changed.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Client> {
        self.all.get_mut(&id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Client)> {
        self.all.iter().map(|(id, client)| (*id, client))
    }

    /// Ends a client's wait for the log at the end of the turn, if it waits for that; says whether it does.
    pub fn end_wait(&mut self, id: u64, with_error: bool) -> bool {
        let waiting = self.all.get_mut(&id).filter(|client| client.waits && client.unblocked.is_none());
        waiting.map(|client| client.unblocked = Some(with_error)).is_some()
    }

    /// Disconnects those that `chosen` names at the end of the turn; says how many they are.
    pub fn kill(&mut self, chosen: impl Fn(u64, &Client) -> bool) -> usize {
        let mut count = 0;
        for (id, client) in &mut self.all {
            if !client.killed && chosen(*id, client) {
                client.killed = true;
                count += 1;
            }
        }
        self.killing |= count > 0;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_local() {
        let client = |address: &str| Client { address: address.into(), ..Client::default() };
        for local in ["127.0.0.1:5", "127.8.8.8:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
            assert!(client(local).is_local(), "{local}");
        }
        for far in ["10.0.0.1:5", "[fe80::1]:5", "[::ffff:10.0.0.1]:5", ""] {
            assert!(!client(far).is_local(), "{far}");
        }
        assert!(Client { unix: true, ..client("/tmp/s:0") }.is_local());
    }
}
