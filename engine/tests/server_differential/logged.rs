//! What is logged of those who waited, command by command: what redis-server logs.

use crate::blocking::{Play, SCENARIOS};
use crate::server_support::Running;
use std::path::Path;
use unplug_engine::aof::{Times, scan_plain};
use unplug_engine::resp::Reply;

/// The commands of a log from an offset on, and where it ends. Brackets are left out: the engine needs none around what a
/// checksum holds together.
fn logged(dir: &Path, from: usize) -> (Vec<String>, usize) {
    let bytes = std::fs::read(dir.join("appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
    let mut commands = Vec::new();
    let scanned = scan_plain::<()>(&bytes, from, Times::default(), &mut |argv| {
        let mut words: Vec<String> = argv.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
        words[0].make_ascii_uppercase();
        if words[0] == "LMOVE" {
            // Redis logs the ends in small letters where it served one who waited.
            words[3..].iter_mut().for_each(|end| end.make_ascii_uppercase());
        }
        if words[0] == "PEXPIREAT" {
            // Each server's own clock.
            words.truncate(2);
        }
        commands.push(words.join(" "));
        Ok(())
    });
    let scan = scanned.unwrap();
    assert_eq!((scan.stop, scan.good), (None, bytes.len() as u64));
    commands.retain(|command| !command.starts_with("SELECT "));
    (commands, bytes.len())
}

#[test]
fn what_is_logged_of_those_who_waited_is_what_redis_logs() {
    let (dir, their_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = ["--save", "", "--appendonly", "yes", "--appendfsync", "no"];
    let Some(theirs) = Running::redis(their_dir.path(), &log) else { return };
    let ours = Running::engine(dir.path(), &[&log[..], &["--aof-checksum", "no"]].concat());
    let (mut our_end, mut their_end) = (0, 0);
    let mut waited = 0;
    // To be loaded anew is to begin another file.
    for (name, scenario) in SCENARIOS.iter().filter(|(_, scenario)| !scenario.contains("RELOAD")) {
        Play::new(&theirs).end(scenario);
        Play::new(&ours).end(scenario);
        let (expected, end) = logged(their_dir.path(), their_end);
        their_end = end;
        let (got, end) = logged(dir.path(), our_end);
        our_end = end;
        assert_eq!(got, expected, "left ours, right Redis's: {name}");
        waited += got.len();
    }
    assert!(waited > 100, "{waited}");
}

/// What a client gets who has waited for nothing, and who may not wait, byte by byte: there are two ways to say nothing.
#[test]
fn nothing_is_said_as_redis_says_it() {
    let (dir, their_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(theirs) = Running::redis(their_dir.path(), &[]) else { return };
    let ours = Running::engine(dir.path(), &[]);
    let waits = [
        "BLPOP none 0.01",
        "BRPOP none 0.01",
        "BLMPOP 0.01 1 none LEFT",
        "BLMOVE none other LEFT RIGHT 0.01",
        "BRPOPLPUSH none other 0.01",
        "BZPOPMIN none 0.01",
        "BZPOPMAX none 0.01",
        "BZMPOP 0.01 1 none MAX",
        "WAIT 0 1",
    ];
    let said = |server: &Running, commands: &str| {
        let mut client = server.connect();
        client.send_raw(format!("{commands}\r\nECHO the-end\r\n").as_bytes());
        let mut said = String::new();
        while !said.ends_with("the-end\r\n") {
            said += &client.receive_raw(1);
        }
        said
    };
    for hello in ["PING", "HELLO 3\r\nCLIENT REPLY ON"] {
        for wait in waits {
            for commands in [format!("{hello}\r\n{wait}"), format!("{hello}\r\nMULTI\r\n{wait}\r\nEXEC")] {
                let tail = |said: String| {
                    let from = said.find(if hello == "PING" { "+PONG" } else { "+OK" }).unwrap();
                    said[from..].to_owned()
                };
                assert_eq!(tail(said(&ours, &commands)), tail(said(&theirs, &commands)), "{commands}");
            }
        }
    }
}

/// Whoever waits for what a served client has moved on hears of it in the same turn, and not with whatever comes next.
#[test]
fn what_is_moved_on_is_served_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &[]);
    let (mut a, mut b, mut c) = (server.connect(), server.connect(), server.connect());
    a.send(&[b"BLMOVE", b"k", b"j", b"LEFT", b"RIGHT", b"0"]);
    b.send(&[b"BLPOP", b"j", b"0"]);
    let two = |list: &Reply| matches!(list, Reply::Bulk(text) if String::from_utf8_lossy(text).matches("flags=b").count() == 2);
    while !two(&c.call("CLIENT LIST")) {}
    assert_eq!(c.call("RPUSH k x"), Reply::Int(1));
    // Nobody sends anything from here on.
    assert_eq!(b.receive(), Reply::Array(vec![Reply::Bulk(b"j".into()), Reply::Bulk(b"x".into())]));
    assert_eq!(a.receive(), Reply::Bulk(b"x".into()));
}
