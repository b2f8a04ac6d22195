//! The end of a rewrite of a directory of files, in a thread: no client waits for what it syncs and unlinks.
//!
//! The log goes on meanwhile: it is the last incr file of each manifest that can be the durable one. Whoever changes the
//! manifest, or reads what it lists, waits for the end first.

use super::complain::complain;
use super::core::Persistence;
use super::disk::{self, ReplaceError};
use super::files::Place;
use super::log::Trouble;
use crate::aof::{FileEntry, FileKind, Manifest};
use std::thread::{Builder, JoinHandle};

/// What is to become the base, and of what.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) place: Place,
    /// The manifest that is in force.
    pub(super) manifest: Manifest,
    pub(super) entry: FileEntry,
    /// The incr files from this number on stay current.
    pub(super) first_incr: u64,
    /// The number of the log.
    pub(super) log_seq: u64,
}

/// How it went.
pub(super) struct Installed {
    /// The manifest that is in force now.
    manifest: Manifest,
    /// The size of all its files but the log; `None` if the base was not put in place for sure.
    settled_size: Option<u64>,
}

/// An installation that has not been taken note of.
pub(super) enum Install {
    Runs(JoinHandle<Installed>),
    /// It was done at once, as no thread was to be had.
    Over(Installed),
}

impl Install {
    pub(super) fn start(base: Base) -> Install {
        let here = base.clone();
        let thread = Builder::new().name("aof-install".into()).spawn(move || base.install());
        thread.map_or_else(|_| Install::Over(here.install()), Install::Runs)
    }

    fn is_over(&self) -> bool {
        match self {
            Install::Runs(thread) => thread.is_finished(),
            Install::Over(_) => true,
        }
    }
}

impl Base {
    /// Makes the child's file the base. Whatever fails, what the manifest on the disk lists is whole: the old files go
    /// only when the new manifest is durable, and both manifests say the same data.
    fn install(self) -> Installed {
        let Base { place, manifest: old, entry, first_incr, log_seq } = self;
        let (temp, base_path) = (place.base_temp(entry.seq), place.dir.join(&entry.name));
        let entry = match place.name_base(entry) {
            Ok(entry) => entry,
            Err(e) => {
                complain("the rewritten file cannot be put in place", &e);
                let _ = disk::remove_if_there(&temp);
                let _ = disk::remove_if_there(&base_path);
                return Installed { manifest: old, settled_size: None };
            }
        };
        let mut manifest = place.succeed(&old, entry, first_incr);
        if sabotaged!("history-deleted-first") {
            for f in manifest.files.iter().filter(|f| f.kind == FileKind::History) {
                let _ = disk::remove_if_there(&place.dir.join(&f.name));
            }
        }
        match place.put_manifest(&manifest) {
            Ok(()) => {}
            Err(ReplaceError::Before(e)) => {
                complain("the rewritten file cannot be put in place", &e);
                let _ = disk::remove_if_there(&base_path);
                return Installed { manifest: old, settled_size: None };
            }
            // Nothing is deleted: history goes with the next manifest that is known to be durable.
            Err(ReplaceError::Unknown(e)) => {
                complain("whether the rewritten file is in place cannot be known", &e);
                return Installed { manifest, settled_size: None };
            }
        }
        let _ = place.purge(&mut manifest);
        let incrs: u64 = manifest
            .incrs()
            .filter(|f| f.seq != log_seq)
            .filter_map(|f| std::fs::metadata(place.dir.join(&f.name)).ok().map(|m| m.len()))
            .sum();
        let settled_size = Some(place.base_size(&manifest) + incrs);
        Installed { manifest, settled_size }
    }
}

impl Persistence {
    /// Takes note of an installation that is over.
    pub(super) fn take_installed(&mut self, now_ms: u64) {
        if self.install.as_ref().is_some_and(Install::is_over) {
            self.finish_install(now_ms);
        }
    }

    /// Waits for an installation to be over, and takes note of it.
    pub(super) fn finish_install(&mut self, now_ms: u64) {
        let installed = match self.install.take() {
            None => return,
            Some(Install::Over(installed)) => Ok(installed),
            Some(Install::Runs(thread)) => thread.join(),
        };
        let Some(aof) = &mut self.aof else { return };
        let settled_size = match installed {
            Ok(installed) => {
                aof.manifest = installed.manifest;
                installed.settled_size
            }
            Err(_) => {
                // Nothing in it panics. If it has, nobody knows what the files are.
                aof.trouble = Some(Trouble::Rebase("the thread that ends a rewrite has panicked".into()));
                None
            }
        };
        if let Some(size) = settled_size {
            aof.settled_size = size;
            aof.rewritten_size = aof.size();
        }
        self.rewrite_ended(settled_size.is_some(), now_ms);
    }
}
