//! What random commands reach seldom or not at all: every form of every type, its digest, and every way back.

use crate::digest;
use crate::server_support::{Client, Running};
use std::path::Path;
use std::time::{Duration, Instant};
use unplug_engine::resp::Reply;

/// How long anything may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

const SCORES: [&str; 12] = [
    "0",
    "-0",
    "3",
    "0.1",
    "-inf",
    "inf",
    "1e300",
    "1e17",
    "-2.5e-9",
    "123456789012345678",
    "5e-324",
    "4503599627370497",
];

fn many(prefix: &[&str], n: usize, item: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = prefix.iter().map(|w| w.as_bytes().to_vec()).collect();
    for i in 0..n {
        words.extend(item(i).split(' ').map(|w| w.as_bytes().to_vec()));
    }
    words
}

/// Commands that make every type in each of its forms, at and beyond each border.
fn every_form() -> Vec<Vec<Vec<u8>>> {
    let mut all = vec![
        many(&["SET", "int", "12345"], 0, |_| String::new()),
        many(&["SET", "embstr", &"x".repeat(44)], 0, |_| String::new()),
        many(&["SET", "raw", &"x".repeat(45), "PXAT", "99999999999999"], 0, |_| String::new()),
        vec![b"SET".to_vec(), b"binary\0key\xff\r\n".to_vec(), (0..=255).collect()],
        vec![b"SADD".to_vec(), b"binary set".to_vec(), vec![0, 255], b"".to_vec(), b"a b\r\n".to_vec()],
        vec![b"HSET".to_vec(), b"binary hash".to_vec(), vec![0], vec![255; 70], b"".to_vec(), b"".to_vec()],
        vec![
            b"ZADD".to_vec(),
            b"binary zset".to_vec(),
            b"1".to_vec(),
            vec![0, 255],
            b"1".to_vec(),
            b"".to_vec(),
        ],
        many(&["RPUSH", "short list"], 3, |i| format!("{i}")),
        many(&["RPUSH", "long list"], 1000, |i| format!("item-{i}")),
        many(&["EXPIREAT", "long list", "99999999999"], 0, |_| String::new()),
        many(&["SELECT", "9"], 0, |_| String::new()),
        many(&["ZADD", "small scores"], SCORES.len(), |i| format!("{} m{i}", SCORES[i])),
        // As in Redis, a sorted set that is loaded is small at first, and then -0 becomes 0: none here.
        many(&["ZADD", "large scores", "1", &"l".repeat(65)], SCORES.len() - 2, |i| {
            format!("{} m{i}", SCORES[i + 2])
        }),
    ];
    for (n, name) in [(512, "set-512"), (513, "set-513"), (128, "set-128")] {
        all.push(many(&["SADD", name], n, |i| format!("{}", i as i64 * 1_000_003 - 7)));
    }
    all.push(many(&["SADD", "strings"], 200, |i| format!("member-{i}")));
    all.push(many(&["SADD", "mixed"], 200, |i| if i == 199 { "x".into() } else { format!("{i}") }));
    for n in [512, 513, 600] {
        all.push(many(&["HSET", &format!("hash-{n}")], n, |i| format!("field-{i} {i}")));
    }
    for n in [64, 65] {
        all.push(many(&["HSET", &format!("hash-value-{n}"), "f", &"v".repeat(n)], 0, |_| String::new()));
        all.push(many(&["ZADD", &format!("zset-member-{n}"), "1", &"m".repeat(n)], 0, |_| String::new()));
    }
    for n in [128, 129, 3000] {
        all.push(many(&["ZADD", &format!("zset-{n}")], n, |i| {
            format!("{} m{i}", (i * 7919 % 1000) as f64 / 8.0)
        }));
    }
    all.push(many(&["PEXPIREAT", "zset-3000", "99999999999999"], 0, |_| String::new()));
    // What has been large stays so.
    all.push(many(&["ZREMRANGEBYRANK", "zset-129", "3", "-1"], 0, |_| String::new()));
    all.push(many(&["HDEL", "hash-513"], 512, |i| format!("field-{i}")));
    all.push(many(&["SREM", "set-513"], 512, |i| format!("{}", i as i64 * 1_000_003 - 7)));
    all
}

fn call(client: &mut Client, command: &[Vec<u8>]) -> Reply {
    client.send(&command.iter().map(Vec::as_slice).collect::<Vec<_>>());
    client.receive()
}

fn fill(client: &mut Client) {
    for command in every_form() {
        let reply = call(client, &command);
        assert!(!reply.is_error(), "{reply:?} to {:?}", &command[..2]);
    }
}

/// Every key's digest and encoding, in every database.
fn described(client: &mut Client) -> Vec<(Vec<u8>, Reply, Reply)> {
    let mut all = Vec::new();
    for db in 0..16 {
        client.call(&format!("SELECT {db}"));
        let Reply::Array(keys) = client.call("KEYS *") else { panic!("no keys") };
        for key in keys {
            let Reply::Bulk(key) = key else { panic!("no key") };
            client.send(&[b"DEBUG", b"DIGEST-VALUE", &key]);
            let digest = client.receive();
            client.send(&[b"OBJECT", b"ENCODING", &key]);
            all.push((key, digest, client.receive()));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(all.len() > 20);
    all
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a new redis-server makes of the append-only files in a directory.
pub(crate) fn read_by_redis(dir: &Path) -> Option<Reply> {
    let copy = tempfile::tempdir().unwrap();
    let files = copy.path().join("appendonlydir");
    std::fs::create_dir(&files).unwrap();
    for entry in std::fs::read_dir(dir.join("appendonlydir")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), files.join(entry.file_name())).unwrap();
    }
    let reader = Running::redis(copy.path(), &["--appendonly", "yes"])?;
    until("Redis's load", || !reader.connect().call("PING").is_error());
    Some(digest(&reader))
}

#[test]
fn every_form_has_redis_digest_and_encoding_and_is_rebuilt_from_rewritten_commands() {
    let their_dir = tempfile::tempdir().unwrap();
    let Some(redis_server) = Running::redis(their_dir.path(), &[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    // Redis reads checksum annotations as comments, but not the header of a file that is not its own.
    let options =
        ["--save", "", "--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--aof-checksum", "no"];
    let engine = Running::engine(dir.path(), &options);
    let (mut ours, mut theirs) = (engine.connect(), redis_server.connect());
    fill(&mut ours);
    fill(&mut theirs);
    assert_eq!(described(&mut ours), described(&mut theirs));
    let before = digest(&engine);
    assert_eq!(before, digest(&redis_server));
    for (key, value, _) in described(&mut ours) {
        assert!(matches!(value, Reply::Array(v) if v != [Reply::Simple("0".repeat(40))]), "{key:?}");
    }

    assert!(!ours.call("BGREWRITEAOF").is_error());
    until("the rewrite's end", || {
        let Reply::Bulk(info) = ours.call("INFO persistence") else { panic!("no INFO") };
        let info = String::from_utf8(info).unwrap();
        assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
        info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")
    });
    drop(engine);
    let engine = Running::engine(dir.path(), &options);
    assert_eq!(digest(&engine), before, "the engine loads what it has rewritten");
    // A load decides anew how a value is stored, in Redis too.
    assert_eq!(theirs.call("DEBUG RELOAD"), Reply::Simple("OK".into()));
    assert_eq!(described(&mut engine.connect()), described(&mut theirs));
    for line in ["DEBUG RELOAD", "DEBUG LOADAOF", "DEBUG RELOAD NOSAVE"] {
        assert_eq!(engine.connect().call(line), Reply::Simple("OK".into()), "{line}");
        assert_eq!(described(&mut engine.connect()), described(&mut theirs), "{line}");
        assert_eq!(digest(&engine), before, "{line}");
    }
    drop(engine);
    assert_eq!(read_by_redis(dir.path()), Some(before), "Redis loads what the engine has rewritten");
}

#[test]
fn populated_data_are_those_of_redis_and_are_logged() {
    let their_dir = tempfile::tempdir().unwrap();
    let Some(redis_server) = Running::redis(their_dir.path(), &[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let engine = Running::engine(dir.path(), &["--save", "", "--appendonly", "yes"]);
    for server in [&engine, &redis_server] {
        let mut client = server.connect();
        for line in [
            "SET p:1 stays",
            "DEBUG POPULATE 5",
            "DEBUG POPULATE 3 p 4",
            "DEBUG POPULATE 3 q 40",
            "DEBUG POPULATE 0 r",
        ] {
            assert_eq!(client.call(line), Reply::Simple("OK".into()), "{line}");
        }
        for line in
            ["DEBUG POPULATE -1", "DEBUG POPULATE x", "DEBUG POPULATE", "DEBUG NOSUCH", "DEBUG DIGEST x"]
        {
            assert!(client.call(line).is_error(), "{line}");
        }
    }
    let before = digest(&engine);
    assert_eq!(before, digest(&redis_server));
    for line in ["DEBUG LOADAOF", "DEBUG RELOAD"] {
        assert_eq!(engine.connect().call(line), Reply::Simple("OK".into()));
        assert_eq!(digest(&engine), before, "{line}");
    }
}

#[test]
fn what_has_expired_is_not_there_for_what_comes_after_nor_after_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let engine =
        Running::engine(dir.path(), &["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = engine.connect();
    for (make, again) in [
        ("SADD k old", "SADD k new"),
        ("HSET k old 1", "HINCRBY k new 1"),
        ("ZADD k 1 old", "ZADD k GT 1 new"),
        ("RPUSH k old", "LPUSH k new"),
        ("SET k old", "APPEND k new"),
        ("SADD k 1 2 3", "SUNIONSTORE k k other"),
    ] {
        client.call("SADD other x");
        for line in [make, "PEXPIRE k 1"] {
            assert!(!client.call(line).is_error(), "{line}");
        }
        // Not looked at meanwhile: it is `again` that finds it expired, or the timer.
        std::thread::sleep(Duration::from_millis(5));
        assert!(!client.call(again).is_error(), "{again}");
        let before = digest(&engine);
        let Reply::Array(members) = client.call("DEBUG DIGEST-VALUE k") else { panic!("no digest") };
        assert_eq!(client.call("TTL k"), Reply::Int(-1), "{again}");
        assert_eq!(client.call("DEBUG LOADAOF"), Reply::Simple("OK".into()));
        assert_eq!(client.call("DEBUG DIGEST-VALUE k"), Reply::Array(members), "{again}");
        assert_eq!(digest(&engine), before, "{again}");
        client.call("FLUSHALL");
    }
}

#[test]
fn what_was_drawn_at_random_is_drawn_again_by_the_same_commands() {
    let run = || {
        let dir = tempfile::tempdir().unwrap();
        let engine = Running::engine(dir.path(), &["--save", ""]);
        let mut client = engine.connect();
        call(&mut client, &many(&["SADD", "s"], 300, |i| format!("m{i}")));
        ["SPOP s", "SPOP s 20", "SRANDMEMBER s 5", "SRANDMEMBER s -5", "RANDOMKEY"]
            .map(|line| client.call(line))
    };
    assert_eq!(run(), run());
}

/// Errors have Redis's text, byte for byte.
#[test]
fn what_is_wrong_is_said_in_the_words_of_redis() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(redis) = Running::redis(theirs.path(), &[]) else { return };
    let engine = Running::engine(ours.path(), &["--save", ""]);
    let mut both = [engine.connect(), redis.connect()];
    let lines: [&[&[u8]]; 30] = [
        &[b"CONFIG", b"SET", b"hz", b"10", b"hz", b"11"],
        &[b"CONFIG", b"SET", b"save", b"abc"],
        &[b"CONFIG", b"SET", b"save", b"60 x"],
        &[b"CONFIG", b"SET", b"save", b"0 1"],
        &[b"CLIENT", b"KILL", b"ID", b"0"],
        &[b"CLIENT", b"KILL", b"ID", b"x"],
        &[b"CLIENT", b"KILL", b"TYPE", b"f\xffoo"],
        &[b"CLIENT", b"KILL", b"USER", b"f\xffoo"],
        &[b"CLIENT", b"f\xff\xfeoo"],
        &[b"SCAN", b"-1"],
        &[b"SCAN", b"+0"],
        &[b"SCAN", b"00"],
        &[b"SCAN", b""],
        &[b"SCAN", b" 1"],
        &[b"SCAN", b"1 "],
        &[b"SCAN", b"--1"],
        &[b"SCAN", b"-"],
        &[b"SCAN", b"18446744073709551616"],
        &[b"DEBUG", b"RELOAD", b"foo"],
        &[b"G\xff\xfeT", b"a\xff", b"b\0c", b"d"],
        &[b"\0GET", b"x"],
        &[b"HELLO", b"3", b"f\xffoo"],
        &[b"EXPIRE", b"k", b"1", b"f\xffoo"],
        &[b"EXEC", b"x"],
        &[b"MULTI"],
        &[b"PING"],
        &[b"EXEC", b"x"],
        &[b"EXEC"],
        &[b"MULTI"],
        &[b"DISCARD", b"x"],
    ];
    for line in lines {
        let [left, right] = both.each_mut().map(|client| {
            client.send(line);
            client.receive()
        });
        assert_eq!(left, right, "left ours, right Redis's: {:?}", line.concat().escape_ascii().to_string());
    }
    let [left, right] = both.each_mut().map(|client| client.call("EXEC"));
    assert_eq!(left, right);
}

/// Ways to make a string, in which each line is one of its own.
const MADE: &[&str] = &[
    "SET k 12",
    "SET k abc",
    "SET k 9223372036854775808",
    "SETRANGE k 0 12",
    "SETRANGE k 3 x",
    "SETBIT k 3 1",
    "BITFIELD k SET u8 0 49",
    "BITFIELD k OVERFLOW FAIL SET u8 0 300",
    "BITFIELD k GET u8 0",
    "BITOP OR k twelve",
    "BITOP NOT k long",
    "APPEND k 12",
    "APPEND k ",
    "INCR k",
    "INCRBYFLOAT k 3",
    "INCRBYFLOAT k 0.5",
    "INCRBYFLOAT k 100000000000000000000",
    "GETSET k 7",
    "MSET k 8",
    "SETEX k 100 9",
];

#[test]
fn a_string_has_the_form_that_redis_gives_it_however_it_came_about() {
    let (dir, their_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(redis_server) = Running::redis(their_dir.path(), &[]) else { return };
    let engine = Running::engine(dir.path(), &["--save", ""]);
    let (mut ours, mut theirs) = (engine.connect(), redis_server.connect());
    let mut seen = std::collections::BTreeMap::new();
    for first in MADE {
        for second in MADE {
            let mut same = |line: &str| {
                let (ours, theirs) = (ours.call(line), theirs.call(line));
                assert_eq!(ours, theirs, "left ours, right Redis's: {line} (of {first}, {second})");
                ours
            };
            for line in
                ["FLUSHALL", "SET twelve 12", "SET long 0123456789012345678901234567890123456789", first]
            {
                same(line);
            }
            let mut form = |line: &str, key: &str| {
                same(line);
                if let Reply::Bulk(form) = same(&format!("OBJECT ENCODING {key}")) {
                    *seen.entry(String::from_utf8(form).unwrap()).or_insert(0) += 1;
                }
            };
            for line in ["PING", second, "PEXPIRE k 100000", "PERSIST k", "INCRBY k 0"] {
                form(line, "k");
            }
            form(second, "k");
            form("COPY k copy", "copy");
            form("RENAME copy other", "other");
            form("COPY other k REPLACE", "k");
            if first == second {
                form("DEBUG RELOAD", "other");
            }
        }
    }
    assert!(
        ["int", "embstr", "raw"].iter().all(|form| seen.get(*form).is_some_and(|n| *n > 100)),
        "{seen:?}"
    );
}

#[test]
fn expired_keys_wait_for_whoever_looks_where_that_is_wanted() {
    let (dir, their_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(redis_server) = Running::redis(their_dir.path(), &[]) else { return };
    let engine = Running::engine(dir.path(), &["--save", ""]);
    for server in [&engine, &redis_server] {
        let mut client = server.connect();
        for line in ["DEBUG SET-ACTIVE-EXPIRE 0", "SET k v PX 1", "SET other v"] {
            assert_eq!(client.call(line), Reply::Simple("OK".into()), "{line}");
        }
        // Several turns of either timer.
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(client.call("DBSIZE"), Reply::Int(2));
        assert_eq!(client.call("GET k"), Reply::Null);
        assert_eq!(client.call("DBSIZE"), Reply::Int(1));
        client.call("SET k v PX 1");
        assert_eq!(client.call("DEBUG SET-ACTIVE-EXPIRE 1"), Reply::Simple("OK".into()));
        until("the timer's deletion", || client.call("DBSIZE") == Reply::Int(1));
        for line in ["DEBUG SET-ACTIVE-EXPIRE", "DEBUG SET-ACTIVE-EXPIRE 1 2"] {
            assert!(client.call(line).is_error(), "{line}");
        }
    }
}
