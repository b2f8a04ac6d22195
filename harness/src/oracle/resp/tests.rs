//! Tests of the reference model, command by command.

use super::*;

fn line(text: &str) -> Vec<u8> {
    RespOp::command(&text.split(' ').collect::<Vec<_>>()).encode()
}

fn run(oracle: &mut RespOracle, text: &str, reply: &str, at_ms: u64) {
    let op = line(text);
    assert!(oracle.expects(&op, reply.as_bytes(), at_ms), "{text} -> {reply:?} is not expected");
    assert!(!oracle.expects(&op, b"$5\r\nwrong\r\n", at_ms), "{text}: any reply would do");
    oracle.apply(&op, Some(reply.as_bytes()), at_ms);
    let mut fresh = oracle.clone();
    fresh.counted = None;
    assert_eq!(oracle.digest(7), fresh.dump().digest(7), "{text}: the identity is not kept up");
}

#[test]
fn strings_counters_and_lists() {
    let o = &mut RespOracle::new();
    for (command, reply) in [
        ("SET a 1", "+OK\r\n"),
        ("INCR a", ":2\r\n"),
        ("INCRBY a 40", ":42\r\n"),
        ("DECR a", ":41\r\n"),
        ("APPEND a x", ":3\r\n"),
        ("GET a", "$3\r\n41x\r\n"),
        ("INCR a", "-ERR value is not an integer or out of range\r\n"),
        ("SETRANGE a 4 z", ":5\r\n"),
        ("RPUSH l a b c", ":3\r\n"),
        ("LPUSH l x y", ":5\r\n"),
        ("LRANGE l 0 -2", "*4\r\n$1\r\ny\r\n$1\r\nx\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("LPOP l", "$1\r\ny\r\n"),
        ("RPOP l 2", "*2\r\n$1\r\nc\r\n$1\r\nb\r\n"),
        ("LLEN l", ":2\r\n"),
        ("INCR l", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("SET a 2 NX", "$-1\r\n"),
        ("SET n 2 NX", "+OK\r\n"),
        ("MSET p 1 q 2", "+OK\r\n"),
        ("RENAME p q", "+OK\r\n"),
        ("GETDEL q", "$1\r\n1\r\n"),
        ("DEL q n l", ":2\r\n"),
        ("RENAME none q", "-ERR no such key\r\n"),
    ] {
        run(o, command, reply, 0);
    }
    assert_eq!(o.dump().0.len(), 1);
    assert_eq!(o.dump().0[b"0/a".as_slice()].value, b"string 41x\0z");
    run(o, "SELECT 3", "+OK\r\n", 0);
    run(o, "SET a other", "+OK\r\n", 0);
    assert_eq!(o.dump().0[b"3/a".as_slice()].value, b"string other");
    run(o, "FLUSHDB", "+OK\r\n", 0);
    assert_eq!(o.dump().0.len(), 1);
    run(o, "FLUSHALL", "+OK\r\n", 0);
    assert_eq!(o.dump(), Dump::default());
}

#[test]
fn expiry() {
    let o = &mut RespOracle::new();
    run(o, "SET a 1 PX 100", "+OK\r\n", 1000);
    run(o, "INCR a", ":2\r\n", 1100);
    run(o, "INCR a", ":1\r\n", 1101);
    assert_eq!(o.dump().0[b"0/a".as_slice()].expires_at_ms, None);
    run(o, "EXPIRE a 10", ":1\r\n", 2000);
    assert_eq!(o.dump().0[b"0/a".as_slice()].expires_at_ms, Some(12_000));
    run(o, "PEXPIREAT a 13000 GT", ":1\r\n", 2000);
    run(o, "PEXPIREAT a 12000 GT", ":0\r\n", 2000);
    run(o, "SET a 5 KEEPTTL", "+OK\r\n", 2000);
    assert_eq!(o.dump().0[b"0/a".as_slice()].expires_at_ms, Some(13_000));
    run(o, "PERSIST a", ":1\r\n", 2000);
    run(o, "PERSIST a", ":0\r\n", 2000);
    run(o, "EXPIREAT a 1", ":1\r\n", 2000);
    run(o, "GET a", "$-1\r\n", 2000);
}

#[test]
fn transactions_replies_and_parts() {
    let o = &mut RespOracle::new();
    let words = |t: &str| t.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
    let tx = RespOp::transaction(vec![words("RPUSH l a b"), words("INCR l"), words("INCR c")]);
    let reply = b"*3\r\n:2\r\n-WRONGTYPE Operation\r\n:1\r\n";
    assert!(o.expects(&tx.encode(), reply, 0));
    assert!(!o.expects(&tx.encode(), b"*3\r\n:2\r\n:7\r\n:1\r\n", 0));
    o.apply(&tx.encode(), Some(b"*-1\r\n"), 0);
    assert_eq!(o.dump(), Dump::default());
    o.apply(&tx.encode(), Some(reply), 0);
    assert_eq!(o.dump().0.len(), 2);
    let parts = o.parts(&tx.encode());
    assert!(parts.contains(&RespOp::command(&["RPUSH", "l", "a", "b"]).encode()));
    assert!(o.parts(&line("RPUSH l a b c")).contains(&line("RPUSH l a b")));
    assert!(o.parts(&line("MSET a 1 b 2")).contains(&line("MSET a 1")));
    assert!(o.parts(&line("SET a 1")).is_empty());
    assert!(o.expects(&line("SET a 1"), b"-MISCONF Errors writing to the AOF file\r\n", 0));
}

#[test]
fn meanings_follow_the_contract() {
    let o = &mut RespOracle::new();
    let m =
        |o: &RespOracle, c: &str, r: &str, k: &Contract| o.meaning_under(&line(c), Some(r.as_bytes()), k, 0);
    let info = "rdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok\r\naof_rewrite_in_progress:0\r\n\
                aof_rewrite_scheduled:0\r\naof_last_bgrewrite_status:ok\r\n";
    let info = format!("${}\r\n{info}\r\n", info.len());
    assert_eq!(m(o, "SET a 1", "+OK\r\n", &Contract::Always), Meaning::Write);
    assert_eq!(m(o, "GET a", "$-1\r\n", &Contract::Always), Meaning::Read);
    assert_eq!(m(o, "SAVE", "+OK\r\n", &Contract::Snapshot), Meaning::Barrier);
    assert_eq!(m(o, "SAVE", "+OK\r\n", &Contract::No), Meaning::Read);
    // A snapshot may be the server's own decision; of a rewrite that nobody asked for nothing is promised.
    assert_eq!(m(o, "INFO persistence", &info, &Contract::Snapshot), Meaning::SaveSeen);
    assert_eq!(m(o, "INFO persistence", &info, &Contract::No), Meaning::Read);
    assert_eq!(m(o, "BGSAVE", "+Background saving started\r\n", &Contract::Snapshot), Meaning::Background);
    o.apply(&line("BGSAVE"), Some(b"+Background saving started\r\n"), 5500);
    assert_eq!(m(o, "INFO persistence", &info, &Contract::Snapshot), Meaning::SaveSeen);
    assert_eq!(m(o, "LASTSAVE", ":5\r\n", &Contract::Snapshot), Meaning::Read);
    assert_eq!(m(o, "LASTSAVE", ":6\r\n", &Contract::Snapshot), Meaning::SaveSeen);
    let busy = info.replace("in_progress:0", "in_progress:1");
    assert_eq!(m(o, "INFO persistence", &busy, &Contract::Snapshot), Meaning::Read);
    assert_eq!(m(o, "WAITAOF 1 0 0", "*2\r\n:1\r\n:0\r\n", &Contract::No), Meaning::Barrier);
    assert_eq!(m(o, "WAITAOF 1 0 0", "*2\r\n:0\r\n:0\r\n", &Contract::No), Meaning::Read);
}

#[test]
fn unknown_commands_are_told_before_anything_runs() {
    let step = |client, text: &str| Step::Invoke { client, op: line(text) };
    let workload = |steps| Workload { steps, seed: 0 };
    assert_eq!(RespOracle::validate(&workload(vec![step(0, "SET a 1"), step(0, "SELECT 1")])), Ok(()));
    assert_eq!(
        RespOracle::validate(&workload(vec![step(0, "SET a 1"), step(0, "xadd a 1")])),
        Err(UnknownCommand::Command { step: 1, name: "XADD".to_string() })
    );
    assert_eq!(
        RespOracle::validate(&workload(vec![step(0, "SELECT 1"), step(1, "SET a 1")])),
        Err(UnknownCommand::SelectWithSeveralClients { step: 0 })
    );
}

#[test]
fn sets_hashes_and_sorted_sets() {
    let o = &mut RespOracle::new();
    for (command, reply) in [
        ("SADD t a b c", ":3\r\n"),
        ("SMOVE t u b", ":1\r\n"),
        ("SMEMBERS t", "*2\r\n$1\r\nc\r\n$1\r\na\r\n"),
        ("SPOP t", "$1\r\nc\r\n"),
        ("SUNIONSTORE u t u", ":2\r\n"),
        ("EXPIRE u 100", ":1\r\n"),
        ("SREM u a b", ":2\r\n"),
        ("HSET h f 1 g 2", ":2\r\n"),
        ("HGETALL h", "*4\r\n$1\r\ng\r\n$1\r\n2\r\n$1\r\nf\r\n$1\r\n1\r\n"),
        ("HINCRBYFLOAT h f 0.25", "$4\r\n1.25\r\n"),
        ("HDEL h f g", ":2\r\n"),
        ("ZADD z 1 a 2 b", ":2\r\n"),
        ("ZINCRBY z 0.1 a", "$18\r\n1.1000000000000001\r\n"),
        ("ZADD z GT CH 1 b 3 a", ":1\r\n"),
        ("ZPOPMAX z", "*2\r\n$1\r\na\r\n$1\r\n3\r\n"),
        ("ZADD z NX XX 1 b", "-ERR XX and NX options at the same time are not compatible\r\n"),
        ("HSET z f 1", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    ] {
        run(o, command, reply, 0);
    }
    let keys: Vec<Vec<u8>> = o.dump().0.into_keys().collect();
    assert_eq!(
        keys,
        [b"0/t".to_vec(), b"0/z".to_vec()],
        "collections without members vanish, with their expiry"
    );
    assert!(!o.expects(&line("SPOP t"), b"$1\r\nx\r\n", 0), "no member");
    assert!(!o.expects(&line("SPOP t 2"), b"*2\r\n$1\r\na\r\n$1\r\na\r\n", 0), "one member twice");
}

#[test]
fn what_an_unanswered_draw_may_have_taken() {
    let o = &mut RespOracle::new();
    run(o, "SADD t a b c", ":3\r\n", 0);
    assert_eq!(o.outcomes(&line("SPOP t 3"), 0), Outcomes::One);
    assert_eq!(o.outcomes(&line("SADD t d"), 0), Outcomes::One);
    let Outcomes::Several(ways) = o.outcomes(&line("SPOP t 2"), 0) else { panic!("no choice") };
    let left = |op: &[u8], way: &Vec<u8>| {
        let mut o = o.clone();
        o.apply(op, Some(way), 0);
        o.dump().0.get(b"0/t".as_slice()).map(|e| String::from_utf8_lossy(&e.value).into_owned())
    };
    let after: Vec<Option<String>> = ways.iter().map(|way| left(&line("SPOP t 2"), way)).collect();
    assert_eq!(after, ["set 1:c,", "set 1:b,", "set 1:a,"].map(|s| Some(s.to_owned())));
    let words = |t: &str| t.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
    let twice = RespOp::transaction(vec![words("SPOP t"), words("INCR n"), words("SPOP t")]).encode();
    let Outcomes::Several(ways) = o.outcomes(&twice, 0) else { panic!("no choice") };
    assert_eq!((ways.len(), left(&twice, &ways[5])), (6, Some("set 1:a,".to_owned())));
    let many = (0..40).map(|i| format!(" m{i}")).collect::<String>();
    run(o, &format!("SADD many{many}"), ":40\r\n", 0);
    assert_eq!(o.outcomes(&line("SPOP many 20"), 0), Outcomes::TooMany);
}

#[test]
fn halves_of_operations() {
    let o = RespOracle::new();
    let has = |whole: &str, part: &str| o.parts(&line(whole)).contains(&line(part));
    assert!(has("SMOVE a b m", "SREM a m") && has("SMOVE a b m", "SADD b m"));
    assert!(has("HSET h a 1 b 2", "HSET h a 1") && has("ZADD z NX CH 1 a 2 b", "ZADD z NX CH 1 a"));
    assert!(has("LMOVE a b LEFT RIGHT", "LPOP a") && has("RENAME a b", "COPY a b REPLACE"));
    assert!(has("ZPOPMIN z 3", "ZPOPMIN z 2") && has("SUNIONSTORE a b c", "DEL a"));
    let long = format!("SADD t{}", " m".repeat(600));
    let parts = o.parts(&line(&long));
    assert!(parts.len() < 40 && parts.contains(&line(&long[..long.len() - 2])), "{}", parts.len());
}
