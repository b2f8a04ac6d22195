//! The engine's server as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    unplug_engine::cli::main(std::env::args_os().skip(1))
}
