//! SAVE, BGSAVE and what calls for them, on a running server: children that die, hang and are ended; what INFO and
//! LASTSAVE say meanwhile.

use crate::interop::accepted;
use crate::server_support::{Client, Running};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Duration;
use unplug_engine::rdb;
use unplug_engine::resp::Reply;

const OFF: [&str; 2] = ["--save", ""];

fn section(client: &mut Client, section: &str) -> String {
    let Reply::Bulk(text) = client.call(&format!("INFO {section}")) else { panic!("INFO") };
    String::from_utf8(text).unwrap()
}

/// A field of INFO.
pub(crate) fn info(client: &mut Client, section: &str, name: &str) -> String {
    let text = self::section(client, section);
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

fn field(client: &mut Client, name: &str) -> String {
    info(client, "persistence", name)
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

fn idle(client: &mut Client) {
    until("the child ends", || field(client, "rdb_bgsave_in_progress") == "0");
}

fn ok() -> Reply {
    Reply::Simple("OK".into())
}

/// Values so large that a child takes its time over them.
fn fill(client: &mut Client) {
    assert_eq!(client.call("CONFIG SET rdbcompression no"), ok());
    let value = vec![b'v'; 8 << 20];
    for n in 0..12 {
        client.send(&[b"SET", format!("large:{n}").as_bytes(), &value]);
        assert_eq!(client.receive(), ok());
    }
}

fn children(server: &Running) -> Vec<i32> {
    let pid = server.child.id();
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// A child that was stopped; it does not outlive the test.
struct Stopped(Pid);

impl Stopped {
    fn state(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default()
    }

    fn is_stopped(&self) -> bool {
        self.state().contains(") T")
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Its number may be another's by now; what is stopped is still the child.
        if self.is_stopped() {
            let _ = kill(self.0, Signal::SIGKILL);
        }
    }
}

/// Has `command` start a child and stops that while it writes: it has made its arrangements with its parent by then.
fn stopped_child(server: &Running, client: &mut Client, dir: &Path, command: &str) -> Stopped {
    for _ in 0..200 {
        let reply = client.call(command);
        assert!(matches!(reply, Reply::Simple(_)), "{reply:?}");
        if let Some(child) = children(server).first().map(|pid| Stopped(Pid::from_raw(*pid))) {
            let ended = || child.state().contains(") Z") || child.state().is_empty();
            until("the child writes or is gone", || {
                ended() || temps(dir) + temps(&dir.join("appendonlydir")) > 0
            });
            if kill(child.0, Signal::SIGSTOP).is_ok() {
                // A stop takes its time, too; one that has ended is shown as a zombie.
                until("the child stops or is gone", || child.is_stopped() || ended());
            }
            if child.is_stopped() {
                return child;
            }
        }
        until("the child ends", || {
            field(client, "rdb_bgsave_in_progress") == "0" && field(client, "aof_rewrite_in_progress") == "0"
        });
    }
    panic!("every child was too fast");
}

fn temps(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("temp-")).count()
}

fn load(dir: &Path) -> rdb::Loaded {
    rdb::read(&std::fs::read(dir.join("dump.rdb")).unwrap(), None).unwrap()
}

#[test]
fn a_child_that_hangs_stands_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &OFF);
    let mut client = server.connect();
    fill(&mut client);
    let before = client.call("LASTSAVE");
    let _child = stopped_child(&server, &mut client, dir.path(), "BGSAVE");
    assert_eq!(client.call("SET small 1"), ok());
    let busy = Reply::Error("ERR Background save already in progress".into());
    assert_eq!(
        (client.call("BGSAVE"), client.call("SAVE"), client.call("BGSAVE SCHEDULE")),
        (busy.clone(), busy.clone(), busy)
    );
    for (name, value) in [
        ("rdb_bgsave_in_progress", "1"),
        ("rdb_last_bgsave_status", "ok"),
        ("rdb_changes_since_last_save", "13"),
        ("rdb_last_bgsave_time_sec", "-1"),
        ("current_save_keys_total", "12"),
        ("rdb_last_cow_size", "0"),
    ] {
        // Children before the one that was caught in time may have counted.
        let counted =
            ["rdb_last_bgsave_time_sec", "rdb_changes_since_last_save", "rdb_last_cow_size"].contains(&name);
        let found = field(&mut client, name);
        assert!(found == value || counted && field(&mut client, "rdb_saves") != "1", "{name} is {found}");
    }
    assert_ne!(field(&mut client, "rdb_current_bgsave_time_sec"), "-1");
    if field(&mut client, "rdb_saves") == "1" {
        assert_eq!(client.call("LASTSAVE"), before);
    }
    // FLUSHALL ends it: what it would write is gone.
    assert_eq!(client.call("FLUSHALL"), ok());
    assert_eq!(
        (field(&mut client, "rdb_bgsave_in_progress"), field(&mut client, "rdb_last_bgsave_status")),
        ("0".into(), "ok".into())
    );
    assert_eq!((children(&server).len(), temps(dir.path())), (0, 0));
    // And so does SHUTDOWN, which saves what there is.
    fill(&mut client);
    let child = stopped_child(&server, &mut client, dir.path(), "BGSAVE");
    client.send(&[b"SHUTDOWN", b"SAVE"]);
    assert!(client.closed());
    until("the child is gone", || kill(child.0, None).is_err());
    assert_eq!((load(dir.path()).keys, temps(dir.path())), (12, 0));
}

#[test]
fn a_child_that_is_killed_is_a_failure_and_stops_writes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &["--save", "100000 100000"]);
    let mut client = server.connect();
    fill(&mut client);
    // What an earlier child, too fast to be stopped, has written is not the last word.
    let child = stopped_child(&server, &mut client, dir.path(), "BGSAVE");
    let before = client.call("LASTSAVE");
    kill(child.0, Signal::SIGKILL).unwrap();
    idle(&mut client);
    assert_eq!(field(&mut client, "rdb_last_bgsave_status"), "err");
    assert_ne!(field(&mut client, "rdb_last_bgsave_time_sec"), "-1");
    assert_eq!((client.call("LASTSAVE"), temps(dir.path())), (before, 0));
    let refused = |reply: Reply| matches!(reply, Reply::Error(text) if text.starts_with("MISCONF Redis is configured to save RDB"));
    assert!(refused(client.call("SET a 1")));
    assert_eq!(client.call("GET a"), Reply::Null);
    assert_eq!(client.call("CONFIG SET stop-writes-on-bgsave-error no"), ok());
    assert_eq!(client.call("SET a 1"), ok());
    assert_eq!(client.call("CONFIG SET stop-writes-on-bgsave-error yes"), ok());
    assert!(refused(client.call("SET a 2")));
    assert!(matches!(client.call("BGSAVE"), Reply::Simple(_)));
    idle(&mut client);
    assert_eq!((field(&mut client, "rdb_last_bgsave_status").as_str(), client.call("SET a 2")), ("ok", ok()));
    assert_eq!(load(dir.path()).keys, 13);
}

#[test]
fn a_child_that_cannot_write_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &OFF);
    let mut client = server.connect();
    client.call("SET a 1");
    // What is in the way at the snapshot's name cannot be replaced.
    std::fs::create_dir_all(dir.path().join("dump.rdb/full")).unwrap();
    assert!(matches!(client.call("SAVE"), Reply::Error(_)));
    assert!(matches!(client.call("BGSAVE"), Reply::Simple(_)));
    idle(&mut client);
    assert_eq!((field(&mut client, "rdb_last_bgsave_status").as_str(), temps(dir.path())), ("err", 0));
    std::fs::remove_dir_all(dir.path().join("dump.rdb")).unwrap();
    assert_eq!(client.call("SAVE"), ok());
    assert_eq!(field(&mut client, "rdb_last_bgsave_status"), "ok");
    accepted(&dir.path().join("dump.rdb"));
}

#[test]
fn a_killed_servers_child_does_not_outlive_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Running::engine(dir.path(), &OFF);
    let mut client = server.connect();
    fill(&mut client);
    let child = stopped_child(&server, &mut client, dir.path(), "BGSAVE");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    until("the child is gone", || kill(child.0, None).is_err());
    let server = Running::engine(dir.path(), &OFF);
    assert_eq!((temps(dir.path()), server.connect().call("PING")), (0, Reply::Simple("PONG".into())));
}

#[test]
fn bgsave_waits_for_a_rewrite_if_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(
        dir.path(),
        &["--save", "", "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"],
    );
    let mut client = server.connect();
    fill(&mut client);
    let child = stopped_child(&server, &mut client, dir.path(), "BGREWRITEAOF");
    assert!(
        matches!(client.call("BGSAVE"), Reply::Error(text) if text.starts_with("ERR Another child process is active"))
    );
    assert_eq!(client.call("BGSAVE SCHEDULE"), Reply::Simple("Background saving scheduled".into()));
    assert!(!dir.path().join("dump.rdb").exists());
    kill(child.0, Signal::SIGCONT).unwrap();
    until("the snapshot is there", || dir.path().join("dump.rdb").exists());
    idle(&mut client);
    assert_eq!((load(dir.path()).keys, field(&mut client, "rdb_saves").as_str()), (12, "1"));
}

#[test]
fn a_snapshot_holds_whole_transactions() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &OFF);
    let mut client = server.connect();
    for command in ["MULTI", "SET a 1", "BGSAVE", "SET b 2"] {
        client.call(command);
    }
    let Reply::Array(replies) = client.call("EXEC") else { panic!("EXEC") };
    assert_eq!(replies, [ok(), Reply::Simple("Background saving scheduled".into()), ok()]);
    until("the snapshot is there", || dir.path().join("dump.rdb").exists());
    assert_eq!(load(dir.path()).keys, 2);
    client.call("MULTI");
    assert_eq!(client.call("SAVE"), Reply::Error("ERR Command not allowed inside a transaction".into()));
}

#[test]
fn the_snapshot_of_a_flushall_holds_the_whole_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &["--save", "3600 1000"]);
    let mut client = server.connect();
    for command in ["MULTI", "SET a 1", "FLUSHALL", "DEBUG RELOAD", "SET b 2"] {
        client.call(command);
    }
    let Reply::Array(replies) = client.call("EXEC") else { panic!("EXEC") };
    let refused = Reply::Error("ERR a transaction is being executed".into());
    assert_eq!(replies, [ok(), ok(), refused, ok()]);
    assert_eq!(load(dir.path()).keys, 1, "the flush and what came behind it, and not one without the other");
    // What is not asked for is not saved.
    for command in ["MULTI", "SET c 1", "EXEC"] {
        client.call(command);
    }
    assert_eq!(load(dir.path()).keys, 1);
}

#[test]
fn save_points_flushall_and_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &["--save", "3600 1000", "--save", "1 3"]);
    let mut client = server.connect();
    client.call("SET a 1");
    client.call("SET b 1");
    // Two changes are not enough for either, however long one waits.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(field(&mut client, "rdb_saves"), "0");
    client.call("SET c 1");
    until("the save point is seen", || field(&mut client, "rdb_changes_since_last_save") == "0");
    assert_eq!((load(dir.path()).keys, field(&mut client, "rdb_saves").as_str()), (3, "1"));
    assert_eq!(field(&mut client, "rdb_last_bgsave_time_sec").parse::<u64>().unwrap() / 60, 0);
    let usec: u64 = info(&mut client, "stats", "latest_fork_usec").parse().unwrap();
    assert!(usec > 0 && info(&mut client, "stats", "total_forks") == "1");
    // With save points FLUSHALL saves that there is nothing.
    assert_eq!(client.call("FLUSHALL"), ok());
    assert_eq!(load(dir.path()).keys, 0);
    client.call("SET d 1");
    client.send(&[b"SHUTDOWN"]);
    assert!(client.closed());
    assert_eq!(load(dir.path()).keys, 1);
    // Without, neither does either.
    let server = Running::engine(dir.path(), &OFF);
    let mut client = server.connect();
    assert_eq!(field(&mut client, "rdb_last_load_keys_loaded"), "1");
    client.call("FLUSHALL");
    client.send(&[b"SHUTDOWN"]);
    assert!(client.closed());
    assert_eq!(load(dir.path()).keys, 1);
}

#[test]
fn a_large_childs_memory_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &OFF);
    let mut client = server.connect();
    fill(&mut client);
    assert!(matches!(client.call("BGSAVE"), Reply::Simple(_)));
    idle(&mut client);
    let cow: u64 = field(&mut client, "rdb_last_cow_size").parse().unwrap();
    assert!(cow > 0 && cow < 100 << 20, "{cow}");
    assert_eq!(client.call("CONFIG SET rdb-save-incremental-fsync no"), ok());
    assert_eq!(client.call("SAVE"), ok());
    accepted(&dir.path().join("dump.rdb"));
}

#[test]
fn info_has_the_fields_of_redis_in_their_order() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some((_redis, mut redis)) = crate::interop::redis(theirs.path(), &[]) else { return };
    let server = Running::engine(ours.path(), &OFF);
    let fields = |client: &mut Client| -> Vec<String> {
        let text = section(client, "persistence");
        let names = text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned()));
        names.filter(|n| ["rdb_", "current_", "loading", "async_"].iter().any(|p| n.starts_with(p))).collect()
    };
    assert_eq!(fields(&mut server.connect()), fields(&mut redis));
}
