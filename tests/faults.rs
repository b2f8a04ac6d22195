//! Faults through the front door: the correct engine survives each of them; mistakes in what was asked for are told;
//! what never fired is not measured; damage that nothing vouches against is found.

#[path = "binary.rs"]
mod binary;
mod real;

use binary::{directory, unplug};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::AtomicBool;
use unplug::cell::CellResult;
use unplug::contract::Contract;
use unplug::faults::{Asked, Sweep, Told, sweep};
use unplug::target::Target;
use unplug::target::policy::Policy;
use unplug::target::resp::RespTarget;
use unplug::verdict::{Class, Verdict};
use unplug::worker::{Limits, Workers};
use unplug::workload::resp::Shape;
use unplug_faults::model;

fn run(dir: &Path, words: &str) -> Output {
    unplug(dir, words).output().expect("the command can be started")
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The cells of a sweep, from JSON lines.
fn cells(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let all = text.lines().map(|l| serde_json::from_str::<Value>(l).expect("one object a line"));
    all.filter(|cell| cell["faults"].is_object()).collect()
}

fn assert_code(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        error(output)
    );
}

#[test]
fn the_engine_survives_single_faults_under_every_policy() {
    let dir = directory();
    // Everything once; of the other policies the kinds that they treat in their own way.
    for (policy, faults) in [
        ("always", "all"),
        ("everysec", "EIO,short,full,kill,rest"),
        ("no", "ENOSPC,short,full,kill,rest"),
        ("snapshot", "all"),
    ] {
        let words = format!(
            "check --policy {policy} --ops 10 --model posix --budget 640 --format json --faults {faults}"
        );
        let output = run(dir.path(), &words);
        assert_code(&output, 0);
        let cells = cells(&output);
        let of = |phase: &str| cells.iter().find(|c| c["policy"] == policy && c["phase"] == phase);
        for phase in
            ["fault: error", "fault: short", "fault: disk full", "fault: child killed", "kill", "at rest"]
        {
            let cell = of(phase).unwrap_or_else(|| panic!("{policy} has no cell {phase}"));
            let count = |name: &str| cell["faults"][name].as_u64().expect("a number");
            assert!(count("planned") >= 2, "{policy} {phase}: {cell}");
            assert_eq!(count("fired"), count("planned"), "{policy} {phase}");
            assert_eq!(cell["verdict"], "holds", "{policy} {phase}: {cell}");
        }
    }
}

#[test]
fn mistakes_are_one_clear_error() {
    let dir = directory();
    let told = |faults: &str, part: &str| {
        let output = run(dir.path(), &format!("check --faults {faults}"));
        assert_code(&output, 2);
        assert!(error(&output).contains(part), "{faults}: {}", error(&output));
        assert!(output.stdout.is_empty());
    };
    told("EOOPS", "neither a kind of fault nor a file");
    told("wriet:EIO", "no call is named `wriet`");
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
    file("unknown", "fsync * EIO\nfsink * EIO\n");
    told("unknown", "line 2: no call is named `fsink`");
    file("clash", "fsync * EIO nth=2\nfsync * ENOSPC nth=1..5\n");
    told("clash", "lines 1 and 2 contradict each other");
    file("empty", "# nothing\n");
    told("empty", "the plan has no rule");
}

#[test]
fn what_never_fires_is_not_measured() {
    let dir = directory();
    std::fs::write(dir.path().join("plan"), "fdatasync *incr* EIO nth=2\nwrite *no-such-file* EIO\n")
        .expect("written");
    let base = "check --policy always --ops 9 --model prefix --budget 200";
    let output = run(dir.path(), &format!("{base} --format json --faults plan"));
    assert_code(&output, 3);
    let cells = cells(&output);
    assert_eq!(cells.len(), 1);
    assert_eq!(cells[0]["verdict"], "not-measured");
    assert_eq!((&cells[0]["faults"]["planned"], &cells[0]["faults"]["fired"]), (&2.into(), &1.into()));
    assert!(
        cells[0]["not_measured"].to_string().contains("never fired: `write *no-such-file* EIO`"),
        "{}",
        cells[0]
    );
    // Two rules that meet in one call are no result either, though neither glob shows it.
    std::fs::write(dir.path().join("meet"), "fdatasync *incr* EIO nth=2\nfdatasync *.aof ENOSPC nth=2\n")
        .expect("written");
    let output = run(dir.path(), &format!("{base} --faults meet"));
    assert_code(&output, 3);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("contradictory fault rules") && said.contains("faults fired, always"), "{said}");
}

#[test]
fn a_sweep_gives_the_same_twice() {
    let dir = directory();
    let words = "check --policy everysec --ops 8 --model posix --budget 100 --format json --faults EIO,rest";
    let one = run(dir.path(), &format!("{words} --workers 1"));
    let two = run(dir.path(), &format!("{words} --workers 2"));
    let timeless = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(binary::without_elapsed).collect::<Vec<_>>()
    };
    assert_eq!(timeless(&one), timeless(&two));
    assert_code(&one, 0);
}

/// Sweeps over the engine under one policy, with further options of its own.
fn swept(policy: Policy, extra: &[(&str, &str)], faults: &str, repros: &Path) -> Vec<CellResult> {
    let mut target = RespTarget::engine(env!("CARGO_BIN_EXE_unplug"), policy);
    target.extra = extra.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let workload = Shape::new(policy, 12).generate(1);
    let asked: Asked = faults.parse().expect("faults");
    let contract: Contract = policy.contract();
    let mut pool = Workers::start(2, Limits::default(), || target.worker(&contract)).expect("workers");
    let cancel = AtomicBool::new(false);
    let told = |_: Told<'_>| {};
    let sweep_all = Sweep {
        shown: &std::collections::BTreeSet::new(),
        target: &target,
        workload: &workload,
        contract: contract.clone(),
        asked: &asked,
        finds_damage: true,
        models: vec![model::by_name("posix").expect("a model")],
        budget: 16,
        assume: &[],
        repro_dir: Some(repros),
        cancel: &cancel,
        told: &told,
    };
    sweep(&sweep_all, &mut pool).expect("swept")
}

/// Found by `unplug check --variant switched --faults EIO`: CONFIG SET appendonly yes made the directory of the log, its sync of the
/// parent failed, and it was refused; the next one found the directory there, synced inside it alone, and promised what a
/// power loss takes away with the directory.
#[test]
fn a_log_that_is_switched_on_again_has_a_directory_that_stays() {
    let dir = directory();
    let words =
        "check --variant switched --policy always --model posix --faults fsync:EIO --ops 6 --budget 640";
    let output = run(dir.path(), &format!("{words} --recovery-depth 0 --format json"));
    assert_code(&output, 0);
    let faulted = cells(&output);
    assert!(faulted.len() == 1 && faulted[0]["verdict"] == "holds", "{faulted:?}");
}

/// "Refused where a checksum covers them": of a variant without checksums nothing is promised, and nothing is tried; that it
/// is not is said. An option that is set by hand changes no promise: there it is a violation, as the next test shows.
#[test]
fn no_damage_is_done_where_nothing_is_promised_of_it() {
    let dir = directory();
    let words = "check --policy always --ops 4 --budget 40 --recovery-depth 0 --format json --faults rest";
    let with = |variant: &str| run(dir.path(), &format!("{words} --model prefix --variant {variant}"));
    let output = with("unchecked");
    assert_code(&output, 0);
    assert!(cells(&output).is_empty() && error(&output).contains("no damage at rest"), "{}", error(&output));
    let output = with("default");
    assert_code(&output, 0);
    assert_eq!(cells(&output).len(), 1);
}

#[test]
fn bit_rot_is_found_where_no_checksum_is_and_the_repro_shows_it_again() {
    let dir = directory();
    let cells = swept(Policy::Always, &[("aof-checksum", "no")], "rest", dir.path());
    assert_eq!(cells.len(), 1);
    assert_eq!(cells[0].verdict, Verdict::Violated);
    let classes: Vec<Class> = cells[0].findings.iter().map(|f| f.violation.class).collect();
    assert!(classes.iter().all(|c| *c == Class::SilentCorruption), "{classes:?}");
    let finding = &cells[0].findings[0];
    assert!(finding.violation.explanation.contains("and no error"), "{}", finding.violation.explanation);
    let repro = finding.repro.as_ref().expect("a repro");
    let replayed = run(dir.path(), &format!("replay {}", repro.display()));
    assert_code(&replayed, 1);
    assert!(String::from_utf8_lossy(&replayed.stdout).contains("VIOLATED as in the repro"));
    // With checksums the same damage is refused.
    let cells = swept(Policy::Always, &[], "rest", dir.path());
    assert_eq!(cells[0].verdict, Verdict::Holds, "{:?}", cells[0].findings);
}

#[test]
fn a_real_server_is_swept_over_representatives() {
    if real::redis_version().is_none() {
        return;
    }
    let dir = directory();
    let words =
        "check redis --policy always --ops 6 --model prefix --budget 16 --format json --faults fdatasync:EIO";
    let output = run(dir.path(), words);
    let cells = cells(&output);
    assert_eq!(cells.len(), 1, "a sweep that was asked for is never left out: {}", error(&output));
    let count = |name: &str| cells[0]["faults"][name].as_u64().expect("a number");
    assert!(count("planned") >= 2 && count("fired") == count("planned"), "{}", cells[0]);
}
