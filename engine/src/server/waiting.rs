//! Clients that wait: for a key, or for the log.

use super::run::Server;

impl Server {
    /// Hands those whose wait is over what they have waited for, and goes on with what they have sent meanwhile. That
    /// may end the wait of others, who are answered in this turn, too, and gone on with in the next.
    pub(super) fn go_on_with_waiting(&mut self) {
        self.engine.hooks.blocked.time_out(self.engine.now_ms);
        self.wake();
        for slot in std::mem::take(&mut self.waiting) {
            match self.clients.get_mut(slot).and_then(Option::as_mut) {
                Some(client) if client.awaiting.is_some() => self.waiting.push(slot),
                Some(client) => {
                    let asked = client.resume(&mut self.engine);
                    self.executed(slot, asked);
                }
                None => {}
            }
        }
        self.wake();
    }

    /// Hands out the replies of those whose wait for a key is over. Like all others they leave when the turn's writes
    /// are in the log, and synced where that was promised.
    fn wake(&mut self) {
        for (id, reply) in self.engine.hooks.blocked.take_woken() {
            let Some(slot) = self.engine.clients.get(id).map(|facts| facts.slot) else { continue };
            if let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) {
                client.wake(&reply);
                self.ready.push(slot);
                self.waiting.push(slot);
            }
        }
    }

    /// WAITAOF is answered after the turn's writes: under `always` they are synced by now.
    pub(super) fn settle_waiting(&mut self) {
        for slot in &self.waiting {
            let Some(client) = self.clients.get_mut(*slot).and_then(Option::as_mut) else { continue };
            if client.awaiting.is_none() {
                continue;
            }
            let facts = self.engine.clients.get_mut(client.session.id);
            let ended = facts.as_ref().and_then(|facts| facts.unblocked);
            client.settle(&self.engine.persistence, ended, self.engine.now_ms);
            if let (Some(facts), None) = (facts, client.awaiting) {
                facts.unblocked = None;
                facts.waits = false;
            }
            self.ready.push(*slot);
        }
    }
}
