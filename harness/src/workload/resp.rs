//! Workloads for Redis-compatible servers: seeded, and made so that mistakes show.
//!
//! Most operations are *not idempotent* (INCR, APPEND, RPUSH, LPOP), so that one that is lost, doubled or out
//! of turn leaves a trace; values are numbered, so that none looks like another.

use crate::target::policy::Policy;
use crate::target::resp_op::RespOp;
use crate::workload::random::Random;
use crate::workload::{Step, Workload};

/// The phases' names, as reports show them.
pub const APPEND: &str = "append";
/// See [`APPEND`].
pub const REWRITE: &str = "rewrite";
/// See [`APPEND`].
pub const SAVE: &str = "save";

const MS: u64 = 1_000_000;

/// What a generated workload is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many operations, over all phases.
    pub operations: u64,
    /// The policy: it decides on the phases and on how the clock moves.
    pub policy: Policy,
    /// Clients (at least one). With more than one, some steps are issued together.
    pub clients: u32,
    /// Values larger than a page now and then.
    pub large_values: bool,
    /// Expiries, near and far.
    pub expiry: bool,
    /// FLUSHALL now and then.
    pub flush: bool,
    /// Kill and start the server again, once, in the middle of the first phase.
    pub restart: bool,
}

impl Shape {
    /// What `unplug check` runs.
    pub fn new(policy: Policy, operations: u64) -> Shape {
        Shape {
            operations,
            policy,
            clients: 2,
            large_values: true,
            expiry: true,
            flush: true,
            restart: false,
        }
    }

    /// The phases of this shape's workload, in order. Without an append-only file there is none to rewrite.
    pub fn phases(&self) -> Vec<&'static str> {
        if self.policy.appends() { vec![APPEND, REWRITE, SAVE] } else { vec![APPEND, SAVE] }
    }

    /// The workload of a seed.
    pub fn generate(&self, seed: u64) -> Workload {
        let mut maker = Maker { shape: self, random: Random::new(seed), steps: Vec::new(), values: 0 };
        let phases = self.phases();
        let (share, rest) = (self.operations / phases.len() as u64, self.operations % phases.len() as u64);
        for (index, phase) in phases.iter().enumerate() {
            maker.steps.push(Step::Phase((*phase).to_owned()));
            let operations = share + u64::from((index as u64) < rest);
            match *phase {
                REWRITE => maker.rewrite(operations),
                SAVE => maker.save(operations),
                _ => maker.append(operations),
            }
        }
        Workload { steps: maker.steps, seed }
    }
}

struct Maker<'a> {
    shape: &'a Shape,
    random: Random,
    steps: Vec<Step>,
    /// How many values were made: each carries its number, so that no two are the same.
    values: u64,
}

impl Maker<'_> {
    fn append(&mut self, operations: u64) {
        let half = operations / 2;
        self.writes(half, true);
        if self.shape.restart {
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
    fn pass_time(&mut self) {
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

    fn invoke(&mut self, client: u32, op: RespOp) {
        self.steps.push(Step::Invoke { client, op: op.encode() });
    }

    /// One operation of a client: mostly a command, sometimes a transaction of two or three.
    fn operation(&mut self, flush: bool) -> RespOp {
        if self.random.one_in(14) {
            let commands = (0..self.random.between(2, 3)).map(|_| self.command(false)).collect();
            return RespOp::transaction(commands);
        }
        RespOp::transaction(vec![self.command(flush)])
    }

    fn command(&mut self, flush: bool) -> Vec<Vec<u8>> {
        let expiry = u64::from(self.shape.expiry);
        let flush = u64::from(flush && self.shape.flush && self.values > 6);
        let weights = [20, 14, 12, 12, 8, 8, 4 * expiry, 3 * expiry, 3, flush];
        let string = |r: &mut Random| format!("s{}", r.below(5));
        let counter = |r: &mut Random| format!("n{}", r.below(3));
        let list = |r: &mut Random| format!("l{}", r.below(3));
        let any = |r: &mut Random| match r.below(3) {
            0 => string(r),
            1 => counter(r),
            _ => list(r),
        };
        let choice = self.random.weighted(&weights);
        let args: Vec<Vec<u8>> = match choice {
            0 => vec!["SET".into(), string(&mut self.random).into(), self.value()],
            1 => vec!["INCR".into(), counter(&mut self.random).into()],
            2 => vec!["APPEND".into(), string(&mut self.random).into(), self.value()],
            3 => vec!["RPUSH".into(), list(&mut self.random).into(), self.value()],
            4 => vec!["LPOP".into(), list(&mut self.random).into()],
            5 => vec!["DEL".into(), any(&mut self.random).into()],
            6 => vec!["EXPIRE".into(), any(&mut self.random).into(), b"100000".to_vec()],
            7 => {
                let ms = self.random.between(20, 1500).to_string();
                vec!["PEXPIRE".into(), any(&mut self.random).into(), ms.into()]
            }
            8 => vec!["GET".into(), string(&mut self.random).into()],
            _ => vec!["FLUSHALL".into()],
        };
        args
    }

    /// A value like no other: mostly short, sometimes around or beyond a page.
    fn value(&mut self) -> Vec<u8> {
        let large = u64::from(self.shape.large_values);
        let len = match self.random.weighted(&[24, 6, 3 * large, large]) {
            0 => self.random.below(12),
            1 => self.random.between(100, 700),
            2 => self.random.between(3900, 4300),
            _ => self.random.between(8000, 14000),
        };
        self.values += 1;
        let mut value = format!("v{}:", self.values).into_bytes();
        value.extend(self.random.text(len as usize));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(workload: &Workload) -> Vec<(u32, RespOp)> {
        let mut all = Vec::new();
        for step in &workload.steps {
            match step {
                Step::Invoke { client, op } => all.push((*client, RespOp::decode(op).unwrap())),
                Step::Together(calls) => {
                    all.extend(calls.iter().map(|(client, op)| (*client, RespOp::decode(op).unwrap())));
                }
                _ => {}
            }
        }
        all
    }

    #[test]
    fn a_seed_stands_for_one_workload() {
        let shape = Shape::new(Policy::Always, 60);
        assert_eq!(shape.generate(5), shape.generate(5));
        assert_ne!(shape.generate(5).steps, shape.generate(6).steps);
    }

    #[test]
    fn every_policy_has_its_phases_and_its_number_of_operations() {
        for policy in Policy::ALL {
            for operations in [30, 61, 400] {
                let shape = Shape::new(policy, operations);
                let workload = shape.generate(operations);
                assert_eq!(commands(&workload).len() as u64, operations, "{policy} {operations}");
                let phases: Vec<&str> = workload
                    .steps
                    .iter()
                    .filter_map(|s| if let Step::Phase(name) = s { Some(name.as_str()) } else { None })
                    .collect();
                assert_eq!(phases, shape.phases());
            }
        }
    }

    #[test]
    fn all_that_can_go_wrong_occurs() {
        let workload = Shape { restart: true, ..Shape::new(Policy::EverySec, 600) }.generate(1);
        let all = commands(&workload);
        let has = |name: &str| all.iter().any(|(_, op)| op.commands.iter().any(|c| c[0] == name.as_bytes()));
        for name in [
            "SET",
            "INCR",
            "APPEND",
            "RPUSH",
            "LPOP",
            "DEL",
            "EXPIRE",
            "PEXPIRE",
            "GET",
            "FLUSHALL",
            "BGREWRITEAOF",
            "BGSAVE",
            "SAVE",
            "LASTSAVE",
            "INFO",
        ] {
            assert!(has(name), "{name}");
        }
        assert!(all.iter().any(|(_, op)| op.is_transaction()));
        assert!(all.iter().any(|(client, _)| *client == 1));
        let longest = all.iter().flat_map(|(_, op)| op.commands.iter().flatten()).map(Vec::len).max();
        assert!(longest > Some(8000));
        assert!(workload.steps.contains(&Step::KillAndRestart));
        assert!(workload.steps.iter().any(|s| matches!(s, Step::Together(calls) if calls.len() > 1)));
    }

    #[test]
    fn no_client_speaks_twice_in_one_step() {
        let workload = Shape { clients: 3, ..Shape::new(Policy::No, 500) }.generate(3);
        for step in &workload.steps {
            if let Step::Together(calls) = step {
                let mut clients: Vec<u32> = calls.iter().map(|(client, _)| *client).collect();
                clients.dedup();
                assert_eq!(clients.len(), calls.len());
            }
        }
    }
}
