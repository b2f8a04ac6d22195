//! RESP servers as targets: the embedded engine, redis-server, valkey-server.

use crate::contract::Contract;
use crate::oracle::RespOracle;
use crate::record::RecordError;
use crate::target::policy::Policy;
use crate::target::resp_run::Run;
use crate::target::rig::Conditions;
use crate::target::server::Program;
use crate::target::{Oracle, Target};
use crate::worker::scratch::Scratch;
use crate::workload::Workload;
use std::path::{Path, PathBuf};
use std::process::Command;
use unplug_faults::trace::{Meta, Trace};

/// A server under one policy.
#[derive(Clone, Debug)]
pub struct RespTarget {
    /// The server.
    pub program: Program,
    /// The `unplug` executable, which recovery workers run.
    pub unplug: PathBuf,
    /// How it keeps its data.
    pub policy: Policy,
    /// Options besides the policy's.
    pub extra: Vec<(String, String)>,
    /// How it is run while it is recorded.
    pub conditions: Conditions,
    name: String,
}

impl RespTarget {
    /// The embedded engine: `unplug` is the executable that serves as `unplug engine`. Gated.
    pub fn engine(unplug: impl Into<PathBuf>, policy: Policy) -> RespTarget {
        let unplug = unplug.into();
        RespTarget {
            program: Program::Engine(unplug.clone()),
            unplug,
            policy,
            extra: Vec::new(),
            conditions: Conditions { gated: true, virtual_time: true, ..Conditions::default() },
            name: "engine".into(),
        }
    }

    /// A server of redis-server's command line: `server`, or else what `PATH` has of redis-server and
    /// valkey-server. Virtual time, no gate: its threads run as they like.
    ///
    /// # Errors
    /// [`RecordError::MissingServer`], which says what to do; or it does not run.
    pub fn server(
        unplug: impl Into<PathBuf>,
        server: Option<&Path>,
        policy: Policy,
    ) -> Result<RespTarget, RecordError> {
        let candidates = match server {
            Some(path) => vec![path.to_path_buf()],
            None => vec!["redis-server".into(), "valkey-server".into()],
        };
        let mut first_error = None;
        for path in candidates {
            let program = Program::Server(path);
            match program.name() {
                Ok(name) => {
                    return Ok(RespTarget {
                        program,
                        unplug: unplug.into(),
                        policy,
                        extra: Vec::new(),
                        conditions: Conditions { virtual_time: true, ..Conditions::default() },
                        name,
                    });
                }
                Err(e) => drop(first_error.get_or_insert(e)),
            }
        }
        Err(first_error.unwrap_or(RecordError::MissingServer { program: "redis-server".into() }))
    }
}

impl Target for RespTarget {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn record(&self, dir: &Path, workload: &Workload) -> Result<Trace, RecordError> {
        RespOracle::validate(workload)
            .map_err(|e| RecordError::BadOperation { step: e.step(), why: e.to_string() })?;
        // Socket and log stand outside the recorded directory: they are the harness's.
        let scratch = Scratch::new().map_err(RecordError::io("cannot make a directory beside", dir))?;
        let mut run = Run::start(self, dir, scratch.path(), workload.seed)?;
        for (index, step) in workload.steps.iter().enumerate() {
            run.step(index, step)?;
        }
        let mut options: std::collections::BTreeMap<String, String> =
            self.policy.options().into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        options.extend(self.extra.iter().cloned());
        options.insert("policy".into(), self.policy.name().into());
        run.finish(Meta { target: self.name(), options, seed: workload.seed, ..Meta::default() })
    }

    fn worker(&self, contract: &Contract) -> Command {
        // The contract may differ from the policy (a stricter window, say): the files are the policy's.
        let _ = contract;
        crate::worker::command::command(&self.unplug, &self.program, self.policy, &self.extra)
    }

    fn oracle(&self) -> Box<dyn Oracle> {
        Box::new(RespOracle::new())
    }
}
