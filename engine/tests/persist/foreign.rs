//! What another program or a person has done to the files: Redis appended, lines of the manifest are gone, an old file
//! was put in a new one's place. Nothing of it is taken for what a crash leaves.

use crate::check::tool;
use crate::interop::{AOF, Redis, check_tool, have_redis};
use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use unplug_engine::aof::{FileEntry, FileKind, Manifest};
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
        // Under everysec Redis may still have the second one in memory when it is killed.
        let mut redis = Redis::start(dir.path(), &[&AOF[..], &["--appendfsync", "always"]].concat());
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

/// Twenty keys, a rewrite, twenty more, a stop in order.
fn forty(config: &Config) -> Keyspace {
    let mut store = Store::open(config);
    (0..20).for_each(|n| store.turn(&format!("SET key:{n} {n}")));
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.settle();
    (20..40).for_each(|n| store.turn(&format!("SET key:{n} {n}")));
    stop(store)
}

fn edit_manifest(dir: &Path, keep: impl Fn(usize, &str) -> bool) {
    let text = fs::read_to_string(manifest(dir)).unwrap();
    let lines = text.split_inclusive('\n').enumerate().filter(|(n, line)| keep(*n, line));
    fs::write(manifest(dir), lines.map(|(_, line)| line).collect::<String>()).unwrap();
}

#[test]
fn a_manifest_without_our_lines_is_not_taken_on_trust() {
    for rdb in [true, false] {
        let dir = tempdir();
        let config = Config { aof_use_rdb_preamble: rdb, ..config(dir.path(), AppendFsync::Always) };
        let ks = forty(&config);
        let cut = image(&config);
        edit_manifest(&cut.config.dir, |n, _| n == 0);
        let said = refused_by_all(&cut.config, "only the base's line");
        assert!(said.contains("incr.aof"), "{said}");
        let cut = image(&config);
        edit_manifest(&cut.config.dir, |n, line| n > 0 && !line.starts_with('#'));
        refused_by_all(&cut.config, "not the base's line");
        let cut = image(&config);
        edit_manifest(&cut.config.dir, |_, line| !line.starts_with('#'));
        let all = image(&cut.config).holds(&ks, "all files are listed");
        assert_eq!(all.report.warnings.len(), 1);
        let log = log_of(&cut.config);
        let whole = fs::read(&log).unwrap();
        // A byte of a value: Redis's commands have no checksum that could say so.
        let at = whole.windows(6).position(|w| w == b"key:25").unwrap() + 4;
        for at in [at, 12] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&log, bytes).unwrap();
            refused_by_all(&cut.config, "a byte of the chain");
        }
        fs::write(&log, &whole[..whole.len() - 10]).unwrap();
        let (_, code) = tool(&[], &manifest(&cut.config.dir));
        assert_eq!(code, 1, "torn in its last annotation");
    }
}

#[test]
fn a_directory_that_redis_has_taken_over_is_loaded() {
    if !have_redis() {
        return;
    }
    for rdb in [true, false] {
        let dir = tempdir();
        let config = Config { aof_use_rdb_preamble: rdb, ..config(dir.path(), AppendFsync::Always) };
        let ks = forty(&config);
        // Redis finds history, deletes it, and writes the manifest anew: its writes go behind our chain.
        let history = image(&config);
        let path = manifest(&history.config.dir);
        let mut listed = Manifest::parse(&fs::read(&path).unwrap()).unwrap();
        let name = "appendonly.aof.1.incr.aof".to_owned();
        fs::write(history.config.dir.join("appendonlydir").join(&name), b"").unwrap();

        listed.files.push(FileEntry { name, seq: 1, kind: FileKind::History, chained: true, tie: None });
        fs::write(&path, listed.encode()).unwrap();
        let mut redis = Redis::start(&history.config.dir, &AOF);
        assert_eq!(redis.text("SET fromredis 1"), "+OK");
        drop(redis);
        assert!(!fs::read_to_string(&path).unwrap().contains('#'), "Redis has written it anew");
        let mut both = ks.clone();
        let set: [&[u8]; 3] = [b"SET", b"fromredis", b"1"];
        unplug_engine::command::replay(&mut both, &mut 0, &set, NOW).unwrap();
        let (text, code) = tool(&[], &path);
        assert_eq!(code, 0, "{text}");
        image(&history.config).holds(&both, "behind our chain");
        // Redis rewrites: its own incr file behind ours, then its own base.
        let taken = image(&config);
        let mut redis = Redis::start(&taken.config.dir, &AOF);
        redis.text("CONFIG SET rdb-key-save-delay 100000");
        assert!(redis.text("BGREWRITEAOF").starts_with('+'));
        assert_eq!(redis.text("SET fromredis 1"), "+OK");
        let during = image(&taken.config);
        redis.text("CONFIG SET rdb-key-save-delay 0");
        redis.wait_until("persistence", "aof_rewrite_in_progress:0");
        drop(redis);
        for at in [&during, &taken] {
            let (text, code) = tool(&[], &manifest(at.dir.path()));
            assert_eq!(code, 0, "{text}");
            for config in [
                at.config.clone(),
                Config { aof_layout: AofLayout::Single, ..at.config.clone() },
                Config { aof_checksum: false, ..at.config.clone() },
            ] {
                image(&config).holds(&both, "taken over");
            }
        }
        // Ours is a predecessor now, and verified as such.
        if let Some(log) = Some(incr(during.dir.path(), 2)).filter(|p| p.exists()) {
            let mut bytes = fs::read(&log).unwrap();
            let at = bytes.windows(6).position(|w| w == b"key:25").unwrap() + 4;
            bytes[at] ^= 1;
            fs::write(&log, bytes).unwrap();
            refused_by_all(&during.config, "a byte of our predecessor");
        }
    }
}

/// A start that takes over Redis's directory, killed before its manifest is there, and a file that Redis's manifest does
/// not list.
#[test]
fn unlisted_files_beside_a_foreign_manifest() {
    let dir = tempdir();
    let plain = Config { aof_checksum: false, ..config(dir.path(), AppendFsync::Always) };
    let mut store = Store::open(&plain);
    store.turn("SET a 1");
    let ks = store.ks.clone();
    drop(store);
    let ours = Config { aof_checksum: true, ..plain.clone() };
    let begun = image(&ours);
    drop(Store::open(&begun.config));
    fs::copy(manifest(dir.path()), manifest(begun.dir.path())).unwrap();
    assert!(incr(begun.dir.path(), 2).exists());
    begun.holds(&ks, "begun");
    // Redis's own upgrade, stopped before it has a second file.
    let upgraded = tempdir();
    fs::create_dir(upgraded.path().join("appendonlydir")).unwrap();
    fs::write(
        upgraded.path().join("appendonlydir/appendonly.aof"),
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
    )
    .unwrap();
    fs::write(manifest(upgraded.path()), "file appendonly.aof seq 1 type b\n").unwrap();
    image(&Config { dir: upgraded.path().into(), ..ours.clone() }).holds(&ks, "upgraded");
    for to in [AofLayout::Multi, AofLayout::Single] {
        let mut stray = image(&ours);
        stray.config.aof_layout = to;
        for name in ["appendonly.aof.7.incr.aof", "appendonly.aof.9.base.rdb"] {
            fs::write(stray.dir.path().join("appendonlydir").join(name), TWO).unwrap();
        }
        stray.holds(&ks, "stray");
        let left = contents(stray.dir.path()).iter().filter(|(_, bytes)| bytes == TWO).count();
        assert_eq!(left, 2, "{:?}", tree(stray.dir.path()));
    }
}

#[test]
fn an_old_base_is_not_loaded() {
    for rdb in [true, false] {
        let dir = tempdir();
        let config = Config { aof_use_rdb_preamble: rdb, ..config(dir.path(), AppendFsync::Always) };
        let base = |n| dir.path().join(format!("appendonlydir/{}", unplug_base(n, rdb)));
        let mut store = Store::open(&config);
        store.turn("SET a 1");
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.settle();
        let old = fs::read(base(2)).unwrap();
        store.turn("SET a 2");
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.settle();
        let ks = stop(store);
        let new = fs::read(base(3)).unwrap();
        assert_eq!(old.len(), new.len());
        if have_redis() {
            check_tool("/usr/bin/redis-check-aof", &manifest(dir.path()));
        }
        image(&config).holds(&ks, "whole");
        fs::write(base(3), &old).unwrap();
        let said = refused_by_all(&config, "an old base");
        assert!(said.contains(&unplug_base(3, rdb)), "{said}");
        // Accepted on request.
        if rdb {
            let (text, code) = tool(&["--resign"], &manifest(dir.path()));
            assert_eq!(code, 0, "{text}");
            let mut store = Store::open(&config);
            store.turn("INCR n");
        }
    }
}

fn unplug_base(n: u64, rdb: bool) -> String {
    format!("appendonly.aof.{n}.base.{}", if rdb { "rdb" } else { "aof" })
}

/// A base that Redis made has no line of ours, until it is ours.
#[test]
fn a_base_of_redis_is_tied_when_it_is_taken_over() {
    if !have_redis() {
        return;
    }
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    let mut redis = Redis::start(dir.path(), &AOF);
    let mut bases = Vec::new();
    for n in 2..4 {
        redis.text(&format!("SET a {n}"));
        assert!(redis.text("BGREWRITEAOF").starts_with('+'));
        redis.wait_until("persistence", "aof_rewrite_in_progress:0");
        let base = dir.path().join("appendonlydir").join(unplug_base(n, true));
        bases.push((fs::read(&base).unwrap(), base));
    }
    drop(redis);
    let mut store = Store::open(&config);
    store.turn("SET b 1");
    let ks = store.ks.clone();
    drop(store);
    Redis::start(dir.path(), &AOF).text("PING");
    image(&config).holds(&ks, "taken over");
    fs::write(&bases[1].1, &bases[0].0).unwrap();
    refused_by_all(&config, "an old base");
}
