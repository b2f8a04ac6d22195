//! What happens while a rewrite's child runs: it is stopped right after the fork, so that everything comes in time.

use crate::support::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};
use std::fs;
use std::path::Path;
use unplug_engine::config::{AofLayout, AppendFsync, Config};
use unplug_engine::persist::{RewriteError, RewriteStart, SaveError};

/// The child that this thread has forked.
fn child() -> Option<Pid> {
    let path = format!("/proc/self/task/{}/children", gettid());
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
}

/// The state letter of a process.
fn state(pid: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|s| s.chars().next()).unwrap_or('?')
}

/// Begins a rewrite whose child stands still. It is given enough to do that it cannot have ended by then; if it has,
/// the rewrite is ended and another one begun.
fn begin_stopped(store: &mut Store) -> Pid {
    for _ in 0..50 {
        assert_eq!(store.p.begin_rewrite(&store.ks, store.now).unwrap(), RewriteStart::Started);
        let pid = child().expect("a child");
        kill(pid, Signal::SIGSTOP).unwrap();
        loop {
            match state(pid) {
                'T' => return pid,
                'Z' => break,
                _ => std::thread::yield_now(),
            }
        }
        store.settle();
    }
    panic!("the child is always too fast");
}

/// Enough that writing it takes a while.
fn filled(config: &Config) -> Store {
    let mut store = Store::open(config);
    fill(&mut store);
    let value = "v".repeat(1 << 20);
    for n in 0..8 {
        store.turn(&format!("SET large:{n} {value}"));
    }
    store
}

fn every_kind(policy: AppendFsync) -> Vec<(tempfile::TempDir, Config)> {
    let mut all = kinds(&config(Path::new("/"), policy));
    all.extend(kinds(&single(Path::new("/"), policy)));
    let place = |c| {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..c };
        (dir, config)
    };
    all.into_iter().map(place).collect()
}

#[test]
fn whatever_is_asked_while_a_child_runs_late() {
    for policy in [AppendFsync::Always, AppendFsync::EverySec] {
        for (_dir, config) in every_kind(policy) {
            let mut store = filled(&config);
            store.run(0, "INCR just-before");
            let pid = begin_stopped(&mut store);
            store.turn("INCR n");
            assert!(matches!(store.p.begin_rewrite(&store.ks, NOW), Err(RewriteError::InProgress)));
            assert!(matches!(store.p.begin_bgsave(&store.ks, NOW), Err(SaveError::RewriteInProgress)));
            store.p.save(&store.ks, NOW).unwrap();
            let info = store.p.info().lines();
            assert!(info.contains("aof_rewrite_in_progress:1"), "{info}");
            store.written();
            image(&config).holds(&store.ks, "killed meanwhile");
            // Settings that take effect later must not touch the file that is being written.
            let other = Config {
                aof_use_rdb_preamble: !config.aof_use_rdb_preamble,
                no_appendfsync_on_rewrite: true,
                appendfsync: AppendFsync::No,
                ..config.clone()
            };
            store.p.reconfigure(&other, &store.ks, NOW).unwrap();
            let checksum = Config { aof_checksum: !config.aof_checksum, ..other.clone() };
            assert!(store.p.reconfigure(&checksum, &store.ks, NOW).is_err(), "not during a rewrite");
            store.turn("FLUSHALL");
            store.p.flushed(&store.ks, NOW).unwrap();
            store.p.begin_transaction();
            store.run(2, "INCR a");
            store.run(5, "INCR b");
            store.p.end_transaction();
            store.end();
            store.run(0, "INCR just-after");
            kill(pid, Signal::SIGCONT).unwrap();
            store.settle();
            assert!(store.p.info().aof_last_bgrewrite_ok);
            store.turn("INCR n");
            image(&other).holds(&store.ks, "the child has ended late");
            image(&config).holds(&store.ks, "and under the old settings");
            fs::remove_file(config.dir.join("dump.rdb")).unwrap();
            let names = tree(&config.dir);
            assert!(names.iter().all(|n| !n.contains("temp-") && !n.contains(".prev")), "{names:?}");
        }
    }
}

#[test]
fn what_was_not_synced_while_a_child_ran_is_synced_at_its_end() {
    for (_dir, config) in every_kind(AppendFsync::Always) {
        let config = Config { no_appendfsync_on_rewrite: true, ..config };
        let mut store = filled(&config);
        for end in [Signal::SIGCONT, Signal::SIGKILL] {
            let pid = begin_stopped(&mut store);
            store.turn("INCR n");
            assert!(!store.p.waitaof_durable(), "while a child runs");
            kill(pid, end).unwrap();
            store.settle();
            // Nobody has written since: the next acknowledgement, of whatever, promises all that came before it.
            assert!(store.p.waitaof_durable(), "{end:?}");
        }
    }
}

#[test]
fn a_child_that_is_killed_costs_nothing_but_its_file() {
    for (_dir, config) in every_kind(AppendFsync::Always) {
        let mut store = filled(&config);
        for _ in 0..2 {
            let pid = begin_stopped(&mut store);
            store.turn("INCR n");
            kill(pid, Signal::SIGKILL).unwrap();
            store.settle();
            let info = store.p.info();
            assert!(!info.aof_last_bgrewrite_ok && info.aof_last_write_ok);
            assert_eq!(info.aof_rewrite_buffer_length, 0);
            store.turn("INCR n");
            image(&config).holds(&store.ks, "the child was killed");
        }
        assert!(store.p.info().aof_rewrites_consecutive_failures > 0);
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.turn("INCR n");
        store.settle();
        assert!(store.p.info().aof_last_bgrewrite_ok);
        image(&config).holds(&store.ks, "the next rewrite");
        assert!(tree(&config.dir).iter().all(|n| !n.contains("temp-")));
    }
}

#[test]
fn a_child_that_hangs_is_ended_by_shutdown_and_by_switching_the_log_off() {
    for (_dir, config) in every_kind(AppendFsync::EverySec) {
        let mut store = filled(&config);
        let pid = begin_stopped(&mut store);
        store.turn("INCR n");
        let off = Config { appendonly: false, ..config.clone() };
        store.p.reconfigure(&off, &store.ks, NOW).unwrap();
        assert_ne!(state(pid), 'T');
        image(&config).holds(&store.ks, "switched off");
        store.p.reconfigure(&config, &store.ks, NOW).unwrap();
        let pid = begin_stopped(&mut store);
        store.turn("INCR n");
        store.run(0, "INCR not-written-yet");
        store.p.shutdown(&store.ks, None, NOW).unwrap();
        assert_ne!(state(pid), 'T');
        drop(store.p);
        image(&config).holds(&store.ks, "shut down");
        assert!(tree(&config.dir).iter().all(|n| !n.contains("temp-")));
    }
}

#[test]
fn a_rewrite_that_waits_for_a_snapshot_is_started_behind_it() {
    for layout in [AofLayout::Multi, AofLayout::Single] {
        let dir = tempdir();
        let config = Config { aof_layout: layout, ..config(dir.path(), AppendFsync::Always) };
        let mut store = filled(&config);
        store.p.begin_bgsave(&store.ks, NOW).unwrap();
        assert_eq!(store.p.begin_rewrite(&store.ks, NOW).unwrap(), RewriteStart::Scheduled);
        assert!(store.p.info().aof_rewrite_scheduled);
        store.turn("INCR n");
        store.settle();
        store.settle();
        let info = store.p.info();
        assert!(!info.aof_rewrite_scheduled && info.aof_rewrites == 1 && info.aof_last_bgrewrite_ok);
        image(&config).holds(&store.ks, "both have ended");
    }
}

#[test]
fn growth_starts_a_rewrite_of_a_single_file_and_failures_slow_it_down() {
    let dir = tempdir();
    let config = Config { auto_aof_rewrite_min_size: 2000, ..single(dir.path(), AppendFsync::No) };
    let mut store = Store::open(&config);
    for _ in 0..200 {
        store.turn("INCR n");
    }
    store.settle();
    store.settle();
    let info = store.p.info();
    assert!(info.aof_base_size < 500 && info.aof_rewrites == 1, "{info:?}");
    image(&config).holds(&store.ks, "grown");
    // Three failures in a row: then not before a minute is over.
    let next = |n| dir.path().join(format!("temp-rewriteaof-bg-{n}.aof"));
    for n in 3..6 {
        fs::create_dir(next(n)).unwrap();
    }
    store.turn(&format!("APPEND text {}", "x".repeat(4000)));
    store.settle();
    assert_eq!(store.p.info().aof_rewrites_consecutive_failures, 3);
    store.p.cron(&store.ks, store.now + 1000).unwrap();
    assert!(!store.p.background_running());
    store.p.cron(&store.ks, store.now + 61_000).unwrap();
    assert!(store.p.background_running());
    store.settle();
    assert!(store.p.info().aof_last_bgrewrite_ok);
}
