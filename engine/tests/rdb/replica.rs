//! A real redis-server as the engine's replica: it gets the data, and what is written later.

use crate::interop::{digest, digest_of, redis};
use crate::protocol::{info, until};
use crate::server_support::{Client, Running};
use std::net::TcpListener;
use std::path::Path;
use unplug_engine::resp::Reply;

/// A port that was free a moment ago.
fn port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

fn engine(dir: &Path, port: &str, options: &[&str]) -> (Running, Client) {
    let server = Running::engine(dir, &[&["--port", port], options].concat());
    let client = server.connect();
    (server, client)
}

fn replica(dir: &Path, port: &str) -> Option<(Running, Client)> {
    let (server, mut client) =
        redis(dir, &["--replicaof", &format!("127.0.0.1 {port}"), "--repl-timeout", "15"])?;
    in_sync(&mut client);
    Some((server, client))
}

fn in_sync(replica: &mut Client) {
    until("the replica is in sync", || info(replica, "replication", "master_link_status") == "up");
}

/// What Redis makes of the engine's data: it saves them, and Redis loads that.
fn own_digest(engine: &mut Client, dir: &Path) -> String {
    assert_eq!(engine.call("SAVE"), Reply::Simple("OK".into()));
    digest_of(&std::fs::read(dir.join("dump.rdb")).unwrap(), &[]).unwrap()
}

/// Waits until the replica has what was written last.
fn caught_up(engine: &mut Client, replica: &mut Client, mark: &str) {
    engine.call(&format!("SET mark {mark}"));
    until("the last write arrives", || replica.call("GET mark") == Reply::Bulk(mark.as_bytes().to_vec()));
}

#[test]
fn a_replica_gets_the_data_and_then_every_write() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = port();
    let (_engine, mut engine) = engine(ours.path(), &port, &["--save", "", "--appendonly", "yes"]);
    let value = "v".repeat(1000);
    for n in 0..2000 {
        engine.send(&[b"SET", format!("key:{n}").as_bytes(), value.as_bytes()]);
        engine.send(&[b"RPUSH", format!("list:{}", n % 7).as_bytes(), n.to_string().as_bytes()]);
    }
    (0..4000).for_each(|_| drop(engine.receive()));
    engine.call("SET later x PX 100000000");
    let Some((_replica, mut replica)) = replica(theirs.path(), &port) else { return };
    for line in [
        "SELECT 3",
        "SET other db",
        "SELECT 0",
        "INCR n",
        "EXPIRE key:1 100000",
        "DEL key:2",
        "MULTI",
        "INCR n",
        "LPOP list:0",
    ] {
        engine.call(line);
    }
    engine.call("EXEC");
    // It ends by itself: the replica is told.
    engine.call("SET short x PX 1");
    caught_up(&mut engine, &mut replica, "one");
    until("the expired key is gone there", || replica.call("EXISTS short") == Reply::Int(0));
    caught_up(&mut engine, &mut replica, "two");
    let wanted = own_digest(&mut engine, ours.path());
    assert_eq!(digest(&mut replica), wanted);
    assert_eq!(info(&mut engine, "replication", "slave0"), "state=online");
    let Reply::Array(role) = engine.call("ROLE") else { panic!("ROLE") };
    assert_eq!(role[0], Reply::Bulk(b"master".to_vec()));
    assert_eq!(
        engine.call("SYNC"),
        Reply::Error("ERR another replica is served already, and there can be only one".into())
    );
    assert!(matches!(engine.call("PSYNC ? -1"), Reply::Error(_)));
    // FLUSHALL is a write like others.
    engine.call("FLUSHALL");
    caught_up(&mut engine, &mut replica, "three");
    assert_eq!(replica.call("DBSIZE"), Reply::Int(1));
}

#[test]
fn writes_during_the_synchronisation_are_neither_lost_nor_done_twice() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = port();
    let (_engine, mut engine) = engine(ours.path(), &port, &["--save", ""]);
    let value = vec![b'v'; 1 << 20];
    for n in 0..40 {
        engine.send(&[b"SET", format!("large:{n}").as_bytes(), &value]);
        engine.receive();
    }
    let Some((_replica, mut replica)) = redis(theirs.path(), &["--replicaof", &format!("127.0.0.1 {port}")])
    else {
        return;
    };
    let mut rounds = 0;
    until("the replica is in sync", || {
        for n in 0..50 {
            engine.call(&format!("INCR counter:{n}"));
            engine.call(&format!("RPUSH list:{n} {rounds}"));
        }
        rounds += 1;
        info(&mut replica, "replication", "master_link_status") == "up"
    });
    caught_up(&mut engine, &mut replica, "end");
    assert_eq!(replica.call("GET counter:7"), Reply::Bulk(rounds.to_string().into_bytes()));
    assert_eq!(digest(&mut replica), own_digest(&mut engine, ours.path()));
}

#[test]
fn a_replica_comes_back_and_a_snapshot_made_for_it_goes() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = port();
    let (_engine, mut engine) = engine(ours.path(), &port, &["--save", "", "--rdb-del-sync-files", "yes"]);
    engine.call("SET a 1");
    let file = ours.path().join("dump.rdb");
    let Some((first, mut replica_client)) = replica(theirs.path(), &port) else { return };
    until("the transfer's file is deleted", || !file.exists());
    assert_eq!(replica_client.call("GET a"), Reply::Bulk(b"1".to_vec()));
    drop(first);
    engine.call("SET a 2");
    let (_second, mut replica_client) = replica(theirs.path(), &port).unwrap();
    assert_eq!(replica_client.call("GET a"), Reply::Bulk(b"2".to_vec()));
    until("the transfer's file is deleted", || !file.exists());
    // What was asked for by name stays.
    assert_eq!(engine.call("SAVE"), Reply::Simple("OK".into()));
    caught_up(&mut engine, &mut replica_client, "stays");
    assert!(file.exists());
}
