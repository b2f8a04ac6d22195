//! Runs of a server that need not come to the end of their workload: under a fault plan it may stop, refuse or die.

use crate::history::CLIENTS;
use crate::record::RecordError;
use crate::target::Target;
use crate::target::client::ClientError;
use crate::target::resp::RespTarget;
use crate::target::resp_op::RespOp;
use crate::target::resp_run::{CONTROL, PATIENCE, Run, STOPPING};
use crate::target::rig::{Stuck, Turn};
use crate::target::value::encode_command;
use crate::worker::scratch::Scratch;
use crate::workload::{Step, Workload};
use std::path::Path;
use std::time::Instant;
use unplug_faults::event::Nanos;
use unplug_faults::trace::Trace;

/// How a run is to end, if nothing ends it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Every process is killed.
    Kill,
    /// The server is told to shut down, and does.
    Clean,
}

/// A run that went as far as it could.
#[derive(Debug)]
pub struct Survived {
    /// Everything up to its end.
    pub trace: Trace,
    /// What ended it before the end of its workload: the server's death, a hang.
    pub ended: Option<RecordError>,
}

impl RespTarget {
    /// Runs the workload once in `dir`, as far as the server goes with it. Operations that were not invoked then
    /// are not in the history; one whose reply never came is.
    ///
    /// # Errors
    /// What says nothing of the server: a workload that cannot be run, a directory that cannot be used.
    pub fn record_what_it_can(
        &self,
        dir: &Path,
        workload: &Workload,
        stop: Stop,
    ) -> Result<Survived, RecordError> {
        self.begin(dir)?;
        let scratch = Scratch::new().map_err(RecordError::io("cannot make a directory beside", dir))?;
        let mut run = Run::start(self, dir, scratch.path(), workload.seed)?;
        let mut ended = run.wait_ready().or_else(|error| run.go_on_after(error)).err();
        for (index, step) in workload.steps.iter().enumerate() {
            if ended.is_some() {
                break;
            }
            ended = run.step(index, step).or_else(|error| run.go_on_after(error)).err();
        }
        if ended.is_none() && stop == Stop::Clean {
            ended = run.shut_down(workload.steps.len()).err();
        }
        if self.is_interrupted() {
            return Err(RecordError::Interrupted);
        }
        match ended {
            None
            | Some(
                RecordError::Died { .. }
                | RecordError::DiedAtStart { .. }
                | RecordError::NotReady { .. }
                | RecordError::Stuck { .. }
                | RecordError::Client { .. },
            ) => {}
            Some(other) => return Err(other),
        }
        Ok(Survived { trace: run.finish(self.meta(workload))?, ended })
    }

    /// Whether calls are granted one at a time, so that a run repeats.
    pub fn is_repeatable(&self) -> bool {
        self.conditions.gated
    }

    /// The name in reports.
    pub fn title(&self) -> String {
        Target::name(self)
    }
}

impl Run<'_> {
    /// Goes on after the server has closed a connection and lives. What was not answered stays so: whoever connects from
    /// now on is another client.
    ///
    /// # Errors
    /// The same error where it is another one, and what keeps the harness from connecting again.
    pub(super) fn go_on_after(&mut self, error: RecordError) -> Result<(), RecordError> {
        let closed = |source: &ClientError| matches!(source, ClientError::Closed { .. } | ClientError::Io(_));
        match error {
            RecordError::Client { source, .. } if closed(&source) && self.clients.contains_key(&CONTROL) => {
                self.clients.clear();
                self.strangers += 1;
                self.wait_ready()
            }
            other => Err(other),
        }
    }

    /// A workload's client under the number that it has now.
    pub(super) fn stranger(&self, client: u32) -> u32 {
        client.saturating_add(self.strangers.saturating_mul(CLIENTS))
    }

    /// SHUTDOWN, and waits for the end. A server of snapshots is told to save: before that, too, so that the history has
    /// a snapshot of its end.
    fn shut_down(&mut self, index: usize) -> Result<(), RecordError> {
        if !self.target.policy.appends() {
            self.step(index, &Step::Invoke { client: 0, op: RespOp::command(&["SAVE"]).encode() })?;
        }
        self.end_in_order(index)
    }

    /// SHUTDOWN as an operation of the history. The server's end, with status 0, is the answer: what it promises to have
    /// kept then, it promises to whoever told it to stop.
    pub(super) fn stop(&mut self, index: usize) -> Result<(), RecordError> {
        let id = self.take_id();
        self.clients_turn(index)?;
        self.rig.recorder.invoke(STOPPING, id, &RespOp::command(self.shutdown()).encode());
        self.end_in_order(index)?;
        self.rig.recorder.reply(STOPPING, id, b"+OK\r\n", 0);
        Ok(())
    }

    fn shutdown(&self) -> &'static [&'static str] {
        if self.target.policy.appends() { &["SHUTDOWN"] } else { &["SHUTDOWN", "SAVE"] }
    }

    fn end_in_order(&mut self, index: usize) -> Result<(), RecordError> {
        let words = self.shutdown();
        let mut bytes = Vec::new();
        encode_command(&mut bytes, words);
        self.clients_turn(index)?;
        if let Err(e) = self.client(index, CONTROL)?.send(&bytes, PATIENCE) {
            return Err(RecordError::Client { step: index, source: e });
        }
        let start = Instant::now();
        loop {
            match self.server.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(_) => return Err(self.died(index)),
                None => {}
            }
            match self.rig.turn(false, None) {
                Ok(Turn::Idle) => {
                    self.rig.advance_to_deadline(Nanos::MAX);
                }
                Ok(_) => {}
                Err(stuck) => return Err(self.stuck(index, &stuck)),
            }
            if start.elapsed() > PATIENCE {
                return Err(self.stuck(index, &Stuck("the end of the server after SHUTDOWN".into())));
            }
        }
    }
}
