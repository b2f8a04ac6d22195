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

/// What Redis's own texts say is not all there is here; and nothing is better than what is not true.
#[test]
fn help_and_docs_say_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &["--enable-debug-command", "yes"]);
    let mut client = server.connect();
    for name in ["CLIENT", "COMMAND", "CONFIG", "DEBUG", "OBJECT"] {
        let Reply::Array(lines) = client.call(&format!("{name} HELP")) else { panic!("{name} HELP") };
        let lines: Vec<String> = lines
            .into_iter()
            .map(|line| if let Reply::Simple(text) = line { text } else { panic!("{name}: {line:?}") })
            .collect();
        assert!(lines[0].starts_with(&format!("{name} <subcommand>")), "{lines:?}");
        // Each that is named is known: whatever it replies, it is not that there is none.
        for sub in lines[1..].iter().filter(|line| !line.starts_with([' ', '('])) {
            let sub = sub.split(' ').next().unwrap();
            if let Reply::Error(text) = client.call(&format!("{name} {sub}")) {
                let known = !text.contains("unknown subcommand") || name == "DEBUG";
                assert!(known, "{name} {sub}: {text}");
            }
        }
        let wrong = client.call(&format!("{name} HELP x"));
        assert!(matches!(wrong, Reply::Error(_)), "{wrong:?}");
    }
    let docs = client.call("COMMAND DOCS get nope");
    assert_eq!(docs, Reply::Array(vec![Reply::Bulk(b"get".to_vec()), Reply::Array(Vec::new())]));
}

/// Seen before: what a file may name was refused as unknown.
#[test]
fn options_without_effect_are_taken_while_running_as_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, said) = (dir.path().join("s"), dir.path().join("said"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_unplug-engine"));
    command.args(["--port", "0", "--dir"]).arg(dir.path()).arg("--unixsocket").arg(&socket);
    command.stdout(std::process::Stdio::null()).stderr(std::fs::File::create(&said).unwrap());
    let server = Running::over(command.spawn().unwrap(), socket);
    let mut client = server.connect();
    let ok = Reply::Simple("OK".into());
    assert_eq!(client.call("CONFIG SET hash-max-listpack-entries 7 hz 20"), ok);
    let limits: [&[u8]; 4] = [b"CONFIG", b"SET", b"client-output-buffer-limit", b"normal 0 0 0"];
    client.send(&limits);
    assert_eq!(client.receive(), ok);
    let value = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let name = "hash-max-listpack-entries";
    assert_eq!(client.call(&format!("CONFIG GET {name}")), Reply::Array(vec![value(name), value("7")]));
    for refused in ["hash-max-listpack-entries x", "no-such-option 1"] {
        let reply = client.call(&format!("CONFIG SET {refused}"));
        assert!(matches!(reply, Reply::Error(_)), "{refused}: {reply:?}");
    }
    let warning = "unplug-engine: CONFIG SET: these options are accepted, and have no effect: ";
    assert_eq!(std::fs::read_to_string(&said).unwrap(), format!("{warning}{name}\n"));
}

#[test]
fn info_tells_what_monitors_ask_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &["--hz", "20"]);
    let mut client = server.connect();
    let mut info = || {
        let Reply::Bulk(text) = client.call("INFO") else { panic!("INFO") };
        let text = String::from_utf8(text).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    let value = |all: &[(String, String)], name: &str| {
        let found = all.iter().find(|(other, _)| other == name);
        found.unwrap_or_else(|| panic!("{name}: {all:?}")).1.clone()
    };
    let first = info();
    let id = value(&first, "run_id");
    assert!(id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!(value(&info(), "run_id"), id, "of one process it is one");
    assert_eq!(value(&first, "process_id"), server.child.id().to_string());
    assert_eq!(value(&first, "executable"), env!("CARGO_BIN_EXE_unplug-engine"));
    assert_eq!((value(&first, "configured_hz"), value(&first, "tcp_port")), ("20".into(), "0".into()));
    let number = |name: &str| value(&first, name).parse::<u64>().unwrap();
    assert!(number("used_memory_peak") > 0 && number("total_system_memory") > number("used_memory_peak"));
    assert!(number("server_time_usec") > 0);
    value(&first, "used_cpu_sys_main_thread");
    let again = tempfile::tempdir().unwrap();
    let other = Running::engine(again.path(), &[]);
    let Reply::Bulk(text) = other.connect().call("INFO server") else { panic!("INFO") };
    assert!(!String::from_utf8(text).unwrap().contains(&id), "of another process it is another");
}
