//! Writes and syncs that fail.

use super::Persistence;
use super::log::Trouble;
use crate::command::replay;
use crate::config::{AppendFsync, Config};
use crate::keyspace::Keyspace;
use std::path::Path;

const NOW: u64 = 1_700_000_000_000;

fn config(dir: &Path, appendfsync: AppendFsync) -> Config {
    Config { dir: dir.to_owned(), appendonly: true, appendfsync, save: Vec::new(), ..Config::default() }
}

fn run(p: &mut Persistence, ks: &mut Keyspace, words: &[&[u8]]) {
    replay(ks, &mut 0, words, NOW).unwrap();
    p.log(0, words);
}

fn loaded(config: &Config) -> Keyspace {
    Persistence::open(config, NOW).unwrap().1
}

#[test]
fn under_always_a_failed_write_ends_the_turn_with_an_error_and_stays_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), AppendFsync::Always);
    let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    let acknowledged = ks.clone();
    p.aof.as_mut().unwrap().log.spoil();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    assert!(p.end_turn(NOW).is_err());
    assert!(p.end_turn(NOW).is_err());
    assert!(p.cron(&ks, NOW + 5000).is_err());
    assert!(p.refuses_writes().unwrap().starts_with("MISCONF"));
    assert_eq!(loaded(&config), acknowledged);
}

#[test]
fn under_no_and_everysec_the_log_waits_for_the_disk() {
    for policy in [AppendFsync::No, AppendFsync::EverySec] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), policy);
        let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
        let good = p.aof.as_mut().unwrap().log.spoil();
        run(&mut p, &mut ks, &[b"INCR", b"n"]);
        p.end_turn(NOW).unwrap();
        assert!(p.refuses_writes().is_some());
        assert!(!p.info().aof_last_write_ok);
        p.cron(&ks, NOW + 100).unwrap();
        assert!(p.refuses_writes().is_some(), "the retry has failed too");
        p.aof.as_mut().unwrap().log.mend(good);
        p.cron(&ks, NOW + 600).unwrap();
        assert!(p.refuses_writes().is_some(), "it is not tried more than once a second");
        p.cron(&ks, NOW + 1100).unwrap();
        assert_eq!(p.refuses_writes(), None);
        run(&mut p, &mut ks, &[b"INCR", b"n"]);
        // Under everysec the write may be postponed while a sync runs.
        p.wait_for_sync();
        p.end_turn(NOW + 2000).unwrap();
        assert_eq!(loaded(&config), ks);
    }
}

/// Found by `unplug check --variant types --policy everysec --faults full`: while the disk was full nothing was synced, so
/// that what had been written before was older than a second and could still be lost.
#[test]
fn what_was_written_before_a_disk_was_full_is_synced_within_the_second() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), AppendFsync::EverySec);
    let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    p.wait_for_sync();
    p.end_turn(NOW).unwrap();
    let log = &mut p.aof.as_mut().unwrap().log;
    let written = log.len();
    assert!(log.pending() == 0 && log.synced() < written);
    let good = log.spoil();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW + 100).unwrap();
    assert!(p.in_trouble() && p.holds_unwritten());
    for tick in 1..=10 {
        p.cron(&ks, NOW + tick * 100).unwrap();
        p.wait_for_sync();
    }
    assert!(p.in_trouble());
    assert_eq!(p.aof.as_ref().unwrap().log.synced(), written);
    p.aof.as_mut().unwrap().log.mend(good);
    p.cron(&ks, NOW + 2100).unwrap();
    assert!(!p.in_trouble() && !p.holds_unwritten());
    assert_eq!(loaded(&config), ks);
}

/// Found by `unplug check --policy everysec --faults EIO`: after one failed write, what had been acknowledged was on no
/// disk for more than the promised second, because the first retry waited for a second.
#[test]
fn one_failed_write_is_made_good_at_the_next_tick_and_synced_within_the_second() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), AppendFsync::EverySec);
    let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
    let good = p.aof.as_mut().unwrap().log.spoil();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    assert!(p.refuses_writes().is_some());
    p.aof.as_mut().unwrap().log.mend(good);
    for tick in 1..=8 {
        p.cron(&ks, NOW + 100 * tick).unwrap();
        assert_eq!(p.refuses_writes(), None, "tick {tick}");
    }
    p.wait_for_sync();
    assert!(p.waitaof_durable(), "synced two ticks before the second is over");
}

/// Found in the same way: a sync in the background that fails leaves time to write everything anew.
#[test]
fn a_background_sync_begins_early_enough_to_fail_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut p, mut ks, _) = Persistence::open(&config(dir.path(), AppendFsync::EverySec), NOW).unwrap();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW + 50).unwrap();
    p.cron(&ks, NOW + 850).unwrap();
    p.wait_for_sync();
    assert!(p.waitaof_durable());
    p.aof.as_mut().unwrap().trouble = Some(Trouble::Rebase("test".into()));
    p.cron(&ks, NOW + 950).unwrap();
    assert_eq!(p.refuses_writes(), None, "the first repair does not wait");
    assert!(p.waitaof_durable());
}

#[test]
fn after_a_failed_sync_everything_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), AppendFsync::EverySec);
    let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    p.aof.as_mut().unwrap().trouble = Some(Trouble::Rebase("test".into()));
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    assert!(p.refuses_writes().is_some());
    p.cron(&ks, NOW + 1000).unwrap();
    assert_eq!(p.refuses_writes(), None);
    assert!(p.waitaof_durable());
    assert!(dir.path().join("appendonlydir/appendonly.aof.2.base.rdb").exists());
    assert_eq!(loaded(&config), ks, "what was buffered is in the base, once");
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    assert_eq!(loaded(&config), ks);
}

/// A failed sync has dropped its pages, and the next one says that all is well: a stop must not take its word for it.
#[test]
fn a_stop_heeds_a_sync_that_has_failed_just_before() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), AppendFsync::EverySec);
    let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    p.wait_for_sync();
    let (seq, len) = p.aof.as_ref().map(|aof| (aof.log.seq, aof.log.len())).unwrap();
    p.syncer.failed(seq, len);
    p.shutdown(&ks, Some(false), NOW + 10).unwrap();
    assert!(dir.path().join("appendonlydir/appendonly.aof.2.base.rdb").exists(), "written anew from memory");
    assert_eq!(loaded(&config), ks);
}

/// CONFIG SET appendonly no fails with the log's last sync, and the log stays on: what the sync has dropped, the next one
/// would not find missing.
#[test]
fn a_log_that_cannot_be_switched_off_does_not_go_on_as_if_nothing_had_been() {
    for (pending, policy) in
        [(false, AppendFsync::EverySec), (true, AppendFsync::EverySec), (true, AppendFsync::No)]
    {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), policy);
        let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
        run(&mut p, &mut ks, &[b"INCR", b"n"]);
        p.end_turn(NOW).unwrap();
        p.wait_for_sync();
        let good = if pending {
            run(&mut p, &mut ks, &[b"INCR", b"n"]);
            p.aof.as_mut().unwrap().log.spoil()
        } else {
            // It cannot be synced.
            let null = std::fs::File::open("/dev/null").unwrap();
            let good = p.aof.as_mut().unwrap().log.spoil();
            p.aof.as_mut().unwrap().log.mend(null.into());
            good
        };
        assert!(p.reconfigure(&Config { appendonly: false, ..config.clone() }, &ks, NOW).is_err());
        assert!(p.refuses_writes().is_some(), "{policy:?}, pending: {pending}");
        p.aof.as_mut().unwrap().log.mend(good);
        p.cron(&ks, NOW + 1100).unwrap();
        assert_eq!(p.refuses_writes(), None);
        let anew = dir.path().join("appendonlydir/appendonly.aof.2.base.rdb").exists();
        assert_eq!(anew, !pending, "{policy:?}: a sync that failed is not made again, a write is");
        p.shutdown(&ks, Some(false), NOW + 1200).unwrap();
        assert_eq!(loaded(&config), ks);
    }
}

/// Found by `unplug check --faults rest`: a zeroed block at the log's end takes with it every mark that could have told,
/// and the acknowledged writes in it were cut off without an error.
#[test]
fn what_was_whole_at_a_clean_stop_is_not_cut_off_later() {
    let stopped = |clean: bool| {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), AppendFsync::Always);
        let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
        for _ in 0..3 {
            run(&mut p, &mut ks, &[b"INCR", b"n"]);
            p.end_turn(NOW).unwrap();
        }
        if clean {
            p.shutdown(&ks, None, NOW).unwrap();
        }
        drop(p);
        let log = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
        (dir, config, ks, log)
    };
    for clean in [true, false] {
        let (_dir, config, _, log) = stopped(clean);
        let mut bytes = std::fs::read(&log).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        std::fs::write(&log, &bytes).unwrap();
        assert_eq!(Persistence::open(&config, NOW).is_err(), clean, "zeroed, clean stop: {clean}");
        let (_dir, config, _, log) = stopped(clean);
        let bytes = std::fs::read(&log).unwrap();
        std::fs::write(&log, &bytes[..bytes.len() - 5]).unwrap();
        assert_eq!(Persistence::open(&config, NOW).is_err(), clean, "cut short, clean stop: {clean}");
    }
    // What is written after the next start may be torn again.
    let (_dir, config, mut ks, log) = stopped(true);
    let (mut p, back, _) = Persistence::open(&config, NOW).unwrap();
    assert_eq!(back, ks);
    run(&mut p, &mut ks, &[b"INCR", b"n"]);
    p.end_turn(NOW).unwrap();
    drop(p);
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 5]).unwrap();
    assert_eq!(loaded(&config), back);
}

#[test]
fn a_failed_rewrite_changes_nothing_and_is_not_repeated_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { auto_aof_rewrite_min_size: 1, ..config(dir.path(), AppendFsync::Always) };
    let (mut p, mut ks, _) = Persistence::open(&config, NOW).unwrap();
    let aof_dir = dir.path().join("appendonlydir");
    for round in 1..=3 {
        run(&mut p, &mut ks, &[b"APPEND", b"n", &[b'x'; 2000]]);
        p.end_turn(NOW).unwrap();
        // The child cannot create its file: the name is a directory's.
        let name = format!("temp-rewriteaof-bg-{}.aof", round + 1);
        std::fs::create_dir_all(aof_dir.join(&name)).unwrap();
        p.begin_rewrite(&ks, NOW).unwrap();
        while p.background_running() {
            p.reap_for_test(NOW);
        }
        assert!(!p.info().aof_last_bgrewrite_ok);
        std::fs::remove_dir(aof_dir.join(&name)).unwrap();
        assert_eq!(loaded(&config).dbs, ks.dbs);
    }
    p.cron(&ks, NOW).unwrap();
    assert!(!p.background_running(), "growth asks for one, and three have failed");
    p.cron(&ks, NOW + 61_000).unwrap();
    assert!(p.background_running());
}
