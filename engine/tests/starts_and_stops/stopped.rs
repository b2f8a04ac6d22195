//! Whatever way it ends, what it leaves is accepted by redis-check-aof and redis-check-rdb, and loaded by redis-server and
//! by the engine itself as what was there.

use crate::directory;
use crate::server_support::{Client, Running};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use unplug_engine::resp::Reply;

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Shutdown(&'static str),
    Signal(Signal),
}

/// What runs or has run when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Appending,
    Rewritten,
    /// A child has begun, and stands still.
    DuringRewrite,
    DuringSave,
    Reloaded,
    LoadedAof,
}

const ENDS: [End; 6] = [
    End::Shutdown("SHUTDOWN"),
    End::Shutdown("SHUTDOWN NOSAVE"),
    End::Shutdown("SHUTDOWN SAVE"),
    End::Signal(Signal::SIGTERM),
    End::Signal(Signal::SIGINT),
    End::Signal(Signal::SIGKILL),
];

const STATES: [State; 6] = [
    State::Appending,
    State::Rewritten,
    State::DuringRewrite,
    State::DuringSave,
    State::Reloaded,
    State::LoadedAof,
];

/// How the log is kept.
#[derive(Clone, Copy, Debug)]
struct Kind {
    single: bool,
    rdb: bool,
    checksum: bool,
}

impl Kind {
    fn options(self) -> Vec<&'static str> {
        let yes_no = |yes| if yes { "yes" } else { "no" };
        let layout = if self.single { "single" } else { "multi" };
        // `save` makes an ordinary SHUTDOWN save.
        vec![
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--save",
            "3600 1",
            "--auto-aof-rewrite-percentage",
            "0",
            "--aof-layout",
            layout,
            "--aof-use-rdb-preamble",
            yes_no(self.rdb),
            "--aof-checksum",
            yes_no(self.checksum),
        ]
    }
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(90), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn fine(client: &mut Client, line: &str) {
    let reply = client.call(line);
    assert!(!reply.is_error(), "{line}: {reply:?}");
}

fn idle(client: &mut Client) {
    until("the child's end", || {
        let Reply::Bulk(info) = client.call("INFO persistence") else { panic!("no INFO") };
        let info = String::from_utf8(info).unwrap();
        ["rdb_bgsave_in_progress:1", "aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1"]
            .iter()
            .all(|sign| !info.contains(sign))
    });
}

fn fill(client: &mut Client) {
    for line in [
        "SET s text",
        "SET n 12345",
        "APPEND s -and-more",
        "SETBIT bits 77 1",
        "RPUSH l a b c 7",
        "SADD ints 1 2 3",
        "SADD set x y",
        "HSET h f v g w",
        "ZADD z 1.5 a -2 b inf c",
        "SET later x PXAT 99999999999999",
        "SELECT 9",
        "SET n 1",
        "MULTI",
        "INCR n",
        "RPUSH l 1",
        "EXEC",
        "LMPOP 1 l LEFT",
        "SPOP set",
        "SELECT 0",
        "BLPOP l 0",
        "BZPOPMIN z 0",
        "BITFIELD bits SET u8 #3 200",
        "EXPIRE h 100000",
        "DEBUG POPULATE 2000 many 300",
    ] {
        fine(client, line);
    }
}

/// The letter of a process's state; one that is gone counts as a zombie, which it may be for ever where nobody reaps.
fn letter(pid: Pid) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('Z')
}

/// Files that are being written.
fn temps(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with("temp-"))).count()
}

/// The child of a server, stopped.
fn stopped_child(server: &Running, client: &mut Client, dir: &Path, command: &str) -> Pid {
    let pid = server.child.id();
    for _ in 0..200 {
        fine(client, command);
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        if let Some(child) = text.split_ascii_whitespace().next() {
            let child = Pid::from_raw(child.parse().unwrap());
            // When it writes it has made its arrangements with its parent: it goes with it.
            until("the child writes or is gone", || {
                letter(child) == 'Z' || temps(dir) + temps(&dir.join("appendonlydir")) > 0
            });
            let _ = kill(child, Signal::SIGSTOP);
            until("the child stops or is gone", || matches!(letter(child), 'T' | 'Z'));
            if letter(child) == 'T' {
                return child;
            }
        }
        idle(client);
    }
    panic!("every child is too fast");
}

fn digest(client: &mut Client) -> Reply {
    client.call("DEBUG DIGEST")
}

fn accepted(tool: &str, file: &Path) {
    match Command::new(tool).arg(file).output() {
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stdout);
            let good = text.contains("RDB looks OK") || text.contains("is valid");
            assert!(out.status.success() && good, "{tool} {}: {text}", file.display());
        }
        Err(error) => not_measured(tool, &error),
    }
}

pub(crate) fn not_measured(what: &str, error: &dyn std::fmt::Display) {
    eprintln!("NOT MEASURED: {what}: {error}");
    assert_ne!(std::env::var("UNPLUG_REQUIRE_REDIS").as_deref(), Ok("1"), "{what} is required");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if path.is_file() {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// What redis-server loads from a copy of a directory.
fn read_by_redis(dir: &Path, options: &[&str]) -> Option<Reply> {
    let place = directory();
    copy(dir, place.path());
    let server = Running::redis(place.path(), options)?;
    until("Redis's load", || !server.connect().call("PING").is_error());
    Some(digest(&mut server.connect()))
}

/// The file that redis-check-aof is given.
fn head(dir: &Path, kind: Kind) -> PathBuf {
    dir.join(if kind.single { "appendonly.aof" } else { "appendonlydir/appendonly.aof.manifest" })
}

fn check(kind: Kind, state: State, end: End) {
    let what = format!("{kind:?}, {state:?}, {end:?}");
    let dir = directory();
    let mut server = Running::engine(dir.path(), &kind.options());
    let mut client = server.connect();
    fill(&mut client);
    let child = match state {
        State::Appending => None,
        State::Rewritten => {
            fine(&mut client, "BGREWRITEAOF");
            idle(&mut client);
            None
        }
        State::DuringRewrite => Some(stopped_child(&server, &mut client, dir.path(), "BGREWRITEAOF")),
        State::DuringSave => Some(stopped_child(&server, &mut client, dir.path(), "BGSAVE")),
        State::Reloaded => {
            fine(&mut client, "DEBUG RELOAD");
            None
        }
        State::LoadedAof => {
            fine(&mut client, "DEBUG LOADAOF");
            None
        }
    };
    for line in ["INCR n", "RPUSH l z", "HSET h f 2", "ZADD z 7 d", "SADD ints 9"] {
        fine(&mut client, line);
    }
    // Under everysec a write may wait for a sync that runs; a killed server's would be lost.
    until("everything is written", || {
        let Reply::Bulk(info) = client.call("INFO persistence") else { panic!("no INFO") };
        String::from_utf8(info).unwrap().contains("aof_buffer_length:0")
    });
    let expected = digest(&mut client);
    match end {
        End::Shutdown(line) => {
            client.send(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            assert!(client.closed(), "{what}");
        }
        End::Signal(signal) => kill(Pid::from_raw(server.child.id().try_into().unwrap()), signal).unwrap(),
    }
    let status = server.child.wait().unwrap();
    assert_eq!(status.code(), if end == End::Signal(Signal::SIGKILL) { None } else { Some(0) }, "{what}");
    drop(server);
    if let Some(child) = child {
        // It goes with its server, which has ended it or whose death has.
        until(&format!("{what}: the child is gone"), || letter(child) == 'Z');
    }

    accepted("redis-check-aof", &head(dir.path(), kind));
    let snapshot = dir.path().join("dump.rdb");
    let saved = !matches!(end, End::Signal(Signal::SIGKILL) | End::Shutdown("SHUTDOWN NOSAVE"));
    // A child that was too fast to be stopped has made one, too.
    if state != State::DuringSave {
        assert_eq!(snapshot.exists(), saved || state == State::Reloaded, "{what}");
    }
    if snapshot.exists() {
        accepted("redis-check-rdb", &snapshot);
    }
    let bases = std::fs::read_dir(dir.path().join("appendonlydir")).into_iter().flatten();
    for base in bases.map(|entry| entry.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "rdb"))
    {
        if !base.file_name().unwrap().to_string_lossy().starts_with("temp-") {
            accepted("redis-check-rdb", &base);
        }
    }
    if let Some(loaded) = read_by_redis(dir.path(), &["--appendonly", "yes"]) {
        assert_eq!(loaded, expected, "{what}: Redis loads the log");
        if saved {
            let loaded = read_by_redis(dir.path(), &["--appendonly", "no"]);
            assert_eq!(loaded, Some(expected.clone()), "{what}: Redis loads the snapshot");
        }
    }
    let server = Running::engine(dir.path(), &kind.options());
    assert_eq!(digest(&mut server.connect()), expected, "{what}: the engine loads it");
}

fn every_end(single: bool) {
    // Every state with every end, and every kind of log with each of both: two kinds of four take turns.
    let kinds = [(true, true), (false, false), (true, false), (false, true)];
    let kinds = kinds.map(|(rdb, checksum)| Kind { single, rdb, checksum });
    for (i, state) in STATES.into_iter().enumerate() {
        for (j, end) in ENDS.into_iter().enumerate() {
            for k in 0..2 {
                check(kinds[(i + j + 2 * k) % 4], state, end);
            }
        }
    }
}

#[test]
fn whatever_way_it_stops_redis_reads_its_files() {
    every_end(false);
}

#[test]
fn whatever_way_it_stops_redis_reads_its_single_file() {
    every_end(true);
}

/// What fails in a child is told by it; a client hears only that it has begun.
#[test]
fn what_fails_in_the_background_is_told_with_its_reason() {
    let dir = directory();
    let said = dir.path().join("stderr");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_unplug-engine"));
    command.args(["--port", "0", "--appendonly", "yes", "--dir"]).arg(dir.path());
    let socket = dir.path().join("s");
    command.arg("--unixsocket").arg(&socket).stderr(std::fs::File::create(&said).unwrap());
    let child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let server = Running::over(child, socket);
    let mut client = server.connect();
    assert_eq!(client.call("INCR n"), unplug_engine::resp::Reply::Int(1));
    // Where the files would be made, something lies that cannot be removed.
    for name in ["temp-unplug-0.rdb", "temp-unplug-1.rdb", "temp-unplug-2.rdb"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    for n in 0..5 {
        let name = format!("appendonlydir/temp-rewriteaof-bg-{n}.aof");
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    for (command, status, text) in [
        ("BGSAVE", "rdb_last_bgsave_status:err", "the snapshot was not made: cannot remove"),
        (
            "BGREWRITEAOF",
            "aof_last_bgrewrite_status:err",
            "the append-only file was not rewritten: cannot remove",
        ),
    ] {
        assert!(!client.call(command).is_error());
        let begun = std::time::Instant::now();
        let shows = |reply: &unplug_engine::resp::Reply| match reply {
            unplug_engine::resp::Reply::Bulk(text) => String::from_utf8_lossy(text).contains(status),
            _ => false,
        };
        while !shows(&client.call("INFO persistence")) {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{command} has not failed");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let text_of_all = std::fs::read_to_string(&said).unwrap();
        assert_eq!(text_of_all.matches(text).count(), 1, "{text_of_all}");
    }
    assert_eq!(std::fs::read_to_string(&said).unwrap().lines().count(), 2);
    client.send(&[b"SHUTDOWN", b"NOSAVE"]);
    assert!(client.closed());
}
