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
    let any_key =
        || prop_oneof![key("s", 3), key("n", 2), key("l", 2), key("t", 2), key("h", 2), key("z", 2)];
    prop_oneof![
        12 => strings(),
        8 => lists(),
        8 => sets(),
        7 => hashes(),
        8 => sorted_sets(),
        3 => any_key().prop_map(|k| of("DEL", [k])),
        1 => (any_key(), 20..3000_u32).prop_map(|(k, ms)| of("PEXPIRE", [k, text(ms)])),
        1 => any_key().prop_map(|k| of("EXPIRE", [k, text(100_000)])),
        1 => Just(of("FLUSHALL", [])),
    ]
}

fn strings() -> impl Strategy<Value = Command> {
    prop_oneof![
        5 => (key("s", 3), value()).prop_map(|(k, v)| of("SET", [k, v])),
        4 => key("n", 2).prop_map(|k| of("INCR", [k])),
        3 => (key("s", 3), value()).prop_map(|(k, v)| of("APPEND", [k, v])),
        1 => (key("f", 1), score()).prop_map(|(k, n)| of("INCRBYFLOAT", [k, n])),
        1 => (key("s", 3), 0..40_u32, value()).prop_map(|(k, n, v)| of("SETRANGE", [k, text(n), v])),
    ]
}

fn lists() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => (key("l", 2), value()).prop_map(|(k, v)| of("RPUSH", [k, v])),
        2 => key("l", 2).prop_map(|k| of("LPOP", [k])),
        2 => (key("l", 2), key("l", 2)).prop_map(|(k, o)| of("RPOPLPUSH", [k, o])),
        1 => (key("l", 2), key("l", 2))
            .prop_map(|(k, o)| of("LMOVE", [k, o, b"LEFT".to_vec(), b"RIGHT".to_vec()])),
    ]
}

fn sets() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => (key("t", 2), member(), member()).prop_map(|(k, a, b)| of("SADD", [k, a, b])),
        2 => key("t", 2).prop_map(|k| of("SPOP", [k])),
        2 => (key("t", 2), key("t", 2), member()).prop_map(|(k, o, m)| of("SMOVE", [k, o, m])),
        1 => (key("t", 2), member()).prop_map(|(k, m)| of("SREM", [k, m])),
        1 => (key("t", 2), key("t", 2)).prop_map(|(k, o)| of("SUNIONSTORE", [k.clone(), k, o])),
    ]
}

fn hashes() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => (key("h", 2), member(), value(), member(), value())
            .prop_map(|(k, f, v, g, w)| of("HSET", [k, f, v, g, w])),
        // Of a field that nothing else sets.
        3 => (key("h", 2), 1..9_u32).prop_map(|(k, n)| of("HINCRBY", [k, b"c".to_vec(), text(n)])),
        1 => (key("h", 2), score()).prop_map(|(k, n)| of("HINCRBYFLOAT", [k, b"x".to_vec(), n])),
        1 => (key("h", 2), member()).prop_map(|(k, f)| of("HDEL", [k, f])),
    ]
}

fn sorted_sets() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => (key("z", 2), score(), member(), score(), member())
            .prop_map(|(k, x, m, y, n)| of("ZADD", [k, x, m, y, n])),
        3 => (key("z", 2), score(), member()).prop_map(|(k, x, m)| of("ZINCRBY", [k, x, m])),
        2 => key("z", 2).prop_map(|k| of("ZPOPMIN", [k])),
        1 => (key("z", 2), member()).prop_map(|(k, m)| of("ZREM", [k, m])),
    ]
}

fn key(kind: &'static str, n: u8) -> impl Strategy<Value = Vec<u8>> {
    (0..n).prop_map(move |i| format!("{kind}{i}").into_bytes())
}

fn of<const N: usize>(name: &str, args: [Vec<u8>; N]) -> Command {
    std::iter::once(name.as_bytes().to_vec()).chain(args).collect()
}

fn text(n: u32) -> Vec<u8> {
    n.to_string().into_bytes()
}

/// A member or field: a few words, a few numbers, and one that is too long for Redis's small forms.
fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..5_u8).prop_map(|i| format!("m{i}").into_bytes()),
        3 => (0..5_u32).prop_map(text),
        1 => Just(std::vec![b'm'; 70]),
    ]
}

/// A number with digits behind the point.
fn score() -> impl Strategy<Value = Vec<u8>> {
    (-40..80_i32).prop_map(|quarters| format!("{}", f64::from(quarters) / 4.0).into_bytes())
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
    fn every_operation_decodes_and_is_known() {
        let mut runner = TestRunner::deterministic();
        for _ in 0..50 {
            let workload = workloads(Policy::EverySec, 20..40).new_tree(&mut runner).unwrap().current();
            assert_eq!(crate::oracle::RespOracle::validate(&workload), Ok(()));
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
