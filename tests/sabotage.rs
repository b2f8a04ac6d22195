//! The teeth of the whole tool: bugs put into the engine's code and into recorded traces on purpose. Each row
//! says as what it must be found; a bug that is not found, or is found as something else, fails the test.
//!
//! The engine with the bugs is built here, once, by a private cfg and into a target directory of its own; an
//! environment variable chooses one. The same program records and recovers, so bugs of writing and bugs of
//! recovery are found in the same way.

mod boundary;
mod found;
mod minimal;
mod sabotaged;

use boundary::BOUNDARY;
use found::{classes, mechanisms};
use minimal::simpler;
use sabotaged::{build, output, unplug};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::time::Instant;
use unplug::repro::Repro;
use unplug_faults::codec::{read_trace, write_trace};

/// A bug of the engine.
struct Bug {
    /// Its name: see `engine/src/sabotage.rs`.
    name: &'static str,
    policy: &'static str,
    /// As what it must be found. More than one class: which of them shows depends on where a page ends, but
    /// nothing else may show.
    found_as: &'static [&'static str],
    /// Why it must be that. Read this before a row is changed.
    because: &'static str,
}

const fn bug(
    name: &'static str,
    policy: &'static str,
    found_as: &'static [&'static str],
    because: &'static str,
) -> Bug {
    Bug { name, policy, found_as, because }
}

/// The first version of this table was written before the first run (commit 7626be0). Changed after runs by hand:
/// - `bgsave-shown-at-once` was NOT found until the workload asked INFO right behind BGSAVE. `torn-tail-loops` is
///   in `tests/sabotage_faults.rs`, with a limit of its own: each hang costs the limit of CPU time twice.
/// - Classes were added: acknowledged-loss of `transaction-split`, lost-after-recovery of `incr-ignored`,
///   duplicated-operation and resurrection of `bad-batch-skipped` (resurrection is unexplained: the judge may
///   miss that it is one gap), not-idempotent of `unsealed-batch-applied`.
/// - Bugs were changed: `transaction-split` syncs, `bad-batch-skipped` skips once. `rename-before-fsync` was also
///   a gap until the engine refused an empty base.
/// - gap of `checksum-skipped`: of one family the gravest class names the finding, and with today's order of states a
///   line that swallows later batches comes up among the first 1,500.
/// - Of those of one type or command, silent-corruption of `expiry-of-collections-not-saved` and what the last two are
///   found as were not foreseen; `spop-logged-as-itself` was NOT found until something was drawn that is not logged: the
///   engine's draws follow from its seed, in a replay too.
/// - `everysec-syncs-the-old-file` was seen only while the sound engine showed window-exceeded, too.
const ENGINE: &[Bug] = &[
    // Writing.
    bug(
        "reply-before-fdatasync",
        "always",
        &["acknowledged-loss"],
        "the reply leaves a turn before the sync",
    ),
    bug(
        "no-directory-sync-after-rename",
        "always",
        &["refuses-to-open"],
        "the old manifest comes back, and what it lists is deleted, or what it does not list is written to",
    ),
    bug(
        "no-directory-sync-before-rename",
        "always",
        &["refuses-to-open"],
        "a manifest lists a file whose name is not on the disk",
    ),
    bug("rename-before-fsync", "always", &["refuses-to-open"], "a name that stands for half a file"),
    bug("history-deleted-first", "always", &["refuses-to-open"], "the manifest still lists what is deleted"),
    bug(
        "incr-left-unsynced",
        "no",
        &["refuses-to-open"],
        "a file that is not the last one is torn, which the next one's header shows",
    ),
    bug(
        "everysec-syncs-the-old-file",
        "everysec",
        &["window-exceeded", "refuses-to-open"],
        "after a rewrite nothing is synced, and marks say it is",
    ),
    bug(
        "base-forked-late",
        "always",
        &["duplicated-operation"],
        "what is logged between the new incr file and the fork stands in the base, too",
    ),
    bug(
        "bgsave-shown-at-once",
        "snapshot",
        &["acknowledged-loss"],
        "INFO shows a save as done while the child still writes it, and the old snapshot is what the disk has",
    ),
    bug(
        "transaction-split",
        "always",
        &["torn-operation", "acknowledged-loss"],
        "half of a transaction has a checksum of its own; a half may look like an older state",
    ),
    // Of one type or command, in a snapshot.
    bug(
        "expiry-of-collections-not-saved",
        "always",
        &["gap", "silent-corruption"],
        "behind a rewrite an EXPIRE is as if it had never been; of several at once it is no single gap",
    ),
    bug(
        "score-rounded",
        "always",
        &["silent-corruption"],
        "behind a rewrite there are scores that nobody gave",
    ),
    bug(
        "last-field-not-saved",
        "snapshot",
        &["torn-operation"],
        "all but one of the fields that one HSET set",
    ),
    // Of one type or command, in the log.
    bug("spop-logged-as-itself", "always", &["silent-corruption"], "a replay draws another member"),
    bug("smove-logged-by-half", "always", &["torn-operation"], "the member is in neither of the sets"),
    bug("keepttl-not-logged", "always", &["gap"], "as if the EXPIRE before the INCRBYFLOAT had not been"),
    bug(
        "expire-logged-as-itself",
        "always",
        &["torn-operation", "gap"],
        "the moment is the replay's: long ago by the run's clock, so that what wrote the key seems left out or halved",
    ),
    bug(
        "zadd-incr-logged-as-zadd",
        "always",
        &["torn-operation"],
        "the increment becomes the score; byte by byte, 0.75 is a mixture of 1 and of the 1.75 that it should be",
    ),
    // Recovery.
    bug(
        "checksum-skipped",
        "no",
        &["silent-corruption", "gap"],
        "zeros inside a value are a value; zeros over a line's end make one line of it and of what follows",
    ),
    bug("tail-not-cut", "always", &["lost-after-recovery"], "new batches stand behind a batch that is none"),
    bug(
        "bad-batch-skipped",
        "no",
        &["gap", "duplicated-operation", "resurrection"],
        "later batches are loaded without one in between; an LPOP left out looks like its RPUSH done twice",
    ),
    bug(
        "unsealed-batch-applied",
        "no",
        &["torn-operation", "silent-corruption", "not-idempotent"],
        "half a transaction, or a value with zeros in it; the cut takes even a whole command from the second start",
    ),
    bug("history-loaded", "always", &["duplicated-operation"], "the base holds what history holds"),
    bug(
        "incr-ignored",
        "always",
        &["acknowledged-loss", "lost-after-recovery"],
        "only the base is loaded; where nothing was acknowledged yet, what is written after recovery goes",
    ),
    bug("torn-tail-refused", "always", &["refuses-to-open"], "any crash inside a write leaves a torn tail"),
    bug("torn-tail-panics", "always", &["recovery-crash"], "the same, with a panic"),
];

/// Two bugs at once that have nothing to do with each other, and as what each must be found.
const PAIRS: &[([&str; 2], &str, &[&str])] = &[
    (
        ["no-directory-sync-before-rename", "history-loaded"],
        "always",
        &["refuses-to-open", "duplicated-operation"],
    ),
    (
        ["no-directory-sync-before-rename", "rename-before-fsync"],
        "always",
        &["refuses-to-open", "refuses-to-open"],
    ),
    // Of one directory, and around one rename: not to be joined.
    (
        ["no-directory-sync-before-rename", "no-directory-sync-after-rename"],
        "always",
        &["refuses-to-open", "refuses-to-open", "acknowledged-loss"],
    ),
    (["reply-before-fdatasync", "torn-tail-panics"], "always", &["acknowledged-loss", "recovery-crash"]),
];
/// Bugs that only a second power loss shows, during a recovery or while the recovered store is written to: without that
/// nothing is found.
const IN_RECOVERY: &[Bug] = &[
    bug(
        "log-rewritten-to-cut",
        "always",
        &["acknowledged-loss", "refuses-to-open"],
        "a torn tail is cut by emptying the log and writing it again: in between all of it, or its end, is nowhere",
    ),
    bug(
        "resumed-log-unsynced",
        "always",
        &["acknowledged-loss", "refuses-to-open"],
        "a log that was found at the start is never synced again: what is written after a recovery is lost, or is there \
     in part under an annotation that says it was synced",
    ),
];

/// Rows that may show more findings than one, and why. Cases with everything in order are told apart by the last call
/// that was made: nothing in them says that they are one mistake.
const MORE: &[(&str, usize, &str)] = &[
    ("drop fdatasync of incr files", 3, "a loss, a torn file that a rewrite left, a mark that says too much"),
    ("drop fsync of the directory", 3, "a loss, the sync in front of the rename and that behind it"),
    ("drop the background syncs", 3, "a loss, a torn file that a rewrite left, a mark that says too much"),
    ("drop the last sync", 2, "a loss, and a mark that says too much"),
    ("swap a write with its sync", 2, "a loss, and a mark that says too much"),
    ("resumed-log-unsynced", 2, "a loss, and a mark that says too much"),
    ("delete a write", 5, "losses with and without a later sync; three with everything in order"),
    ("rename-before-fsync", 2, "two files: the base and the manifest"),
    ("history-deleted-first", 2, "everything in order"),
    ("everysec-syncs-the-old-file", 2, "a loss, and a mark that says too much"),
    ("base-forked-late", 5, "everything in order"),
    ("expiry-of-collections-not-saved", 6, "everything in order"),
    ("score-rounded", 5, "everything in order"),
    ("last-field-not-saved", 2, "everything in order"),
    ("spop-logged-as-itself", 3, "everything in order"),
    ("smove-logged-by-half", 3, "everything in order"),
    ("keepttl-not-logged", 3, "everything in order"),
    ("expire-logged-as-itself", 4, "everything in order"),
    ("transaction-split", 3, "losses with and without a later sync, and half a transaction"),
    ("incr-ignored", 6, "a loss; the rest with everything in order"),
    ("no-directory-sync-before-rename,history-loaded", 2, "two bugs"),
    ("no-directory-sync-before-rename,rename-before-fsync", 3, "two bugs, and one of them of two files"),
    ("no-directory-sync-before-rename,no-directory-sync-after-rename", 3, "two bugs, and a loss by both"),
    ("reply-before-fdatasync,torn-tail-panics", 2, "two bugs"),
];

/// How many findings a row may show at the most.
fn most_findings(name: &str) -> usize {
    MORE.iter().find(|(row, ..)| *row == name).map_or(1, |(_, most, _)| *most)
}

#[test]
fn every_sabotage_is_found_and_named() {
    let began = Instant::now();
    let names: BTreeSet<&str> = ENGINE.iter().map(|b| b.name).collect();
    assert!(names.len() == ENGINE.len() && ENGINE.len() >= 9 && ENGINE.len() + BOUNDARY.len() >= 15);
    let dir = tempfile::tempdir().expect("a directory");
    let ordinary = Path::new(env!("CARGO_BIN_EXE_unplug"));
    let mut table = Table::default();
    for row in BOUNDARY {
        let trace = dir.path().join("whole.trace");
        let made = output(
            unplug(ordinary, dir.path(), &["record", "engine", "--policy", row.policy, "-o"]).arg(&trace),
        );
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let (changed, events) = (row.change)(&read_trace(&trace).expect("just written"));
        assert!(events > 0, "{}: found nothing to break", row.name);
        let trace = dir.path().join("changed.trace");
        write_trace(&trace, &changed).expect("written");
        let repros = format!("boundary-{}", table.rows);
        let mut command = unplug(ordinary, dir.path(), &["explore", "--repro-dir", &repros]);
        let explored = output(command.arg(&trace).args(search("1500", "0")));
        table.row("trace", row.name, row.policy, row.found_as, row.because, &explored);
        table.minimal(row.name, &dir.path().join(repros), ordinary, None);
    }
    let built = build();
    let built_s = began.elapsed().as_secs();
    // What is found below must be the sabotage's doing.
    for policy in ["always", "no", "everysec", "snapshot"] {
        let sound = output(
            unplug(&built, dir.path(), &["check", "engine", "--policy", policy]).args(search("800", "1")),
        );
        table.row("engine", "(none)", policy, &[], "nothing is built in", &sound);
    }
    for row in ENGINE {
        let mut command = unplug(&built, dir.path(), &["check", "engine", "--policy", row.policy]);
        command.env("UNPLUG_SABOTAGE", row.name).args(["--repro-dir", row.name]);
        let checked = output(command.args(search("1500", "0")));
        table.row("engine", row.name, row.policy, row.found_as, row.because, &checked);
        table.minimal(row.name, &dir.path().join(row.name), &built, Some(row.name));
    }
    for (bugs, policy, found_as) in PAIRS {
        let both = bugs.join(",");
        let mut command = unplug(&built, dir.path(), &["check", "engine", "--policy", policy]);
        let checked = output(command.env("UNPLUG_SABOTAGE", &both).args(search("1500", "0")));
        table.row("engine", &both, policy, found_as, "neither hides the other", &checked);
        let of_class = |class: &str| table.mechanisms.iter().filter(|(c, _)| c == class).count();
        let wanted = |class: &str| found_as.iter().filter(|c| **c == class).count();
        if found_as.iter().any(|class| of_class(class) < wanted(class)) {
            table.wrong.push(format!("{both}: {:?}", table.mechanisms));
        }
    }
    println!("{} cases looked at for simpler ones", table.cases);
    assert!(table.cases > 30, "{} cases", table.cases);
    for (row, depth) in IN_RECOVERY.iter().flat_map(|row| [(row, "0"), (row, "1")]) {
        let mut command = unplug(&built, dir.path(), &["check", "engine", "--policy", row.policy]);
        let checked = output(command.env("UNPLUG_SABOTAGE", row.name).args(search("1500", depth)));
        let expected = if depth == "0" { &[][..] } else { row.found_as };
        table.row(&format!("depth {depth}"), row.name, row.policy, expected, row.because, &checked);
        if table.mechanisms.len() > most_findings(row.name) {
            table.wrong.push(format!("{}: one mistake of recovery: {:?}", row.name, table.mechanisms));
        }
    }
    println!("{}built after {built_s} s, all after {} s", table.text, began.elapsed().as_secs());
    assert!(table.wrong.is_empty(), "{}\nnot as expected: {:?}", table.text, table.wrong);
}

/// An option that all explorations share.
fn search<'a>(budget: &'a str, depth: &'a str) -> [&'a str; 8] {
    ["--model", "posix", "--format", "json", "--budget", budget, "--recovery-depth", depth]
}

/// What was found, row by row.
#[derive(Default)]
struct Table {
    text: String,
    wrong: Vec<String>,
    rows: usize,
    /// Of the last row: each finding's class and mechanism.
    mechanisms: BTreeSet<(String, String)>,
    /// Cases that were looked at for a simpler one.
    cases: usize,
}

impl Table {
    fn row(
        &mut self,
        where_: &str,
        name: &str,
        policy: &str,
        expected: &[&str],
        because: &str,
        ran: &Output,
    ) {
        self.rows += 1;
        let (found, trouble) = classes(ran);
        self.mechanisms = mechanisms(ran);
        let expected: BTreeSet<String> = expected.iter().map(|c| (*c).to_owned()).collect();
        let right = trouble.is_none()
            && found.is_subset(&expected)
            && found.is_empty() == expected.is_empty()
            && self.at_first_crash() <= most_findings(name);
        let mark = if right { "  " } else { "! " };
        let shown = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.text += &format!(
            "{mark}{where_:<7} {name:<40} {policy:<9} expected {:<36} found {:<36} {}\n",
            shown(&expected),
            shown(&found),
            trouble.as_deref().unwrap_or(because),
        );
        for (class, mechanism) in &self.mechanisms {
            self.text += &format!("            {class:<22} {mechanism}\n");
        }
        if !right {
            self.wrong.push(name.to_owned());
        }
    }

    /// Findings of the last row that need no second power loss: with one, a mistake shows itself in more ways.
    fn at_first_crash(&self) -> usize {
        let second = |text: &str| {
            ["during recovery: ", "after recovery: "].iter().any(|begin| text.starts_with(begin))
        };
        self.mechanisms.iter().filter(|(_, mechanism)| !second(mechanism)).count()
    }

    /// Looks for simpler cases next to each that was kept: none may be found.
    fn minimal(&mut self, name: &str, repros: &Path, program: &Path, sabotage: Option<&str>) {
        let files = std::fs::read_dir(repros).into_iter().flatten().flatten();
        for file in files {
            let repro = Repro::load(&file.path()).expect("a repro");
            self.cases += 1;
            if let Some(simpler) = simpler(&repro, program, sabotage) {
                self.wrong.push(format!("{name}: {}: {simpler}", repro.mechanism));
            }
        }
    }
}
