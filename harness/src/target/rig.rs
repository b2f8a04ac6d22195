//! A recording under way, gated or not, as the drivers of targets see it.

use crate::record::RecordError;
use crate::target::client::{Client, Reply};
use crate::target::loadable;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use unplug_faults::event::{Event, Nanos, Op};
use unplug_faults::gate::{Clock, Gate, GateOptions, Step, Stopped};
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::{Meta, Trace};

/// How a target is run while it is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Calls are granted one at a time, so that the run is repeatable. Time is then virtual too.
    pub gated: bool,
    /// The target's clock moves only by the workload's steps.
    pub virtual_time: bool,
    /// How long a sync takes, in virtual nanoseconds.
    pub sync_nanos: Nanos,
    /// Globs of paths in the recorded directory that do not count.
    pub ignore: Vec<String>,
    /// What is done to its calls.
    pub faults: unplug_faults::plan::Plan,
    /// Gated only: when one of the operations is sent.
    pub arrival: Option<Arrival>,
}

/// The option of a trace that says how long each sync took, in milliseconds.
pub(crate) const SYNC_MS: &str = "sync-duration-ms";

impl Conditions {
    /// Notes in a trace how long its syncs took: what a window promises depends on it.
    pub(crate) fn note(&self, trace: &mut Trace) {
        if self.sync_nanos > 0 {
            trace.meta.options.insert(SYNC_MS.into(), (self.sync_nanos / 1_000_000).to_string());
        }
    }
}

/// The moment at which an operation is sent: when a task of the target stands before a certain call. That call is held
/// until the operation is answered, or until nothing else can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which operation of the history, counting from 0. The one before it is issued together with it.
    pub operation: u32,
    /// Which recorded call since the one before it was sent, counting from 1.
    pub call: u32,
    /// A call that is still held when the operation is answered is held to the end of the run: its process hangs.
    pub hangs: bool,
}

/// The instant at which virtual time begins: 2100-01-01T00:00:00Z, in milliseconds since 1970. It lies ahead of
/// real time, so that a server that recovers an image by the real clock finds no key expired: whether an expiry is
/// past is then a matter of the one virtual instant of the recovery, on both sides of the comparison.
pub const EPOCH_MS: u64 = 4_102_444_800_000;

/// What came of letting the target go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It goes on, or may have.
    Ran,
    /// A client may send now.
    Client,
    /// Gated only: nothing can run without a client or the clock.
    Idle,
    /// Gated only: every task has ended.
    Exited,
}

/// How much memory a recording may use, in bytes.
const ENV_RING_BYTES: &str = "UNPLUG_RING_BYTES";

fn ring_bytes(value: Option<String>) -> Result<Option<usize>, RecordError> {
    let parse = |text: String| match text.parse() {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(RecordError::Variable(format!("{ENV_RING_BYTES}={text}: a number of bytes is expected"))),
    };
    value.map(parse).transpose()
}

/// How long an ungated target is left alone between two looks at it.
const MOMENT: Duration = Duration::from_millis(1);

/// The recorder with its gate and clock.
pub(crate) struct Rig {
    pub(crate) recorder: Recorder,
    gate: Option<Gate>,
    clock: Option<Clock>,
    /// The recorded directory.
    dir: PathBuf,
    /// Once set, no further turn is given.
    pub(crate) interrupted: Option<Arc<AtomicBool>>,
}

impl Rig {
    /// Prepares to record what happens in `dir`.
    pub(crate) fn start(dir: &Path, conditions: &Conditions, seed: u64) -> Result<Rig, RecordError> {
        let mut options = Options::new(dir);
        options.ignore.clone_from(&conditions.ignore);
        options.faults.clone_from(&conditions.faults);
        options.sync_nanos = conditions.sync_nanos;
        options.gated = conditions.gated;
        if let Some(bytes) = ring_bytes(std::env::var(ENV_RING_BYTES).ok())? {
            options.ring_bytes = bytes;
        }
        options.virtual_epoch_ms = (conditions.gated || conditions.virtual_time).then_some(EPOCH_MS);
        let recorder = Recorder::start(options)?;
        let gate = recorder.gate(GateOptions { seed, ..GateOptions::default() });
        let gate = gate.map_err(unplug_faults::record::RecordError::from)?;
        let clock = recorder.clock().cloned();
        Ok(Rig { recorder, gate, clock, dir: dir.to_path_buf(), interrupted: None })
    }

    /// Makes the command run under the shim.
    ///
    /// # Errors
    /// [`RecordError::NotLoadable`].
    pub(crate) fn arm(&mut self, command: &mut Command) -> Result<(), RecordError> {
        loadable::check(Path::new(command.get_program()))?;
        self.recorder.arm(command);
        Ok(())
    }

    /// Whether calls are granted one at a time.
    pub(crate) fn is_gated(&self) -> bool {
        self.gate.is_some()
    }

    /// Whether the clock stands still by itself.
    pub(crate) fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// Lets the target go on: a gated one by one decision, an ungated one for a moment, or until `client` has
    /// something to read.
    pub(crate) fn turn(&mut self, client_ready: bool, client: Option<&Client>) -> Result<Turn, Stuck> {
        if self.interrupted.as_ref().is_some_and(|flag| flag.load(Ordering::SeqCst)) {
            return Err(Stuck("interrupted".into()));
        }
        let Some(gate) = &mut self.gate else {
            if client_ready {
                return Ok(Turn::Client);
            }
            match client {
                Some(client) => client.wait_readable(MOMENT).map_err(|e| Stuck(e.to_string()))?,
                None => std::thread::sleep(MOMENT),
            }
            return Ok(Turn::Ran);
        };
        match gate.step(client_ready).map_err(|e| Stuck(e.to_string()))? {
            Step::Ran(_) => Ok(Turn::Ran),
            Step::Client => Ok(Turn::Client),
            Step::Idle => Ok(Turn::Idle),
            Step::Exited => {
                // Also before the first task of a later life has come to the gate: no decision is made meanwhile.
                std::thread::sleep(MOMENT);
                Ok(Turn::Exited)
            }
            Step::Stuck { what } => Err(Stuck(what)),
        }
    }

    /// Gated: whichever task comes to the `nth` recorded call from now on is held there.
    pub(crate) fn stop_at(&mut self, nth: u32) {
        if let Some(gate) = &mut self.gate {
            gate.stop_at(nth);
        }
    }

    /// The call before which a task is held.
    pub(crate) fn stopped(&self) -> Option<&Stopped> {
        self.gate.as_ref().and_then(Gate::stopped)
    }

    /// Sets the task free that is held. Says whether there was one.
    pub(crate) fn let_go(&mut self) -> bool {
        self.gate.as_mut().is_some_and(Gate::let_go)
    }

    /// The target's time, where it is virtual.
    pub(crate) fn now(&self) -> Nanos {
        self.clock.as_ref().map_or(0, Clock::now)
    }

    /// Moves the target's clock, or waits in real time where that is the target's.
    pub(crate) fn advance(&self, nanos: Nanos) {
        match &self.clock {
            Some(_) if nanos == 0 => {}
            Some(clock) => {
                clock.advance(nanos);
                self.recorder.advanced();
            }
            None => std::thread::sleep(Duration::from_nanos(nanos)),
        }
    }

    /// Gated: moves the clock to the next instant at which something happens by itself, if there is one at or
    /// before `limit`.
    pub(crate) fn advance_to_deadline(&self, limit: Nanos) -> bool {
        let deadline = self.gate.as_ref().and_then(Gate::next_deadline).filter(|d| *d <= limit);
        match (&self.clock, deadline) {
            (Some(clock), Some(deadline)) => {
                clock.advance_to(deadline);
                self.recorder.advanced();
                true
            }
            _ => false,
        }
    }

    /// Records a reply to a client. Of a run that repeats itself it does not tell in which directory it was made.
    pub(crate) fn reply(&self, client: u32, id: u32, reply: &Reply) {
        if self.is_gated() {
            let raw = without_numbers(&reply.raw, &self.dir);
            self.recorder.reply(client, id, &raw, reply.stream_end);
        } else {
            self.recorder.reply(client, id, &reply.raw, reply.stream_end);
        }
    }

    /// Tells the gate that the target's processes were killed.
    pub(crate) fn killed(&mut self) {
        self.recorder.kill_mark();
        self.ended();
    }

    /// Tells the gate that the target's processes have ended, and that others will follow.
    pub(crate) fn ended(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.killed();
        }
    }

    /// The trace. Every process of the target must have ended.
    pub(crate) fn finish(self, meta: Meta) -> Result<Trace, RecordError> {
        let mut trace = self.recorder.finish(meta)?;
        one_advance(&mut trace);
        Ok(trace)
    }
}

/// A reply in which a server names its directory, with zeros for the digits of that name: scratch directories are
/// numbered, and as long as each other.
fn without_numbers(reply: &[u8], dir: &Path) -> Vec<u8> {
    let (name, mut reply) = (dir.as_os_str().as_bytes(), reply.to_vec());
    // A short relative name might stand anywhere by chance.
    if !dir.is_absolute() {
        return reply;
    }
    let places: Vec<usize> =
        reply.windows(name.len()).enumerate().filter(|(_, w)| *w == name).map(|(at, _)| at).collect();
    for at in places {
        reply[at..at + name.len()].iter_mut().filter(|b| b.is_ascii_digit()).for_each(|b| *b = b'0');
    }
    reply
}

/// Of advances between which no tick of the clock was drawn, the last says it all.
fn one_advance(trace: &mut Trace) {
    let idle = |a: &Event, b: &Event| a.op == Op::Advance && b.op == Op::Advance && a.begin + 1 == b.begin;
    let next: Vec<bool> = trace.events.windows(2).map(|w| idle(&w[0], &w[1])).collect();
    let mut next = next.into_iter();
    trace.events.retain(|_| !next.next().unwrap_or(false));
}

/// The gate cannot go on: the run is not measured.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stuck(pub(crate) String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_does_not_tell_which_directory_it_is_of() {
        let says =
            |dir: &str| format!("-ERR 12: cannot fork for {dir}: 12 and {dir}/0017-9\r\n").into_bytes();
        let hidden = |dir: &str| without_numbers(&says(dir), Path::new(dir));
        let (one, other) = (hidden("/tmp/s-0012-7/data"), hidden("/tmp/s-0345-8/data"));
        assert_eq!(one, other);
        assert_eq!(one, says("/tmp/s-0000-0/data"));
        assert_eq!(hidden("12"), says("12"));
    }
}
