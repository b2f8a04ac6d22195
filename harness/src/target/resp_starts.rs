//! How RESP servers are started on images.
//!
//! A start is the fork of a template (`template.rs`), once a directory with data has come back the same
//! from a fork and from a plain start (the third start of an image finds at least the probes); until then both are made,
//! and the plain one counts. A server for which
//! there is no template, or whose forks differ, is started plainly, and so is what is repeated alone.

use crate::recovery::{Lives, Outcome};
use crate::target::resp_guess::Guess;
use crate::target::resp_recover::{RespRecovery, probe_dump};
use crate::target::server::is_serving;
use crate::target::template::Template;
use crate::worker::serve::{Ground, Recover, Unclear};
use crate::worker::sound::{Sound, Spare};
use crate::worker::three::Between;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Duration;

/// How a server is started on an image.
#[derive(Debug)]
pub struct Starts {
    way: Way,
    /// How often one was, in whatever way.
    pub(super) made: Cell<u64>,
    /// What need not be lived again; `None` where all is.
    sound: Option<RefCell<Sound>>,
    /// What the next one may hold.
    pub(super) guess: RefCell<Guess>,
}

#[derive(Debug)]
enum Way {
    /// No template has been tried yet.
    Untried,
    /// By forks that have not shown yet that they load data as a start does.
    Unproven(Template),
    Forks(Template),
    Plain,
}

/// Set to `no`, it has every server started plainly.
pub const ENV_FORK_SERVER: &str = "UNPLUG_FORK_SERVER";

impl Default for Starts {
    fn default() -> Starts {
        let no = std::env::var_os(ENV_FORK_SERVER).is_some_and(|v| v == "no");
        let sound = Sound::of_this_process().map(RefCell::new);
        Starts { sound, ..Starts::by(if no { Way::Plain } else { Way::Untried }) }
    }
}

impl Starts {
    fn by(way: Way) -> Starts {
        Starts { way, made: Cell::new(0), sound: None, guess: RefCell::default() }
    }

    /// By plain starts only.
    pub fn plain() -> Starts {
        Starts::by(Way::Plain)
    }

    /// How many starts there were.
    pub fn made(&self) -> u64 {
        self.made.get()
    }

    /// Whether forks have proved to give what plain starts give.
    pub fn are_forks(&self) -> bool {
        matches!(self.way, Way::Forks(_))
    }
}

impl RespRecovery {
    /// Starts a template, in a directory of its own.
    fn template(&self, scratch: &Path) -> Way {
        let dir = scratch.join("template");
        if std::fs::create_dir_all(&dir).is_err() {
            return Way::Plain;
        }
        let socket = scratch.join("s");
        let serving = || is_serving(&socket, Duration::from_millis(100));
        let mut refusal = String::new();
        // What is measured for each command takes a table for each that is used; old servers do not know the option.
        for spared in [&["--latency-tracking", "no"][..], &[]] {
            let mut command = self.program.command(&dir, &socket, self.policy, &self.extra);
            command.args(spared);
            match Template::start(command, &dir, &scratch.join("template.log"), self.wall / 4, serving) {
                Ok(template) => return Way::Unproven(template),
                Err(why) => refusal = why,
            }
        }
        eprintln!("no fork server for {}: {refusal}", self.program.path().display());
        Way::Plain
    }

    /// Recovers by both ways, and tells how to go on. The plain starts' result counts.
    /// The forks may leave a start out that changes nothing, the plain starts do not: that is compared as well.
    fn prove(
        &self,
        mut template: Template,
        (dir, scratch): (&Path, &Path),
        untouched: Option<&dyn Fn(&Path) -> bool>,
    ) -> (Way, Result<Lives, Unclear>) {
        let copy = scratch.join("copy");
        if let Err(e) = copy_tree(dir, &copy) {
            return (Way::Plain, Err(Unclear::Failed(format!("cannot copy {}: {e}", dir.display()))));
        }
        let stands = untouched.map(|untouched| || untouched(&copy));
        let untouched = stands.as_ref().map(|stands| stands as &dyn Fn() -> bool);
        let between = Between { untouched, spare: None };
        let forked = self.lives_by(Some(&mut template), (&copy, scratch), false, between);
        let plain = self.lives_by(None, (dir, scratch), false, Between::default());
        let _ = std::fs::remove_dir_all(&copy);
        let (Ok(a), Ok(b)) = (&forked, &plain) else { return (Way::Unproven(template), plain) };
        let way = if !same(a, b) {
            eprintln!(
                "no fork server for {}: its forks differ from plain starts",
                self.program.path().display()
            );
            Way::Plain
        } else if has_loaded(b) {
            Way::Forks(template)
        } else {
            Way::Unproven(template)
        };
        (way, plain)
    }
}

/// Whether one of the starts found data in its directory: the third does, where the second has written the probes.
fn has_loaded(lives: &Lives) -> bool {
    let lives = [Some(&lives.first), lives.second.as_ref(), lives.third.as_ref()];
    lives.into_iter().flatten().any(|life| matches!(life, Outcome::Recovered(dump) if !dump.0.is_empty()))
}

/// Whether two recoveries came to the same, but for the words of messages (which name processes).
fn same(a: &Lives, b: &Lives) -> bool {
    let alike = |a: &Outcome, b: &Outcome| match (a, b) {
        (Outcome::Recovered(a), Outcome::Recovered(b)) => a == b,
        (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
    };
    let both = |a: &Option<Outcome>, b: &Option<Outcome>| match (a, b) {
        (Some(a), Some(b)) => alike(a, b),
        (a, b) => a.is_none() && b.is_none(),
    };
    alike(&a.first, &b.first)
        && both(&a.second, &b.second)
        && both(&a.third, &b.third)
        && a.probes == b.probes
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()? {
            kind if kind.is_dir() => copy_tree(&from, &to)?,
            kind if kind.is_symlink() => std::os::unix::fs::symlink(std::fs::read_link(&from)?, &to)?,
            _ => std::fs::copy(&from, &to).map(|_| ())?,
        }
    }
    Ok(())
}

impl RespRecovery {
    /// Recovers by the way that has been found, or finds one.
    fn recover(
        &mut self,
        (dir, scratch): (&Path, &Path),
        now_ms: u64,
        alone: bool,
        untouched: Option<&dyn Fn(&Path) -> bool>,
    ) -> Result<Lives, Unclear> {
        if alone {
            return self.lives_by(None, (dir, scratch), true, Between::default());
        }
        let stands = untouched.map(|untouched| || untouched(dir));
        let untouched_here = stands.as_ref().map(|stands| stands as &dyn Fn() -> bool);
        let way = match std::mem::replace(&mut self.starts.way, Way::Plain) {
            Way::Untried => self.template(scratch),
            way => way,
        };
        let spare = self.starts.sound.as_ref().map(|sound| Spare::new(sound, (dir, now_ms), &probe_dump));
        let between = Between { untouched: untouched_here, spare: spare.as_ref() };
        let (way, result) = match way {
            Way::Unproven(template) => self.prove(template, (dir, scratch), untouched),
            Way::Forks(mut template) => {
                let result = self.lives_by(Some(&mut template), (dir, scratch), false, between);
                // Another is tried then, and has to prove itself again.
                (if template.is_broken() { Way::Untried } else { Way::Forks(template) }, result)
            }
            Way::Plain | Way::Untried => (Way::Plain, self.lives_by(None, (dir, scratch), false, between)),
        };
        self.starts.way = way;
        result
    }
}

impl Recover for RespRecovery {
    fn lives(&mut self, dir: &Path, scratch: &Path, now_ms: u64, alone: bool) -> Result<Lives, Unclear> {
        self.recover((dir, scratch), now_ms, alone, None)
    }

    fn lives_on(&mut self, ground: &Ground<'_>, now_ms: u64, alone: bool) -> Result<Lives, Unclear> {
        let stands = |dir: &Path| {
            // It is asked once, and goes on if so.
            ground.merged.set(ground.stands_in(dir));
            ground.merged.get()
        };
        self.recover((ground.dir, ground.scratch), now_ms, alone, Some(&stands))
    }
}

#[cfg(test)]
#[path = "resp_starts_tests.rs"]
mod tests;
