//! Other numbers of databases than 16: beside redis-server, and in files that come from elsewhere.

// A failure in a helper is the test's.
#![allow(clippy::unwrap_used)]

mod server_support;

use server_support::{Client, Running};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use unplug_engine::resp::Reply;

const SAVED: [&str; 2] = ["--save", "3600 1000000"];
// Everysec may keep what it has answered in memory for a moment, and here servers are killed.
const LOGGED: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];

fn options<'a>(number: &'a str, others: &[&'a str]) -> Vec<&'a str> {
    [&["--databases", number], others].concat()
}

#[test]
fn each_number_has_the_borders_that_redis_has() {
    for number in ["1", "3", "40"] {
        let (dir, their_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let Some(redis) = Running::redis(their_dir.path(), &options(number, &[])) else { return };
        let engine = Running::engine(dir.path(), &options(number, &LOGGED));
        let (mut ours, mut theirs) = (engine.connect(), redis.connect());
        let mut same = |line: &str| {
            let (ours, theirs) = (ours.call(line), theirs.call(line));
            assert_eq!(ours, theirs, "of {number}, left ours, right Redis's: {line}");
        };
        same("CONFIG GET databases");
        same(&format!("CONFIG SET databases {number}"));
        for db in ["0", "1", "2", "3", "15", "16", "39", "40", "-1", "2147483648"] {
            for line in [
                format!("SELECT {db}"),
                format!("SET k{db} v"),
                format!("SET moved{db} v"),
                format!("SWAPDB 0 {db}"),
                format!("SWAPDB {db} 0"),
                format!("COPY k{db} c DB {db} REPLACE"),
                format!("MOVE moved{db} {db}"),
                "SELECT 0".to_owned(),
                format!("COPY k{db} c DB {db} REPLACE"),
                format!("MOVE moved{db} {db}"),
            ] {
                same(&line);
            }
        }
        same("DEBUG DIGEST");
        same("DEBUG RELOAD");
        same("DEBUG DIGEST");
        same("FLUSHALL");
        same("DEBUG DIGEST");
    }
}

/// Puts something into database 19, and gives what is in all of them.
fn filled(client: &mut Client) -> Reply {
    for line in ["SET first v", "SELECT 19", "RPUSH last a b"] {
        assert!(!client.call(line).is_error(), "{line}");
    }
    client.call("DEBUG DIGEST")
}

/// What the start says that fails.
fn refused(dir: &Path, options: &[&str]) -> String {
    let mut engine = Command::new(env!("CARGO_BIN_EXE_unplug-engine"));
    engine.args(["--port", "0", "--unixsocket", "s", "--dir"]).arg(dir).args(options);
    let mut child = engine.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    // One that starts says so, and would never end.
    let started = child.stdout.take().unwrap().read(&mut [0; 1]).unwrap() > 0;
    let _ = child.kill();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!started && child.wait().unwrap().code() == Some(1), "{said}");
    said
}

/// The tool's exit code, and what it says.
fn tool(args: &[&str], path: &Path) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_unplug-engine")).args(args).arg(path).output().unwrap();
    (out.status.code(), String::from_utf8(out.stdout).unwrap())
}

/// What a database that is not there is called.
const SAID: &str =
    "it has a database 19, and there are only 16 databases: the option `databases` must be 20 at least";

#[test]
fn a_database_that_is_not_there_is_named_by_whoever_meets_it() {
    let log = "appendonlydir/appendonly.aof.1.incr.aof";
    let base = "appendonlydir/appendonly.aof.2.base.rdb";
    for (others, last, file, check) in [
        (&SAVED[..], "SAVE", "dump.rdb", "check-rdb"),
        (&LOGGED[..], "PING", log, "check-aof"),
        (&LOGGED[..], "BGREWRITEAOF", base, "check-aof"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let engine = Running::engine(dir.path(), &options("20", others));
        let mut client = engine.connect();
        let before = filled(&mut client);
        assert!(!client.call(last).is_error());
        let begun = std::time::Instant::now();
        while !dir.path().join(file).exists()
            || dir.path().join("appendonlydir/appendonly.aof.1.base.rdb").exists() && file == base
        {
            assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{file} does not come about");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        drop(engine);
        let files = || std::fs::read(dir.path().join(file)).unwrap();
        let bytes = files();

        let said = refused(dir.path(), others);
        assert!(said.contains(file) && said.contains("offset") && said.contains(SAID), "{said}");
        let (code, said) = tool(&[check], &dir.path().join(file));
        assert!(code == Some(1) && said.contains(SAID), "{said}");
        assert_eq!(tool(&[check, "--databases", "20"], &dir.path().join(file)).0, Some(0));
        assert_eq!(tool(&[check, "--databases", "0"], &dir.path().join(file)).0, Some(2));
        assert_eq!(files(), bytes, "nothing was touched");

        let engine = Running::engine(dir.path(), &options("20", others));
        assert_eq!(engine.connect().call("DEBUG DIGEST"), before, "{file}");
    }
}

#[test]
fn a_database_of_redis_is_not_put_into_another() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = Running::redis(dir.path(), &options("20", &LOGGED)) else { return };
    let before = filled(&mut server.connect());
    drop(server);
    // Redis itself, told of fewer databases, executes the commands behind the SELECT in the database before it.
    let said = refused(dir.path(), &LOGGED);
    assert!(said.contains("appendonly.aof.1.incr.aof") && said.contains(SAID), "{said}");
    let engine = Running::engine(dir.path(), &options("20", &LOGGED));
    assert_eq!(engine.connect().call("DEBUG DIGEST"), before);
}
