//! Real Redis and the engine read each other's snapshots. What is compared is Redis's own DEBUG DIGEST: of the data
//! before, and of what comes back when the engine has read them and written them anew.

use crate::fixtures;
use crate::server_support::{Client, Running};
use std::path::Path;
use std::process::Command;
use unplug_engine::rdb::{self, WriteOptions};
use unplug_engine::resp::Reply;

/// A redis-server on `dir`; `None`, loudly, where there is none.
pub(crate) fn redis(dir: &Path, options: &[&str]) -> Option<(Running, Client)> {
    let options = [&["--enable-debug-command", "yes"], options].concat();
    let server = Running::redis(dir, &options)?;
    let mut client = server.connect();
    while client.call("PING") != Reply::Simple("PONG".into()) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Some((server, client))
}

pub(crate) fn digest(client: &mut Client) -> String {
    match client.call("DEBUG DIGEST") {
        Reply::Simple(text) => text,
        other => panic!("{other:?}"),
    }
}

/// The digest that Redis gives of the snapshot `bytes`, if it loads it.
pub(crate) fn digest_of(bytes: &[u8], options: &[&str]) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dump.rdb"), bytes).unwrap();
    accepted(&dir.path().join("dump.rdb"));
    let (_server, mut client) = redis(dir.path(), options)?;
    Some(digest(&mut client))
}

/// redis-check-rdb finds nothing wrong.
pub(crate) fn accepted(file: &Path) {
    if let Ok(out) = Command::new("redis-check-rdb").arg(file).output() {
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.contains("RDB looks OK"), "{text}");
    }
}

/// What the engine makes of a snapshot: read, and written anew.
fn rewritten(bytes: &[u8], compress: bool, checksum: bool) -> Vec<u8> {
    let loaded = rdb::read(bytes, None).unwrap();
    let options =
        WriteOptions { now_ms: 1_700_000_000_000, aof_base: false, first_incr: None, checksum, compress };
    let mut out = Vec::new();
    rdb::write(&mut out, &loaded.keyspace, options, &mut |_, _| ()).unwrap();
    let again = rdb::read(&out, None).unwrap();
    assert!(again.keyspace == loaded.keyspace, "the engine reads what it writes");
    out
}

fn call(client: &mut Client, argv: &[&[u8]]) -> Reply {
    client.send(argv);
    let reply = client.receive();
    assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
    reply
}

/// Commands that are sent many at once.
struct Pipeline<'c> {
    client: &'c mut Client,
    sent: usize,
}

impl Pipeline<'_> {
    fn call(&mut self, argv: &[&[u8]]) {
        self.client.send(argv);
        self.sent += 1;
        if self.sent == 64 {
            self.settle();
        }
    }

    fn settle(&mut self) {
        for _ in 0..std::mem::take(&mut self.sent) {
            let reply = self.client.receive();
            assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
        }
    }
}

/// Keys of every type, small ones and large ones.
fn fill(client: &mut Client, sizes: &[usize]) {
    let elements = fixtures::elements();
    let mut pipe = Pipeline { client, sent: 0 };
    for n in 0..400i64 {
        let n = n * n * n - 3_000_000;
        pipe.call(&[b"SET", format!("int:{n}").as_bytes(), n.to_string().as_bytes()]);
    }
    for (n, element) in elements.iter().enumerate() {
        pipe.call(&[b"SET", format!("str:{n}").as_bytes(), element]);
        pipe.call(&[b"SET", format!("rep:{n}").as_bytes(), &element.repeat(5)]);
    }
    for size in sizes {
        for (n, element) in elements.iter().cycle().take(*size).enumerate() {
            let name = |kind: &str| format!("{kind}:{size}").into_bytes();
            let own = [
                element.as_slice(),
                if n < elements.len() { b"" } else { b"~" },
                &vec![b'.'; n / elements.len()],
            ]
            .concat();
            pipe.call(&[b"RPUSH", &name("list"), element]);
            pipe.call(&[b"SADD", &name("set"), &own]);
            pipe.call(&[b"SADD", &name("numbers"), (n * n * 7).to_string().as_bytes()]);
            pipe.call(&[b"HSET", &name("hash"), &own, element]);
            let score =
                [format!("{}", n as f64 / 3.0 - 5.0), (n * 1000).to_string(), "-inf".into(), "1e-9".into()];
            pipe.call(&[b"ZADD", &name("zset"), score[n % 4].as_bytes(), &own]);
        }
    }
    for db in ["1", "15"] {
        pipe.call(&[b"SELECT", db.as_bytes()]);
        pipe.call(&[b"SET", b"later", b"x", b"PXAT", b"4102444800123"]);
        pipe.call(&[b"RPUSH", b"list", b"in", b"another", b"database"]);
        pipe.call(&[b"PEXPIREAT", b"list", b"4102444800777"]);
    }
    pipe.call(&[b"SELECT", b"0"]);
    pipe.settle();
}

fn encodings(client: &mut Client) -> Vec<String> {
    let Reply::Array(keys) = client.call("KEYS *") else { panic!("KEYS") };
    let mut all: Vec<String> = Vec::new();
    for key in keys {
        let Reply::Bulk(key) = key else { panic!("{key:?}") };
        if let Reply::Bulk(encoding) = call(client, &[b"OBJECT", b"ENCODING", &key]) {
            all.push(String::from_utf8(encoding).unwrap());
        }
    }
    all.sort();
    all.dedup();
    all
}

#[test]
fn what_redis_writes_comes_back_the_same() {
    let small = [
        "list-max-listpack-size 3",
        "hash-max-listpack-entries 2",
        "zset-max-listpack-entries 2",
        "set-max-intset-entries 2",
    ];
    let big = [
        "list-max-listpack-size -5",
        "hash-max-listpack-entries 5000",
        "hash-max-listpack-value 20000",
        "zset-max-listpack-entries 5000",
        "zset-max-listpack-value 20000",
        "set-max-intset-entries 5000",
    ];
    let squeezed = ["list-max-listpack-size 8", "list-compress-depth 1", "rdbcompression yes"];
    let loose = ["rdbcompression no", "maxmemory-policy allkeys-lfu", "maxmemory 2gb"];
    let mut seen = Vec::new();
    for settings in
        [&[][..], &small, &big, &squeezed, &loose, &["maxmemory-policy allkeys-lru", "maxmemory 2gb"]]
    {
        let dir = tempfile::tempdir().unwrap();
        // Whether there is a checksum only a start decides.
        let sums = if settings == loose { "no" } else { "yes" };
        let Some((_server, mut client)) = redis(dir.path(), &["--rdbchecksum", sums]) else { return };
        for setting in settings {
            assert_eq!(
                client.call(&format!("CONFIG SET {setting}")),
                Reply::Simple("OK".into()),
                "{setting}"
            );
        }
        fill(&mut client, &[1, 2, 9, 60, 300]);
        seen.extend(encodings(&mut client));
        let library = b"#!lua name=lib\nredis.register_function('f', function() return 1 end)";
        call(&mut client, &[b"FUNCTION", b"LOAD", library]);
        assert_eq!(client.call("SAVE"), Reply::Simple("OK".into()));
        let error = rdb::read(&std::fs::read(dir.path().join("dump.rdb")).unwrap(), None).unwrap_err();
        assert!(error.what.contains("a function library"), "{error}");
        for line in ["FUNCTION FLUSH", "SAVE"] {
            assert_eq!(client.call(line), Reply::Simple("OK".into()));
        }
        let wanted = digest(&mut client);
        let bytes = std::fs::read(dir.path().join("dump.rdb")).unwrap();
        for (compress, checksum) in [(true, true), (false, false)] {
            let own = rewritten(&bytes, compress, checksum);
            assert_eq!(digest_of(&own, &[]), Some(wanted.clone()), "{settings:?}, compressed: {compress}");
        }
    }
    seen.sort();
    seen.dedup();
    let all = ["embstr", "hashtable", "int", "intset", "listpack", "quicklist", "raw", "skiplist"];
    assert_eq!(seen, all, "every encoding of Redis 7.0 was read");
}

#[test]
fn what_old_versions_wrote_is_read_as_redis_reads_it() {
    // Version 11 and its one new encoding are of Redis 7.2: here only the engine reads them.
    for version in 1..=10 {
        let bytes = fixtures::of_version(version);
        let Some(wanted) = digest_of(&bytes, &[]) else { return };
        for compress in [true, false] {
            assert_eq!(
                digest_of(&rewritten(&bytes, compress, true), &[]),
                Some(wanted.clone()),
                "version {version}"
            );
        }
    }
}

/// What Redis finds broken even though it was told not to look closely, the engine finds broken too.
#[test]
fn damage_that_redis_refuses_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fixtures::of_version(10);
    let mut refused = 0;
    for at in (20..whole.len() - 8).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes[at] = bytes[at].wrapping_add(1);
        // No checksum: damage must be seen where it is.
        let sum = bytes.len() - 8;
        bytes[sum..].fill(0);
        let file = dir.path().join("dump.rdb");
        std::fs::write(&file, &bytes).unwrap();
        let Ok(out) = Command::new("redis-check-rdb").arg(&file).output() else {
            assert_ne!(
                std::env::var("UNPLUG_REQUIRE_REDIS").as_deref(),
                Ok("1"),
                "redis-check-rdb is required"
            );
            eprintln!("NOT MEASURED: redis-check-rdb is not installed, nothing was compared with it");
            return;
        };
        if !out.status.success() {
            assert!(
                rdb::read(&bytes, None).is_err(),
                "offset {at}: {}",
                String::from_utf8_lossy(&out.stdout)
            );
            refused += 1;
        }
    }
    assert!(refused > 5, "{refused}");
}

#[test]
fn a_stream_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_server, mut client)) = redis(dir.path(), &[]) else { return };
    client.call("SET a 1");
    client.call("SELECT 3");
    client.call("XADD events * field value");
    assert_eq!(client.call("SAVE"), Reply::Simple("OK".into()));
    let bytes = std::fs::read(dir.path().join("dump.rdb")).unwrap();
    let error = rdb::read(&bytes, None).unwrap_err();
    assert_eq!(error.what, "streams are not supported (the key 'events' of database 3, a stream)");
    let at = usize::try_from(error.offset).unwrap();
    assert!(bytes[..at].ends_with(b"events"), "the offset is where its value begins");
}
