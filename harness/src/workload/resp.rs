//! Workloads for Redis-compatible servers: seeded, and made so that mistakes show.
//!
//! Most operations are *not idempotent* (INCR, APPEND, RPUSH, LPOP), so that one that is lost, doubled or out
//! of turn leaves a trace; values are numbered, so that none looks like another.

use crate::target::policy::Policy;
use crate::target::resp_op::RespOp;
pub use crate::workload::phases::{APPEND, REWRITE, SAVE};
use crate::workload::phases::{Course, Maker};
use crate::workload::random::Random;

/// What a generated workload is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many operations, over all phases but that of the tour.
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
    /// Kill and start the server again, once: in the middle of the first phase, or, of a server that keeps snapshots
    /// alone, behind the first that is known to be saved.
    pub restart: bool,
    /// Commands of every type, and a large collection of each; else strings and lists alone.
    pub all_types: bool,
    /// Every command that changes data, once, in a phase of its own, if it is no small workload.
    pub tour: bool,
    /// What is done, phase by phase.
    pub course: Course,
}

impl Shape {
    /// Operations that are drawn, as `unplug check` runs them.
    pub fn new(policy: Policy, operations: u64) -> Shape {
        Shape {
            operations,
            policy,
            clients: 2,
            large_values: true,
            expiry: true,
            flush: true,
            restart: false,
            all_types: false,
            tour: false,
            course: Course::Usual,
        }
    }
}

impl Maker<'_> {
    /// One operation of a client: mostly a command, sometimes a transaction of two or three.
    pub(super) fn operation(&mut self, flush: bool) -> RespOp {
        if self.shape.all_types {
            return self.operation_of_any_type(flush);
        }
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
    pub(super) fn value(&mut self) -> Vec<u8> {
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
    use crate::workload::{Step, Workload};

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
    fn commands_of_every_type_occur_and_are_known() {
        let shape = Shape { all_types: true, ..Shape::new(Policy::EverySec, 1200) };
        let workload = shape.generate(1);
        assert_eq!(crate::oracle::RespOracle::validate(&workload), Ok(()));
        let all = commands(&workload);
        let has = |name: &str| all.iter().any(|(_, op)| op.commands.iter().any(|c| c[0] == name.as_bytes()));
        let names = "SET INCR APPEND INCRBYFLOAT SETRANGE GETSET RPUSH LPUSH LPOP LMOVE RPOPLPUSH SADD SPOP SMOVE \
                     SREM HSET HINCRBY HINCRBYFLOAT HDEL ZADD ZINCRBY ZPOPMIN ZPOPMAX ZREM DEL RENAME COPY EXPIRE \
                     PEXPIRE BGREWRITEAOF BGSAVE SAVE";
        names.split_whitespace().for_each(|name| assert!(has(name), "{name}"));
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
