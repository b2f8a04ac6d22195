//! The course of a generated workload: its phases, and what is done in each beside the writes.

use crate::target::policy::Policy;
use crate::target::resp_op::RespOp;
use crate::workload::random::Random;
use crate::workload::resp::Shape;
use crate::workload::tour::OPERATIONS_TO_TOUR;
use crate::workload::{Ending, Step, Workload};

/// The phases' names, as reports show them.
pub const APPEND: &str = "append";
/// Every command that changes data, of every type, once.
pub const TYPES: &str = "types";
/// See [`APPEND`].
pub const REWRITE: &str = "rewrite";
/// See [`APPEND`].
pub const SAVE: &str = "save";
/// The log grows, and is rewritten by itself.
pub const GROWTH: &str = "growth";
/// Snapshots are made as save points say.
pub const SAVE_POINTS: &str = "save-points";
/// The log is switched off and on again.
pub const SWITCH: &str = "switch";
/// The server is ended and started again with other options.
pub const RESTART: &str = "restart";

/// What is done in a workload, phase by phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Appends; rewrites, where there is a log; snapshots. All of them asked for.
    Usual,
    /// Appends, and growth that starts rewrites; the server is to be configured so that it does.
    Growing,
    /// Appends, and changes that make snapshots due; the server is to be configured so that they are.
    SavePoints,
    /// Appends, amid which the log is switched on; the log switched off and on again; rewrites. The server is to be started
    /// without a log.
    Switched,
    /// Appends; then the server is ended and started again with other options; then rewrites.
    Restarted {
        /// How it is ended.
        how: Ending,
        /// The options, by name and value.
        set: &'static [(&'static str, &'static str)],
    },
}

const MS: u64 = 1_000_000;
/// The time between two ticks of a server's timer.
const TICK: u64 = 100 * MS;

impl Shape {
    /// The phases of this shape's workload, in order. Without an append-only file there is none to rewrite.
    pub fn phases(&self) -> Vec<&'static str> {
        let mut phases = self.drawn_phases();
        if self.tour && self.operations >= OPERATIONS_TO_TOUR {
            // Before the others: they have to do with what it leaves.
            phases.insert(1, TYPES);
        }
        phases
    }

    /// Those that are drawn, and share the operations.
    fn drawn_phases(&self) -> Vec<&'static str> {
        match self.course {
            Course::Usual if self.policy.appends() => vec![APPEND, REWRITE, SAVE],
            Course::Usual => vec![APPEND, SAVE],
            Course::Growing => vec![APPEND, GROWTH],
            Course::SavePoints => vec![APPEND, SAVE_POINTS],
            Course::Switched => vec![APPEND, SWITCH, REWRITE],
            Course::Restarted { .. } if self.policy.appends() => vec![APPEND, RESTART, REWRITE],
            Course::Restarted { .. } => vec![APPEND, RESTART, SAVE],
        }
    }

    /// The workload of a seed.
    pub fn generate(&self, seed: u64) -> Workload {
        let mut maker = Maker {
            shape: self,
            random: Random::new(seed),
            steps: Vec::new(),
            values: 0,
            recent: Vec::new(),
            filled: 0,
        };
        let drawn = self.drawn_phases().len() as u64;
        let mut rest = self.operations % drawn;
        for phase in self.phases() {
            maker.steps.push(Step::Phase(phase.to_owned()));
            if phase == TYPES {
                maker.tour(seed);
                continue;
            }
            let operations = self.operations / drawn + u64::from(rest > 0);
            rest = rest.saturating_sub(1);
            match phase {
                REWRITE => maker.rewrite(operations),
                SAVE => maker.save(operations),
                GROWTH => maker.growth(operations),
                SAVE_POINTS => maker.save_points(operations),
                RESTART => maker.restart(operations),
                SWITCH => maker.switch(operations),
                _ if self.course == Course::Switched => maker.switch_on(operations),
                _ => maker.append(operations),
            }
        }
        Workload { steps: maker.steps, seed }
    }
}

/// A workload without the tour.
pub fn without_tour(workload: &Workload) -> Workload {
    let mut touring = false;
    let outside = |step: &&Step| {
        if let Step::Phase(name) = step {
            touring = name == TYPES;
        }
        !touring
    };
    let steps = workload.steps.iter().filter(outside).cloned().collect();
    Workload { steps, seed: workload.seed }
}

pub(super) struct Maker<'a> {
    pub(super) shape: &'a Shape,
    pub(super) random: Random,
    steps: Vec<Step>,
    /// How many values were made: each carries its number, so that no two are the same.
    pub(super) values: u64,
    /// The last of them, the newest first, of a workload of every type.
    pub(super) recent: Vec<Vec<u8>>,
    /// How many of the large collections were made.
    pub(super) filled: usize,
}

impl Maker<'_> {
    fn append(&mut self, operations: u64) {
        let half = operations / 2;
        self.writes(half, true);
        if self.shape.restart && self.shape.policy.appends() {
            self.steps.push(Step::KillAndRestart);
        }
        self.writes(operations - half, true);
    }

    /// Writes before, during and after each of one or two rewrites.
    fn rewrite(&mut self, operations: u64) {
        let rounds = if operations >= 16 { 2 } else { 1 };
        for round in 0..rounds {
            let mut left = operations / rounds + u64::from(round < operations % rounds);
            left = left.saturating_sub(1);
            let before = self.random.below(left / 3 + 1);
            self.writes(before, false);
            self.invoke(0, RespOp::command(&["BGREWRITEAOF"]));
            let during = (left - before).div_ceil(2);
            self.writes(during, false);
            self.steps.push(Step::Settle);
            self.writes(left - before - during, false);
        }
    }

    /// Writes with a tick of the server's timer after every few, which is when it looks how large the log has become.
    fn growth(&mut self, operations: u64) {
        self.in_rounds(operations, TICK, |_| ());
        self.steps.push(Step::Settle);
    }

    /// Writes, with enough time for a snapshot to become due after every few. Where snapshots are what counts, INFO
    /// shows that they have been made.
    fn save_points(&mut self, operations: u64) {
        let shown = !self.shape.policy.appends();
        self.in_rounds(operations, 1200 * MS, |maker| {
            if shown {
                // While the child may be at work, and when it has ended.
                maker.invoke(0, RespOp::command(&["INFO", "persistence"]));
                maker.steps.push(Step::Settle);
                maker.invoke(0, RespOp::command(&["INFO", "persistence"]));
            }
        });
        self.steps.push(Step::Settle);
    }

    /// Rounds of writes and time, `after` each time of which up to two operations may follow.
    fn in_rounds(&mut self, operations: u64, nanos: u64, after: impl Fn(&mut Self)) {
        const WRITES: u64 = 4;
        let mut left = operations;
        while left > 0 {
            let writes = left.min(WRITES);
            self.writes(writes, false);
            left -= writes;
            self.advance(nanos);
            let before = self.operations();
            if left >= 2 {
                after(self);
            }
            left -= self.operations() - before;
        }
    }

    /// How many operations there are so far.
    fn operations(&self) -> u64 {
        let of = |step: &Step| match step {
            Step::Invoke { .. } => 1,
            Step::Together(calls) => calls.len() as u64,
            _ => 0,
        };
        self.steps.iter().map(of).sum()
    }

    /// Writes before the log is switched on, and behind it.
    fn switch_on(&mut self, operations: u64) {
        let writes = operations.saturating_sub(1);
        self.writes(writes / 2, true);
        self.config("appendonly", "yes");
        self.writes(writes - writes / 2, true);
    }

    /// Writes while there is a log, while there is none, and when there is one again.
    fn switch(&mut self, operations: u64) {
        let writes = operations.saturating_sub(2);
        self.writes(writes / 3, true);
        self.config("appendonly", "no");
        self.writes(writes / 3, true);
        self.config("appendonly", "yes");
        self.writes(writes - 2 * (writes / 3), true);
    }

    fn config(&mut self, name: &str, value: &str) {
        self.invoke(0, RespOp::command(&["CONFIG", "SET", name, value]));
        self.pass_time();
    }

    /// The server goes on with other options: first the restart, so that a crash meets it with a log that has grown.
    fn restart(&mut self, operations: u64) {
        if let Course::Restarted { how, set } = self.shape.course {
            let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            self.steps.push(Step::Restart { how, set });
        }
        self.writes(operations, false);
    }

    /// BGSAVE amid writes, and SAVE; in between, replies that show that a save has completed.
    fn save(&mut self, operations: u64) {
        // BGSAVE, LASTSAVE, INFO, SAVE; and INFO and LASTSAVE while the child is still at work.
        let polls = if operations >= 10 { 2 } else { 0 };
        let writes = operations.saturating_sub(4 + polls);
        let quarter = writes / 4;
        self.writes(quarter, false);
        // LASTSAVE counts seconds: a save in the same second as the last would not show.
        self.advance(1100 * MS);
        self.invoke(0, RespOp::command(&["BGSAVE"]));
        if polls > 0 {
            // A save that is shown before it is done would be believed.
            self.invoke(0, RespOp::command(&["INFO", "persistence"]));
            self.invoke(0, RespOp::command(&["LASTSAVE"]));
        }
        self.writes(quarter, false);
        self.steps.push(Step::Settle);
        self.invoke(0, RespOp::command(&["LASTSAVE"]));
        self.writes(quarter, false);
        if self.shape.restart && !self.shape.policy.appends() {
            // Where there is a snapshot to go on from, and something behind it to lose.
            self.steps.push(Step::KillAndRestart);
        }
        self.advance(1100 * MS);
        if operations >= 3 {
            self.invoke(0, RespOp::command(&["SAVE"]));
        }
        self.writes(writes - 3 * quarter, false);
        if operations >= 4 {
            self.invoke(0, RespOp::command(&["INFO", "persistence"]));
        }
    }

    fn writes(&mut self, mut count: u64, flush: bool) {
        while count > 0 {
            let clients = u64::from(self.shape.clients.max(1));
            if clients > 1 && count > 1 && self.random.one_in(6) {
                let together = clients.min(count).min(3);
                let calls = (0..together).map(|client| (client as u32, self.operation(flush).encode()));
                let calls = calls.collect();
                self.steps.push(Step::Together(calls));
                count -= together;
            } else {
                let client = self.random.below(clients) as u32;
                let op = self.operation(flush);
                self.invoke(client, op);
                count -= 1;
            }
            self.pass_time();
        }
    }

    /// Moves the clock as the policy needs: everysec lives by it, the others only see expiries come.
    pub(super) fn pass_time(&mut self) {
        if self.shape.policy == Policy::EverySec {
            let nanos = match self.random.weighted(&[4, 4, 2, 1]) {
                0 => return,
                1 => self.random.between(50, 300),
                2 => self.random.between(300, 900),
                _ => self.random.between(1000, 2200),
            };
            self.advance(nanos * MS);
        } else if self.random.one_in(8) {
            let nanos = self.random.between(1, 120) * MS;
            self.advance(nanos);
        }
    }

    fn advance(&mut self, nanos: u64) {
        self.steps.push(Step::Advance { nanos });
    }

    pub(super) fn invoke(&mut self, client: u32, op: RespOp) {
        self.steps.push(Step::Invoke { client, op: op.encode() });
    }
}
