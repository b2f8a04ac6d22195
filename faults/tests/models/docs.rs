//! `docs/models.md` is what the models answer: it is printed from their code, never written by hand.
//! `UPDATE_DOCS=1 cargo test -p unplug-faults --test models docs` writes it anew.

use crate::litmus::{Litmus, of_files, of_others};
use crate::script::{Script, pages};
use crate::workloads;
use std::collections::BTreeSet;
use std::fmt::Write;
use unplug_faults::effect::EffectId;
use unplug_faults::event::{AllocateMode, Op, WriteSync};
use unplug_faults::model::{self, Kind, Model, Rule};
use unplug_faults::state::Assumption::NoTear;
use unplug_faults::state::Space;

const HEAD: &str = "# Persistence models

Printed from the models by `UPDATE_DOCS=1 cargo test -p unplug-faults --test models docs`; the test fails when it is
stale. *Measured*: seen on genuine crash images of Linux 6.18, as the tests in `faults/tests/models/` write down by
hand. R1 to R7, *What each sync persists* and where each rule comes from: [persistence-rules.md](persistence-rules.md).
";

/// What real kernels do beyond the models, and the reverse, as far as it is known.
const BEYOND: &str = "
## Where the models differ from what was seen

- Two models allow what `posix` and `posix-split` do not, because kernels do it. `ext4-writeback`: a block that was set
  free (truncate, unlink, a replacing rename, a punched hole) may be written by another file before that is durable
  (ext4_free_blocks makes an exception for data=writeback), so the old file comes back with foreign pages. `btrfs`: a
  file that was synced under a temporary name and renamed over another one may come back under the temporary name when
  it is replaced, removed or moved to another directory, all within one commit, although each sync of the directory
  had returned (first seen after Redis's rewrite of the manifest). And the file that it was renamed over may be there
  again when it is removed or moved away, until the directory is synced.
- `btrfs`: a file in a directory that was made and then moved, all since the last commit: the state in which the log
  has it without the directory's first parent is left out. What a sync of an open file without a name leaves out
  (its data are not logged) is left out too. nodatacow, which tears, is not modelled.
- ZERO_RANGE on ext4 leaves the blocks where they are and marks them as not written, so what a write does to them may
  be there before the range is zeroed. On `ext4-ordered` that is the write itself, a page as it was written, with the
  zeros around. Without dioread_nolock (data=journal, nodelalloc, dioread_lock; `ext4-journal`, `ext4-writeback`) it is
  also zeros in the pages beside, as far as extent_max_zeroout_kb goes (32 by default, and the models know no other;
  with 0 they are never seen): ext4_ext_convert_to_initialized writes them at once. Which pages those are depends on how
  the file lies on the disk; the models allow each subset of those that can be. `posix` knows neither.
- `ext4-writeback`, with dioread_lock: a block that was allocated in advance shows what stood there before when the page
  that was written to it is lost (workload `preallocated-rubbish`). Where it was zeroed by ZERO_RANGE before, the model
  allows that a little early, before the zeroing is there.
- ext4 with fast_commit, XFS on a realtime device, and file systems over a disk that ignores flushes.
";

/// What the letters stand for.
const FOUND: &str = "
## What may be found

The states at the end, by page (tears apart): `A` a page from before, `B` and `C` new ones, `0` zeros, `?` what
stood in the block before or a mixture, `k->f` a further name of f.

What stood in a new block before may be anything, so it is `?` here. In an exploration about half of such blocks show a page
that the run itself had set free (by an unlink, a replacing rename, a truncate, a hole), of the predecessor by name if there
is one: an old log's records, which parse. It is shown only where the freeing was durable before the new data were
written, as ext4 keeps a freed block back until then (ext4_process_freed_data), and each once. All other
blocks show rubbish, and with `--assume no-old-pages` all do. That makes no more states: the page belongs to the write.

The other way round, with data=writeback alone: a file whose removal or cut was lost may show rubbish
in the blocks that it gives up, as another file can have written there by then. For such inodes ext4 makes an exception from
keeping freed blocks back (ext4_free_blocks).
";

fn row(out: &mut String, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn head(out: &mut String, first: &str, last: Option<&str>) {
    let names = model::all().iter().map(|m| m.name().to_owned());
    let all: Vec<String> =
        std::iter::once(first.to_owned()).chain(names).chain(last.map(str::to_owned)).collect();
    let rule = all.iter().map(|_| "---".to_owned()).collect::<Vec<_>>();
    row(out, all);
    row(out, rule);
}

fn what_it_is(kind: Kind) -> String {
    match kind {
        Kind::InOrder => "every file system".into(),
        Kind::Default { system } => format!("{system} as mounted by default"),
        Kind::Mounted { system, option } => format!("{system} mounted with {option}"),
        Kind::Standard => "the standard".into(),
    }
}

fn syncs(out: &mut String, title: &str, rows: &[Litmus]) {
    let _ = writeln!(out, "\n### {title}\n");
    head(out, "forced", Some("source"));
    for litmus in rows {
        let answers = model::all().iter().map(|m| if litmus.ask(m.name()) { "yes" } else { "no" }.to_owned());
        let first = std::iter::once(litmus.what.to_owned());
        row(out, first.chain(answers).chain(std::iter::once(litmus.source.to_owned())));
    }
}

/// The states at the end, or how many there are.
fn states(script: &Script, model: &dyn Model) -> String {
    let found: BTreeSet<String> = script.at_end(model.name(), &[NoTear]);
    let shown = |s: &String| if s.is_empty() { "(nothing)".to_owned() } else { format!("`{s}`") };
    match found.len() {
        0..=9 => found.iter().map(shown).collect::<Vec<_>>().join(", "),
        many => format!("{many} states"),
    }
}

fn contents() -> Vec<(&'static str, Script)> {
    let f = || Script::new().base("f", 'A', 1);
    let three = || Script::new().base("f", 'A', 3);
    vec![
        ("append two pages", workloads::a()),
        ("write a temporary, rename it over f", workloads::b()),
        ("write a temporary, fsync it, rename it over f", workloads::c()),
        ("append to f and to g, fsync g", workloads::d()),
        ("overwrite three pages of f, append to g, fsync g", workloads::e()),
        (
            "truncate f to 0, write it anew",
            Script::new().base("f", 'A', 2).truncate("f", 0).append("f", 'B', 1),
        ),
        ("truncate f to one page, append a page", three().truncate("f", 4096).append("f", 'B', 1)),
        (
            "punch a hole, write into it",
            three().allocate("f", AllocateMode::Punch, 4096, 4096).write("f", 1, 'B', 1),
        ),
        (
            "punch a hole within a page, append to g, fsync g",
            f().base("g", 'A', 1)
                .allocate("f", AllocateMode::Punch, 512, 3072)
                .append("g", 'C', 1)
                .fsync("g"),
        ),
        ("cut f within its page, write behind it, append to g, fsync g", {
            f().base("g", 'A', 1).truncate("f", 1024).write("f", 2, 'B', 1).append("g", 'C', 1).fsync("g")
        }),
        (
            "write a temporary, fsync it, rename it over f, fsync the directory, remove f, fsync the directory",
            {
                f().create("t")
                    .append("t", 'B', 1)
                    .fsync("t")
                    .rename("t", "f")
                    .fsync(".")
                    .unlink("f")
                    .fsync(".")
            },
        ),
        ("overwrite a page, collapse the one before it", {
            three().write("f", 2, 'B', 1).allocate("f", AllocateMode::Collapse, 0, 4096)
        }),
        ("link f as k, overwrite f", f().link("f", "k").write("f", 0, 'B', 1)),
        ("O_TMPFILE, append, linkat as n", Script::new().tmpfile("#t").append("#t", 'B', 1).link("#t", "n")),
        ("mkdir p, create p/a, rename p to q", Script::new().mkdir("p").create("p/a").rename("p", "q")),
        ("create a, create b", Script::new().create("a").create("b")),
        ("rename f to h", f().rename("f", "h")),
        ("overwrite a page, overwrite it again", f().write("f", 0, 'B', 1).write("f", 0, 'C', 1)),
        ("append a page, truncate f to a page more", f().append("f", 'B', 1).truncate("f", 3 * 4096)),
        ("truncate f to one page, create n, append to f", {
            three().truncate("f", 4096).create("n").append("f", 'B', 1)
        }),
        ("mkdir p, create n, create p/a", Script::new().mkdir("p").create("n").create("p/a")),
        ("remove f while it is open, overwrite it", {
            let removed = f().unlink("f");
            let write =
                Op::Write { file: f().id("f"), offset: 0, data: pages('B', 1), sync: WriteSync::None };
            removed.op(write)
        }),
        ("ZERO_RANGE of two pages, write the first", {
            three().allocate("f", AllocateMode::Zero { keep_size: true }, 4096, 8192).write("f", 1, 'B', 1)
        }),
        ("insert a range of a page, write into it", {
            three().allocate("f", AllocateMode::Insert, 4096, 4096).write("f", 1, 'B', 1)
        }),
        ("fallocate two pages behind the end, write the first", {
            f().allocate("f", AllocateMode::Extend, 4096, 8192).write("f", 1, 'B', 1)
        }),
        ("fallocate with KEEP_SIZE two pages behind the end, append a page", {
            f().allocate("f", AllocateMode::KeepSize, 4096, 8192).append("f", 'B', 1)
        }),
        ("overwrite two pages of f, the second with RWF_DSYNC", {
            let two = Script::new().base("f", 'A', 2).write("f", 0, 'B', 1);
            two.bytes("f", 4096, pages('B', 1), WriteSync::Data)
        }),
        ("append to f, overwrite g, create n, sync(2)", {
            f().base("g", 'A', 1).append("f", 'B', 1).write("g", 0, 'C', 1).create("n").sync_all()
        }),
        ("write a temporary of one page, rename it over f: with auto_da_alloc, but for ext4-writeback", {
            f().create("t").append("t", 'B', 1).rename("t", "f")
        }),
        ("write a temporary of one page, rename it to a free name: auto_da_alloc says nothing of that", {
            Script::new().create("t").append("t", 'B', 1).rename("t", "n")
        }),
        ("append, fsync fails with EIO, fsync succeeds", {
            f().append("f", 'B', 1).fsync("f").failed(libc::EIO).fsync("f")
        }),
        ("overwrite, fsync fails with EIO, fsync succeeds", {
            f().write("f", 0, 'B', 1).fsync("f").failed(libc::EIO).fsync("f")
        }),
        ("append to f, its fsync fails with EIO; append to g, fsync g", {
            f().base("g", 'A', 1)
                .append("f", 'B', 1)
                .fsync("f")
                .failed(libc::EIO)
                .append("g", 'C', 1)
                .fsync("g")
        }),
    ]
}

/// How many contents one page can have.
fn torn(script: &Script, model: &dyn Model) -> String {
    let effects = model.effects(&script.trace);
    let count = Space::new(&script.trace, &effects, model, &[]).count();
    assert!(count.exact);
    count.states.to_string()
}

/// The rules whose edges the model has in all these programs.
fn rules(scripts: &[Script], model: &dyn Model) -> BTreeSet<(&'static str, &'static str)> {
    let mut found = BTreeSet::new();
    for script in scripts {
        let effects = model.effects(&script.trace);
        for case in model.cases(&script.trace, &effects) {
            for id in 0..effects.len() as u32 {
                let needs = case.graph().needs(EffectId(id)).iter();
                found.extend(needs.map(|need| (need.rule.name(), need.rule.source())));
            }
        }
    }
    found
}

fn print() -> String {
    let mut out = String::from(HEAD);
    let _ = writeln!(
        out,
        "\n## The models\n\nThose of file systems as mounted by default are tried unless told otherwise.\n"
    );
    row(&mut out, ["model", "of", "in one line"].map(str::to_owned));
    row(&mut out, ["---", "---", "---"].map(str::to_owned));
    for m in model::all() {
        row(&mut out, [format!("`{}`", m.name()), what_it_is(m.kind()), m.summary().to_owned()]);
    }
    let _ = writeln!(
        out,
        "\n## What each sync forces\n\n*yes*: in every state that the model allows when the call has returned."
    );
    let (files, others) = (of_files(), of_others());
    syncs(&mut out, "Syncs of a file", &files);
    syncs(&mut out, "Syncs of directories, of everything, of ranges", &others);
    out.push_str(FOUND);
    for (what, script) in contents() {
        let _ = writeln!(out, "\n**{what}**\n");
        row(&mut out, ["model", "states"].map(str::to_owned));
        row(&mut out, ["---", "---"].map(str::to_owned));
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for m in model::all() {
            let found = states(&script, *m);
            match groups.iter_mut().find(|(other, _)| *other == found) {
                Some((_, names)) => names.push(m.name().to_owned()),
                None => groups.push((found, vec![m.name().to_owned()])),
            }
        }
        for (found, names) in groups {
            row(&mut out, [names.join(", "), found]);
        }
    }
    let _ = writeln!(
        out,
        "\n## Tearing\n\nHow many states one page has: 2 is old or new, 256 is any of its eight sectors, 3 is nothing, zeros or new.\n"
    );
    head(&mut out, "page", None);
    let over = Script::new().base("f", 'A', 1).write("f", 0, 'B', 1);
    let fresh = Script::new().base("f", 'A', 1).append("f", 'B', 1);
    for (what, script) in [("overwritten", over), ("appended", fresh)] {
        let counts = model::all().iter().map(|m| torn(&script, *m));
        row(&mut out, std::iter::once(what.to_owned()).chain(counts));
    }
    let _ = writeln!(
        out,
        "\n## Rules\n\nWhy one change cannot be on the disk without another; the names stand in stories.\n"
    );
    let scripts: Vec<Script> = files
        .into_iter()
        .chain(others)
        .map(|litmus| litmus.script)
        .chain(contents().into_iter().map(|(_, script)| script))
        .collect();
    let by_model: Vec<_> = model::all().iter().map(|m| (m.name(), rules(&scripts, *m))).collect();
    let all: BTreeSet<_> = by_model.iter().flat_map(|(_, rules)| rules.iter().copied()).collect();
    row(&mut out, ["rule", "models", "source"].map(str::to_owned));
    row(&mut out, ["---", "---", "---"].map(str::to_owned));
    for rule in &all {
        let names = by_model.iter().filter(|(_, rules)| rules.contains(rule)).map(|(name, _)| *name);
        row(&mut out, [rule.0.to_owned(), names.collect::<Vec<_>>().join(", "), rule.1.to_owned()]);
    }
    // A rule that no program here has an edge of would be missing in the table, without a word.
    let shown: BTreeSet<_> = all.into_iter().map(|(name, _)| name).collect();
    let rules = Rule::ALL.into_iter().filter(|rule| *rule != Rule::Assumed);
    assert_eq!(shown, rules.map(Rule::name).collect());
    out.push_str(BEYOND);
    out
}

#[test]
fn every_rule_has_its_place_in_the_list_of_them() {
    assert!(Rule::ALL.iter().enumerate().all(|(at, rule)| *rule as usize == at));
    // The last one of the type.
    assert_eq!(Rule::ALL.len(), Rule::Assumed as usize + 1);
}

#[test]
fn the_table_of_models_is_what_the_code_prints() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/models.md");
    let printed = print();
    if std::env::var_os("UPDATE_DOCS").is_some() && std::env::var_os("CI").is_none() {
        std::fs::write(&path, &printed).expect("write");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == printed,
        "docs/models.md is stale: UPDATE_DOCS=1 cargo test -p unplug-faults --test models docs"
    );
}
