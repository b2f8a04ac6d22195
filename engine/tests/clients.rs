//! Clients that people use: redis-cli, redis-benchmark, the `redis` crate.

// A failure in a helper is its test's.
#![allow(clippy::unwrap_used)]

mod server_support;

use std::process::{Command, Output};

use redis::{Commands, RedisResult, Value};
use server_support::Running;
use unplug_engine::resp::Reply;

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a program of redis-tools; `None`, and said so, where there is none.
fn tool(program: &str, args: &[&str]) -> Option<Output> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("NOT MEASURED: {program}: {error}");
            assert_ne!(std::env::var("UNPLUG_REQUIRE_REDIS").as_deref(), Ok("1"), "{program} is required");
            None
        }
    }
}

fn server(dir: &std::path::Path, options: &[&str]) -> (Running, u16) {
    let port = free_port();
    // The last `port` counts: the first one is the helper's.
    let port_text = port.to_string();
    let all: Vec<&str> = options.iter().copied().chain(["--port", &port_text]).collect();
    (Running::engine(dir, &all), port)
}

#[test]
fn redis_cli_talks_to_it_in_both_protocols() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, port) = server(dir.path(), &[]);
    let port = port.to_string();
    for protocol in ["-2", "-3"] {
        for (words, expected) in [
            (vec!["SET", "k", "a value"], "OK\n"),
            (vec!["GET", "k"], "a value\n"),
            (vec!["GET", "none"], "\n"),
            (vec!["RPUSH", "l", "a", "b"], ""),
            (vec!["LRANGE", "l", "0", "1"], "a\nb\n"),
            (vec!["CONFIG", "GET", "appendfsync"], "everysec\n"),
            (vec!["-n", "3", "DBSIZE"], "0\n"),
            (vec!["INFO", "replication"], "role:master"),
            (vec!["CLIENT", "LIST"], "cmd=client"),
            (vec!["COMMAND", "COUNT"], "\n"),
            (vec!["-r", "3", "INCR", protocol], "2\n"),
        ] {
            let args: Vec<&str> = ["-p", &port, protocol].into_iter().chain(words.iter().copied()).collect();
            let Some(output) = tool("redis-cli", &args) else { return };
            let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
            assert!(output.status.success() && text.contains(expected), "{args:?}: {text}");
        }
    }
    let piped = format!("printf 'SET from stdin\\nGET from\\n' | redis-cli -p {port}");
    let output = Command::new("sh").args(["-c", &piped]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "OK\nstdin\n");
}

#[test]
fn redis_benchmark_runs_its_tests() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, port) = server(dir.path(), &["--appendonly", "yes"]);
    let port = port.to_string();
    let tests = "ping_inline,ping_mbulk,set,get,incr,lpush,rpush,lpop,rpop,lrange_100,mset";
    let args = ["-p", &port, "-t", tests, "-n", "2000", "-c", "20", "-P", "8", "-r", "500", "--csv"];
    let Some(output) = tool("redis-benchmark", &args) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !text.contains("rror"), "{text}");
    assert!(text.lines().count() >= 12, "{text}");
}

fn crate_talks(url: &str) -> RedisResult<()> {
    let client = redis::Client::open(url)?;
    let mut c = client.get_connection()?;
    let () = c.set("k", 42)?;
    assert_eq!(c.get::<_, i64>("k")?, 42);
    assert_eq!(c.get::<_, Option<String>>("none")?, None);
    let (old, new): (i64, i64) = redis::pipe().atomic().incr("k", 1).incr("k", 1).query(&mut c)?;
    assert_eq!((old, new), (43, 44));
    let () = c.rpush("l", &["a", "b", "c"])?;
    assert_eq!(c.lrange::<_, Vec<String>>("l", 0, -1)?, ["a", "b", "c"]);
    let () = redis::cmd("CLIENT").arg("SETNAME").arg("tester").query(&mut c)?;
    let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut c)?;
    assert!(list.contains("name=tester"), "{list}");
    let config: std::collections::HashMap<String, String> =
        redis::cmd("CONFIG").arg("GET").arg("append*").query(&mut c)?;
    assert_eq!(config.get("appendonly").map(String::as_str), Some("no"));
    let wrong: RedisResult<Value> = redis::cmd("LPUSH").arg("k").arg("x").query(&mut c);
    assert_eq!(wrong.unwrap_err().code(), Some("WRONGTYPE"));
    let info: redis::InfoDict = redis::cmd("INFO").query(&mut c)?;
    assert_eq!(info.get::<String>("redis_version").as_deref(), Some("7.0.15"));
    let seen: std::collections::BTreeSet<String> = c.scan::<String>()?.collect::<RedisResult<_>>()?;
    assert!(seen.contains("k") && seen.contains("l"), "{seen:?}");
    redis::cmd("FLUSHALL").query(&mut c)
}

#[test]
fn the_redis_crate_talks_to_it_by_tcp_and_unix_socket_in_both_protocols() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, port) = server(dir.path(), &[]);
    let socket = dir.path().join("engine.sock");
    for protocol in ["", "protocol=resp3"] {
        crate_talks(&format!("redis://127.0.0.1:{port}/2?{protocol}")).unwrap();
        crate_talks(&format!("redis+unix://{}?db=1&{protocol}", socket.display())).unwrap();
    }
}

#[test]
fn hello_3_changes_what_replies_look_like_until_reset() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &[]);
    let mut client = server.connect();
    client
        .send_raw(b"HELLO 3 AUTH default x SETNAME me\r\nGET none\r\nCONFIG GET hz\r\nRESET\r\nGET none\r\n");
    let expected = "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n\
                    $2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n\
                    $7\r\nmodules\r\n*0\r\n_\r\n%1\r\n$2\r\nhz\r\n$2\r\n10\r\n+RESET\r\n$-1\r\n";
    assert_eq!(client.receive_raw(expected.len()), expected);
    let mut client = server.connect();
    for (line, error) in [
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        ("HELLO x", "ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 SETNAME", "ERR Syntax error in HELLO option 'SETNAME'"),
        ("HELLO 2 AUTH nobody x", "WRONGPASS invalid username-password pair or user is disabled."),
        ("SHUTDOWN ABORT", "ERR No shutdown in progress."),
        ("SHUTDOWN SAVE NOSAVE", "ERR syntax error"),
    ] {
        assert_eq!(client.call(line), Reply::Error(error.into()), "{line}");
    }
}

#[test]
fn clients_are_listed_killed_silenced_and_limited() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &["--maxclients", "3"]);
    let (mut a, mut b) = (server.connect(), server.connect());
    b.call("CLIENT SETNAME other");
    b.call("MULTI");
    let Reply::Bulk(list) = a.call("CLIENT LIST") else { panic!("no list") };
    let list = String::from_utf8(list).unwrap();
    assert_eq!(list.lines().count(), 2);
    assert!(list.contains("id=2 ") && list.contains("name=other") && list.contains("flags=xU"), "{list}");
    assert_eq!(a.call("CLIENT KILL ID 2 SKIPME yes"), Reply::Int(1));
    assert!(b.closed());
    assert_eq!(a.call("CLIENT KILL ID 2"), Reply::Int(0));
    assert_eq!(a.call("CLIENT KILL nobody:1"), Reply::Error("ERR No such client".into()));
    a.send_raw(
        b"CLIENT REPLY OFF\r\nINCR n\r\nPING\r\nCLIENT REPLY ON\r\nCLIENT REPLY SKIP\r\nINCR n\r\nINCR n\r\n",
    );
    assert_eq!((a.receive(), a.receive()), (Reply::Simple("OK".into()), Reply::Int(3)));
    let (mut c, mut d, mut e) = (server.connect(), server.connect(), server.connect());
    assert_eq!(
        (c.call("PING"), d.call("PING")),
        (Reply::Simple("PONG".into()), Reply::Simple("PONG".into()))
    );
    assert_eq!(e.receive(), Reply::Error("ERR max number of clients reached".into()));
    assert!(e.closed());
    // Itself: the reply is sent first.
    assert_eq!(a.call("CLIENT KILL ID 1 SKIPME no"), Reply::Int(1));
    assert!(a.closed());
}

#[test]
fn waitaof_waits_for_what_was_there_and_not_for_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &["--appendonly", "yes"]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.call("SET k v");
    a.send(&[b"WAITAOF", b"1", b"0", b"0"]);
    // As long as others write, there is always something that is not synced.
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = std::thread::spawn({
        let stop = std::sync::Arc::clone(&stop);
        move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                b.call("INCR n");
            }
        }
    });
    let reply = a.receive();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(reply, Reply::Array(vec![Reply::Int(1), Reply::Int(0)]));
    // Switched off under a client that waits: it gets an error instead of an answer that never comes.
    let mut b = server.connect();
    a.send_raw(b"WAITAOF 0 1 0\r\n");
    assert_eq!(b.call("CONFIG SET appendonly no"), Reply::Simple("OK".into()));
    let error = unplug_engine::command::WAITAOF_OFF;
    assert_eq!(b.call("WAITAOF 1 0 0"), Reply::Error(error.into()));
}

#[test]
fn a_port_that_is_taken_is_found_before_any_file_is_made() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let engine = Command::new(env!("CARGO_BIN_EXE_unplug-engine"))
        .args(["--port", &port, "--appendonly", "yes", "--bind", "127.0.0.1", "-::1", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&engine.stderr);
    assert_eq!((engine.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("could not listen on 127.0.0.1:") && error.contains("in use"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
