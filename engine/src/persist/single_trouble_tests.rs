//! Writes and syncs that fail, with a single file.

use super::Persistence;
use super::log::Trouble;
use crate::command::replay;
use crate::config::{AofLayout, AppendFsync, Config};
use crate::keyspace::Keyspace;
use std::path::Path;

const NOW: u64 = 1_700_000_000_000;

fn config(dir: &Path, appendfsync: AppendFsync) -> Config {
    let aof_layout = AofLayout::Single;
    Config {
        dir: dir.to_owned(),
        appendonly: true,
        aof_layout,
        appendfsync,
        save: Vec::new(),
        ..Config::default()
    }
}

fn run(p: &mut Persistence, ks: &mut Keyspace, words: &[&[u8]]) {
    replay(ks, &mut 0, words, NOW).unwrap();
    p.log(0, words);
}

fn loaded(config: &Config) -> Keyspace {
    Persistence::open(config, NOW).unwrap().1
}

fn settle(p: &mut Persistence) {
    while p.background_running() {
        p.reap_for_test(NOW);
    }
}

#[test]
fn what_could_not_be_written_waits_through_a_rewrite_and_is_there_once() {
    for rdb in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { aof_use_rdb_preamble: rdb, ..config(dir.path(), AppendFsync::No) };
        let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
        run(&mut p, &mut ks, &[b"INCR", b"n"]);
        p.begin_rewrite(&ks, NOW).unwrap();
        run(&mut p, &mut ks, &[b"INCR", b"n"]);
        p.end_turn(NOW).unwrap();
        // The old file cannot be written any more; the rewrite ends, and gives the log a new one.
        p.aof.as_mut().unwrap().log.spoil();
        run(&mut p, &mut ks, &[b"INCR", b"n"]);
        p.end_turn(NOW).unwrap();
        assert!(p.refuses_writes().is_some());
        settle(&mut p);
        assert!(p.info().aof_last_bgrewrite_ok);
        p.cron(&ks, NOW + 5000).unwrap();
        assert_eq!(p.refuses_writes(), None, "the new file takes what waited");
        run(&mut p, &mut ks, &[b"INCR", b"n"]);
        p.end_turn(NOW).unwrap();
        assert_eq!(loaded(&config), ks);
    }
}

#[test]
fn under_always_a_failed_write_during_a_rewrite_stops_and_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), AppendFsync::Always);
    let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    let acknowledged = ks.clone();
    p.begin_rewrite(&ks, NOW).unwrap();
    p.aof.as_mut().unwrap().log.spoil();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    assert!(p.end_turn(NOW).is_err());
    assert!(p.cron(&ks, NOW).is_err());
    drop(p);
    assert_eq!(loaded(&config), acknowledged);
}

#[test]
fn a_log_that_cannot_be_trusted_is_written_anew_and_a_running_rewrite_ended() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), AppendFsync::EverySec);
    let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
    for rewriting in [false, true] {
        run(&mut p, &mut ks, &[b"INCR", b"n"]);
        p.end_turn(NOW).unwrap();
        if rewriting {
            p.wait_for_sync();
            p.begin_rewrite(&ks, NOW).unwrap();
        }
        p.aof.as_mut().unwrap().trouble = Some(Trouble::Rebase("test".into()));
        run(&mut p, &mut ks, &[b"INCR", b"n"]);
        p.end_turn(NOW).unwrap();
        assert!(p.refuses_writes().is_some());
        p.cron(&ks, NOW + 10_000 * u64::from(rewriting)).unwrap();
        assert_eq!(p.refuses_writes(), None);
        assert!(p.waitaof_durable());
        assert_eq!(loaded(&config), ks, "what was buffered is in the base, once");
        settle(&mut p);
    }
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    p.shutdown(&ks, None, NOW).unwrap();
    assert_eq!(loaded(&config), ks);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|n| !n.to_string_lossy().contains("temp-")), "{left:?}");
}

/// A rewrite's end that cannot be put in place: the name of the second link is a directory's.
#[test]
fn a_rewrite_that_cannot_be_put_in_place_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), AppendFsync::Always);
    let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
    std::fs::create_dir(dir.path().join("appendonly.aof.prev")).unwrap();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    p.begin_rewrite(&ks, NOW).unwrap();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    settle(&mut p);
    assert!(!p.info().aof_last_bgrewrite_ok);
    assert_eq!(p.refuses_writes(), None);
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    std::fs::remove_dir(dir.path().join("appendonly.aof.prev")).unwrap();
    assert_eq!(loaded(&config), ks);
    assert!(!dir.path().join("temp-rewriteaof-bg-2.aof").exists());
}

/// A sync in the background that ends when the log is another file already says nothing of that one.
#[test]
fn a_sync_of_the_old_file_is_not_taken_for_one_of_the_new() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), AppendFsync::EverySec);
    let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
    for _ in 0..200 {
        run(&mut p, &mut ks, &[b"INCR", b"n"]);
        p.end_turn(NOW).unwrap();
    }
    p.wait_for_sync();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW + 2000).unwrap();
    // Its sync runs, or has ended without having been asked for.
    p.begin_rewrite(&ks, NOW + 2000).unwrap();
    while p.background_running() {
        std::thread::sleep(std::time::Duration::from_millis(1));
        p.reap_for_test(NOW + 2000);
    }
    p.wait_for_sync();
    let log = &p.aof.as_ref().unwrap().log;
    assert!(log.synced() <= log.len(), "{} of {}", log.synced(), log.len());
    assert_eq!(loaded(&config), ks);
}
