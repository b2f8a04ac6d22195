//! The target's processes as the supervisor sees them: alive or ended, and how much processor time they used.

use super::area::{ended, pidfd};
use super::error::GateError;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Descriptors of the processes that hold slots. A pidfd is opened while its process waits for the gate, so it
/// cannot mean another process that got the same number later.
#[derive(Debug, Default)]
pub(super) struct Processes(BTreeMap<u32, OwnedFd>);

impl Processes {
    /// Begins to watch a process; one that is watched already stays as it is. False: it is gone already.
    pub(super) fn watch(&mut self, pid: u32) -> Result<bool, GateError> {
        if self.0.contains_key(&pid) {
            return Ok(true);
        }
        match pidfd(pid) {
            Ok(fd) => {
                self.0.insert(pid, fd);
                Ok(true)
            }
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            Err(source) => Err(GateError::Watch { pid, source }),
        }
    }

    /// Whether the process has ended; waits for that up to `limit`. One that is not watched yet
    /// has only just come to the gate, and counts as alive.
    pub(super) fn gone(&mut self, pid: u32, limit: Duration) -> bool {
        let gone = self.0.get(&pid).is_some_and(|fd| ended(fd.as_fd(), limit));
        if gone {
            self.0.remove(&pid);
        }
        gone
    }
}

/// The kernel's words for what a thread is doing, for the report on a stuck one.
pub(super) fn describe(pid: u32, tid: u32) -> String {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/{name}")).unwrap_or_default();
        text.trim_end().to_owned()
    };
    let stat = read("stat");
    // The state follows the name in parentheses, which may itself hold any character.
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    match state {
        Some('R') => "runs without making a call".to_owned(),
        Some(state) => {
            let call = read("syscall");
            let number = call.split(' ').next().filter(|n| !n.is_empty()).unwrap_or("unknown");
            format!("is in state {state} in system call {number}")
        }
        None => "cannot be seen in /proc".to_owned(),
    }
}
