use super::*;
use crate::event::{Event, FileId, NodeKind, Op, SyncKind, Task, WriteSync};
use crate::trace::{BaseNode, Blind, Frame, Meta, Site, Trace};

fn trace() -> Trace {
    let event = |n: u64, op| Event {
        begin: n,
        end: n + 1,
        at: n * 1000,
        task: Task { process: 0, thread: 1 },
        site: None,
        errno: 0,
        op,
    };
    let file = FileId(1);
    Trace {
        meta: Meta { target: "engine".into(), seed: 7, gated: true, ..Meta::default() },
        base: vec![BaseNode {
            file,
            dir: FileId::ROOT,
            name: b"dump.rdb".to_vec(),
            kind: NodeKind::File,
            data: b"REDIS".to_vec(),
        }],
        sites: vec![Site {
            frames: vec![Frame { module: "unplug".into(), offset: 64, symbol: None, line: None }],
        }],
        events: vec![
            event(1, Op::Write { file, offset: 5, data: b"abc\0".to_vec(), sync: WriteSync::None }),
            event(3, Op::Sync { file, kind: SyncKind::Fsync }),
            event(5, Op::Kill),
        ],
        blind: vec![Blind { what: "io_uring_setup".into(), detail: "once".into() }],
    }
}

#[test]
fn a_trace_comes_back_as_it_was() {
    let bytes = encode(Kind::Trace, &trace()).unwrap();
    assert_eq!(decode::<Trace>(Kind::Trace, &bytes).unwrap(), trace());
    assert_eq!(bytes, encode(Kind::Trace, &trace()).unwrap(), "equal traces have equal bytes");
}

#[test]
fn cut_at_every_byte_it_is_truncated_and_says_of_how_many() {
    let bytes = encode(Kind::Trace, &trace()).unwrap();
    for cut in 0..bytes.len() {
        match decode::<Trace>(Kind::Trace, &bytes[..cut]) {
            Err(CodecError::Truncated { have, want, at_least }) => {
                assert_eq!(have, cut as u64);
                let known = cut >= HEADER;
                assert_eq!(want, if known { bytes.len() } else { HEADER + TRAILER } as u64, "cut at {cut}");
                assert_eq!(at_least.is_empty(), known);
            }
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[test]
fn no_flipped_bit_goes_unseen() {
    let bytes = encode(Kind::Trace, &trace()).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = decode::<Trace>(Kind::Trace, &bad).expect_err("a flipped bit must be an error");
        let fits = match bit / 8 {
            0..=7 => matches!(error, CodecError::Foreign { .. }),
            8 => matches!(error, CodecError::Foreign { .. } | CodecError::WrongKind { .. }),
            9..=10 => matches!(error, CodecError::Newer { .. } | CodecError::Older { .. }),
            11..=47 => matches!(error, CodecError::Checksum { part: "header", .. }),
            _ => matches!(error, CodecError::Checksum { part: "file", .. }),
        };
        assert!(fits, "bit {bit}: {error}");
    }
}

#[test]
fn each_fault_has_its_own_sentence() {
    let say = |bytes: &[u8]| decode::<Trace>(Kind::Trace, bytes).expect_err("must fail").to_string();
    let good = encode(Kind::Trace, &trace()).unwrap();
    assert!(say(b"REDIS0011\xfa").starts_with("not an Unplug file: it begins with"));
    assert_eq!(say(b""), "truncated: 0 bytes of at least 56");
    assert_eq!(say(&good[..100]), format!("truncated: 100 bytes of {}", good.len()));

    let mut long = good.clone();
    long.extend_from_slice(b"xy");
    assert_eq!(say(&long), format!("2 bytes stand behind the end (at byte {})", good.len()));

    let repro = encode(Kind::Repro, &1u8).unwrap();
    assert_eq!(say(&repro), "this is an Unplug repro, not a trace");
}

#[test]
fn a_newer_format_is_told_with_its_writer() {
    let mut newer = encode(Kind::Trace, &trace()).unwrap();
    newer[VERSION_AT] = 9;
    newer[WRITER_AT..WRITER_AT + 6].copy_from_slice(b"2.1.0\0");
    let sum = checksum(&newer[..HEADER_SUM_AT]);
    newer[HEADER_SUM_AT..HEADER].copy_from_slice(&sum.to_le_bytes());
    let said = decode::<Trace>(Kind::Trace, &newer).expect_err("newer").to_string();
    assert_eq!(
        said,
        "format 9 is newer than format 1, the newest that this version of Unplug reads (written by Unplug 2.1.0)"
    );
}

#[test]
fn an_older_format_is_read_by_those_who_know_it() {
    let mut older = encode(Kind::Repro, &7u8).unwrap();
    older[VERSION_AT] = 1;
    let sum = checksum(&older[..HEADER_SUM_AT]);
    older[HEADER_SUM_AT..HEADER].copy_from_slice(&sum.to_le_bytes());
    let end = older.len() - TRAILER;
    let sum = checksum(&older[..end]);
    older[end..].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(open(Kind::Repro, &older).unwrap(), (1, &[7u8][..]));
    let said = decode::<u8>(Kind::Repro, &older).expect_err("older").to_string();
    assert!(said.starts_with("format 1 is no longer read (this version of Unplug reads format 2)"), "{said}");
    older[VERSION_AT] = 0;
    assert!(matches!(open(Kind::Repro, &older), Err(CodecError::Older { found: 0, known: 2, .. })));
}

#[test]
fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.trace");
    std::fs::write(&path, b"something older and longer than nothing").unwrap();
    crate::codec::write_trace(&path, &trace()).unwrap();
    assert_eq!(crate::codec::read_trace(&path).unwrap(), trace());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_failed_write_names_the_file_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // A directory cannot be replaced by a file: the rename fails after the temporary file was written.
    let path = dir.path().join("taken");
    std::fs::create_dir(&path).unwrap();
    let said = crate::codec::write_trace(&path, &trace()).expect_err("a directory").to_string();
    assert!(said.contains("taken: cannot rename the finished file to it"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let missing = crate::codec::write_trace(&dir.path().join("no/such/dir"), &trace()).expect_err("missing");
    assert!(missing.to_string().contains("cannot create a file beside it"), "{missing}");
}
