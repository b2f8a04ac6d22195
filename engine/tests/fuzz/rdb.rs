//! Snapshots.

use crate::encode::*;
use crate::mutate::{self, corpus};
use std::path::Path;
use unplug_engine::keyspace::DATABASES;
use unplug_engine::rdb::{self, Loaded, WriteOptions};

fn items(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|w| w.as_bytes().to_vec()).collect()
}

/// The corpus: each type in each encoding, and everything that stands beside keys.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let few = items(&["a", "-7", "300", "70000", "5000000000", "some words", "9999999", ""]);
    let long = vec![b"l".repeat(70), b"m".repeat(300), b"n".repeat(5000)];
    let pairs = items(&["f", "1", "g", "words", "h", "-70000", "i", ""]);
    let scored = items(&["m", "-inf", "n", "-1.5", "o", "0", "p", "17", "q", "1e+300"]);
    let all = [few.clone(), long.clone()].concat();
    let strings = |items: &[Vec<u8>]| items.iter().map(|i| string(i)).collect::<Vec<_>>().concat();
    let sized = |n: usize, items: &[Vec<u8>]| [len(n), strings(items)].concat();
    let doubles = [(b"m", -1.5f64), (b"n", f64::INFINITY)];
    let old = doubles.map(|(m, s)| [string(m), text_score(s)].concat()).concat();
    let new = doubles.map(|(m, s)| [string(m), s.to_le_bytes().to_vec()].concat()).concat();
    let nodes = [vec![2, 1], string(b"plain"), vec![2], string(&listpack(&few))].concat();
    let values: Vec<(&str, u8, Vec<u8>)> = vec![
        ("string", 0, string(b"text")),
        ("string-integer-8", 0, integer(-5)),
        ("string-integer-16", 0, integer(-500)),
        ("string-integer-32", 0, integer(100_000)),
        ("string-lzf", 0, lzf(b"aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbcd")),
        ("list", 1, sized(few.len(), &few)),
        ("set", 2, sized(few.len(), &few)),
        ("zset-1", 3, [len(2), old].concat()),
        ("hash", 4, sized(4, &pairs)),
        ("zset-2", 5, [len(2), new].concat()),
        ("module", 6, vec![0x81, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("module-2", 7, vec![0x81, 1, 2, 3, 4, 5, 6, 7, 8, 0]),
        ("zipmap", 9, string(&zipmap(&pairs))),
        ("zipmap-long", 9, string(&zipmap(&[b"f".to_vec(), b"v".repeat(300)]))),
        ("list-ziplist", 10, string(&ziplist(&all))),
        ("intset-16", 11, string(&intset(&[-3, 5, 900]))),
        ("intset-32", 11, string(&intset(&[-3, 5, 90_000]))),
        ("intset-64", 11, string(&intset(&[i64::MIN, 5, i64::MAX]))),
        ("zset-ziplist", 12, string(&ziplist(&scored))),
        ("hash-ziplist", 13, string(&ziplist(&pairs))),
        ("hash-ziplist-lzf", 13, lzf(&ziplist(&[b"f".to_vec(), b"v".repeat(400)]))),
        ("quicklist", 14, [len(2), string(&ziplist(&few)), lzf(&ziplist(&long))].concat()),
        ("stream", 15, vec![1, 16]),
        ("hash-listpack", 16, string(&listpack(&pairs))),
        ("zset-listpack", 17, string(&listpack(&scored))),
        ("quicklist-2", 18, nodes),
        ("quicklist-2-lzf", 18, [vec![1, 2], lzf(&listpack(&all))].concat()),
        ("set-listpack", 20, string(&listpack(&few))),
    ];
    let mut seeds: Vec<(String, Vec<u8>)> = values
        .into_iter()
        .map(|(name, kind, value)| {
            (name.to_owned(), Rdb::new(11).select(0).key(kind, "key", value).end_unsummed())
        })
        .collect();
    let head = Rdb::new(10).part([250]).part(string(b"redis-ver")).part(string(b"7.0.15"));
    seeds.push(("function".to_owned(), Rdb::new(10).part([245]).part(string(b"#!lua")).end_unsummed()));
    let head =
        head.select(3).part([251]).part(len(1000)).part(len(2)).part([248]).part(len(900)).part([249, 5]);
    let head = head.part([252]).part(4_102_444_800_000u64.to_le_bytes()).key(0, "ms", string(b"x"));
    let head = head.part([253]).part(2_000_000_000u32.to_le_bytes()).key(0, "s", integer(3)).select(15).key(
        0,
        "s",
        string(b""),
    );
    let aux = Rdb::new(9)
        .part([247, 5, 2, 1, 2, 5, 3, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 5, 1, b'h', 0])
        .select(0);
    seeds.push(("parts".into(), head.end_unsummed()));
    seeds.push(("module-aux".into(), aux.key(0, "k", string(b"v")).end_unsummed()));
    seeds.push(("slots".into(), Rdb::new(11).part([244, 1, 2, 3]).end_unsummed()));
    for version in [1, 4, 5, 9] {
        let rdb = Rdb::new(version).select(0).key(0, "a", string(b"1")).key(1, "l", sized(2, &few[..2]));
        seeds.push((format!("version-{version}"), rdb.end()));
    }
    seeds
}

/// The corpus in the repository is what the encoders make; UNPLUG_WRITE_CORPUS=1 writes it anew.
#[test]
fn the_corpus_is_up_to_date() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/rdb");
    if std::env::var_os("UNPLUG_WRITE_CORPUS").is_some() {
        std::fs::create_dir_all(&dir).unwrap();
        seeds().iter().for_each(|(name, bytes)| std::fs::write(dir.join(name), bytes).unwrap());
    }
    let stored = corpus("rdb");
    for (name, bytes) in seeds() {
        let found = stored.iter().find(|(path, _)| path.ends_with(&name));
        assert_eq!(found.map(|(_, stored)| stored), Some(&bytes), "{name}");
    }
}

/// What is a snapshot must be one for the tool, too, and must come back when it is written.
fn hold(bytes: &[u8], loaded: Option<Loaded>) {
    let checked = rdb::check(bytes, 0, DATABASES, &mut |_, _| ());
    let Some(loaded) = loaded else { return };
    assert!(checked.error.is_none(), "{:?}", checked.error);
    let options =
        WriteOptions { now_ms: 0, aof_base: false, first_incr: None, checksum: true, compress: true };
    let mut written = Vec::new();
    rdb::write(&mut written, &loaded.keyspace, options, &mut |_, _| ()).unwrap();
    let again = rdb::read(&written, None).unwrap();
    assert!(again.keyspace == loaded.keyspace, "{}", bytes.escape_ascii());
}

/// What an empty keyspace and an error take.
const FIXED: usize = 4 << 10;
/// What a byte of input may cost: two are an element at least, which has a vector of its own and its places in tables,
/// twice while those grow.
const BYTE: usize = 150;

/// A compressed byte may become 264 others.
fn limit(bytes: &[u8]) -> usize {
    let unpacked = if bytes.contains(&0xc3) { bytes.len() * 264 } else { bytes.len() };
    FIXED + unpacked * BYTE
}

#[test]
fn snapshots_are_taken_or_refused() {
    let finish = |bytes: &mut Vec<u8>, random: &mut mutate::Random| {
        // Where there would be a checksum, mostly say that there is none: else nothing would ever be taken.
        let len = bytes.len();
        if len > 17 && random.below(4) > 0 {
            bytes[len - 9..].copy_from_slice(&[255, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
    };
    let seen = mutate::run("rdb", finish, |bytes| rdb::read(bytes, None).ok(), limit, hold);
    println!("{seen:?}");
    assert!(seen.taken > seen.executions / 50, "hardly any input was taken: {seen:?}");
    assert!(seen.taken < seen.executions, "all inputs were taken: {seen:?}");
}
