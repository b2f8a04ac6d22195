//! The contract table of the engine's documentation, line by line and column by column: which command proves each
//! cell, and that it does.
//!
//! | column | what is run besides the workload under power losses |
//! |---|---|
//! | process kill | `--faults kill`: every process is killed at every moment; under everysec of runs with slow syncs, too |
//! | power loss | nothing: each moment of the run is crashed |
//! | failed fsync | `--faults fsync:EIO,fdatasync:EIO`: each sync fails, once |
//! | full disk, failed write | `--faults write:ENOSPC,write:EIO,write:short`: each write fails or comes up short, once; `--faults full`: the disk fills |
//!
//! Each is run for both layouts (`--variant default,single`), and each cell has its teeth check. The budgets are small:
//! that nothing at all is found with large ones is for `unplug check engine --variant all --faults all` to show.

mod binary;

use binary::{directory, unplug};
use serde_json::Value;

/// A column's title, what is asked for, and the phases of the cells that speak of it; none: those without faults.
struct Column {
    title: &'static str,
    faults: &'static str,
    phases: &'static [&'static str],
}

const COLUMNS: [Column; 4] = [
    Column { title: "process kill", faults: "kill", phases: &["kill"] },
    Column { title: "power loss", faults: "", phases: &[] },
    Column { title: "failed fsync", faults: "fsync:EIO,fdatasync:EIO", phases: &["fault: error"] },
    Column {
        title: "full disk, failed write",
        faults: "write:ENOSPC,write:EIO,write:short",
        phases: &["fault: error", "fault: short"],
    },
];

/// A line's beginning, and the policy.
const LINES: [(&str, &str); 4] = [
    ("`appendfsync always`", "always"),
    ("`appendfsync everysec`", "everysec"),
    ("`appendfsync no`", "no"),
    ("snapshots alone (`appendonly no`)", "snapshot"),
];

/// What the cells promise, as it was when the commands below were last held against it. Whoever changes a promise there
/// has to look whether it is still what is proved, and change it here, too.
const CELLS: [[&str; 4]; 4] = [
    [
        "all acknowledged",
        "all acknowledged",
        "the server stops; what it had not acknowledged may be there or not",
        "the same",
    ],
    [
        "all acknowledged, but what was acknowledged while a sync runs and waits in memory for its end: two \
         seconds and a tick of the timer at most, if nothing else keeps the server",
        "all acknowledged longer than a second before, if no sync takes longer than that; else up to the end \
         of the sync before",
        "writes are refused (MISCONF), everything is written anew from memory at the next tick, and nothing \
         acknowledged is lost unless the power goes before",
        "as in power loss; the write that failed is not answered (the connection is closed), later ones are \
         refused, the file is cut back to its last batch, and writing is tried again each second",
    ],
    [
        "all acknowledged",
        "at least what the last finished rewrite, SHUTDOWN or change of the log held",
        "as everysec; syncs happen only at those",
        "as everysec",
    ],
    [
        "the last snapshot whose success was shown (SAVE's reply, LASTSAVE, INFO), or a newer one",
        "the same",
        "that snapshot fails, is shown as failed, and the one before stays",
        "the same",
    ],
];

/// The models under which power is lost here: a real one, and the weakest, of which all others are parts.
const MODELS: &str = "ext4-ordered,posix-split";

fn documentation() -> String {
    let lib = binary::root().join("engine/src/lib.rs");
    std::fs::read_to_string(lib).expect("the engine's documentation is there")
}

/// The cells of the table's lines, the titles first.
fn table() -> Vec<Vec<String>> {
    let text = documentation();
    let rows = text.lines().filter_map(|l| l.strip_prefix("//! |")).filter(|l| !l.starts_with("---"));
    rows.map(|l| l.trim_end_matches('|').split('|').map(|c| c.trim().to_owned()).collect()).collect()
}

#[test]
fn the_table_is_the_one_that_is_proved() {
    let table = table();
    let titles: Vec<&str> = table[0][1..].iter().map(String::as_str).collect();
    assert_eq!(titles, COLUMNS.map(|c| c.title));
    let lines: Vec<&str> = table[1..].iter().map(|line| line[0].as_str()).collect();
    assert_eq!(lines, LINES.map(|(line, _)| line));
    for (line, cells) in table[1..].iter().zip(CELLS) {
        assert_eq!(line[1..], cells, "{}", line[0]);
    }
}

fn text(cell: &Value, field: &str) -> String {
    cell[field].as_str().unwrap_or_default().to_owned()
}

/// Runs `unplug check` and gives its cells; all of them must be able to be told.
fn check(words: &str, code: i32) -> Vec<Value> {
    let dir = directory();
    let words = format!("check {words} --format json --workers 2");
    let output = unplug(dir.path(), &words).output().expect("started");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words}\n{out}\n{error}");
    out.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn assert_holds_with_teeth(cell: &Value, what: &str) {
    assert_eq!(cell["verdict"], "holds", "{what}: {cell}");
    assert!(cell["teeth"]["found_as"].is_string(), "{what} has no teeth: {cell}");
}

fn proves(column: &Column) {
    for (line, policy) in LINES {
        let variants = if policy == "snapshot" { "default" } else { "default,single" };
        // Where no fault needs a run of its own, every command that changes data is run: from 40 operations on.
        let ops = if column.faults.is_empty() { 40 } else { 9 };
        let mut words = format!("engine --policy {policy} --variant {variants} --ops {ops} --budget 320");
        // Snapshots are written by write and fsync alone.
        let faults = if policy == "snapshot" {
            column.faults.replace(",fdatasync:EIO", "")
        } else {
            column.faults.into()
        };
        words += &match column.title {
            // Power is lost during recoveries, too.
            "power loss" => format!(" --model {MODELS} --recovery-depth 1"),
            "process kill" => format!(" --model prefix --recovery-depth 0 --faults {faults}"),
            _ => format!(" --model posix --recovery-depth 0 --faults {faults}"),
        };
        let cells = check(&words, 0);
        for layout in variants.split(',') {
            let name = |c: &&Value| c["variant"].as_str().unwrap_or("default") == layout;
            let of_column = |c: &&Value| match column.phases {
                [] => c["faults"].is_null(),
                phases => phases.contains(&text(c, "phase").as_str()),
            };
            let proof: Vec<&Value> = cells.iter().filter(name).filter(of_column).collect();
            let what = format!("{line}, {}, {layout}", column.title);
            assert!(proof.len() >= column.phases.len().max(1), "{what}: {} cells", proof.len());
            for cell in proof {
                assert_holds_with_teeth(cell, &what);
                if let Some(faults) = cell["faults"].as_object() {
                    assert_eq!(faults["fired"], faults["planned"], "{what}: {cell}");
                    assert!(faults["fired"].as_u64() > Some(0), "{what}: {cell}");
                }
            }
        }
    }
}

#[test]
fn process_kill() {
    proves(&COLUMNS[0]);
}

/// "But what was acknowledged while a sync runs and waits in memory for its end": under everysec a kill costs that, and
/// two seconds and a tick of it at the most. Under the other policies, whose cells know no such exception, nothing.
#[test]
fn what_waits_for_a_slow_sync_goes_with_the_process() {
    let words = "engine --policy everysec --variant default,single --ops 60 --budget 320 --model prefix";
    let cells = check(&format!("{words} --recovery-depth 0 --faults kill"), 0);
    let killed: Vec<&Value> = cells.iter().filter(|c| c["phase"] == "kill").collect();
    assert_eq!(killed.len(), 2);
    for cell in killed {
        assert_holds_with_teeth(cell, "everysec");
        let loss = cell["worst_loss_ms"].as_f64().expect("a time");
        assert!((1_500.0..=2_100.0).contains(&loss), "{cell}");
    }
}

#[test]
fn power_loss() {
    proves(&COLUMNS[1]);
}

#[test]
fn failed_fsync() {
    proves(&COLUMNS[2]);
}

#[test]
fn full_disk_and_failed_write() {
    proves(&COLUMNS[3]);
}

/// A disk that is full for longer than a second: under everysec nothing that was acknowledged is older than a second and
/// on no disk, as a write that failed is not answered, and what was written before is synced all the same. (The engine
/// did neither until this was run, and the table said less.)
#[test]
fn a_disk_that_stays_full() {
    for (line, policy) in LINES {
        let variants = if policy == "snapshot" { "default" } else { "default,single,types" };
        let words =
            format!("engine --policy {policy} --variant {variants} --ops 60 --budget 320 --model posix");
        let cells = check(&format!("{words} --recovery-depth 0 --faults full"), 0);
        let full: Vec<&Value> = cells.iter().filter(|c| c["phase"] == "fault: disk full").collect();
        assert_eq!(full.len(), variants.split(',').count(), "{line}");
        for cell in full {
            assert_eq!(cell["faults"]["fired"], cell["faults"]["planned"], "{line}: {cell}");
            assert_holds_with_teeth(cell, line);
        }
    }
}

/// What stands around the table: "while a rewrite, a snapshot, or a change of the layout runs", and the options that
/// change what is promised.
#[test]
fn each_variant_keeps_what_is_documented_of_it() {
    for variant in unplug::target::variant::VARIANTS {
        let models = if variant.documented().is_some() { "" } else { "--model ext4-ordered,posix-split" };
        // From 40 operations on every command that changes data is run.
        let words = format!("--variant {} --ops 40 --budget 60 --recovery-depth 0 {models}", variant.name);
        let cells = check(&format!("engine {words}"), 0);
        for cell in &cells {
            assert_holds_with_teeth(cell, variant.name);
        }
        for phase in ["append", "types"] {
            let of_phase = cells.iter().filter(|c| text(c, "phase") == phase);
            let policies: std::collections::BTreeSet<String> = of_phase.map(|c| text(c, "policy")).collect();
            assert_eq!(policies.len(), variant.policies.len(), "{}: {phase}", variant.name);
        }
    }
}

/// Found by `unplug check --variant downgrade --model all`: the manifest was removed by the name that counts. On ext4 with
/// data=writeback a removed file's blocks are used anew before the removal is durable, so it came back with foreign bytes,
/// and the start was refused though the new layout was whole. Few operations, so that every state is looked at.
#[test]
fn the_layout_that_is_left_never_comes_back_with_foreign_bytes() {
    let variants = "upgrade,upgrade-undone,downgrade,downgrade-undone";
    let words = format!("--variant {variants} --ops 4 --model ext4-writeback --recovery-depth 0");
    let cells = check(&format!("engine {words}"), 0);
    let restarts: Vec<&Value> = cells.iter().filter(|c| text(c, "phase") == "restart").collect();
    assert_eq!(restarts.len(), 4 * 3, "four variants, three policies");
    for cell in &restarts {
        assert_eq!(cell["exhaustive"], true, "{cell}");
    }
}

/// "With `aof-checksum no` [...] a power loss may bring back a value with zeros in it, or a log that is refused": it does,
/// under always, too (the documentation spoke of everysec and no until this was run: an operation that is being written
/// is enough). With checksums, on the same disks, it does not.
#[test]
fn without_checksums_a_power_loss_costs_what_is_documented() {
    for policy in ["always", "no"] {
        let words =
            format!("engine --policy {policy} --model ext4-ordered --ops 40 --budget 300 --recovery-depth 0");
        let cells = check(&format!("{words} --set aof-checksum=no"), 1);
        let violations = cells.iter().flat_map(|c| c["violations"].as_array().into_iter().flatten());
        let classes: Vec<&str> = violations.filter_map(|v| v["class"].as_str()).collect();
        for class in ["refuses-to-open", "silent-corruption"] {
            assert!(classes.contains(&class), "{policy}: {class} is not among {classes:?}");
        }
        for cell in check(&words, 0) {
            assert_holds_with_teeth(&cell, "with checksums");
        }
    }
}
