//! Workloads as proptest strategies: every part shrinks, down to one operation with a short value.

use crate::target::policy::Policy;
use crate::target::resp_op::RespOp;
use crate::workload::{Step, Workload};
use proptest::collection::{SizeRange, vec};
use proptest::prelude::*;

/// The phase's name that these workloads carry: everything is mixed in them.
pub const MIXED: &str = "mixed";

type Command = Vec<Vec<u8>>;

/// Workloads for a Redis-compatible server under `policy`, of so many steps (one for the phase not counted).
pub fn workloads(policy: Policy, steps: impl Into<SizeRange>) -> impl Strategy<Value = Workload> {
    (vec(step(policy), steps), any::<u64>()).prop_map(|(mut steps, seed)| {
        steps.insert(0, Step::Phase(MIXED.to_owned()));
        Workload { steps, seed }
    })
}

/// One step: mostly a write, sometimes what makes writes hard to keep.
pub fn step(policy: Policy) -> impl Strategy<Value = Step> {
    let advance_ms = if policy == Policy::EverySec { 1..2500_u64 } else { 1..150 };
    let background = if policy.appends() { "BGREWRITEAOF" } else { "BGSAVE" };
    prop_oneof![
        16 => (0..2_u32, operation()).prop_map(|(client, op)| invoke(client, &op)),
        2 => (operation(), operation())
            .prop_map(|(a, b)| Step::Together(std::vec![(0, a.encode()), (1, b.encode())])),
        2 => advance_ms.prop_map(|ms| Step::Advance { nanos: ms * 1_000_000 }),
        2 => Just(invoke(0, &RespOp::command(&[background]))),
        1 => Just(invoke(0, &RespOp::command(&["SAVE"]))),
        1 => Just(invoke(0, &RespOp::command(&["LASTSAVE"]))),
        1 => Just(Step::Settle),
    ]
}

/// One client's operation: a command or a small transaction.
pub fn operation() -> impl Strategy<Value = RespOp> {
    prop_oneof![
        12 => command().prop_map(|c| RespOp::transaction(std::vec![c])),
        1 => vec(command(), 2..4).prop_map(RespOp::transaction),
    ]
}

/// One command that writes, on a few keys that others write too.
pub fn command() -> impl Strategy<Value = Command> {
    let key = |kind: &'static str, n: u8| (0..n).prop_map(move |i| format!("{kind}{i}").into_bytes());
    let any_key = || prop_oneof![key("s", 3), key("n", 2), key("l", 2)];
    let of = |name: &'static str, args: Vec<Vec<u8>>| [std::vec![name.as_bytes().to_vec()], args].concat();
    prop_oneof![
        5 => (key("s", 3), value()).prop_map(move |(k, v)| of("SET", std::vec![k, v])),
        4 => key("n", 2).prop_map(move |k| of("INCR", std::vec![k])),
        3 => (key("s", 3), value()).prop_map(move |(k, v)| of("APPEND", std::vec![k, v])),
        3 => (key("l", 2), value()).prop_map(move |(k, v)| of("RPUSH", std::vec![k, v])),
        2 => key("l", 2).prop_map(move |k| of("LPOP", std::vec![k])),
        2 => any_key().prop_map(move |k| of("DEL", std::vec![k])),
        1 => (any_key(), 20..3000_u32)
            .prop_map(move |(k, ms)| of("PEXPIRE", std::vec![k, ms.to_string().into_bytes()])),
        1 => any_key().prop_map(move |k| of("EXPIRE", std::vec![k, b"100000".to_vec()])),
        1 => Just(of("FLUSHALL", std::vec![])),
    ]
}

/// A value: a number that tells it from others, and a length that is mostly short.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![10 => 0..16_usize, 2 => 100..600_usize, 1 => 3900..9000_usize];
    (any::<u16>(), len).prop_map(|(n, len)| [format!("v{n}:").as_bytes(), &std::vec![b'x'; len]].concat())
}

fn invoke(client: u32, op: &RespOp) -> Step {
    Step::Invoke { client, op: op.encode() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    #[test]
    fn workloads_shrink_to_one_short_operation() {
        let mut runner = TestRunner::deterministic();
        let mut tree = workloads(Policy::Always, 1..30).new_tree(&mut runner).unwrap();
        // "Fails" as long as there is any operation: the shrunk workload has exactly one.
        let operations = |w: &Workload| {
            w.steps.iter().filter(|s| matches!(s, Step::Invoke { .. } | Step::Together(_))).count()
        };
        assert!(operations(&tree.current()) > 1);
        loop {
            if operations(&tree.current()) > 0 {
                if !tree.simplify() {
                    break;
                }
            } else if !tree.complicate() {
                break;
            }
        }
        assert_eq!(operations(&tree.current()), 1, "{:?}", tree.current());
        assert_eq!(tree.current().steps.len(), 2);
    }

    #[test]
    fn every_operation_decodes() {
        let mut runner = TestRunner::deterministic();
        for _ in 0..50 {
            let workload = workloads(Policy::EverySec, 20..40).new_tree(&mut runner).unwrap().current();
            for step in workload.steps {
                let ops: Vec<Vec<u8>> = match step {
                    Step::Invoke { op, .. } => std::vec![op],
                    Step::Together(calls) => calls.into_iter().map(|(_, op)| op).collect(),
                    _ => std::vec![],
                };
                assert!(ops.iter().all(|op| RespOp::decode(op).is_ok()));
            }
        }
    }
}
