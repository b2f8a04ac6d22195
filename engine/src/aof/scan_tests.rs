//! Batches whose checksums are right and whose content is not: no crash makes them, `--resign` and bugs do.

use super::*;
use crate::aof::encode_command;

/// A chained file with these batches, and the offset at which each begins.
fn file(batches: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
    let header = Header { seq: 7, prev_len: 0, prev_crc: 0 };
    let (mut chain, mut bytes, mut begins) = (Chain::new(&header), Vec::new(), Vec::new());
    for batch in [header.line().as_slice()].iter().chain(batches) {
        let mut sealed = batch.to_vec();
        let crc = chain.seal(&mut sealed, 0);
        chain.accept(sealed.len() as u64, crc);
        begins.push(bytes.len());
        bytes.extend(sealed);
    }
    (bytes, begins.split_off(1))
}

/// Commands, each of words.
fn commands(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        encode_command(&mut bytes, &words);
    }
    bytes
}

/// What the walk comes to, and the commands that were applied. `BAD` cannot be.
fn scan(bytes: &[u8], until: Option<u64>) -> (Result<ChainScan, ScanFault<&'static str>>, Vec<String>) {
    let mut applied = Vec::new();
    let scanned = scan_chained(bytes, 0, Times::until(until), &mut |argv| {
        if argv == [b"BAD"] {
            return Err("bad");
        }
        applied.push(argv.join(&b' ').escape_ascii().to_string());
        Ok(())
    });
    (scanned, applied)
}

#[test]
fn brackets_that_do_not_pair_are_refused_where_their_batch_begins() {
    let good = commands(&["MULTI", "SET a 1", "EXEC", "SET b 2"]);
    for wrong in [
        &["MULTI", "SET c 3"][..],
        &["MULTI"],
        &["EXEC"],
        &["SET c 3", "EXEC"],
        &["MULTI", "MULTI", "EXEC"],
        &["MULTI", "MULTI", "EXEC", "EXEC"],
        &["MULTI", "EXEC", "EXEC"],
    ] {
        let (bytes, begins) = file(&[&good, &commands(wrong), &good]);
        let (scanned, applied) = scan(&bytes, None);
        assert_eq!(scanned.unwrap_err(), ScanFault::Brackets(begins[1] as u64), "{wrong:?}");
        assert_eq!(applied, ["SET a 1", "SET b 2"], "{wrong:?}");
    }
    let (bytes, _) = file(&[&good, &good]);
    let (scanned, applied) = scan(&bytes, None);
    assert_eq!((scanned.unwrap().chain.len, applied.len()), (bytes.len() as u64, 4));
}

#[test]
fn a_command_that_cannot_be_applied_is_told_by_where_its_batch_begins() {
    let (bytes, begins) = file(&[&commands(&["SET a 1"]), &commands(&["SET b 2", "BAD"])]);
    let (scanned, applied) = scan(&bytes, None);
    assert_eq!(scanned.unwrap_err(), ScanFault::Apply(begins[1] as u64, "bad"));
    assert_eq!(applied, ["SET a 1", "SET b 2"]);
}

#[test]
fn what_a_torn_batch_says_of_times_does_not_count() {
    let first = [b"#TS:5\r\n".as_slice(), &commands(&["SET a 1"])].concat();
    let (bytes, _) = file(&[&first]);
    let torn = [bytes.as_slice(), b"#TS:20\r\n", &commands(&["SET b 2"])].concat();
    let (scanned, applied) = scan(&torn, Some(10));
    let scanned = scanned.unwrap();
    assert_eq!(scanned.chain.len, bytes.len() as u64);
    assert_eq!(scanned.times, Times { until: Some(10), first: Some(5), stopped_at: None });
    assert_eq!(applied, ["SET a 1"]);
    // Nor in a file that says nothing else.
    let (bytes, _) = file(&[&commands(&["SET a 1"])]);
    let torn = [bytes.as_slice(), b"#TS:20\r\n"].concat();
    assert_eq!(scan(&torn, Some(10)).0.unwrap().times, Times::until(Some(10)));
}

#[test]
fn the_first_end_counts() {
    let one = commands(&["SET a 1"]);
    let (bytes, begins) = file(&[&one, END_LINE, &one, END_LINE, &one]);
    assert_eq!(scan(&bytes, None).0.unwrap().end_line, Some(begins[2] as u64));
}

#[test]
fn commands_of_a_plain_file_that_do_not_pair_or_cannot_be_applied_are_told_by_where_the_good_part_ends() {
    let plain = |lines: &[&str]| {
        let bytes = commands(lines);
        let scanned = scan_plain(&bytes, 0, Times::default(), &mut |argv| {
            if argv == [b"BAD"] { Err("bad") } else { Ok(()) }
        });
        let before = commands(&lines[..lines.len() - 1]).len() as u64;
        (scanned.unwrap_err(), before)
    };
    let (fault, at) = plain(&["SET a 1", "EXEC"]);
    assert_eq!(fault, ScanFault::Brackets(at));
    // What a MULTI has begun is not good: cut anywhere behind it, the file would end inside a transaction.
    let begun = commands(&["SET a 1"]).len() as u64;
    let (fault, _) = plain(&["SET a 1", "MULTI", "SET b 1", "MULTI"]);
    assert_eq!(fault, ScanFault::Brackets(begun));
    let (fault, _) = plain(&["SET a 1", "MULTI", "SET b 1", "BAD", "EXEC"]);
    assert_eq!(fault, ScanFault::Apply(begun, "bad"));
    let (fault, at) = plain(&["SET a 1", "MULTI", "SET b 1", "EXEC", "BAD"]);
    assert_eq!(fault, ScanFault::Apply(at, "bad"));
}
