//! From the process's arguments to its exit code.

use super::args::{Cli, Command};
use super::commands;
use super::runner::Runner;
use super::wire::Standard;
use crate::target::command_recover;
use crate::verdict::ExitCode;
use clap::Parser;
use std::ffi::OsString;

/// The `unplug` command: what the binary's `main` is.
pub fn main() -> std::process::ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    // Read by others, to the last word: clap would take a `--` out, and must not cost a worker its start.
    match args.get(1).and_then(|a| a.to_str()) {
        Some("engine") => return unplug_engine::cli::main(args.into_iter().skip(2)),
        Some("__worker" | command_recover::WORKER) => return Standard.worker(&args[1..]),
        _ => {}
    }
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to standard output; clap knows which is which.
            let _ = error.print();
            return std::process::ExitCode::from(
                error.exit_code().try_into().unwrap_or(ExitCode::Usage as u8),
            );
        }
    };
    let command = match cli.command {
        Some(command) => command,
        None => match Cli::try_parse_from(["unplug", "check"]).map(|c| c.command) {
            Ok(Some(command)) => command,
            _ => return std::process::ExitCode::from(ExitCode::HarnessBroken as u8),
        },
    };
    let code = run(&command, &Standard).unwrap_or_else(|failure| {
        eprintln!("unplug: {failure}");
        failure.exit_code()
    });
    std::process::ExitCode::from(code as u8)
}

pub(super) fn run(command: &Command, runner: &dyn Runner) -> Result<ExitCode, super::Failure> {
    match command {
        Command::Check(args) => commands::check(args, runner),
        Command::Record(args) => commands::record(args, runner),
        Command::Explore(args) => commands::explore(args, runner),
        Command::Replay(args) => commands::replay(args, runner),
        Command::Image(args) => commands::image(args, runner),
        Command::Show(args) => commands::show(args, runner),
        // Taken above, before clap; here for its help.
        Command::Engine(_) | Command::Worker(_) => Ok(ExitCode::Usage),
    }
}
