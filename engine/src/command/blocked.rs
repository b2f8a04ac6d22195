//! Clients that wait until a list or a sorted set has something for them: who waits for which key, in which order.

use std::collections::{BTreeMap, BTreeSet};

use super::lists::End;
use crate::resp::Out;

/// What a client gets whose wait was ended by CLIENT UNBLOCK.
pub const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// What a client waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// BLPOP, BRPOP: one item of a list.
    Item(End),
    /// BLMPOP: up to so many.
    Items(End, usize),
    /// BLMOVE, BRPOPLPUSH: one item, which goes to another list.
    Move {
        from: End,
        to: End,
        destination: Vec<u8>,
        /// It is logged under its old name.
        rpoplpush: bool,
    },
    /// BZPOPMIN, BZPOPMAX: one member of a sorted set, the highest or the lowest.
    Member { top: bool },
    /// BZMPOP: up to so many.
    Members { top: bool, most: usize },
    /// WAIT: that replicas acknowledge what they were sent, which none does.
    Acknowledgement,
}

/// A client that is to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub(super) db: usize,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) want: Want,
    /// When it has waited long enough, in milliseconds since 1970; 0 is never.
    pub(super) deadline_ms: u64,
}

impl Block {
    /// The reply where nobody may wait: inside a transaction, or where there is no other client.
    pub fn refuse(&self, out: &mut Out) {
        match self.want {
            Want::Move { .. } => out.null(),
            _ => self.give_up(out),
        }
    }

    /// The reply to one who has waited for nothing.
    fn give_up(&self, out: &mut Out) {
        match self.want {
            Want::Acknowledgement => out.int(0),
            _ => out.null_array(),
        }
    }
}

struct Waiting {
    block: Block,
    /// How many had begun to wait before: the order in which they are served.
    arrival: u64,
    /// Which protocol it speaks.
    protocol: u8,
}

/// All clients that wait for keys.
#[derive(Default)]
pub struct Blocked {
    clients: BTreeMap<u64, Waiting>,
    arrivals: u64,
    /// For each key those who wait for it, by arrival.
    keys: BTreeMap<(usize, Vec<u8>), BTreeMap<u64, u64>>,
    deadlines: BTreeSet<(u64, u64)>,
    /// Keys that somebody waits for and that have come into being, in that order.
    ready: Vec<(usize, Vec<u8>)>,
    woken: Vec<(u64, Out)>,
}

impl std::fmt::Debug for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocked").field("clients", &self.clients.len()).finish_non_exhaustive()
    }
}

impl Blocked {
    /// A client begins to wait.
    pub fn add(&mut self, id: u64, block: Block, protocol: u8) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        for key in &block.keys {
            self.keys.entry((block.db, key.clone())).or_default().insert(arrival, id);
        }
        if block.deadline_ms != 0 {
            self.deadlines.insert((block.deadline_ms, id));
        }
        self.clients.insert(id, Waiting { block, arrival, protocol });
    }

    /// A client waits no more; whether it did.
    pub fn remove(&mut self, id: u64) -> bool {
        let Some(Waiting { block, arrival, .. }) = self.clients.remove(&id) else { return false };
        self.deadlines.remove(&(block.deadline_ms, id));
        for key in &block.keys {
            let at = (block.db, key.clone());
            if let Some(queue) = self.keys.get_mut(&at) {
                queue.remove(&arrival);
                if queue.is_empty() {
                    self.keys.remove(&at);
                }
            }
        }
        true
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether this client waits.
    pub fn contains(&self, id: u64) -> bool {
        self.clients.contains_key(&id)
    }

    /// A list or sorted set has come into being.
    pub fn signal(&mut self, db: usize, key: &[u8]) {
        if self.clients.is_empty() {
            return;
        }
        let at = (db, key.to_vec());
        if self.keys.contains_key(&at) && !self.ready.contains(&at) {
            self.ready.push(at);
        }
    }

    /// The keys of a database that somebody waits for.
    pub(super) fn awaited(&self, db: usize) -> Vec<Vec<u8>> {
        self.keys.keys().filter(|(at, _)| *at == db).map(|(_, key)| key.clone()).collect()
    }

    /// Takes the keys that are ready.
    pub(super) fn take_ready(&mut self) -> Vec<(usize, Vec<u8>)> {
        std::mem::take(&mut self.ready)
    }

    /// Who waits for a key, in the order of arrival, and for what.
    pub(super) fn queue(&self, db: usize, key: &[u8]) -> Vec<(u64, Want)> {
        let queue = self.keys.get(&(db, key.to_vec())).into_iter().flatten();
        queue.filter_map(|(_, id)| Some((*id, self.clients.get(id)?.block.want.clone()))).collect()
    }

    /// Which protocol a client speaks that waits.
    pub(super) fn protocol(&self, id: u64) -> u8 {
        self.clients.get(&id).map_or(2, |waiting| waiting.protocol)
    }

    /// A client waits no more, and this is its reply.
    pub(super) fn wake(&mut self, id: u64, reply: Out) {
        if self.remove(id) {
            self.woken.push((id, reply));
        }
    }

    /// Ends a client's wait without what it waits for; whether it waited.
    pub(super) fn end_wait(&mut self, id: u64, with_error: bool) -> bool {
        let Some(Waiting { block, protocol, .. }) = self.clients.get(&id) else { return false };
        let mut reply = Out::default();
        reply.speak(*protocol);
        if with_error {
            reply.error(UNBLOCKED);
        } else {
            block.give_up(&mut reply);
        }
        self.wake(id, reply);
        true
    }

    /// When the first has waited long enough, in milliseconds since 1970.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Those that have waited long enough get nothing, and wait no more.
    pub fn time_out(&mut self, now_ms: u64) {
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now_ms) {
            self.end_wait(id, false);
        }
    }

    /// Takes those that wait no more, and their replies, in the order in which they were served.
    pub fn take_woken(&mut self) -> Vec<(u64, Out)> {
        std::mem::take(&mut self.woken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(keys: &[&str], deadline_ms: u64) -> Block {
        let keys = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        Block { db: 0, keys, want: Want::Item(End::Left), deadline_ms }
    }

    fn ids(blocked: &Blocked, key: &str) -> Vec<u64> {
        blocked.queue(0, key.as_bytes()).into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn whoever_came_first_is_first_and_whoever_goes_leaves_nothing_behind() {
        let mut blocked = Blocked::default();
        blocked.add(7, block(&["a", "b", "a"], 0), 2);
        blocked.add(3, block(&["a"], 50), 2);
        blocked.add(5, block(&["b"], 40), 3);
        assert_eq!((ids(&blocked, "a"), ids(&blocked, "b")), (vec![7, 3], vec![7, 5]));
        assert_eq!(blocked.next_deadline_ms(), Some(40));
        for key in ["b", "none", "a", "b"] {
            blocked.signal(0, key.as_bytes());
        }
        assert_eq!(blocked.take_ready(), [(0, b"b".to_vec()), (0, b"a".to_vec())]);
        assert!(blocked.remove(7) && !blocked.remove(7));
        blocked.add(7, block(&["a"], 0), 2);
        assert_eq!((ids(&blocked, "a"), ids(&blocked, "b")), (vec![3, 7], vec![5]));
        blocked.time_out(39);
        assert!(blocked.take_woken().is_empty(), "a millisecond early");
        blocked.time_out(40);
        let woken = blocked.take_woken();
        assert_eq!((woken.len(), woken[0].0, woken[0].1.bytes()), (1, 5, &b"_\r\n"[..]));
        assert!(blocked.remove(3) && blocked.remove(7));
        assert!(blocked.is_empty() && blocked.keys.is_empty() && blocked.deadlines.is_empty());
    }
}
