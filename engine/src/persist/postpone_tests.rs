//! Redis's postponement: while a sync runs, a write waits in memory, for two seconds at the most.

use super::Persistence;
use crate::config::{AppendFsync, Config};

const NOW: u64 = 1_700_000_000_000;

fn turn(p: &mut Persistence, after_ms: u64) -> u64 {
    p.log(0, &[b"INCR", b"n"]);
    p.end_turn(NOW + after_ms).unwrap();
    p.info().aof_buffer_length
}

#[test]
fn a_write_waits_for_a_sync_and_no_longer_than_two_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let appendfsync = AppendFsync::EverySec;
    let config = Config { dir: dir.path().to_owned(), appendonly: true, appendfsync, ..Config::default() };
    let (mut p, _, _) = Persistence::open(&config, NOW).unwrap();
    assert_eq!(turn(&mut p, 0), 0, "no sync runs");
    p.syncer.pretend(true);
    let waiting = turn(&mut p, 10);
    assert!(waiting > 0 && turn(&mut p, 2009) == 2 * waiting);
    assert_eq!((turn(&mut p, 2010), p.info().aof_delayed_fsync), (0, 1), "all of it, and no later");
    // The next one has two seconds of its own.
    assert!(turn(&mut p, 2011) > 0 && turn(&mut p, 4010) > 0);
    assert_eq!((turn(&mut p, 4011), p.info().aof_delayed_fsync), (0, 2));
    assert!(turn(&mut p, 4012) > 0);
    p.syncer.pretend(false);
    assert_eq!(turn(&mut p, 4013), 0, "the sync has ended");
    for other in [AppendFsync::No, AppendFsync::Always] {
        p.syncer.pretend(true);
        p.config.appendfsync = other;
        assert_eq!(turn(&mut p, 4014), 0, "{other:?}");
    }
    p.syncer.pretend(false);
}

/// Found by `unplug check --policy everysec --slow-syncs`: what had been acknowledged right before a SAVE waited for the
/// timer, which waited for three syncs of the snapshot.
#[test]
fn what_was_logged_is_synced_while_a_snapshot_is_written_in_the_foreground() {
    for appendfsync in [AppendFsync::EverySec, AppendFsync::No] {
        let dir = tempfile::tempdir().unwrap();
        let config =
            Config { dir: dir.path().to_owned(), appendonly: true, appendfsync, ..Config::default() };
        let (mut p, keyspace, _) = Persistence::open(&config, NOW).unwrap();
        turn(&mut p, 0);
        p.save(&keyspace, NOW + 1).unwrap();
        p.wait_for_sync();
        let log = &p.aof.as_ref().unwrap().log;
        assert_eq!(log.synced() == log.len(), appendfsync == AppendFsync::EverySec);
    }
}
