//! The command on real runs of the embedded engine: what one command prints, the next one takes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The command in `dir`, with scratch directories of its own below it.
fn unplug(args: &[&str], dir: &Path) -> Command {
    let tmp = dir.join("tmp");
    fs::create_dir_all(&tmp).expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_unplug"));
    command.args(args).current_dir(dir).env("UNPLUG_TMP", tmp);
    command.env_remove("UNPLUG_SEED").env_remove("UNPLUG_BUDGET");
    command
}

fn run(args: &[&str], dir: &Path) -> Output {
    unplug(args, dir).output().expect("the command can be started")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}\n{}", out(output), err(output));
}

/// No scratch directory is left, whatever the end of the run was.
fn assert_tidy(dir: &Path) {
    let left: Vec<_> = fs::read_dir(dir.join("tmp")).expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// JSON lines without what may differ between two runs.
fn timeless(output: &Output) -> Vec<serde_json::Value> {
    let parse = |line: &str| {
        let mut object: serde_json::Value = serde_json::from_str(line).expect("one object a line");
        assert!(object.as_object_mut().expect("an object").remove("elapsed_s").is_some());
        object
    };
    out(output).lines().map(parse).collect()
}

#[test]
fn a_missing_sync_is_found_replayed_and_laid_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let recorded = run(&["record", "--policy", "always", "--ops", "20", "-o", "run.trace"], dir);
    assert_code(&recorded, 0);
    let shown = run(&["show", "run.trace"], dir);
    assert_code(&shown, 0);
    assert!(out(&shown).contains("incr.aof") && out(&shown).contains("sync"), "{}", out(&shown));

    let search =
        ["explore", "run.trace", "--model", "prefix", "--budget", "400", "--repro-dir", "found here"];
    let dropped = run(&[&search[..], &["--drop-sync", "fdatasync:*incr*"]].concat(), dir);
    assert_code(&dropped, 1);
    assert!(out(&dropped).contains("acknowledged-loss: always /"), "{}", out(&dropped));
    let said = err(&dropped);
    assert!(said.contains("syncs taken out"), "{said}");

    // The last line is a command: a shell takes it as it stands, in the same directory.
    let line = said.lines().last().and_then(|l| l.strip_prefix("replay: ")).expect("a replay line");
    let replayed = Command::new("sh").args(["-c", line]).current_dir(dir).output().expect("a shell");
    assert_code(&replayed, 1);
    assert!(out(&replayed).contains("VIOLATED as in the repro"), "{}", out(&replayed));

    let repro = fs::read_dir(dir.join("found here")).expect("repros").next().expect("one").expect("readable");
    let repro = repro.path();
    let laid = run(&["image", repro.to_str().expect("UTF-8"), "disk"], dir);
    assert_code(&laid, 0);
    assert!(out(&laid).contains("start: ") && out(&laid).contains("engine --dir disk"), "{}", out(&laid));
    assert!(dir.join("disk/appendonlydir").is_dir());
    assert_starts_on(&dir.join("disk"), dir);
    assert_tidy(dir);
}

fn assert_starts_on(disk: &Path, dir: &Path) {
    let disk = disk.to_str().expect("UTF-8");
    let options = ["--unixsocket", "s", "--appendonly", "yes", "--save", ""];
    let args = [&["engine", "--port", "0", "--dir", disk], &options[..]].concat();
    let mut child = unplug(&args, dir).stdout(Stdio::piped()).spawn().expect("the engine can be started");
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line);
    let _ = child.kill();
    let _ = child.wait();
    read.expect("readable");
    assert_eq!(line, "Ready to accept connections\n");
}

/// What was set is in the trace, in the repro and in the line that starts the program by hand.
#[test]
fn options_go_with_traces_and_repros() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let broken = "--policy always --model prefix --budget 300 --ops 12 --recovery-depth 0";
    let sync = ["--drop-sync", "fdatasync:*"];
    // Written as one file, recovered as a directory.
    let mut words: Vec<&str> =
        vec!["check", "--set", "aof-layout=single", "--recover-set", "aof-layout=multi"];
    words.extend(broken.split(' '));
    let whole = run(&words, dir);
    assert_code(&whole, 0);
    words.extend(sync);
    let check = run(&words, dir);
    assert_code(&check, 1);
    let repro = std::fs::read_dir(dir.join("unplug-repros")).expect("repros").next().expect("a repro");
    let repro = repro.expect("readable").path();
    let repro = repro.to_str().expect("UTF-8");
    assert_code(&run(&["replay", repro], dir), 1);
    let image = run(&["image", repro, "disk"], dir);
    assert_code(&image, 0);
    let said = out(&image);
    let start = said.lines().find(|l| l.starts_with("start: ")).expect("a line that starts it");
    assert!(start.contains("--aof-layout multi") && !start.contains("single"), "{start}");
    assert!(start.contains("--appendfsync always") && start.contains("--save ''"), "{start}");
    let files = || std::fs::read_dir(dir.join("disk")).expect("the disk");
    assert!(files().any(|f| f.expect("readable").file_name() == "appendonly.aof"));

    // A variant's name and options go with its trace; two runs of it are equal.
    let record = |file: &str| {
        let words = ["record", "--variant", "upgrade", "--policy", "everysec", "--ops", "15", "-o", file];
        assert_code(&run(&words, dir), 0);
        std::fs::read(dir.join(file)).expect("the trace")
    };
    assert_eq!(record("a"), record("b"));
    let explored =
        run(&["explore", "a", "--model", "ext4-ordered", "--budget", "300", "--format", "json"], dir);
    assert_code(&explored, 0);
    let cells = timeless(&explored);
    assert!(cells.iter().all(|cell| cell["variant"] == "upgrade"), "{cells:?}");
    assert!(cells.iter().any(|cell| cell["phase"] == "restart"), "{cells:?}");
}

#[test]
fn one_trace_gives_one_outcome_whatever_the_number_of_workers() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    assert_code(&run(&["record", "--ops", "16", "-o", "run.trace"], dir), 0);
    let search = ["explore", "run.trace", "--budget", "300", "--format", "json", "--repro-dir", "r"];
    for (more, code) in [(&[][..], 0), (&["--drop-sync", "fdatasync:*incr*"][..], 1)] {
        let explored = |workers| {
            let output = run(&[&search[..], more, &["--workers", workers]].concat(), dir);
            assert_code(&output, code);
            timeless(&output)
        };
        let one = explored("1");
        assert!(one.len() >= 4, "a cell for each model and phase");
        assert_eq!(one, explored("2"));
    }
    assert_tidy(dir);
}

#[test]
fn a_gate_on_some_models_leaves_the_others_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    assert_code(&run(&["record", "--ops", "12", "-o", "run.trace"], dir), 0);
    // A directory sync that is missing shows where names are free, not where they keep their order.
    let search = ["explore", "run.trace", "--model", "prefix,posix", "--budget", "300", "--format", "json"];
    let dropped = ["--drop-sync", "fsync:appendonlydir", "--repro-dir", "r"];
    let all = run(&[&search[..], &dropped].concat(), dir);
    let violated = |model: &str| {
        timeless(&all).iter().any(|cell| cell["model"] == model && cell["verdict"] == "violated")
    };
    assert!(violated("posix") && !violated("prefix"), "{}", out(&all));
    assert_code(&all, 1);
    let gated = |models| run(&[&search[..], &dropped, &["--fail-on", models]].concat(), dir);
    assert_code(&gated("posix"), 1);
    assert_code(&gated("prefix"), 0);
    assert_code(&gated("all"), 1);
}

#[test]
fn a_server_that_dies_at_start_is_not_measured_and_its_log_is_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let script = dir.join("redis-server");
    let text = "#!/bin/sh\ncase \"$1\" in --version) echo 'Redis server v=7.9.9'; exit 0;; esac\n\
                echo 'Fatal: the moon is in the wrong phase' >&2\nexit 7\n";
    fs::write(&script, text).expect("writable");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let server = script.to_str().expect("UTF-8");
    let args = ["check", "redis", "--server", server, "--policy", "always", "--model", "prefix"];
    let output = run(&args, dir);
    assert_code(&output, 3);
    let said = out(&output) + &err(&output);
    assert!(said.contains("the moon is in the wrong phase"), "{said}");
    assert!(said.contains("died at start"), "{said}");
    assert_tidy(dir);
}

#[test]
fn scratch_that_cannot_be_made_is_said_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = unplug(&["check", "--policy", "always", "--model", "prefix"], dir.path());
    let output = command.env("UNPLUG_TMP", "/no/such/directory").output().expect("started");
    let said = out(&output) + &err(&output);
    assert!(said.contains("UNPLUG_TMP") && said.contains("/no/such/directory"), "{said}");
    assert_eq!(output.status.code(), Some(3), "{said}");
}

#[test]
fn ctrl_c_ends_the_run_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let mut command = unplug(&["check", "--budget", "100000000", "--repro-dir", "r"], dir);
    // A process group of its own: whoever is left of it afterwards was left by the command.
    let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("the command can be started");
    let pid = child.id().to_string();
    std::thread::sleep(Duration::from_secs(4));
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    let asked = Instant::now();
    let output = child.wait_with_output().expect("reaped");
    assert!(asked.elapsed() < Duration::from_secs(60), "it ends soon");
    assert_code(&output, 3);
    assert!((out(&output) + &err(&output)).to_lowercase().contains("interrupted"), "{}", out(&output));
    let ps = Command::new("ps").args(["-eo", "pid,args"]).output().expect("ps");
    let tmp = dir.join("tmp").display().to_string();
    assert!(!out(&ps).contains(&tmp), "a process is left: {}", out(&ps));
    assert_tidy(dir);
}
