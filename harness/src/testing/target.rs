//! A Rust store as a target.

use crate::contract::Contract;
use crate::dump::Dump;
use crate::record::RecordError;
use crate::target::rig::{Conditions, Rig, Turn};
use crate::target::server::{Server, how};
use crate::target::{Meaning, Oracle, Target};
use crate::testing::check::invocations;
use crate::testing::path::TestPath;
use crate::testing::role::{self, Job, Progress};
use crate::testing::store::{Recorded, Store, StoreModel};
use crate::worker::scratch::Scratch;
use crate::workload::{Step, Workload};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use unplug_faults::event::{Event, Op};
use unplug_faults::plan::{Outcome, Plan};
use unplug_faults::trace::{Meta, Trace};

/// How long a recording may take, in real time.
const RECORDING: Duration = Duration::from_secs(300);

/// So many operations may fail in a faulted run before no more are tried: each may or may not have happened, which doubles
/// the states that are allowed from then on, and what refuses that often will not show anything new by once more.
const MOST_FAILED: u32 = 8;

/// A [`Store`] under test, recorded and recovered by the running test binary.
#[derive(Clone, Debug)]
pub struct StoreTarget<S> {
    path: TestPath,
    /// How it is run while it is recorded. By default neither gated nor in virtual time.
    pub conditions: Conditions,
    /// The store is opened and closed once before the recording: what it then finds is durable.
    pub created: bool,
    store: PhantomData<fn() -> S>,
}

impl<S: Store> StoreTarget<S> {
    /// The store, in the test of this path.
    pub fn new(path: TestPath) -> Self {
        StoreTarget { path, conditions: Conditions::default(), created: false, store: PhantomData }
    }

    /// The same store, with these faults alone.
    pub(super) fn under(&self, faults: Plan) -> Self {
        let conditions = Conditions { faults, ..self.conditions.clone() };
        StoreTarget { path: self.path.clone(), conditions, created: self.created, store: PhantomData }
    }

    /// Whether anything is done to its calls; to be told of them is nothing.
    fn is_faulted(&self) -> bool {
        self.conditions.faults.rules.iter().any(|rule| rule.outcome != Outcome::Note)
    }

    /// Lets the store go on; where only time can make it, time passes.
    fn turn(&self, rig: &mut Rig, process: &Server, step: usize) -> Result<(), RecordError> {
        let stuck = |what: String| RecordError::Stuck { step, what, waited_s: 0, log: process.log_tail() };
        match rig.turn(false, None).map_err(|e| stuck(e.to_string()))? {
            Turn::Idle if !rig.advance_to_deadline(u64::MAX) => {
                Err(stuck("every thread of the store waits for another".into()))
            }
            _ => Ok(()),
        }
    }

    /// Runs one life of the store under the recorder, until its process ends.
    fn life(&self, rig: &mut Rig, job: &Job, scratch: &Path) -> Result<Ended, RecordError> {
        let job_file = scratch.join("job");
        let bytes = postcard::to_stdvec(job).map_err(|e| RecordError::Store { message: e.to_string() })?;
        std::fs::write(&job_file, bytes).map_err(RecordError::io("cannot write", &job_file))?;
        let mut command = role::record_command(&self.path, &role::key::<S>(&self.path), &job_file);
        rig.arm(&mut command)?;
        let mut process = Server::spawn(command, &scratch.join("log"))?;
        let start = Instant::now();
        let status = loop {
            self.turn(rig, &process, job.first_step)?;
            if let Some(status) = process.ended() {
                break status;
            }
            if start.elapsed() > RECORDING {
                return Err(RecordError::Stuck {
                    step: job.first_step,
                    what: "the store's recording".into(),
                    waited_s: RECORDING.as_secs(),
                    log: process.log_tail(),
                });
            }
        };
        let progress = std::fs::read(&job.report).ok().and_then(|b| postcard::from_bytes(&b).ok());
        // A store may stop when a call fails; what it has acknowledged by then stays promised.
        let faulted = self.is_faulted();
        match (progress, status.code(), status.signal()) {
            (Some(Progress::Failed(message)), ..) if faulted => Ok(Ended::GaveUp(message)),
            (Some(Progress::Failed(message)), ..) => Err(RecordError::Store { message }),
            (Some(Progress::Began), Some(0), _) => Ok(Ended::Finished),
            (Some(Progress::Began), _, Some(libc::SIGKILL)) => Ok(Ended::Killed),
            (Some(Progress::Began), ..) if faulted => Ok(Ended::GaveUp(how(status))),
            (Some(Progress::Began), ..) => {
                Err(RecordError::Store { message: format!("{}; {}", how(status), process.log_tail()) })
            }
            (None, ..) => Err(RecordError::Store {
                message: format!(
                    "the test `{}` did not come to its check when it was started again ({}): the check must \
                     stand in the test function, or in a function that is given the test's `test_path!()`; {}",
                    self.path.path(),
                    how(status),
                    process.log_tail()
                ),
            }),
        }
    }
}

enum Ended {
    Finished,
    Killed,
    /// A fault was too much for it: it says why.
    GaveUp(String),
}

/// The option of a trace that says which faults befell its run.
pub(crate) const FAULTS: &str = "faults";
/// The option of a trace that says how a fault ended the run before its end.
pub(crate) const ENDED: &str = "ended by";

impl<S: Store> Target for StoreTarget<S> {
    fn name(&self) -> String {
        short_name(std::any::type_name::<S>())
    }

    fn record(&self, dir: &Path, workload: &Workload) -> Result<Trace, RecordError> {
        check_operations::<S>(workload)?;
        // What stands there already was made: a disk that a power loss has left, whose recovery is recorded.
        let recovery = !is_empty(dir)?;
        if recovery && !self.conditions.faults.rules.is_empty() {
            return self.under(Plan::default()).record(dir, workload);
        }
        let scratch = Scratch::new().map_err(RecordError::io("cannot make a directory for", dir))?;
        if self.created && !recovery {
            // Runs are recorded side by side; a store may have something of the process to itself.
            static MADE: Mutex<()> = Mutex::new(());
            let _alone = MADE.lock().unwrap_or_else(PoisonError::into_inner);
            let made = S::open(dir).and_then(S::close);
            made.map_err(|e| RecordError::Store { message: crate::worker::store::with_causes(&*e) })?;
        }
        let mut rig = Rig::start(dir, &self.conditions, workload.seed)?;
        let mut job = Job {
            dir: dir.to_path_buf(),
            report: scratch.path().join("report"),
            workload: workload.clone(),
            first_step: 0,
            first_id: 0,
            most_failed: self.is_faulted().then_some(MOST_FAILED),
        };
        let mut options = BTreeMap::new();
        if !self.conditions.faults.rules.is_empty() {
            options.insert(FAULTS.to_owned(), self.conditions.faults.to_string());
        }
        loop {
            let kill = workload.steps[job.first_step..].iter().position(|s| *s == Step::KillAndRestart);
            let ended = self.life(&mut rig, &job, scratch.path())?;
            match (ended, kill) {
                (Ended::Finished, None) => break,
                (Ended::Killed, Some(kill)) => {
                    rig.killed();
                    let lived = &workload.steps[job.first_step..job.first_step + kill];
                    job.first_id += lived.iter().map(operations).sum::<u32>();
                    job.first_step += kill + 1;
                }
                (Ended::Finished, Some(_)) => {
                    return Err(RecordError::Store { message: "it ended before it was to be killed".into() });
                }
                (Ended::GaveUp(why), _) => {
                    options.insert(ENDED.to_owned(), why);
                    break;
                }
                (Ended::Killed, None) if self.is_faulted() => break,
                (Ended::Killed, None) => {
                    return Err(RecordError::Store { message: "it was killed by somebody else".into() });
                }
            }
        }
        rig.finish(Meta { target: self.name(), seed: workload.seed, options, ..Meta::default() })
    }

    /// The probes, where it shows nowhere whether they were written before: those of a recovery come on top.
    fn after_recovery(&self) -> Workload {
        let mut model = S::Model::default();
        let mut after_probes = || {
            S::probes().iter().for_each(|op| model.apply(op));
            model.dump()
        };
        let steps = if after_probes() == after_probes() { invocations(S::probes()) } else { Ok(Vec::new()) };
        Workload { steps: steps.unwrap_or_default(), seed: 0 }
    }

    fn worker(&self, _contract: &Contract) -> Command {
        role::worker_command(&self.path, &role::key::<S>(&self.path))
    }

    fn notes_reads(&self) -> Option<u64> {
        // A life of its own process costs many times what it costs to note what it reads.
        Some(if S::REUSABLE { 3 } else { 20 })
    }

    fn oracle(&self) -> Box<dyn Oracle> {
        Box::new(ModelOracle::<S>(S::Model::default()))
    }
}

/// Whether a recording like this one is the same each time: calls were granted one by one, or one thread of each
/// life made them all.
pub(super) fn is_repeatable(trace: &Trace) -> bool {
    let changes = |event: &&Event| {
        matches!(event.op, Op::Write { .. } | Op::Sync { .. } | Op::ToldAgain { .. } | Op::Create { .. })
    };
    let of_one = |life: &[Event]| {
        let mut tasks = life.iter().filter(changes).map(|event| event.task);
        let first = tasks.next();
        tasks.all(|task| Some(task) == first)
    };
    let mut lives = trace.events.split(|event| event.op == Op::Kill);
    trace.meta.gated || lives.all(of_one)
}

fn is_empty(dir: &Path) -> Result<bool, RecordError> {
    let mut entries = std::fs::read_dir(dir).map_err(RecordError::io("cannot read", dir))?;
    Ok(entries.next().is_none())
}

/// How many operations a step holds.
fn operations(step: &Step) -> u32 {
    match step {
        Step::Invoke { .. } => 1,
        Step::Together(calls) => calls.len() as u32,
        _ => 0,
    }
}

/// Checks that every operation of the workload is one of the store's, before anything is run.
fn check_operations<S: Store>(workload: &Workload) -> Result<(), RecordError> {
    let bad = |step, e: postcard::Error| RecordError::BadOperation { step, why: e.to_string() };
    for (index, step) in workload.steps.iter().enumerate() {
        let ops: Vec<&[u8]> = match step {
            Step::Invoke { op, .. } => vec![op],
            Step::Together(calls) => calls.iter().map(|(_, op)| op.as_slice()).collect(),
            _ => continue,
        };
        for op in ops {
            postcard::from_bytes::<S::Op>(op).map_err(|e| bad(index, e))?;
        }
    }
    Ok(())
}

/// The last part of a type's name, without its parameters' paths.
fn short_name(type_name: &str) -> String {
    let bare = type_name.split('<').next().unwrap_or(type_name);
    bare.rsplit("::").next().unwrap_or(bare).to_owned()
}

/// A [`StoreModel`] as an oracle.
struct ModelOracle<S: Store>(S::Model);

impl<S: Store> ModelOracle<S> {
    fn decode(op: &[u8]) -> Option<S::Op> {
        postcard::from_bytes(op).ok()
    }
}

impl<S: Store> Oracle for ModelOracle<S> {
    fn apply(&mut self, op: &[u8], _reply: Option<&[u8]>, _at_ms: u64) {
        if let Some(op) = Self::decode(op) {
            self.0.apply(&op);
        }
    }

    fn meaning(&self, op: &[u8], reply: Option<&[u8]>) -> Meaning {
        match Self::decode(op).map(|op| S::Model::meaning(&op)) {
            // A flush that failed, or whose reply never came, has promised nothing.
            Some(Meaning::Barrier) if reply.is_none_or(|r| self.is_error(r)) => Meaning::Read,
            Some(meaning) => meaning,
            None => Meaning::Read,
        }
    }

    fn is_error(&self, reply: &[u8]) -> bool {
        !matches!(postcard::from_bytes(reply), Ok(Recorded::Done(_)))
    }

    fn dump(&self) -> Dump {
        self.0.dump()
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(ModelOracle::<S>(self.0.clone()))
    }

    fn describe(&self, op: &[u8]) -> String {
        Self::decode(op).map_or_else(|| "(an unknown operation)".into(), |op| S::Model::describe(&op))
    }

    fn expects(&self, op: &[u8], reply: &[u8], _at_ms: u64) -> bool {
        match (Self::decode(op), postcard::from_bytes(reply)) {
            (Some(op), Ok(Recorded::Done(reply))) => self.0.expects(&op, &reply),
            (Some(_), Ok(Recorded::Error(_))) => true,
            _ => false,
        }
    }

    fn parts(&self, op: &[u8]) -> Vec<Vec<u8>> {
        let parts = Self::decode(op).map_or(Vec::new(), |op| S::Model::parts(&op));
        parts.iter().filter_map(|part| postcard::to_stdvec(part).ok()).collect()
    }
}
