//! Every command that changes data, once, in a phase of its own: what a seed draws holds most of them, but none for sure.

use crate::target::policy::Policy;
use crate::target::resp_op::RespOp;
use crate::workload::phases::Maker;
use crate::workload::random::Random;

/// Workloads of fewer operations are too small for it.
pub(super) const OPERATIONS_TO_TOUR: u64 = 40;

/// For `$long`: too long for the small forms of Redis's hashes, sets and sorted sets.
const LONG: usize = 70;

/// So many operations are one transaction where a write is not forced to the disk at once.
const TOGETHER: usize = 8;

/// Between the commands of a transaction.
const SEPARATOR: &str = " ; ";

/// The operations, in words; a transaction's commands with ` ; ` between them. The keys are the tour's own, so that each
/// command finds what it needs whatever was done before, and what is here at the end is rewritten and saved later: of each
/// type one small collection and one large one, and keys that expire.
///
/// Every command changes something that no later one hides at once, and few would do the same twice: one that is lost,
/// doubled, done by half or logged as something else leaves a trace. What is refused where its key is missing stands in one
/// transaction with what makes the key: a log with a hole in it is then one that can be loaded.
#[rustfmt::skip]
pub(super) const TOUR: &[&str] = &[
    // Strings.
    "SET s7 one", "APPEND s7 -two", "SETRANGE s7 2 EE", "SETNX s8 three", "GETSET s8 four",
    "MSET s9 five n7 40", "MSETNX n8 7 f7 1.5",
    "INCR n7", "DECR n8", "INCRBY n7 12", "DECRBY n8 30",
    "SETEX s10 100000 six", "PSETEX s11 90000000 seven", "SET s12 eight PX 80000000",
    "SET s12 nine KEEPTTL", "SET s8 ten GET", "SET s13 eleven EX 70000 GET",
    "EXPIRE f7 100000", "INCRBYFLOAT f7 0.1", "INCRBYFLOAT f8 -2.75",
    "GETEX s7 EX 100000", "GETEX s10 PERSIST", "GETDEL s13",
    "SETBIT s9 13 1", "BITOP XOR s14 s8 s9", "BITFIELD s14 INCRBY u8 #1 77",
    // Lists.
    "RPUSH l7 c b a d 10 9", "LPUSH l7 x y", "RPUSHX l7 z", "LPUSHX l7 w", "LINSERT l7 BEFORE a new", "RPUSH l12 g h ; LSET l12 1 set",
    "LREM l7 1 d", "LTRIM l7 0 8", "LPOP l7", "RPOP l7 2", "RPUSH l8 p q r s t $long",
    "LMOVE l7 l8 LEFT RIGHT", "LMOVE l8 l8 RIGHT LEFT", "RPOPLPUSH l8 l9", "LMPOP 2 l0-none l8 LEFT COUNT 2",
    "SORT l7 ALPHA DESC STORE l10", "PEXPIRE l10 90000000", "LPOP l9",
    // Sets.
    "SADD t7 1 2 3 40 500 -6 7 8", "SADD t8 2 3 x y $long", "SREM t7 500", "SMOVE t7 t8 40", "SMOVE t8 t9 x",
    // Between two draws that are logged one that is not: a replay that drew for itself would draw something else.
    "SPOP t7", "SRANDMEMBER t7 ; SPOP t7 2", "SADD t9 a b", "SPOP t9 3",
    "SINTERSTORE t10 t7 t8", "SUNIONSTORE t11 t7 t8", "SDIFFSTORE t12 t8 t7", "EXPIREAT t12 5000000000",
    // Hashes.
    "HSET h7 a 1 b 2 c 3", "HMSET h8 a 1 long $long d 4 e 5", "HSETNX h7 d 4", "HINCRBY h7 a 41",
    "HINCRBYFLOAT h7 x 2.5", "HINCRBYFLOAT h7 x 0.1", "HDEL h7 b", "PEXPIREAT h8 5000000000000",
    // Sorted sets.
    "ZADD z7 1.5 a 2.25 b 3 c 4 d -5.125 e 6 f 7 g", "ZADD z8 0.5 a 2 $long 3 c 40 h 5.5 g", "ZADD z7 GT CH 9.5 a 1 b",
    "ZADD z7 INCR 0.75 b", "ZINCRBY z7 -3.5 c", "ZREM z7 d",
    "ZPOPMIN z7", "ZPOPMAX z7 1", "ZMPOP 2 z0-none z7 MIN COUNT 2",
    "ZRANGESTORE z9 z7 0 1", "ZUNIONSTORE z10 2 z7 z8 WEIGHTS 1 2", "ZINTERSTORE z11 2 z7 z8 AGGREGATE MAX",
    "ZDIFFSTORE z12 2 z8 z7", "ZREMRANGEBYRANK z10 1 1", "ZREMRANGEBYSCORE z10 (6 +inf",
    "ZADD z13 0 a 0 b 0 c 0 d", "ZREMRANGEBYLEX z13 [b (d", "EXPIRE z8 100000",
    // Keys of any type.
    "COPY h7 h9", "COPY z8 z14 DB 1", "SADD t16 q r s ; RENAME t16 t13", "RPUSH l13 u v ; RENAMENX l13 l11", "MOVE s14 1", "SWAPDB 1 2",
    "PERSIST s12", "EXPIRE z9 -1", "DEL s9 n8", "UNLINK t10",
    // What becomes of translations in a transaction.
    "SPOP t13 ; INCRBYFLOAT f8 0.05 ; EXPIRE f8 50000 ; HINCRBYFLOAT h9 x 1.5",
];

impl Maker<'_> {
    /// The tour. It draws nothing from the seed's numbers but the time that passes, and that from numbers of its own: what
    /// a seed does in the phases around it is the same without it.
    ///
    /// Under always each operation stands alone: it is forced to the disk before the next one. Elsewhere several are one
    /// transaction: with each write that nothing forces there are twice as many states of the disk, in the phases behind
    /// this one too, and of few of them it would be seen what they are.
    pub(super) fn tour(&mut self, seed: u64) {
        let random = std::mem::replace(&mut self.random, Random::new(!seed));
        let clients = u64::from(self.shape.clients.max(1));
        let together = if self.shape.policy == Policy::Always { 1 } else { TOGETHER };
        for (index, operations) in TOUR.chunks(together).enumerate() {
            self.invoke((index as u64 % clients) as u32, operation_of(&operations.join(SEPARATOR)));
            self.pass_time();
        }
        self.random = random;
    }
}

fn operation_of(words: &str) -> RespOp {
    let word = |word: &str| if word == "$long" { vec![b'w'; LONG] } else { word.as_bytes().to_vec() };
    RespOp::transaction(
        words.split(SEPARATOR).map(|command| command.split(' ').map(word).collect()).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::RespOracle;
    use crate::target::Oracle;
    use crate::target::embedded::EngineSubject;
    use crate::worker::store::Subject;
    use crate::workload::phases::{TYPES, without_tour};
    use crate::workload::resp::Shape;
    use crate::workload::{Step, Workload};
    use std::collections::BTreeSet;
    use unplug_engine::resp::Reply;
    use unplug_engine::store::Store;

    /// Commands that change data, but are not in the tour.
    const LEFT_OUT: &[(&str, &str)] = &[
        ("BLMOVE", "nobody waits here; what is logged is an LMOVE"),
        ("BLMPOP", "nobody waits here; what is logged is an LPOP or RPOP"),
        ("BLPOP", "nobody waits here; what is logged is an LPOP"),
        ("BRPOP", "nobody waits here; what is logged is an RPOP"),
        ("BRPOPLPUSH", "nobody waits here; what is logged is a RPOPLPUSH"),
        ("BZMPOP", "nobody waits here; what is logged is a ZPOPMIN or ZPOPMAX"),
        ("BZPOPMAX", "nobody waits here; what is logged is a ZPOPMAX"),
        ("BZPOPMIN", "nobody waits here; what is logged is a ZPOPMIN"),
        (
            "FLUSHALL",
            "nothing would be left to rewrite; it is drawn in the phase before, and logged as it is",
        ),
        ("FLUSHDB", "nothing would be left to rewrite; it is logged as it is"),
    ];

    fn store(dir: &std::path::Path) -> (Store, EngineSubject) {
        let subject = EngineSubject::new(Policy::No, &[]).unwrap();
        (subject.open(dir, 0).unwrap(), subject)
    }

    fn words(reply: &Reply) -> Vec<String> {
        match reply {
            Reply::Simple(text) => vec![text.to_string()],
            Reply::Bulk(text) => vec![String::from_utf8_lossy(text).into_owned()],
            Reply::Array(all) => all.iter().flat_map(words).collect(),
            _ => Vec::new(),
        }
    }

    /// The commands of the engine's table that change data.
    fn writing() -> BTreeSet<String> {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = store(dir.path());
        let Reply::Array(all) = store.execute(&[b"COMMAND"]).unwrap() else { panic!("no list") };
        let all = all.iter().map(words).filter(|words| words[1..].iter().any(|word| word == "write"));
        all.map(|words| words[0].to_uppercase()).collect()
    }

    fn operations() -> Vec<RespOp> {
        TOUR.iter().map(|words| operation_of(words)).collect()
    }

    #[test]
    fn every_command_that_changes_data_is_in_the_tour_or_left_out_for_a_reason() {
        let name = |command: &Vec<Vec<u8>>| String::from_utf8(command[0].clone()).unwrap();
        let mut toured: BTreeSet<String> =
            operations().iter().flat_map(|op| op.commands.iter().map(name).collect::<Vec<_>>()).collect();
        assert!(toured.remove("SRANDMEMBER"), "it only draws");
        let left_out: BTreeSet<String> = LEFT_OUT.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert!(toured.is_disjoint(&left_out));
        let known: BTreeSet<String> = &toured | &left_out;
        let writing = writing();
        assert!(writing.len() > 80, "{writing:?}");
        assert_eq!(known, writing);
    }

    /// The engine does what the model says, each operation changes something, and a start on the log gives the same.
    #[test]
    fn every_operation_changes_something() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, subject) = store(dir.path());
        let mut model = RespOracle::new();
        let at_ms = 1_700_000_000_000;
        for op in operations() {
            let before = model.digest(at_ms);
            let commands: Vec<Vec<&[u8]>> =
                op.commands.iter().map(|c| c.iter().map(Vec::as_slice).collect()).collect();
            let commands: Vec<&[&[u8]]> = commands.iter().map(Vec::as_slice).collect();
            let reply = match commands.as_slice() {
                [one] => store.execute(one).unwrap(),
                several => store.execute_multi(several).unwrap(),
            };
            let said = encoded(&reply);
            assert!(!said.starts_with(b"-"), "{op}: {}", said.escape_ascii());
            model.apply(&op.encode(), Some(&said), at_ms);
            assert_ne!(model.digest(at_ms), before, "{op}");
            let held = subject.dump(&mut store).unwrap();
            // The two clocks differ: only what expires is compared by its value alone.
            assert_eq!(values(&held), values(&model.dump()), "{op}");
        }
        let held = subject.dump(&mut store).unwrap();
        store.abandon();
        let mut store = subject.open(dir.path(), 0).unwrap();
        assert_eq!(subject.dump(&mut store).unwrap(), held);
    }

    fn values(dump: &crate::dump::Dump) -> Vec<(Vec<u8>, Vec<u8>, bool)> {
        let one = |(key, entry): (&Vec<u8>, &crate::dump::Entry)| {
            (key.clone(), entry.value.clone(), entry.expires_at_ms.is_some())
        };
        dump.0.iter().map(one).collect()
    }

    fn encoded(reply: &Reply) -> Vec<u8> {
        match reply {
            Reply::Simple(text) => format!("+{text}\r\n").into_bytes(),
            Reply::Error(text) => format!("-{text}\r\n").into_bytes(),
            Reply::Int(n) => format!(":{n}\r\n").into_bytes(),
            Reply::Bulk(b) => [format!("${}\r\n", b.len()).as_bytes(), b, b"\r\n"].concat(),
            Reply::Array(all) => {
                let head = format!("*{}\r\n", all.len()).into_bytes();
                head.into_iter().chain(all.iter().flat_map(encoded)).collect()
            }
            _ => b"$-1\r\n".to_vec(),
        }
    }

    fn has_tour(workload: &Workload) -> bool {
        workload.steps.contains(&Step::Phase(TYPES.to_owned()))
    }

    #[test]
    fn the_tour_changes_nothing_around_it() {
        for policy in Policy::ALL {
            for all_types in [false, true] {
                let plain = Shape { all_types, ..Shape::new(policy, 60) };
                let with = Shape { tour: true, ..plain.clone() }.generate(7);
                assert!(has_tour(&with));
                assert_eq!(RespOracle::validate(&with), Ok(()));
                assert_eq!(without_tour(&with), plain.generate(7), "{policy}");
            }
            let small = Shape { tour: true, ..Shape::new(policy, OPERATIONS_TO_TOUR - 1) };
            assert!(!has_tour(&small.generate(7)));
        }
    }
}
