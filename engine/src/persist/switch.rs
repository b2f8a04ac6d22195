//! From one incr file to the next.

use super::core::Persistence;
use super::disk::{self, ReplaceError};
use super::error::{At, FileError, RewriteError, WriteError};
use super::files::Place;
use super::log::{Log, Trouble, incr_name};
use crate::aof::{FileEntry, FileKind, Manifest};
use std::fs::File;
use std::path::PathBuf;
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// What the next log is made of, as long as no sync has forced it.
struct Next {
    log: Log,
    manifest: Manifest,
    /// The new manifest's text.
    file: File,
    temp: PathBuf,
}

/// What went wrong with which file.
enum Failed {
    /// The old one: what is in it can no longer be known.
    Old(FileError),
    /// One that nothing lists.
    New(FileError),
}

impl Persistence {
    /// Ends the current incr file, written and synced whole, and goes on in a new one that the manifest lists.
    pub(super) fn switch_incr(&mut self) -> Result<(), RewriteError> {
        self.wait_for_sync();
        let policy = self.config.appendfsync;
        let Some(aof) = &mut self.aof else { return Err(RewriteError::Off) };
        if let Some(trouble) = &aof.trouble {
            return Err(WriteError::Broken(trouble.text().to_owned()).into());
        }
        if let Err(e) = aof.log.write() {
            aof.trouble = Some(Trouble::of_write(policy, &e));
            return Err(RewriteError::Write(e.into()));
        }
        let seq = aof.take_incr();
        let mut next = aof.place.prepare(&aof.manifest, seq, aof.log.end())?;
        match sync_all(&aof.place, &mut aof.log, &mut next) {
            Ok(()) => {}
            Err(failed) => {
                next.remove();
                return Err(match failed {
                    Failed::New(e) => e.into(),
                    Failed::Old(e) => {
                        aof.trouble = Some(Trouble::Rebase(e.to_string()));
                        RewriteError::Write(e.into())
                    }
                });
            }
        }
        match disk::put_in_place(&aof.place.dir, &next.temp, &aof.place.manifest_path()) {
            Ok(()) => {}
            Err(ReplaceError::Before(e)) => {
                next.remove();
                return Err(e.into());
            }
            Err(ReplaceError::Unknown(e)) => {
                // If the new manifest is the durable one, the old file must not grow: the new one's header
                // says how it ends. If it is not, what goes to the new file is lost.
                aof.trouble = Some(Trouble::Rebase(e.to_string()));
                return Err(e.into());
            }
        }
        aof.settled_size += aof.log.len();
        aof.manifest = next.manifest;
        aof.log = next.log;
        aof.oldest_unsynced_ms = None;
        aof.postponed_since_ms = None;
        Ok(())
    }
}

impl Place {
    /// Makes the incr file `seq`, the manifest that lists it, and the old manifest's second name; nothing is synced.
    fn prepare(&self, old: &Manifest, seq: u64, end: (u64, u64)) -> Result<Next, FileError> {
        let name = incr_name(&self.prefix, seq);
        let path = self.dir.join(&name);
        let prepared = || {
            let log = Log::create_unsynced(path.clone(), seq, self.chained, Some(end))?;
            let mut manifest = Manifest { foreign: !self.chained, ..old.clone() };
            let chained = self.chained;
            manifest.files.push(FileEntry { name, seq, kind: FileKind::Incr, chained, tie: None });
            let (file, temp) = self.write_manifest(&manifest)?;
            disk::keep_second_name(&self.dir, &self.manifest_path())?;
            Ok(Next { log, manifest, file, temp })
        };
        prepared().inspect_err(|_| {
            // Nothing lists them, so they are nobody's; the next start removes what this cannot.
            for path in [&path, &self.temp_manifest()] {
                let _ = disk::remove_if_there(path);
            }
        })
    }
}

impl Next {
    /// Nothing lists them, so they are nobody's; the next start removes what this cannot.
    fn remove(&self) {
        for path in [&self.log.path, &self.temp] {
            let _ = disk::remove_if_there(path);
        }
    }
}

/// Syncs both logs, the new manifest and the directory, all at once: each has to wait for the disk, and a file system
/// with a journal makes one commit of them.
fn sync_all(place: &Place, old: &mut Log, next: &mut Next) -> Result<(), Failed> {
    let (old_log, Next { log, file, temp, .. }) = (&*old, &*next);
    let due = old_log.synced() < old_log.len() && !sabotaged!("incr-left-unsynced");
    let sync_old = || old_log.force();
    let sync_new = || log.force();
    let sync_file =
        || if sabotaged!("rename-before-fsync") { Ok(()) } else { file.sync_all().at("write", temp) };
    let (old_forced, new_forced) = std::thread::scope(|scope| {
        let forced_old = due.then(|| aside(scope, &sync_old));
        let forced_new = [aside(scope, &sync_new), aside(scope, &sync_file)];
        let names =
            if sabotaged!("no-directory-sync-before-rename") { Ok(()) } else { disk::sync_dir(&place.dir) };
        let new = forced_new.into_iter().map(Aside::result).fold(names, Result::and);
        (forced_old.map_or(Ok(()), Aside::result), new)
    });
    old_forced.map_err(Failed::Old)?;
    if due {
        old.was_synced(old.len());
    }
    new_forced.map_err(Failed::New)?;
    next.log.was_synced(next.log.len());
    Ok(())
}

type Synced = Result<(), FileError>;

/// A sync in a thread of its own; where there is no thread to be had, one that was made at once.
enum Aside<'s> {
    Runs(ScopedJoinHandle<'s, Synced>),
    Over(Synced),
}

fn aside<'s, 'e>(scope: &'s Scope<'s, 'e>, sync: &'e (dyn Fn() -> Synced + Sync)) -> Aside<'s> {
    let thread = Builder::new().name("aof-switch".into()).spawn_scoped(scope, sync);
    thread.map_or_else(|_| Aside::Over(sync()), Aside::Runs)
}

impl Aside<'_> {
    fn result(self) -> Synced {
        match self {
            Aside::Over(result) => result,
            // A panic goes on here: there is none of its own.
            Aside::Runs(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        }
    }
}
