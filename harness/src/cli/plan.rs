//! What was asked for, checked: a plan can be carried out without another question.

use super::args::{CheckArgs, CommandArgs, RecordArgs, SearchArgs, SubjectArgs};
use super::configuration::{Configuration, Wanted, variant, variants};
use super::drop_sync::DropSync;
use super::failure::Failure;
use super::runner::ModelInfo;
use super::wire::ENGINE;
use crate::faults::Asked;
use crate::target::command::{self, CommandSpec};
use crate::target::policy::Policy;
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use unplug_faults::state::Assumption;

/// The name of a store on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TargetName {
    /// The embedded engine
    Engine,
    /// A redis-server
    Redis,
    /// A command, given by --run, and a checker, by --check
    Command,
}

/// The store under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The embedded engine, started by this very program.
    Engine,
    /// A redis-server; without a path, the first one in `PATH`.
    Redis {
        /// The program.
        server: Option<PathBuf>,
    },
    /// A command and its checker.
    Command(CommandSpec),
}

/// What `unplug check` is to do.
#[derive(Clone, Debug)]
pub struct CheckPlan {
    /// The store.
    pub subject: Subject,
    /// The policies, at least one, without doubles, in the report's order.
    pub policies: Vec<Policy>,
    /// How the store is configured, at least one, the default one first.
    pub configurations: Vec<Configuration>,
    /// The seed.
    pub seed: u64,
    /// Operations in each workload.
    pub ops: u32,
    /// Globs of files that need not survive.
    pub volatile: Vec<String>,
    /// Which states are tried.
    pub explore: ExplorePlan,
    /// Which faults are swept.
    pub faults: Option<Asked>,
    /// Whether everysec is also run whole with syncs that take time.
    pub slow_syncs: bool,
}

/// What `unplug record` is to do.
#[derive(Clone, Debug)]
pub struct RecordPlan {
    /// The store.
    pub subject: Subject,
    /// The policy that it runs under.
    pub policy: Policy,
    /// How the store is configured.
    pub configuration: Configuration,
    /// The seed.
    pub seed: u64,
    /// Operations in the workload.
    pub ops: u32,
    /// Globs of files that need not survive.
    pub volatile: Vec<String>,
}

impl RecordPlan {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// [`Failure::Usage`] that says what to do.
    pub fn of(args: &RecordArgs) -> Result<RecordPlan, Failure> {
        let subject = subject(&args.subject)?;
        promises(&subject, args.policy)?;
        let variant = variant(args.variant.as_deref().unwrap_or_default(), &subject)?;
        let configuration = Configuration::of(variant, &args.subject, &subject, &[args.policy])?;
        if configuration.policies(&[args.policy]).is_empty() {
            return Err(configuration.says_nothing());
        }
        let SubjectArgs { seed, ops, volatile, .. } = args.subject.clone();
        Ok(RecordPlan { subject, policy: args.policy, configuration, seed, ops, volatile })
    }
}

/// Which states are tried, and what is done about what is found.
#[derive(Clone, Debug)]
pub struct ExplorePlan {
    /// Names of models, at least one, without doubles, in the models' order.
    pub models: Vec<String>,
    /// Whether the models were named.
    pub models_named: bool,
    /// At the most so many states in one cell.
    pub budget: u64,
    /// How deep recoveries are crashed, if that was asked for.
    pub recovery_depth: Option<u8>,
    /// Images that differ only in what recovery has not read are not recovered again.
    pub prune: bool,
    /// Worker processes.
    pub workers: usize,
    /// Where repro files are written.
    pub repro_dir: Arc<ReproDir>,
    /// Rules that are taken away.
    pub assume: Vec<Assumption>,
    /// Syncs that are taken out of the trace.
    pub drop_sync: Vec<DropSync>,
}

impl CheckPlan {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// [`Failure::Usage`] that says what to do.
    pub fn of(args: &CheckArgs, models: &[ModelInfo]) -> Result<CheckPlan, Failure> {
        let subject = subject(&args.subject)?;
        let mut policies = args.policy.clone();
        if policies.is_empty() {
            policies = promised(&subject).to_vec();
        }
        policies.sort();
        policies.dedup();
        policies.iter().try_for_each(|policy| promises(&subject, *policy))?;
        let explore = ExplorePlan::of(&args.search, default_budget(subject.name()), models)?;
        let volatile = args.subject.volatile.clone();
        let parse = |text: &String| {
            let hint = || "`--faults all` tries everything".to_owned();
            text.parse()
                .map_err(|e: crate::faults::AskedError| Failure::usage(format!("--faults {e}"), hint()))
        };
        let faults = args.faults.as_ref().map(parse).transpose()?;
        if faults.is_some() && matches!(subject, Subject::Command(_)) {
            // A sweep runs the target once for each fault, and knows what a RESP server's replies promise.
            return Err(Failure::usage(
                "--faults sweeps over runs of servers, not of a command".into(),
                "name `engine`, `redis`, or a server with --server".into(),
            ));
        }
        let configurations = variants(&args.variant, &subject)?
            .into_iter()
            .map(|variant| Configuration::of(variant, &args.subject, &subject, &policies))
            .collect::<Result<Vec<_>, _>>()?;
        // Of all variants some have nothing to do with a policy; of one that was named this is a mistake.
        if let Some(idle) = configurations.iter().find(|c| c.cells(&policies, explore.wanted()).is_empty())
            && configurations.len() == args.variant.len().max(1)
        {
            return Err(idle.says_nothing());
        }
        let SubjectArgs { seed, ops, .. } = args.subject;
        let slow_syncs = args.slow_syncs;
        if slow_syncs && !policies.contains(&Policy::EverySec) {
            return Err(Failure::usage(
                "--slow-syncs: only everysec speaks of time".into(),
                "add --policy everysec, or leave it out".into(),
            ));
        }
        Ok(CheckPlan { subject, policies, configurations, seed, ops, volatile, explore, faults, slow_syncs })
    }
}

impl ExplorePlan {
    /// Checks what was asked for, and makes the repro directory. `budget` counts where none was given.
    ///
    /// # Errors
    /// [`Failure::Usage`] that says what to do.
    pub fn of(args: &SearchArgs, budget: u64, models: &[ModelInfo]) -> Result<ExplorePlan, Failure> {
        let named: Vec<String> = args.model.iter().filter(|name| *name != ALL).cloned().collect();
        let mut chosen = known("--model", &named, models)?;
        if args.model.iter().any(|name| name == ALL) {
            chosen = models.iter().map(|m| m.name.to_owned()).collect();
        }
        let gating = gating(args);
        let gates = known("--fail-on", gating, models)?;
        // A gate on a model that is not explored would always be open.
        if let Some(name) = gates.iter().find(|m| !gating.is_empty() && !chosen.contains(m)) {
            return Err(Failure::usage(
                format!("--fail-on {name}: that model is not explored"),
                format!("add --model {name}, or take it out of --fail-on"),
            ));
        }
        let repro_dir = Arc::new(ReproDir::of(&args.repro_dir)?);
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(ExplorePlan {
            models: chosen,
            models_named: !args.model.is_empty(),
            budget: args.budget.unwrap_or(budget),
            recovery_depth: args.recovery_depth,
            prune: args.prune,
            workers: args.workers.map_or_else(processors, usize::from),
            repro_dir,
            assume: args.assume.clone(),
            drop_sync: args.drop_sync.clone(),
        })
    }
}

impl ExplorePlan {
    /// The models that are wanted.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted { models: &self.models, named: self.models_named }
    }
}

/// The policies of a subject where none is named.
fn promised(subject: &Subject) -> &'static [Policy] {
    match subject {
        Subject::Command(_) => &[Policy::Always],
        _ => &Policy::ALL,
    }
}

/// Whether a subject can promise what a policy does.
///
/// # Errors
/// [`Failure::Usage`] that says which policies there are.
pub(super) fn promises(subject: &Subject, policy: Policy) -> Result<(), Failure> {
    match (subject, policy) {
        (Subject::Command(_), Policy::EverySec | Policy::Snapshot) => Err(Failure::usage(
            format!("--policy {policy}: a command promises nothing like it"),
            "`always`: each line that it has printed is found; `no`: lines may be lost, the last ones first"
                .into(),
        )),
        _ => Ok(()),
    }
}

/// How many states a cell gets where nothing is said, so that a check of everything ends in minutes: the engine
/// recovers thousands of images a second, a server some dozens (three starts an image, 10 ms each), a checker is
/// asked some questions an image.
pub(super) fn default_budget(target: &str) -> u64 {
    match target {
        ENGINE => 8_000,
        command::NAME => 1_000,
        _ => 200,
    }
}

impl Subject {
    /// Its name, without a version.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Subject::Engine => ENGINE,
            Subject::Redis { .. } => "redis-server",
            Subject::Command(_) => command::NAME,
        }
    }
}

/// The store that the arguments name.
///
/// # Errors
/// [`Failure::Usage`] if they contradict each other.
pub(super) fn subject(args: &SubjectArgs) -> Result<Subject, Failure> {
    let CommandArgs { run, check, prints, setup, dir } = &args.command;
    let given = [
        ("--run", run.is_some()),
        ("--check", check.is_some()),
        ("--prints", *prints),
        ("--setup", setup.is_some()),
        ("--dir", dir.is_some()),
    ];
    if args.target != TargetName::Command
        && let Some((option, _)) = given.iter().find(|(_, given)| *given)
    {
        return Err(Failure::usage(
            format!("{option} is for the target `command`"),
            "say `command` after `check` or `record`, or leave it out".into(),
        ));
    }
    match (args.target, &args.server) {
        (TargetName::Command, None) => commanded(args).map(Subject::Command),
        (TargetName::Command, Some(_)) => Err(Failure::usage(
            "--server names a redis-server, but the target is a command".into(),
            "say what to run with --run 'CMD', or leave --server out".into(),
        )),
        (TargetName::Engine, None) => Ok(Subject::Engine),
        (TargetName::Engine, Some(_)) => Err(Failure::usage(
            "--server names a redis-server, but the target is the embedded engine".into(),
            "say `redis` after the command, or leave --server out".into(),
        )),
        (TargetName::Redis, None) => Ok(Subject::Redis { server: None }),
        (TargetName::Redis, Some(path)) if path.is_file() => {
            Ok(Subject::Redis { server: Some(path.clone()) })
        }
        (TargetName::Redis, Some(path)) => Err(Failure::usage(
            format!("--server {}: no such file", path.display()),
            "give the path of a redis-server program with --server PATH, or install one with \
             `apt-get install redis-server`"
                .into(),
        )),
    }
}

/// A command of these arguments.
fn commanded(args: &SubjectArgs) -> Result<CommandSpec, Failure> {
    let CommandArgs { run, check, prints, setup, dir } = &args.command;
    let (Some(run), Some(check)) = (run, check) else {
        let missing = if run.is_none() { "--run 'CMD'" } else { "--check 'CMD'" };
        return Err(Failure::usage(
            format!("the target `command` needs {missing}"),
            "for example: unplug check command --run 'echo x > f; sync f .; echo saved' \
             --check 'test $UNPLUG_ACKED = 0 || grep -q x f'"
                .into(),
        ));
    };
    if let Some(dir) = dir.as_ref().filter(|dir| !dir.is_dir()) {
        return Err(Failure::usage(
            format!("--dir {}: not a directory", dir.display()),
            "name one whose content the run is to begin with".into(),
        ));
    }
    Ok(CommandSpec {
        run: run.clone(),
        check: check.clone(),
        prints: *prints,
        setup: setup.clone(),
        dir: dir.clone(),
        policy: None,
        volatile: args.volatile.clone(),
    })
}

/// The models that `--fail-on` names; none where every one counts.
pub(super) fn gating(args: &SearchArgs) -> &[String] {
    if args.fail_on.iter().any(|name| name == ALL) { &[] } else { &args.fail_on }
}

/// As a model's name: every model.
const ALL: &str = "all";

/// The named models in the models' order; the usual ones where none is named.
fn known(option: &str, names: &[String], models: &[ModelInfo]) -> Result<Vec<String>, Failure> {
    if let Some(name) = names.iter().find(|n| !models.iter().any(|m| m.name == n.as_str())) {
        let list = models.iter().map(|m| format!("\n    {:<14} {}", m.name, m.summary)).collect::<String>();
        return Err(Failure::usage(
            format!("{option}: no model is called '{name}'"),
            format!("the models are{list}"),
        ));
    }
    let wanted = |m: &&ModelInfo| {
        if names.is_empty() { m.usual } else { names.iter().any(|n| n == m.name) }
    };
    Ok(models.iter().filter(wanted).map(|m| m.name.to_owned()).collect())
}

/// The directory for repro files: there, and written to once. If it was made for this run and nothing was put
/// there, it goes when the run ends: an empty directory would only puzzle.
#[derive(Debug)]
pub struct ReproDir {
    path: PathBuf,
    made: bool,
}

impl ReproDir {
    /// Makes it and tries it: after minutes of exploring it would be too late to say that a repro cannot be kept.
    ///
    /// # Errors
    /// [`Failure::Usage`] if it cannot be written to.
    fn of(path: &Path) -> Result<ReproDir, Failure> {
        let fail = |e: std::io::Error| {
            Failure::usage(
                format!("--repro-dir {}: cannot be written to: {e}", path.display()),
                "name a directory that can, with --repro-dir DIR".into(),
            )
        };
        let made = !path.exists();
        std::fs::create_dir_all(path).map_err(fail)?;
        let dir = ReproDir { path: path.to_owned(), made };
        tempfile::Builder::new().prefix(".probe").tempfile_in(path).map_err(fail)?;
        Ok(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ReproDir {
    fn drop(&mut self) {
        if self.made {
            // Fails, as it should, where a repro was put.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}
