//! A pause in which nobody is let in.

use std::os::fd::AsFd;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::run::{FIRST_LISTENER, RunError, Server};

/// How long nobody is let in after the system had nothing left for a guest. The listener stays ready all the while: watched,
/// it would turn the loop without a pause.
const PAUSE_MS: u64 = 100;

impl Server {
    /// Lets nobody in for a while: what the last guest could not get, the next one will not get either.
    pub(super) fn pause(&mut self) {
        // A listener that cannot be left alone is watched: that costs time, and nothing else.
        if self.watch(EpollFlags::empty()).is_ok() {
            self.paused_until_ms = Some(self.engine.now_ms + PAUSE_MS);
        }
    }

    pub(super) fn end_pause_if_due(&mut self, now_ms: u64) -> Result<(), RunError> {
        // A clock that was set back must not keep everybody out.
        if self.paused_until_ms.is_some_and(|until| now_ms >= until || until > now_ms + PAUSE_MS) {
            self.watch(EpollFlags::EPOLLIN)?;
            self.paused_until_ms = None;
        }
        Ok(())
    }

    /// What the listeners are watched for.
    fn watch(&self, flags: EpollFlags) -> nix::Result<()> {
        let mut each = (FIRST_LISTENER..).zip(&self.listeners);
        each.try_for_each(|(token, listener)| {
            self.epoll.modify(listener.as_fd(), &mut EpollEvent::new(flags, token))
        })
    }
}
