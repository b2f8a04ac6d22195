//! What keeps a run from being recorded.

use std::path::{Path, PathBuf};

/// Why there is no trace. In every case the target's processes are dead and reaped.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is no such program.
    #[error(
        "cannot find the server `{program}`: give its path with `--server PATH`, or install one with \
         `apt-get install redis-server`"
    )]
    MissingServer {
        /// What was looked for.
        program: String,
    },
    /// The program is there, but cannot be started.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The recorder cannot get into the program.
    #[error(
        "`{program}` {why}: the recorder is preloaded by the dynamic linker, and is not let into such a program; {hint}"
    )]
    NotLoadable {
        /// The program.
        program: String,
        /// What keeps the recorder out.
        why: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A command line of the user's failed.
    #[error("{option} ended with {how}; it said:\n{log}")]
    CommandFailed {
        /// The option that gave it.
        option: &'static str,
        /// Exit status or signal.
        how: String,
        /// What it said at last.
        log: String,
    },
    /// The command promised nothing.
    #[error(
        "--run printed no line: each line on its standard output says that something is saved, and there is nothing \
         to hold it to without one; it said:\n{log}"
    )]
    NoLines {
        /// What it said at last.
        log: String,
    },
    /// The checker does not fit the command.
    #[error(
        "the checker does not accept what {place}, without any power loss: {why}\n\
         it must exit with 0 where the first UNPLUG_ACKED lines are there (none where that is 0), or print those \
         that it finds (--prints)"
    )]
    Checker {
        /// What it was tried on.
        place: &'static str,
        /// What it did.
        why: String,
    },
    /// The environment holds a bad value.
    #[error("{0}")]
    Variable(String),
    /// The server ended before it took connections.
    #[error("{program} died at start ({how}); its log ends:\n{log}")]
    DiedAtStart {
        /// The program.
        program: String,
        /// Exit status or signal.
        how: String,
        /// The log's tail.
        log: String,
    },
    /// The server does not take connections, but does not end either.
    #[error("{program} took no connection for {waited_s} s; its log ends:\n{log}")]
    NotReady {
        /// The program.
        program: String,
        /// How long was waited.
        waited_s: u64,
        /// The log's tail.
        log: String,
    },
    /// The target ended in the middle of the workload.
    #[error("{program} died during step {step} of the workload ({how}); its log ends:\n{log}")]
    Died {
        /// The program.
        program: String,
        /// The step's index.
        step: usize,
        /// Exit status or signal.
        how: String,
        /// The log's tail.
        log: String,
    },
    /// A reply, or the end of background work, did not come. Says nothing about the disk.
    #[error("step {step} of the workload ({what}) did not end in {waited_s} s; the log ends:\n{log}")]
    Stuck {
        /// The step's index.
        step: usize,
        /// What was waited for.
        what: String,
        /// How long, of real time.
        waited_s: u64,
        /// The log's tail.
        log: String,
    },
    /// The connection to the target failed.
    #[error("step {step} of the workload: {source}")]
    Client {
        /// The step's index.
        step: usize,
        /// What failed.
        source: crate::target::client::ClientError,
    },
    /// A step holds an operation that is not one of this target's.
    #[error("step {step} of the workload is not an operation of this target: {why}")]
    BadOperation {
        /// The step's index.
        step: usize,
        /// What is wrong.
        why: String,
    },
    /// The call before which an operation was to be sent was never made.
    #[error(
        "step {step} of the workload: the target makes fewer than {call} recorded calls after the operation before"
    )]
    NeverCame {
        /// The step's index.
        step: usize,
        /// Which call it was to be.
        call: u32,
    },
    /// A store under test failed in its recording process before or besides an operation.
    #[error("the store failed while it was recorded: {message}")]
    Store {
        /// What it said.
        message: String,
    },
    /// The directory, or one of the harness's own files, cannot be used.
    #[error("{what} `{path}`: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The user interrupted the run.
    #[error("interrupted")]
    Interrupted,
    /// The recorder failed.
    #[error(transparent)]
    Recorder(#[from] unplug_faults::record::RecordError),
}

impl RecordError {
    /// An I/O error with its context, for `map_err`.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RecordError {
        let path = path.to_path_buf();
        move |source| RecordError::Io { what, path, source }
    }
}
