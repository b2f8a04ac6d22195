//! The start and `check-aof` say the same of the same files, and the command that the start names repairs them.

use crate::check::tool;
use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use unplug_engine::config::{AofLayout, AppendFsync, Config};

/// Whether the start refuses: what it says.
fn refusal(config: &Config) -> Option<String> {
    Store::try_open(config).err().map(|e| e.to_string())
}

fn resp(command: &str) -> Vec<u8> {
    let words: Vec<&str> = command.split(' ').collect();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    words.iter().for_each(|w| bytes.extend_from_slice(format!("${}\r\n{w}\r\n", w.len()).as_bytes()));
    bytes
}

fn commands(commands: &[&str]) -> Vec<u8> {
    commands.iter().flat_map(|c| resp(c)).collect()
}

/// Every way to hold `log` as the last file: the configuration, the file, and what `check-aof` is given.
fn holders(dir: &Path, log: &[u8]) -> Vec<(Config, PathBuf, PathBuf)> {
    let (multi_dir, single_dir) = (dir.join("multi"), dir.join("single"));
    fs::create_dir_all(multi_dir.join("appendonlydir")).unwrap();
    fs::create_dir_all(&single_dir).unwrap();
    fs::write(manifest(&multi_dir), "file appendonly.aof.1.incr.aof seq 1 type i\n").unwrap();
    fs::write(incr(&multi_dir, 1), log).unwrap();
    fs::write(one(&single_dir), log).unwrap();
    let multi = config(&multi_dir, AppendFsync::Always);
    vec![
        (multi.clone(), incr(&multi_dir, 1), manifest(&multi_dir)),
        (multi, incr(&multi_dir, 1), incr(&multi_dir, 1)),
        (single(&single_dir, AppendFsync::Always), one(&single_dir), one(&single_dir)),
    ]
}

/// A log that cannot be executed: `--fix` cuts it where the start says, or neither claims that it does.
#[test]
fn what_cannot_be_executed_is_found_and_repaired_where_the_start_says_so() {
    let good = commands(&["SELECT 0", "SET s 1"]);
    for (bad, cut) in [
        (commands(&["LPUSH s x", "SET t 2"]), true),
        (commands(&["EXEC", "SET t 2"]), true),
        (commands(&["MULTI", "SET t 2", "MULTI", "EXEC"]), true),
        (commands(&["MULTI", "SET t 2", "LPUSH s x", "EXEC", "SET u 3"]), true),
        (commands(&["JSON.SET doc $ {}", "SET t 2"]), false),
        (commands(&["FUNCTION LOAD x", "SET t 2"]), false),
        (commands(&["SELECT 16", "SET t 2"]), false),
        (commands(&["SET s", "SET t 2"]), false),
        (commands(&["GET s"]), false),
    ] {
        let log = [&good[..], &bad].concat();
        for which in 0..3 {
            let dir = tempdir();
            let (config, file, head) = holders(dir.path(), &log).swap_remove(which);
            let text = String::from_utf8_lossy(&bad).into_owned();
            let refused = refusal(&config).unwrap_or_else(|| panic!("{which} {text}: not refused"));
            assert!(refused.contains(&format!("at offset {}: ", good.len())), "{refused}");
            assert_eq!(refused.contains("--fix"), cut, "{refused}");
            let (said, code) = tool(&[], &head);
            assert_eq!(code, 1, "{text}: {said}");
            assert!(said.contains(&format!("at offset {}: ", good.len())), "{said}");
            assert_eq!(said.contains("--fix"), cut, "{said}");
            assert_eq!(said.contains("the program that wrote it"), !cut, "{said}");
            let (said, code) = tool(&["--fix"], &head);
            assert_eq!(code, u8::from(!cut), "{said}");
            let rest = fs::read(&file).unwrap();
            if cut {
                assert_eq!(rest, good, "{said}");
                let kept = format!("{}.cut-{}", file.file_name().unwrap().display(), good.len());
                assert_eq!(fs::read(file.with_file_name(kept)).unwrap(), bad);
                assert_eq!(refusal(&config), None);
            } else {
                assert_eq!(rest, log);
                let (said, code) = tool(&["--resign"], &head);
                assert_eq!(code, 1, "{said}");
                assert_eq!(fs::read(&file).unwrap(), log);
            }
        }
    }
}

/// The same in front of other files, where nothing can be cut.
#[test]
fn what_cannot_be_executed_in_front_of_other_files() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    fs::create_dir(dir.path().join("appendonlydir")).unwrap();
    let text = "file appendonly.aof.1.incr.aof seq 1 type i\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
    fs::write(manifest(dir.path()), text).unwrap();
    fs::write(incr(dir.path(), 1), commands(&["SELECT 0", "SET s 1", "LPUSH s x"])).unwrap();
    // Executed without the one before it, this would be taken for wrong.
    fs::write(incr(dir.path(), 2), commands(&["SELECT 0", "RENAME s t"])).unwrap();
    let refused = refusal(&config).unwrap();
    let (said, code) = tool(&["--fix"], &manifest(dir.path()));
    for said in [&refused, &said] {
        assert!(said.contains("take that command out by hand"), "{said}");
    }
    assert_eq!(code, 1);
    assert!(!said.contains("2.incr.aof is not valid"), "{said}");
    let repaired = commands(&["SELECT 0", "SET s 1"]);
    fs::write(incr(dir.path(), 1), &repaired).unwrap();
    for path in [manifest(dir.path()), incr(dir.path(), 2)] {
        let (said, code) = tool(&[], &path);
        assert_eq!(code, 0, "{said}");
    }
    assert_eq!(refusal(&config), None);
}

#[test]
fn a_file_that_is_listed_and_missing() {
    for kind in kinds(&config(Path::new("/nowhere"), AppendFsync::Always)) {
        for gone in ["base", "incr"] {
            let dir = tempdir();
            let config = Config { dir: dir.path().into(), ..kind.clone() };
            let mut store = Store::open(&config);
            fill(&mut store);
            drop(store);
            let name = tree(dir.path()).into_iter().find(|n| n.contains(&format!(".1.{gone}."))).unwrap();
            fs::remove_file(dir.path().join(&name)).unwrap();
            let refused = refusal(&config).unwrap();
            let before = tree(dir.path());
            for options in [&[][..], &["--fix"], &["--resign"]] {
                let (said, code) = tool(options, &manifest(dir.path()));
                assert_eq!(code, 1, "{said}");
                for said in [&refused, &said] {
                    assert!(said.contains(&name) && said.contains("it is not there"), "{said}");
                    assert!(said.contains("no command can bring it back"), "{said}");
                }
            }
            assert_eq!(tree(dir.path()), before);
        }
    }
}

/// A snapshot with a seventeenth database, as a base and as a preamble.
#[test]
fn a_snapshot_that_names_a_database_too_many() {
    let snapshot = b"REDIS0009\xfe\x10\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    let multi = tempdir();
    fs::create_dir(multi.path().join("appendonlydir")).unwrap();
    fs::write(manifest(multi.path()), "file appendonly.aof.1.base.rdb seq 1 type b\n").unwrap();
    fs::write(multi.path().join("appendonlydir/appendonly.aof.1.base.rdb"), snapshot).unwrap();
    let one_dir = tempdir();
    fs::write(one(one_dir.path()), snapshot).unwrap();
    for (config, head) in [
        (config(multi.path(), AppendFsync::Always), manifest(multi.path())),
        (single(one_dir.path(), AppendFsync::Always), one(one_dir.path())),
    ] {
        let refused = refusal(&config).unwrap();
        let (said, code) = tool(&[], &head);
        assert_eq!(code, 1);
        for said in [&refused, &said] {
            assert!(said.contains("there are only 16 databases"), "{said}");
            assert!(said.contains("the program that wrote it") && !said.contains("--resign"), "{said}");
        }
    }
}

/// Cut behind the snapshot, or to nothing: no checksum is left that could fail.
#[test]
fn a_single_file_that_was_cut_where_it_still_looks_whole() {
    let dir = tempdir();
    let config = single(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&config);
    fill(&mut store);
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.settle();
    drop(store);
    let file = one(dir.path());
    let whole = fs::read(&file).unwrap();
    let preamble = whole.windows(7).position(|w| w == b"#UNPLUG").unwrap();
    for (len, what) in [(preamble, "the checksum chain that belongs behind"), (0, "it is empty")] {
        fs::write(&file, &whole[..len]).unwrap();
        let refused = refusal(&config).unwrap();
        let (said, code) = tool(&[], &file);
        assert_eq!(code, 1, "{said}");
        for said in [&refused, &said] {
            assert!(said.contains(what), "{said}");
        }
        let (said, code) = tool(&["--resign"], &file);
        assert_eq!(code, 0, "{said}");
        assert_eq!(refusal(&config), None);
        fs::remove_file(dir.path().join("appendonly.aof.seal")).unwrap();
    }
    // As a server with aof-checksum no leaves it, and Redis.
    fs::write(&file, b"").unwrap();
    let plain = Config { aof_checksum: false, aof_use_rdb_preamble: false, ..config };
    assert_eq!(refusal(&plain), None);
    fs::write(&file, b"").unwrap();
    assert_eq!(tool(&["--plain"], &file).1, 0);
}

/// What `--resign` accepts is named: the annotation, and the offset from which on nothing is vouched for.
#[test]
fn signing_says_what_it_has_accepted() {
    for layout in [AofLayout::Multi, AofLayout::Single] {
        let dir = tempdir();
        let config = Config { aof_layout: layout, ..config(dir.path(), AppendFsync::Always) };
        let (log, head) = match layout {
            AofLayout::Multi => (incr(dir.path(), 1), manifest(dir.path())),
            AofLayout::Single => (one(dir.path()), one(dir.path())),
        };
        let mut store = Store::open(&config);
        store.turn("SET a 1");
        let from = fs::metadata(&log).unwrap().len() as usize;
        store.turn("FLUSHALL");
        drop(store);
        let bytes = fs::read(&log).unwrap();
        let flush = resp("FLUSHALL");
        assert!(bytes[from..].starts_with(&flush));
        fs::write(&log, [&bytes[..from], &bytes[from + flush.len()..]].concat()).unwrap();
        let (said, code) = tool(&["--resign"], &head);
        assert_eq!(code, 0, "{said}");
        let line = format!("the annotation at offset {from} does not fit the bytes from offset {from} to it");
        assert!(said.contains(&line) && said.contains("1 annotations and 0 commands"), "{said}");
        let (said, code) = tool(&["--resign"], &head);
        assert!(code == 0 && !said.contains("Accepted:"), "nothing is left to accept: {said}");
    }
}
