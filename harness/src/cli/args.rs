//! The command line, as clap sees it. Nothing here touches a file.

use super::drop_sync::DropSync;
use super::plan::TargetName;
use crate::target::policy::Policy;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use unplug_faults::state::Assumption;

const EXIT_CODES: &str = "\
Exit codes: 0 every contract holds; 1 at least one is violated; 2 bad usage or input, nothing was run;
3 something could not be measured, or the run was interrupted; 4 the harness is broken, trust nothing.
Without a command, `unplug` does what `unplug check` does.";

/// Pull the plug on a store at every possible moment, and see whether it keeps its promises.
#[derive(Debug, Parser)]
#[command(name = "unplug", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; nothing is the same as `check`.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record a workload, crash it everywhere, recover, judge
    Check(CheckArgs),
    /// Record a workload and save its trace
    Record(RecordArgs),
    /// Crash a saved trace everywhere, recover, judge
    Explore(ExploreArgs),
    /// Recover the one state of a repro file again and judge it
    Replay(ReplayArgs),
    /// Lay the disk of a repro file out in a directory, to start the real program on
    Image(ImageArgs),
    /// Print a trace or repro file so that a person can follow it
    Show(ShowArgs),
    /// Run the embedded Redis-compatible engine as a server: [CONFIG-FILE] [--name value ...]
    #[command(disable_help_flag = true)]
    Engine(Rest),
    /// Recover images for another `unplug` process
    #[command(name = "__worker", hide = true, disable_help_flag = true)]
    Worker(Rest),
}

/// `unplug check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub subject: SubjectArgs,
    /// Only these policies; all if none is named.
    #[arg(
        long,
        value_name = "POLICY",
        value_delimiter = ',',
        help = "Only these policies (always, everysec, no, snapshot); all if none is named"
    )]
    pub policy: Vec<Policy>,
    /// Also run it again and again with one fault each: all, a list such as EIO,short,kill,rest,fsync:ENOSPC,
    /// fdatasync:delay=1.5s, or the rules of a file
    #[arg(long, value_name = "all|LIST|FILE")]
    pub faults: Option<String>,
    /// Named configurations of the embedded engine, or `all`; `default` if none is named. An unknown name lists them
    #[arg(long, value_name = "NAME|all", value_delimiter = ',')]
    pub variant: Vec<String>,
    /// Run everysec also with syncs that take 0.5, 1.5 and 2.5 s, and all of the workload: a window is then a second,
    /// and what two syncs add to it. Without it the embedded engine does so with appends only
    #[arg(long)]
    pub slow_syncs: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub search: SearchArgs,
}

/// What is run, and with which workload.
#[derive(Clone, Debug, Args)]
pub struct SubjectArgs {
    /// What is tested: the embedded engine, a redis-server, or any command with a checker
    #[arg(value_enum, default_value_t = TargetName::Engine)]
    pub target: TargetName,
    /// The redis-server to start, if not the first one in PATH
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// Seed of the workload, the scheduler and the sampling
    #[arg(long, value_name = "N", default_value_t = 1, env = "UNPLUG_SEED")]
    pub seed: u64,
    /// Files that need not survive and are made anew, such as '*-shm'; writable shared mappings of them do not matter
    #[arg(long, value_name = "GLOB")]
    pub volatile: Vec<String>,
    /// Another option of the server than those that make the policy, such as aof-layout=single; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// An option in which the server that recovers differs from the one that was recorded; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub recover_set: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub command: CommandArgs,
    /// Operations that are drawn for each workload; from 40 on, every command that changes data is run once besides
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub ops: u32,
}

/// What the target `command` is made of.
#[derive(Clone, Debug, Default, Args)]
pub struct CommandArgs {
    /// For `command`: a line for `sh -c`, run once in the directory under test; each line that it prints on standard
    /// output says that something is saved
    #[arg(long, value_name = "CMD")]
    pub run: Option<String>,
    /// For `command`: a line for `sh -c`, run in each directory that a power loss may leave; it exits with 0 if the
    /// first UNPLUG_ACKED lines of the run (they stand in the file UNPLUG_ACKED_FILE) are there
    #[arg(long, value_name = "CMD")]
    pub check: Option<String>,
    /// The checker prints the lines that it finds, and is not told any
    #[arg(long)]
    pub prints: bool,
    /// For `command`: a line for `sh -c` that makes what the run begins with
    #[arg(long, value_name = "CMD")]
    pub setup: Option<String>,
    /// For `command`: a directory whose content the run begins with; it is copied
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Which states are tried, and what is done about what is found.
#[derive(Clone, Debug, Args)]
pub struct SearchArgs {
    /// Only these persistence models, or `all`; those of file systems as mounted by default and of the standard if
    /// none is named
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    pub model: Vec<String>,
    /// At the most so many crash states for each policy, phase and model; 8000 if not given, 200 on a redis-server,
    /// where each costs three starts of the program, 1000 on a command
    #[arg(
        long,
        value_name = "STATES",
        env = "UNPLUG_BUDGET",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub budget: Option<u64>,
    /// Lose power during recoveries, too: 1 during those of the run's crash states, 2 also during the recoveries from
    /// that; 0 not at all. 1 for the embedded engine if not given, 0 for servers: theirs are recorded anew each time,
    /// and no two are equal. A command's checker recovers nothing: there it is always 0
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=4))]
    pub recovery_depth: Option<u8>,
    /// Spare images that differ from a recovered one only in what its recovery has not read. Which they are can depend
    /// on how quickly the recoveries ran, where scratch directories are not in memory
    #[arg(long)]
    pub prune: bool,
    /// Worker processes that recover images; as many as there are processors if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Where repro files are written
    #[arg(long, value_name = "DIR", default_value = "unplug-repros")]
    pub repro_dir: PathBuf,
    /// Only violations under these models make the exit code 1; `all`, as if nothing is given: under any
    #[arg(long, value_name = "MODELS", value_delimiter = ',')]
    pub fail_on: Vec<String>,
    /// Take a rule away, so that what it hides becomes visible
    #[arg(long, value_name = "RULE", value_parser = assumption, value_delimiter = ',')]
    pub assume: Vec<Assumption>,
    /// Take matching syncs out of the trace before crashing it, such as 'fdatasync:*incr*'
    #[arg(long, value_name = "CALL:GLOB")]
    pub drop_sync: Vec<DropSync>,
}

/// `unplug record`.
#[derive(Clone, Debug, Args)]
pub struct RecordArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub subject: SubjectArgs,
    /// The policy that the store runs under
    #[arg(long, value_name = "POLICY", default_value_t = Policy::Always)]
    pub policy: Policy,
    /// A named configuration of the embedded engine; `default` if none is named. An unknown name lists them
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Where the trace is written
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `unplug explore`.
#[derive(Clone, Debug, Args)]
pub struct ExploreArgs {
    /// A file that `unplug record` wrote
    pub trace: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub with: WithArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub search: SearchArgs,
}

/// With what a saved run is recovered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct WithArgs {
    /// The redis-server to recover with, if not the first one in PATH
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// The checker of a command, as for `unplug check`
    #[arg(long, value_name = "CMD")]
    pub check: Option<String>,
}

/// `unplug replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// A file from the repro directory
    pub repro: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub with: WithArgs,
}

/// `unplug image`.
#[derive(Clone, Debug, Args)]
pub struct ImageArgs {
    /// A file from the repro directory
    pub repro: PathBuf,
    /// Where to lay the files out; made if it is not there, and must be empty
    pub dir: PathBuf,
}

/// `unplug show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// A trace or a repro
    pub file: PathBuf,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Arguments that somebody else reads.
#[derive(Clone, Debug, Args)]
pub struct Rest {
    /// Passed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub args: Vec<OsString>,
}

/// How something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person
    Text,
    /// One JSON object a line
    Json,
}

fn assumption(text: &str) -> Result<Assumption, String> {
    let names = || Assumption::all().iter().map(|a| a.name()).collect::<Vec<_>>().join(", ");
    Assumption::parse(text).ok_or_else(|| format!("no rule is called '{text}'; the rules are {}", names()))
}
