//! Generated workloads: what nobody thought of.

use crate::Result;
use crate::script::{Script, Step, lower};
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;
use unplug_faults::event::{AllocateMode, WriteSync};

const SETUP: [&str; 7] =
    ["create f", "write f 0 A 2p", "create g", "write g 0 A 1p", "mkdir d", "create d/x", "write d/x 0 A 1p"];
const NEW: [&str; 6] = ["n", "m", "d/n", "d/m", "t", "p/n"];

/// From this seed on workloads are longer and have all kinds of steps. Those below are kept as they were: recorded
/// observations go by their seeds.
pub const WIDE: u64 = 10_000;

/// The workload of this seed: three to six steps on a few files and directories; from [`WIDE`] on four to nine, with
/// descriptors, files without a name, exchanges, fallocate, parts of pages and synchronous writes among them.
///
/// # Errors
/// None is expected: steps that make no sense are left out.
pub fn generate(seed: u64) -> Result<Script> {
    let mut random = Pcg64Mcg::new((u128::from(seed) << 64 | 0x9E37_79B9_7F4A_7C15) | 1);
    (0..8).for_each(|_| {
        random.next_u64();
    });
    let setup = SETUP.iter().map(|line| Step::parse(line)).collect::<std::result::Result<_, _>>();
    let setup = setup.map_err(crate::Error::Other)?;
    let name = format!("seed-{seed:04}");
    let mut script = Script { name, about: "Generated.".into(), setup, steps: Vec::new() };
    let wide = seed >= WIDE;
    let wanted = if wide { 4 + random.next_u32() as usize % 6 } else { 3 + random.next_u32() as usize % 4 };
    let mut letters = "BCDEFGHIJKLM".chars();
    while script.steps.len() < wanted {
        let mut names = names(&script)?;
        let letter = letters.clone().next().unwrap_or('Y');
        if names.is_empty() {
            // Every step is about a file.
            names.push("f".into());
        }
        let further = if wide { propose_further(&mut random, &names, letter) } else { None };
        let Some(step) = further.or_else(|| propose(&mut random, &names, letter)) else {
            continue;
        };
        let mut longer = script.clone();
        longer.steps.push(step);
        if lower(&longer).is_ok() {
            if matches!(longer.steps.last(), Some(Step::Write { .. })) {
                letters.next();
            }
            script = longer;
        }
    }
    Ok(script)
}

/// The regular files that have a name at the script's end.
fn names(script: &Script) -> Result<Vec<String>> {
    let mut with_end = script.clone();
    with_end.steps.push(Step::Syncfs);
    Ok(lower(&with_end)?.files.pop().unwrap_or_default())
}

fn propose(random: &mut Pcg64Mcg, files: &[String], letter: char) -> Option<Step> {
    let mut below = |n: usize| random.next_u32() as usize % n.max(1);
    let (dice, file, other) = (below(100), files.get(below(files.len()))?.clone(), below(files.len()));
    let (new, pages) = (NEW[below(NEW.len())].to_owned(), 1 + below(2) as u64);
    let target = if below(2) == 0 { new.clone() } else { files[other].clone() };
    let write =
        |file, offset, pages| Step::Write { file, offset, letter, len: pages * 4096, sync: WriteSync::None };
    Some(match dice {
        0..20 => write(file, None, pages),
        20..30 => write(file, Some(0), 1),
        30..42 => Step::Create(new),
        42..58 => Step::Rename(file, target),
        58..63 => Step::Link(file, new),
        63..69 => Step::Remove { path: file, dir: false },
        69..73 => Step::Truncate(file, below(3) as u64 * 4096),
        73..76 => Step::Mkdir("p".into()),
        76..88 => Step::Fsync(file),
        88..92 => Step::Fdatasync(file),
        92..97 => Step::Fsync([".", "d", "p"][below(3)].into()),
        97 => Step::Syncfs,
        98 => Step::Write { file, offset: None, letter, len: 4096, sync: WriteSync::Data },
        _ => Step::WriteBack { file, offset: 0, len: 0, wait: true },
    })
}

/// What only wide workloads have, or nothing. Steps that make no sense (an `@o` that is not open) are refused later.
fn propose_further(random: &mut Pcg64Mcg, files: &[String], letter: char) -> Option<Step> {
    let mut below = |n: usize| random.next_u32() as usize % n.max(1);
    let (dice, file, other) = (below(100), files.get(below(files.len()))?.clone(), below(files.len()));
    let (handle, new) = ("@o".to_owned(), NEW[below(NEW.len())].to_owned());
    let (page, pages) = (below(3) as u64 * 4096, (1 + below(2) as u64) * 4096);
    // Half of the steps on contents go by the descriptor.
    let target = if below(2) == 0 { handle.clone() } else { file.clone() };
    let sync = [WriteSync::None, WriteSync::Data, WriteSync::Full][below(3)];
    let allocate = |mode| Step::Allocate { file: target.clone(), mode, offset: page, len: pages };
    Some(match dice {
        0..5 => Step::Open { handle, path: file, truncate: below(3) == 0 },
        5..7 => Step::Tmpfile { handle, dir: ".".into() },
        7..9 => Step::Link(handle, new),
        9..15 => Step::Write { file: target, offset: None, letter, len: 4096, sync },
        15..20 => Step::Write { file: target, offset: Some(page), letter, len: 4096, sync },
        // Within a page, and across the border of one.
        20..24 => {
            Step::Write { file: target, offset: Some(page + 1000), letter, len: 2048, sync: WriteSync::None }
        }
        24..26 => Step::Write { file: target, offset: None, letter, len: 1500, sync: WriteSync::None },
        26..28 => Step::Truncate(target, page + 1000),
        28..30 => allocate(AllocateMode::Punch),
        30..32 => allocate(AllocateMode::Extend),
        32 => allocate(AllocateMode::KeepSize),
        33..35 => allocate(AllocateMode::Zero { keep_size: below(2) == 0 }),
        35..38 if file != files[other] => Step::Exchange(file, files[other].clone()),
        38..41 => Step::Rename("d".into(), "q".into()),
        41..44 => Step::Fsync(target),
        44..47 => Step::Fdatasync(target),
        47 => Step::Fsync("q".into()),
        48 => Step::Syncfs,
        49..51 => Step::WriteBack { file: target, offset: page, len: 4096, wait: true },
        51..55 => Step::Remove { path: file, dir: false },
        55 => Step::Symlink("f".into(), new),
        // A name that was just given up is taken again.
        56..60 => Step::Rename(file, ["t", "n", "d/n"][below(3)].into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_workload_and_it_reads_as_it_is_written() {
        let mut different = std::collections::BTreeSet::new();
        for seed in (0..200).chain(WIDE..WIDE + 200) {
            let script = generate(seed).unwrap();
            assert_eq!(script, generate(seed).unwrap());
            let read = Script::parse(&script.name, &format!("# Generated.\n{script}")).unwrap();
            assert_eq!(read, script);
            let lengths = if seed < WIDE { 3..=6 } else { 4..=9 };
            assert!(lengths.contains(&script.steps.len()));
            different.insert(script.to_string());
        }
        assert!(different.len() > 390, "{}", different.len());
    }
}
