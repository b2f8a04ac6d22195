//! The same commands give the same replies as on redis-server.

mod server_support;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use server_support::Running;
use unplug_engine::resp::Reply;

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned)
}

fn word() -> impl Strategy<Value = String> {
    let words =
        vec!["", "0", "1", "-1", "2", "7", "-3", "x", "xy", "3.5", "9223372036854775807", "1e2", "01", "*"];
    prop::sample::select(words).prop_map(str::to_owned)
}

/// INCRBYFLOAT is left out: Redis adds 80-bit floats, the engine decimals, and large sums differ.
///
/// A command: a template in which K is a key and V any word, so that wrong arguments come up as well.
fn command() -> impl Strategy<Value = Vec<String>> {
    let templates = vec![
        "SET K V",
        "SET K V NX",
        "SET K V XX GET",
        "SET K V GET",
        "SET K V KEEPTTL",
        "SET K V EX V",
        "SET K V PXAT 99999999999999",
        "SET K V EX 100 KEEPTTL",
        "SET K V EX",
        "GET K",
        "GETSET K V",
        "GETDEL K",
        "GETEX K PERSIST",
        "GETEX K EX V",
        "MGET K K",
        "MSET K V K V",
        "MSET K V K",
        "MSETNX K V K V",
        "SETNX K V",
        "SETEX K V V",
        "PSETEX K 333333 V",
        "APPEND K V",
        "STRLEN K",
        "INCR K",
        "DECR K",
        "INCRBY K V",
        "DECRBY K V",
        "GETRANGE K V V",
        "SETRANGE K V V",
        "DEL K K",
        "UNLINK K",
        "EXISTS K K K",
        "TYPE K",
        "KEYS V",
        "DBSIZE",
        "RENAME K K",
        "RENAMENX K K",
        "EXPIRE K V",
        "EXPIRE K 100 NX",
        "EXPIRE K 200 XX",
        "PEXPIREAT K 99999999999500 GT",
        "PEXPIREAT K 99999999999300 LT",
        "EXPIRE K 1 NX XX",
        "EXPIRE K 1 GT LT",
        "EXPIRE K 1 FOO",
        "EXPIREAT K 99999999999",
        "PEXPIREAT K V",
        "PEXPIREAT K 99999999999999",
        "TTL K",
        "EXPIRETIME K",
        "PEXPIRETIME K",
        "PERSIST K",
        "RPUSH K V V",
        "LPUSH K V V V",
        "RPUSHX K V",
        "LPUSHX K V",
        "LPOP K",
        "RPOP K",
        "LPOP K V",
        "RPOP K V",
        "LPOP K 1 2",
        "LLEN K",
        "LRANGE K V V",
        "LRANGE K 0 -1",
        "LINDEX K V",
        "LSET K V V",
        "LREM K V V",
        "LTRIM K V V",
        "LINSERT K BEFORE V V",
        "LINSERT K AFTER V V",
        "LINSERT K NEAR V V",
        "RPOPLPUSH K K",
        "LMOVE K K LEFT RIGHT",
        "LMOVE K K RIGHT LEFT",
        "LMOVE K K UP LEFT",
        "FLUSHDB",
        "FLUSHALL",
        "FLUSHALL NOW",
        "SWAPDB 0 1",
        "SWAPDB V 1",
        "MOVE K 1",
        "MOVE K 0",
        "MOVE K V",
        "COPY K K",
        "COPY K K REPLACE",
        "COPY K K DB 1",
        "COPY K K DB 99",
        "SELECT 0",
        "SELECT 1",
        "SELECT V",
        "MULTI",
        "EXEC",
        "EXEC",
        "DISCARD",
        "WATCH K",
        "UNWATCH",
        "NOSUCH K V",
        "GET",
        "PING V",
        "ECHO V",
        "SCAN 0 COUNT 100 MATCH V",
        "SCAN 0 COUNT 0",
        "SUBSTR K V V",
        "TOUCH K K",
        "CLIENT GETNAME",
        "RESET",
    ];
    (prop::sample::select(templates), prop::collection::vec(key(), 3), prop::collection::vec(word(), 4))
        .prop_map(|(template, keys, words)| {
            let (mut keys, mut words) = (keys.into_iter(), words.into_iter());
            let fill = |part: &str| match part {
                "K" => keys.next().unwrap_or_default(),
                "V" => words.next().unwrap_or_default(),
                other => other.to_owned(),
            };
            template.split(' ').map(fill).collect()
        })
}

/// Lists of keys have no order that means anything.
fn normal(command: &[String], reply: Reply) -> Reply {
    fn sorted(reply: Reply) -> Reply {
        match reply {
            Reply::Array(mut items) => {
                items.sort_by_key(|i| format!("{i:?}"));
                Reply::Array(items)
            }
            other => other,
        }
    }
    match (command[0].as_str(), reply) {
        ("KEYS", reply) => sorted(reply),
        ("SCAN", Reply::Array(items)) => Reply::Array(items.into_iter().map(sorted).collect()),
        // A queued KEYS or SCAN is in there somewhere.
        ("EXEC", Reply::Array(items)) => {
            let inner = |item| match item {
                Reply::Array(items) => sorted(Reply::Array(items.into_iter().map(sorted).collect())),
                other => moment(other),
            };
            Reply::Array(items.into_iter().map(inner).collect())
        }
        ("EXPIRETIME" | "PEXPIRETIME", reply) => moment(reply),
        (_, reply) => reply,
    }
}

/// Moments counted from now differ by the time between the two servers' turns.
fn moment(reply: Reply) -> Reply {
    match reply {
        Reply::Int(1_000_000_000..100_000_000_000_000) => Reply::Int(1),
        other => other,
    }
}

#[test]
fn random_commands_get_the_replies_of_redis() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Running::redis(dir.path()) else {
        eprintln!("NOT MEASURED: redis-server is not installed, nothing was compared with it");
        assert_ne!(std::env::var("UNPLUG_REQUIRE_REDIS").as_deref(), Ok("1"), "redis-server is required");
        return;
    };
    let engine_dir = tempfile::tempdir().unwrap();
    let engine = Running::engine(engine_dir.path(), &["--save", ""]);
    let cases = std::env::var("UNPLUG_CASES").ok().and_then(|c| c.parse().ok()).unwrap_or(300);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let run = runner.run(&prop::collection::vec(command(), 1..60), |commands| {
        let (mut ours, mut theirs) = (engine.connect(), redis.connect());
        ours.call("FLUSHALL");
        theirs.call("FLUSHALL");
        for (i, command) in commands.iter().enumerate() {
            let argv: Vec<&[u8]> = command.iter().map(|a| a.as_bytes()).collect();
            ours.send(&argv);
            theirs.send(&argv);
            let (ours, theirs) = (normal(command, ours.receive()), normal(command, theirs.receive()));
            prop_assert_eq!(ours, theirs, "reply {} (left ours, right Redis's) to {:?}", i, command);
        }
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}
