//! Bugs in what the engine does when a call fails, a process is killed or a sync waits, built in on purpose: each must be
//! found by the sweep over single faults, and by its right name. The correct engine must not be accused.
//!
//! The engine with the bugs is the one of `tests/sabotage.rs`.

mod found;
mod sabotaged;

use sabotaged::{build, output, unplug};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

/// A bug, and as what it must be found.
struct Bug {
    name: &'static str,
    policy: &'static str,
    faults: &'static str,
    found_as: &'static [&'static str],
    /// Why it must be that. Read this before a row is changed.
    because: &'static str,
}

/// Written before the first run.
const BUGS: &[Bug] = &[
    Bug {
        name: "failed-fsync-ignored",
        policy: "always",
        faults: "fdatasync:EIO",
        found_as: &["acknowledged-loss", "refuses-to-open"],
        because: "a reply says durable, and the sync had failed; a later mark says that it had not",
    },
    Bug {
        name: "fsync-tried-again",
        policy: "always",
        faults: "fdatasync:EIO",
        found_as: &["acknowledged-loss", "refuses-to-open"],
        because: "the second sync succeeds, and the pages of the first are gone all the same",
    },
    Bug {
        name: "short-write-taken-whole",
        policy: "always",
        faults: "write:short",
        found_as: &["acknowledged-loss", "refuses-to-open"],
        because: "half a batch was acknowledged; what follows it stands behind half a batch",
    },
    Bug {
        name: "full-disk-acknowledged",
        policy: "always",
        faults: "write:ENOSPC",
        found_as: &["acknowledged-loss", "gap", "refuses-to-open"],
        because: "the batch was never written, the later ones are",
    },
    Bug {
        name: "failed-child-installed",
        policy: "always",
        faults: "kill",
        found_as: &["refuses-to-open", "acknowledged-loss", "gap"],
        because: "the base is half a file, or none",
    },
    Bug {
        name: "failed-rename-ignored",
        policy: "always",
        faults: "rename:EIO",
        found_as: &["acknowledged-loss", "refuses-to-open"],
        because: "what the manifest on the disk lists is deleted, and what it does not list is written to",
    },
    Bug {
        name: "slow-client-answered-early",
        policy: "always",
        faults: "send:EAGAIN",
        found_as: &["acknowledged-loss"],
        because: "once a client did not take its reply at once, replies leave a turn before the sync",
    },
    Bug {
        name: "transaction-forgotten",
        policy: "always",
        faults: "recv:short",
        found_as: &["torn-operation", "gap", "acknowledged-loss"],
        because: "a transaction of which half has come is forgotten, and its other half is executed by itself",
    },
    Bug {
        name: "checksum-skipped",
        policy: "always",
        faults: "rest",
        found_as: &["silent-corruption"],
        because: "a flipped bit inside a value is a value",
    },
];

#[test]
fn every_sabotage_of_what_fails_is_found_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let built = build();
    let (mut table, mut wrong) = (String::new(), Vec::new());
    for bug in BUGS {
        let sound = seen(&checked(&built, dir.path(), bug, ""));
        let broken = seen(&checked(&built, dir.path(), bug, bug.name));
        let expected: BTreeSet<String> = bug.found_as.iter().map(|c| (*c).to_owned()).collect();
        let right = matches!((&sound, &broken), (Ok(none), Ok(some))
            if none.is_empty() && !some.is_empty() && some.is_subset(&expected));
        table += &format!(
            "{} {:<24} {:<8} {:<14} expected {expected:?} found {broken:?}, without it {sound:?}: {}\n",
            if right { " " } else { "!" },
            bug.name,
            bug.policy,
            bug.faults,
            bug.because
        );
        if !right {
            wrong.push(bug.name);
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{table}\nnot as expected: {wrong:?}");
}

/// The end of a rewrite: the sync of the directory fails that makes the new manifest's name durable, and its second name
/// stays. The next rewrite may take that away only when the directory has been synced. Found by a sweep, of which this is
/// one run: it takes two rewrites, and a rename in pieces.
#[test]
fn a_second_name_that_goes_too_early_is_found_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let built = build();
    std::fs::write(dir.path().join("plan"), "fsync appendonlydir EIO nth=13 in=main\n").expect("written");
    let run = |sabotage: &str| {
        let words = ["check", "engine", "--policy", "always", "--ops", "48", "--model", "posix-split"];
        let mut command = unplug(&built, dir.path(), &words);
        command.args(["--faults", "plan", "--budget", "16000", "--recovery-depth", "0", "--format", "json"]);
        seen(&output(command.env("UNPLUG_SABOTAGE", sabotage)))
    };
    assert_eq!(run(""), Ok(BTreeSet::new()));
    assert_eq!(run("second-name-removed-unsynced"), Ok(["refuses-to-open".to_owned()].into()));
}

/// A sync of two seconds and a half keeps writes in memory for as long, and they go with the process. It takes a run that is
/// longer than that.
#[test]
fn a_write_that_waits_too_long_is_found_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let built = build();
    let run = |sabotage: &str| {
        let words = ["check", "engine", "--policy", "everysec", "--faults", "kill", "--ops", "60"];
        let mut command = unplug(&built, dir.path(), &words);
        command.args(["--model", "prefix", "--budget", "400", "--recovery-depth", "0", "--format", "json"]);
        seen(&output(command.env("UNPLUG_SABOTAGE", sabotage)))
    };
    assert_eq!(run(""), Ok(BTreeSet::new()));
    assert_eq!(run("postponed-without-end"), Ok(["acknowledged-loss".to_owned()].into()));
}

/// A bug that the engine had: what is acknowledged while a child runs, and no write follows, was never synced. Without the
/// option it is no bug, as nothing is left unsynced.
#[test]
fn a_promise_that_is_not_taken_up_again_is_found_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let built = build();
    let run = |sabotage: &str, variant: &str| {
        let words = ["check", "engine", "--policy", "always", "--variant", variant, "--ops", "24"];
        let mut command = unplug(&built, dir.path(), &words);
        command.args(["--model", "prefix,posix", "--recovery-depth", "0", "--format", "json"]);
        let ran = output(command.env("UNPLUG_SABOTAGE", sabotage));
        let classes = found::mechanisms(&ran).into_iter().map(|(class, _)| class);
        (ran.status.code(), classes.collect::<BTreeSet<String>>())
    };
    assert_eq!(run("", "idle-sync"), (Some(0), BTreeSet::new()));
    assert_eq!(run("suspended-stays-unsynced", "default"), (Some(0), BTreeSet::new()));
    let (code, classes) = run("suspended-stays-unsynced", "idle-sync");
    assert_eq!((code, classes), (Some(1), ["acknowledged-loss".to_owned()].into()));
}

/// What CONFIG SET appendonly yes has answered is on the disk: all of the data, also what was done while the log was off,
/// under a name that is durable. Where the log is never switched, nothing is there to be found of the first bug.
#[test]
fn a_log_that_is_switched_on_without_what_it_promises_is_found_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let built = build();
    let run = |sabotage: &str, variant: &str| {
        let words = ["check", "engine", "--policy", "always", "--variant", variant, "--ops", "24"];
        let mut command = unplug(&built, dir.path(), &words);
        command.args(["--model", "posix", "--recovery-depth", "0", "--format", "json"]);
        found::classes(&output(command.env("UNPLUG_SABOTAGE", sabotage)))
    };
    assert_eq!(run("", "switched"), (BTreeSet::new(), None));
    assert_eq!(run("switched-on-with-old-base", "default"), (BTreeSet::new(), None));
    for sabotage in ["switched-on-with-old-base", "no-directory-sync-after-rename"] {
        let (classes, unseen) = run(sabotage, "switched");
        assert!(
            classes.contains("acknowledged-loss") && unseen.is_none(),
            "{sabotage}: {classes:?} {unseen:?}"
        );
    }
}

/// Under everysec a write that fails is tried again each second; what was answered with OK all the same is on no disk for
/// as long as the disk is full. Where nobody asks for anything in the second after it, nobody is told either.
#[test]
fn a_failed_write_that_is_answered_is_found_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let built = build();
    let run = |room: u32, sabotage: &str| {
        let plan = format!("write,fallocate * full={room} nth=all\n");
        std::fs::write(dir.path().join("plan"), plan).expect("written");
        let words = ["check", "engine", "--policy", "everysec", "--ops", "18", "--model", "posix"];
        let mut command = unplug(&built, dir.path(), &words);
        command.args(["--faults", "plan", "--budget", "300", "--recovery-depth", "0", "--format", "json"]);
        seen(&output(command.env("UNPLUG_SABOTAGE", sabotage)))
    };
    let mut found = BTreeSet::new();
    for room in (1200..3400).step_by(1000) {
        assert_eq!(run(room, ""), Ok(BTreeSet::new()), "room for {room} bytes");
        found.extend(run(room, "failed-write-answered").expect("a sweep"));
    }
    assert_eq!(found, ["window-exceeded".to_owned()].into());
}

/// Written before the first run. Of few states only: each that hangs costs the limit of CPU time in the run, and once
/// more alone.
#[test]
fn a_recovery_that_does_not_end_is_found_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let built = build();
    let run = |sabotage: &str| {
        let words = ["check", "engine", "--policy", "always", "--ops", "4", "--model", "ext4-ordered"];
        let mut command = unplug(&built, dir.path(), &words);
        command.args(["--budget", "40", "--format", "json"]);
        output(command.env("UNPLUG_SABOTAGE", sabotage).env("UNPLUG_CPU_LIMIT", "1"))
    };
    let (sound, looping) = (run(""), run("torn-tail-loops"));
    let classes = |ran: &Output| -> BTreeSet<String> {
        found::mechanisms(ran).into_iter().map(|(class, _)| class).collect()
    };
    assert_eq!(classes(&sound), BTreeSet::new(), "{}", String::from_utf8_lossy(&sound.stdout));
    let text = String::from_utf8_lossy(&looping.stdout);
    assert_eq!(classes(&looping), ["recovery-hang".to_owned()].into(), "{text}");
    assert!(text.contains("no end within 1000 ms of CPU time"), "{text}");
    assert_eq!(looping.status.code(), Some(1));
}

fn checked(program: &Path, dir: &Path, bug: &Bug, sabotage: &str) -> Output {
    let words = ["check", "engine", "--policy", bug.policy, "--faults", bug.faults, "--ops", "18"];
    let mut command = unplug(program, dir, &words);
    command.args(["--model", "posix", "--format", "json", "--budget", "1200"]);
    output(command.env("UNPLUG_SABOTAGE", sabotage))
}

/// The classes of all violations in the cells of the sweep; or what kept it from being one.
fn seen(ran: &Output) -> Result<BTreeSet<String>, String> {
    let mut classes = BTreeSet::new();
    let mut cells = 0;
    for line in String::from_utf8_lossy(&ran.stdout).lines() {
        let cell: serde_json::Value = serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))?;
        if !cell["faults"].is_object() {
            continue;
        }
        cells += 1;
        let verdict = cell["verdict"].as_str().unwrap_or_default();
        if !["holds", "violated"].contains(&verdict) {
            return Err(format!("{}: {verdict} {} {}", cell["phase"], cell["not_measured"], cell["teeth"]));
        }
        let violations = cell["violations"].as_array().into_iter().flatten();
        classes.extend(violations.filter_map(|v| v["class"].as_str()).map(str::to_owned));
    }
    match cells {
        0 => Err(format!("no cell: {}", String::from_utf8_lossy(&ran.stderr).trim())),
        _ => Ok(classes),
    }
}
