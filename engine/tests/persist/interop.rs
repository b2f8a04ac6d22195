//! Real Redis loads what the engine writes, and the reverse.

use crate::support::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use unplug_engine::config::{AofLayout, AppendFsync, Config};
use unplug_engine::keyspace::{Keyspace, Value};

const SERVER: &str = "/usr/bin/redis-server";

/// False, loudly, where there is no server to compare with.
pub(crate) fn have_redis() -> bool {
    let there = Path::new(SERVER).exists();
    if !there {
        assert!(std::env::var_os("UNPLUG_REQUIRE_REDIS").is_none_or(|v| v != "1"), "{SERVER} is missing");
        eprintln!("not measured: {SERVER} is missing, nothing was compared with real Redis");
    }
    there
}

pub(crate) struct Redis {
    child: Child,
    stream: BufReader<UnixStream>,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    pub(crate) fn start(dir: &Path, options: &[&str]) -> Redis {
        let socket = dir.join("redis.sock");
        let log = dir.join("redis.log");
        let _ = std::fs::remove_file(&socket);
        let child = Command::new(SERVER)
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(dir)
            .arg("--logfile")
            .arg(&log)
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut child = Some(child);
        for _ in 0..1000 {
            if let Ok(stream) = UnixStream::connect(&socket) {
                let mut redis = Redis { child: child.take().unwrap(), stream: BufReader::new(stream) };
                while redis.run(&["PING"]) != "+PONG" {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                return redis;
            }
            if child.as_mut().unwrap().try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        if let Some(mut child) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("redis-server does not start:\n{}", std::fs::read_to_string(log).unwrap_or_default());
    }

    fn run(&mut self, words: &[&str]) -> String {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let line = line.trim_end().to_owned();
        match line.as_bytes()[0] {
            b'$' if line != "$-1" => {
                let mut body = vec![0; line[1..].parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut body).unwrap();
                body.truncate(body.len() - 2);
                String::from_utf8_lossy(&body).into_owned()
            }
            b'*' => (0..line[1..].parse().unwrap()).map(|_| self.reply()).collect::<Vec<_>>().join(","),
            _ => line,
        }
    }

    pub(crate) fn text(&mut self, command: &str) -> String {
        self.run(&command.split(' ').collect::<Vec<_>>())
    }

    pub(crate) fn wait_until(&mut self, section: &str, line: &str) {
        for _ in 0..500 {
            if self.run(&["INFO", section]).contains(line) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("no {line}");
    }

    /// Holds exactly `ks`.
    fn check(&mut self, ks: &Keyspace) {
        for (n, db) in ks.dbs.iter().enumerate() {
            self.run(&["SELECT", &n.to_string()]);
            assert_eq!(self.text("DBSIZE"), format!(":{}", db.len()), "database {n}");
            for (key, entry) in db.iter() {
                let key = std::str::from_utf8(key).unwrap();
                match &entry.value {
                    Value::Str(value) => {
                        assert_eq!(self.run(&["GET", key]), String::from_utf8_lossy(value));
                    }
                    Value::List(list) => {
                        let want: Vec<_> = list.iter().map(|i| String::from_utf8_lossy(i)).collect();
                        assert_eq!(self.run(&["LRANGE", key, "0", "-1"]), want.join(","));
                    }
                    other => panic!("not in these workloads: {other:?}"),
                }
                let want = entry.expires_at_ms().map_or(":-1".to_owned(), |at| format!(":{at}"));
                assert_eq!(self.run(&["PEXPIRETIME", key]), want);
            }
        }
    }
}

pub(crate) const AOF: [&str; 2] = ["--appendonly", "yes"];

pub(crate) fn check_tool(tool: &str, file: &Path) {
    let out = Command::new(tool).arg(file).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && !text.contains("not valid"), "{tool} {}: {text}", file.display());
}

#[test]
fn redis_loads_and_checks_what_the_engine_writes() {
    if !have_redis() {
        return;
    }
    for (checksum, rdb) in [(true, true), (true, false), (false, true), (false, false)] {
        let dir = tempdir();
        let config = Config {
            aof_checksum: checksum,
            aof_use_rdb_preamble: rdb,
            ..config(dir.path(), AppendFsync::Always)
        };
        let mut store = Store::open(&config);
        fill(&mut store);
        store.turn(&format!("RPUSH long {}", vec!["element"; 200].join(" ")));
        check_tool("/usr/bin/redis-check-aof", &manifest(dir.path()));
        Redis::start(dir.path(), &AOF).check(&store.ks);
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.turn("INCR during");
        Redis::start(dir.path(), &AOF).check(&store.ks);
        store.settle();
        store.turn("INCR after");
        check_tool("/usr/bin/redis-check-aof", &manifest(dir.path()));
        Redis::start(dir.path(), &AOF).check(&store.ks);
        store.p.save(&store.ks, NOW).unwrap();
        check_tool("/usr/bin/redis-check-rdb", &dir.path().join("dump.rdb"));
        Redis::start(dir.path(), &[]).check(&store.ks);
    }
}

/// Strings and lists in every encoding that Redis 7.0 has for them.
fn fill_redis(redis: &mut Redis) {
    for n in ["0", "-1", "127", "-129", "32768", "2147483647", "-2147483649", "9223372036854775807"] {
        redis.run(&["SET", &format!("int:{n}"), n]);
        redis.run(&["RPUSH", "ints", n]);
    }
    for n in [12, 13, -4096, 4095, 8_388_607, -8_388_608] {
        redis.run(&["RPUSH", "ints", &n.to_string()]);
    }
    redis.run(&["SET", "packed", &"abcabcabd".repeat(300)]);
    redis.run(&["SET", "run", &"z".repeat(5000)]);
    for len in [0, 1, 62, 63, 64, 127, 128, 4094, 4095, 4096, 9000, 20000] {
        let item: String = (0..len).map(|i| char::from(b'!' + (i * i % 89) as u8)).collect();
        redis.run(&["RPUSH", "lengths", &item]);
        redis.run(&["SET", &format!("len:{len}"), &item]);
    }
    for n in 0..700 {
        redis.run(&["RPUSH", "many", &format!("item-{n}")]);
    }
    redis.text("SELECT 5");
    redis.text("SET later x PXAT 4102444800000");
}

/// A function library of Redis is refused where it stands, in each kind of file: the next rewrite would lose it.
#[test]
fn a_function_library_is_refused() {
    if !have_redis() {
        return;
    }
    let dir = tempdir();
    let on = config(dir.path(), AppendFsync::Always);
    let off = Config { appendonly: false, ..on.clone() };
    let mut redis = Redis::start(dir.path(), &AOF);
    redis.text("SET k v");
    let library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    assert_eq!(redis.run(&["FUNCTION", "LOAD", library]), "lib");
    redis.text("SET k w");
    assert_eq!(redis.text("SAVE"), "+OK");
    let said = |config: &Config, file: &str, what: &str| {
        let names = tree(dir.path());
        let error = Store::try_open(config).err().unwrap().to_string();
        assert!(error.contains(file) && error.contains("at offset") && error.contains(what), "{error}");
        assert_eq!(tree(dir.path()), names);
    };
    said(&off, "dump.rdb", "a function library stands there");
    said(&on, "appendonly.aof.1.incr.aof", "unknown command 'FUNCTION'");
    assert!(redis.text("BGREWRITEAOF").starts_with('+'));
    redis.wait_until("persistence", "aof_rewrite_in_progress:0");
    said(&on, "appendonly.aof.2.base.rdb", "a function library stands there");
    assert_eq!(redis.text("FUNCTION FLUSH"), "+OK");
    assert_eq!(redis.text("SAVE"), "+OK");
    drop(redis);
    assert_eq!(Store::open(&off).ks.dbs[0].len(), 1);
}

#[test]
fn the_engine_loads_what_redis_writes() {
    if !have_redis() {
        return;
    }
    for options in [&["--rdbcompression", "yes"], &["--rdbcompression", "no"]] {
        let dir = tempdir();
        let on = config(dir.path(), AppendFsync::Always);
        let off = Config { appendonly: false, ..on.clone() };
        let mut redis = Redis::start(dir.path(), &[&AOF[..], &options[..]].concat());
        fill_redis(&mut redis);
        assert_eq!(redis.text("SAVE"), "+OK");
        let snapshot = Store::open(&off).ks;
        redis.check(&snapshot);
        assert!(redis.text("BGREWRITEAOF").starts_with('+'));
        redis.wait_until("persistence", "aof_rewrite_in_progress:0");
        redis.text("SELECT 0");
        redis.text("MULTI");
        redis.text("INCR counter");
        redis.text("APPEND run !");
        redis.text("EXEC");
        let mut before = snapshot;
        for command in ["INCR counter", "APPEND run !"] {
            let argv: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            unplug_engine::command::replay(&mut before, &mut 0, &argv, NOW).unwrap();
        }
        redis.check(&before);
        drop(redis);
        let mut store = Store::open(&on);
        assert_eq!(store.ks, before);
        assert_eq!(store.report.warnings.len(), 1, "foreign manifest: {:?}", store.report.warnings);
        store.turn("INCR counter");
        let again = Store::open(&on);
        assert_eq!(again.ks, store.ks);
        assert!(again.report.warnings.is_empty(), "{:?}", again.report.warnings);
        // And back: Redis appends to what the engine took over.
        let mut redis = Redis::start(dir.path(), &AOF);
        redis.check(&store.ks);
        redis.text("SELECT 0");
        redis.text("INCR counter");
        drop(redis);
        // What has no checksum cannot be told from a torn tail. It is kept aside, and the report says so.
        let cut = Store::open(&on);
        assert!(cut.ks == store.ks, "the tail without checksums is cut");
        let kept = cut.report.cuts[0].kept.clone().unwrap();
        assert!(std::fs::read(kept).unwrap().ends_with(b"$4\r\nINCR\r\n$7\r\ncounter\r\n"));
    }
}

#[test]
fn redis_takes_over_single_files_and_the_engine_takes_them_back() {
    if !have_redis() {
        return;
    }
    for kind in 0..4 {
        let dir = tempdir();
        let config = kinds(&single(dir.path(), AppendFsync::Always))[kind].clone();
        let mut store = Store::open(&config);
        fill(&mut store);
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.turn("INCR during");
        store.settle();
        store.turn("INCR after");
        check_tool("/usr/bin/redis-check-aof", &one(dir.path()));
        let at = image(&config);
        Redis::start(at.dir.path(), &AOF).check(&store.ks);
        assert!(manifest(at.dir.path()).exists() && !one(at.dir.path()).exists(), "Redis has upgraded it");
        // A clean stop seals it, and Redis does not mind.
        store.p.shutdown(&store.ks, None, NOW).unwrap();
        let at = image(&config);
        let mut redis = Redis::start(at.dir.path(), &AOF);
        redis.check(&store.ks);
        redis.text("SELECT 0");
        redis.text("INCR n");
        drop(redis);
        store.run(0, "INCR n");
        for layout in [AofLayout::Single, AofLayout::Multi] {
            let mut back = image(&at.config);
            back.config.aof_layout = layout;
            back.holds(&store.ks, "Redis's directory");
        }
        // The engine's own upgrade, then Redis.
        let mut multi = image(&config);
        multi.config.aof_layout = AofLayout::Multi;
        let mut upgraded = Store::open(&multi.config);
        upgraded.turn("INCR n");
        check_tool("/usr/bin/redis-check-aof", &manifest(multi.dir.path()));
        Redis::start(multi.dir.path(), &AOF).check(&upgraded.ks);
    }
}
