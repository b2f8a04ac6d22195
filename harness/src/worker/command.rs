//! The command line of a recovery worker: `unplug __worker`, not for people.

use crate::target::embedded::EngineSubject;
use crate::target::options::ServerOption;
use crate::target::policy::Policy;
use crate::target::resp_recover::RespRecovery;
use crate::target::resp_starts::Starts;
use crate::target::server::Program;
use crate::worker::pool::Limits;
use crate::worker::serve;
use crate::worker::store::StoreRecovery;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;

/// The subcommand's name.
pub const SUBCOMMAND: &str = "__worker";
/// What the worker is to recover.
const ENV_SPEC: &str = "UNPLUG_WORKER_SPEC";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Spec {
    program: Program,
    policy: Policy,
    extra: Vec<ServerOption>,
}

/// The command that starts a worker for a server.
pub(crate) fn command(unplug: &Path, program: &Program, policy: Policy, extra: &[ServerOption]) -> Command {
    let spec = Spec { program: program.clone(), policy, extra: extra.to_vec() };
    let mut command = Command::new(unplug);
    // Paths and strings of the harness's own always encode; an empty one would be refused by the worker.
    command.arg(SUBCOMMAND).env(ENV_SPEC, serde_json::to_string(&spec).unwrap_or_default());
    command
}

/// What `unplug __worker` does: serves jobs until the parent is gone.
///
/// # Errors
/// The process was not started by a pool, or lost its parent.
pub fn run() -> std::io::Result<()> {
    let spec = std::env::var(ENV_SPEC).map_err(std::io::Error::other)?;
    let spec: Spec = serde_json::from_str(&spec)?;
    let limits = Limits::asked().map_err(std::io::Error::other)?;
    match &spec.program {
        Program::Engine(_) => {
            let subject = EngineSubject::new(spec.policy, &spec.extra).map_err(std::io::Error::other)?;
            serve(&mut StoreRecovery::new(subject, limits.cpu.as_secs()))
        }
        Program::Server(_) => serve(&mut RespRecovery {
            program: spec.program,
            policy: spec.policy,
            extra: spec.extra,
            cpu: limits.cpu,
            wall: limits.wall / 2,
            starts: Starts::default(),
        }),
    }
}
