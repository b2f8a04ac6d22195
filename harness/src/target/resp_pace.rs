//! How a recorded server's time passes: turns of the gate, steps of the clock, waiting for background work.

use crate::record::RecordError;
use crate::target::policy::Policy;
use crate::target::resp_run::{PATIENCE, Run};
use crate::target::rig::{Stuck, Turn};
use std::time::{Duration, Instant};
use unplug_faults::event::Nanos;

/// How the clock is moved while background work is waited for: a server's timer ticks ten times a second.
const TICK: Nanos = 100_000_000;
/// How long it may take, in virtual time, until a call is made before which an operation is to be sent.
const ARRIVAL: Nanos = 3_000_000_000;
/// How an ungated server's clock is moved: to whole multiples of this. A timer that is due in between comes late by
/// up to one step, and what it does with it.
const STEP: Nanos = 10_000_000;
/// How long an ungated server under virtual time may be silent before its clock is moved.
const SILENCE: Duration = Duration::from_millis(50);

impl Run<'_> {
    /// What follows a turn while a reply is awaited: the clock moves when nothing else can, or when an ungated
    /// server has been silent for a while (it may sit in a sync that takes virtual time).
    pub(super) fn after_turn(
        &mut self,
        index: usize,
        turn: Result<Turn, Stuck>,
        since: Instant,
    ) -> Result<(), RecordError> {
        match turn {
            Ok(Turn::Idle) if self.rig.let_go() => Ok(()),
            Ok(Turn::Idle) if !self.rig.advance_to_deadline(Nanos::MAX) => {
                Err(self.stuck(index, &Stuck("nothing can run, and no timer is set".into())))
            }
            Ok(Turn::Exited) => Err(self.died(index)),
            Ok(_) => {
                if since.elapsed() > PATIENCE {
                    return Err(self.stuck(index, &Stuck("a reply".into())));
                }
                if !self.rig.is_gated() && self.rig.has_clock() && since.elapsed() > SILENCE {
                    self.rig.advance(1_000_000);
                }
                Ok(())
            }
            Err(stuck) => Err(self.stuck(index, &stuck)),
        }
    }

    /// Waits until it is the client's turn to send.
    pub(super) fn clients_turn(&mut self, index: usize) -> Result<(), RecordError> {
        loop {
            match self.rig.turn(true, None) {
                Ok(Turn::Client) => return Ok(()),
                Ok(Turn::Exited) => return Err(self.died(index)),
                Ok(_) => {}
                Err(stuck) => return Err(self.stuck(index, &stuck)),
            }
        }
    }

    /// Lets the target go on until it stands before the call at which an operation is to be sent.
    pub(super) fn arrive(&mut self, index: usize, call: u32) -> Result<(), RecordError> {
        if !self.rig.is_gated() {
            let why = "it is to be sent before a certain call, and the run is not gated".to_owned();
            return Err(RecordError::BadOperation { step: index, why });
        }
        self.rig.stop_at(call);
        let end = self.rig.now().saturating_add(ARRIVAL);
        loop {
            if let Some(stopped) = self.rig.stopped() {
                // Without what differs from run to run.
                let path = String::from_utf8_lossy(&stopped.path).into_owned();
                let path = match path.strip_prefix(&*self.dir.to_string_lossy()) {
                    _ if path.starts_with("socket:") => "socket",
                    Some("") => ".",
                    Some(below) => below.trim_start_matches('/'),
                    None => &path,
                };
                self.arrived = Some(format!("{} {path}", stopped.call));
                return Ok(());
            }
            match self.rig.turn(false, None) {
                Ok(Turn::Idle) if self.rig.advance_to_deadline(end) => {}
                Ok(Turn::Idle) => return Err(RecordError::NeverCame { step: index, call }),
                Ok(Turn::Exited) => return Err(self.died(index)),
                Ok(_) => {}
                Err(stuck) => return Err(self.stuck(index, &stuck)),
            }
        }
    }

    /// Moves the clock in steps, so that a timer that is due in between is served in its time.
    pub(super) fn advance(&mut self, index: usize, nanos: Nanos) -> Result<(), RecordError> {
        if !self.rig.has_clock() {
            self.rig.advance(nanos);
            return Ok(());
        }
        let end = self.rig.now().saturating_add(nanos);
        if self.rig.is_gated() {
            loop {
                match self.rig.turn(false, None) {
                    Ok(Turn::Idle) if self.rig.advance_to_deadline(end) => {}
                    Ok(Turn::Idle) => break,
                    Ok(Turn::Exited) => return Err(self.died(index)),
                    Ok(_) => {}
                    Err(stuck) => return Err(self.stuck(index, &stuck)),
                }
            }
            self.rig.advance(end.saturating_sub(self.rig.now()));
            return Ok(());
        }
        while self.rig.now() < end {
            let now = self.rig.now();
            // To the next whole step: what is due at a whole second is then not served a part of a step later.
            self.rig.advance((STEP - now % STEP).min(end - now));
            // The server comes to its timers on the way to this reply, and writes what was due before it.
            self.ask(index, &["PING"])?;
            self.wait_for_syncs(index)?;
        }
        Ok(())
    }

    /// Ungated: waits for syncs in the background while the clock stands. They take the virtual time that they
    /// are told to take; how long this machine's disk takes must not become a loss.
    fn wait_for_syncs(&mut self, index: usize) -> Result<(), RecordError> {
        let conditions = &self.target.conditions;
        // Syncs that are told to last end when the clock is moved.
        if self.target.policy != Policy::EverySec || conditions.sync_nanos > 0 || conditions.faults.delays() {
            return Ok(());
        }
        let start = Instant::now();
        while are_syncs_pending(&self.ask(index, &["INFO", "persistence"])?.raw) {
            if start.elapsed() > PATIENCE {
                return Err(self.stuck(index, &Stuck("the end of a sync in the background".into())));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Waits until no rewrite and no save is under way or due.
    pub(super) fn settle(&mut self, index: usize) -> Result<(), RecordError> {
        let start = Instant::now();
        loop {
            let reply = self.ask(index, &["INFO", "persistence"])?;
            if !is_busy(&reply.raw) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(self.stuck(index, &Stuck("the end of a rewrite or save".into())));
            }
            if !self.rig.is_gated() {
                // The child works in real time.
                std::thread::sleep(Duration::from_millis(2));
            }
            self.advance(index, TICK)?;
        }
    }
}

/// Whether INFO persistence speaks of background work, under way or scheduled.
fn is_busy(info: &[u8]) -> bool {
    const SIGNS: [&str; 4] = [
        "rdb_bgsave_in_progress:1",
        "aof_rewrite_in_progress:1",
        "aof_rewrite_scheduled:1",
        "async_loading:1",
    ];
    String::from_utf8_lossy(info).lines().any(|line| SIGNS.contains(&line.trim_end()))
}

/// Whether INFO persistence speaks of syncs that a background thread has still to end.
fn are_syncs_pending(info: &[u8]) -> bool {
    let text = String::from_utf8_lossy(info);
    text.lines().filter_map(|l| l.strip_prefix("aof_pending_bio_fsync:")).any(|n| n.trim_end() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_work_is_seen_in_info() {
        assert!(is_busy(b"$99\r\n# Persistence\r\nloading:0\r\nrdb_bgsave_in_progress:1\r\n"));
        assert!(!is_busy(b"# Persistence\r\nrdb_bgsave_in_progress:0\r\naof_rewrite_in_progress:0\r\n"));
    }

    #[test]
    fn pending_syncs_are_seen_in_info() {
        assert!(are_syncs_pending(b"aof_pending_rewrite:0\r\naof_pending_bio_fsync:1\r\n"));
        assert!(!are_syncs_pending(b"aof_pending_rewrite:0\r\naof_pending_bio_fsync:0\r\n"));
        assert!(!are_syncs_pending(b"loading:0\r\n"));
    }
}
