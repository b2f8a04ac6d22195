//! Configurations that were written for Redis, and what is said of those of their options that have no effect here.

use crate::directory;
use crate::server_support::{Client, Running};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use unplug_engine::resp::Reply;

/// The engine with a configuration file (or `-`, and what is read there), and what it says before it is ready.
pub(crate) struct Started {
    pub(crate) server: Running,
    said: std::process::ChildStderr,
}

impl Started {
    #[track_caller]
    pub(crate) fn with(dir: &Path, options: &[&str], input: &str) -> Started {
        let socket = dir.join("engine.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_unplug-engine"));
        command.args(options).arg("--dir").arg(dir).arg("--unixsocket").arg(&socket);
        command.env_remove("NOTIFY_SOCKET").env_remove("UPSTART_JOB");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let mut said = child.stderr.take().unwrap();
        if ready.is_empty() {
            let mut why = String::new();
            said.read_to_string(&mut why).unwrap();
            panic!("{options:?}: {why}");
        }
        Started { server: Running::over(child, socket), said }
    }

    /// Ends it. What it has said.
    pub(crate) fn end(mut self) -> String {
        let mut client = self.server.connect();
        client.send(&[b"SHUTDOWN", b"NOSAVE"]);
        assert!(client.closed());
        let mut text = String::new();
        self.said.read_to_string(&mut text).unwrap();
        text
    }
}

fn option(client: &mut Client, name: &str) -> Option<String> {
    let Reply::Array(pair) = client.call(&format!("CONFIG GET {name}")) else { panic!("CONFIG GET {name}") };
    match &pair[..] {
        [] => None,
        [_, Reply::Bulk(value)] => Some(String::from_utf8(value.clone()).unwrap()),
        other => panic!("{other:?}"),
    }
}

/// A redis.conf that redis-server has written itself.
#[test]
fn what_redis_has_rewritten_is_taken() {
    let dir = directory();
    let file = dir.path().join("redis.conf");
    std::fs::write(&file, "maxclients 100\n").unwrap();
    let socket = dir.path().join("redis.sock");
    let mut command = Command::new("redis-server");
    command.arg(&file).args(["--port", "0", "--dir"]).arg(dir.path()).arg("--unixsocket").arg(&socket);
    let child = match command.stdout(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => return crate::stopped::not_measured("redis-server", &error),
    };
    let redis = Running::over(child, socket);
    let mut client = redis.connect();
    assert!(!client.call("CONFIG REWRITE").is_error());
    // All of its options, with their defaults, as they could stand in a file.
    let Reply::Array(all) = client.call("CONFIG GET *") else { panic!("CONFIG GET") };
    drop(redis);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("user default on nopass"), "{text}");
    let started = Started::with(dir.path(), &[file.to_str().unwrap()], "");
    assert_eq!(started.end(), "");

    let words = |reply: &Reply| match reply {
        Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    let several = ["save", "bind", "oom-score-adj-values", "client-output-buffer-limit"];
    let mut whole = String::new();
    let mut options = 0;
    for pair in all.chunks_exact(2) {
        let (name, value) = (words(&pair[0]), words(&pair[1]));
        // "Of nobody" is not "".
        if !["replicaof", "slaveof"].contains(&&*name) {
            let value = if several.contains(&&*name) { value } else { format!("\"{value}\"") };
            whole.push_str(&format!("{name} {value}\n"));
            options += 1;
        }
    }
    assert!(options > 150, "{options}");
    std::fs::write(&file, whole + "port 0\n").unwrap();
    let started = Started::with(dir.path(), &[file.to_str().unwrap()], "");
    assert_eq!(started.end(), "", "defaults are not worth a word");
}

#[test]
fn options_that_change_nothing_are_taken() {
    let dir = directory();
    let text = "proto-max-bulk-len 512mb\nclient-query-buffer-limit 1gb\nmaxmemory-clients 0\nrequirepass \"\"\n\
        tls-port 0\naclfile \"\"\nsupervised auto\nsanitize-dump-payload no\naof-disable-auto-gc no\n\
        rdb-key-save-delay 0\nkey-load-delay 0\nlist-max-ziplist-entries 512\nlist-max-ziplist-value 64\n\
        replicaof no one\nbind localhost\nport 0\nuser default on nopass ~* &* +@all\n";
    let file = dir.path().join("c");
    std::fs::write(&file, text).unwrap();
    let started = Started::with(dir.path(), &[file.to_str().unwrap()], "");
    let mut client = started.server.connect();
    for (name, value) in [
        ("proto-max-bulk-len", "536870912"),
        ("requirepass", ""),
        ("supervised", "auto"),
        ("bind", "localhost"),
        ("key-load-delay", "0"),
    ] {
        assert_eq!(option(&mut client, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(started.end(), "");
    // The standard input is a file, too, but none that could be written back.
    let started = Started::with(dir.path(), &["-", "--hz", "30"], &format!("{text}hz 20\nmaxclients 7\n"));
    let mut client = started.server.connect();
    assert_eq!(option(&mut client, "hz").as_deref(), Some("30"));
    assert_eq!(option(&mut client, "maxclients").as_deref(), Some("7"));
    assert!(client.call("CONFIG REWRITE").is_error());
    started.end();
    // A host's name is an address to listen on.
    let started = Started::with(dir.path(), &["--bind", "localhost", "--port", &free_port()], "");
    started.end();
}

fn free_port() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port().to_string()
}

#[test]
fn what_has_no_effect_is_named() {
    let dir = directory();
    let options =
        ["--port", "0", "--logfile", "/x/y.log", "--hash-max-listpack-entries", "7", "--loglevel", "notice"];
    let more = ["--syslog-enabled", "yes", "--repl-backlog-size", "2mb", "--hash-max-ziplist-value", "64"];
    let started = Started::with(dir.path(), &[&options[..], &more].concat(), "");
    let mut client = started.server.connect();
    for (name, value) in [
        ("logfile", Some("/x/y.log")),
        ("hash-max-listpack-entries", Some("7")),
        ("loglevel", Some("notice")),
        ("repl-backlog-size", Some("2097152")),
        ("syslog-ident", None),
    ] {
        assert_eq!(option(&mut client, name).as_deref(), value, "{name}");
    }
    let said = started.end();
    assert_eq!(said.lines().count(), 1, "{said}");
    let named = said.split_once("no effect: ").unwrap().1.trim_end();
    assert_eq!(named, "logfile, hash-max-listpack-entries, syslog-enabled, repl-backlog-size");
}

#[test]
fn debug_is_for_those_whom_the_option_names() {
    for (value, allowed) in [("no", false), ("yes", true), ("local", true)] {
        let dir = directory();
        let port = free_port();
        let options = ["--port", &port, "--enable-debug-command", value];
        let started = Started::with(dir.path(), &options, "");
        let mut client = started.server.connect();
        let mut near = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        near.write_all(b"DEBUG DIGEST\r\n").unwrap();
        let mut first = [0];
        near.read_exact(&mut first).unwrap();
        assert_eq!(first == *b"+", allowed, "{value}");
        let refusal = client.call("DEBUG DIGEST");
        assert_eq!(!refusal.is_error(), allowed, "{value}: {refusal:?}");
        assert_eq!(option(&mut client, "enable-debug-command").as_deref(), Some(value));
        assert!(client.call("CONFIG SET enable-debug-command yes").is_error());
        // It is refused before it is queued.
        for (line, fine) in [("MULTI", true), ("DEBUG DIGEST", allowed), ("EXEC", allowed)] {
            assert_eq!(!client.call(line).is_error(), fine, "{value}: {line}");
        }
        started.end();
    }
    // Word for word as Redis, whose default it is.
    let dir = directory();
    let Some(redis) = Running::redis(dir.path(), &["--enable-debug-command", "no"]) else { return };
    let expected = redis.connect().call("DEBUG DIGEST");
    let started = Started::with(dir.path(), &["--port", "0", "--enable-debug-command", "no"], "");
    assert_eq!(started.server.connect().call("DEBUG DIGEST"), expected);
}

/// DEBUG POPULATE writes, and is refused when writes are.
#[test]
fn populating_is_a_write() {
    let dir = directory();
    let started = Started::with(dir.path(), &["--port", "0", "--save", "3600 1"], "");
    let mut client = started.server.connect();
    for line in ["SET k v", "MULTI", "DEBUG POPULATE 5"] {
        assert!(!client.call(line).is_error(), "{line}");
    }
    // A snapshot that fails, because something lies where it would be written.
    for n in 0..3 {
        std::fs::create_dir(dir.path().join(format!("temp-unplug-{n}.rdb"))).unwrap();
    }
    let mut other = started.server.connect();
    assert!(!other.call("BGSAVE").is_error());
    crate::stopped::until("the snapshot has failed", || {
        let Reply::Bulk(info) = other.call("INFO persistence") else { panic!("no INFO") };
        String::from_utf8(info).unwrap().contains("rdb_last_bgsave_status:err")
    });
    let misconf = |reply: &Reply| matches!(reply, Reply::Error(text) if text.contains("MISCONF"));
    let refusal = client.call("EXEC");
    assert!(misconf(&refusal), "{refusal:?}");
    for line in ["SET k w", "DEBUG POPULATE 5", "DEBUG populate 5 x"] {
        let refusal = client.call(line);
        assert!(misconf(&refusal), "{line}: {refusal:?}");
    }
    assert!(!client.call("DEBUG DIGEST").is_error());
    assert_eq!(client.call("DBSIZE"), Reply::Int(1));
}
