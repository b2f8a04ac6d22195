//! What a user gets who asks for something that cannot be: one clear error that says what to do, exit code 2.

use std::path::Path;
use std::process::{Command, Output};

fn unplug(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unplug"));
    command.args(args).current_dir(dir).env_remove("UNPLUG_SEED").env_remove("UNPLUG_BUDGET");
    command.output().expect("the command can be started")
}

/// Standard error of a run that must end as a usage error and print nothing else.
fn refused(args: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let output = unplug(args, dir.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "unplug {args:?}: {said}");
    assert!(output.stdout.is_empty(), "unplug {args:?} printed a result");
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("readable").collect();
    assert!(left.is_empty(), "unplug {args:?} left {left:?}");
    said
}

#[test]
fn an_unknown_model_is_answered_with_the_models() {
    let said = refused(&["check", "--model", "ext5"]);
    for word in ["--model", "'ext5'", "prefix", "posix-split", "ext4-ordered"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(refused(&["check", "--fail-on", "zfs"]).contains("--fail-on: no model is called 'zfs'"));
}

#[test]
fn a_gate_on_a_model_that_is_not_explored_is_refused() {
    let said = refused(&["check", "--model", "posix", "--fail-on", "ext4-ordered"]);
    assert!(said.contains("add --model ext4-ordered"), "{said}");
}

#[test]
fn slow_syncs_are_for_a_policy_that_speaks_of_time() {
    let said = refused(&["check", "--policy", "always,no", "--slow-syncs"]);
    assert!(said.contains("--slow-syncs: only everysec speaks of time"), "{said}");
}

#[test]
fn an_unknown_policy_is_answered_with_the_policies() {
    let said = refused(&["check", "--policy", "sometimes"]);
    for word in ["sometimes", "always", "everysec", "no", "snapshot"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn an_unknown_variant_is_answered_with_the_variants_and_whose_they_are() {
    for command in [&["check"][..], &["record", "-o", "x"]] {
        let said = refused(&[command, &["--variant", "doubled"]].concat());
        for word in ["'doubled'", "single-plain", "from-redis", "one file, as Redis 6"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
    for variant in ["single", "all"] {
        let said = refused(&["check", "redis", "--variant", variant]);
        assert!(said.contains("the embedded engine's") && said.contains("--set NAME=VALUE"), "{said}");
    }
    // One that has nothing to say of the policy, or of the model.
    let said = refused(&["check", "--variant", "log-from-snapshot", "--policy", "always"]);
    assert!(said.contains("nothing is promised") && said.contains("snapshot"), "{said}");
    let said = refused(&["check", "--variant", "unchecked", "--policy", "no", "--model", "xfs"]);
    assert!(said.contains("the models prefix and ext4-journal only"), "{said}");
    assert!(
        refused(&["record", "--variant", "idle-sync", "--policy", "no", "-o", "x"])
            .contains("always, everysec")
    );
}

#[test]
fn options_of_the_server_are_checked_before_anything_runs() {
    for (words, parts) in [
        (&["--set", "aof-layout"][..], ["--set 'aof-layout'", "NAME=VALUE"]),
        (&["--set", "aof-layuot=single"], ["--set aof-layuot single", "unknown option"]),
        (&["--recover-set", "aof-layout=double"], ["--recover-set aof-layout double", "multi, single"]),
        (&["--set", "appendfsync=no"], ["--set appendfsync", "--policy sets it"]),
        (&["--recover-set", "dir=/"], ["--recover-set dir", "Unplug itself sets it"]),
        (&["--set", "hz=20", "--set", "hz=30"], ["--set hz", "named twice"]),
        (&["--set", "dbfilename=appendonly.aof"], ["--set ", "appendfilename"]),
    ] {
        for command in [&["check"][..], &["record", "-o", "x"]] {
            let said = refused(&[command, words].concat());
            assert!(parts.iter().all(|part| said.contains(part)), "{words:?}: {said}");
        }
    }
    let command = ["check", "command", "--run", "true", "--check", "true", "--set", "hz=20"];
    assert!(refused(&command).contains("for servers"));
}

#[test]
fn an_unknown_rule_is_answered_with_the_rules() {
    let said = refused(&["check", "--assume", "luck"]);
    assert!(said.contains("'luck'") && said.contains("no-zero-fill"), "{said}");
}

#[test]
fn a_bad_pattern_is_answered_with_a_good_one() {
    assert!(refused(&["check", "--drop-sync", "incr"]).contains("fdatasync:*incr*"));
    assert!(refused(&["check", "--drop-sync", "flush:*"]).contains("no sync is called 'flush'"));
}

#[test]
fn numbers_have_bounds() {
    for option in ["--budget", "--ops", "--workers"] {
        let said = refused(&["check", option, "0"]);
        assert!(said.contains(option), "{said}");
    }
    assert!(refused(&["check", "--seed", "first"]).contains("first"));
}

#[test]
fn a_switch_of_the_environment_knows_two_words() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["UNPLUG_FORK_SERVER", "UNPLUG_SPARE_LIVES"] {
        let output = Command::new(env!("CARGO_BIN_EXE_unplug"))
            .args(["check", "--policy", "always", "--model", "prefix", "--ops", "1"])
            .current_dir(dir.path())
            .env(name, "maybe")
            .output()
            .expect("the command can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("{name}=maybe: it is `no`, or `yes`")), "{said}");
    }
}

#[test]
fn a_bad_environment_variable_is_an_error_not_a_default() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_unplug"))
        .args(["check"])
        .env("UNPLUG_BUDGET", "lots")
        .current_dir(dir.path())
        .output()
        .expect("the command can be started");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("lots"));
}

#[test]
fn a_repro_directory_that_cannot_be_written_is_found_before_the_work() {
    // /proc refuses even root.
    let said = refused(&["check", "--repro-dir", "/proc/unplug-repros"]);
    assert!(said.contains("/proc/unplug-repros") && said.contains("--repro-dir DIR"), "{said}");
}

#[test]
fn a_server_is_for_redis_and_must_be_there() {
    assert!(refused(&["check", "--server", "/bin/true"]).contains("say `redis`"));
    let said = refused(&["check", "redis", "--server", "/no/such/redis-server"]);
    assert!(said.contains("/no/such/redis-server: no such file"), "{said}");
}

#[test]
fn files_that_are_not_ours_get_one_clear_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("writable");
        path.to_string_lossy().into_owned()
    };
    let foreign = put("dump.rdb", b"REDIS0011\xfa\x09redis-ver");
    let said = refused(&["show", &foreign]);
    assert!(said.contains("dump.rdb: not an Unplug file") && said.contains("unplug record"), "{said}");
    assert!(refused(&["explore", &foreign]).contains("not an Unplug file"));

    let trace = unplug_faults::codec::encode(unplug_faults::codec::Kind::Trace, &trace()).expect("encodes");
    let cut = put("cut.trace", &trace[..trace.len() - 3]);
    let want = format!("truncated: {} bytes of {}", trace.len() - 3, trace.len());
    assert!(refused(&["show", &cut]).contains(&want));
    let mut damaged = trace.clone();
    damaged[60] ^= 4;
    assert!(refused(&["explore", &put("bad.trace", &damaged)]).contains("the checksum of the file is wrong"));

    let repro = unplug_faults::codec::encode(unplug_faults::codec::Kind::Repro, &0u8).expect("encodes");
    let said = refused(&["explore", &put("one.repro", &repro)]);
    assert!(said.contains("an Unplug repro, not a trace") && said.contains("unplug replay"), "{said}");
    assert!(refused(&["show", "no-such-file"]).contains("no-such-file"));
}

#[test]
fn an_image_is_laid_out_only_where_nothing_stands() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("mine"), b"precious").expect("writable");
    let target = dir.path().to_string_lossy().into_owned();
    let said = refused(&["image", "x.repro", &target]);
    assert!(said.contains("not empty"), "{said}");
    assert!(dir.path().join("mine").exists());
}

#[test]
fn help_and_version_are_no_errors() {
    let dir = tempfile::tempdir().expect("a directory");
    for args in [&["--help"][..], &["check", "--help"], &["--version"]] {
        let output = unplug(args, dir.path());
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
    let help = String::from_utf8_lossy(&unplug(&["--help"], dir.path()).stdout).into_owned();
    assert!(help.contains("Exit codes: 0"), "{help}");
    assert!(!help.contains("__worker"), "{help}");
}

#[test]
fn show_prints_a_saved_trace_in_both_formats() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("run.trace");
    unplug_faults::codec::write_trace(&path, &trace()).expect("writable");
    let text = unplug(&["show", "run.trace"], dir.path());
    assert_eq!(text.status.code(), Some(0));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("trace of engine, seed 3") && text.contains("= fsync      log"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour in a pipe");
    let json = unplug(&["show", "run.trace", "--format", "json"], dir.path());
    for line in String::from_utf8_lossy(&json.stdout).lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("one object a line");
    }
}

fn trace() -> unplug_faults::trace::Trace {
    use unplug_faults::event::{Event, FileId, NodeKind, Op, SyncKind, Task};
    let event = |n: u64, op| Event {
        begin: n,
        end: n + 1,
        at: n * 1000,
        task: Task::default(),
        site: None,
        errno: 0,
        op,
    };
    let mut trace = unplug_faults::trace::Trace::default();
    trace.meta.target = "engine".into();
    trace.meta.seed = 3;
    let (file, name) = (FileId(1), b"log".to_vec());
    trace.events = vec![
        event(1, Op::Create { dir: FileId::ROOT, name, file, kind: NodeKind::File }),
        event(3, Op::Sync { file, kind: SyncKind::Fsync }),
    ];
    trace
}
