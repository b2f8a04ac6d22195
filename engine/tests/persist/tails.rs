//! What an unsynced tail can look like after a power loss, and what it cannot.

use crate::support::*;
use std::fs;
use unplug_engine::config::{AppendFsync, Config};
use unplug_engine::keyspace::Keyspace;
use unplug_engine::persist::OpenError;

/// The states after each turn, and the length of the incr file then.
struct Run {
    dir: tempfile::TempDir,
    config: Config,
    states: Vec<(u64, Keyspace)>,
}

fn record(policy: AppendFsync, turns: usize) -> Run {
    let dir = tempdir();
    let config = config(dir.path(), policy);
    let mut store = Store::open(&config);
    let len = || fs::metadata(incr(dir.path(), 1)).unwrap().len();
    let mut states = vec![(len(), store.ks.clone())];
    for n in 0..turns {
        store.run(n % 3, "INCR counter");
        store.run(0, &format!("APPEND text {}", "x".repeat(n * 7 % 90)));
        if n % 4 == 0 {
            store.p.begin_transaction();
            store.run(1, &format!("RPUSH list {n}"));
            store.run(1, "INCR pushed");
            store.p.end_transaction();
        }
        store.end();
        states.push((len(), store.ks.clone()));
    }
    drop(store);
    Run { dir, config, states }
}

/// Starts on the run's directory with other bytes in the incr file.
fn start_with(run: &Run, bytes: &[u8]) -> Result<Store, OpenError> {
    fs::write(incr(run.dir.path(), 1), bytes).unwrap();
    let _ = fs::read_dir(run.dir.path().join("appendonlydir")).unwrap().try_for_each(|e| {
        let path = e?.path();
        if path.to_string_lossy().contains(".cut-") { fs::remove_file(path) } else { Ok(()) }
    });
    Store::try_open(&run.config)
}

/// It must be the longest whole prefix, take a write, and have both after a further start.
fn check_prefix(run: &Run, bytes: &[u8], intact: u64) {
    let (len, expected) = run.states.iter().rfind(|(len, _)| *len <= intact).unwrap();
    let mut store = start_with(run, bytes).unwrap_or_else(|e| panic!("{intact} bytes intact: {e}"));
    assert_eq!(store.ks, *expected, "{intact} bytes intact");
    let cut: u64 = store.report.cuts.iter().map(|c| c.bytes).sum();
    assert_eq!(cut, bytes.len() as u64 - len);
    for cut in &store.report.cuts {
        let rest = &bytes[*len as usize..];
        match &cut.kept {
            Some(kept) => {
                assert_eq!(fs::read(kept).unwrap(), rest);
                assert!(rest.iter().any(|b| *b != 0), "zeros are not worth keeping");
            }
            None => assert!(rest.iter().all(|b| *b == 0)),
        }
    }
    store.turn("INCR after");
    let again = Store::open(&run.config);
    assert_eq!(again.ks, store.ks);
    assert!(again.report.cuts.is_empty());
}

#[test]
fn a_tail_cut_at_every_offset() {
    let run = record(AppendFsync::No, 9);
    let whole = fs::read(incr(run.dir.path(), 1)).unwrap();
    for end in run.states[0].0..=whole.len() as u64 {
        check_prefix(&run, &whole[..end as usize], end);
    }
}

#[test]
fn a_tail_of_zeros_from_every_offset() {
    let run = record(AppendFsync::No, 9);
    let whole = fs::read(incr(run.dir.path(), 1)).unwrap();
    for from in run.states[0].0..whole.len() as u64 {
        let mut bytes = whole.clone();
        bytes[from as usize..].fill(0);
        check_prefix(&run, &bytes, from);
    }
}

#[test]
fn under_always_only_the_last_batch_may_be_damaged() {
    let run = record(AppendFsync::Always, 9);
    let whole = fs::read(incr(run.dir.path(), 1)).unwrap();
    let last = run.states[run.states.len() - 2].0;
    for at in run.states[0].0..whole.len() as u64 {
        let mut bytes = whole.clone();
        bytes[at as usize] ^= 0x20;
        if at >= last {
            check_prefix(&run, &bytes, at);
            continue;
        }
        let refused = start_with(&run, &bytes).err().unwrap_or_else(|| panic!("byte {at} is damaged"));
        let batch = run.states.iter().rfind(|(len, _)| *len <= at).unwrap().0;
        match refused {
            OpenError::Corrupt { path, offset, repair, .. } => {
                assert_eq!(path, incr(run.dir.path(), 1));
                assert_eq!(offset, batch);
                assert!(!repair.is_empty());
            }
            other => panic!("{other}"),
        }
        assert_eq!(fs::read(incr(run.dir.path(), 1)).unwrap(), bytes, "a refusal changes nothing");
    }
}

#[test]
fn any_lost_sector_behind_the_synced_part_is_cut() {
    let run = record(AppendFsync::No, 120);
    let whole = fs::read(incr(run.dir.path(), 1)).unwrap();
    let header = run.states[0].0;
    assert!(whole.len() > 8 * 1024);
    for sector in 0..whole.len().div_ceil(512) {
        let mut bytes = whole.clone();
        let start = (sector * 512).max(header as usize);
        let end = bytes.len().min((sector + 1) * 512);
        bytes[start..end].fill(0);
        check_prefix(&run, &bytes, start as u64);
    }
}

#[test]
fn stale_batches_of_the_same_file_do_not_come_back() {
    // The same offset, an older content: what a block that was not written back may show.
    let run = record(AppendFsync::No, 4);
    let whole = fs::read(incr(run.dir.path(), 1)).unwrap();
    let (keep, _) = run.states[2];
    let mut store = start_with(&run, &whole[..keep as usize]).unwrap();
    store.turn("SET other history");
    drop(store);
    let mut bytes = fs::read(incr(run.dir.path(), 1)).unwrap();
    let good = bytes.len();
    bytes.extend_from_slice(&whole[good.min(whole.len())..]);
    let store = start_with(&run, &bytes).unwrap();
    assert_eq!(store.report.cuts.iter().map(|c| c.bytes).sum::<u64>(), (bytes.len() - good) as u64);
}

#[test]
fn a_synced_mark_moves_with_everysec() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::EverySec);
    let mut store = Store::open(&config);
    store.turn("SET first 1");
    assert!(!store.p.waitaof_durable());
    store.now += 1000;
    for _ in 0..500 {
        store.p.cron(&store.ks, store.now).unwrap();
        if store.p.waitaof_durable() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(store.p.waitaof_durable());
    let synced = fs::metadata(incr(dir.path(), 1)).unwrap().len();
    store.turn("SET second 2");
    drop(store);
    let mut bytes = fs::read(incr(dir.path(), 1)).unwrap();
    bytes[synced as usize - 60] ^= 1;
    fs::write(incr(dir.path(), 1), &bytes).unwrap();
    assert!(matches!(Store::try_open(&config), Err(OpenError::Corrupt { .. })));
}

#[test]
fn plain_files_follow_aof_load_truncated() {
    let dir = tempdir();
    let plain = Config { aof_checksum: false, ..config(dir.path(), AppendFsync::No) };
    let mut store = Store::open(&plain);
    store.turn("SET a 1");
    let one = fs::metadata(incr(dir.path(), 1)).unwrap().len();
    store.p.begin_transaction();
    store.run(0, "SET b 2");
    store.run(0, "SET c 3");
    store.p.end_transaction();
    store.end();
    drop(store);
    let whole = fs::read(incr(dir.path(), 1)).unwrap();
    for end in one + 1..whole.len() as u64 {
        fs::write(incr(dir.path(), 1), &whole[..end as usize]).unwrap();
        let strict = Config { aof_load_truncated: false, ..plain.clone() };
        assert!(Store::try_open(&strict).is_err(), "{end}");
        let store = Store::open(&plain);
        assert_eq!(store.ks.dbs[0].len(), 1, "{end}: MULTI is whole or absent");
        assert_eq!(fs::metadata(incr(dir.path(), 1)).unwrap().len(), one);
    }
    let mut zeros = whole[..one as usize].to_vec();
    zeros.extend_from_slice(&[0; 64]);
    fs::write(incr(dir.path(), 1), zeros).unwrap();
    assert!(Store::try_open(&plain).is_err(), "Redis refuses it, and so it is here");
}

#[test]
fn checksums_can_be_switched_between_starts() {
    let dir = tempdir();
    let with = config(dir.path(), AppendFsync::Always);
    let without = Config { aof_checksum: false, ..with.clone() };
    for round in 0..3 {
        for config in [&with, &without] {
            let mut store = Store::open(config);
            store.turn("INCR n");
            let expected = store.ks.clone();
            drop(store);
            assert_eq!(Store::open(config).ks, expected, "round {round}");
            assert_eq!(Store::open(config).ks, expected, "round {round}");
        }
    }
    let last = Store::open(&with);
    assert_eq!(last.ks, Store::open(&without).ks);
}
