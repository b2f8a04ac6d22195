//! The checker of a command: what it is told, what it may say, and the worker that runs it on images.

use crate::dump::Dump;
use crate::recovery::{Lives, Outcome};
use crate::target::command_oracle::{dump, multiset};
use crate::target::command_run::shell;
use crate::target::server::{Server, how};
use crate::worker::fork::limit_cpu;
use crate::worker::pool::Limits;
use crate::worker::serve::log_tail;
use crate::worker::{Recover, Unclear, serve};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Names the job's file to a worker. Not an argument: those stand in repros, which must not depend on a place.
pub(crate) const ENV_JOB: &str = "UNPLUG_COMMAND_JOB";
/// The subcommand of a worker, not for people.
pub const WORKER: &str = "__command-worker";
/// How many lines the checker is to find.
const ENV_ACKED: &str = "UNPLUG_ACKED";
/// A file with those lines.
const ENV_ACKED_FILE: &str = "UNPLUG_ACKED_FILE";

/// What a worker is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) check: String,
    pub(crate) prints: bool,
    /// All lines of the run, in order.
    pub(crate) lines: Vec<Vec<u8>>,
}

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// So often each line.
    Lines(BTreeMap<Vec<u8>, u64>),
    /// It is not content, whatever was acknowledged.
    Refused(String),
    /// It died of a signal.
    Crashed(String),
    /// It used up its CPU time.
    Hung,
}

/// Runs the checker on a directory, and finds out how many of the run's lines are there.
///
/// A checker that *prints* is run once, and its lines are the answer. Another one is asked: with `UNPLUG_ACKED=n`
/// it is to exit with 0 if the first `n` lines of the run (which stand in the file `UNPLUG_ACKED_FILE`) are there,
/// whether or not more are. The greatest `n` with which it is content is the answer; as who finds `n` lines finds
/// fewer, few questions find it. So an image need not be checked again for every moment at which it can arise.
#[derive(Debug)]
pub(crate) struct Checker {
    job: Job,
    cpu: Duration,
    wall: Duration,
}

/// What the checker said to one question.
enum Said {
    Yes,
    No(String),
    Else(Found),
}

/// What a shell exits with for a program that cannot be run, or is not there.
const NOT_RUN: [i32; 2] = [126, 127];
/// What a shell exits with for a program that a signal ended.
const SIGNAL: i32 = 128;

impl Checker {
    /// The checker of this job.
    pub(crate) fn read(job: &Path) -> std::io::Result<Checker> {
        let job = postcard::from_bytes(&std::fs::read(job)?).map_err(std::io::Error::other)?;
        let limits = Limits::asked().map_err(std::io::Error::other)?;
        Ok(Checker { job, cpu: limits.cpu, wall: limits.wall / 2 })
    }

    /// What it finds in the directory.
    ///
    /// # Errors
    /// There is no answer, and it is not the store's fault.
    pub(crate) fn found(&mut self, dir: &Path, scratch: &Path) -> Result<Found, String> {
        if self.job.prints {
            return self.printed(dir, scratch);
        }
        match self.ask(0, dir, scratch)? {
            Said::Yes => {}
            Said::No(message) => return Ok(Found::Refused(message)),
            Said::Else(found) => return Ok(found),
        }
        // Content with `low`, not with more than `high`.
        let (mut low, mut high) = (0, self.job.lines.len());
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.ask(middle, dir, scratch)? {
                Said::Yes => low = middle,
                Said::No(_) => high = middle - 1,
                Said::Else(found) => return Ok(found),
            }
        }
        Ok(self.first(low))
    }

    /// Whether it finds the same once more: fewer questions than to find out anew.
    fn again(&mut self, before: &Found, dir: &Path, scratch: &Path) -> Result<Found, String> {
        let count = match before {
            Found::Lines(lines) if !self.job.prints => lines.values().sum::<u64>() as usize,
            _ => return self.found(dir, scratch),
        };
        let same = matches!(self.ask(count, dir, scratch)?, Said::Yes)
            && (count == self.job.lines.len() || matches!(self.ask(count + 1, dir, scratch)?, Said::No(_)));
        if same { Ok(before.clone()) } else { self.found(dir, scratch) }
    }

    fn first(&self, n: usize) -> Found {
        Found::Lines(multiset(self.job.lines.iter().take(n).map(Vec::as_slice)))
    }

    fn ask(&self, n: usize, dir: &Path, scratch: &Path) -> Result<Said, String> {
        let acked = scratch.join("acked");
        let mut lines = self.job.lines[..n].join(&b'\n');
        if n > 0 {
            lines.push(b'\n');
        }
        std::fs::write(&acked, lines).map_err(|e| format!("{}: {e}", acked.display()))?;
        let mut command = shell(&self.job.check, dir);
        command.env(ENV_ACKED, n.to_string()).env(ENV_ACKED_FILE, &acked);
        self.run(command, scratch, None)
    }

    fn printed(&self, dir: &Path, scratch: &Path) -> Result<Found, String> {
        let path = scratch.join("found");
        let file = std::fs::File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(match self.run(shell(&self.job.check, dir), scratch, Some(Stdio::from(file)))? {
            Said::Yes => {
                let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                let lines = text.split(|b| *b == b'\n').filter(|_| !bytes.is_empty());
                Found::Lines(multiset(lines))
            }
            Said::No(message) => Found::Refused(message),
            Said::Else(found) => found,
        })
    }

    fn run(
        &self,
        mut command: std::process::Command,
        scratch: &Path,
        stdout: Option<Stdio>,
    ) -> Result<Said, String> {
        limit_cpu(&mut command, self.cpu.as_secs());
        let log = scratch.join("log");
        let spawned = match stdout {
            Some(stdout) => Server::spawn_to(command, &log, stdout),
            None => Server::spawn(command, &log),
        };
        let mut process = spawned.map_err(|e| format!("the checker cannot be started: {e}"))?;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = process.ended() {
                break status;
            }
            if start.elapsed() > self.wall {
                return Err(format!("{} s without an end; {}", self.wall.as_secs(), log_tail(&log)));
            }
            std::thread::sleep(Duration::from_micros(300));
        };
        let message = || format!("{}; {}", how(status), log_tail(&log));
        let signal =
            status.signal().or_else(|| status.code().map(|c| c - SIGNAL).filter(|s| (1..=64).contains(s)));
        Ok(match (status.code(), signal) {
            (Some(0), _) => Said::Yes,
            (Some(code), _) if NOT_RUN.contains(&code) => {
                return Err(format!("the checker cannot be run: {}", message()));
            }
            (_, Some(libc::SIGXCPU)) => Said::Else(Found::Hung),
            (_, Some(_)) => Said::Else(Found::Crashed(message())),
            _ => Said::No(message()),
        })
    }
}

impl Recover for Checker {
    /// The first and the second look at one directory: the checker may repair, and must then find the same. There is
    /// nothing to write to, so that the third start is the second.
    fn lives(&mut self, dir: &Path, scratch: &Path, _now_ms: u64, alone: bool) -> Result<Lives, Unclear> {
        let limit_ms = self.cpu.as_millis() as u64;
        let outcome = |found: &Found| match found {
            Found::Crashed(_) | Found::Hung if !alone => Err(Unclear::Suspect),
            Found::Lines(lines) => Ok(Outcome::Recovered(dump(lines))),
            Found::Refused(message) => Ok(Outcome::Refused { message: message.clone() }),
            Found::Crashed(message) => Ok(Outcome::Crashed { message: message.clone() }),
            Found::Hung => Ok(Outcome::Hung { limit_ms }),
        };
        let found = self.found(dir, scratch).map_err(Unclear::Failed)?;
        let mut lives = Lives { first: outcome(&found)?, second: None, third: None, probes: Dump::default() };
        if let Outcome::Recovered(_) = lives.first {
            let second = outcome(&self.again(&found, dir, scratch).map_err(Unclear::Failed)?)?;
            lives.third = matches!(second, Outcome::Recovered(_)).then(|| second.clone());
            lives.second = Some(second);
        }
        Ok(lives)
    }
}

/// What `unplug __command-worker` does: serves jobs until the parent is gone.
///
/// # Errors
/// The process was not started by a pool, or lost its parent.
pub fn work() -> std::io::Result<()> {
    let job =
        std::env::var_os(ENV_JOB).ok_or_else(|| std::io::Error::other(format!("{ENV_JOB} is not set")))?;
    serve(&mut Checker::read(Path::new(&job))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checker(check: &str, prints: bool, lines: &[&str]) -> Checker {
        let lines = lines.iter().map(|l| l.as_bytes().to_vec()).collect();
        let job = Job { check: check.into(), prints, lines };
        Checker { job, cpu: Duration::from_secs(1), wall: Duration::from_secs(30) }
    }

    /// What a checker finds where the file `f` holds this.
    fn found(check: &str, prints: bool, content: &str) -> Result<Found, String> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::create_dir(&image).unwrap();
        std::fs::write(image.join("f"), content).unwrap();
        checker(check, prints, &["a", "b", "c", "d", "e"]).found(&image, dir.path())
    }

    fn lines(text: &str) -> Found {
        Found::Lines(multiset(text.split_terminator('\n').map(str::as_bytes)))
    }

    #[test]
    fn the_greatest_number_of_lines_that_are_there_is_found() {
        let all = ["", "a\n", "a\nb\n", "a\nb\nc\n", "a\nb\nc\nd\n", "a\nb\nc\nd\ne\n"];
        for content in all {
            let count = "test $(wc -l < f) -ge $UNPLUG_ACKED";
            assert_eq!(found(count, false, content), Ok(lines(content)));
            let each = "while read line; do grep -qx \"$line\" f || exit 1; done < $UNPLUG_ACKED_FILE";
            assert_eq!(found(each, false, content), Ok(lines(content)));
            assert_eq!(found("cat f", true, content), Ok(lines(content)));
        }
        // Without `a`, the later ones do not count for who asks in order.
        let each = "while read line; do grep -qx \"$line\" f || exit 1; done < $UNPLUG_ACKED_FILE";
        assert_eq!(found(each, false, "b\nc\n"), Ok(lines("")));
        assert_eq!(found("cat f", true, "x\nx\n\n"), Ok(lines("x\nx\n\n")));
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let refused = |found| match found {
            Ok(Found::Refused(message)) => message,
            other => panic!("{other:?}"),
        };
        assert!(refused(found("echo torn >&2; exit 3", false, "")).contains("exit status: 3; torn"));
        assert!(refused(found("echo torn >&2; exit 3", true, "")).contains("torn"));
        assert!(found("no-such-program-at-all", false, "").unwrap_err().contains("cannot be run"));
        assert!(matches!(found("kill -SEGV $$", false, ""), Ok(Found::Crashed(_))));
        // A child that dies of a signal is no answer either; the shell says it by its status.
        assert!(matches!(found("sh -c 'kill -SEGV $$'; exit $?", false, ""), Ok(Found::Crashed(_))));
        assert_eq!(found("while :; do :; done", false, ""), Ok(Found::Hung));
    }

    #[test]
    fn a_checker_that_repairs_finds_the_same_again_or_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        let lives = |check: &str| {
            let _ = std::fs::remove_dir_all(&image);
            std::fs::create_dir(&image).unwrap();
            std::fs::write(image.join("f"), "a\nb\n").unwrap();
            checker(check, true, &["a", "b"]).lives(&image, dir.path(), 0, true).unwrap()
        };
        let kept = lives("cat f");
        assert_eq!(kept.second.as_ref(), Some(&kept.first));
        assert_eq!(kept.third, kept.second);
        let eaten = lives("cat f; : > f");
        assert_ne!(eaten.second.as_ref(), Some(&eaten.first));
    }
}
