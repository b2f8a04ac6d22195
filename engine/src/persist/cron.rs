//! What the timer does, and the end.

use super::complain::complain;
use super::core::{Aof, Child, Job, Persistence, start_sync_if_due};
use super::error::{FileError, RewriteError, SaveError, WriteError};
use super::files::Place;
use super::fork;
use super::log::{Log, Trouble};
use crate::aof::Manifest;
use crate::config::{AofLayout, AppendFsync, Config};
use crate::keyspace::Keyspace;

/// Redis waits this long after a failed BGSAVE (CONFIG_BGSAVE_RETRY_DELAY).
const SAVE_RETRY_MS: u64 = 5000;
/// Has the manifest say how long the log is, now that all of it is synced. Should this fail, nothing is lost but the
/// knowledge, and either manifest is a good one.
fn seal(aof: &mut Aof) {
    if aof.place.layout == AofLayout::Single {
        if let Some(seal) = aof.log.seal() {
            let _ = aof.place.put_seal(seal);
        }
        return;
    }
    let sealed = Some((log_name(&aof.log), aof.log.len()));
    if !aof.log.chained() || aof.manifest.foreign {
        return;
    }
    let manifest = Manifest { sealed, closed: true, ..aof.manifest.clone() };
    if aof.place.put_manifest(&manifest).is_ok() {
        aof.manifest = manifest;
    }
}

fn log_name(log: &Log) -> String {
    log.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Time between two attempts to repair the log. The first is made at the next tick: what was acknowledged under
/// everysec has no second to wait.
const LOG_RETRY_MS: u64 = 1000;

impl Persistence {
    /// To be called `hz` times a second, between turns: children, postponed writes, syncs, retries, save
    /// points, growth. On `Err` (only under `always`) the server must stop.
    pub fn cron(&mut self, keyspace: &Keyspace, now_ms: u64) -> Result<(), WriteError> {
        self.now_s = now_ms / 1000;
        self.take_sync_result();
        self.snapshots.tick(now_ms);
        self.reap(now_ms);
        self.repair(keyspace, now_ms);
        self.end_turn(now_ms)?;
        if self.config.appendfsync == AppendFsync::EverySec
            && !(self.config.no_appendfsync_on_rewrite && self.child.is_some())
            && let Some(aof) = &mut self.aof
            && !matches!(aof.trouble, Some(Trouble::Rebase(_)))
        {
            start_sync_if_due(aof, &mut self.syncer, self.config.hz, now_ms);
        }
        if !self.background_running() {
            self.start_what_is_due(keyspace, now_ms);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn reap_for_test(&mut self, now_ms: u64) {
        self.reap(now_ms);
    }

    fn reap(&mut self, now_ms: u64) {
        self.take_installed(now_ms);
        let Some(child) = &self.child else { return };
        let Some(ended) = fork::poll(child.pid) else { return };
        match self.child.take().map(|c| c.job) {
            Some(Job::Rewrite { place, base_seq, first_incr }) => {
                self.finish_rewrite(ended, &place, base_seq, first_incr, now_ms);
            }
            Some(Job::Save { changes }) => self.finish_save(ended, changes, now_ms),
            None => {}
        }
    }

    /// Under everysec and no: tries once a second to get the log going again.
    fn repair(&mut self, keyspace: &Keyspace, now_ms: u64) {
        let always = self.config.appendfsync == AppendFsync::Always;
        let Some(aof) = &mut self.aof else { return };
        let Some(trouble) = aof.trouble.clone() else { return };
        // A clock that was set back must not put the repair off for ever.
        let waits = aof.retry_not_before_ms.saturating_sub(now_ms);
        if always || (1..=LOG_RETRY_MS).contains(&waits) {
            return;
        }
        aof.retry_not_before_ms = now_ms + LOG_RETRY_MS;
        let repaired = match trouble {
            Trouble::Write(_) => aof.log.write(),
            Trouble::Rebase(_) => {
                self.end_rewrite(now_ms);
                match &mut self.aof {
                    Some(aof) => Persistence::rebase(aof, keyspace, now_ms),
                    None => Ok(()),
                }
            }
        };
        if let Some(aof) = &mut self.aof {
            aof.trouble = match (repaired, trouble) {
                (Ok(()), _) => None,
                (Err(e), Trouble::Write(_)) => Some(Trouble::Write(e.to_string())),
                (Err(e), Trouble::Rebase(_)) => Some(Trouble::Rebase(e.to_string())),
            };
        }
    }

    fn start_what_is_due(&mut self, keyspace: &Keyspace, now_ms: u64) {
        // There is no client to tell; INFO and the refusal of writes show it, too.
        if self.rewrite_scheduled || self.grown(now_ms) {
            if let Err(e @ (RewriteError::File(_) | RewriteError::Write(_))) =
                self.begin_rewrite(keyspace, now_ms)
            {
                complain("the append-only file cannot be rewritten", &e);
            }
            if self.background_running() {
                return;
            }
        }
        self.begin_sync_save(keyspace, now_ms);
        if self.child.is_some() {
            return;
        }
        let s = &self.snapshots;
        let since_save = now_ms.saturating_sub(s.last_save_ms);
        let may_try = !s.failed || now_ms.saturating_sub(s.last_try_ms) > SAVE_RETRY_MS;
        let due = |&(seconds, changes): &(u64, u64)| {
            s.changes >= changes && since_save > seconds.saturating_mul(1000)
        };
        if !self.read_only
            && may_try
            && self.config.save.iter().any(due)
            && let Err(e @ SaveError::File(_)) = self.begin_bgsave(keyspace, now_ms)
        {
            complain("no snapshot can be made", &e);
        }
    }

    fn grown(&self, now_ms: u64) -> bool {
        let Some(aof) = &self.aof else { return false };
        let percentage = u64::from(self.config.auto_aof_rewrite_percentage);
        let size = aof.size();
        if percentage == 0 || size <= self.config.auto_aof_rewrite_min_size || aof.trouble.is_some() {
            return false;
        }
        let base = aof.rewritten_size.max(1);
        now_ms >= self.rewrite_not_before_ms
            && size.saturating_sub(base) / base * 100 + size.saturating_sub(base) % base * 100 / base
                >= percentage
    }

    /// Kills a child that writes a base, or waits until one that was written is in its place.
    fn end_rewrite(&mut self, now_ms: u64) {
        if !sabotaged!("stop-does-not-wait") {
            self.finish_install(now_ms);
        }
        if !matches!(self.child, Some(Child { job: Job::Rewrite { .. }, .. })) {
            return;
        }
        let Some(Child { pid, job: Job::Rewrite { place, base_seq, .. } }) = self.child.take() else {
            return;
        };
        fork::kill(pid);
        let _ = super::disk::remove_if_there(&place.base_temp(base_seq));
        if let Some(aof) = &mut self.aof {
            drop(aof.log.end_diff());
        }
    }

    /// Ends a child that nobody will wait for any more.
    pub(super) fn end_children(&mut self, now_ms: u64) {
        self.end_save_child();
        self.end_rewrite(now_ms);
    }

    /// SHUTDOWN: ends the children, writes and syncs the log, and saves: always with `Some(true)`, never with
    /// `Some(false)`, else if there are save points.
    pub fn shutdown(
        &mut self,
        keyspace: &Keyspace,
        save: Option<bool>,
        now_ms: u64,
    ) -> Result<(), WriteError> {
        self.end_children(now_ms);
        self.wait_for_sync();
        if let Some(aof) = &mut self.aof {
            let mut ended = match &aof.trouble {
                Some(Trouble::Rebase(_)) => Persistence::rebase(aof, keyspace, now_ms),
                _ => aof.log.write().and_then(|()| aof.log.sync()),
            };
            if ended.is_err() {
                ended = Persistence::rebase(aof, keyspace, now_ms);
            }
            ended?;
            aof.trouble = None;
        }
        if save.unwrap_or(!self.config.save.is_empty()) && !self.read_only {
            self.save(keyspace, now_ms).map_err(|e| match e {
                SaveError::File(e) => WriteError::File(e),
                other => WriteError::Broken(other.to_string()),
            })?;
        }
        // Last: where the stop fails before, the server goes on, and writes behind what it has closed.
        self.aof.iter_mut().for_each(seal);
        Ok(())
    }

    /// CONFIG SET: takes over the options that can change while running. On `Err` nothing has changed.
    pub fn reconfigure(&mut self, config: &Config, keyspace: &Keyspace, now_ms: u64) -> Result<(), String> {
        if config.dir != self.config.dir
            || config.appenddirname != self.config.appenddirname
            || config.appendfilename != self.config.appendfilename
            || config.aof_layout != self.config.aof_layout
        {
            return Err("can't set immutable config".into());
        }
        if self.read_only && config.appendonly {
            return Err("the directory is read-only".into());
        }
        let of_the_log = (config.appendonly, Place::new(config).chained);
        let is = (self.aof.is_some(), Place::new(&self.config).chained);
        if self.snapshots.in_transaction && of_the_log != is {
            // Half of it would be in one file, or in none, and half in another.
            return Err("a transaction is being executed".into());
        }
        match (config.appendonly, self.aof.is_some()) {
            (true, false) => {
                let aof = super::begin::switch_on(config, keyspace, now_ms).map_err(|e| e.to_string())?;
                self.aof = Some(aof);
            }
            (false, true) => {
                self.end_rewrite(now_ms);
                self.wait_for_sync();
                // As Redis: what is in the files stays there, whole, and grows no more. With a broken log, to
                // switch it off is a way out, so it must not fail for that.
                if let Some(aof) = self.aof.as_mut().filter(|aof| aof.trouble.is_none()) {
                    // It stays on then, and must not go on as if nothing had been: the next sync would say that all is well.
                    aof.write_whole(self.config.appendfsync).map_err(|e| e.to_string())?;
                }
                self.aof = None;
            }
            (true, true) => self.replace_settings(config, keyspace, now_ms)?,
            (false, false) => {}
        }
        if config.dbfilename != self.config.dbfilename {
            self.end_save_child();
            self.snapshots.path = config.dir.join(&config.dbfilename);
        }
        self.config = config.clone();
        Ok(())
    }

    /// Settings of a log that is on and stays on.
    fn replace_settings(&mut self, config: &Config, keyspace: &Keyspace, now_ms: u64) -> Result<(), String> {
        let rewriting = self.rewriting();
        let place = Place::new(config);
        let Some(aof) = &mut self.aof else { return Ok(()) };
        if place.chained == aof.place.chained {
            aof.place = place;
            return Ok(());
        }
        if rewriting {
            return Err("aof-checksum cannot change while a rewrite runs".into());
        }
        let old = std::mem::replace(&mut aof.place, place);
        // A file is chained whole or not at all.
        let changed = match old.layout {
            AofLayout::Multi => self.switch_incr().map_err(|e| e.to_string()),
            AofLayout::Single => Persistence::rebase(aof, keyspace, now_ms).map_err(|e| e.to_string()),
        };
        changed.inspect_err(|_| {
            if let Some(aof) = &mut self.aof {
                aof.place = old;
            }
        })
    }
}

impl Aof {
    /// Writes what is pending, and syncs it; what goes wrong with that is the log's trouble from then on.
    fn write_whole(&mut self, policy: AppendFsync) -> Result<(), FileError> {
        if let Err(e) = self.log.write() {
            self.trouble = Some(Trouble::of_write(policy, &e));
            return Err(e);
        }
        self.log.sync().inspect_err(|e| self.trouble = Some(Trouble::Rebase(e.to_string())))
    }
}
