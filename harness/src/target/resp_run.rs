//! One recorded run of a RESP server: its lives, its clients, the steps of a workload.

use crate::record::RecordError;
use crate::target::client::{Client, ClientError, Reply};
use crate::target::options::{self, ServerOption};
use crate::target::resp::RespTarget;
use crate::target::resp_op::RespOp;
use crate::target::rig::{Rig, Stuck, Turn};
use crate::target::server::{Server, how};
use crate::target::value::encode_command;
use crate::workload::{Ending, Step};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use unplug_faults::event::{Clock, Event, Nanos, Op};
use unplug_faults::trace::{Meta, Trace};

/// Real time after which a step is given up. Generous: a busy machine is no fault of the target's.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Real time that a server has from its closed connection to its end. What passes it is told as a lost connection.
const DYING: Duration = Duration::from_secs(2);
/// The harness's own connection: asks for the state of background work, and is not in the history.
pub(super) const CONTROL: u32 = u32::MAX;

/// Who asks for a stop in the history: nobody that connects, as the answer is the server's end.
pub(super) const STOPPING: u32 = u32::MAX - 1;

/// A server being recorded.
pub(crate) struct Run<'a> {
    pub(super) target: &'a RespTarget,
    pub(super) rig: Rig,
    pub(super) server: Server,
    pub(super) clients: BTreeMap<u32, Client>,
    pub(super) dir: PathBuf,
    /// The call before which an operation was sent, as it was told to be.
    pub(super) arrived: Option<String>,
    scratch: PathBuf,
    lives: u32,
    next_id: u32,
    /// How often the server has closed a connection and lived.
    pub(super) strangers: u32,
    /// Options of the present life besides the policy's.
    options: Vec<ServerOption>,
}

impl<'a> Run<'a> {
    pub(crate) fn start(
        target: &'a RespTarget,
        dir: &Path,
        scratch: &Path,
        seed: u64,
    ) -> Result<Self, RecordError> {
        let mut rig = Rig::start(dir, &target.conditions, seed)?;
        rig.interrupted = target.interrupted();
        let options = target.extra.clone();
        let server = spawn(target, &options, &mut rig, (dir, scratch), 0)?;
        let (dir, scratch) = (dir.to_path_buf(), scratch.to_path_buf());
        let clients = BTreeMap::new();
        let (lives, next_id, strangers, arrived) = (1, 0, 0, None);
        Ok(Run { target, rig, server, clients, dir, arrived, scratch, lives, next_id, strangers, options })
    }

    /// Does one step.
    pub(crate) fn step(&mut self, index: usize, step: &Step) -> Result<(), RecordError> {
        match step {
            Step::Invoke { client, op } => self.invoke(index, &[(*client, op.clone())]),
            Step::Together(calls) => self.invoke(index, calls),
            Step::Advance { nanos } => self.advance(index, *nanos),
            Step::Phase(name) => {
                self.rig.recorder.phase(name);
                Ok(())
            }
            Step::KillAndRestart => self.restart(),
            Step::Settle => self.settle(index),
            Step::Restart { how, set } => self.restart_with(index, *how, set),
        }
    }

    /// Ends the server, by SIGKILL, and reads the trace.
    pub(crate) fn finish(mut self, mut meta: Meta) -> Result<Trace, RecordError> {
        self.clients.clear();
        self.server.kill();
        let Run { rig, server, arrived, .. } = self;
        drop(server);
        meta.options.extend(arrived.map(|call| ("arrival".to_owned(), call)));
        let mut trace = rig.finish(meta)?;
        thin(&mut trace.events);
        Ok(trace)
    }

    fn socket(&self) -> PathBuf {
        socket(&self.scratch, self.lives - 1)
    }

    /// Waits until the server takes commands.
    pub(super) fn wait_ready(&mut self) -> Result<(), RecordError> {
        let start = Instant::now();
        let socket = self.socket();
        loop {
            // Gated: it has come to rest, so it listens, or waits for time to pass (in a sync that takes some).
            let idle = match self.rig.turn(false, None) {
                Ok(turn) => turn == Turn::Idle,
                Err(stuck) => return Err(self.stuck(0, &stuck)),
            };
            if self.server.ended().is_some() {
                return Err(self.died_at_start());
            }
            let name = self.rig.recorder.client_name(CONTROL);
            if let Ok(client) = name.connect(&socket).and_then(Client::from_stream) {
                self.clients.insert(CONTROL, client);
                break;
            }
            if idle {
                self.rig.advance_to_deadline(Nanos::MAX);
            }
            if start.elapsed() > PATIENCE {
                return Err(RecordError::NotReady {
                    program: self.target.program.path().display().to_string(),
                    waited_s: PATIENCE.as_secs(),
                    log: self.server.log_tail(),
                });
            }
        }
        loop {
            let reply = self.ask(0, &["PING"]).map_err(|e| match e {
                RecordError::Died { program, how, log, .. } => RecordError::DiedAtStart { program, how, log },
                other => other,
            })?;
            if !reply.raw.starts_with(b"-LOADING") {
                return Ok(());
            }
        }
    }

    /// Operations of different clients, issued together; ends when all have their replies.
    fn invoke(&mut self, index: usize, calls: &[(u32, Vec<u8>)]) -> Result<(), RecordError> {
        let mut waiting = Vec::new();
        for (client, encoded) in calls {
            let client = &self.stranger(*client);
            let op = RespOp::decode(encoded)
                .map_err(|e| RecordError::BadOperation { step: index, why: e.to_string() })?;
            if waiting.iter().any(|w: &Waiting| w.client == *client) {
                let why = format!("client {client} is to invoke two operations at once");
                return Err(RecordError::BadOperation { step: index, why });
            }
            self.connect(index, *client)?;
            let id = self.take_id();
            match self.target.conditions.arrival.filter(|arrival| arrival.operation == id) {
                Some(arrival) => self.arrive(index, arrival.call)?,
                None => self.clients_turn(index)?,
            }
            self.rig.recorder.invoke(*client, id, encoded);
            let (bytes, replies) = wire(&op);
            self.client(index, *client)?.send(&bytes, PATIENCE).map_err(|e| self.lost(index, e))?;
            waiting.push(Waiting { client: *client, id, replies });
        }
        self.replies(index, waiting, true)?;
        if self.target.conditions.arrival.is_some_and(|arrival| !arrival.hangs) {
            self.rig.let_go();
        }
        Ok(())
    }

    /// A command of the harness's own.
    pub(super) fn ask(&mut self, index: usize, args: &[&str]) -> Result<Reply, RecordError> {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, args);
        self.clients_turn(index)?;
        self.client(index, CONTROL)?.send(&bytes, PATIENCE).map_err(|e| self.lost(index, e))?;
        let waiting = vec![Waiting { client: CONTROL, id: 0, replies: 1 }];
        self.replies(index, waiting, false)?.ok_or_else(|| self.lost(index, ClientError::Silent(PATIENCE)))
    }

    /// Waits for all replies; gives back the last.
    fn replies(
        &mut self,
        index: usize,
        mut waiting: Vec<Waiting>,
        history: bool,
    ) -> Result<Option<Reply>, RecordError> {
        let start = Instant::now();
        let mut last = None;
        loop {
            let mut still = Vec::new();
            for mut wait in waiting {
                let mut got = None;
                while wait.replies > 0 {
                    match self.client(index, wait.client)?.try_reply() {
                        Ok(Some(reply)) => {
                            wait.replies -= 1;
                            got = Some(reply);
                        }
                        Ok(None) => break,
                        Err(e) => return Err(self.lost(index, e)),
                    }
                }
                if wait.replies > 0 {
                    still.push(wait);
                } else if let Some(reply) = got {
                    if history {
                        self.rig.reply(wait.client, wait.id, &reply);
                    }
                    last = Some(reply);
                }
            }
            waiting = still;
            let Some(first) = waiting.first() else { return Ok(last) };
            let turn = self.rig.turn(false, self.clients.get(&first.client));
            self.after_turn(index, turn, start)?;
        }
    }

    fn restart(&mut self) -> Result<(), RecordError> {
        self.clients.clear();
        self.server.kill();
        self.rig.killed();
        self.live_again()
    }

    /// Ends this life, and begins another one with these options.
    fn restart_with(&mut self, index: usize, how: Ending, set: &[ServerOption]) -> Result<(), RecordError> {
        self.options = options::join(&self.options, set);
        match how {
            Ending::Kill => self.restart(),
            Ending::Stop => {
                self.stop(index)?;
                self.clients.clear();
                self.rig.ended();
                self.live_again()
            }
        }
    }

    fn live_again(&mut self) -> Result<(), RecordError> {
        let places = (self.dir.as_path(), self.scratch.as_path());
        self.server = spawn(self.target, &self.options, &mut self.rig, places, self.lives)?;
        self.lives += 1;
        self.wait_ready()
    }

    /// A number for the next operation.
    pub(super) fn take_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn connect(&mut self, index: usize, client: u32) -> Result<(), RecordError> {
        if client >= STOPPING {
            return Err(RecordError::BadOperation {
                step: index,
                why: format!("client {client} is the harness"),
            });
        }
        if !self.clients.contains_key(&client) {
            let name = self.rig.recorder.client_name(client);
            let connected = name.connect(&self.socket()).and_then(Client::from_stream);
            let connected = connected.map_err(|e| self.lost(index, e.into()))?;
            self.clients.insert(client, connected);
        }
        Ok(())
    }

    pub(super) fn client(&mut self, index: usize, client: u32) -> Result<&mut Client, RecordError> {
        let missing =
            || RecordError::BadOperation { step: index, why: format!("client {client} is not connected") };
        self.clients.get_mut(&client).ok_or_else(missing)
    }

    /// A failed connection: the server's death, if it is dead.
    fn lost(&mut self, index: usize, source: ClientError) -> RecordError {
        let closed = matches!(source, ClientError::Closed { .. } | ClientError::Io(_));
        let start = Instant::now();
        // A dying server closes its sockets before it can be waited for. Gated, what it still does is granted, and
        // recorded; once it waits for the clock or for a client, it is not dying.
        while closed && start.elapsed() < DYING {
            if self.server.ended().is_some() {
                return self.died(index);
            }
            if matches!(self.rig.turn(false, None), Ok(Turn::Idle) | Err(_)) {
                break;
            }
        }
        RecordError::Client { step: index, source }
    }

    pub(super) fn died(&mut self, step: usize) -> RecordError {
        let (program, how, log) = self.obituary();
        RecordError::Died { program, step, how, log }
    }

    fn died_at_start(&mut self) -> RecordError {
        let (program, how, log) = self.obituary();
        RecordError::DiedAtStart { program, how, log }
    }

    fn obituary(&mut self) -> (String, String, String) {
        let how = self.server.ended().map_or_else(|| "ended".into(), how);
        (self.target.program.path().display().to_string(), how, self.server.log_tail())
    }

    pub(super) fn stuck(&self, step: usize, stuck: &Stuck) -> RecordError {
        RecordError::Stuck {
            step,
            what: stuck.to_string(),
            waited_s: PATIENCE.as_secs(),
            log: self.server.log_tail(),
        }
    }
}

/// A client that awaits replies to one operation.
struct Waiting {
    client: u32,
    id: u32,
    /// A transaction is answered by OK, QUEUED for each command, and EXEC's reply, which counts.
    replies: usize,
}

fn socket(scratch: &Path, life: u32) -> PathBuf {
    scratch.join(format!("s{life}"))
}

fn spawn(
    target: &RespTarget,
    options: &[ServerOption],
    rig: &mut Rig,
    (dir, scratch): (&Path, &Path),
    life: u32,
) -> Result<Server, RecordError> {
    let mut command = target.program.command(dir, &socket(scratch, life), target.policy, options);
    rig.arm(&mut command)?;
    Server::spawn(command, &scratch.join(format!("log{life}")))
}

/// Keeps of each run of moves of the clock and replies to the harness's own questions the last one, which has the
/// latest time: nothing happens in between. Where a call ends there, the time at its end must stay known.
fn thin(events: &mut Vec<Event>) {
    let own = |e: &Event| matches!(e.op, Op::Advance | Op::Send { client: CONTROL, .. });
    let mut ends: Vec<Clock> = events.iter().filter(|e| !own(e)).map(|e| e.end).collect();
    ends.sort_unstable();
    let ends_between = |from: Clock, to: Clock| {
        let next = ends.partition_point(|end| *end <= from);
        ends.get(next).is_some_and(|end| *end < to)
    };
    let mut kept: Vec<bool> = Vec::with_capacity(events.len());
    let mut next_own = None;
    for event in events.iter().rev() {
        let is_own = own(event);
        kept.push(!is_own || next_own.is_none_or(|next| ends_between(event.begin, next)));
        next_own = is_own.then_some(event.begin);
    }
    events.retain(|_| kept.pop().unwrap_or(true));
}

/// An operation's bytes on the wire, and how many replies it gets.
fn wire(op: &RespOp) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    if op.is_transaction() {
        encode_command(&mut bytes, &["MULTI"]);
    }
    for command in &op.commands {
        encode_command(&mut bytes, command);
    }
    if !op.is_transaction() {
        return (bytes, 1);
    }
    encode_command(&mut bytes, &["EXEC"]);
    (bytes, op.commands.len() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_harness_own_replies_the_last_in_a_row_stays() {
        let event = |begin: u64, client: u32| {
            let op = Op::Send { client, stream_offset: 0, len: 1 };
            let task = unplug_faults::event::Task::default();
            Event { begin, end: begin, at: begin, task, site: None, errno: 0, op }
        };
        let clients = [CONTROL, CONTROL, 0, CONTROL, 1, CONTROL, CONTROL, CONTROL];
        let mut events: Vec<Event> = (0..).zip(clients).map(|(i, c)| event(i, c)).collect();
        thin(&mut events);
        assert_eq!(events.iter().map(|e| e.begin).collect::<Vec<_>>(), [1, 2, 3, 4, 7]);
        // A call that began earlier ends between the third and the fourth question.
        let mut events: Vec<Event> =
            (0..).zip([0, CONTROL, CONTROL, CONTROL]).map(|(i, c)| event(i * 2, c)).collect();
        events[0].end = 5;
        thin(&mut events);
        assert_eq!(events.iter().map(|e| e.begin).collect::<Vec<_>>(), [0, 4, 6]);
    }

    #[test]
    fn a_transaction_goes_as_one_piece_and_its_last_reply_counts() {
        let (bytes, replies) = wire(&RespOp::command(&["GET", "k"]));
        assert_eq!((bytes.as_slice(), replies), (&b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"[..], 1));
        let incr = || vec![b"INCR".to_vec(), b"n".to_vec()];
        let (bytes, replies) = wire(&RespOp::transaction(vec![incr(), incr()]));
        assert!(bytes.starts_with(b"*1\r\n$5\r\nMULTI\r\n") && bytes.ends_with(b"*1\r\n$4\r\nEXEC\r\n"));
        assert_eq!(replies, 4);
    }
}
