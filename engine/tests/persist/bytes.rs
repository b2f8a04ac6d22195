//! The bytes on the disk, so that no change of a format goes unseen.

use crate::support::*;
use unplug_engine::config::{AppendFsync, Config};

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\n", "\\n\n")
}

fn read(path: &std::path::Path) -> String {
    escaped(&std::fs::read(path).unwrap())
}

#[test]
fn files_with_checksums() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&config);
    fill(&mut store);
    insta::assert_snapshot!("incr", read(&incr(dir.path(), 1)));
    insta::assert_snapshot!("manifest_at_start", read(&manifest(dir.path())));
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    insta::assert_snapshot!("manifest_during_rewrite", read(&manifest(dir.path())));
    store.settle();
    insta::assert_snapshot!("manifest_after_rewrite", read(&manifest(dir.path())));
    insta::assert_snapshot!("incr_after_rewrite", read(&incr(dir.path(), 2)));
    insta::assert_snapshot!("base_rdb", read(&dir.path().join("appendonlydir/appendonly.aof.2.base.rdb")));
    store.p.save(&store.ks, NOW).unwrap();
    insta::assert_snapshot!("dump_rdb", read(&dir.path().join("dump.rdb")));
    insta::assert_snapshot!("tree", tree(dir.path()).join("\n"));
}

#[test]
fn a_base_of_commands() {
    let dir = tempdir();
    let config = Config { aof_use_rdb_preamble: false, ..config(dir.path(), AppendFsync::Always) };
    let mut store = Store::open(&config);
    fill(&mut store);
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.settle();
    insta::assert_snapshot!("base_aof", read(&dir.path().join("appendonlydir/appendonly.aof.2.base.aof")));
    let again = Store::open(&config);
    assert_eq!(again.ks, store.ks);
}

#[test]
fn without_checksums_the_bytes_are_redis_own() {
    let dir = tempdir();
    let config = Config { aof_checksum: false, ..config(dir.path(), AppendFsync::No) };
    let mut store = Store::open(&config);
    fill(&mut store);
    insta::assert_snapshot!("incr_plain", read(&incr(dir.path(), 1)));
    insta::assert_snapshot!("manifest_plain", read(&manifest(dir.path())));
}

#[test]
fn equal_operations_give_equal_files() {
    let make = || {
        let dir = tempdir();
        let mut store = Store::open(&config(dir.path(), AppendFsync::Always));
        fill(&mut store);
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.turn("INCR during");
        store.settle();
        store.p.save(&store.ks, NOW).unwrap();
        let files = tree(dir.path());
        files.into_iter().map(|f| (f.clone(), std::fs::read(dir.path().join(f)).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(make(), make());
}
