//! BGREWRITEAOF: new incr file, child, new base.

use super::complain::{complain, complain_in_child};
use super::core::{Aof, Child, Job, Persistence};
use super::disk::{self, ReplaceError};
use super::error::{FileError, RewriteError, RewriteStart, WriteError};
use super::files::Place;
use super::fork::{self, Ended};
use super::install::{Base, Install};
use super::log::{Log, Trouble, incr_name};
use super::single;
use crate::aof::Manifest;
use crate::config::AofLayout;
use crate::keyspace::Keyspace;

/// Redis waits after this many automatic rewrites failed in a row: a minute, then twice that, up to an hour.
const FAILURES_ALLOWED: u32 = 3;
/// To find out how much memory a child has to itself takes a while: not for a smaller base.
const WORTH_MEASURING: u64 = 1 << 20;

impl Persistence {
    /// Starts a rewrite. `keyspace` must hold exactly what was logged: the buffer's commands included.
    pub fn begin_rewrite(&mut self, keyspace: &Keyspace, now_ms: u64) -> Result<RewriteStart, RewriteError> {
        match &self.child {
            None if self.install.is_some() => return Err(RewriteError::InProgress),
            Some(Child { job: Job::Rewrite { .. }, .. }) => return Err(RewriteError::InProgress),
            Some(_) => {
                self.rewrite_scheduled = true;
                return Ok(RewriteStart::Scheduled);
            }
            None => {}
        }
        if sabotaged!("base-forked-late") && !self.rewrite_scheduled {
            // The new incr file begins now; the timer's next tick forks.
            self.rewrite_scheduled = true;
            if self.is_single() {
                self.settle_single()?;
                self.aof.iter_mut().for_each(|aof| aof.log.begin_diff());
                return Ok(RewriteStart::Started);
            }
            return self.switch_incr().map(|()| RewriteStart::Started);
        }
        let Some(aof) = &self.aof else { return Err(RewriteError::Off) };
        if aof.log.in_transaction() {
            // Half a transaction must not go to one file and half to the next.
            self.rewrite_scheduled = true;
            return Ok(RewriteStart::Scheduled);
        }
        self.rewrite_scheduled = false;
        let started = self.start_rewrite(keyspace, now_ms);
        if started.is_err() {
            self.rewrite_did_fail(now_ms);
        }
        started.map(|()| RewriteStart::Started)
    }

    fn start_rewrite(&mut self, keyspace: &Keyspace, now_ms: u64) -> Result<(), RewriteError> {
        let single = self.is_single();
        if single {
            self.settle_single()?;
        } else if !sabotaged!("base-forked-late") {
            self.switch_incr()?;
        }
        let Some(aof) = &mut self.aof else { return Err(RewriteError::Off) };
        let first_incr = aof.log.seq;
        let base_seq = aof.take_base();
        let place = aof.place.clone();
        let spawned = fork::spawn_reporting(&self.not_for_children, |reporter| {
            let written = place.write_base(keyspace, base_seq, (!single).then_some(first_incr), now_ms);
            let temp = place.base_temp(base_seq);
            if std::fs::metadata(temp).is_ok_and(|m| m.len() >= WORTH_MEASURING) {
                reporter.tell(0);
            }
            written.inspect_err(|e| complain_in_child("the append-only file was not rewritten", e)).is_ok()
        });
        let (pid, reports) =
            spawned.map_err(|source| FileError { doing: "fork for", path: place.dir.clone(), source })?;
        if single && !sabotaged!("base-forked-late") {
            aof.log.begin_diff();
        }
        self.child = Some(Child { pid, job: Job::Rewrite { place, base_seq, first_incr } });
        self.stats.begun += 1;
        self.stats.reports = Some(reports);
        self.stats.began_ms = now_ms;
        Ok(())
    }

    fn is_single(&self) -> bool {
        self.aof.as_ref().is_some_and(|aof| aof.place.layout == AofLayout::Single)
    }

    /// Writes what is pending to the single file: it is older than the fork, so it is in the base, and must not be
    /// among what goes behind it.
    fn settle_single(&mut self) -> Result<(), RewriteError> {
        let policy = self.config.appendfsync;
        let Some(aof) = &mut self.aof else { return Err(RewriteError::Off) };
        if let Some(trouble) = &aof.trouble {
            return Err(WriteError::Broken(trouble.text().to_owned()).into());
        }
        let written = aof.log.write();
        written.map_err(|e| {
            aof.trouble = Some(Trouble::of_write(policy, &e));
            RewriteError::Write(e.into())
        })
    }

    /// The child has ended.
    pub(super) fn finish_rewrite(
        &mut self,
        ended: Ended,
        place: &Place,
        base_seq: u64,
        first_incr: u64,
        now_ms: u64,
    ) {
        let told = self.stats.reports.take().and_then(|mut reports| reports.latest());
        self.stats.last_cow = told.map_or(0, |p| p.private_dirty);
        self.stats.last_s = Some(now_ms.saturating_sub(self.stats.began_ms) / 1000);
        let Some(aof) = &mut self.aof else { return };
        let done = if ended == Ended::Ok || sabotaged!("failed-child-installed") {
            match place.layout {
                AofLayout::Multi => {
                    self.install = Some(Install::start(Base {
                        place: place.clone(),
                        manifest: aof.manifest.clone(),
                        entry: place.base_entry(base_seq),
                        first_incr,
                        log_seq: aof.log.seq,
                    }));
                    return self.take_installed(now_ms);
                }
                AofLayout::Single => install_single(aof, place, base_seq),
            }
        } else {
            drop(aof.log.end_diff());
            let _ = disk::remove_if_there(&place.base_temp(base_seq));
            false
        };
        self.rewrite_ended(done, now_ms);
    }

    /// A rewrite has ended, well or not.
    pub(super) fn rewrite_ended(&mut self, done: bool, now_ms: u64) {
        if done {
            self.rewrite_failed = false;
            self.rewrite_failures = 0;
            self.rewrite_not_before_ms = 0;
        } else {
            self.rewrite_did_fail(now_ms);
        }
    }

    fn rewrite_did_fail(&mut self, now_ms: u64) {
        self.rewrite_failed = true;
        self.rewrite_failures = self.rewrite_failures.saturating_add(1);
        if self.rewrite_failures >= FAILURES_ALLOWED {
            let minutes = 1u64 << (self.rewrite_failures - FAILURES_ALLOWED).min(6);
            self.rewrite_not_before_ms = now_ms + 60_000 * minutes.min(60);
        }
    }

    /// Writes everything anew from memory, in the foreground: base, incr file and manifest. For the first
    /// start, for switching the log on, and when the old files cannot be trusted any more.
    pub(super) fn rebase(aof: &mut Aof, keyspace: &Keyspace, now_ms: u64) -> Result<(), FileError> {
        if aof.place.layout == AofLayout::Single {
            let seq = aof.take_base();
            match aof.place.anew_single(keyspace, seq, now_ms) {
                Ok(log) => aof.log = log,
                Err(ReplaceError::Before(e)) => return Err(e),
                Err(ReplaceError::Unknown(e)) => {
                    aof.trouble = Some(Trouble::Rebase(e.to_string()));
                    return Err(e);
                }
            }
            aof.settle_anew();
            return Ok(());
        }
        let numbers = aof.take_numbers();
        let (log, manifest) = write_anew(&aof.place, &aof.manifest, numbers, keyspace, now_ms)?;
        aof.manifest = manifest;
        aof.log = log;
        // Should this fail, the next manifest still lists them as history, and its purge tries again.
        let _ = aof.place.purge(&mut aof.manifest);
        aof.settled_size = aof.place.base_size(&aof.manifest);
        aof.settle_anew();
        Ok(())
    }
}

impl Aof {
    /// The log was written anew: whatever was the matter with the old one is over.
    fn settle_anew(&mut self) {
        self.trouble = None;
        self.oldest_unsynced_ms = None;
        self.postponed_since_ms = None;
        self.rewritten_size = self.size();
    }
}

/// Puts the child's file, and what was logged since the fork, in the place of the single file.
fn install_single(aof: &mut Aof, place: &Place, seq: u64) -> bool {
    match single::finish_single(aof, place, seq) {
        Ok(()) => true,
        Err(ReplaceError::Before(e)) => {
            complain("the rewritten file cannot be put in place", &e);
            false
        }
        Err(ReplaceError::Unknown(e)) => {
            // Neither file may grow: the other one may be what a start finds.
            aof.trouble = Some(Trouble::Rebase(e.to_string()));
            false
        }
    }
}

/// Base, incr file and manifest from memory. What a failure leaves behind is removed where nothing can need it.
pub(super) fn write_anew(
    place: &Place,
    old: &Manifest,
    (base_seq, incr_seq): (u64, u64),
    keyspace: &Keyspace,
    now_ms: u64,
) -> Result<(Log, Manifest), FileError> {
    let entry = place.base_entry(base_seq);
    let base_path = place.dir.join(&entry.name);
    let incr_path = place.dir.join(incr_name(&place.prefix, incr_seq));
    let files = || {
        place.write_base(keyspace, base_seq, Some(incr_seq), now_ms)?;
        let base = place.name_base(entry)?;
        place.new_incr(incr_seq, None).map(|(log, incr)| (log, base, incr))
    };
    let put = files().map_err(ReplaceError::Before).and_then(|(log, base, incr)| {
        let mut manifest = place.succeed(old, base, u64::MAX);
        manifest.files.push(incr);
        place.put_manifest(&manifest).map(|()| (log, manifest))
    });
    put.map_err(|e| {
        if matches!(e, ReplaceError::Before(_)) {
            for path in [&place.base_temp(base_seq), &base_path, &incr_path] {
                let _ = disk::remove_if_there(path);
            }
        }
        e.into_inner()
    })
}
