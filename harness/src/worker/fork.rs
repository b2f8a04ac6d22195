//! Processes: what needs `unsafe` around fork and exec, and nothing else.

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, killpg, signal, sigprocmask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The descriptor on which a worker finds its socket.
pub const WORKER_FD: i32 = 3;

/// Makes the command's process die when the thread that spawns it ends, and puts it in a process group of
/// its own, so that its children can be killed with it.
pub fn tie_to_parent(command: &mut Command) {
    command.process_group(0);
    let parent = nix::unistd::getpid();
    // SAFETY: the closure makes two system calls, both async-signal-safe, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the call above: nobody would end this process then.
            if getppid() != parent { Err(Errno::ESRCH.into()) } else { Ok(()) }
        });
    }
}

/// Gives the command's process, and each that it starts, so many seconds of CPU time; then it ends by SIGXCPU.
pub fn limit_cpu(command: &mut Command, cpu_s: u64) {
    // SAFETY: the closure makes two system calls, both async-signal-safe, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            setrlimit(Resource::RLIMIT_CPU, cpu_s, cpu_s.saturating_add(1))?;
            Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
        });
    }
}

/// Gives the command's process `fd` as [`WORKER_FD`].
pub fn pass_socket(command: &mut Command, fd: OwnedFd) {
    // SAFETY: the closure makes system calls only, all async-signal-safe; it owns `fd`, which therefore
    // stays open until the command is dropped.
    unsafe {
        command.pre_exec(move || {
            let raw = fd.as_raw_fd();
            let done = if raw == WORKER_FD {
                // Already there: only the close-on-exec flag stands in the way.
                libc::fcntl(raw, libc::F_SETFD, 0)
            } else {
                libc::dup2(raw, WORKER_FD)
            };
            if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
}

/// Takes the socket that the parent passed. May be called once in a process.
///
/// # Errors
/// When descriptor 3 is not a socket: the process was not started as a worker.
pub fn take_socket() -> io::Result<std::os::unix::net::UnixStream> {
    nix::sys::socket::getsockname::<nix::sys::socket::UnixAddr>(WORKER_FD)
        .map_err(|e| io::Error::other(format!("descriptor {WORKER_FD} is not a worker's socket: {e}")))?;
    // SAFETY: the descriptor is open (checked above), and by the protocol it belongs to this call alone.
    let stream = unsafe { std::os::unix::net::UnixStream::from_raw_fd(WORKER_FD) };
    nix::fcntl::fcntl(&stream, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    Ok(stream)
}

/// Kills the process group that `leader` leads; that it is gone already is no error.
pub fn kill_group(leader: u32) {
    if let Ok(pid) = i32::try_from(leader) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// How a forked child ended.
#[derive(Debug, PartialEq, Eq)]
pub enum ChildEnd {
    /// It handed over its whole message.
    Said(Vec<u8>),
    /// It died without a message: exit status or signal.
    Died(String),
    /// It used up its CPU time.
    OverCpu,
}

/// How a forked child ends after its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// By SIGKILL: nothing of it runs on, no destructor, no thread, no exit handler.
    Killed,
    /// By `_exit(0)`, after an orderly close of whatever it holds.
    Exit,
}

/// Runs `life` in a forked child, whose message is what `life` returns. The child dies with this process, may
/// use `cpu_s` seconds of CPU time, and writes its standard error to `log`.
///
/// # Errors
/// When the child cannot be made, which says nothing about `life`.
pub fn in_child(
    cpu_s: u64,
    log: Option<&Path>,
    farewell: Farewell,
    life: impl FnOnce() -> Vec<u8>,
) -> io::Result<ChildEnd> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let log = log.map(File::create).transpose()?;
    // SAFETY: the caller's process has one thread that holds locks which matter to `life`: the caller.
    // Workers start no threads, and the test harness's other threads wait for this one to end; glibc makes
    // malloc usable after fork.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(read);
            child(cpu_s, log, farewell, File::from(write), life)
        }
        ForkResult::Parent { child } => {
            drop(write);
            let message = read_message(File::from(read));
            let status = reap(child)?;
            Ok(match (message, status) {
                (Some(message), _) => ChildEnd::Said(message),
                (None, WaitStatus::Signaled(_, Signal::SIGXCPU, _)) => ChildEnd::OverCpu,
                (None, WaitStatus::Signaled(_, signal, _)) => ChildEnd::Died(format!("killed by {signal}")),
                (None, WaitStatus::Exited(_, status)) => ChildEnd::Died(format!("exit status {status}")),
                (None, other) => ChildEnd::Died(format!("{other:?}")),
            })
        }
    }
}

/// The child's side of [`in_child`]: never returns into the copy of the parent's program.
fn child(
    cpu_s: u64,
    log: Option<File>,
    farewell: Farewell,
    mut pipe: File,
    life: impl FnOnce() -> Vec<u8>,
) -> ! {
    let ready = (|| -> io::Result<()> {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        setrlimit(Resource::RLIMIT_CPU, cpu_s, cpu_s.saturating_add(1))?;
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        // SAFETY: restoring the default action installs no code.
        unsafe { signal(Signal::SIGXCPU, SigHandler::SigDfl) }?;
        sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from(Signal::SIGXCPU)), None)?;
        if let Some(log) = log {
            nix::unistd::dup2_stderr(&log)?;
        }
        Ok(())
    })();
    if ready.is_ok() {
        // A panic must not unwind into the parent's frames; `life` turns its own panics into messages, so one
        // that arrives here is the harness's, and shows as a child that died.
        if let Ok(message) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life)) {
            let sent =
                pipe.write_all(&(message.len() as u64).to_le_bytes()).and_then(|()| pipe.write_all(&message));
            if sent.is_ok() {
                if farewell == Farewell::Killed {
                    let _ = kill(nix::unistd::getpid(), Signal::SIGKILL);
                }
                // SAFETY: ends the process at once, as `_exit` may be called anywhere.
                unsafe { libc::_exit(0) }
            }
        }
    }
    // SAFETY: as above.
    unsafe { libc::_exit(125) }
}

/// The child's message, if it came whole. Stops at its end, not at the pipe's: a process that the child left
/// behind may hold the pipe open.
fn read_message(mut pipe: File) -> Option<Vec<u8>> {
    let mut len = [0; 8];
    pipe.read_exact(&mut len).ok()?;
    let mut message = vec![0; usize::try_from(u64::from_le_bytes(len)).ok()?];
    pipe.read_exact(&mut message).ok()?;
    Some(message)
}

fn reap(child: Pid) -> io::Result<WaitStatus> {
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Opens `path` and makes it this process's standard error.
///
/// # Errors
/// When the file cannot be made.
pub fn redirect_stderr(path: &Path) -> io::Result<()> {
    nix::unistd::dup2_stderr(File::create(path)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_hands_over_its_message_and_is_killed() {
        let big = vec![7; 300_000];
        let end = in_child(5, None, Farewell::Killed, || big.clone()).unwrap();
        assert_eq!(end, ChildEnd::Said(big));
    }

    #[test]
    fn a_child_that_aborts_is_told_by_its_signal() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let end = in_child(5, Some(&log), Farewell::Exit, || {
            // Not `eprintln`: the test harness captures that.
            io::stderr().write_all(b"about to abort\n").unwrap();
            std::process::abort()
        });
        assert_eq!(end.unwrap(), ChildEnd::Died("killed by SIGABRT".into()));
        assert_eq!(std::fs::read_to_string(log).unwrap(), "about to abort\n");
    }

    #[test]
    fn a_child_that_spins_ends_at_its_cpu_limit() {
        let end = in_child(1, None, Farewell::Exit, || {
            let mut n = 0_u64;
            loop {
                n = std::hint::black_box(n.wrapping_add(1));
            }
        });
        assert_eq!(end.unwrap(), ChildEnd::OverCpu);
    }

    #[test]
    fn a_tied_process_is_in_its_own_group_and_sees_its_socket() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo hello >&3; sleep 60 & wait"]);
        tie_to_parent(&mut command);
        pass_socket(&mut command, theirs.into());
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut bytes = [0; 6];
        (&ours).read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello\n");
        kill_group(child.id());
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
        // The `sleep` in the group held the socket too: its end shows that it was killed with its leader.
        assert_eq!((&ours).read(&mut bytes).unwrap(), 0);
    }
}
