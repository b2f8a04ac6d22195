//! One file of several lives is an older version of itself: a copy of a backup, or a rename that was lost.

use crate::check::tool;
use crate::support::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use unplug_engine::config::{AofLayout, AppendFsync, Config};

type Files = BTreeMap<String, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let names = tree(dir).into_iter().filter(|name| dir.join(name).is_file());
    names.map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

fn put(dir: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Where the tool has to look.
fn head(config: &Config) -> PathBuf {
    match config.aof_layout {
        AofLayout::Single => one(&config.dir),
        AofLayout::Multi => manifest(&config.dir),
    }
}

/// Three lives, with a rewrite in the middle one and snapshots; every version of every file.
fn lives(config: &Config) -> Vec<Files> {
    let mut versions = Vec::new();
    let mut keep = || versions.push(files(&config.dir));
    for life in 0..3 {
        let mut store = Store::open(config);
        keep();
        store.turn(&format!("SET first{life} x"));
        keep();
        store.p.save(&store.ks, NOW).unwrap();
        keep();
        if life == 1 {
            store.p.begin_rewrite(&store.ks, NOW).unwrap();
            keep();
            store.turn("SET during x");
            keep();
            store.settle();
            keep();
        }
        store.turn(&format!("SET second{life} x"));
        store.written();
        keep();
        store.p.shutdown(&store.ks, None, NOW).unwrap();
        keep();
    }
    versions
}

#[test]
fn an_older_file_is_refused_or_changes_nothing() {
    for policy in [AppendFsync::Always, AppendFsync::EverySec, AppendFsync::No] {
        for layout in [AofLayout::Multi, AofLayout::Single] {
            // Without checksums nothing is promised.
            for kind in [true, false] {
                let dir = tempdir();
                let base =
                    Config { aof_layout: layout, aof_use_rdb_preamble: kind, ..config(dir.path(), policy) };
                each_file_older(&base);
            }
        }
    }
}

fn each_file_older(config: &Config) {
    let versions = lives(config);
    let newest = versions.last().unwrap();
    let whole = Store::open(config).ks;
    assert_eq!(whole.dbs[0].len(), 7);
    let (mut refused, mut tried) = (BTreeSet::new(), 0);
    for (name, now) in newest {
        let older: BTreeSet<&Vec<u8>> =
            versions.iter().filter_map(|files| files.get(name)).filter(|bytes| *bytes != now).collect();
        for bytes in older {
            let dir = tempdir();
            let config = Config { dir: dir.path().into(), ..config.clone() };
            put(dir.path(), newest);
            fs::write(dir.path().join(name), bytes).unwrap();
            let (text, code) = tool(&[], &head(&config));
            let before = files(dir.path());
            let what = format!("{:?}, {name}: {text}", config.aof_layout);
            match Store::try_open(&config) {
                Ok(store) => {
                    assert!(store.ks == whole, "{what}\nit starts with {:?}", store.ks);
                    assert_eq!(code, 0, "{what}");
                }
                Err(e) => {
                    assert!(e.to_string().contains("Nothing was changed"), "{e}");
                    assert_eq!((code, files(dir.path())), (1, before), "{what}");
                    refused.insert(name.as_str());
                }
            }
            tried += 1;
        }
    }
    let log = if config.aof_layout == AofLayout::Single {
        "appendonly.aof"
    } else {
        "appendonlydir/appendonly.aof.2.incr.aof"
    };
    assert!(tried > 8 && refused.contains(log), "{tried} tried, refused: {refused:?}");
}

/// What is signed once more is trusted: it has a higher number than the seal.
#[test]
fn an_older_single_file_is_accepted_by_hand() {
    let dir = tempdir();
    let config = single(dir.path(), AppendFsync::Always);
    let versions = lives(&config);
    let path = one(dir.path());
    fs::write(&path, &versions[2]["appendonly.aof"]).unwrap();
    let error = Store::try_open(&config).err().unwrap().to_string();
    assert!(error.contains("the seal beside it speaks of") && error.contains("--resign"), "{error}");
    let (text, code) = tool(&["--resign"], &path);
    assert_eq!(code, 0, "{text}");
    assert_eq!(Store::open(&config).ks.dbs[0].len(), 1);
    assert_eq!(tool(&[], &path).1, 0);
}
