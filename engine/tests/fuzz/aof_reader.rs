//! What is read of an append-only file's bytes, and what must hold of it: for the tests and for cargo-fuzz.

use unplug_engine::aof::{
    Chain, Header, Manifest, OUR_LINES, PlainScan, ScanFault, Times, scan_chained, scan_plain,
};
use unplug_engine::command::Replayer;
use unplug_engine::keyspace::Keyspace;
use unplug_engine::rdb;

/// What a walk has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    pub(crate) from: usize,
    pub(crate) chained: bool,
    pub(crate) good: u64,
    pub(crate) commands: u64,
    pub(crate) whole: bool,
}

/// Walks a file as a start does: snapshot, chain or commands. `apply` is given each command.
pub(crate) fn walk(bytes: &[u8], apply: &mut dyn FnMut(&[&[u8]]) -> Result<(), ()>) -> Option<Walk> {
    let from = if bytes.starts_with(rdb::MAGIC) {
        usize::try_from(rdb::read(bytes, None).ok()?.len).ok()?
    } else {
        0
    };
    let chained = bytes[from..].starts_with(OUR_LINES[1]);
    let times = Times::until(Some(2_000_000_000));
    let (good, commands) = if chained {
        let scan = scan_chained(bytes, from, times, apply).ok()?;
        (scan.chain.len, scan.commands)
    } else {
        let scanned: Result<PlainScan, ScanFault<()>> = scan_plain(bytes, from, times, apply);
        let scan = scanned.ok()?;
        (scan.good, scan.commands)
    };
    Some(Walk { from, chained, good, commands, whole: good == bytes.len() as u64 })
}

pub(crate) fn read(bytes: &[u8]) -> Option<Walk> {
    walk(bytes, &mut |_| Ok(()))
}

/// Cutting at what is good, as a start does, leaves what was good and nothing to cut; so does a tail of zeros.
pub(crate) fn hold(bytes: &[u8], walked: &Walk) {
    let good = usize::try_from(walked.good).expect("in memory");
    assert!(good <= bytes.len() && good >= walked.from);
    let cut = read(&bytes[..good]).expect("what was good is good");
    assert!(cut.whole && cut.good == walked.good, "{cut:?} {walked:?}");
    if walked.chained {
        assert_eq!(cut.commands, walked.commands);
        let mut zeroed = bytes[..good].to_vec();
        zeroed.resize(good + 60, 0);
        let zeroed = read(&zeroed).expect("a tail of zeros");
        assert_eq!((zeroed.good, zeroed.commands), (walked.good, walked.commands));
    }
    replay(bytes);
}

/// Applies the commands, but for those that make much of little (SETRANGE).
fn replay(bytes: &[u8]) {
    let (mut keyspace, mut replayer) = (Keyspace::default(), Replayer::default());
    let _ = walk(bytes, &mut |argv| {
        let known =
            [&b"SET"[..], b"RPUSH", b"INCR", b"DEL", b"SADD", b"HSET", b"ZADD", b"PEXPIREAT", b"SELECT"];
        if known.iter().any(|name| argv[0].eq_ignore_ascii_case(name)) {
            let _ = replayer.apply(&mut keyspace, argv, 1);
        }
        Ok(())
    });
}

/// Gives every batch the annotation that it should have, so that mutations are not all stopped by the first one.
pub(crate) fn reseal(bytes: &mut Vec<u8>) {
    let Some(from) = bytes.windows(8).position(|w| w == b"#UNPLUG:") else { return };
    let Some((header, _)) = Header::parse(&bytes[from..]) else { return };
    let mut chain = Chain::behind(&header, from as u64);
    let mut out = bytes[..from].to_vec();
    let (mut batch, mut mark) = (Vec::new(), 0);
    for line in bytes[from..].split_inclusive(|b| *b == b'\n') {
        if !line.starts_with(OUR_LINES[0]) {
            batch.extend_from_slice(line);
            continue;
        }
        let crc = chain.seal(&mut batch, mark);
        chain.accept(batch.len() as u64, crc);
        mark = chain.len;
        out.append(&mut batch);
    }
    out.append(&mut batch);
    *bytes = out;
}

/// What a manifest says is written, and read again as the same.
pub(crate) fn hold_manifest(manifest: &Manifest) {
    let text = manifest.encode();
    let again = Manifest::parse(text.as_bytes());
    match again {
        Ok(again) => assert_eq!(again.encode(), text),
        Err(e) => panic!("{e}: {text}"),
    }
}
