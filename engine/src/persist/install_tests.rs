//! The beginning and the end of a rewrite, and what comes in between.

use super::disk;
use super::error::{RewriteError, RewriteStart, SaveError};
use super::install::Install;
use super::log::Trouble;
use super::{Persistence, fork};
use crate::command::replay;
use crate::config::{AppendFsync, Config};
use crate::keyspace::Keyspace;
use std::path::{Path, PathBuf};

const NOW: u64 = 1_700_000_000_000;

fn config(dir: &Path) -> Config {
    let appendfsync = AppendFsync::Always;
    Config { dir: dir.to_owned(), appendonly: true, appendfsync, save: Vec::new(), ..Config::default() }
}

fn write(p: &mut Persistence, ks: &mut Keyspace) {
    let words: [&[u8]; 2] = [b"INCR", b"n"];
    replay(ks, &mut 0, &words, NOW).unwrap();
    p.log(0, &words);
    p.end_turn(NOW).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    disk::names(&dir.join("appendonlydir")).unwrap()
}

/// A rewrite whose child has ended, and whose end has not been taken note of.
fn installing(config: &Config) -> (Persistence, Keyspace) {
    let (mut p, mut ks, _) = Persistence::open(config, NOW).unwrap();
    for _ in 0..100 {
        write(&mut p, &mut ks);
        assert_eq!(p.begin_rewrite(&ks, NOW).unwrap(), RewriteStart::Started);
        write(&mut p, &mut ks);
        while p.child.is_some() {
            p.reap_for_test(NOW);
        }
        if matches!(p.install, Some(Install::Runs(_))) {
            return (p, ks);
        }
    }
    panic!("the thread is always too fast");
}

#[test]
fn while_a_base_is_put_in_place_the_log_goes_on_and_nothing_else_begins() {
    let dir = tempfile::tempdir().unwrap();
    let (mut p, mut ks) = installing(&config(dir.path()));
    assert!(p.background_running() && p.info().aof_rewrite_in_progress);
    assert!(matches!(p.begin_rewrite(&ks, NOW), Err(RewriteError::InProgress)));
    assert!(matches!(p.begin_bgsave(&ks, NOW), Err(SaveError::RewriteInProgress)));
    let other = Config { aof_checksum: false, ..config(dir.path()) };
    assert!(p.reconfigure(&other, &ks, NOW).is_err(), "not during a rewrite");
    p.aof.as_mut().unwrap().log.push(0, &[b"INCR", b"n"]);
    replay(&mut ks, &mut 0, &[b"INCR", b"n"], NOW).unwrap();
    p.aof.as_mut().unwrap().log.write().unwrap();
    p.finish_install(NOW);
    assert!(!p.background_running() && p.info().aof_last_bgrewrite_ok);
    let manifest = p.aof.as_ref().unwrap().manifest.clone();
    let mut listed: Vec<String> = manifest.files.iter().map(|f| f.name.clone()).collect();
    listed.push("appendonly.aof.manifest".into());
    listed.sort();
    assert_eq!(names(dir.path()), listed, "the old files are gone, and the manifest is the one on the disk");
    write(&mut p, &mut ks);
    assert_eq!(p.info().aof_current_size, size(dir.path(), &listed));
    drop(p);
    assert_eq!(Persistence::open(&config(dir.path()), NOW).unwrap().1, ks);
}

fn size(dir: &Path, names: &[String]) -> u64 {
    let len = |name: &String| std::fs::metadata(dir.join("appendonlydir").join(name)).unwrap().len();
    names.iter().filter(|name| !name.ends_with("manifest")).map(len).sum()
}

#[test]
fn whoever_needs_the_manifest_waits_for_the_base_to_be_in_its_place() {
    type Step = fn(&mut Persistence, &Keyspace);
    let steps: [Step; 4] = [
        |p, ks| p.shutdown(ks, None, NOW).unwrap(),
        |p, ks| {
            let off = Config { appendonly: false, ..p.config.clone() };
            p.reconfigure(&off, ks, NOW).unwrap();
        },
        |p, ks| assert_eq!(p.reload_aof(NOW).unwrap().as_ref(), Some(ks)),
        |p, ks| {
            p.config.appendfsync = AppendFsync::No;
            p.aof.as_mut().unwrap().trouble = Some(Trouble::Rebase("test".into()));
            p.cron(ks, NOW).unwrap();
            assert_eq!(p.refuses_writes(), None);
        },
    ];
    for step in steps {
        let dir = tempfile::tempdir().unwrap();
        let (mut p, ks) = installing(&config(dir.path()));
        step(&mut p, &ks);
        assert!(!p.background_running());
        drop(p);
        assert_eq!(Persistence::open(&config(dir.path()), NOW).unwrap().1, ks);
        assert!(names(dir.path()).iter().all(|name| !name.contains("temp-") && !name.contains(".prev")));
    }
}

#[test]
fn what_cannot_be_prepared_leaves_the_log_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (mut p, mut ks, _) = Persistence::open(&config(dir.path()), NOW).unwrap();
    let in_the_way = |name: &str| -> PathBuf { dir.path().join("appendonlydir").join(name) };
    // The new incr file, the new manifest and the old one's second name, each where a directory stands.
    for name in ["appendonly.aof.2.incr.aof", "temp-appendonly.aof.manifest", "appendonly.aof.manifest.prev"]
    {
        let before = names(dir.path());
        std::fs::create_dir(in_the_way(name)).unwrap();
        write(&mut p, &mut ks);
        assert!(p.begin_rewrite(&ks, NOW).is_err(), "{name}");
        assert!(p.refuses_writes().is_none() && !p.info().aof_last_bgrewrite_ok && p.child.is_none());
        write(&mut p, &mut ks);
        std::fs::remove_dir(in_the_way(name)).unwrap();
        assert_eq!(names(dir.path()), before, "{name}");
    }
    p.begin_rewrite(&ks, NOW).unwrap();
    while p.background_running() {
        p.reap_for_test(NOW);
    }
    write(&mut p, &mut ks);
    assert!(p.info().aof_last_bgrewrite_ok);
    assert_eq!(Persistence::open(&config(dir.path()), NOW).unwrap().1, ks);
    assert!(fork::statistics().0 > 0);
}

#[test]
fn a_base_that_cannot_be_listed_goes_and_is_shown_as_failed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut p, mut ks, _) = Persistence::open(&config(dir.path()), NOW).unwrap();
    write(&mut p, &mut ks);
    p.begin_rewrite(&ks, NOW).unwrap();
    write(&mut p, &mut ks);
    let (before, size) = (p.aof.as_ref().unwrap().manifest.clone(), p.info().aof_base_size);
    // What the new manifest is written to is in use.
    let in_the_way = dir.path().join("appendonlydir/temp-appendonly.aof.manifest");
    std::fs::create_dir(&in_the_way).unwrap();
    while p.background_running() {
        p.reap_for_test(NOW);
    }
    std::fs::remove_dir(&in_the_way).unwrap();
    assert!(!p.info().aof_last_bgrewrite_ok && p.info().aof_rewrites_consecutive_failures == 1);
    assert_eq!(p.info().aof_base_size, size, "growth is measured against what there was");
    assert_eq!(p.aof.as_ref().unwrap().manifest, before);
    let mut listed: Vec<String> = before.files.iter().map(|f| f.name.clone()).collect();
    listed.push("appendonly.aof.manifest".into());
    listed.sort();
    assert_eq!(names(dir.path()), listed, "the base that nobody lists is gone");
    write(&mut p, &mut ks);
    drop(p);
    assert_eq!(Persistence::open(&config(dir.path()), NOW).unwrap().1, ks);
}
