//! What lies beside the data and is not the engine's stays, and no name of a file is taken for one of its helpers'.

use crate::directory;
use crate::server_support::Running;
use unplug_engine::resp::Reply;

fn end(server: Running, how: &'static str) {
    let mut client = server.connect();
    client.send(&how.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    assert!(client.closed(), "{how}");
}

#[test]
fn a_snapshot_that_is_called_like_a_temporary_file_is_kept() {
    for name in ["temp-1.rdb", "temp-0.rdb", "temp-x.aof"] {
        let dir = directory();
        let options = ["--dbfilename", name];
        let server = Running::engine(dir.path(), &options);
        let mut client = server.connect();
        assert!(!client.call("SET k v").is_error() && !client.call("SAVE").is_error());
        // Killed, so that nothing is saved at the end.
        drop(server);
        for life in 0..3 {
            let server = Running::engine(dir.path(), &options);
            assert_eq!(server.connect().call("GET k"), Reply::Bulk(b"v".into()), "{name}, life {life}");
            drop(server);
        }
    }
}

#[test]
fn files_of_others_are_left_alone() {
    let dir = directory();
    let theirs = ["temp-20240101.rdb", "temp-1.rdb", "temp-4711.rdb", "temp-unplug-x.rdb", "temp-.rdb"];
    for name in theirs {
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    // What a snapshot of ours has left, that was never finished.
    let ours = dir.path().join("temp-unplug-3.rdb");
    for appendonly in ["no", "yes"] {
        std::fs::write(&ours, "REDIS0009 half").unwrap();
        let server = Running::engine(dir.path(), &["--appendonly", appendonly]);
        let mut client = server.connect();
        for line in ["SET k v", "SAVE", "SAVE"] {
            assert!(!client.call(line).is_error(), "{line}");
        }
        end(server, "SHUTDOWN SAVE");
        for name in theirs {
            assert_eq!(std::fs::read(dir.path().join(name)).ok().as_deref(), Some(name.as_bytes()), "{name}");
        }
        assert!(!ours.exists());
    }
}
