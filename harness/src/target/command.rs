//! Any program as a target: a shell command line that is run once and recorded, whose lines on standard output are
//! its acknowledgements, and another one that looks at what a power loss has left.

use crate::contract::Contract;
use crate::record::RecordError;
use crate::target::command_oracle::{LinesOracle, multiset};
use crate::target::command_recover::{Checker, ENV_JOB, Found, Job, WORKER};
use crate::target::command_run::run;
use crate::target::policy::Policy;
use crate::target::rig::Conditions;
use crate::target::{Oracle, Target};
use crate::worker::scratch::Scratch;
use crate::workload::Workload;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use unplug_faults::event::{Event, Op, Task};
use unplug_faults::trace::{Meta, Trace};

/// The name of such targets in traces.
pub const NAME: &str = "command";
/// The name of the one phase.
const PHASE: &str = "run";

/// What is run, and who looks at what is left of it. Each is a line for `sh -c`, run in the directory under test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandSpec {
    /// The workload. Each line that it prints says that something is saved.
    pub run: String,
    /// Exits with 0 if the first `UNPLUG_ACKED` lines of the run (they stand in the file `UNPLUG_ACKED_FILE`) are there.
    pub check: String,
    /// The checker prints the lines that it finds.
    pub prints: bool,
    /// Makes what the run begins with; not recorded, and durable.
    pub setup: Option<String>,
    /// A directory whose content the run begins with: copied, before the setup.
    pub dir: Option<PathBuf>,
    /// Whether an acknowledged line must be found ([`Policy::Always`]), or need not ([`Policy::No`]).
    pub policy: Option<Policy>,
    /// Globs of files that need not survive.
    pub volatile: Vec<String>,
}

impl CommandSpec {
    /// The policy; [`Policy::Always`] if nothing else was asked for.
    pub fn policy(&self) -> Policy {
        self.policy.unwrap_or(Policy::Always)
    }
}

/// A command under test.
#[derive(Clone, Debug)]
pub struct CommandTarget {
    /// The `unplug` executable, which recovery workers run.
    unplug: PathBuf,
    spec: CommandSpec,
    /// Where workers find what they are to do.
    job: Arc<Scratch>,
    /// What the checker finds before anything is run.
    before: Vec<Vec<u8>>,
    /// What the run printed.
    lines: Vec<Vec<u8>>,
    interrupted: Option<Arc<AtomicBool>>,
}

/// A recording, and the target that recovers from it.
#[derive(Debug)]
pub struct Recorded {
    /// The run.
    pub trace: Trace,
    /// Recovers what the run has written.
    pub target: CommandTarget,
}

/// Runs and records a command. The checker is tried on what the run begins with and on what it leaves: one that
/// does not accept those would convict every store.
///
/// # Errors
/// A command that fails, a checker that does not fit, or what kept the run from being recorded.
pub fn record(
    unplug: &Path,
    spec: &CommandSpec,
    seed: u64,
    interrupted: Option<Arc<AtomicBool>>,
) -> Result<Recorded, RecordError> {
    let scratch = Scratch::new().map_err(RecordError::io("no directory to record in below", &base()))?;
    let data = scratch.path().join("data");
    std::fs::create_dir(&data).map_err(RecordError::io("no directory to record in", &data))?;
    let mut target = CommandTarget::new(unplug, spec.clone(), Vec::new(), Vec::new())?;
    target.interrupted = interrupted;
    let trace = target.record(&data, &Workload { steps: Vec::new(), seed })?;
    let interrupted = target.interrupted.take();
    let target = CommandTarget { interrupted, ..CommandTarget::of(unplug, &trace, &spec.check)? };
    Ok(Recorded { trace, target })
}

fn base() -> PathBuf {
    crate::worker::scratch::base().unwrap_or_default()
}

/// The lines that a recorded command printed.
pub(crate) fn lines_of(trace: &Trace) -> Vec<Vec<u8>> {
    let line = |e: &Event| if let Op::Invoke { op, .. } = &e.op { Some(op.clone()) } else { None };
    trace.events.iter().filter_map(line).collect()
}

impl CommandTarget {
    fn new(
        unplug: &Path,
        spec: CommandSpec,
        before: Vec<Vec<u8>>,
        lines: Vec<Vec<u8>>,
    ) -> Result<CommandTarget, RecordError> {
        let job = Scratch::new().map_err(RecordError::io("no directory for workers below", &base()))?;
        let (unplug, job, interrupted) = (unplug.into(), Arc::new(job), None);
        let target = CommandTarget { unplug, spec, job, before, lines, interrupted };
        let path = target.job_file();
        let job =
            Job { check: target.spec.check.clone(), prints: target.spec.prints, lines: target.lines.clone() };
        let bytes = postcard::to_stdvec(&job).unwrap_or_default();
        std::fs::write(&path, bytes).map_err(RecordError::io("cannot write", &path))?;
        Ok(target)
    }

    /// The target that recovers what a recorded command has written, by the checker that is given: the one in the
    /// trace is a stranger's, and is not run unasked.
    ///
    /// # Errors
    /// The directory for the workers cannot be made.
    pub fn of(unplug: &Path, trace: &Trace, check: &str) -> Result<CommandTarget, RecordError> {
        let option = |name: &str| trace.meta.options.get(name).cloned();
        let spec = CommandSpec {
            run: option("run").unwrap_or_default(),
            check: check.to_owned(),
            prints: option("prints").is_some(),
            setup: option("setup"),
            dir: None,
            policy: option("policy").and_then(|p| p.parse().ok()),
            volatile: Vec::new(),
        };
        let before = option("before").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        CommandTarget::new(unplug, spec, before, lines_of(trace))
    }

    /// What it runs, and who looks.
    pub fn spec(&self) -> &CommandSpec {
        &self.spec
    }

    fn job_file(&self) -> PathBuf {
        self.job.path().join("job")
    }

    /// What the checker finds in a copy of a directory: it may change what it looks at.
    fn found(
        &self,
        dir: &Path,
        scratch: &Path,
        place: &'static str,
    ) -> Result<std::collections::BTreeMap<Vec<u8>, u64>, RecordError> {
        let copy = scratch.join("copy");
        let io = RecordError::io("cannot copy", dir);
        let copied = match std::fs::remove_dir_all(&copy) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => copy_tree(dir, &copy),
        };
        copied.map_err(io)?;
        let mut checker = Checker::read(&self.job_file()).map_err(RecordError::io("cannot read", dir))?;
        let refused = |why| RecordError::Checker { place, why };
        match checker.found(&copy, scratch) {
            Ok(Found::Lines(found)) => Ok(found),
            Ok(Found::Refused(message)) => Err(refused(format!("it refuses it: {message}"))),
            Ok(Found::Crashed(message)) => Err(refused(format!("it dies: {message}"))),
            Ok(Found::Hung) => Err(refused("it does not end".into())),
            Err(why) => Err(refused(why)),
        }
    }
}

impl Target for CommandTarget {
    fn name(&self) -> String {
        NAME.into()
    }

    /// A checker looks; to start the command again would be the next run, which begins with what it likes.
    fn recovers(&self) -> bool {
        false
    }

    fn record(&self, dir: &Path, workload: &Workload) -> Result<Trace, RecordError> {
        let recorded = self.run(dir, workload.seed);
        match &self.interrupted {
            // Whatever the broken-off run says of itself: it was broken off.
            Some(flag) if recorded.is_err() && flag.load(Ordering::SeqCst) => Err(RecordError::Interrupted),
            _ => recorded,
        }
    }

    fn worker(&self, _contract: &Contract) -> Command {
        let mut command = Command::new(&self.unplug);
        command.arg(WORKER).env(ENV_JOB, self.job_file());
        command
    }

    fn oracle(&self) -> Box<dyn Oracle> {
        Box::new(LinesOracle::with(self.before.iter().map(Vec::as_slice)))
    }
}

/// What the run begins with, and what it leaves.
const BEGINNING: &str = "the run begins with";
const END: &str = "the run has left";

impl CommandTarget {
    fn run(&self, dir: &Path, seed: u64) -> Result<Trace, RecordError> {
        let scratch = Scratch::new().map_err(RecordError::io("no directory beside", dir))?;
        let interrupted = self.interrupted.clone();
        if let Some(from) = &self.spec.dir {
            copy_beginning(from, dir).map_err(RecordError::io("cannot copy", from))?;
        }
        if let Some(setup) = &self.spec.setup {
            crate::target::command_run::setup(setup, dir, scratch.path(), interrupted.as_deref())?;
        }
        let beginning = scratch.path().join("beginning");
        copy_tree(dir, &beginning).map_err(RecordError::io("cannot copy", dir))?;
        let before = self.found(&beginning, scratch.path(), BEGINNING)?;
        let before: Vec<Vec<u8>> =
            before.into_iter().flat_map(|(line, n)| (0..n).map(move |_| line.clone())).collect();
        let conditions = Conditions { ignore: self.spec.volatile.clone(), ..Conditions::default() };
        let options = self.options(&before);
        let meta = Meta { target: NAME.into(), options, seed, ..Meta::default() };
        let (mut trace, lines) = run(&self.spec.run, dir, scratch.path(), &conditions, meta, interrupted)?;
        invoke_all(&mut trace, lines);
        CommandTarget::of(&self.unplug, &trace, &self.spec.check)?.try_checker(dir, &beginning, &scratch)?;
        Ok(trace)
    }

    /// Tries the checker where no power was lost: it must find every line at the end, and not at the beginning.
    fn try_checker(&self, end: &Path, beginning: &Path, scratch: &Scratch) -> Result<(), RecordError> {
        let refused = |place, why| Err(RecordError::Checker { place, why });
        let wanted = multiset(self.before.iter().chain(&self.lines).map(Vec::as_slice));
        let left = self.found(end, scratch.path(), END)?;
        let name = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        if let Some((line, _)) = wanted.iter().find(|(line, n)| left.get(*line) < Some(n)) {
            let why = format!("it does not find the line \"{}\", which the run has printed", name(line));
            return refused(END, why);
        }
        if let Some((line, _)) = left.iter().find(|(line, n)| wanted.get(*line) < Some(n)) {
            return refused(END, format!("it finds the line \"{}\", which was never printed", name(line)));
        }
        if self.found(beginning, scratch.path(), BEGINNING)? == wanted {
            let why = "it finds every line where nothing was run yet, so that no loss could show".into();
            return refused(BEGINNING, why);
        }
        Ok(())
    }

    fn options(&self, before: &[Vec<u8>]) -> std::collections::BTreeMap<String, String> {
        let spec = &self.spec;
        let mut options = std::collections::BTreeMap::new();
        let mut put = |name: &str, value: String| drop(options.insert(name.to_owned(), value));
        put("policy", spec.policy().name().into());
        put("run", spec.run.clone());
        put("check", spec.check.clone());
        if let Some(setup) = &spec.setup {
            put("setup", setup.clone());
        }
        if spec.prints {
            put("prints", "yes".into());
        }
        if !before.is_empty() {
            put("before", serde_json::to_string(before).unwrap_or_default());
        }
        if !spec.volatile.is_empty() {
            put("volatile", spec.volatile.join(" "));
        }
        options
    }
}

/// Puts the operations into the history, one a line. When the program began with one cannot be seen; it may do the
/// work of many before it speaks of the first: all are under way from the beginning, in the order of their lines.
fn invoke_all(trace: &mut Trace, lines: Vec<Vec<u8>>) {
    let event = |op| Event { begin: 0, end: 0, at: 0, task: Task::default(), site: None, errno: 0, op };
    let mut events = vec![event(Op::Phase(PHASE.into()))];
    for (id, op) in (0..).zip(lines) {
        events.push(event(Op::Invoke { client: crate::target::command_run::CLIENT, id, op }));
    }
    trace.events.splice(0..0, events);
}

/// Copies what the run begins with into the directory under test, which must not lie in it: there would be no end.
fn copy_beginning(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.canonicalize()?.starts_with(from.canonicalize()?) {
        return Err(std::io::Error::other(
            "scratch directories lie in it: name another place with UNPLUG_TMP",
        ));
    }
    copy_into(from, to)
}

/// Copies a tree to a place where nothing stands.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    copy_into(from, to)
}

/// Copies what stands in a directory into another one. Sockets, pipes and devices hold nothing and are left out.
fn copy_into(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &to)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &to)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
