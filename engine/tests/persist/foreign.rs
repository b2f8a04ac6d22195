//! What another program or a person has done to the files: Redis appended, lines of the manifest are gone, an old file
//! was put in a new one's place. Nothing of it is taken for what a crash leaves.

use crate::check::tool;
use crate::interop::{AOF, Redis, have_redis};
use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use unplug_engine::config::{AofLayout, AppendFsync, Config};
use unplug_engine::keyspace::Keyspace;

const TWO: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$9\r\nfromredis\r\n$1\r\n1\r\n";

fn append(path: &Path, bytes: &[u8]) {
    let mut all = fs::read(path).unwrap();
    all.extend_from_slice(bytes);
    fs::write(path, all).unwrap();
}

fn layouts(dir: &Path) -> [Config; 2] {
    [config(dir, AppendFsync::Always), single(dir, AppendFsync::Always)]
}

fn log_of(config: &Config) -> PathBuf {
    match config.aof_layout {
        AofLayout::Single => one(&config.dir),
        AofLayout::Multi => (1..9).map(|n| incr(&config.dir, n)).rfind(|p| p.exists()).unwrap(),
    }
}

fn head_of(config: &Config) -> PathBuf {
    if config.aof_layout == AofLayout::Single { one(&config.dir) } else { manifest(&config.dir) }
}

fn stop(mut store: Store) -> Keyspace {
    store.p.shutdown(&store.ks, None, NOW).unwrap();
    store.ks
}

fn refusal(config: &Config) -> String {
    match Store::try_open(config) {
        Ok(store) => panic!("it starts, with {} keys: {:?}", store.ks.dbs[0].len(), store.report),
        Err(e) => e.to_string(),
    }
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    // Redis leaves its socket behind.
    let files = tree(dir).into_iter().filter(|n| dir.join(n).is_file());
    files.map(|n| (n.clone(), fs::read(dir.join(n)).unwrap())).collect()
}

/// Refused by every setting, twice, changing nothing; and the tool is not content.
fn refused_by_all(config: &Config, what: &str) -> String {
    let before = contents(&config.dir);
    let (text, code) = tool(&[], &head_of(config));
    assert!(code == 1 && text.contains("not valid"), "{what}: {text}");
    let mut said = String::new();
    for to in [AofLayout::Multi, AofLayout::Single] {
        for aof_checksum in [false, true] {
            for _ in 0..2 {
                said = refusal(&Config { aof_layout: to, aof_checksum, ..config.clone() });
                assert!(contents(&config.dir) == before, "{what}: a refusal changes nothing");
            }
        }
    }
    said
}

#[test]
fn what_was_cut_off_stays_and_is_never_written_over() {
    let nowhere = tempdir();
    for kind in layouts(nowhere.path()) {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..kind };
        let mut store = Store::open(&config);
        store.turn("SET a 1");
        drop(store);
        let mut kept: Vec<PathBuf> = Vec::new();
        for torn in [&b"*2\r\n$4\r\nIN"[..], b"*1\r\n$7\r\nFLU", b"*9\r\n", b"*2\r\n$4\r\nIN"] {
            append(&log_of(&config), torn);
            let store = Store::open(&config);
            let path = store.report.cuts[0].kept.clone().unwrap();
            assert_eq!(fs::read(&path).unwrap(), torn);
            kept.push(path);
        }
        assert_eq!(kept[0], kept[3], "the same bytes once");
        append(&log_of(&config), b"*4\r\n");
        let (text, code) = tool(&["--fix"], &log_of(&config));
        assert_eq!(code, 0, "{text}");
        let mut store = Store::open(&config);
        for _ in 0..2 {
            store.p.begin_rewrite(&store.ks, NOW).unwrap();
            store.settle();
            store.turn("INCR n");
        }
        stop(store);
        drop(Store::open(&config));
        let found: Vec<_> =
            contents(dir.path()).into_iter().filter(|(name, _)| name.contains(".cut-")).collect();
        let mut bytes: Vec<_> = found.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, [&b"*1\r\n$7\r\nFLU"[..], b"*2\r\n$4\r\nIN", b"*4\r\n", b"*9\r\n"], "{found:?}");
    }
}

/// Behind the end of a file that was stopped in order no crash leaves anything.
#[test]
fn what_stands_behind_a_stop_in_order_is_refused_until_it_is_accepted() {
    let nowhere = tempdir();
    for kind in layouts(nowhere.path()) {
        for (tail, whole) in [(TWO, true), (b"*2\r\n$4\r\nIN", false), (b"\0\0\0", false)] {
            let dir = tempdir();
            let config = Config { dir: dir.path().into(), ..kind.clone() };
            let mut store = Store::open(&config);
            store.turn("SET a 1");
            let mut ks = stop(store);
            append(&log_of(&config), tail);
            let said = refused_by_all(&config, "foreign tail");
            assert!(said.contains("check-aof --resign"), "{said}");
            // Cut on request.
            let fixed = image(&config);
            let (text, code) = tool(&["--fix"], &head_of(&fixed.config));
            assert_eq!(code, 0, "{text}");
            fixed.holds(&ks, "cut on request");
            // Accepted on request.
            let options: &[&str] = if whole { &["--resign"] } else { &["--resign", "--fix"] };
            let (text, code) = tool(options, &head_of(&config));
            assert_eq!(code, 0, "{text}");
            if whole {
                let argv: [&[u8]; 3] = [b"SET", b"fromredis", b"1"];
                unplug_engine::command::replay(&mut ks, &mut 0, &argv, NOW).unwrap();
            }
            image(&config).holds(&ks, "accepted on request");
        }
    }
}

/// A server that could not stop goes on writing: its torn write is its own.
#[test]
fn a_stop_that_fails_closes_nothing() {
    let nowhere = tempdir();
    for kind in layouts(nowhere.path()) {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..kind };
        let mut store = Store::open(&config);
        store.turn("SET a 1");
        let ks = store.ks.clone();
        fs::create_dir(dir.path().join(&config.dbfilename)).unwrap();
        assert!(store.p.shutdown(&store.ks, Some(true), NOW).is_err());
        fs::remove_dir(dir.path().join(&config.dbfilename)).unwrap();
        let len = fs::metadata(log_of(&config)).unwrap().len();
        store.turn("SET b 2");
        let whole = fs::read(log_of(&config)).unwrap();
        for end in len..whole.len() as u64 {
            let at = image(&config);
            fs::write(log_of(&at.config), &whole[..end as usize]).unwrap();
            at.holds(&ks, "torn after the stop that failed");
        }
    }
}

/// It is another life's write that is torn, not a foreign one; and what was whole at the stop is known all the same.
#[test]
fn a_start_opens_the_end_again_and_forgets_nothing() {
    let nowhere = tempdir();
    for kind in layouts(nowhere.path()) {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..kind };
        let mut store = Store::open(&config);
        store.turn("SET a 1");
        let ks = stop(store);
        let len = fs::metadata(log_of(&config)).unwrap().len();
        // Started and stopped, started and killed, started and killed after a write.
        stop(Store::open(&config));
        drop(Store::open(&config));
        let mut store = Store::open(&config);
        store.turn("SET b 2");
        drop(store);
        let whole = fs::read(log_of(&config)).unwrap();
        for end in len..whole.len() as u64 {
            let at = image(&config);
            fs::write(log_of(&at.config), &whole[..end as usize]).unwrap();
            at.holds(&ks, "torn");
        }
        for end in 0..len {
            fs::write(log_of(&config), &whole[..end as usize]).unwrap();
            assert!(Store::try_open(&config).is_err(), "cut to {end} of {len}");
        }
    }
}

#[test]
fn what_redis_appends_is_not_lost_without_a_word() {
    if !have_redis() {
        return;
    }
    for stopped in [true, false] {
        let dir = tempdir();
        let config = config(dir.path(), AppendFsync::Always);
        let mut store = Store::open(&config);
        store.turn("SET a 1");
        store.turn("SET b 2");
        let mut ks = if stopped { stop(store) } else { store.ks };
        let mut redis = Redis::start(dir.path(), &AOF);
        assert_eq!(redis.text("SET fromredis x"), "+OK");
        assert_eq!(redis.text("RPUSH l 1 2"), ":2");
        drop(redis);
        if stopped {
            refused_by_all(&config, "Redis has appended");
        } else {
            // A crash can leave whole commands without their checksum, too: it is kept, and the report says how to have it.
            let store = Store::open(&config);
            assert!(store.ks == ks);
            let cut = store.report.cuts[0].clone();
            let said = cut.to_string();
            assert!(said.contains("3 whole commands") && said.contains("--resign"), "{said}");
            assert!(!said.contains("no whole commands"), "{said}");
            drop(store);
            append(&cut.file, &fs::read(cut.kept.unwrap()).unwrap());
        }
        let (text, code) = tool(&["--resign"], &manifest(dir.path()));
        assert_eq!(code, 0, "{text}");
        for argv in [&[&b"SET"[..], b"fromredis", b"x"][..], &[b"RPUSH", b"l", b"1", b"2"]] {
            unplug_engine::command::replay(&mut ks, &mut 0, argv, NOW).unwrap();
        }
        image(&config).holds(&ks, "signed");
    }
}
