//! The command line of `unplug-engine`, and of `unplug engine`.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};

use crate::config::Start;
use crate::engine::Engine;
use crate::lock::DirLock;
use crate::server::{Server, Sockets};

/// Wrong options.
const USAGE: u8 = 2;
/// The server could not start or go on.
const FAILED: u8 = 1;

const HELP: &str = "\
Usage: unplug-engine [CONFIG-FILE] [--name value ...]
       unplug-engine check-aof [--fix] [--truncate-to-timestamp SECOND] [--resign] [--plain]
                               FILE|MANIFEST|DIRECTORY
       unplug-engine check-rdb [--fix] FILE

A Redis-compatible store. Options are redis.conf's; those given here override the file's.
  unplug-engine --port 7777 --appendonly yes --appendfsync always --dir /var/lib/data

Options that redis.conf does not have:
  --aof-layout multi|single  files and a manifest in a directory, as Redis 7 (the default), or one
                             file, as Redis 6
  --aof-checksum yes|no      end each batch with a checksum (the default), or write Redis's own bytes
  --recover-until SECOND     load the log up to this second since 1970; what is later is kept aside
";

/// Runs the server with `args` (the program's name not among them) until it is stopped.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut args = args.peekable();
    if let Some(first) = args.peek() {
        if first == "--help" || first == "-h" {
            return say(HELP);
        }
        if first == "check-aof" {
            return crate::persist::check::run(args.skip(1));
        }
        if first == "check-rdb" {
            return crate::check_rdb::main(args.skip(1));
        }
        if first == "--version" || first == "-v" {
            return say(concat!("unplug-engine ", env!("CARGO_PKG_VERSION"), "\n"));
        }
    }
    match Start::read(args) {
        Err(error) => fail(USAGE, &error),
        Ok(start) => serve(start).unwrap_or_else(|error| fail(FAILED, error.as_ref())),
    }
}

/// Whoever reads this may have gone.
fn say(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    ExitCode::SUCCESS
}

fn warn(text: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "unplug-engine: {text}");
}

fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    warn(&error);
    ExitCode::from(code)
}

/// Whoever closes the terminal does not mean the server. Blocked and never fetched, the signal is without effect in
/// this thread and in those that it starts. (SIGPIPE is ignored by every Rust program.)
fn ignore_hangups() -> nix::Result<()> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGHUP);
    mask.thread_block()
}

fn serve(start: Start) -> Result<ExitCode, Box<dyn std::error::Error>> {
    ignore_hangups()?;
    let mut config = start.config;
    // CONFIG GET dir shows it absolute, as Redis does, and messages name it whole.
    config.dir = std::path::absolute(&config.dir)?;
    // First what touches no file: a directory in use or a port that is taken changes nothing.
    let lock = DirLock::take(&config.dir)?;
    let sockets = Sockets::open(&config)?;
    let (mut engine, report) = Engine::open_locked(config, lock)?;
    engine.config_file = start.file;
    if let Some(warning) = engine.config.without_effect() {
        warn(&warning);
    }
    for warning in &report.warnings {
        warn(warning);
    }
    for cut in &report.cuts {
        warn(cut);
    }
    let mut server = Server::new(engine, sockets)?;
    let mut stdout = std::io::stdout();
    // Whoever reads this may have gone; the server serves all the same.
    let _ = writeln!(stdout, "Ready to accept connections").and_then(|()| stdout.flush());
    server.run()?;
    Ok(ExitCode::SUCCESS)
}
