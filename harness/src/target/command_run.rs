//! One recorded run of a command. Its standard output is a connection whose sends are recorded, so that a line
//! counts as printed from the moment at which the call that carried its end began.

use crate::record::RecordError;
use crate::target::rig::{Conditions, Rig};
use crate::target::server::{Server, how};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use unplug_faults::trace::{Meta, Trace};

/// The connection that standard output is.
pub(crate) const CLIENT: u32 = 0;
/// How long a command may take, in real time.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long somebody else may hold the standard output of a command that has ended.
const LINGER: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(5);

/// A line for the shell, in a directory.
pub(crate) fn shell(line: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(dir).env("UNPLUG_DIR", dir);
    command
}

/// Runs what makes the beginning of a run.
pub(crate) fn setup(
    line: &str,
    dir: &Path,
    scratch: &Path,
    interrupted: Option<&AtomicBool>,
) -> Result<(), RecordError> {
    let mut process = Server::spawn(shell(line, dir), &scratch.join("setup.log"))?;
    let start = Instant::now();
    loop {
        match process.ended() {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(failed("--setup", how(status), process.log_tail())),
            None if start.elapsed() > PATIENCE => {
                return Err(failed(
                    "--setup",
                    format!("no end within {} s", PATIENCE.as_secs()),
                    process.log_tail(),
                ));
            }
            None if interrupted.is_some_and(|flag| flag.load(Ordering::SeqCst)) => {
                return Err(RecordError::Interrupted);
            }
            None => std::thread::sleep(MOMENT),
        }
    }
}

fn failed(option: &'static str, how: String, log: String) -> RecordError {
    RecordError::CommandFailed { option, how, log }
}

/// Runs and records a command: the trace, and the lines that it printed.
pub(crate) fn run(
    line: &str,
    dir: &Path,
    scratch: &Path,
    conditions: &Conditions,
    meta: Meta,
    interrupted: Option<Arc<AtomicBool>>,
) -> Result<(Trace, Vec<Vec<u8>>), RecordError> {
    let mut rig = Rig::start(dir, conditions, meta.seed)?;
    rig.interrupted = interrupted;
    let (ours, theirs) = connection(&rig, scratch)?;
    let mut command = shell(line, dir);
    rig.arm(&mut command)?;
    let mut process =
        Server::spawn_to(command, &scratch.join("run.log"), Stdio::from(OwnedFd::from(theirs)))?;
    let mut output = Output { stream: ours, rest: Vec::new(), taken: 0, lines: Vec::new() };
    let status = follow(&mut rig, &mut process, &mut output)?;
    let lines = output.lines;
    let log = process.log_tail();
    drop(process);
    let trace = rig.finish(meta);
    if !status.success() {
        // What the recorder saw may be the reason: a program that it cannot follow ends by it.
        let seen =
            trace.map_or_else(|e| vec![e.to_string()], |t| t.blind.iter().map(|b| b.what.clone()).collect());
        let seen =
            if seen.is_empty() { String::new() } else { format!("\nthe recorder: {}", seen.join("; ")) };
        return Err(failed("--run", how(status), log + &seen));
    }
    let trace = trace?;
    if lines.is_empty() {
        return Err(RecordError::NoLines { log });
    }
    Ok((trace, lines))
}

/// A connection whose far end is named, so that the recorder knows its sends.
fn connection(rig: &Rig, scratch: &Path) -> Result<(UnixStream, UnixStream), RecordError> {
    let path = scratch.join("stdout");
    let make = || {
        let listener = UnixListener::bind(&path)?;
        let ours = rig.recorder.client_name(CLIENT).connect(&path)?;
        let (theirs, _) = listener.accept()?;
        ours.set_read_timeout(Some(MOMENT))?;
        Ok((ours, theirs))
    };
    make().map_err(RecordError::io("cannot make a socket", &path))
}

/// What has come of standard output.
struct Output {
    stream: UnixStream,
    rest: Vec<u8>,
    /// Bytes of whole lines.
    taken: u64,
    lines: Vec<Vec<u8>>,
}

impl Output {
    /// Takes what is there, or waits a moment; `false` at the end.
    fn take(&mut self, rig: &Rig) -> std::io::Result<bool> {
        let mut chunk = [0; 16 << 10];
        let n = match self.stream.read(&mut chunk) {
            Ok(n) => n,
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                return Ok(true);
            }
            Err(e) => return Err(e),
        };
        self.rest.extend_from_slice(&chunk[..n]);
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).take(end).collect();
            self.taken += end as u64 + 1;
            rig.recorder.reply(CLIENT, self.lines.len() as u32, &[], self.taken);
            self.lines.push(line);
        }
        Ok(n > 0)
    }
}

/// Follows the command to its end, and its output to the last byte.
fn follow(rig: &mut Rig, process: &mut Server, output: &mut Output) -> Result<ExitStatus, RecordError> {
    let start = Instant::now();
    let broken =
        |e: std::io::Error| failed("--run", format!("its output cannot be read: {e}"), String::new());
    let stuck =
        |what: String, log| RecordError::Stuck { step: 0, what, waited_s: start.elapsed().as_secs(), log };
    let mut open = true;
    let status = loop {
        if open {
            open = output.take(rig).map_err(broken)?;
        }
        // A moment, or the end because of Ctrl-C.
        rig.turn(false, None).map_err(|e| stuck(e.to_string(), process.log_tail()))?;
        if let Some(status) = process.ended() {
            break status;
        }
        if start.elapsed() > PATIENCE {
            return Err(stuck("the command".into(), process.log_tail()));
        }
    };
    let ended = Instant::now();
    while open {
        open = output.take(rig).map_err(broken)?;
        if ended.elapsed() > LINGER {
            return Err(stuck("a process that the command left behind".into(), process.log_tail()));
        }
    }
    Ok(status)
}
