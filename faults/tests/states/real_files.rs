//! Effects and images against a real file's bytes: the same calls on a file of ext4 (or whatever holds the build's
//! directory) and on one in memory, and what the models say is there once everything is synced.

use crate::script::Script;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use unplug_faults::effect::Effects;
use unplug_faults::event::{AllocateMode, WriteSync};
use unplug_faults::model;
use unplug_faults::state::{Plan, Space};

#[derive(Clone, Debug)]
enum Change {
    Write { at: u64, len: usize, letter: u8 },
    Truncate { size: u64 },
    Allocate { mode: AllocateMode, at: u64, len: u64 },
}

const MODES: [AllocateMode; 7] = [
    AllocateMode::Extend,
    AllocateMode::KeepSize,
    AllocateMode::Punch,
    AllocateMode::Zero { keep_size: false },
    AllocateMode::Zero { keep_size: true },
    AllocateMode::Collapse,
    AllocateMode::Insert,
];

/// The number of fallocate(2).
fn number(mode: AllocateMode) -> i32 {
    match mode {
        AllocateMode::Extend => 0,
        AllocateMode::KeepSize => 1,
        AllocateMode::Punch => 3,
        AllocateMode::Zero { keep_size: false } => 0x10,
        AllocateMode::Zero { keep_size: true } => 0x11,
        AllocateMode::Collapse => 8,
        AllocateMode::Insert => 0x20,
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let mode = prop::sample::select(MODES.to_vec());
    let allocate = (mode, 0u64..40_000, 1u64..20_000).prop_map(|(mode, at, len)| match mode {
        // These two work on whole blocks only.
        AllocateMode::Collapse | AllocateMode::Insert => {
            Change::Allocate { mode, at: at / 4096 * 4096, len: len.next_multiple_of(4096).min(8192) }
        }
        mode => Change::Allocate { mode, at, len },
    });
    let write = (0u64..30_000, 1usize..9000, b'A'..=b'Z').prop_map(|(at, len, letter)| Change::Write {
        at,
        len,
        letter,
    });
    let truncate = (0u64..40_000).prop_map(|size| Change::Truncate { size });
    prop::collection::vec(prop_oneof![4 => write, 1 => truncate, 5 => allocate], 1..12)
}

/// Makes the changes on a real file; those that it took, as a trace, and the file's bytes.
fn make(changes: &[Change], dir: &Path, taken: &mut BTreeSet<i32>) -> std::io::Result<(Script, Vec<u8>)> {
    let path = tempfile::Builder::new().prefix("unplug-real-").tempfile_in(dir)?.into_temp_path();
    let file = File::options().read(true).write(true).open(&path)?;
    let mut script = Script::new().create("f");
    for change in changes {
        match *change {
            Change::Write { at, len, letter } => {
                let bytes = vec![letter; len];
                file.write_all_at(&bytes, at)?;
                script = script.bytes("f", at, bytes, WriteSync::None);
            }
            Change::Truncate { size } => {
                file.set_len(size)?;
                script = script.truncate("f", size);
            }
            Change::Allocate { mode, at, len } => {
                // SAFETY: an open file; no memory of ours is touched.
                let ret = unsafe {
                    libc::fallocate(file.as_raw_fd(), number(mode), at.cast_signed(), len.cast_signed())
                };
                // What the file system does not know, or refuses (a collapse up to the end), did not happen.
                if ret == 0 {
                    taken.insert(number(mode));
                    script = script.allocate("f", mode, at, len);
                }
            }
        }
    }
    let bytes = std::fs::read(&path)?;
    // Not sync(2): by the letter of POSIX it promises nothing when it returns.
    Ok((script.fsync("f").fsync("."), bytes))
}

/// What the models say is in the file at the end, where everything is synced: each one thing.
fn assert_same(script: &Script, bytes: &[u8], what: &dyn std::fmt::Debug) {
    let effects = Effects::of(&script.trace);
    for name in ["prefix", "posix", "posix-split", "ext4-ordered"] {
        let model = model::by_name(name).expect("model");
        let space = Space::new(&script.trace, &effects, model, &[]).within(script.end()..=script.end());
        let images: Vec<_> =
            space.states(&Plan { bound: 255, budget: 100, seed: 1 }).map(|s| space.image(&s)).collect();
        assert_eq!(images.len(), 1, "{name}: everything is synced: {what:?}");
        let found = &images[0].nodes[&b"f".to_vec()].data;
        let differs = (0..found.len().max(bytes.len())).find(|&i| found.get(i) != bytes.get(i));
        assert_eq!(differs, None, "{name}: {} bytes, really {}: {what:?}", found.len(), bytes.len());
    }
}

/// One sequence that every mode takes part in, so that none goes unmeasured without a word.
#[test]
fn every_mode_changes_a_real_file_as_it_changes_an_image() {
    let write = |at, len, letter| Change::Write { at, len, letter };
    let mut all = Vec::new();
    for (i, &mode) in MODES.iter().enumerate() {
        all.push(write(0, 30_000, b'A' + i as u8));
        all.push(write(5000, 3000, b'a' + i as u8));
        let (at, len) = match mode {
            AllocateMode::Extend | AllocateMode::KeepSize => (28_000, 9000),
            AllocateMode::Collapse | AllocateMode::Insert => (8192, 4096),
            AllocateMode::Punch => (4000, 5000),
            AllocateMode::Zero { keep_size } => (if keep_size { 27_000 } else { 100 }, 33_333),
        };
        all.push(Change::Allocate { mode, at, len });
    }
    let mut taken = BTreeSet::new();
    for dir in [env!("CARGO_TARGET_TMPDIR"), "/dev/shm"] {
        // Every prefix, so that what a mode does is not hidden by the next write.
        for n in 1..=all.len() {
            let (script, bytes) = make(&all[..n], Path::new(dir), &mut taken).expect("a scratch file");
            assert_same(&script, &bytes, &&all[..n]);
        }
    }
    for mode in MODES.iter().filter(|m| !taken.contains(&number(**m))) {
        eprintln!("not measured: no file system here has fallocate's mode {mode:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn images_hold_what_real_files_hold(changes in changes()) {
        for dir in [env!("CARGO_TARGET_TMPDIR"), "/dev/shm"] {
            let (script, bytes) = make(&changes, Path::new(dir), &mut BTreeSet::new()).expect("a scratch file");
            assert_same(&script, &bytes, &changes);
        }
    }
}
