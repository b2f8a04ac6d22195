//! Recovery of stores that are libraries: in the worker's own process, or in forks of it.

use crate::dump::Dump;
use crate::recovery::{Lives, Outcome};
use crate::worker::fork::{ChildEnd, Farewell, in_child};
use crate::worker::serve::{Ground, Recover, Unclear};
use crate::worker::three::{Between, Lived, Part, three_lives};
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

/// Any error of a store.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A store that can be opened in this process.
pub trait Subject {
    /// An open store.
    type Life;

    /// Whether a life may be abandoned in this process and another opened: it then leaves no thread, lock or
    /// global behind that the next would meet. Faster by far than a fork for each life.
    fn reusable(&self) -> bool;

    /// Opens the store in `dir`; its clock stands at `now_ms`, if it takes one.
    ///
    /// # Errors
    /// The store declines to open.
    fn open(&self, dir: &Path, now_ms: u64) -> Result<Self::Life, BoxError>;

    /// All that it holds.
    ///
    /// # Errors
    /// The store cannot be read.
    fn dump(&self, life: &mut Self::Life) -> Result<Dump, BoxError>;

    /// Writes what no workload writes, as durably as the store can, and says what it adds to a dump.
    ///
    /// # Errors
    /// The store takes no writes.
    fn probe(&self, life: &mut Self::Life) -> Result<Dump, BoxError>;

    /// Closes in order.
    ///
    /// # Errors
    /// The store says that closing failed.
    fn close(&self, life: Self::Life) -> Result<(), BoxError>;

    /// Drops what the life holds without writing, flushing or syncing anything: as SIGKILL does.
    fn abandon(&self, life: Self::Life);
}

/// Recovers images with a [`Subject`].
#[derive(Debug)]
pub struct StoreRecovery<S> {
    subject: S,
    /// CPU seconds that one forked life may use.
    cpu_s: u64,
}

/// What one life came to.
#[derive(Debug, Serialize, Deserialize)]
enum Life {
    /// It opened, held the first, and the probes, where they were written, added the second.
    Lived(Dump, Option<Dump>),
    Refused(String),
    Panicked(String),
    /// Something went wrong in the second half of a life that was two: which is to blame shows when they are two.
    Unclear,
}

impl<S: Subject> StoreRecovery<S> {
    /// A recovery whose forked lives may use `cpu_s` seconds of CPU time. Keeps panics off the standard error
    /// of this process, which must be a worker's.
    pub fn new(subject: S, cpu_s: u64) -> Self {
        std::panic::set_hook(Box::new(|info| {
            if let Ok(mut last) = LAST_PANIC.lock() {
                *last = on_one_line(&info.to_string());
            }
        }));
        StoreRecovery { subject, cpu_s }
    }

    fn live(&self, dir: &Path, now_ms: u64, part: Part<'_>) -> Life {
        let lived = catch_unwind(AssertUnwindSafe(|| self.try_live(dir, now_ms, part)));
        match lived {
            Ok(Ok(life)) => life,
            Ok(Err(e)) => Life::Refused(with_causes(&*e)),
            Err(_) => {
                let last = LAST_PANIC.lock().map(|mut last| std::mem::take(&mut *last));
                Life::Panicked(last.unwrap_or_default())
            }
        }
    }

    fn try_live(&self, dir: &Path, now_ms: u64, part: Part<'_>) -> Result<Life, BoxError> {
        let s = &self.subject;
        let mut life = s.open(dir, now_ms)?;
        let held = match s.dump(&mut life) {
            Ok(held) => held,
            Err(e) => {
                // Not dropped: a destructor might write.
                s.abandon(life);
                return Err(e);
            }
        };
        if !part.goes_on(&held) {
            s.abandon(life);
            return Ok(Life::Lived(held, None));
        }
        match (self.probe_and_close(life), part) {
            (Ok(probes), _) => Ok(Life::Lived(held, Some(probes))),
            (Err(_), Part::Both(_)) => Ok(Life::Unclear),
            (Err(e), _) => Err(e),
        }
    }

    fn probe_and_close(&self, mut life: S::Life) -> Result<Dump, BoxError> {
        let s = &self.subject;
        let probes = s
            .probe(&mut life)
            .map_err(|e| format!("after recovery it takes no writes: {}", with_causes(&*e)))?;
        s.close(life).map_err(|e| format!("after recovery it does not close: {}", with_causes(&*e)))?;
        Ok(probes)
    }

    /// One life in a forked child.
    fn forked(&self, dir: &Path, scratch: &Path, now_ms: u64, part: Part<'_>) -> Lived {
        let log = scratch.join("log");
        let farewell = if matches!(part, Part::Probed) { Farewell::Exit } else { Farewell::Killed };
        let end = in_child(self.cpu_s, Some(&log), farewell, || {
            // An empty message cannot be a life: it shows as a failure of the harness below.
            postcard::to_stdvec(&self.live(dir, now_ms, part)).unwrap_or_default()
        })
        .map_err(|e| Unclear::Failed(format!("cannot fork: {e}")))?;
        match end {
            ChildEnd::Said(message) => match postcard::from_bytes(&message) {
                Ok(life) => outcome(life),
                Err(e) => Err(Unclear::Failed(format!("a forked life's message: {e}"))),
            },
            ChildEnd::OverCpu => Ok((Outcome::Hung { limit_ms: self.cpu_s * 1000 }, None)),
            ChildEnd::Died(how) => {
                let message = format!("{how}; {}", crate::worker::serve::log_tail(&log));
                Ok((Outcome::Crashed { message }, None))
            }
        }
    }

    fn three(
        &self,
        (dir, scratch): (&Path, &Path),
        now_ms: u64,
        alone: bool,
        untouched: Option<&dyn Fn() -> bool>,
    ) -> Result<(Lives, bool), Unclear> {
        let in_process = self.subject.reusable() && !alone;
        three_lives(alone, Between { untouched, spare: None }, |part| match in_process {
            true => outcome(self.live(dir, now_ms, part)),
            false => self.forked(dir, scratch, now_ms, part),
        })
    }
}

impl<S: Subject> Recover for StoreRecovery<S> {
    fn lives(&mut self, dir: &Path, scratch: &Path, now_ms: u64, alone: bool) -> Result<Lives, Unclear> {
        self.three((dir, scratch), now_ms, alone, None).map(|(lives, _)| lives)
    }

    fn lives_on(&mut self, ground: &Ground<'_>, now_ms: u64, alone: bool) -> Result<Lives, Unclear> {
        let untouched = || ground.is_untouched();
        let (lives, merged) = self.three((ground.dir, ground.scratch), now_ms, alone, Some(&untouched))?;
        ground.merged.set(merged);
        Ok(lives)
    }
}

/// The last panic's message, left there by the hook.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// What a panic says, without the line that says where: a path of this machine. Of several lines (an assertion's sides) the
/// first says most, and a report has room for one.
fn on_one_line(panic: &str) -> String {
    let said = panic.split_once('\n').map_or(panic, |(_, said)| said);
    said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

fn outcome(life: Life) -> Lived {
    match life {
        Life::Lived(held, probes) => Ok((Outcome::Recovered(held), probes)),
        Life::Refused(message) => Ok((Outcome::Refused { message }, None)),
        Life::Panicked(message) => Ok((Outcome::Crashed { message }, None)),
        Life::Unclear => Err(Unclear::Suspect),
    }
}

/// An error with its causes on one line.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
