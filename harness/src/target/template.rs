//! A server that is started once and then forked for each image: the harness's side of the fork server
//! (`faults/shim/fork_server`).
//!
//! A template must be such that nobody can tell a fork from a start. What can be seen from outside is looked at:
//! it has one thread, its directory is empty, it holds nothing open there. Whether its data is really loaded
//! after the fork only a comparison shows: [`crate::target::resp_recover`] makes it, and goes back to plain starts
//! where anything differs.

use crate::target::warm::{Span, touched};
use crate::worker::fork::{WORKER_FD, kill_group, pass_socket, tie_to_parent};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use unplug_faults::fork_server::ForkServer;

/// A started server that waits before its first thread. Killed, with the forks, when dropped.
#[derive(Debug)]
pub(crate) struct Template {
    child: Child,
    control: UnixStream,
    _library: ForkServer,
    /// What its forks are known to touch, until it has been told.
    to_tell: Vec<Span>,
    has_learnt: bool,
    broken: bool,
}

/// Why there is no template, in words.
pub(crate) type Unfit = String;

impl Template {
    /// Starts the command, which is to serve the empty directory `dir`, up to its first thread; its output goes
    /// to `log`. `serving` tells whether the server serves already, so that one that does not stop is not waited
    /// for.
    pub(crate) fn start(
        mut command: Command,
        dir: &Path,
        log: &Path,
        patience: Duration,
        serving: impl Fn() -> bool,
    ) -> Result<Template, Unfit> {
        let said = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
        let library = ForkServer::new().map_err(said("no memory file"))?.ok_or("not on this platform")?;
        let (ours, theirs) = UnixStream::pair().map_err(said("no socket pair"))?;
        let output = std::fs::File::create(log).map_err(said("no log"))?;
        let again = output.try_clone().map_err(said("no log"))?;
        library.arm(&mut command, WORKER_FD);
        tie_to_parent(&mut command);
        pass_socket(&mut command, theirs.into());
        command.stdin(Stdio::null()).stdout(output).stderr(again);
        let child = command.spawn().map_err(said("it does not start"))?;
        // The command keeps the other end of the socket; the server's end must be the only one left.
        drop(command);
        let mut template = Template {
            child,
            control: ours,
            _library: library,
            to_tell: Vec::new(),
            has_learnt: false,
            broken: false,
        };
        template.wait_ready(patience, serving)?;
        template.look(dir)?;
        Ok(template)
    }

    fn wait_ready(&mut self, patience: Duration, serving: impl Fn() -> bool) -> Result<(), Unfit> {
        let begin = Instant::now();
        let mut tag = [0];
        loop {
            self.patient(Duration::from_millis(20))?;
            match self.control.read(&mut tag) {
                Ok(0) => return Err("it ended before its first thread".into()),
                // A fork's answer is waited for longer, but not for ever.
                Ok(_) if tag == *b"R" => return self.patient(Duration::from_secs(60)),
                Ok(_) => return Err("it has something open that a fork cannot have anew".into()),
                Err(e) if is_silence(&e) => {}
                Err(e) => return Err(format!("its control socket: {e}")),
            }
            if serving() {
                return Err("it does not load the library (static, or setuid)".into());
            }
            if begin.elapsed() > patience {
                return Err(format!("no first thread in {} s", patience.as_secs()));
            }
        }
    }

    fn patient(&self, time: Duration) -> Result<(), Unfit> {
        self.control.set_read_timeout(Some(time)).map_err(|e| format!("its control socket: {e}"))
    }

    /// Whether a fork can pass for a start in another directory.
    fn look(&self, dir: &Path) -> Result<(), Unfit> {
        let proc = PathBuf::from(format!("/proc/{}", self.pid()));
        let said = |e: io::Error| format!("its /proc entry: {e}");
        if proc.join("task").read_dir().map_err(said)?.count() != 1 {
            return Err("it has threads that the library did not see".into());
        }
        if dir.read_dir().map_err(said)?.next().is_some() {
            return Err("it writes into its directory before its first thread".into());
        }
        for fd in proc.join("fd").read_dir().map_err(said)? {
            let target = std::fs::read_link(fd.map_err(said)?.path()).map_err(said)?;
            if target.starts_with(dir) {
                return Err("it holds its directory open before its first thread".into());
            }
        }
        Ok(())
    }

    /// The process's number, which is also its group's.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether a fork could not be made: it may have ended.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Forks a server that serves `dir` and writes to `log`.
    ///
    /// # Errors
    /// The template has ended, or the fork could not be made.
    pub(crate) fn fork(&mut self, dir: &Path, log: &Path) -> io::Result<Fork> {
        let fork = self.try_fork(dir, log);
        self.broken |= fork.is_err();
        fork
    }

    fn try_fork(&mut self, dir: &Path, log: &Path) -> io::Result<Fork> {
        let spans = std::mem::take(&mut self.to_tell);
        let (dir, log) = (dir.as_os_str().as_bytes(), log.as_os_str().as_bytes());
        let mut request = Vec::with_capacity(6 + dir.len() + log.len());
        for len in [dir.len(), log.len(), spans.len()] {
            request.extend_from_slice(&u16::try_from(len).map_err(io::Error::other)?.to_ne_bytes());
        }
        request.extend_from_slice(dir);
        request.extend_from_slice(log);
        spans.iter().for_each(|span| request.extend_from_slice(&span.bytes()));
        self.control.write_all(&request)?;
        let mut answer = [0; 9];
        self.control.read_exact(&mut answer)?;
        let [tag, number @ .., e0, e1, e2, e3] = answer;
        let (number, errno) = (i32::from_ne_bytes(number), i32::from_ne_bytes([e0, e1, e2, e3]));
        let fork = u32::try_from(number).ok().filter(|pid| *pid > 0).map(|pid| Fork { pid });
        match (tag, fork) {
            (b'K', Some(fork)) => Ok(fork),
            (b'E', fork) => {
                // One that could not be made whole is on its way out.
                fork.map(|mut fork| fork.reap());
                Err(io::Error::from_raw_os_error(errno))
            }
            _ => Err(io::Error::other("the fork server's answer is not one")),
        }
    }

    /// Notes what a fork of it has touched, so that later ones have it at once. `fork` must have done all that
    /// forks do, and must be alive.
    pub(crate) fn learn(&mut self, fork: u32) {
        if !std::mem::replace(&mut self.has_learnt, true) {
            // What cannot be read is not told: forks are only slower.
            self.to_tell = touched(self.pid(), fork).unwrap_or_default();
        }
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        kill_group(self.pid());
        let _ = self.child.wait();
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A forked server, which is a child of this process. To be killed and reaped by its owner.
#[derive(Debug)]
pub(crate) struct Fork {
    /// The process's number, which is also its group's.
    pub(crate) pid: u32,
}

impl Fork {
    /// Waits for its end.
    pub(crate) fn reap(&mut self) -> ExitStatus {
        // What cannot be waited for is gone: as if it had been killed.
        let pid = Pid::from_raw(i32::try_from(self.pid).unwrap_or(i32::MAX));
        let raw = loop {
            match waitpid(pid, None) {
                Err(Errno::EINTR) => {}
                Ok(WaitStatus::Exited(_, status)) => break (status & 0xff) << 8,
                Ok(WaitStatus::Signaled(_, signal, core)) => break signal as i32 | i32::from(core) << 7,
                _ => break libc::SIGKILL,
            }
        };
        ExitStatus::from_raw(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says at each step of its end that it takes it; the output is buffered until then.
    const ENDING: &str = r#"
        #include <pthread.h>
        #include <stdio.h>
        #include <stdlib.h>
        static void *nothing(void *unused) { return unused; }
        static void asked(void) { printf("asked for\n"); }
        __attribute__((destructor)) static void destructor(void) { printf("destructor\n"); }
        int main(void) {
            pthread_t thread;
            setvbuf(stdout, NULL, _IOFBF, 4096);
            atexit(asked);
            if (pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL)) return 2;
            printf("worked\n");
            return 7;
        }
    "#;

    /// A fork ends as a start does, but for the destructors.
    #[test]
    fn a_fork_does_at_its_end_what_the_program_has_asked_for() {
        let scratch = tempfile::tempdir().unwrap();
        let [source, program, dir, log] = ["p.c", "p", "dir", "log"].map(|name| scratch.path().join(name));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(&source, ENDING).unwrap();
        let made = Command::new("cc").arg("-pthread").arg("-o").args([&program, &source]).status();
        assert!(made.expect("cc, as other tests need it").success());
        let started = Command::new(&program).output().unwrap();
        let text = String::from_utf8(started.stdout).unwrap();
        assert_eq!((started.status.code(), &*text), (Some(7), "worked\nasked for\ndestructor\n"));
        let patience = Duration::from_secs(20);
        let mut template = Template::start(Command::new(&program), &dir, &log, patience, || false).unwrap();
        for round in 0..2 {
            let log = scratch.path().join(format!("log{round}"));
            assert_eq!(template.fork(&dir, &log).unwrap().reap().code(), Some(7));
            assert_eq!(std::fs::read_to_string(log).unwrap(), "worked\nasked for\n");
        }
    }
}
