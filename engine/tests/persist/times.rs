//! `#TS:` lines, `recover-until`, and `check-aof --truncate-to-timestamp`.

use crate::check::tool;
use crate::support::*;
use std::fs;
use std::path::Path;
use unplug_engine::config::{AofLayout, AppendFsync, Config};
use unplug_engine::keyspace::Keyspace;
use unplug_engine::persist::OpenError;

const START: u64 = NOW / 1000;

fn stamped(dir: &Path, layout: AofLayout, checksum: bool) -> Config {
    let aof_checksum = checksum;
    Config {
        aof_layout: layout,
        aof_timestamp_enabled: true,
        aof_checksum,
        ..config(dir, AppendFsync::Always)
    }
}

/// Ten seconds, each with two turns and a transaction; the data at the end of each.
fn record(config: &Config) -> Vec<(u64, Keyspace)> {
    let mut store = Store::open(config);
    let mut states = vec![(START, store.ks.clone())];
    for second in 1..=10 {
        store.now = NOW + second * 1000;
        store.p.begin_turn(store.now);
        store.run(0, "INCR n");
        store.run(3, "INCR n");
        store.end();
        store.p.begin_transaction();
        store.run(3, "INCR a");
        // The clock goes on inside a transaction, and it stays one thing.
        store.p.begin_turn(store.now + 1000);
        store.run(0, "INCR b");
        store.p.end_transaction();
        store.end();
        store.p.begin_turn(store.now);
        states.push((START + second, store.ks.clone()));
    }
    states
}

fn all(dir: &Path) -> Vec<Config> {
    let layouts = [AofLayout::Multi, AofLayout::Single];
    layouts.into_iter().flat_map(|l| [true, false].map(|c| stamped(dir, l, c))).collect()
}

#[test]
fn the_log_is_loaded_up_to_a_second() {
    for kind in all(Path::new("/")) {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..kind };
        let states = record(&config);
        let last = states.last().unwrap().1.clone();
        for (until, expected) in &states {
            let at = image(&config);
            let cut = Config { recover_until: Some(*until), ..at.config.clone() };
            let store = Store::open(&cut);
            assert!(store.ks == *expected, "{until}: {:?} is not {expected:?}", store.ks);
            assert_eq!(store.report.warnings.len(), 1, "{:?}", store.report.warnings);
            drop(store);
            at.holds(expected, "the next start");
            // What was left out can be had again.
            let aside = at.dir.path().join(format!("appendonly.aof.before-{until}"));
            let back = tempdir();
            match config.aof_layout {
                AofLayout::Single => copy(&aside, back.path()),
                AofLayout::Multi => copy(&aside, &back.path().join("appendonlydir")),
            }
            assert!(Store::open(&Config { dir: back.path().into(), ..config.clone() }).ks == last);
        }
    }
}

#[test]
fn what_cannot_be_recovered_up_to_a_second_is_refused_and_nothing_changes() {
    for kind in all(Path::new("/")) {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..kind };
        let plain = Config { aof_timestamp_enabled: false, ..config.clone() };
        let mut store = Store::open(&plain);
        store.turn("INCR n");
        drop(store);
        let before = tree(dir.path());
        let until = Config { recover_until: Some(START + 5), ..config.clone() };
        let refused = Store::try_open(&until).err().unwrap().to_string();
        assert!(refused.contains("holds no times"), "{refused}");
        let mut store = Store::open(&config);
        store.now = NOW + 20_000;
        store.p.cron(&store.ks, store.now).unwrap();
        store.turn("INCR n");
        store.p.begin_rewrite(&store.ks, store.now).unwrap();
        store.settle();
        drop(store);
        let refused = Store::try_open(&until).err().unwrap().to_string();
        assert!(refused.contains("was made at"), "{refused}");
        assert_eq!(tree(dir.path()).len(), before.len());
        let other = if config.aof_layout == AofLayout::Multi { AofLayout::Single } else { AofLayout::Multi };
        let elsewhere = Config { aof_layout: other, ..until.clone() };
        assert!(matches!(Store::try_open(&elsewhere), Err(OpenError::Config(_))));
    }
}

/// Files behind the one that names a later second are left alone, whatever has become of them.
#[test]
fn what_lies_behind_the_second_is_not_even_read() {
    for checksum in [true, false] {
        let dir = tempdir();
        let config = stamped(dir.path(), AofLayout::Multi, checksum);
        let states = record(&config);
        let mut store = Store::open(&config);
        store.now = NOW + 20_000;
        store.p.begin_turn(store.now);
        store.p.begin_rewrite(&store.ks, store.now).unwrap();
        store.turn("INCR n");
        let at = image(&config);
        store.settle();
        fs::write(incr(at.dir.path(), 2), b"damaged").unwrap();
        assert!(Store::try_open(&at.config).is_err());
        let (until, expected) = &states[4];
        let back = Store::open(&Config { recover_until: Some(*until), ..at.config.clone() });
        assert!(back.ks == *expected, "{:?}", back.ks);
    }
}

#[test]
fn the_tool_cuts_in_front_of_a_second() {
    for kind in all(Path::new("/")) {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..kind };
        let states = record(&config);
        let mut store = Store::open(&config);
        store.p.shutdown(&store.ks, None, NOW).unwrap();
        drop(store);
        let head = |at: &Path| if config.aof_layout == AofLayout::Single { one(at) } else { manifest(at) };
        for (until, expected) in &states[1..] {
            let at = image(&config);
            let (text, code) = tool(&["--truncate-to-timestamp", &until.to_string()], &head(at.dir.path()));
            assert_eq!(code, 0, "{text}");
            at.holds(expected, &format!("cut at {until}"));
            assert_eq!(tool(&[], &head(at.dir.path())).1, 0);
        }
        let at = image(&config);
        let early = (START - 5).to_string();
        if !config.aof_use_rdb_preamble {
            assert_eq!(tool(&["--truncate-to-timestamp", &early], &head(at.dir.path())).1, 1);
        }
    }
}

#[test]
fn redis_reads_the_lines_and_cuts_at_them() {
    if !crate::interop::have_redis() {
        return;
    }
    for kind in all(Path::new("/")) {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..kind };
        let states = record(&config);
        let (until, expected) = &states[4];
        let head =
            if config.aof_layout == AofLayout::Single { one(dir.path()) } else { manifest(dir.path()) };
        let out = std::process::Command::new("/usr/bin/redis-check-aof")
            .args(["--truncate-to-timestamp", &until.to_string()])
            .arg(&head)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
        // Where Redis has cut a chained file, the batch that it cut is torn: its commands of that second are in it.
        if !config.aof_checksum {
            image(&config).holds(expected, "cut by Redis");
        } else {
            fs::metadata(&head).unwrap();
            assert_eq!(tool(&["--resign"], &head).1, 0);
            image(&config).holds(expected, "cut by Redis, signed here");
        }
    }
}
