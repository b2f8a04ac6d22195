//! `unplug check redis`: a real server end to end, what is said where there is none or it does not start, and that
//! nothing is left behind, whoever is killed.

mod binary;
mod real;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The command, with everything temporary in `tmp`.
fn unplug(tmp: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unplug"));
    command.args(args).current_dir(tmp.parent().expect("a directory of the test's own"));
    command.env("UNPLUG_TMP", tmp).env_remove("UNPLUG_SEED").env_remove("UNPLUG_BUDGET");
    command
}

/// A directory of the test's own, and in it the one for temporary files.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let tmp = dir.path().canonicalize().expect("it is there").join("tmp");
    fs::create_dir(&tmp).expect("a directory");
    (dir, tmp)
}

/// Whether there is a redis-server.
fn redis() -> bool {
    real::redis_version().is_some()
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Processes that run in `tmp`, or whose arguments name it.
fn at_work(tmp: &Path) -> Vec<i32> {
    let name = tmp.as_os_str().as_encoded_bytes();
    let ours = |pid: &i32| {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let named = fs::read(proc.join("cmdline")).is_ok_and(|c| c.windows(name.len()).any(|w| w == name));
        named || fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(tmp))
    };
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    pids.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(ours).collect()
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).expect("readable").next().is_none()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what}: not in two minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn children(pid: u32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|p| p.parse().ok()).collect()
}

fn kill(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it is there");
}

/// A check that goes on for long, once its workers have begun to start servers.
fn long_check(tmp: &Path) -> Child {
    let args =
        ["check", "redis", "--policy", "no", "--model", "posix", "--budget", "100000", "--repro-dir", "r"];
    let check = unplug(tmp, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let workers =
        |dir: &Path| fs::read_dir(dir).is_ok_and(|d| d.flatten().any(|e| e.path().join("image").exists()));
    wait_until("a worker", || fs::read_dir(tmp).expect("readable").flatten().any(|e| workers(&e.path())));
    wait_until("a recovery", || !at_work(tmp).is_empty());
    check
}

#[test]
fn every_policy_of_a_real_server_is_checked() {
    if !redis() {
        return;
    }
    let (_dir, tmp) = place();
    let args = ["check", "redis", "--model", "prefix", "--ops", "18", "--budget", "12", "--format", "json"];
    let output = unplug(&tmp, &args).output().expect("it runs");
    let (out, err) = text(&output);
    for policy in ["always", "everysec", "no", "snapshot"] {
        let cells: Vec<&str> =
            out.lines().filter(|l| l.contains(&format!("\"policy\":\"{policy}\""))).collect();
        assert!(cells.len() >= 3, "{policy}: {out}{err}");
        assert!(cells.iter().all(|l| l.contains("\"target\":\"redis-server ")), "{out}");
        // Every phase was recovered, and nothing kept the run from being followed.
        assert!(!cells.iter().any(|l| l.contains("\"states_checked\":0,")), "{out}");
    }
    assert!(err.contains("at the most 12 states a cell"), "{err}");
    assert_ne!(output.status.code(), Some(2), "{err}");
    assert!(at_work(&tmp).is_empty() && is_empty(&tmp), "something is left in {}", tmp.display());
}

#[test]
fn a_missing_server_is_an_error_that_says_what_to_do() {
    let (dir, tmp) = place();
    let nowhere = dir.path().join("nowhere");
    for server in [None, Some("/nonexistent/redis-server")] {
        let mut command = unplug(&tmp, &["check", "redis", "--repro-dir", "r"]);
        command.env("PATH", &nowhere).args(server.iter().flat_map(|s| ["--server", s]));
        let output = command.output().expect("it runs");
        let (_, err) = text(&output);
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains("--server PATH") && err.contains("apt-get install redis-server"), "{err}");
    }
}

/// A server that is a script.
fn script(dir: &Path, body: &str) -> String {
    let path = dir.join("a-server");
    let text =
        format!("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Redis server v=9.9.9 sha=0' && exit 0\n{body}\n");
    fs::write(&path, text).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("settable");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_server_that_dies_at_start_is_not_measured_and_its_log_is_shown() {
    let (dir, tmp) = place();
    let server = script(dir.path(), "echo 'Fatal: the moon is too bright'; exit 7");
    for (server, said) in
        [(server.as_str(), "Fatal: the moon is too bright"), ("/bin/false", "the log is empty")]
    {
        let args = ["check", "redis", "--server", server, "--policy", "always", "--repro-dir", "r"];
        let output = unplug(&tmp, &args).output().expect("it runs");
        let (out, err) = text(&output);
        assert_eq!(output.status.code(), Some(3), "{out}{err}");
        assert!(out.contains("died at start") && out.contains(said), "{out}{err}");
        assert!(is_empty(&tmp));
    }
}

#[test]
fn one_policy_that_cannot_be_recorded_does_not_cost_the_others_their_results() {
    if !redis() {
        return;
    }
    let (dir, tmp) = place();
    let body =
        "case \"$*\" in *'appendfsync always'*) echo 'not today'; exit 1;; esac\nexec redis-server \"$@\"";
    let server = script(dir.path(), body);
    let args =
        ["check", "redis", "--server", &server, "--policy", "always,no", "--model", "prefix", "--ops", "12"];
    let output = unplug(&tmp, &args).args(["--budget", "5", "--format", "json"]).output().expect("it runs");
    let (out, err) = text(&output);
    let cells = |policy: &str| -> Vec<&str> {
        out.lines().filter(|l| l.contains(&format!("\"policy\":\"{policy}\""))).collect()
    };
    let [always] = cells("always")[..] else { panic!("{out}{err}") };
    assert!(always.contains("\"verdict\":\"not-measured\""), "{always}");
    assert!(cells("no").len() >= 3, "{out}{err}");
    assert!(!cells("no").iter().any(|l| l.contains("\"states_checked\":0,")), "{out}{err}");
}

#[test]
fn ctrl_c_leaves_no_server_and_no_file_behind() {
    if !redis() {
        return;
    }
    let (_dir, tmp) = place();
    let check = long_check(&tmp);
    kill(i32::try_from(check.id()).expect("a pid"), nix::sys::signal::Signal::SIGINT);
    let output = check.wait_with_output().expect("it ends");
    let (out, err) = text(&output);
    assert!(output.status.code().is_some_and(|c| c != 0), "part of the work is no pass: {out}{err}");
    assert!(out.contains("incomplete"), "the partial report is printed: {out}{err}");
    wait_until("the servers' end", || at_work(&tmp).is_empty());
    assert!(
        is_empty(&tmp),
        "left: {:?}",
        fs::read_dir(&tmp).expect("readable").flatten().collect::<Vec<_>>()
    );
}

#[test]
fn a_killed_worker_takes_its_server_along_and_is_replaced() {
    use nix::sys::signal::Signal;
    if !redis() {
        return;
    }
    let (_dir, tmp) = place();
    let check = long_check(&tmp);
    let workers = children(check.id());
    assert!(!workers.is_empty());
    for worker in &workers {
        kill(*worker, Signal::SIGKILL);
    }
    // Their servers end with them, and other workers go on.
    wait_until("new workers", || {
        let now = children(check.id());
        !now.is_empty() && !now.iter().any(|pid| workers.contains(pid))
    });
    wait_until("a recovery", || !at_work(&tmp).is_empty());
    kill(i32::try_from(check.id()).expect("a pid"), Signal::SIGINT);
    let output = check.wait_with_output().expect("it ends");
    let (out, err) = text(&output);
    assert!(out.contains("incomplete"), "{out}{err}");
    assert!(!out.contains("recovery-crash"), "a killed worker is no crash of the server's: {out}");
    wait_until("the servers' end", || at_work(&tmp).is_empty());
    assert!(is_empty(&tmp));
}

#[test]
fn a_killed_check_leaves_no_server_and_the_next_one_clears_its_files() {
    use nix::sys::signal::Signal;
    if !redis() {
        return;
    }
    let (_dir, tmp) = place();
    let mut check = long_check(&tmp);
    kill(i32::try_from(check.id()).expect("a pid"), Signal::SIGKILL);
    check.wait().expect("it ends");
    wait_until("the servers' end", || at_work(&tmp).is_empty());
    assert!(!is_empty(&tmp), "the killed check could not clear its files");
    let args = ["record", "redis", "--ops", "2", "-o", "t"];
    let output = unplug(&tmp, &args).output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output).1);
    assert!(
        is_empty(&tmp),
        "left: {:?}",
        fs::read_dir(&tmp).expect("readable").flatten().collect::<Vec<_>>()
    );
}

/// What a server says differs from start to start by process and time; what is reported of it does not.
#[test]
fn the_same_trace_of_a_server_gives_the_same_report_with_one_and_with_two_workers() {
    if !redis() {
        return;
    }
    let (dir, tmp) = place();
    let recorded = unplug(&tmp, &["record", "redis", "--ops", "12", "-o", "t"]).output().expect("it runs");
    assert!(recorded.status.success(), "{}", text(&recorded).1);
    let run = |workers: &str| -> Vec<String> {
        let args = ["explore", "t", "--model", "ext4-ordered,posix", "--budget", "60", "--format", "json"];
        let mut command = unplug(&tmp, &args);
        let output = command.args(["--workers", workers, "--repro-dir", "r"]).output().expect("it runs");
        let (out, err) = text(&output);
        assert!(out.contains("refuses-to-open"), "the server's own words are part of it: {out}{err}");
        out.lines().map(binary::without_elapsed).collect()
    };
    let (first, again, two) = (run("1"), run("1"), run("2"));
    assert!(first.len() >= 6, "{first:?}");
    assert_eq!(first, again, "one worker twice");
    assert_eq!(first, two, "one worker and two");
    // The names of repros depend on their content alone: the second and third run wrote the same ones again.
    let named = first.iter().map(|l| l.matches(".repro").count()).sum::<usize>();
    let files = fs::read_dir(dir.path().join("r")).expect("repros").count();
    assert_eq!(files, named);
}
