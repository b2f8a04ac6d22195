//! docs/ground-truth.md, from the fixtures.

use crate::Result;
use crate::fixture::Fixture;
use crate::kernel::{kind, kinds};
use crate::known::{KNOWN, said};
use crate::suite::{Checked, tightness, workloads};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const HEAD: &str = "\
# Ground truth: the models of the disk against real kernels

This page is generated: `cargo run -p unplug-kernels -- table`.

A recorder serves a block device from memory and writes down every write and every flush that a real file system
sends to it while a workload runs. From that it builds genuine crash images: what a flush has covered is there, of
what the device had been told since, any subset, page by page. Each image is mounted, its journal replayed, and the
tree read back. The same workload as a trace gives the states that the model allows. A real tree must be among them
at every moment at which the image was possible; *seen / modelled* says how many of the model's trees a kernel has
shown. A tree that no kernel has shown is not wrong: another kernel, disk or load may show it.

Background write-back is part of every workload: beside the plain run there are variants in which other files are
synced after each step, files or single pages are written back early, the disk keeps some writes back or takes a
random time for them, and file systems commit by themselves. Tearing below a page is not measured.

- `cargo test -p unplug-kernels` checks the models against the recorded observations (no privileges needed), and as
  root runs a bounded set on the machine's own kernel; where something is missing it says *not measured* and what.
- `cargo test -p unplug-kernels -- --ignored full` runs every workload on every file system of this machine.
- `cargo run -p unplug-kernels -- record [WORKLOAD...]` records again; `check`, `table` and `unseen WORKLOAD KIND`
  work on what is recorded; `run FILE KIND [VARIANT]` replays one script by hand.
- Needed: root, loop devices, FUSE, the file systems in the kernel, e2fsprogs, xfsprogs, btrfs-progs.
";

/// The page, from fixtures, what came of their check, and the section of [`rules`](crate::rules::section).
///
/// # Errors
/// A model has too many states for a workload.
pub fn page(fixtures: &[Fixture], checked: &Checked, rules: &str) -> Result<String> {
    let mut out = String::from(HEAD);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "\n## Result\n");
    let kernels: BTreeSet<&str> =
        fixtures.iter().flat_map(|f| f.kinds.iter().map(|k| k.kernel.as_str())).collect();
    let kernels = kernels.into_iter().collect::<Vec<_>>().join(", ");
    let _ = writeln!(
        out,
        "{} workloads ({} by hand), {} runs, {} crash images, {} trees, kernels: {kernels}. **{} real states outside their \
         model.**",
        fixtures.len(),
        fixtures.iter().filter(|f| !f.script.name.starts_with("seed-")).count(),
        checked.runs,
        checked.images,
        checked.trees,
        checked.findings.len()
    );
    out.push_str(&said(KNOWN, &checked.known));
    if !checked.unmodelled.is_empty() {
        let names: Vec<&str> = checked.unmodelled.iter().map(String::as_str).collect();
        let _ = writeln!(out, "\n*Not measured*, for lack of a model: {}.", names.join(", "));
    }
    judges(&mut out);
    table(fixtures, &mut out)?;
    let _ = write!(out, "\n{rules}");
    let _ = writeln!(out, "\n## Workloads\n");
    for script in workloads()? {
        let _ = writeln!(out, "- `{}`: {}", script.name, script.about);
    }
    Ok(out)
}

/// Which model judges which kind of file system.
fn judges(out: &mut String) {
    let _ = writeln!(out, "\n## Which model judges which file system\n");
    let _ = writeln!(
        out,
        "Beside what is named, `commit=1` in some variants. A model may stand for several kinds, if it allows all that each of \
         them shows: then it allows more than any one of them does.\n"
    );
    let _ = writeln!(out, "| kind | file system | mount options | model |\n|---|---|---|---|");
    for kind in kinds() {
        let options = if kind.options.is_empty() { "as by default" } else { kind.options };
        let _ = writeln!(out, "| {} | {} | {options} | `{}` |", kind.name, kind.fs, kind.model);
    }
}

fn table(fixtures: &[Fixture], out: &mut String) -> Result<()> {
    let _ = writeln!(out, "\n## Seen / modelled\n");
    let names: Vec<&str> = kinds().iter().map(|kind| kind.name).collect();
    let _ = writeln!(out, "| workload | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(names.len()));
    let (generated, written): (Vec<_>, Vec<_>) =
        fixtures.iter().partition(|f| f.script.name.starts_with("seed-"));
    let mut total: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut rest: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (fixture, by_hand) in written.iter().map(|f| (f, true)).chain(generated.iter().map(|f| (f, false))) {
        let mut cells = Vec::new();
        for name in &names {
            let of_kind = fixture.kinds.iter().find(|of_kind| of_kind.kind == *name);
            let found = match (of_kind, kind(name)) {
                (Some(of_kind), Some(kind)) if !of_kind.runs.is_empty() => {
                    tightness(&fixture.script, &of_kind.runs, kind)?
                }
                _ => None,
            };
            cells.push(found.map_or("-".to_owned(), |t| {
                let (seen, all) = (t.seen.len(), t.seen.len() + t.unseen.len());
                let sums = if by_hand { [&mut total, &mut rest] } else { [&mut rest, &mut total] };
                for sum in sums.into_iter().take(1) {
                    let sum = sum.entry(name).or_default();
                    *sum = (sum.0 + seen, sum.1 + all);
                }
                format!("{seen} / {all}")
            }));
        }
        if by_hand {
            let _ = writeln!(out, "| {} | {} |", fixture.script.name, cells.join(" | "));
        }
    }
    for (label, sums) in [("**all of these**", &total), ("**generated**", &rest)] {
        let cell = |name: &&str| match sums.get(name) {
            Some((seen, all)) => format!("{seen} / {all}"),
            None => "-".into(),
        };
        let cells: Vec<String> = names.iter().map(cell).collect();
        let _ = writeln!(out, "| {label} | {} |", cells.join(" | "));
    }
    let _ = writeln!(out, "\n{} generated workloads stand in the last row.", generated.len());
    Ok(())
}
