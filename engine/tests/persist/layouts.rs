//! A directory that was written under one layout or checksum setting, or by Redis, and is opened under another.

use crate::support::*;
use std::fs;
use std::path::Path;
use unplug_engine::config::{AofLayout, AppendFsync, Config};
use unplug_engine::keyspace::Keyspace;
use unplug_engine::persist::OpenError;

/// A directory with a rewrite behind it, and its data.
fn written(config: &Config) -> Keyspace {
    let mut store = Store::open(config);
    fill(&mut store);
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.turn("INCR during");
    store.settle();
    store.turn("INCR after");
    store.ks
}

fn all_kinds(dir: &Path) -> Vec<Config> {
    let mut all = kinds(&config(dir, AppendFsync::Always));
    all.extend(kinds(&single(dir, AppendFsync::Always)));
    all
}

fn shown(c: &Config) -> String {
    format!("{:?} checksum {} rdb {}", c.aof_layout, c.aof_checksum, c.aof_use_rdb_preamble)
}

#[test]
fn every_kind_of_directory_is_opened_under_every_setting() {
    let empty = tempdir();
    for from in all_kinds(empty.path()) {
        let dir = tempdir();
        let from = Config { dir: dir.path().into(), ..from };
        let ks = written(&from);
        for to in all_kinds(empty.path()) {
            let mut at = image(&from);
            at.config = Config { dir: at.config.dir.clone(), ..to };
            let what = format!("{} -> {}", shown(&from), shown(&at.config));
            let mut store = at.holds(&ks, &what);
            store.p.begin_rewrite(&store.ks, NOW).unwrap();
            store.turn("INCR n");
            store.settle();
            let ks = store.ks.clone();
            drop(store);
            // And back.
            at.config = Config { dir: at.config.dir.clone(), ..from.clone() };
            at.holds(&ks, &format!("{what} and back"));
            let names = tree(at.dir.path());
            let stray = |n: &&String| n.contains("converting") || n.contains("temp-") || n.contains(".prev");
            assert_eq!(names.iter().find(stray), None, "{what}");
            let one_there = one(at.dir.path()).exists();
            assert_eq!(one_there, from.aof_layout == AofLayout::Single, "{what}: {names:?}");
            assert_eq!(manifest(at.dir.path()).exists(), !one_there, "{what}: {names:?}");
        }
    }
}

/// Copies single files from one image to another.
fn add(from: &Path, to: &Path, names: &[&str]) {
    for name in names {
        let target = to.join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(name), target).unwrap();
    }
}

const MARKER: &str = "appendonly.aof.converting";
const IN_DIR: [&str; 3] = [
    "appendonlydir/appendonly.aof",
    "appendonlydir/appendonly.aof.1.incr.aof",
    "appendonlydir/appendonly.aof.manifest",
];

fn mark(dir: &Path, towards: &str) {
    fs::write(dir.join(MARKER), format!("#unplug:1 towards aof-layout {towards}\n")).unwrap();
}

/// Opened under either layout, each step's state holds the same.
fn check_step(built: &Image, ks: &Keyspace, what: &str) {
    for layout in [AofLayout::Single, AofLayout::Multi] {
        for checksum in [true, false] {
            let mut at = image(&built.config);
            at.config = Config { aof_layout: layout, aof_checksum: checksum, ..at.config.clone() };
            at.holds(ks, &format!("{what}, opened as {layout:?}, checksum {checksum}"));
            assert!(!at.dir.path().join(MARKER).exists(), "{what}");
            assert_eq!(one(at.dir.path()).exists(), layout == AofLayout::Single, "{what}");
            assert_eq!(manifest(at.dir.path()).exists(), layout == AofLayout::Multi, "{what}");
        }
    }
}

#[test]
fn each_step_of_the_upgrade_can_be_the_last() {
    for base in kinds(&single(Path::new("/"), AppendFsync::Always)) {
        let dir = tempdir();
        let from = Config { dir: dir.path().into(), ..base };
        let ks = written(&from);
        let done = image(&from);
        let to = Config { aof_layout: AofLayout::Multi, ..done.config.clone() };
        assert!(Store::open(&to).ks == ks);
        assert_eq!(tree(done.dir.path()), IN_DIR);
        for step in 0..=6usize {
            let at = image(&from);
            let path = at.dir.path();
            if step < 6 {
                mark(path, "multi");
            }
            if step >= 1 {
                fs::create_dir(path.join("appendonlydir")).unwrap();
            }
            add(done.dir.path(), path, &IN_DIR[..step.saturating_sub(1).min(3)]);
            if step >= 5 {
                fs::remove_file(one(path)).unwrap();
            }
            check_step(&at, &ks, &format!("{} step {step}", shown(&from)));
        }
    }
}

#[test]
fn each_step_of_the_way_back_can_be_the_last() {
    for base in kinds(&config(Path::new("/"), AppendFsync::Always)) {
        let dir = tempdir();
        let from = Config { dir: dir.path().into(), ..base };
        let ks = written(&from);
        let done = image(&from);
        let to = Config { aof_layout: AofLayout::Single, ..done.config.clone() };
        assert!(Store::open(&to).ks == ks);
        assert_eq!(tree(done.dir.path()), ["appendonly.aof"]);
        for step in 0..=6 {
            let at = image(&from);
            let path = at.dir.path();
            if step < 6 {
                mark(path, "single");
            }
            match step {
                1 => fs::write(path.join("temp-rewriteaof-bg-1.aof"), b"REDIS half").unwrap(),
                2.. => add(done.dir.path(), path, &["appendonly.aof"]),
                _ => {}
            }
            if step >= 3 {
                fs::remove_file(manifest(path)).unwrap();
            }
            if step == 3 {
                // Its blocks were set free, and used anew before that was durable.
                fs::write(manifest(path).with_file_name("temp-appendonly.aof.manifest"), "foreign").unwrap();
            }
            if step >= 4 {
                fs::remove_file(incr(path, 2)).unwrap();
            }
            if step >= 5 {
                fs::remove_dir_all(path.join("appendonlydir")).unwrap();
            }
            check_step(&at, &ks, &format!("{} step {step}", shown(&from)));
        }
    }
}

/// Found by `unplug check --variant upgrade`: a crash in front of the marker's first byte was refused.
#[test]
fn a_torn_marker_is_no_matter_while_only_one_layout_is_there() {
    let whole = "#unplug:1 towards aof-layout single\n";
    for from in [AofLayout::Multi, AofLayout::Single] {
        let dir = tempdir();
        let from = Config { aof_layout: from, ..config(dir.path(), AppendFsync::Always) };
        let ks = written(&from);
        for to in [AofLayout::Multi, AofLayout::Single] {
            for torn in [&whole[..0], &whole[..9], &"\0".repeat(whole.len())] {
                let mut at = image(&from);
                at.config = Config { dir: at.config.dir.clone(), aof_layout: to, ..from.clone() };
                fs::write(at.dir.path().join(MARKER), torn).unwrap();
                let what = format!("{:?} -> {to:?} {torn:?}", from.aof_layout);
                drop(at.holds(&ks, &what));
                assert!(!at.dir.path().join(MARKER).exists(), "{what}");
            }
        }
    }
}

#[test]
fn two_append_only_files_that_belong_to_no_change_are_refused() {
    let dir = tempdir();
    let multi = config(dir.path(), AppendFsync::Always);
    written(&multi);
    let at = image(&multi);
    written(&Config { aof_layout: AofLayout::Single, dir: dir.path().join("."), ..multi.clone() });
    add(at.dir.path(), dir.path(), &["appendonlydir/appendonly.aof.manifest"]);
    let before = tree(dir.path());
    for layout in [AofLayout::Single, AofLayout::Multi] {
        let config = Config { aof_layout: layout, ..multi.clone() };
        assert!(matches!(Store::try_open(&config), Err(OpenError::Corrupt { .. })));
    }
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn an_upgrade_that_redis_left_half_done_is_gone_on_with() {
    for layout in [AofLayout::Single, AofLayout::Multi] {
        let dir = tempdir();
        let from = Config { aof_checksum: false, ..single(dir.path(), AppendFsync::Always) };
        let ks = written(&from);
        fs::create_dir(dir.path().join("appendonlydir")).unwrap();
        fs::write(manifest(dir.path()), "file appendonly.aof seq 1 type b\n").unwrap();
        let mut at = image(&from);
        at.config.aof_layout = layout;
        at.holds(&ks, "Redis's manifest, the file not yet moved");
        assert_eq!(manifest(at.dir.path()).exists(), layout == AofLayout::Multi);
    }
}

#[test]
fn a_torn_tail_is_cut_and_kept_before_the_file_is_taken_over() {
    let dir = tempdir();
    let from = single(dir.path(), AppendFsync::No);
    let ks = written(&from);
    let mut bytes = fs::read(one(dir.path())).unwrap();
    bytes.extend_from_slice(b"*2\r\n$4\r\nINCR\r\n$1\r\nx");
    fs::write(one(dir.path()), bytes).unwrap();
    for layout in [AofLayout::Single, AofLayout::Multi] {
        let mut at = image(&from);
        at.config.aof_layout = layout;
        let store = at.holds(&ks, "torn tail");
        let kept = store.report.cuts[0].kept.clone().unwrap();
        assert_eq!(fs::read(kept).unwrap(), b"*2\r\n$4\r\nINCR\r\n$1\r\nx");
    }
}

#[test]
fn switching_the_log_on_ends_a_change_that_was_broken_off_whichever_way_it_went() {
    for towards in ["multi", "single"] {
        for layout in [AofLayout::Single, AofLayout::Multi] {
            let dir = tempdir();
            let multi = config(dir.path(), AppendFsync::Always);
            written(&multi);
            let joined = image(&multi);
            let single = Config { aof_layout: AofLayout::Single, ..joined.config.clone() };
            drop(Store::open(&single));
            add(joined.dir.path(), dir.path(), &["appendonly.aof"]);
            mark(dir.path(), towards);
            let off = Config { aof_layout: layout, appendonly: false, ..multi.clone() };
            let on = Config { appendonly: true, ..off.clone() };
            let mut store = Store::open(&off);
            store.turn("SET fresh 1");
            store.p.reconfigure(&on, &store.ks, NOW).unwrap();
            store.turn("SET fresh 2");
            image(&on).holds(&store.ks, &format!("towards {towards}, on as {layout:?}"));
            assert_eq!(one(dir.path()).exists(), layout == AofLayout::Single);
            assert_eq!(manifest(dir.path()).exists(), layout == AofLayout::Multi);
            assert!(!dir.path().join(MARKER).exists());
        }
    }
}

#[test]
fn switching_the_log_on_replaces_what_the_other_layout_has_left() {
    for (old, new) in [(AofLayout::Single, AofLayout::Multi), (AofLayout::Multi, AofLayout::Single)] {
        let dir = tempdir();
        let was = Config { aof_layout: old, ..config(dir.path(), AppendFsync::Always) };
        written(&was);
        let off = Config { aof_layout: new, appendonly: false, ..was.clone() };
        let on = Config { appendonly: true, ..off.clone() };
        let mut store = Store::open(&off);
        store.turn("SET fresh 1");
        store.p.reconfigure(&on, &store.ks, NOW).unwrap();
        store.turn("SET fresh 2");
        image(&on).holds(&store.ks, "switched on");
        assert_eq!(one(dir.path()).exists(), new == AofLayout::Single);
        assert_eq!(manifest(dir.path()).exists(), new == AofLayout::Multi);
        // The other setting of checksums, while it runs.
        let plain = Config { aof_checksum: false, ..on.clone() };
        store.p.reconfigure(&plain, &store.ks, NOW).unwrap();
        store.turn("INCR fresh");
        image(&plain).holds(&store.ks, "without checksums");
    }
}
