//! What was asked for, checked: a plan can be carried out without another question.

use super::args::{CheckArgs, SearchArgs, SubjectArgs};
use super::drop_sync::DropSync;
use super::failure::Failure;
use super::runner::ModelInfo;
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
}

/// What `unplug check` is to do.
#[derive(Clone, Debug)]
pub struct CheckPlan {
    /// The store.
    pub subject: Subject,
    /// The policies, at least one, without doubles, in the report's order.
    pub policies: Vec<Policy>,
    /// The seed.
    pub seed: u64,
    /// Operations in each workload.
    pub ops: u32,
    /// Which states are tried.
    pub explore: ExplorePlan,
}

/// Which states are tried, and what is done about what is found.
#[derive(Clone, Debug)]
pub struct ExplorePlan {
    /// Names of models, at least one, without doubles, in the models' order.
    pub models: Vec<String>,
    /// At the most so many states in one cell.
    pub budget: u64,
    /// How deep recoveries are crashed.
    pub recovery_depth: u8,
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
            policies = Policy::ALL.to_vec();
        }
        policies.sort();
        policies.dedup();
        let explore = ExplorePlan::of(&args.search, default_budget(subject == Subject::Engine), models)?;
        Ok(CheckPlan { subject, policies, seed: args.subject.seed, ops: args.subject.ops, explore })
    }
}

impl ExplorePlan {
    /// Checks what was asked for, and makes the repro directory. `budget` counts where none was given.
    ///
    /// # Errors
    /// [`Failure::Usage`] that says what to do.
    pub fn of(args: &SearchArgs, budget: u64, models: &[ModelInfo]) -> Result<ExplorePlan, Failure> {
        let chosen = known("--model", &args.model, models)?;
        let gating = known("--fail-on", &args.fail_on, models)?;
        // A gate on a model that is not explored would always be open.
        if let Some(name) = gating.iter().find(|m| !args.fail_on.is_empty() && !chosen.contains(m)) {
            return Err(Failure::usage(
                format!("--fail-on {name}: that model is not explored"),
                format!("add --model {name}, or take it out of --fail-on"),
            ));
        }
        let repro_dir = Arc::new(ReproDir::of(&args.repro_dir)?);
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(ExplorePlan {
            models: chosen,
            budget: args.budget.unwrap_or(budget),
            recovery_depth: args.recovery_depth,
            workers: args.workers.map_or_else(processors, usize::from),
            repro_dir,
            assume: args.assume.clone(),
            drop_sync: args.drop_sync.clone(),
        })
    }
}

/// How many states a cell gets where nothing is said, so that a check of everything ends in minutes: the engine
/// recovers thousands of images a second, a server some dozens (three starts an image, 10 ms each).
pub(super) fn default_budget(engine: bool) -> u64 {
    if engine { 16_000 } else { 200 }
}

/// The store that the arguments name.
///
/// # Errors
/// [`Failure::Usage`] if they contradict each other.
pub(super) fn subject(args: &SubjectArgs) -> Result<Subject, Failure> {
    match (args.target, &args.server) {
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

/// The named models in the models' order; all where none is named.
fn known(option: &str, names: &[String], models: &[ModelInfo]) -> Result<Vec<String>, Failure> {
    if let Some(name) = names.iter().find(|n| !models.iter().any(|m| m.name == n.as_str())) {
        let list = models.iter().map(|m| format!("\n    {:<14} {}", m.name, m.summary)).collect::<String>();
        return Err(Failure::usage(
            format!("{option}: no model is called '{name}'"),
            format!("the models are{list}"),
        ));
    }
    let wanted = |m: &&ModelInfo| names.is_empty() || names.iter().any(|n| n == m.name);
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
