//! Recovery of stores that are libraries: in the worker's own process, or in forks of it.

use crate::dump::Dump;
use crate::recovery::{Lives, Outcome};
use crate::worker::fork::{ChildEnd, Farewell, in_child};
use crate::worker::serve::{Recover, Unclear};
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
    /// It opened, held the first, and the probes added the second.
    Lived(Dump, Dump),
    Refused(String),
    Panicked(String),
}

/// Which of the three lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Open, dump, be killed.
    Killed,
    /// Open, dump, write the probes, close.
    Probed,
}

impl<S: Subject> StoreRecovery<S> {
    /// A recovery whose forked lives may use `cpu_s` seconds of CPU time. Keeps panics off the standard error
    /// of this process, which must be a worker's.
    pub fn new(subject: S, cpu_s: u64) -> Self {
        std::panic::set_hook(Box::new(|info| {
            if let Ok(mut last) = LAST_PANIC.lock() {
                *last = info.to_string();
            }
        }));
        StoreRecovery { subject, cpu_s }
    }

    fn live(&self, dir: &Path, now_ms: u64, part: Part) -> Life {
        let lived = catch_unwind(AssertUnwindSafe(|| self.try_live(dir, now_ms, part)));
        match lived {
            Ok(Ok((held, probes))) => Life::Lived(held, probes),
            Ok(Err(e)) => Life::Refused(with_causes(&*e)),
            Err(_) => {
                let last = LAST_PANIC.lock().map(|mut last| std::mem::take(&mut *last));
                Life::Panicked(last.unwrap_or_default())
            }
        }
    }

    fn try_live(&self, dir: &Path, now_ms: u64, part: Part) -> Result<(Dump, Dump), BoxError> {
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
        if part == Part::Killed {
            s.abandon(life);
            return Ok((held, Dump::default()));
        }
        let probes = s
            .probe(&mut life)
            .map_err(|e| format!("after recovery it takes no writes: {}", with_causes(&*e)))?;
        s.close(life).map_err(|e| format!("after recovery it does not close: {}", with_causes(&*e)))?;
        Ok((held, probes))
    }

    /// One life in a forked child.
    fn forked(
        &self,
        dir: &Path,
        scratch: &Path,
        now_ms: u64,
        part: Part,
    ) -> Result<(Outcome, Dump), Unclear> {
        let log = scratch.join("log");
        let farewell = if part == Part::Killed { Farewell::Killed } else { Farewell::Exit };
        let end = in_child(self.cpu_s, Some(&log), farewell, || {
            // An empty message cannot be a life: it shows as a failure of the harness below.
            postcard::to_stdvec(&self.live(dir, now_ms, part)).unwrap_or_default()
        })
        .map_err(|e| Unclear::Failed(format!("cannot fork: {e}")))?;
        match end {
            ChildEnd::Said(message) => match postcard::from_bytes(&message) {
                Ok(life) => Ok(outcome(life)),
                Err(e) => Err(Unclear::Failed(format!("a forked life's message: {e}"))),
            },
            ChildEnd::OverCpu => Ok((Outcome::Hung { limit_ms: self.cpu_s * 1000 }, Dump::default())),
            ChildEnd::Died(how) => {
                let message = format!("{how}; {}", crate::worker::serve::log_tail(&log));
                Ok((Outcome::Crashed { message }, Dump::default()))
            }
        }
    }
}

impl<S: Subject> Recover for StoreRecovery<S> {
    fn lives(&mut self, dir: &Path, scratch: &Path, now_ms: u64, alone: bool) -> Result<Lives, Unclear> {
        let in_process = self.subject.reusable() && !alone;
        let this = &*self;
        let mut live = |part| {
            let (out, probes) = if in_process {
                outcome(this.live(dir, now_ms, part))
            } else {
                this.forked(dir, scratch, now_ms, part)?
            };
            match out {
                Outcome::Crashed { .. } | Outcome::Hung { .. } if !alone => Err(Unclear::Suspect),
                out => Ok((out, probes)),
            }
        };
        three_lives(&mut live)
    }
}

/// The order of the lives, each only if the one before recovered. The third is killed as the first is.
fn three_lives(live: &mut impl FnMut(Part) -> Result<(Outcome, Dump), Unclear>) -> Result<Lives, Unclear> {
    let recovered = |o: &Outcome| matches!(o, Outcome::Recovered(_));
    let mut lives =
        Lives { first: live(Part::Killed)?.0, second: None, third: None, probes: Dump::default() };
    if recovered(&lives.first) {
        let (second, probes) = live(Part::Probed)?;
        let goes_on = recovered(&second);
        (lives.second, lives.probes) = (Some(second), probes);
        if goes_on {
            lives.third = Some(live(Part::Killed)?.0);
        }
    }
    Ok(lives)
}

/// The last panic's message and place, left there by the hook.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

fn outcome(life: Life) -> (Outcome, Dump) {
    match life {
        Life::Lived(held, probes) => (Outcome::Recovered(held), probes),
        Life::Refused(message) => (Outcome::Refused { message }, Dump::default()),
        Life::Panicked(message) => (Outcome::Crashed { message }, Dump::default()),
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
mod tests {
    use super::*;
    use crate::dump::Entry;

    /// A store of one file whose content decides what happens.
    struct Toy {
        reusable: bool,
    }

    impl Subject for Toy {
        type Life = (std::path::PathBuf, Vec<u8>);
        fn reusable(&self) -> bool {
            self.reusable
        }
        fn open(&self, dir: &Path, _now_ms: u64) -> Result<Self::Life, BoxError> {
            let path = dir.join("data");
            let bytes = std::fs::read(&path)?;
            match bytes.as_slice() {
                b"refuse" => Err("will not".into()),
                b"panic" => panic!("at the disk"),
                b"abort" if !self.reusable => std::process::abort(),
                b"spin" if !self.reusable => loop {
                    std::hint::spin_loop();
                },
                _ => Ok((path, bytes)),
            }
        }
        fn dump(&self, life: &mut Self::Life) -> Result<Dump, BoxError> {
            let lines = life.1.split(|b| *b == b'\n').filter(|l| !l.is_empty());
            Ok(Dump(lines.map(|l| (l.to_vec(), Entry { value: vec![], expires_at_ms: None })).collect()))
        }
        fn probe(&self, life: &mut Self::Life) -> Result<Dump, BoxError> {
            life.1.extend_from_slice(b"\nprobe");
            self.dump(&mut (life.0.clone(), b"probe".to_vec()))
        }
        fn close(&self, life: Self::Life) -> Result<(), BoxError> {
            Ok(std::fs::write(life.0, life.1)?)
        }
        fn abandon(&self, _life: Self::Life) {}
    }

    /// Runs in a fork: the recovery sets the process's panic hook, and other tests run beside this one.
    fn lives(content: &str, reusable: bool, alone: bool) -> Result<Lives, String> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::create_dir(&image).unwrap();
        std::fs::write(image.join("data"), content).unwrap();
        let end = in_child(20, None, Farewell::Exit, || {
            let result = StoreRecovery::new(Toy { reusable }, 1).lives(&image, dir.path(), 0, alone);
            postcard::to_stdvec(&result.map_err(|e| format!("{e:?}"))).unwrap()
        });
        let ChildEnd::Said(message) = end.unwrap() else { panic!("no message") };
        postcard::from_bytes(&message).unwrap()
    }

    fn keys(outcome: &Outcome) -> Vec<String> {
        let Outcome::Recovered(dump) = outcome else { panic!("{outcome:?}") };
        dump.0.keys().map(|k| String::from_utf8_lossy(k).into_owned()).collect()
    }

    #[test]
    fn both_ways_give_the_same_three_lives() {
        let forked = lives("a\nb", false, false).unwrap();
        assert_eq!(forked, lives("a\nb", true, false).unwrap());
        assert_eq!(forked, lives("a\nb", true, true).unwrap());
        assert_eq!(keys(&forked.first), ["a", "b"]);
        assert_eq!(forked.second.as_ref(), Some(&forked.first));
        assert_eq!(keys(&forked.third.unwrap()), ["a", "b", "probe"]);
        assert_eq!(keys(&Outcome::Recovered(forked.probes)), ["probe"]);
    }

    #[test]
    fn a_refusal_convicts_at_once_and_ends_the_lives() {
        for reusable in [false, true] {
            let lives = lives("refuse", reusable, false).unwrap();
            assert_eq!(lives.first, Outcome::Refused { message: "will not".into() });
            assert_eq!((lives.second, lives.third), (None, None));
        }
    }

    #[test]
    fn a_crash_is_a_suspicion_until_repeated_alone() {
        for (content, reusable) in [("panic", true), ("panic", false), ("abort", false), ("spin", false)] {
            assert_eq!(lives(content, reusable, false), Err("Suspect".into()), "{content}");
        }
        let crashed = |content| match lives(content, false, true).unwrap().first {
            Outcome::Crashed { message } => message,
            other => panic!("{other:?}"),
        };
        assert!(crashed("panic").contains("at the disk"));
        assert!(crashed("abort").starts_with("killed by SIGABRT"));
        assert_eq!(lives("spin", false, true).unwrap().first, Outcome::Hung { limit_ms: 1000 });
    }
}
