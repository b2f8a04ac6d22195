//! What lies beside the data and is not the engine's stays, and no name of a file is taken for one of its helpers'.

use crate::directory;
use crate::server_support::Running;
use crate::taken::Started;
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

/// What a start says that goes without a log that is there.
#[test]
fn a_log_that_is_not_loaded_is_named() {
    for layout in ["multi", "single"] {
        let options = ["--port", "0", "--save", "", "--aof-layout", layout, "--appendonly"];
        let start =
            |dir: &std::path::Path, more: &[&str]| Started::with(dir, &[&options[..], more].concat(), "");
        let log = if layout == "multi" {
            "appendonly.aof.manifest: not loaded"
        } else {
            "appendonly.aof: not loaded"
        };
        let dir = directory();
        // Neither the first start nor those that load it have anything to say, whatever lies there.
        std::fs::write(dir.path().join("web.manifest"), "{}").unwrap();
        std::fs::create_dir(dir.path().join("other")).unwrap();
        std::fs::write(dir.path().join("other/x.manifest"), "CACHE MANIFEST\n").unwrap();
        std::fs::write(dir.path().join("x.seal"), "of a letter").unwrap();
        for life in 1..3 {
            let started = start(dir.path(), &["yes"]);
            assert_eq!(started.server.connect().call("INCR n"), Reply::Int(life));
            end(started.server, "SHUTDOWN");
            let started = start(dir.path(), &["yes"]);
            assert_eq!(started.end(), "", "{layout}");
        }
        let once = |said: &str, text: &str| {
            assert!(
                said.lines().count() == 1 && said.contains(log) && said.contains(text),
                "{layout}: {said}"
            );
        };
        once(&start(dir.path(), &["no"]).end(), "appendonly is no");
        // Each misspelt name makes files of its own, so that only its first start can be about it.
        let misspelt = start(dir.path(), &["yes", "--appendfilename", "appendonly.oaf"]);
        assert_eq!(misspelt.server.connect().call("EXISTS n"), Reply::Int(0));
        once(&misspelt.end(), "are they right?");
        if layout == "multi" {
            once(&start(dir.path(), &["yes", "--appenddirname", "appendonlydri"]).end(), "are they right?");
        }
        let right = start(dir.path(), &["yes"]);
        assert_eq!(right.server.connect().call("INCR n"), Reply::Int(3));
        assert_eq!(right.end(), "", "{layout}");
    }
}
