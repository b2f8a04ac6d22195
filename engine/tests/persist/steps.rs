//! Interrupted and repeated steps: first start, rewrite, snapshot, errors.

use crate::support::*;
use std::fs;
use unplug_engine::config::{AppendFsync, Config};
use unplug_engine::persist::{OpenError, RewriteError, RewriteStart, SaveError, Source};

#[test]
fn an_empty_directory_is_a_first_start() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    let store = Store::open(&config);
    assert_eq!(store.report.source, Source::Empty);
    drop(store);
    assert_eq!(Store::open(&config).report.source, Source::Aof);
}

#[test]
fn a_first_start_that_was_interrupted_begins_again() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    drop(Store::open(&config));
    for torn in [&b""[..], &[0; 70], b"#UNPLUG:1 1 0 00"] {
        fs::remove_file(manifest(dir.path())).unwrap();
        for seq in 1..=9 {
            let _ = fs::remove_file(incr(dir.path(), seq));
        }
        fs::write(incr(dir.path(), 1), torn).unwrap();
        let mut store = Store::open(&config);
        store.turn("INCR n");
        let expected = store.ks.clone();
        drop(store);
        assert_eq!(Store::open(&config).ks, expected);
        let mut last = 0;
        for seq in 1..=9 {
            if incr(dir.path(), seq).exists() {
                last = seq;
            }
        }
        fs::remove_file(incr(dir.path(), last)).unwrap();
    }
}

#[test]
fn a_lost_manifest_is_not_taken_for_a_first_start() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    Store::open(&config).turn("SET a 1");
    fs::remove_file(manifest(dir.path())).unwrap();
    let before = tree(dir.path());
    assert!(matches!(Store::try_open(&config), Err(OpenError::Corrupt { .. })));
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn a_manifest_is_found_under_its_second_name() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&config);
    store.turn("SET a 1");
    let path = manifest(dir.path());
    let prev = path.with_file_name("appendonly.aof.manifest.prev");
    fs::rename(&path, &prev).unwrap();
    let again = Store::open(&config);
    assert_eq!(again.ks, store.ks);
    assert!(path.exists() && !prev.exists());
}

#[test]
fn every_damaged_byte_of_the_manifest_is_seen() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    Store::open(&config).turn("SET a 1");
    let whole = fs::read(manifest(dir.path())).unwrap();
    for at in 0..whole.len() {
        for bit in [1, 0x20, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            fs::write(manifest(dir.path()), &bytes).unwrap();
            assert!(Store::try_open(&config).is_err(), "byte {at}: {:?}", bytes.escape_ascii().to_string());
        }
    }
}

#[test]
fn a_rewrite_keeps_what_is_written_during_it() {
    for rdb in [true, false] {
        let dir = tempdir();
        let config = Config { aof_use_rdb_preamble: rdb, ..config(dir.path(), AppendFsync::Always) };
        let mut store = Store::open(&config);
        for round in 0..3 {
            store.turn("INCR n");
            store.run(0, "INCR in-the-same-turn");
            assert_eq!(store.p.begin_rewrite(&store.ks, NOW).unwrap(), RewriteStart::Started);
            assert!(matches!(store.p.begin_rewrite(&store.ks, NOW), Err(RewriteError::InProgress)));
            store.run(2, "INCR n");
            store.end();
            // What a crash during the rewrite leaves, with the child's file anywhere.
            let image = tempdir();
            copy(dir.path(), image.path());
            let at_crash = Store::open(&Config { dir: image.path().into(), ..config.clone() });
            assert_eq!(at_crash.ks, store.ks);
            store.settle();
            assert!(store.p.info().aof_last_bgrewrite_ok);
            store.turn("INCR n");
            assert_eq!(Store::open(&config).ks, store.ks, "round {round}");
        }
        let names = tree(dir.path());
        assert_eq!(names.len(), 3, "history and temporary files are gone: {names:?}");
    }
}

#[test]
fn the_steps_of_a_finished_rewrite_can_each_be_the_last() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&config);
    store.turn("INCR n");
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.turn("INCR n");
    let before = tempdir();
    copy(dir.path(), before.path());
    store.settle();
    let after = tempdir();
    copy(dir.path(), after.path());
    // The base has its name, the old manifest stands: the base is nobody's.
    let image = tempdir();
    copy(before.path(), image.path());
    let base = "appendonlydir/appendonly.aof.2.base.rdb";
    fs::copy(after.path().join(base), image.path().join(base)).unwrap();
    let at = Config { dir: image.path().into(), ..config.clone() };
    assert_eq!(Store::open(&at).ks, store.ks);
    assert!(!image.path().join(base).exists());
    // The new manifest stands, and nothing of the old is deleted yet.
    let image = tempdir();
    copy(before.path(), image.path());
    copy(after.path(), image.path());
    let at = Config { dir: image.path().into(), ..config.clone() };
    assert_eq!(Store::open(&at).ks, store.ks);
    assert_eq!(tree(image.path()), tree(after.path()));
}

#[test]
fn a_file_that_is_listed_must_be_there_and_whole() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&config);
    store.turn("INCR n");
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.turn("INCR n");
    let image = tempdir();
    copy(dir.path(), image.path());
    store.settle();
    let at = Config { dir: image.path().into(), ..config.clone() };
    let first = fs::read(incr(image.path(), 1)).unwrap();
    for len in 0..first.len() {
        fs::write(incr(image.path(), 1), &first[..len]).unwrap();
        assert!(Store::try_open(&at).is_err(), "the predecessor is cut at {len}");
    }
    fs::remove_file(incr(image.path(), 1)).unwrap();
    assert!(Store::try_open(&at).is_err());
}

#[test]
fn an_empty_base_is_not_an_empty_store() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    Store::open(&config).turn("INCR n");
    let base = manifest(dir.path()).with_file_name("appendonly.aof.1.base.rdb");
    let whole = fs::read(&base).unwrap();
    for len in 0..whole.len() {
        fs::write(&base, &whole[..len]).unwrap();
        assert!(Store::try_open(&config).is_err(), "the base is cut at {len}");
    }
    fs::write(&base, whole).unwrap();
    Store::open(&config);
}

#[test]
fn a_rewrite_in_a_transaction_waits_for_its_end() {
    let dir = tempdir();
    let mut store = Store::open(&config(dir.path(), AppendFsync::Always));
    store.p.begin_transaction();
    store.run(0, "INCR a");
    assert_eq!(store.p.begin_rewrite(&store.ks, NOW).unwrap(), RewriteStart::Scheduled);
    store.run(0, "INCR b");
    store.p.end_transaction();
    store.end();
    store.p.cron(&store.ks, NOW).unwrap();
    store.settle();
    assert!(dir.path().join("appendonlydir/appendonly.aof.2.base.rdb").exists());
}

#[test]
fn growth_starts_a_rewrite() {
    let dir = tempdir();
    let config = Config { auto_aof_rewrite_min_size: 2000, ..config(dir.path(), AppendFsync::No) };
    let mut store = Store::open(&config);
    for _ in 0..200 {
        store.turn("INCR n");
    }
    store.settle();
    store.settle();
    assert!(store.p.info().aof_base_size < 400);
    assert_eq!(Store::open(&config).ks, store.ks);
}

#[test]
fn snapshots_are_found_again_and_replaced() {
    let dir = tempdir();
    let config = Config { appendonly: false, ..config(dir.path(), AppendFsync::No) };
    let mut store = Store::open(&config);
    fill(&mut store);
    store.p.save(&store.ks, NOW).unwrap();
    let again = Store::open(&config);
    assert_eq!(again.ks, store.ks);
    assert_eq!(again.report.source, Source::Rdb);
    store.turn("INCR hits");
    store.now += 5000;
    let started = store.p.last_save_s();
    store.p.begin_bgsave(&store.ks, store.now).unwrap();
    assert!(matches!(store.p.begin_bgsave(&store.ks, store.now), Err(SaveError::InProgress)));
    assert_eq!(store.p.last_save_s(), started, "a start acknowledges nothing");
    let at_fork = store.ks.clone();
    store.turn("INCR hits");
    store.settle();
    assert_eq!(store.p.last_save_s(), started + 5);
    assert_eq!(store.p.info().rdb_changes_since_last_save, 1);
    assert_eq!(Store::open(&config).ks, at_fork);
    assert_eq!(tree(dir.path()), ["dump.rdb"]);
}

#[test]
fn a_snapshot_is_found_under_its_second_name() {
    let dir = tempdir();
    let config = Config { appendonly: false, ..config(dir.path(), AppendFsync::No) };
    let mut store = Store::open(&config);
    fill(&mut store);
    store.p.save(&store.ks, NOW).unwrap();
    fs::rename(dir.path().join("dump.rdb"), dir.path().join("dump.rdb.prev")).unwrap();
    fs::write(dir.path().join("temp-unplug-1.rdb"), b"half").unwrap();
    assert_eq!(Store::open(&config).ks, store.ks);
    assert_eq!(tree(dir.path()), ["dump.rdb"]);
    // A first name that is there wins: the second one is what an interrupted save has left.
    fs::write(dir.path().join("dump.rdb.prev"), b"old").unwrap();
    assert_eq!(Store::open(&config).ks, store.ks);
    assert_eq!(tree(dir.path()), ["dump.rdb"]);
}

#[test]
fn every_damaged_byte_of_a_snapshot_is_seen() {
    let dir = tempdir();
    let config = Config { appendonly: false, ..config(dir.path(), AppendFsync::No) };
    let mut store = Store::open(&config);
    fill(&mut store);
    store.p.save(&store.ks, NOW).unwrap();
    let path = dir.path().join("dump.rdb");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&path, &bytes).unwrap();
        // In the version's last digit, 9 becomes 13: `=`.
        assert!(Store::try_open(&config).is_err(), "byte {at}");
        fs::write(&path, &whole[..at]).unwrap();
        assert!(Store::try_open(&config).is_err(), "cut at {at}");
    }
}

#[test]
fn save_points_start_a_save() {
    let dir = tempdir();
    let config = Config { appendonly: false, save: vec![(60, 2)], ..config(dir.path(), AppendFsync::No) };
    let mut store = Store::open(&config);
    store.turn("INCR n");
    store.now += 61_000;
    store.settle();
    assert!(!dir.path().join("dump.rdb").exists(), "one change is too few");
    store.turn("INCR n");
    store.settle();
    store.settle();
    assert_eq!(Store::open(&config).ks, store.ks);
}

#[test]
fn a_log_begins_with_the_snapshot() {
    let dir = tempdir();
    let on = config(dir.path(), AppendFsync::Always);
    let off = Config { appendonly: false, ..on.clone() };
    let mut store = Store::open(&off);
    fill(&mut store);
    store.p.save(&store.ks, NOW).unwrap();
    let mut logged = Store::open(&on);
    assert_eq!(logged.ks, store.ks);
    logged.turn("INCR hits");
    assert_eq!(Store::open(&on).ks, logged.ks);
    assert_eq!(Store::open(&off).ks, store.ks, "the snapshot is as it was");
}

#[test]
fn the_log_can_be_switched_on_and_off() {
    let dir = tempdir();
    let on = config(dir.path(), AppendFsync::Always);
    let off = Config { appendonly: false, ..on.clone() };
    let mut store = Store::open(&off);
    fill(&mut store);
    for _ in 0..2 {
        store.p.reconfigure(&on, &store.ks, NOW).unwrap();
        store.turn("INCR hits");
        assert_eq!(Store::open(&on).ks, store.ks);
        store.p.reconfigure(&off, &store.ks, NOW).unwrap();
        store.turn("INCR hits");
    }
    store.p.reconfigure(&on, &store.ks, NOW).unwrap();
    let plain = Config { aof_checksum: false, ..on.clone() };
    store.p.reconfigure(&plain, &store.ks, NOW).unwrap();
    store.turn("INCR hits");
    assert_eq!(Store::open(&plain).ks, store.ks);
}

#[test]
fn shutdown_syncs_and_saves() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::No);
    let mut store = Store::open(&config);
    fill(&mut store);
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.run(0, "INCR hits");
    store.p.shutdown(&store.ks, Some(true), NOW).unwrap();
    assert!(store.p.waitaof_durable());
    assert_eq!(Store::open(&config).ks, store.ks);
    assert_eq!(Store::open(&Config { appendonly: false, ..config }).ks, store.ks);
}

/// What a manifest lists as history is only to be deleted: that it is gone already is no loss.
#[test]
fn a_history_file_that_is_missing_is_not_missed() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&config);
    store.turn("INCR n");
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.turn("INCR n");
    let before = image(&config);
    store.settle();
    // The manifest between the two of a rewrite's end: the old files are history.
    let text = fs::read_to_string(manifest(before.dir.path())).unwrap();
    let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("file ")).collect();
    assert_eq!(lines.len(), 3, "base, incr, incr: {text}");
    let new = fs::read_to_string(manifest(dir.path())).unwrap();
    let new: Vec<&str> = new.lines().filter(|l| l.starts_with("file ")).collect();
    let history = format!(
        "{}\n{}\n{}\n{}\n",
        new[0],
        lines[0].replace(" b", " h"),
        lines[1].replace(" i", " h"),
        new[1]
    );
    for missing in 0..4 {
        let at = image(&config);
        fs::write(manifest(at.dir.path()), &history).unwrap();
        for (n, name) in ["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof"].iter().enumerate() {
            if missing & (1 << n) == 0 {
                fs::copy(
                    before.dir.path().join("appendonlydir").join(name),
                    at.dir.path().join("appendonlydir").join(name),
                )
                .unwrap();
            }
        }
        // Without checksums: this manifest was written by hand.
        let plain = Image { config: Config { aof_checksum: false, ..at.config.clone() }, dir: at.dir };
        plain.holds(&store.ks, &format!("missing {missing:b}"));
        assert_eq!(tree(plain.dir.path()).iter().filter(|n| n.contains(".aof.1.")).count(), 0);
    }
}
