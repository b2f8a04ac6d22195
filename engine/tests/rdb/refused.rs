//! What is refused, and by what name.

use crate::encode::*;
use unplug_engine::rdb::{self, RdbError};

fn refused(bytes: &[u8]) -> RdbError {
    rdb::read(bytes, None).expect_err("it is refused")
}

/// The offset of the first byte behind the magic, the version and `SELECTDB 0`.
const BODY: u64 = 11;

fn one(kind: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    Rdb::new(11).select(0).key(kind, "k", value).end_unsummed()
}

#[track_caller]
fn says(bytes: &[u8], offset: u64, words: &str) {
    let error = refused(bytes);
    assert!(error.what.contains(words), "{error:?} does not say '{words}'");
    assert_eq!(error.offset, offset, "{error:?}");
}

fn items(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|w| w.as_bytes().to_vec()).collect()
}

#[test]
fn what_is_not_supported_is_named() {
    for kind in [15, 19, 21] {
        says(&one(kind, len(0)), BODY + 3, "streams are not supported (the key 'k' of database 0, a stream)");
    }
    // Module "rejson-rl", version 3.
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = |c: &u8| letters.iter().position(|l| l == c).unwrap() as u64;
    let id = b"rejson-rl".iter().fold(0, |id, c| (id << 6) | place(c)) << 10 | 3;
    let id = [&[0x81][..], &id.to_be_bytes()].concat();
    says(&one(7, &id), BODY + 3, "the module type 'rejson-rl' (version 3)");
    says(&one(6, &id), BODY + 3, "the module type 'rejson-rl' (version 3)");
    let aux = Rdb::new(9).part([247]).part(&id).part([2, 1, 2, 5, 0]).end();
    says(&aux, 9, "data of the module 'rejson-rl'");
    says(
        &Rdb::new(10).part([246]).part(string(b"code")).end(),
        9,
        "functions as a release candidate had them",
    );
    says(&Rdb::new(10).part([245]).part(string(b"code")).end(), 9, "a function library stands there");
    says(&Rdb::new(12).end(), 5, "its version is 12, and the newest that is known is 11");
    says(b"REDIS00x1\xff", 5, "its version is no number");
    says(b"REDIS+001\xff", 5, "its version is no number");
    says(b"REDIS0000\xff", 5, "its version is 0");
    says(b"RODIS0009\xff", 0, "does not begin with REDIS");
    says(&Rdb::new(9).select(16).end(), 9, "only 16 databases: the option `databases` must be 17 at least");
    says(&one(8, string(b"")), BODY, "nothing that is known begins with the byte 8");
    says(&one(22, string(b"")), BODY, "the byte 22");
}

#[test]
fn what_stands_there_twice_is_refused() {
    let twice = items(&["a", "1", "a", "2"]);
    says(&one(2, [len(2), string(b"a"), string(b"a")].concat()), BODY + 6, "a member stands there twice");
    says(&one(20, string(&listpack(&items(&["a", "a"])))), BODY + 3, "a member stands there twice");
    says(&one(4, [vec![2, 1, b'f', 0, 1, b'f', 0]].concat()), BODY + 7, "a field stands there twice");
    for kind in [9, 13, 16] {
        let packed = [zipmap(&twice), ziplist(&twice), listpack(&twice)][(kind as usize - 9) / 3].clone();
        says(&one(kind, string(&packed)), BODY + 3, "a field stands there twice");
    }
    for (kind, packed) in [(12, ziplist(&twice)), (17, listpack(&twice))] {
        says(&one(kind, string(&packed)), BODY + 3, "a member stands there twice");
    }
    // An integer and its text are one key.
    let keys =
        Rdb::new(9).select(0).part([0]).part(integer(7)).part(string(b"x")).key(0, "7", string(b"y")).end();
    says(&keys, 16, "it stands there twice (the key '7' of database 0, a string)");
}

#[test]
fn scores_are_numbers() {
    says(&one(3, [vec![1, 1, b'm', 253]].concat()), BODY + 4, "a score is no number");
    says(&one(3, b"\x01\x01m\x031.x"), BODY + 6, "a score is no number");
    says(&one(5, [&[1, 1, b'm'][..], &f64::NAN.to_le_bytes()].concat()), BODY + 4, "a score is no number");
    says(&one(12, string(&ziplist(&items(&["m", "nan"])))), BODY + 3, "a score is no number");
    says(&one(17, string(&listpack(&items(&["m"])))), BODY + 3, "an element has no partner");
}

#[test]
fn lies_cost_no_memory() {
    // Lengths of 2^60 and more, of everything that has a length.
    let huge = [&[0x81][..], &(1u64 << 60).to_be_bytes()].concat();
    for kind in [0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 16, 17, 18, 20] {
        refused(&one(kind, &huge));
        refused(&one(kind, [vec![0xc3], huge.clone(), huge.clone()].concat()));
        refused(&one(kind, [vec![0xc3, 2], huge.clone(), vec![0, b'a']].concat()));
    }
    let sizes = Rdb::new(9).part([251]).part(&huge).part(&huge).end();
    assert!(rdb::read(&sizes, None).is_ok(), "a size is only a hint");
}

#[test]
fn a_flipped_bit_is_found_with_and_without_a_checksum() {
    let whole = crate::fixtures::of_version(11);
    for at in (9..whole.len()).step_by(whole.len() / 149) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        // All eight bytes of the checksum would have to be zero for this to be no error.
        assert!(rdb::read(&bytes, None).is_err(), "offset {at}");
    }
    assert!((0..whole.len()).step_by(4001).all(|cut| rdb::read(&whole[..cut], None).is_err()));
}

#[test]
fn a_checksum_that_does_not_fit_is_told_by_where_it_stands() {
    let mut bytes = Rdb::new(9).select(0).key(0, "k", string(b"v")).end();
    let sum = bytes.len() - 8;
    // A letter of the value: nothing else can tell.
    bytes[sum - 2] ^= 1;
    says(&bytes, sum as u64, "its checksum does not fit its bytes");
}

/// What a cluster's node notes of its slots: three numbers, passed over.
#[test]
fn notes_of_slots_are_passed_over() {
    for (numbers, good) in
        [(&[1, 2, 3][..], true), (&[1, 0x42, 0, 3], true), (&[1, 2], false), (&[1, 2, 3, 4], false)]
    {
        let bytes = Rdb::new(11).select(0).part([244]).part(numbers).key(0, "k", string(b"v")).end();
        let loaded = rdb::read(&bytes, None).map(|loaded| loaded.keyspace.dbs[0].contains_key(b"k"));
        assert_eq!(loaded.is_ok_and(|there| there), good, "{numbers:?}");
    }
}

#[test]
fn keys_without_elements_are_left_out_and_told() {
    let rdb = Rdb::new(11).select(0).key(1, "list", len(0)).key(4, "hash", len(0)).key(
        20,
        "set",
        string(&listpack(&[])),
    );
    let loaded =
        rdb::read(&rdb.key(12, "z", string(&ziplist(&[]))).key(0, "s", string(b"")).end(), None).unwrap();
    assert_eq!(
        (loaded.keyspace.dbs[0].len(), loaded.skipped.join(";").as_str()),
        (1, "keys without elements (4)")
    );
}

#[test]
fn expiries() {
    let at = |ms: i64| [&[252][..], &ms.to_le_bytes()].concat();
    let rdb = Rdb::new(9).select(0).part(at(1000)).key(0, "gone", string(b"")).part(at(-1)).key(
        0,
        "never",
        string(b""),
    );
    let bytes =
        rdb.part(at(-7)).key(0, "long gone", string(b"")).part(at(5000)).key(0, "later", string(b"")).end();
    let loaded = rdb::read(&bytes, Some(5000)).unwrap();
    assert_eq!((loaded.keys, loaded.expired), (4, 2));
    let db = &loaded.keyspace.dbs[0];
    assert!(db.len() == 2 && db.contains_key(b"never") && db.contains_key(b"later"));
    assert_eq!(rdb::read(&bytes, None).unwrap().keyspace.dbs[0].len(), 4);
}
