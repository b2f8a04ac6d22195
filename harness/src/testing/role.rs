//! The roles in which a test is started again: being recorded, and recovering images.

use crate::dump::Dump;
use crate::testing::path::TestPath;
use crate::testing::store::{Recorded, Reply, Store, StoreModel};
use crate::worker::store::{BoxError, StoreRecovery, Subject, with_causes};
use crate::workload::{Step, Workload};
use nix::sys::signal::{Signal, raise};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::Command;
use unplug_faults::mark;

/// Names the role in which this process was started.
pub(crate) const ENV_ROLE: &str = "UNPLUG_ROLE";
/// Names the check that the role is for.
pub(crate) const ENV_CHECK: &str = "UNPLUG_ROLE_CHECK";
/// Names the job file of a recording.
pub(crate) const ENV_JOB: &str = "UNPLUG_ROLE_JOB";

const RECORD: &str = "record";
const WORKER: &str = "worker";

/// CPU seconds that one life of a store may use.
const LIFE_CPU_S: u64 = 5;

/// What a recording process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The directory that is recorded.
    pub(crate) dir: PathBuf,
    /// Where the process says that it has come to its check, and later what went wrong: not recorded.
    pub(crate) report: PathBuf,
    /// What is done.
    pub(crate) workload: Workload,
    /// Where this life begins: the process kills itself at the next [`Step::KillAndRestart`].
    pub(crate) first_step: usize,
    /// The number of this life's first operation.
    pub(crate) first_id: u32,
    /// Once so many operations have failed in this life, no more are tried.
    pub(crate) most_failed: Option<u32>,
}

/// What a recording process leaves in [`Job::report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Progress {
    /// The check was reached.
    Began,
    /// The store failed besides an operation.
    Failed(String),
}

/// Which check of which test: what the roles go by.
pub(crate) fn key<S: Store>(path: &TestPath) -> String {
    format!("{} at {} of {}", path.path(), path.place(), std::any::type_name::<S>())
}

/// Whether this process was started in some role, of whatever check.
pub(crate) fn in_any_role() -> bool {
    std::env::var_os(ENV_ROLE).is_some()
}

/// Plays the role of this check, if the process was started in it: then it does not return.
pub(crate) fn play<S: Store>(path: &TestPath) {
    let Some(role) = std::env::var_os(ENV_ROLE) else { return };
    if std::env::var_os(ENV_CHECK).is_none_or(|check| *check != *key::<S>(path)) {
        return;
    }
    let status = match role.to_str() {
        Some(RECORD) => i32::from(!recorded::<S>()),
        Some(WORKER) => {
            let recovery = &mut StoreRecovery::new(StoreSubject::<S>(PhantomData), LIFE_CPU_S);
            match crate::worker::serve(recovery) {
                Ok(()) => 0,
                Err(e) => {
                    eprintln!("unplug: recovery worker: {e}");
                    1
                }
            }
        }
        _ => {
            eprintln!("unplug: {ENV_ROLE}={}: no such role", role.to_string_lossy());
            2
        }
    };
    // Not a return into the test: it would go on as if it were the first process.
    std::process::exit(status)
}

/// The command that starts this test again.
fn again(path: &TestPath, key: &str, role: &str) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let mut command = Command::new(program);
    command.args(["--exact", path.path(), "--nocapture", "--include-ignored", "--test-threads=1"]);
    command.env(ENV_ROLE, role).env(ENV_CHECK, key);
    // A backtrace for each crash of a recovery costs more than the recovery.
    command.env("RUST_BACKTRACE", "0");
    command
}

/// The command of a recovery worker.
pub(crate) fn worker_command(path: &TestPath, key: &str) -> Command {
    again(path, key, WORKER)
}

/// The command of a recording process.
pub(crate) fn record_command(path: &TestPath, key: &str, job: &Path) -> Command {
    let mut command = again(path, key, RECORD);
    command.env(ENV_JOB, job);
    command
}

/// The recording role. Whether all went well; what did not is in the report.
fn recorded<S: Store>() -> bool {
    let job = std::env::var_os(ENV_JOB).ok_or_else(|| format!("{ENV_JOB} is not set").into());
    let job: Result<Job, BoxError> = job.and_then(|path| Ok(postcard::from_bytes(&std::fs::read(path)?)?));
    let job = match job {
        Ok(job) => job,
        Err(e) => {
            eprintln!("unplug: the recording's job: {e}");
            return false;
        }
    };
    let report = |progress: &Progress| {
        postcard::to_stdvec(progress).ok().and_then(|bytes| std::fs::write(&job.report, bytes).ok()).is_some()
    };
    if !report(&Progress::Began) {
        return false;
    }
    match run::<S>(&job) {
        Ok(()) => true,
        Err(e) => {
            report(&Progress::Failed(with_causes(&*e)));
            false
        }
    }
}

fn run<S: Store>(job: &Job) -> Result<(), BoxError> {
    let mut store = S::open(&job.dir)?;
    let (mut id, mut failed) = (job.first_id, 0);
    for step in &job.workload.steps[job.first_step..] {
        match step {
            Step::Invoke { client, op } => {
                failed += u32::from(!invoke(&mut store, *client, id, op)?);
                id += 1;
            }
            // A store has one caller here: what several clients do together, they do in turn.
            Step::Together(calls) => {
                for (client, op) in calls {
                    failed += u32::from(!invoke(&mut store, *client, id, op)?);
                    id += 1;
                }
            }
            Step::Advance { nanos } => std::thread::sleep(std::time::Duration::from_nanos(*nanos)),
            Step::Phase(name) => drop(mark::phase(name)),
            Step::KillAndRestart => raise(Signal::SIGKILL)?,
            Step::Settle => {}
            Step::Restart { .. } => return Err("only a server is started again with other options".into()),
        }
        if job.most_failed.is_some_and(|most| failed >= most) {
            store.close()?;
            return Err(format!("{failed} operations have failed, and no more were tried").into());
        }
    }
    store.close()
}

/// Does one operation. Whether it succeeded; an error is the harness's own.
fn invoke<S: Store>(store: &mut S, client: u32, id: u32, encoded: &[u8]) -> Result<bool, BoxError> {
    let op: S::Op = postcard::from_bytes(encoded)?;
    mark::invoke(client, id, encoded);
    let reply = match store.apply(&op) {
        Ok(reply) => Recorded::Done(reply),
        Err(e) => Recorded::Error(with_causes(&*e)),
    };
    mark::reply(client, id, &postcard::to_stdvec(&reply)?);
    Ok(matches!(reply, Recorded::Done(_)))
}

/// A [`Store`] as what a worker recovers.
pub(crate) struct StoreSubject<S>(PhantomData<S>);

impl<S: Store> Subject for StoreSubject<S> {
    type Life = S;

    fn reusable(&self) -> bool {
        S::REUSABLE
    }

    fn open(&self, dir: &Path, _now_ms: u64) -> Result<S, BoxError> {
        S::open(dir)
    }

    fn dump(&self, life: &mut S) -> Result<Dump, BoxError> {
        life.dump()
    }

    fn probe(&self, life: &mut S) -> Result<Dump, BoxError> {
        let mut model = S::Model::default();
        for op in S::probes() {
            let _: Reply = life.apply(&op)?;
            model.apply(&op);
        }
        Ok(model.dump())
    }

    fn close(&self, life: S) -> Result<(), BoxError> {
        life.close()
    }

    fn abandon(&self, life: S) {
        if S::REUSABLE {
            life.abandon();
        } else {
            // The forked process ends by SIGKILL right after this.
            std::mem::forget(life);
        }
    }
}
