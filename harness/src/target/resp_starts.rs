//! How RESP servers are started on images.
//!
//! A start is the fork of a template (`template.rs`), once an image with data has come back the same
//! from a fork and from a plain start; until then both are made, and the plain one counts. A server for which
//! there is no template, or whose forks differ, is started plainly, and so is what is repeated alone.

use crate::recovery::{Lives, Outcome};
use crate::target::resp_recover::RespRecovery;
use crate::target::server::is_serving;
use crate::target::template::Template;
use crate::worker::serve::{Ground, Recover, Unclear};
use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

/// How a server is started on an image.
#[derive(Debug)]
pub struct Starts {
    way: Way,
    /// How often one was, in whatever way.
    pub(super) made: Cell<u64>,
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
        Starts::by(if no { Way::Plain } else { Way::Untried })
    }
}

impl Starts {
    fn by(way: Way) -> Starts {
        Starts { way, made: Cell::new(0) }
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
        let stands = stands.as_ref().map(|stands| stands as &dyn Fn() -> bool);
        let forked = self.lives_by(Some(&mut template), (&copy, scratch), false, stands);
        let plain = self.lives_by(None, (dir, scratch), false, None);
        let _ = std::fs::remove_dir_all(&copy);
        let (Ok(a), Ok(b)) = (&forked, &plain) else { return (Way::Unproven(template), plain) };
        let way = if !same(a, b) {
            eprintln!(
                "no fork server for {}: its forks differ from plain starts",
                self.program.path().display()
            );
            Way::Plain
        } else if matches!(&b.first, Outcome::Recovered(dump) if !dump.0.is_empty()) {
            Way::Forks(template)
        } else {
            Way::Unproven(template)
        };
        (way, plain)
    }
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
        alone: bool,
        untouched: Option<&dyn Fn(&Path) -> bool>,
    ) -> Result<Lives, Unclear> {
        if alone {
            return self.lives_by(None, (dir, scratch), true, None);
        }
        let stands = untouched.map(|untouched| || untouched(dir));
        let stands = stands.as_ref().map(|stands| stands as &dyn Fn() -> bool);
        let way = match std::mem::replace(&mut self.starts.way, Way::Plain) {
            Way::Untried => self.template(scratch),
            way => way,
        };
        let result;
        (self.starts.way, result) = match way {
            Way::Unproven(template) => self.prove(template, (dir, scratch), untouched),
            Way::Forks(mut template) => {
                let result = self.lives_by(Some(&mut template), (dir, scratch), false, stands);
                // Another is tried then, and has to prove itself again.
                (if template.is_broken() { Way::Untried } else { Way::Forks(template) }, result)
            }
            Way::Plain | Way::Untried => (Way::Plain, self.lives_by(None, (dir, scratch), false, stands)),
        };
        result
    }
}

impl Recover for RespRecovery {
    fn lives(&mut self, dir: &Path, scratch: &Path, _now_ms: u64, alone: bool) -> Result<Lives, Unclear> {
        self.recover((dir, scratch), alone, None)
    }

    fn lives_on(&mut self, ground: &Ground<'_>, _now_ms: u64, alone: bool) -> Result<Lives, Unclear> {
        let stands = |dir: &Path| {
            // It is asked once, and goes on if so.
            ground.merged.set(ground.stands_in(dir));
            ground.merged.get()
        };
        self.recover((ground.dir, ground.scratch), alone, Some(&stands))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::policy::Policy;
    use crate::target::server::Program;
    use crate::target::value::encode_command;
    use unplug_faults::event::NodeKind;
    use unplug_faults::image::{Image, ImageNode};

    fn recovery(program: &str, policy: Policy, starts: Starts) -> RespRecovery {
        let (cpu, wall) = (Duration::from_secs(5), Duration::from_secs(60));
        let program = Program::Server(program.into());
        RespRecovery { program, policy, extra: Vec::new(), cpu, wall, starts }
    }

    /// Debian's server, where it is installed; these tests say nothing without it, and say so.
    fn redis_is_missing() -> bool {
        let missing = Program::Server("redis-server".into()).name().is_err();
        if missing {
            assert!(
                std::env::var_os("UNPLUG_REQUIRE_REDIS").is_none(),
                "redis-server is required, and missing"
            );
            eprintln!("NOT MEASURED: no redis-server");
        }
        missing
    }

    /// An append-only directory with `commands`, of which `cut` bytes are missing and `zeros` are zero at the end.
    fn lay_out(dir: &Path, commands: &[&[&str]], cut: usize, zeros: usize) {
        let mut log = Vec::new();
        for command in commands {
            encode_command(&mut log, command);
        }
        log.truncate(log.len() - cut);
        let len = log.len();
        log[len - zeros..].fill(0);
        let below = dir.join("appendonlydir");
        std::fs::create_dir_all(&below).unwrap();
        let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
        std::fs::write(below.join("appendonly.aof.manifest"), manifest).unwrap();
        std::fs::write(below.join("appendonly.aof.1.incr.aof"), log).unwrap();
    }

    #[test]
    fn forks_give_what_plain_starts_give() {
        if redis_is_missing() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let image = scratch.path().join("image");
        let commands: [&[&str]; 4] =
            [&["SELECT", "0"], &["SET", "k", "v"], &["RPUSH", "l", "a", "b"], &["APPEND", "k", "longer"]];
        // Empty, whole, cut short, ending in zeros that it refuses, ending in zeros that it loads.
        let images: [(usize, usize, usize); 7] =
            [(0, 0, 0), (4, 0, 0), (4, 9, 0), (4, 0, 12), (4, 0, 5), (2, 0, 0), (3, 1, 0)];
        for policy in [Policy::Always, Policy::No] {
            let mut forks = recovery("redis-server", policy, Starts::by(Way::Untried));
            let mut plain = recovery("redis-server", policy, Starts::plain());
            let mut refused = 0;
            for (n, cut, zeros) in images {
                let [a, b] = [&mut forks, &mut plain].map(|recovery| {
                    let _ = std::fs::remove_dir_all(&image);
                    std::fs::create_dir_all(&image).unwrap();
                    if n > 0 {
                        lay_out(&image, &commands[..n], cut, zeros);
                    }
                    recovery.lives(&image, scratch.path(), 0, false).unwrap()
                });
                assert!(same(&a, &b), "{n} commands, {cut} cut, {zeros} zeros: {a:?} and {b:?}");
                refused += u32::from(matches!(a.first, Outcome::Refused { .. }));
                assert_eq!(forks.starts.are_forks(), n > 0, "an empty image proves nothing");
            }
            assert!(refused > 0, "no image was refused: that way out was not compared");
            assert!(!plain.starts.are_forks());
        }
    }

    /// A start on an image that it leaves as it is, is not made again, whichever way it is made: what comes out is what
    /// comes out where nothing is spared.
    #[test]
    fn a_start_that_changes_nothing_is_made_once() {
        if redis_is_missing() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().join("image");
        let mut incr = Vec::new();
        encode_command(&mut incr, &["SELECT", "0"]);
        encode_command(&mut incr, &["SET", "k", "v"]);
        encode_command(&mut incr, &["PEXPIREAT", "k", "9999999999999"]);
        let manifest = b"file appendonly.aof.1.incr.aof seq 1 type i\n".to_vec();
        let whole = incr.len();
        for (ending, all, spared) in [(whole, 3, 2), (whole - 3, 3, 3), (whole + 9, 1, 1)] {
            let mut log = incr.clone();
            // Cut short, it is truncated; longer than it was, it ends in zeros, which the server refuses.
            log.resize(ending, 0);
            let mut image = Image::default();
            let mut put = |name: &[u8], kind, data| {
                image.nodes.insert(name.to_vec(), ImageNode { kind, data, link_to: None });
            };
            put(b"appendonlydir", NodeKind::Dir, Vec::new());
            put(b"appendonlydir/appendonly.aof.manifest", NodeKind::File, manifest.clone());
            put(b"appendonlydir/appendonly.aof.1.incr.aof", NodeKind::File, log);
            let shared = (&image).into();
            let ground = Ground {
                dir: &at,
                scratch: scratch.path(),
                image: &shared,
                watch: None,
                merged: &std::cell::Cell::new(false),
            };
            let lay_out = || {
                let _ = std::fs::remove_dir_all(&at);
                std::fs::create_dir_all(&at).unwrap();
                image.lay_out(&at).unwrap();
            };
            let mut plain = recovery("redis-server", Policy::Always, Starts::plain());
            lay_out();
            let expected = plain.lives(&at, scratch.path(), 0, false).unwrap();
            lay_out();
            let lives = plain.lives_on(&ground, 0, false).unwrap();
            assert!(same(&expected, &lives), "{ending}: {expected:?} and {lives:?}");
            assert_eq!(plain.starts.made(), all + spared, "{ending}");
            let mut forks = recovery("redis-server", Policy::Always, Starts::by(Way::Untried));
            // First the forks are compared with plain starts, of which none is spared. A refusal proves nothing.
            for starts in [spared + all, if all > 1 { spared } else { spared + all }] {
                lay_out();
                let before = forks.starts.made();
                let lives = forks.lives_on(&ground, 0, false).unwrap();
                assert!(same(&expected, &lives), "{ending}: {expected:?} and {lives:?}");
                assert_eq!(forks.starts.made() - before, starts, "{ending}");
            }
            assert_eq!(forks.starts.are_forks(), all > 1);
        }
    }

    #[test]
    fn snapshots_too() {
        if redis_is_missing() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let image = scratch.path().join("image");
        std::fs::create_dir_all(&image).unwrap();
        let mut forks = recovery("redis-server", Policy::Snapshot, Starts::by(Way::Untried));
        let first = forks.lives(&image, scratch.path(), 0, false).unwrap();
        assert!(matches!(&first.second, Some(Outcome::Recovered(_))), "{first:?}");
        // The second life has saved its probes: the image now has data.
        for _ in 0..2 {
            std::fs::copy(image.join("dump.rdb"), scratch.path().join("saved")).unwrap();
            let again = forks.lives(&image, scratch.path(), 0, false).unwrap();
            let Outcome::Recovered(dump) = &again.first else { panic!("{again:?}") };
            assert!(!dump.0.is_empty());
            std::fs::copy(scratch.path().join("saved"), image.join("dump.rdb")).unwrap();
            assert!(forks.starts.are_forks());
        }
    }

    #[test]
    fn a_template_that_ends_is_replaced() {
        if redis_is_missing() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let image = scratch.path().join("image");
        let mut forks = recovery("redis-server", Policy::Always, Starts::by(Way::Untried));
        let recover = |forks: &mut RespRecovery| {
            let _ = std::fs::remove_dir_all(&image);
            lay_out(&image, &[&["SET", "k", "v"]], 0, 0);
            forks.lives(&image, scratch.path(), 0, false)
        };
        let first = recover(&mut forks).unwrap();
        let Way::Forks(template) = &forks.starts.way else { panic!("{:?}", forks.starts) };
        crate::worker::fork::kill_group(template.pid());
        assert!(same(&first, &recover(&mut forks).unwrap()) && !forks.starts.are_forks());
        assert!(same(&first, &recover(&mut forks).unwrap()) && forks.starts.are_forks());
    }

    #[test]
    fn what_has_no_first_thread_is_started_plainly() {
        let scratch = tempfile::tempdir().unwrap();
        let image = scratch.path().join("image");
        std::fs::create_dir_all(&image).unwrap();
        let mut recovery = recovery("/bin/false", Policy::Always, Starts::by(Way::Untried));
        let lives = recovery.lives(&image, scratch.path(), 0, false).unwrap();
        assert!(
            matches!(&lives.first, Outcome::Refused { message } if message.contains("exit status: 1")),
            "{lives:?}"
        );
        assert!(matches!(recovery.starts.way, Way::Plain));
    }
}
