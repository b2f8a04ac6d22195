//! Append-only files and manifests.

use crate::aof_reader::{Walk, hold, hold_manifest, read, reseal};
use crate::mutate::{self, corpus};
use std::path::Path;
use unplug_engine::aof::{
    Chain, END_LINE, FileEntry, FileKind, Header, Manifest, encode_command, encode_time,
};
use unplug_engine::keyspace::Keyspace;
use unplug_engine::rdb::{self, WriteOptions};

/// Commands in turns; the last one is a transaction.
fn turns() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (n, line) in ["SELECT 0", "SET key value", "RPUSH list a b c", "HSET h f v", "ZADD z 1 m", "SADD s m"]
        .iter()
        .enumerate()
    {
        let mut turn = Vec::new();
        encode_time(&mut turn, 1_999_999_998 + n as u64);
        encode_command(&mut turn, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        all.push(turn);
    }
    // Lengths of two and three digits, and many arguments.
    let value = "v".repeat(150);
    let long = ["SET", "a key of some length", &value].map(str::as_bytes);
    let many: Vec<&[u8]> = std::iter::once(&b"RPUSH"[..]).chain([&b"x"[..]; 12]).collect();
    let mut turn = Vec::new();
    encode_command(&mut turn, &long);
    encode_command(&mut turn, &many);
    all.push(turn);
    let mut transaction = Vec::new();
    for line in ["MULTI", "INCR n", "DEL key", "EXEC"] {
        encode_command(&mut transaction, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }
    all.push(transaction);
    all
}

fn snapshot() -> Vec<u8> {
    let mut out = Vec::new();
    let options =
        WriteOptions { now_ms: 1, aof_base: true, first_incr: None, checksum: true, compress: true };
    rdb::write(&mut out, &Keyspace::default(), options, &mut |_, _| ()).unwrap();
    out
}

fn chained(preamble: &[u8], end_line: bool) -> Vec<u8> {
    let mut out = preamble.to_vec();
    let header = Header { seq: 3, prev_len: out.len() as u64, prev_crc: 7 };
    let mut chain = Chain::behind(&header, out.len() as u64);
    let mut batches = vec![header.line()];
    batches.extend(turns());
    if end_line {
        batches.insert(3, END_LINE.to_vec());
    }
    for mut batch in batches {
        let crc = chain.seal(&mut batch, chain.len);
        chain.accept(batch.len() as u64, crc);
        out.append(&mut batch);
    }
    out
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let plain = turns().concat();
    let torn = |bytes: Vec<u8>| bytes[..bytes.len() - 9].to_vec();
    let mut zeros = chained(b"", false);
    zeros.resize(zeros.len() + 100, 0);
    [
        ("plain", plain.clone()),
        ("plain-torn", torn(plain.clone())),
        ("hybrid", [snapshot(), plain].concat()),
        ("chained", chained(b"", false)),
        ("chained-torn", torn(chained(b"", false))),
        ("chained-zeros", zeros),
        ("chained-base", chained(b"", true)),
        ("hybrid-chained", chained(&snapshot(), true)),
        ("empty", Vec::new()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

fn manifests() -> Vec<(String, Vec<u8>)> {
    let entry =
        |name: &str, seq, kind, chained| FileEntry { name: name.into(), seq, kind, chained, tie: None };
    let files = vec![
        entry("a.2.base.rdb", 2, FileKind::Base, false),
        entry("a.1.incr.aof", 1, FileKind::History, true),
        entry("a.2.incr.aof", 2, FileKind::Incr, true),
        entry("a.3.incr.aof", 3, FileKind::Incr, true),
    ];
    let sealed = Some(("a.3.incr.aof".to_owned(), 12_345));
    let ours = Manifest { files, foreign: false, sealed, closed: false };
    let mut closed = Manifest { closed: true, ..ours.clone() };
    closed.files[0].tie = Some((96, 0x1234));
    let foreign = Manifest { foreign: true, ..ours.clone() };
    let text = |m: &Manifest| m.encode().into_bytes();
    vec![
        ("ours".into(), text(&ours)),
        ("closed".into(), text(&closed)),
        ("redis".into(), text(&foreign)),
        ("later".into(), b"# a comment\nfile a seq 1 type b startoffset 7\nfile b seq 2 type i\n".to_vec()),
    ]
}

/// The corpus in the repository is what is made here; UNPLUG_WRITE_CORPUS=1 writes it anew.
#[test]
fn the_corpus_is_up_to_date() {
    for (kind, seeds) in [("aof", seeds()), ("manifest", manifests())] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(kind);
        if std::env::var_os("UNPLUG_WRITE_CORPUS").is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            seeds.iter().for_each(|(name, bytes)| std::fs::write(dir.join(name), bytes).unwrap());
        }
        let stored = corpus(kind);
        for (name, bytes) in seeds {
            let found = stored.iter().find(|(path, _)| path.ends_with(&name));
            assert_eq!(found.map(|(_, stored)| stored), Some(&bytes), "{kind} {name}");
        }
    }
}

#[test]
fn append_only_files_are_taken_or_cut_or_refused() {
    let finish = |bytes: &mut Vec<u8>, random: &mut mutate::Random| {
        if random.below(4) > 0 {
            reseal(bytes);
        }
    };
    // Slices of arguments: 16 bytes for at least 4, twice while a vector grows, and those of an open MULTI.
    let limit = |bytes: &[u8]| {
        (8 << 10) + bytes.len() * 32 + if bytes.starts_with(b"REDIS") { bytes.len() * 150 } else { 0 }
    };
    let check = |bytes: &[u8], walked: Option<Walk>| {
        if let Some(walked) = walked {
            hold(bytes, &walked);
        }
    };
    let seen = mutate::run("aof", finish, read, limit, check);
    println!("{seen:?}");
    assert!(seen.taken > seen.executions / 20, "hardly any input was taken: {seen:?}");
    assert!(seen.taken < seen.executions, "all inputs were taken: {seen:?}");
}

#[test]
fn manifests_are_taken_or_refused() {
    let finish = |bytes: &mut Vec<u8>, random: &mut mutate::Random| {
        let line = b"#unplug:1 crc64 ";
        let at = bytes.windows(line.len()).rposition(|w| w == line);
        if let (Some(at), true) = (at, random.below(4) > 0) {
            bytes.truncate(at);
            let mut digest = crc64fast::Digest::new();
            digest.write(bytes);
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(format!("{:016x}\n", digest.sum64()).as_bytes());
        }
    };
    let limit = |bytes: &[u8]| (8 << 10) + bytes.len() * 40;
    let check = |_: &[u8], manifest: Option<Manifest>| {
        if let Some(manifest) = manifest {
            hold_manifest(&manifest);
        }
    };
    let seen = mutate::run("manifest", finish, |bytes| Manifest::parse(bytes).ok(), limit, check);
    println!("{seen:?}");
    assert!(seen.taken > seen.executions / 50, "hardly any input was taken: {seen:?}");
    assert!(seen.taken < seen.executions, "all inputs were taken: {seen:?}");
}
