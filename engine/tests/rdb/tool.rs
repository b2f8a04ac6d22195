//! `unplug-engine check-rdb`.

use crate::{encode, fixtures, interop};
use std::path::Path;
use std::process::Command;

fn check(args: &[&str]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_unplug-engine")).arg("check-rdb").args(args).output().unwrap();
    let text = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
    (out.status.code().unwrap(), text)
}

fn check_bytes(bytes: &[u8]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.rdb");
    std::fs::write(&file, bytes).unwrap();
    let (code, text) = check(&[file.to_str().unwrap()]);
    (code, text.replace(file.to_str().unwrap(), "FILE"))
}

#[test]
fn a_good_file() {
    let rdb =
        encode::Rdb::new(9).part([250]).part(encode::string(b"redis-ver")).part(encode::string(b"7.0.15"));
    let rdb = rdb.select(2).part([252]).part(1u64.to_le_bytes()).key(0, "old", encode::string(b"x"));
    let (code, text) =
        check_bytes(&[rdb.key(0, "new", encode::string(b"y")).end(), b"tail".to_vec()].concat());
    let want = "[offset 0] Checking RDB file FILE\n[offset 9] AUX FIELD redis-ver = '7.0.15'\n[offset 27] Selecting DB ID 2\n\
                [offset 61] Checksum OK\n[offset 61] \\o/ RDB looks OK! \\o/\n[info] 4 bytes follow the end\n[info] version 9\n\
                [info] 2 keys read\n[info] 1 expires\n[info] 1 already expired\n";
    assert_eq!((code, text.as_str()), (0, want));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let list = encode::string(&encode::ziplist(&[b"a".to_vec()]));
    let mut bytes =
        encode::Rdb::new(9).select(0).key(0, "good", encode::string(b"x")).key(10, "a\nb", &list).end();
    // The length that the ziplist has of itself.
    bytes[25] ^= 1;
    let (code, text) = check_bytes(&bytes);
    let want = "[offset 0] Checking RDB file FILE\n[offset 9] Selecting DB ID 0\n--- RDB ERROR DETECTED ---\n\
                [offset 24] a ziplist is broken (the key 'a\\nb' of database 0, a list)\n\
                [additional info] Reading key 'a\\nb'\n[additional info] Reading type 10 (list)\n\
                [info] 1 keys read\n[info] 0 expires\n[info] 0 already expired\n";
    assert_eq!((code, text.as_str()), (1, want));
    let (code, text) = check_bytes(&fixtures::of_version(9)[..5000]);
    assert!(code == 1 && text.contains("bytes are wanted and"), "{text}");
    assert_eq!(check_bytes(b"").0, 1);
    let mut sum = fixtures::of_version(9);
    *sum.last_mut().unwrap() ^= 1;
    assert!(check_bytes(&sum).1.contains("its checksum does not fit its bytes"));
    let twice =
        encode::Rdb::new(9).select(0).key(0, "k", encode::string(b"")).key(0, "k", encode::string(b"")).end();
    assert!(check_bytes(&twice).1.contains("it stands there twice"));
}

/// A module's own data are passed over, as redis-check-rdb passes over them, though nobody could load them.
#[test]
fn parts_of_modules_are_passed_over() {
    let parts = [2, 1, 2, 5, 1, 9, 3, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 5, 2, b'h', b'i', 0];
    let rdb = encode::Rdb::new(9)
        .part([247])
        .part([0x81, 0, 0, 0, 0, 0, 0, 0, 0])
        .part(&parts[..2])
        .part(&parts[2..]);
    let (code, text) = check_bytes(&rdb.select(0).key(0, "k", encode::string(b"")).end());
    assert!(code == 0 && text.contains("[info] 1 keys read"), "{text}");
    // They begin with their time, and consist of known parts.
    for (wrong, words) in [
        ([1, 1, 0, 0], "a module's data do not begin with their time"),
        ([2, 1, 6, 0], "unknown part 6 of a module's value"),
    ] {
        let rdb = encode::Rdb::new(9).part([247]).part([0x81, 0, 0, 0, 0, 0, 0, 0, 0]).part(wrong);
        let (code, text) = check_bytes(&rdb.select(0).key(0, "k", encode::string(b"")).end());
        assert!(code == 1 && text.contains(words), "{text}");
    }
}

#[test]
fn what_redis_check_rdb_says_it_says_too() {
    let dir = tempfile::tempdir().unwrap();
    for version in 1..=10 {
        let file = dir.path().join(format!("{version}.rdb"));
        std::fs::write(&file, fixtures::of_version(version)).unwrap();
        interop::accepted(&file);
        assert_eq!(check(&[file.to_str().unwrap()]).0, 0);
        let Ok(theirs) = Command::new("redis-check-rdb").arg(&file).output() else { return };
        let theirs = String::from_utf8_lossy(&theirs.stdout).into_owned();
        let keys = theirs.lines().find(|l| l.ends_with("keys read")).unwrap().to_owned();
        assert!(check(&[file.to_str().unwrap()]).1.contains(&keys), "version {version}: {keys}");
    }
}

#[test]
fn wrong_arguments() {
    let missing = Path::new("/nonexistent/file.rdb");
    let (code, text) = check(&[missing.to_str().unwrap()]);
    assert!(code == 1 && text.contains("cannot open /nonexistent/file.rdb"), "{text}");
    for args in [&["--fix", "x.rdb"][..], &[], &["a", "b"]] {
        let (code, text) = check(args);
        assert!(code == 2 && text.contains("There is no --fix"), "{text}");
    }
    assert_eq!(check(&["--help"]).0, 0);
}
