//! Which file is refused, at which offset, and in which words: what a person has to go by.

use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use unplug_engine::config::{AppendFsync, Config};
use unplug_engine::persist::OpenError;

/// The start is refused because of this file, at this offset, in words that begin so, and nothing changes.
#[track_caller]
fn refused(config: &Config, file: &Path, at: u64, words: &str) {
    let before = tree(&config.dir);
    match Store::try_open(config) {
        Ok(store) => panic!("it is loaded: {:?}", store.ks),
        Err(OpenError::Corrupt { path, offset, what, repair }) => {
            assert_eq!((path.as_path(), offset), (file, at), "{what}");
            assert!(what.starts_with(words), "{what}");
            assert!(!repair.is_empty());
        }
        Err(other) => panic!("{other}"),
    }
    assert_eq!(tree(&config.dir), before);
}

fn base(dir: &Path, seq: u64, kind: &str) -> PathBuf {
    dir.join(format!("appendonlydir/appendonly.aof.{seq}.base.{kind}"))
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn cut(path: &Path, to: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(to).unwrap();
}

/// A directory whose manifest lists two incr files, as while a rewrite runs. Lengths of the first one: in front of its
/// last command, and whole.
fn two_incrs(config: &Config, last: &str) -> (Image, u64, u64) {
    let mut store = Store::open(config);
    store.turn("SET k 1");
    let before = len(&incr(&config.dir, 1));
    store.turn(last);
    let whole = len(&incr(&config.dir, 1));
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.turn("SET later 1");
    let at = image(config);
    assert_eq!(len(&incr(at.dir.path(), 1)), whole);
    image(&at.config).holds(&store.ks, "as it is");
    store.settle();
    (at, before, whole)
}

#[test]
fn a_file_under_another_ones_name() {
    let dir = tempdir();
    let (at, ..) = two_incrs(&config(dir.path(), AppendFsync::Always), "SET a 1");
    fs::copy(incr(at.dir.path(), 2), incr(at.dir.path(), 1)).unwrap();
    refused(&at.config, &incr(at.dir.path(), 1), 0, "it begins as another file of the chain");
}

#[test]
fn a_predecessor_of_the_same_length_and_another_content() {
    let (dir, other) = (tempdir(), tempdir());
    let (at, ..) = two_incrs(&config(dir.path(), AppendFsync::Always), "SET a 1");
    let (stranger, ..) = two_incrs(&config(other.path(), AppendFsync::Always), "SET a 2");
    let [ours, theirs] = [&at, &stranger].map(|image| incr(image.dir.path(), 1));
    assert_eq!(len(&ours), len(&theirs));
    fs::copy(theirs, ours).unwrap();
    refused(
        &at.config,
        &incr(at.dir.path(), 2),
        0,
        "the file before it does not end as this one's header says",
    );
}

#[test]
fn a_predecessor_with_checksums_that_ends_too_early_is_told_by_its_own_end() {
    let dir = tempdir();
    let (at, before, whole) = two_incrs(&config(dir.path(), AppendFsync::Always), "SET a 1");
    cut(&incr(at.dir.path(), 1), whole - 1);
    refused(&at.config, &incr(at.dir.path(), 1), before, "a checksum fails in a file that was synced whole");
    cut(&incr(at.dir.path(), 1), before);
    refused(
        &at.config,
        &incr(at.dir.path(), 2),
        0,
        "the file before it does not end as this one's header says",
    );
}

/// A log that was begun without checksums and goes on with them: the next file's header knows its predecessor's length.
#[test]
fn a_predecessor_without_checksums_that_lacks_a_whole_command() {
    let dir = tempdir();
    let with = config(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&Config { aof_checksum: false, ..with.clone() });
    store.turn("SET k 1");
    let before = len(&incr(dir.path(), 1));
    store.turn("SET a 1");
    drop(store);
    Store::open(&with).turn("SET later 1");
    let at = image(&with);
    assert!(incr(at.dir.path(), 2).exists() && at.config.aof_checksum);
    cut(&incr(at.dir.path(), 1), before);
    refused(
        &at.config,
        &incr(at.dir.path(), 2),
        0,
        "the file before it does not end as this one's header says",
    );
}

#[test]
fn a_plain_file_that_is_not_the_last_one_must_be_whole() {
    let dir = tempdir();
    let plain = Config { aof_checksum: false, ..config(dir.path(), AppendFsync::Always) };
    let (at, before, whole) = two_incrs(&plain, "SET a 1");
    for end in (before + 1..whole).rev() {
        cut(&incr(at.dir.path(), 1), end);
        refused(&at.config, &incr(at.dir.path(), 1), before, "the file ends inside a command");
    }
}

#[test]
fn what_is_no_command_in_a_plain_file() {
    let dir = tempdir();
    let plain = Config { aof_checksum: false, ..config(dir.path(), AppendFsync::Always) };
    Store::open(&plain).turn("SET k 1");
    let file = incr(dir.path(), 1);
    let whole = fs::read(&file).unwrap();
    for (more, words) in [
        (&[0; 9][..], "nothing but zeros follows"),
        (b"\0\0x", "no command begins there"),
        (b"x\0\0", "no command begins there"),
        (b"*0\r\n", "no command begins there"),
    ] {
        fs::write(&file, [&whole, more].concat()).unwrap();
        refused(&plain, &file, whole.len() as u64, words);
    }
    for (more, words) in [
        (&b"*1\r\n$4\r\nNOPE\r\n"[..], "a command there cannot be applied: unknown command 'NOPE'"),
        (b"*1\r\n$4\r\nEXEC\r\n", "MULTI and EXEC do not pair"),
    ] {
        fs::write(&file, [&whole, more].concat()).unwrap();
        refused(&plain, &file, whole.len() as u64, words);
    }
}

/// The longest line that Redis reads in one piece, and one that is longer.
#[test]
fn a_line_of_a_plain_file_that_does_not_end() {
    let dir = tempdir();
    let plain = Config { aof_checksum: false, ..config(dir.path(), AppendFsync::Always) };
    let ks = {
        let mut store = Store::open(&plain);
        store.turn("SET k 1");
        store.ks.clone()
    };
    let file = incr(dir.path(), 1);
    let whole = fs::read(&file).unwrap();
    for (len, end, good) in [(1021, "", true), (1022, "", false), (1021, "\n", true), (1022, "\n", false)] {
        let line = format!("#{}{end}", "x".repeat(len - 1));
        fs::write(&file, [&whole, line.as_bytes()].concat()).unwrap();
        if good {
            assert!(Store::open(&plain).ks == ks, "{len}{end:?}");
        } else {
            refused(&plain, &file, whole.len() as u64, "no command begins there");
        }
    }
}

#[test]
fn a_base_of_commands_that_lacks_its_end_or_is_another_ones() {
    let dir = tempdir();
    let config = Config { aof_use_rdb_preamble: false, ..config(dir.path(), AppendFsync::Always) };
    let mut store = Store::open(&config);
    fill(&mut store);
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.settle();
    let at = image(&config);
    let file = base(at.dir.path(), 2, "aof");
    let whole = fs::read(&file).unwrap();
    let end = whole.windows(12).rposition(|w| w == b"#UNPLUG-END\r").unwrap();
    cut(&file, end as u64);
    refused(&at.config, &file, end as u64, "the base's checksums do not fit its bytes");
    // The next rewrite's, of the same data.
    store.p.begin_rewrite(&store.ks, NOW).unwrap();
    store.settle();
    let next = fs::read(base(dir.path(), 3, "aof")).unwrap();
    fs::write(&file, &next).unwrap();
    refused(&at.config, &file, next.len() as u64, "the base's checksums do not fit its bytes");
}

#[test]
fn commands_behind_a_base_that_is_a_snapshot() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    Store::open(&config).turn("SET k 1");
    let file = base(dir.path(), 1, "rdb");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, [&whole, &b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"[..]].concat()).unwrap();
    refused(&config, &file, whole.len() as u64, "bytes follow the snapshot's end");
}

#[test]
fn a_single_file_that_ends_inside_its_first_line() {
    let dir = tempdir();
    let with = single(dir.path(), AppendFsync::Always);
    let without = Config { aof_checksum: false, ..with.clone() };
    let words = "it is empty, or ends inside its first line";
    for text in ["#", "#UNP", "#UNPLU"] {
        for config in [&with, &without] {
            fs::write(one(dir.path()), text).unwrap();
            refused(config, &one(dir.path()), 0, words);
        }
    }
    fs::write(one(dir.path()), "").unwrap();
    refused(&with, &one(dir.path()), 0, words);
    // Redis's empty log.
    assert!(Store::open(&without).ks.dbs.iter().all(|db| db.is_empty()));
}

#[test]
fn a_single_file_that_is_not_the_one_of_its_seal_or_of_its_snapshot() {
    let (dir, other) = (tempdir(), tempdir());
    let configs = [&dir, &other].map(|dir| single(dir.path(), AppendFsync::Always));
    for (config, value) in configs.iter().zip(["1", "2"]) {
        let mut store = Store::open(config);
        store.turn(&format!("SET k {value}"));
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.settle();
        for _ in 0..if value == "1" { 9 } else { 1 } {
            store.turn("INCR n");
        }
        store.p.shutdown(&store.ks, None, NOW).unwrap();
    }
    let [long, short] = [&dir, &other].map(|dir| fs::read(one(dir.path())).unwrap());
    assert!(long.len() > short.len());
    let chain = |bytes: &[u8]| bytes.windows(10).position(|w| w == b"#UNPLUG:1 ").unwrap();
    assert_eq!(chain(&long), chain(&short));
    // Of the same generation, and longer: it says nothing of a file with another beginning.
    let at = image(&configs[1]);
    fs::copy(dir.path().join("appendonly.aof.seal"), at.dir.path().join("appendonly.aof.seal")).unwrap();
    assert_eq!(Store::open(&at.config).ks.dbs[0].len(), 2);
    // Another snapshot of the same length in front of the chain.
    let at = image(&configs[0]);
    let mixed = [&short[..chain(&short)], &long[chain(&long)..]].concat();
    fs::write(one(at.dir.path()), mixed).unwrap();
    let words = "the snapshot before it is not the one that its first line names";
    refused(&at.config, &one(at.dir.path()), chain(&long) as u64, words);
    // Commands without checksums where a seal says that there were some.
    fs::write(one(at.dir.path()), b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n").unwrap();
    let words = format!("it has no checksums, and its seal says that it had, over {} bytes", long.len());
    refused(&at.config, &one(at.dir.path()), 0, &words);
}

#[test]
fn a_snapshot_with_expired_keys_and_bytes_behind_it() {
    let dir = tempdir();
    let config = Config { appendonly: false, ..config(dir.path(), AppendFsync::No) };
    let mut store = Store::open(&config);
    store.run(0, "SET k 1");
    store.run(0, "SET gone 1");
    store.run(0, &format!("PEXPIREAT gone {}", NOW - 1));
    store.run(0, "SET stays 1");
    store.run(0, &format!("PEXPIREAT stays {}", NOW + 1));
    store.p.save(&store.ks, NOW).unwrap();
    let again = Store::open(&config);
    assert_eq!((again.ks.dbs[0].len(), again.report.snapshot_keys), (2, (3, 1)));
    assert!(again.report.warnings.is_empty() && !again.ks.dbs[0].contains_key(b"gone"));
    let path = dir.path().join("dump.rdb");
    fs::write(&path, [fs::read(&path).unwrap().as_slice(), b"more"].concat()).unwrap();
    let again = Store::open(&config);
    assert_eq!(again.ks.dbs[0].len(), 2);
    assert_eq!(again.report.warnings, [format!("{}: 4 bytes follow the end", path.display())]);
}

/// What a manifest of Redis's does not list may be anything: only this engine's own leftovers are known to be ones.
#[test]
fn what_another_programs_manifest_does_not_list_stays() {
    for checksum in [true, false] {
        let dir = tempdir();
        let config = Config { aof_checksum: checksum, ..config(dir.path(), AppendFsync::Always) };
        Store::open(&config).turn("SET k 1");
        let unlisted = base(dir.path(), 9, "rdb");
        fs::write(&unlisted, b"x").unwrap();
        drop(Store::open(&config));
        assert_eq!(unlisted.exists(), !checksum);
    }
}

/// An incr file that holds data and that the manifest does not know: the manifest is older than the files.
#[test]
fn a_manifest_that_is_older_than_the_files() {
    let dir = tempdir();
    let (at, ..) = two_incrs(&config(dir.path(), AppendFsync::Always), "SET a 1");
    let old = image(&at.config);
    let text = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    let listed = |image: &Image| {
        let manifest =
            unplug_engine::aof::Manifest::parse(&fs::read(manifest(image.dir.path())).unwrap()).unwrap();
        manifest.files.iter().map(|f| format!("file {} seq {} ", f.name, f.seq)).collect::<String>()
    };
    assert!(listed(&old).contains("2.incr.aof"));
    let mut older = unplug_engine::aof::Manifest::parse(text.as_bytes()).unwrap();
    older.foreign = false;
    older.files[1].chained = true;
    fs::write(manifest(old.dir.path()), older.encode()).unwrap();
    let words = "it is older than appendonly.aof.2.incr.aof, which holds data and is not listed";
    refused(&old.config, &manifest(old.dir.path()), 0, words);
    // What does not pair is more than nothing, too.
    fs::write(incr(old.dir.path(), 2), b"*1\r\n$4\r\nEXEC\r\n").unwrap();
    refused(&old.config, &manifest(old.dir.path()), 0, words);
    // Without a command it is what an interrupted step has left, and so is a single file that was once taken over.
    fs::write(incr(old.dir.path(), 2), b"#UNPLUG:1 2 0 00").unwrap();
    let single = old.dir.path().join("appendonlydir/appendonly.aof");
    fs::write(&single, b"x").unwrap();
    drop(Store::open(&old.config));
    assert!(!incr(old.dir.path(), 2).exists() && !single.exists());
}

#[test]
fn a_log_that_was_longer_when_the_server_stopped_in_order() {
    let dir = tempdir();
    let config = config(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&config);
    store.turn("SET k 1");
    let before = len(&incr(dir.path(), 1));
    store.turn("SET a 1");
    store.p.shutdown(&store.ks, None, NOW).unwrap();
    let whole = len(&incr(dir.path(), 1));
    cut(&incr(dir.path(), 1), whole - 1);
    let words =
        format!("only its first {before} bytes are good, and {whole} were when the server stopped in order");
    refused(&config, &incr(dir.path(), 1), before, &words);
}

#[test]
fn a_single_file_without_checksums_is_written_anew_where_they_are_wanted() {
    let dir = tempdir();
    let with = single(dir.path(), AppendFsync::Always);
    let without = Config { aof_checksum: false, ..with.clone() };
    let chained = |dir: &Path| fs::read(one(dir)).unwrap().windows(10).any(|w| w == b"#UNPLUG:1 ");
    let mut store = Store::open(&without);
    store.turn("SET k 1");
    assert!(!chained(dir.path()));
    for (config, wanted) in [(&with, true), (&without, false)] {
        assert!(Store::open(config).ks == store.ks);
        assert_eq!(chained(dir.path()), wanted);
    }
}

#[test]
fn a_report_counts_the_keys_of_the_base() {
    for config in [config as fn(&Path, AppendFsync) -> Config, single] {
        let dir = tempdir();
        let config = config(dir.path(), AppendFsync::Always);
        let mut store = Store::open(&config);
        store.turn("SET k 1");
        store.turn("SET l 1");
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.settle();
        store.turn("SET m 1");
        assert_eq!(Store::open(&config).report.snapshot_keys, (2, 0));
    }
}
