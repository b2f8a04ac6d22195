//! The server as its clients see it.

mod server_support;

use std::process::Command;

use server_support::Running;
use unplug_engine::resp::Reply;

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.into())
}

#[test]
fn replies_of_a_pipeline_come_in_order_and_large_ones_whole() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &["--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = server.connect();
    let large = vec![b'x'; 3 << 20];
    client.send(&[b"SET", b"large", &large]);
    for _ in 0..4 {
        client.send(&[b"GET", b"large"]);
    }
    client.send_raw(b"INCR n\r\nINCR n\r\n");
    assert_eq!(client.receive(), Reply::Simple("OK".into()));
    for _ in 0..4 {
        assert_eq!(client.receive(), Reply::Bulk(large.clone()));
    }
    assert_eq!((client.receive(), client.receive()), (Reply::Int(1), Reply::Int(2)));
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_and_after_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let options = ["--appendonly", "yes", "--appendfsync", "always"];
    let server = Running::engine(dir.path(), &options);
    let mut client = server.connect();
    for line in ["SELECT 2", "RPUSH l a b", "SET k 7 EX 1000", "MULTI", "INCR k", "LPOP l", "EXEC"] {
        assert!(!client.call(line).is_error(), "{line}");
    }
    // Drop kills with SIGKILL; the socket's file stays behind and must not be in the way.
    drop(server);
    let mut server = Running::engine(dir.path(), &options);
    let mut client = server.connect();
    client.call("SELECT 2");
    assert_eq!(client.call("LRANGE l 0 -1"), Reply::Array(vec![bulk("b")]));
    assert_eq!(client.call("INCR k"), Reply::Int(9));
    assert!(matches!(client.call("TTL k"), Reply::Int(990..=1000)));
    let pid = nix::unistd::Pid::from_raw(server.child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let server = Running::engine(dir.path(), &options);
    let mut client = server.connect();
    client.call("SELECT 2");
    assert_eq!(client.call("GET k"), bulk("9"));
}

#[test]
fn watch_sees_other_clients_and_broken_transactions_are_aborted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    for (touched, expected) in [("other", Reply::Array(vec![Reply::Int(1)])), ("k", Reply::Null)] {
        a.call("WATCH k");
        b.call(&format!("SET {touched} 1"));
        a.call("MULTI");
        assert_eq!(a.call("INCR n"), Reply::Simple("QUEUED".into()));
        assert_eq!(a.call("EXEC"), expected);
    }
    a.call("MULTI");
    assert!(a.call("SAVE").is_error());
    let aborted = "EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(a.call("EXEC"), Reply::Error(aborted.into()));
    assert_eq!(a.call("EXEC"), Reply::Error("ERR EXEC without MULTI".into()));
    // What cannot succeed is refused when it is queued.
    for unknown in ["CLIENT NOSUCH", "CONFIG NOSUCH x", "COMMAND NOSUCH", "OBJECT NOSUCH k"] {
        a.call("MULTI");
        let refusal = a.call(unknown);
        assert!(
            matches!(&refusal, Reply::Error(e) if e.starts_with("ERR unknown subcommand 'NOSUCH'")),
            "{refusal:?}"
        );
        assert_eq!(a.call("EXEC"), Reply::Error(aborted.into()), "{unknown}");
    }
}

#[test]
fn a_child_holds_neither_the_lock_nor_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &["--save", ""]);
    let mut client = server.connect();
    // Enough that the child is still at it while this test looks.
    let large = vec![b'x'; 8 << 20];
    for key in [b"a", b"b", b"c", b"d", b"e", b"f"] {
        client.send(&[b"SET", key, &large]);
        assert!(!client.receive().is_error());
    }
    assert!(!client.call("BGSAVE").is_error());
    let links = |pid: &str| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        entries.filter_map(|e| std::fs::read_link(e.path()).ok()).collect()
    };
    let server_pid = server.child.id().to_string();
    let at = dir.path().canonicalize().unwrap();
    assert!(links(&server_pid).contains(&at), "the server holds its directory");
    let children = std::fs::read_to_string(format!("/proc/{server_pid}/task/{server_pid}/children")).unwrap();
    let child = children.split_whitespace().next().expect("the child still runs");
    // It writes by now, so it has closed what it was to close.
    let writes = || links(child).iter().any(|l| l.to_string_lossy().ends_with(".rdb"));
    while !writes() {
        assert!(std::path::Path::new(&format!("/proc/{child}/fd")).exists() && !links(child).is_empty());
    }
    let held = links(child);
    assert!(!held.contains(&at), "{held:?}");
    let sockets = |held: &[std::path::PathBuf]| {
        held.iter().filter(|l| l.to_string_lossy().starts_with("socket:")).count()
    };
    assert!(sockets(&held) < sockets(&links(&server_pid)), "the listening socket is closed: {held:?}");
}

#[test]
fn a_protocol_error_is_answered_and_closes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &[]);
    let mut client = server.connect();
    client.send_raw(b"PING\r\n*1\r\n:5\r\n");
    assert_eq!(client.receive(), Reply::Simple("PONG".into()));
    assert_eq!(client.receive(), Reply::Error("ERR Protocol error: expected '$', got ':'".into()));
    assert!(client.closed());
}

#[test]
fn waitaof_answers_when_the_background_sync_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &["--appendonly", "yes"]);
    let mut client = server.connect();
    client.call("SET k v");
    client.send(&[b"WAITAOF", b"1", b"0", b"10000"]);
    client.send(&[b"PING"]);
    assert_eq!(client.receive(), Reply::Array(vec![Reply::Int(1), Reply::Int(0)]));
    assert_eq!(client.receive(), Reply::Simple("PONG".into()));
}

#[test]
fn keys_expire_without_being_read() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &["--hz", "100"]);
    let mut client = server.connect();
    client.call("SET k v PX 20");
    let gone = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        client.call("DBSIZE") == Reply::Int(0)
    });
    assert!(gone);
}

#[test]
fn a_bad_start_is_one_line_and_the_right_code() {
    let dir = tempfile::tempdir().unwrap();
    let taken = tempfile::tempdir().unwrap();
    let _server = Running::engine(taken.path(), &[]);
    let (dir, taken) = (dir.path().to_str().unwrap(), taken.path().to_str().unwrap());
    for (args, code, text) in [
        (vec!["--hz", "0"], 2, "'--hz 0': argument must be between 1 and 500"),
        (vec!["--nope", "1"], 2, "unknown option"),
        (vec!["--dir", dir, "--port", "0"], 2, "configured to not listen anywhere"),
        (vec!["--dir", "/no/such/dir"], 1, "can't open directory '/no/such/dir'"),
        (vec!["--dir", taken, "--port", "0", "--unixsocket", "x"], 1, "in use by another engine"),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_unplug-engine")).args(&args).output().unwrap();
        let error = String::from_utf8(out.stderr).unwrap();
        assert_eq!((out.status.code(), error.lines().count()), (Some(code), 1), "{args:?}: {error}");
        assert!(error.contains(text), "{args:?}: {error}");
    }
}

/// Half of a transaction must not be in one file, or in none, and half in another.
#[test]
fn the_log_is_not_switched_inside_a_transaction() {
    for layout in ["multi", "single"] {
        let dir = tempfile::tempdir().unwrap();
        let options = ["--aof-layout", layout, "--appendfsync", "always"];
        let server = Running::engine(dir.path(), &[&options[..], &["--appendonly", "yes"]].concat());
        let mut client = server.connect();
        let ok = || Reply::Simple("OK".into());
        for (change, works) in [("appendonly no", false), ("hz 20", true)] {
            let last = format!("CONFIG SET {change}");
            for command in ["MULTI", "SET a 1", &last, "SET b 2"] {
                client.call(command);
            }
            let Reply::Array(replies) = client.call("EXEC") else { panic!("EXEC") };
            let why = "a transaction is being executed";
            let name = change.split(' ').next().unwrap();
            let refused = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
            let changed = if works { ok() } else { Reply::Error(refused) };
            assert_eq!(replies, [ok(), changed, ok()], "{layout}");
        }
        // Outside it is, and back: what was done meanwhile is there.
        for command in ["CONFIG SET appendonly no", "SET c 3", "CONFIG SET appendonly yes", "SET d 4"] {
            assert_eq!(client.call(command), ok(), "{layout}");
        }
        drop((client, server));
        let server = Running::engine(dir.path(), &[&options[..], &["--appendonly", "yes"]].concat());
        assert_eq!(server.connect().call("DBSIZE"), Reply::Int(4), "{layout}");
    }
}
