//! Snapshots in encodings that no Redis of today writes.

use crate::encode::*;
use unplug_engine::keyspace::Value;
use unplug_engine::rdb::{self, Loaded};

/// Elements in which every width of integer and every length of string stands.
pub(crate) fn elements() -> Vec<Vec<u8>> {
    let mut items: Vec<Vec<u8>> = Vec::new();
    for n in
        [0i64, 12, 13, 127, 128, -1, -128, -129, 4095, 4096, -4096, -4097, 32767, -32769, 8388607, -8388609]
    {
        items.push(n.to_string().into_bytes());
    }
    for n in [i64::from(i32::MAX), i64::from(i32::MAX) + 1, i64::MAX, i64::MIN] {
        items.push(n.to_string().into_bytes());
    }
    for text in ["", "x", "01", "-0", "+5", "1.5", "9223372036854775808", "\u{0}\u{1}\u{ff}"] {
        items.push(text.as_bytes().to_vec());
    }
    for len in [
        62usize, 63, 64, 121, 122, 124, 125, 126, 127, 250, 253, 254, 255, 4094, 4095, 4096, 16383, 16384,
        17000,
    ] {
        items.push((0..len).map(|i| b'!' + (i * i % 89) as u8).collect());
    }
    items
}

/// Elements and scores as strings, in turn, sorted by score: what small sorted sets are.
pub(crate) fn scored() -> Vec<Vec<u8>> {
    let scores =
        ["-inf", "-1e+300", "-17", "-1.5", "0", "1e-7", "0.10000000000000001", "3", "70000", "1e+300", "inf"];
    scores
        .iter()
        .enumerate()
        .flat_map(|(n, score)| [format!("member-{n}").into_bytes(), score.as_bytes().to_vec()])
        .collect()
}

/// Numbers of each width that an intset has.
pub(crate) const NUMBERS: [&[i64]; 3] =
    [&[-300, 0, 5, 30000], &[-5, 7, 1 << 20], &[i64::MIN, -1, 2, i64::MAX]];

fn short(limit: usize) -> Vec<Vec<u8>> {
    elements().into_iter().filter(|e| e.len() < limit).collect()
}

fn pairs(items: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let numbered = items.iter().enumerate();
    numbered.flat_map(|(n, value)| [format!("field-{n}").into_bytes(), value.clone()]).collect()
}

/// A snapshot of a version, with every encoding that it had.
pub(crate) fn of_version(version: u32) -> Vec<u8> {
    let items = elements();
    let fields = pairs(&items);
    let mut rdb = Rdb::new(version);
    if version >= 7 {
        rdb = rdb.part([250]).part(string(b"redis-ver")).part(string(b"9.9.9"));
        rdb = rdb.part([250]).part(string(b"redis-bits")).part(integer(64));
        rdb = rdb.part([250]).part(string(b"ctime")).part(integer(1_700_000_000));
    }
    if version >= 10 {
        rdb = rdb.part([250]).part(string(b"")).part(string(&[b'x'; 69]));
    }
    rdb = rdb.select(0);
    if version >= 7 {
        rdb = rdb.part([251]).part(len(70_000)).part(len(3));
    }
    rdb = strings(rdb);
    rdb = collections(rdb, version, &items, &fields);
    if version >= 2 {
        rdb = packed(rdb, version, &items, &fields);
    }
    rdb.select(9).key(0, "elsewhere", string(b"x")).end()
}

fn strings(rdb: Rdb) -> Rdb {
    let mut rdb = rdb.key(0, "empty", string(b"")).key(0, "run", lzf(&[b'r'; 700])).key(
        0,
        "mixed",
        lzf(b"aaaabcdeeeeeeeeeeeeeeefffff"),
    );
    for n in [0, -128, 127, 128, -32768, 32768, i32::MIN, i32::MAX] {
        rdb = rdb.key(0, &format!("int:{n}"), integer(n));
    }
    // An expiry in seconds, and one in milliseconds.
    rdb = rdb.part([253]).part(4_102_444_800u32.to_le_bytes().map(|b| b & 0x7f)).key(
        0,
        "seconds",
        string(b"s"),
    );
    rdb.part([252]).part(4_102_444_800_123u64.to_le_bytes()).key(0, "milliseconds", string(b"m"))
}

fn count_and(count: usize, parts: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    [len(count), parts.collect::<Vec<_>>().concat()].concat()
}

fn collections(rdb: Rdb, version: u32, items: &[Vec<u8>], fields: &[Vec<u8>]) -> Rdb {
    let strings = |items: &[Vec<u8>]| items.iter().map(|i| string(i)).collect::<Vec<_>>().concat();
    let scores = [f64::NEG_INFINITY, -1.5, 0.0, 0.1, 1e-300, 17.0, 1e300, f64::INFINITY];
    let old =
        scores.iter().enumerate().map(|(n, s)| [string(format!("m{n}").as_bytes()), text_score(*s)].concat());
    let mut rdb = rdb
        .key(1, "list", [len(items.len()), strings(items)].concat())
        .key(2, "set", [len(items.len()), strings(items)].concat())
        .key(4, "hash", [len(fields.len() / 2), strings(fields)].concat())
        .key(3, "zset-1", count_and(scores.len(), old));
    if version >= 8 {
        let new = scores.iter().enumerate();
        let new = new.map(|(n, s)| [string(format!("m{n}").as_bytes()), s.to_le_bytes().to_vec()].concat());
        rdb = rdb.key(5, "zset-2", count_and(scores.len(), new));
    }
    rdb
}

fn packed(rdb: Rdb, version: u32, items: &[Vec<u8>], fields: &[Vec<u8>]) -> Rdb {
    let mut rdb = rdb
        .key(9, "zipmap", string(&zipmap(&pairs(&short(300)))))
        .key(10, "list-ziplist", string(&ziplist(items)))
        .key(12, "zset-ziplist", string(&ziplist(&scored())));
    for (n, numbers) in NUMBERS.iter().enumerate() {
        rdb = rdb.key(11, &format!("intset-{n}"), string(&intset(numbers)));
    }
    if version >= 4 {
        rdb =
            rdb.key(13, "hash-ziplist", string(&ziplist(fields))).key(13, "hash-lzf", lzf(&ziplist(fields)));
    }
    if version >= 7 {
        let nodes = [string(&ziplist(&items[..20])), lzf(&ziplist(&items[20..]))];
        rdb = rdb.key(14, "quicklist", count_and(2, nodes.into_iter()));
    }
    if version >= 9 {
        // LFU and LRU, in front of the key that they are of.
        rdb = rdb.part([248]).part(len(1000)).part([249, 77]).key(0, "used", string(b"often"));
    }
    if version >= 10 {
        let plain = [len(1), string(&items[items.len() - 1])].concat();
        let nodes = [
            [len(2), string(&listpack(items))].concat(),
            plain,
            [len(2), lzf(&listpack(&items[..9]))].concat(),
        ];
        rdb = rdb
            .key(16, "hash-listpack", string(&listpack(fields)))
            .key(17, "zset-listpack", string(&listpack(&scored())))
            .key(18, "quicklist-2", count_and(3, nodes.into_iter()));
    }
    if version >= 11 {
        rdb = rdb.key(20, "set-listpack", string(&listpack(items)));
    }
    rdb
}

/// How many keys there are in all databases.
fn keys(loaded: &Loaded) -> usize {
    loaded.keyspace.dbs.iter().map(|db| db.len()).sum()
}

#[test]
fn the_same_value_is_read_from_each_of_its_encodings() {
    let loaded = rdb::read(&of_version(11), None).unwrap();
    assert!(loaded.verified);
    assert!(loaded.skipped.is_empty());
    let value =
        |key: &str| &loaded.keyspace.dbs[0].get(key.as_bytes()).unwrap_or_else(|| panic!("no {key}")).value;
    for (plain, others) in [
        ("list", &["list-ziplist", "quicklist"][..]),
        ("set", &["set-listpack"]),
        ("hash", &["hash-ziplist", "hash-lzf", "hash-listpack"]),
        ("zset-1", &["zset-2"]),
        ("zset-ziplist", &["zset-listpack"]),
    ] {
        others.iter().for_each(|other| assert_eq!(value(other), value(plain), "{other}"));
    }
    assert_eq!(*value("mixed"), Value::from(&b"aaaabcdeeeeeeeeeeeeeeefffff"[..]));
    assert_eq!(loaded.keyspace.dbs[9].len(), 1);
}

#[test]
fn each_version_holds_what_it_had() {
    let mut before = rdb::read(&of_version(1), None).unwrap();
    for version in 1..=11 {
        let loaded = rdb::read(&of_version(version), None).unwrap();
        assert_eq!((loaded.version, loaded.verified), (version, version >= 5));
        assert_eq!(loaded.len, of_version(version).len() as u64);
        for (old, new) in before.keyspace.dbs.iter().zip(&loaded.keyspace.dbs) {
            old.iter()
                .for_each(|(key, entry)| assert!(new.get(key) == Some(entry), "{}", key.escape_ascii()));
        }
        assert!(keys(&loaded) > keys(&before) || [1, 3, 5, 6].contains(&version), "version {version}");
        before = loaded;
    }
}

#[test]
fn a_score_of_minus_zero_is_kept_where_redis_keeps_it() {
    // Redis makes a listpack of a small sorted set, in which -0 becomes 0; of a large one it does not.
    for (others, last, kept) in
        [(0, "m", false), (126, "m", false), (127, "m", true), (1, &*"m".repeat(65), true)]
    {
        let mut value = len(others + 2).to_vec();
        value.extend(string(b"minus"));
        value.extend((-0.0f64).to_le_bytes());
        for n in 0..others {
            value.extend(string(format!("m{n}").as_bytes()));
            value.extend((n as f64 + 1.0).to_le_bytes());
        }
        value.extend(string(last.as_bytes()));
        value.extend(7f64.to_le_bytes());
        let loaded = rdb::read(&Rdb::new(9).select(0).key(5, "z", value).end(), None).unwrap();
        let Some(Value::SortedSet(set)) = loaded.keyspace.dbs[0].get(b"z").map(|entry| &entry.value) else {
            panic!("no sorted set")
        };
        assert_eq!(set.len(), others + 2);
        let score = set.score(b"minus").unwrap().get();
        assert_eq!((score, score.is_sign_negative()), (0.0, kept), "{others} others and {last}");
        assert_eq!(set.is_small(), !kept);
    }
}
