//! A server that is started once and then forked for each image: the harness's side of the fork server
//! (`faults/shim/fork_server`).
//!
//! A template must be such that nobody can tell a fork from a start. What can be seen from outside is looked at:
//! it has one thread, its directory is empty, it holds nothing open there. Whether its data is really loaded
//! after the fork only a comparison shows: [`crate::target::resp_recover`] makes it, and goes back to plain starts
//! where anything differs.

use crate::worker::fork::{WORKER_FD, kill_group, pass_socket, tie_to_parent};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use unplug_faults::fork_server::ForkServer;

/// A started server that waits before its first thread. Killed, with the forks, when dropped.
#[derive(Debug)]
pub(crate) struct Template {
    child: Child,
    control: Rc<UnixStream>,
    _library: ForkServer,
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
        let template = Template { child, control: Rc::new(ours), _library: library };
        template.wait_ready(patience, serving)?;
        template.look(dir)?;
        Ok(template)
    }

    fn wait_ready(&self, patience: Duration, serving: impl Fn() -> bool) -> Result<(), Unfit> {
        let begin = Instant::now();
        let mut tag = [0];
        loop {
            self.patient(Duration::from_millis(20))?;
            match (&*self.control).read(&mut tag) {
                Ok(0) => return Err("it ended before its first thread".into()),
                Ok(_) if tag == *b"R" => return Ok(()),
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
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
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

    /// Forks a server that serves `dir` and writes to `log`.
    ///
    /// # Errors
    /// The template has ended, or the fork could not be made.
    pub(crate) fn fork(&mut self, dir: &Path, log: &Path) -> io::Result<Fork> {
        let (dir, log) = (dir.as_os_str().as_bytes(), log.as_os_str().as_bytes());
        let mut request = Vec::with_capacity(4 + dir.len() + log.len());
        for path in [dir, log] {
            let len = u16::try_from(path.len()).map_err(io::Error::other)?;
            request.extend_from_slice(&len.to_ne_bytes());
        }
        request.extend_from_slice(dir);
        request.extend_from_slice(log);
        (&*self.control).write_all(&request)?;
        let mut answer = [0; 5];
        self.control.set_read_timeout(Some(Duration::from_secs(60)))?;
        (&*self.control).read_exact(&mut answer)?;
        let [tag, number @ ..] = answer;
        let number = i32::from_ne_bytes(number);
        match (tag, u32::try_from(number)) {
            (b'K', Ok(pid)) => {
                self.control.set_nonblocking(true)?;
                Ok(Fork { pid, control: self.control.clone(), said: Vec::new() })
            }
            (b'E', _) => Err(io::Error::from_raw_os_error(number)),
            _ => Err(io::Error::other("the fork server's answer is not one")),
        }
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        kill_group(self.child.id());
        let _ = self.child.wait();
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A forked server. It is reaped when its end has been seen: by [`Fork::ended`] or [`Fork::kill`].
#[derive(Debug)]
pub(crate) struct Fork {
    /// The process's number, which is also its group's.
    pub(crate) pid: u32,
    control: Rc<UnixStream>,
    said: Vec<u8>,
}

/// `si_code` of a child that exited, and of one that dumped core, from waitid(2).
const CLD_EXITED: i32 = 1;
const CLD_DUMPED: i32 = 3;

impl Fork {
    /// Its status as wait(2) encodes it, if it has ended. To be asked until it has, and no longer.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut bytes = [0; 8];
        match (&*self.control).read(&mut bytes[self.said.len()..]) {
            // The template is gone, and its forks died with it.
            Ok(0) => return Some(libc::SIGKILL),
            Ok(n) => self.said.extend_from_slice(&bytes[self.said.len()..][..n]),
            Err(e) if is_silence(&e) => return None,
            Err(_) => return Some(libc::SIGKILL),
        }
        let (code, status) = self.said.split_first_chunk::<4>()?;
        let status = status.first_chunk::<4>()?;
        let (code, status) = (i32::from_ne_bytes(*code), i32::from_ne_bytes(*status));
        // Not reaped yet, so its number is still its own, and its group's.
        kill_group(self.pid);
        let _ = self.control.set_nonblocking(false).and_then(|()| (&*self.control).write_all(&[0]));
        Some(match code {
            CLD_EXITED => (status & 0xff) << 8,
            CLD_DUMPED => status | 0x80,
            _ => status,
        })
    }

    /// Kills it and its group, and has it reaped.
    pub(crate) fn kill(&mut self) -> i32 {
        kill_group(self.pid);
        let _ = self.control.set_nonblocking(false);
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
        }
    }
}
