//! RESP servers as targets: the embedded engine, redis-server, valkey-server.

use crate::contract::Contract;
use crate::history::{SUSPENDED, WHILE_A_CHILD_RUNS, WHILE_THE_LOG_IS_OFF};
use crate::oracle::{RespOracle, UnknownCommand};
use crate::record::RecordError;
use crate::target::options::{self, Of, ServerOption};
use crate::target::origin::Origin;
use crate::target::policy::Policy;
use crate::target::resp_run::Run;
use crate::target::rig::Conditions;
use crate::target::server::{Program, Server, how, is_serving};
use crate::target::{Oracle, Target};
use crate::worker::scratch::Scratch;
use crate::workload::Workload;
use crate::workload::onward::onward;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use unplug_faults::trace::{Meta, Trace};

/// The option of a trace that names the configuration that was run.
pub const VARIANT: &str = "variant";

/// The option of a trace that names who wrote what the run began on.
pub const ORIGIN: &str = "begins-on-files-of";

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
    pub extra: Vec<ServerOption>,
    /// Options in which the server that recovers differs from the one that was recorded.
    pub recover: Vec<ServerOption>,
    /// The name of this configuration in the trace, where it has one.
    pub variant: Option<String>,
    /// What stands in the directory when it is recorded, if anything does.
    pub origin: Option<&'static Origin>,
    /// How it is run while it is recorded.
    pub conditions: Conditions,
    name: String,
    interrupted: Option<Arc<AtomicBool>>,
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
            recover: Vec::new(),
            variant: None,
            origin: None,
            conditions: Conditions { gated: true, virtual_time: true, ..Conditions::default() },
            name: "engine".into(),
            interrupted: None,
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
                        recover: Vec::new(),
                        variant: None,
                        origin: None,
                        conditions: Conditions { virtual_time: true, ..Conditions::default() },
                        name,
                        interrupted: None,
                    });
                }
                Err(e) => drop(first_error.get_or_insert(e)),
            }
        }
        Err(first_error.unwrap_or(RecordError::MissingServer { program: "redis-server".into() }))
    }

    /// A target whose recording ends with [`RecordError::Interrupted`] once `flag` is set.
    #[must_use]
    pub fn interrupted_by(mut self, flag: Arc<AtomicBool>) -> RespTarget {
        self.interrupted = Some(flag);
        self
    }

    pub(crate) fn interrupted(&self) -> Option<Arc<AtomicBool>> {
        self.interrupted.clone()
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.as_ref().is_some_and(|flag| flag.load(Ordering::SeqCst))
    }

    /// The options of the server that recovers, besides the policy's.
    pub fn recovery_options(&self) -> Vec<ServerOption> {
        options::join(&self.extra, &self.recover)
    }

    /// The policy that the options of recovery make.
    fn onward_policy(&self) -> Policy {
        let options = self.recovery_options();
        let value = |name| options::value_of(name, self.policy, &options);
        match value("appendonly") {
            Some("yes") => {
                value("appendfsync").and_then(|name| name.parse().ok()).unwrap_or(Policy::EverySec)
            }
            _ => Policy::Snapshot,
        }
    }

    /// What is run: the policy, and the variant if there is one.
    pub fn label(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}, {variant}", self.policy),
            None => self.policy.to_string(),
        }
    }

    /// Lays out what the run begins on.
    pub(super) fn begin(&self, dir: &Path) -> Result<(), RecordError> {
        self.origin.map_or(Ok(()), |origin| origin.lay_out(dir, self.policy))
    }

    fn run(&self, dir: &Path, workload: &Workload) -> Result<Trace, RecordError> {
        self.begin(dir)?;
        // Socket and log stand outside the recorded directory: they are the harness's.
        let scratch = Scratch::new().map_err(RecordError::io("cannot make a directory beside", dir))?;
        let mut run = Run::start(self, dir, scratch.path(), workload.seed)?;
        run.wait_ready()?;
        for (index, step) in workload.steps.iter().enumerate() {
            run.step(index, step)?;
        }
        run.finish(self.meta(workload))
    }

    /// Starts the server on an empty directory with these options, and sees whether it takes connections.
    ///
    /// # Errors
    /// What it says where it ends, or does not come to it.
    pub fn try_options(&self, options: &[ServerOption]) -> Result<(), RecordError> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let scratch =
            Scratch::new().map_err(RecordError::io("cannot make a directory below", Path::new("")))?;
        let dir = scratch.path().join("data");
        std::fs::create_dir(&dir).map_err(RecordError::io("cannot make the directory", &dir))?;
        let (socket, log) = (scratch.path().join("s"), scratch.path().join("log"));
        let mut server = Server::spawn(self.program.command(&dir, &socket, self.policy, options), &log)?;
        let program = || self.program.path().display().to_string();
        let start = Instant::now();
        while !is_serving(&socket, Duration::from_millis(100)) {
            if let Some(status) = server.ended() {
                let (how, log) = (how(status), server.log_tail());
                return Err(RecordError::DiedAtStart { program: program(), how, log });
            }
            if start.elapsed() > PATIENCE {
                let (waited_s, log) = (PATIENCE.as_secs(), server.log_tail());
                return Err(RecordError::NotReady { program: program(), waited_s, log });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// What is known of a run before it is made.
    pub(super) fn meta(&self, workload: &Workload) -> Meta {
        let mut options: std::collections::BTreeMap<String, String> =
            self.policy.options().into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        options.extend(self.extra.iter().cloned());
        options.insert("policy".into(), self.policy.name().into());
        options::keep(&mut options, Of::Recorded, &self.extra);
        options::keep(&mut options, Of::Recovering, &self.recover);
        let log = matches!(self.policy, Policy::Always | Policy::EverySec);
        if log && options::value_of("no-appendfsync-on-rewrite", self.policy, &self.extra) == Some("yes") {
            options.insert(SUSPENDED.into(), WHILE_A_CHILD_RUNS.into());
        }
        let off = options::value_of("appendonly", self.policy, &self.extra) == Some("no");
        if self.policy.appends() && off {
            // The workload is to switch it on, and from then on the policy is what the log is kept by.
            options.insert(SUSPENDED.into(), WHILE_THE_LOG_IS_OFF.into());
        }
        options.extend(self.origin.map(|origin| (ORIGIN.to_owned(), origin.name.to_owned())));
        options.extend(self.variant.iter().map(|name| (VARIANT.to_owned(), name.clone())));
        if !self.conditions.faults.rules.is_empty() {
            options.insert("faults".into(), self.conditions.faults.to_string());
        }
        Meta { target: self.name(), options, seed: workload.seed, ..Meta::default() }
    }
}

impl Target for RespTarget {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn usual_recovery_depth(&self) -> u8 {
        u8::from(self.conditions.gated)
    }

    fn notes_reads(&self) -> Option<u64> {
        matches!(self.program, Program::Engine(_)).then_some(3)
    }

    fn record(&self, dir: &Path, workload: &Workload) -> Result<Trace, RecordError> {
        RespOracle::validate(workload)
            .map_err(|e| RecordError::BadOperation { step: step_of(&e), why: e.to_string() })?;
        match self.run(dir, workload) {
            // Whatever the broken-off run says of itself: it was broken off.
            Err(_) if self.is_interrupted() => Err(RecordError::Interrupted),
            recorded => recorded,
        }
    }

    fn record_recovery(&self, dir: &Path) -> Result<Trace, RecordError> {
        let (policy, extra, recover) = (self.onward_policy(), self.recovery_options(), Vec::new());
        RespTarget { policy, extra, recover, origin: None, ..self.clone() }
            .record(dir, &self.after_recovery())
    }

    fn after_recovery(&self) -> Workload {
        Workload { steps: onward(self.onward_policy()), seed: 0 }
    }

    fn contract_after_recovery(&self, contract: &Contract) -> Contract {
        let policy = self.onward_policy();
        if policy == Policy::of(contract) { contract.clone() } else { policy.contract() }
    }

    fn worker(&self, contract: &Contract) -> Command {
        // The contract may differ from the policy (a stricter window, say): the files are the policy's.
        let _ = contract;
        crate::worker::command::command(&self.unplug, &self.program, self.policy, &self.recovery_options())
    }

    fn oracle(&self) -> Box<dyn Oracle> {
        let mut oracle = self.origin.map_or_else(RespOracle::new, Origin::oracle);
        oracle.save_points =
            options::value_of("save", self.policy, &self.extra).is_some_and(|points| !points.is_empty());
        Box::new(oracle)
    }
}

fn step_of(unknown: &UnknownCommand) -> usize {
    match unknown {
        UnknownCommand::Encoding { step, .. }
        | UnknownCommand::Command { step, .. }
        | UnknownCommand::SelectWithSeveralClients { step } => *step,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::workload::Step;
    use crate::workload::resp::Shape;
    use unplug_faults::event::Op;

    fn redis(policy: Policy) -> Option<RespTarget> {
        match RespTarget::server("/nonexistent/unplug", None, policy) {
            Ok(target) => Some(target),
            Err(e) => {
                eprintln!("skipped: {e}");
                None
            }
        }
    }

    #[test]
    fn a_real_server_is_recorded_with_its_history() {
        for policy in Policy::ALL {
            let Some(target) = redis(policy) else { return };
            let dir = tempfile::tempdir().unwrap();
            let restart = matches!(policy, Policy::Always | Policy::Snapshot);
            let workload = Shape { restart, ..Shape::new(policy, 40) }.generate(1);
            let trace = target.record(dir.path(), &workload).unwrap();
            assert_eq!(trace.blind, [], "{policy}");
            let history = History::of(&trace);
            assert_eq!(history.operations.len(), 40);
            assert_eq!(history.blind, []);
            let phases: Vec<&str> = history.phases.iter().map(|p| p.name.as_str()).collect();
            assert!(phases.iter().any(|p| p.starts_with("save")), "{phases:?}");
            for operation in &history.operations {
                assert!(operation.acked.is_some_and(|acked| acked > operation.invoked), "{operation:?}");
            }
            let kills = trace.events.iter().filter(|e| e.op == Op::Kill).count();
            assert_eq!(kills, usize::from(restart));
            let syncs = trace.events.iter().filter(|e| matches!(e.op, Op::Sync { .. })).count();
            let writes = trace.events.iter().filter(|e| matches!(e.op, Op::Write { .. })).count();
            // A snapshot of little data is one write.
            assert!(
                writes > if policy.appends() { 10 } else { 1 } && syncs > 0,
                "{policy}: {writes} writes, {syncs} syncs"
            );
            // A reply under `always` counts from a send that the server made, not from when the harness read it.
            let sent =
                |at: u64| trace.events.iter().any(|e| e.begin == at && matches!(e.op, Op::Send { .. }));
            let lost: Vec<String> = history
                .operations
                .iter()
                .filter(|o| !o.acked.is_some_and(sent))
                .map(|o| format!("{:?} {}", o.acked, target.oracle().describe(&o.op)))
                .collect();
            assert!(lost.is_empty(), "{policy}: acknowledged without a send: {lost:#?}");
            assert_eq!(trace.meta.options["policy"], policy.name());
        }
    }

    #[test]
    fn a_server_that_dies_at_start_shows_its_log() {
        let Some(mut target) = redis(Policy::Always) else { return };
        target.extra.push(("no-such-option".into(), "yes".into()));
        let dir = tempfile::tempdir().unwrap();
        let error = target.record(dir.path(), &Workload::default()).unwrap_err();
        assert!(matches!(error, RecordError::DiedAtStart { .. }), "{error}");
        assert!(error.to_string().contains("no-such-option"), "{error}");
    }

    #[test]
    fn an_operation_that_the_model_does_not_know_is_refused_before_anything_runs() {
        let Some(target) = redis(Policy::Always) else { return };
        let op = crate::target::resp_op::RespOp::command(&["DEBUG", "SEGFAULT"]).encode();
        let steps = vec![Step::Phase("p".into()), Step::Invoke { client: 0, op }];
        let error = target.record(Path::new("/nonexistent"), &Workload { steps, seed: 0 }).unwrap_err();
        assert!(matches!(error, RecordError::BadOperation { step: 1, .. }), "{error}");
    }

    #[test]
    fn what_is_written_after_a_recovery_is_promised_by_the_options_of_recovery() {
        let target = |policy, recover: &[(&str, &str)]| {
            let mut target = RespTarget::engine(PathBuf::from("unplug"), policy);
            target.recover = recover.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            target
        };
        for policy in Policy::ALL {
            let plain = target(policy, &[]);
            let slow = Contract::EverySec { window: 7 };
            assert_eq!(plain.onward_policy(), policy);
            assert_eq!(plain.contract_after_recovery(&policy.contract()), policy.contract());
            // A longer window is the same policy's.
            if policy == Policy::EverySec {
                assert_eq!(plain.contract_after_recovery(&slow), slow);
            }
        }
        let log = target(Policy::Snapshot, &[("appendonly", "yes")]);
        assert_eq!(log.contract_after_recovery(&Contract::Snapshot), Policy::EverySec.contract());
        let always = target(Policy::Snapshot, &[("appendonly", "yes"), ("appendfsync", "always")]);
        assert_eq!(always.contract_after_recovery(&Contract::Snapshot), Contract::Always);
        let off = target(Policy::Always, &[("appendonly", "no")]);
        assert_eq!(off.contract_after_recovery(&Contract::Always), Contract::Snapshot);
    }
}
