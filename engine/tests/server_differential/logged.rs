//! What is logged of those who waited, command by command: what redis-server logs.

use crate::blocking::{Play, SCENARIOS};
use crate::redis;
use crate::server_support::Running;
use std::path::Path;
use unplug_engine::aof::{Times, scan_plain};

/// The commands of a log from an offset on, and where it ends. Brackets are left out: the engine needs none around what a
/// checksum holds together.
fn logged(dir: &Path, from: usize) -> (Vec<String>, usize) {
    let bytes = std::fs::read(dir.join("appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
    let mut commands = Vec::new();
    let scanned = scan_plain::<()>(&bytes, from, Times::default(), &mut |argv| {
        let mut words: Vec<String> = argv.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
        words[0].make_ascii_uppercase();
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
    let Some(theirs) = redis(their_dir.path(), &log) else { return };
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
