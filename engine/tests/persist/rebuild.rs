//! A manifest that is damaged or lost is written anew from the files, or it is said why not.

use crate::check::tool;
use crate::support::*;
use std::fs;
use std::path::Path;
use unplug_engine::config::{AppendFsync, Config};

/// With checksums: a base of either kind.
fn chained(dir: &Path) -> Vec<Config> {
    kinds(&config(dir, AppendFsync::Always)).into_iter().filter(|c| c.aof_checksum).collect()
}

/// How a manifest can be lost.
fn losses(whole: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut flipped = whole.to_vec();
    flipped[whole.len() / 2] ^= 1;
    vec![None, Some(Vec::new()), Some(whole[..whole.len() / 2].to_vec()), Some(flipped), Some(vec![0; 64])]
}

/// Loses the manifest of a copy in each way, and has it written anew: the data are the same.
fn is_rebuilt(config: &Config, ks: &unplug_engine::keyspace::Keyspace, what: &str) {
    let whole = fs::read(manifest(&config.dir)).unwrap();
    for loss in losses(&whole) {
        let copy = image(config);
        let path = manifest(copy.dir.path());
        match &loss {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        let before = tree(copy.dir.path());
        let refused = Store::try_open(&copy.config).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused.contains("check-aof --fix"), "{what}, {loss:?}: {refused}");
        let (said, code) = tool(&[], &path);
        assert!(code == 1 && said.contains("check-aof --fix"), "{what}: {said}");
        assert_eq!(tree(copy.dir.path()), before, "without --fix nothing changes");
        // Named itself, or by its directory.
        let named = if loss.is_none() { path.parent().unwrap() } else { &path };
        let (said, code) = tool(&["--fix"], named);
        assert_eq!(code, 0, "{what}, {loss:?}: {said}");
        let aside = copy.dir.path().join("appendonlydir/appendonly.aof.before-rebuild");
        assert_eq!(fs::read(aside.join("appendonly.aof.manifest")).ok(), loss);
        copy.holds(ks, what);
    }
}

#[test]
fn it_is_written_anew_at_every_stage() {
    for kind in chained(Path::new("/nowhere")) {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..kind };
        let mut store = Store::open(&config);
        fill(&mut store);
        is_rebuilt(&config, &store.ks, "first files");
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.turn("INCR during");
        is_rebuilt(&config, &store.ks, "two incr files");
        store.settle();
        store.turn("INCR after");
        is_rebuilt(&config, &store.ks, "after the rewrite");
        store.p.shutdown(&store.ks, None, NOW).unwrap();
        is_rebuilt(&config, &store.ks, "stopped");
    }
}

/// A crash in the middle of the clean-up leaves the new base, and of the old files those that are a log by themselves.
#[test]
fn what_a_clean_up_has_left_is_not_taken_in() {
    for kind in chained(Path::new("/nowhere")) {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..kind };
        let mut store = Store::open(&config);
        fill(&mut store);
        let old = fs::read(incr(dir.path(), 1)).unwrap();
        let old_base = tree(dir.path()).into_iter().find(|n| n.contains(".1.base.")).unwrap();
        let old_base = (dir.path().join(&old_base), fs::read(dir.path().join(&old_base)).unwrap());
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.settle();
        store.turn("INCR after");
        fs::write(incr(dir.path(), 1), old).unwrap();
        fs::remove_file(manifest(dir.path())).unwrap();
        for with_base in [false, true] {
            if with_base {
                fs::write(&old_base.0, &old_base.1).unwrap();
            }
            let copy = image(&config);
            let (said, code) = tool(&["--fix"], &manifest(copy.dir.path()));
            assert_eq!(code, 0, "{said}");
            copy.holds(&store.ks, "after the clean-up");
        }
    }
}

#[test]
fn a_single_file_that_was_taken_over() {
    let dir = tempdir();
    let mut store = Store::open(&single(dir.path(), AppendFsync::Always));
    fill(&mut store);
    store.p.shutdown(&store.ks, None, NOW).unwrap();
    drop(store);
    let config = config(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&config);
    store.turn("INCR n");
    is_rebuilt(&config, &store.ks, "taken over");
}

/// Where a file is missing or damaged in front of others, or nothing says what belongs together.
#[test]
fn doubt_is_an_error_and_nothing_changes() {
    let refused = |config: &Config, why: &str| {
        let before: Vec<_> = tree(&config.dir)
            .into_iter()
            .map(|name| (fs::read(config.dir.join(&name)).unwrap(), name))
            .collect();
        let (said, code) = tool(&["--fix"], &manifest(&config.dir));
        assert!(code == 1 && said.contains(why) && said.contains("from a copy"), "{why}: {said}");
        for (bytes, name) in &before {
            assert_eq!(fs::read(config.dir.join(name)).unwrap(), *bytes, "{name}");
        }
        assert_eq!(tree(&config.dir).len(), before.len());
    };
    for kind in kinds(&config(Path::new("/nowhere"), AppendFsync::Always)) {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..kind };
        let mut store = Store::open(&config);
        fill(&mut store);
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.turn("INCR during");
        drop(store);
        let whole = fs::read(manifest(dir.path())).unwrap();
        fs::write(manifest(dir.path()), &whole[..whole.len() - 3]).unwrap();
        if !config.aof_checksum {
            refused(&config, "it does not say which file goes on from it");
            continue;
        }
        let copy = image(&config);
        fs::remove_file(incr(copy.dir.path(), 1)).unwrap();
        refused(&copy.config, "the incr file that goes on from it is not there");
        let copy = image(&config);
        fs::remove_file(incr(copy.dir.path(), 2)).unwrap();
        refused(&copy.config, "the old manifest names appendonly.aof.2.incr.aof");
        let copy = image(&config);
        let bytes = fs::read(incr(copy.dir.path(), 1)).unwrap();
        fs::write(incr(copy.dir.path(), 1), &bytes[..bytes.len() - 1]).unwrap();
        refused(&copy.config, "does not end as the header of appendonly.aof.2.incr.aof says");
        let copy = image(&config);
        let base = tree(copy.dir.path()).into_iter().find(|n| n.contains(".base.")).unwrap();
        fs::remove_file(copy.dir.path().join(base)).unwrap();
        refused(&copy.config, "there is no base");
    }
}
