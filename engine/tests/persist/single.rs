//! A single file: bytes, rewrite, damage.

use crate::support::*;
use std::fs;
use unplug_engine::config::{AppendFsync, Config};
use unplug_engine::persist::{OpenError, RewriteError, RewriteStart};

const ALL: [AppendFsync; 3] = [AppendFsync::Always, AppendFsync::EverySec, AppendFsync::No];

fn escaped(path: &std::path::Path) -> String {
    fs::read(path).unwrap().escape_ascii().to_string().replace("\\n", "\\n\n")
}

#[test]
fn its_bytes() {
    for (name, kind) in ["rdb", "commands", "rdb_plain", "commands_plain"].iter().zip(0..) {
        let dir = tempdir();
        let config = kinds(&single(dir.path(), AppendFsync::Always))[kind].clone();
        let mut store = Store::open(&config);
        store.turn("SET before 1");
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.turn("INCR during");
        store.settle();
        store.turn("INCR after");
        insta::assert_snapshot!(format!("single_{name}"), escaped(&one(dir.path())));
        assert_eq!(tree(dir.path()), ["appendonly.aof"]);
        store.p.shutdown(&store.ks, None, NOW).unwrap();
        if config.aof_checksum && config.aof_use_rdb_preamble {
            insta::assert_snapshot!("single_seal", escaped(&dir.path().join("appendonly.aof.seal")));
        }
    }
}

#[test]
fn writes_before_during_and_after_a_rewrite_are_there_once() {
    for policy in ALL {
        let dir = tempdir();
        for config in kinds(&single(dir.path(), policy)) {
            let _ = fs::remove_file(one(dir.path()));
            let _ = fs::remove_file(dir.path().join("appendonly.aof.seal"));
            let mut store = Store::open(&config);
            fill(&mut store);
            for round in 0..3 {
                let what = format!("{policy:?} {} {round}", config.aof_checksum);
                store.turn("INCR n");
                store.run(2, "INCR in-the-same-turn");
                assert_eq!(store.p.begin_rewrite(&store.ks, NOW).unwrap(), RewriteStart::Started);
                assert!(matches!(store.p.begin_rewrite(&store.ks, NOW), Err(RewriteError::InProgress)));
                // The child is not looked after before `settle`, however soon it has ended.
                store.run(2, "INCR n");
                store.end();
                store.p.begin_transaction();
                store.run(2, "INCR n");
                store.run(0, "RPUSH queue x");
                store.p.end_transaction();
                store.end();
                store.written();
                image(&config).holds(&store.ks, &what);
                // Logged before the rewrite ends, written after it.
                store.run(0, "INCR n");
                store.settle();
                assert!(store.p.info().aof_last_bgrewrite_ok, "{what}");
                store.end();
                store.written();
                image(&config).holds(&store.ks, &what);
            }
            let names = tree(dir.path());
            assert_eq!(names, ["appendonly.aof"], "nothing is left over");
        }
    }
}

#[test]
fn a_failed_rewrite_leaves_the_old_file_and_loses_nothing() {
    let dir = tempdir();
    for config in kinds(&single(dir.path(), AppendFsync::Always)) {
        let _ = fs::remove_file(one(dir.path()));
        let mut store = Store::open(&config);
        store.turn("INCR n");
        for round in 2..5 {
            // The child cannot write: the name is a directory's.
            let temp = dir.path().join(format!("temp-rewriteaof-bg-{round}.aof"));
            fs::create_dir(&temp).unwrap();
            store.p.begin_rewrite(&store.ks, NOW).unwrap();
            store.turn("INCR n");
            while store.p.background_running() {
                let before = store.now;
                store.p.cron(&store.ks, before).unwrap();
            }
            assert!(!store.p.info().aof_last_bgrewrite_ok);
            fs::remove_dir(&temp).unwrap();
            store.turn("INCR n");
            image(&config).holds(&store.ks, "after a failed rewrite");
        }
    }
}

#[test]
fn every_damaged_byte_is_refused_or_is_in_the_last_batch() {
    for rdb in [true, false] {
        let dir = tempdir();
        let config = Config { aof_use_rdb_preamble: rdb, ..single(dir.path(), AppendFsync::Always) };
        let mut store = Store::open(&config);
        fill(&mut store);
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.turn("INCR during");
        store.settle();
        store.turn("INCR n");
        let before = store.ks.clone();
        let last = fs::metadata(one(dir.path())).unwrap().len();
        store.turn("INCR n");
        drop(store);
        let whole = fs::read(one(dir.path())).unwrap();
        for at in 0..whole.len() {
            for bit in [1u8, 0x20] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                fs::write(one(dir.path()), &bytes).unwrap();
                let opened = Store::try_open(&config);
                if (at as u64) < last {
                    assert!(opened.is_err(), "byte {at} of {}, bit {bit}", whole.len());
                    assert_eq!(fs::read(one(dir.path())).unwrap(), bytes, "a refusal changes nothing");
                } else {
                    assert!(opened.unwrap().ks == before, "byte {at}");
                }
            }
        }
        for len in 0..whole.len() {
            fs::write(one(dir.path()), &whole[..len]).unwrap();
            let opened = Store::try_open(&config);
            if (len as u64) < last {
                // A shorter file may be one that was not appended to yet, but what it held at first must be there.
                let ended = whole[..len].windows(12).any(|w| w == b"#UNPLUG-END\r");
                assert!(opened.is_err() || ended, "cut at {len}");
            } else {
                assert!(opened.unwrap().ks == before);
            }
            for name in tree(dir.path()).iter().filter(|n| n.contains(".cut-")) {
                fs::remove_file(dir.path().join(name)).unwrap();
            }
        }
    }
}

#[test]
fn what_was_whole_at_a_stop_in_order_is_not_cut_off_later() {
    let dir = tempdir();
    let config = single(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&config);
    fill(&mut store);
    store.p.shutdown(&store.ks, None, NOW).unwrap();
    let ks = store.ks.clone();
    drop(store);
    let whole = fs::read(one(dir.path())).unwrap();
    for len in 0..whole.len() {
        fs::write(one(dir.path()), &whole[..len]).unwrap();
        assert!(Store::try_open(&config).is_err(), "cut at {len}");
        let mut zeroed = whole.clone();
        zeroed[len..].fill(0);
        fs::write(one(dir.path()), &zeroed).unwrap();
        assert!(Store::try_open(&config).is_err(), "zeros from {len}");
    }
    fs::remove_file(one(dir.path())).unwrap();
    assert!(matches!(Store::try_open(&config), Err(OpenError::Corrupt { .. })), "it is missing");
    fs::write(one(dir.path()), &whole).unwrap();
    let seal = dir.path().join("appendonly.aof.seal");
    let sealed = fs::read(&seal).unwrap();
    for at in 0..sealed.len() {
        let mut bytes = sealed.clone();
        bytes[at] ^= 1;
        fs::write(&seal, bytes).unwrap();
        assert!(Store::try_open(&config).is_err(), "byte {at} of the seal");
    }
    fs::write(&seal, sealed).unwrap();
    // What is written after the next start may be torn again, and a rewrite makes another file of it.
    let mut store = Store::open(&config);
    assert!(store.ks == ks);
    store.turn("INCR torn");
    let more = fs::read(one(dir.path())).unwrap();
    fs::write(one(dir.path()), &more[..more.len() - 3]).unwrap();
    image(&config).holds(&ks, "torn again");
    fs::write(one(dir.path()), &more).unwrap();
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.settle();
    image(&config).holds(&store.ks, "the seal speaks of another file");
}

#[test]
fn a_tail_cut_at_every_offset_is_the_longest_whole_prefix() {
    let dir = tempdir();
    let config = single(dir.path(), AppendFsync::No);
    let mut store = Store::open(&config);
    let len = || fs::metadata(one(dir.path())).unwrap().len();
    let mut states = vec![(len(), store.ks.clone())];
    for n in 0..8 {
        store.run(n % 3, "INCR n");
        store.p.begin_transaction();
        store.run(1, "INCR a");
        store.run(1, "INCR b");
        store.p.end_transaction();
        store.end();
        states.push((len(), store.ks.clone()));
    }
    drop(store);
    let whole = fs::read(one(dir.path())).unwrap();
    for end in states[0].0..=whole.len() as u64 {
        let want = &states.iter().rfind(|(len, _)| *len <= end).unwrap().1;
        for zeros in [false, true] {
            let mut bytes = whole.clone();
            if zeros {
                bytes[end as usize..].fill(0);
            } else {
                bytes.truncate(end as usize);
            }
            let at = image(&config);
            fs::write(one(at.dir.path()), &bytes).unwrap();
            at.holds(want, &format!("cut at {end}"));
        }
    }
}

#[test]
fn it_is_found_under_its_second_name() {
    let dir = tempdir();
    let config = single(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&config);
    fill(&mut store);
    let prev = dir.path().join("appendonly.aof.prev");
    fs::rename(one(dir.path()), &prev).unwrap();
    fs::write(dir.path().join("temp-rewriteaof-bg-7.aof"), b"half").unwrap();
    fs::write(dir.path().join("temp-rewriteaof-4711.aof"), b"half, by Redis").unwrap();
    drop(store.p);
    let again = Store::open(&config);
    assert!(again.ks == store.ks);
    assert_eq!(tree(dir.path()), ["appendonly.aof"]);
    // A first name that is there wins.
    fs::write(&prev, b"old").unwrap();
    assert!(Store::open(&config).ks == store.ks);
    assert_eq!(tree(dir.path()), ["appendonly.aof"]);
}

#[test]
fn a_chain_without_its_first_line_is_not_taken_for_a_file_without_checksums() {
    let dir = tempdir();
    let config = Config { aof_use_rdb_preamble: false, ..single(dir.path(), AppendFsync::Always) };
    let mut store = Store::open(&config);
    fill(&mut store);
    drop(store);
    let whole = fs::read(one(dir.path())).unwrap();
    let line = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    fs::write(one(dir.path()), &whole[line..]).unwrap();
    assert!(Store::try_open(&config).is_err());
    assert!(Store::try_open(&Config { aof_checksum: false, ..config.clone() }).is_err());
}
