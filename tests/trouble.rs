//! What can go wrong from the command line: each time one clear error that says what to do, and the exit code that
//! is documented for it. Never a pass, and never anything left behind.

mod binary;
mod real;

use binary::{assert_tidy, compiled, said, tidy_unplug as unplug};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The words that a message must have.
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).expect("writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
}

/// A recording of the engine.
fn recorded(dir: &Path) -> PathBuf {
    said(&mut unplug(dir, "record --policy always --ops 12 -o run.trace"), 0);
    dir.join("run.trace")
}

#[test]
fn a_full_ring_is_not_measured_and_says_how_to_get_a_larger_one() {
    let dir = binary::directory();
    let record = |bytes: &str, code| {
        let mut command = unplug(dir.path(), "record --policy always --ops 4000 -o run.trace");
        said(command.env("UNPLUG_RING_BYTES", bytes), code)
    };
    let told = record("1", 3);
    assert_says(&told, &["not measured", "ring full", "UNPLUG_RING_BYTES"]);
    // The trace says so itself: nobody can take it for a whole one later.
    let explored = said(&mut unplug(dir.path(), "explore run.trace --model prefix --budget 10"), 3);
    assert_says(&explored, &["ring full"]);
    // What the message says helps.
    record("100000000", 0);
    assert_says(&record("lots", 3), &["UNPLUG_RING_BYTES=lots", "a number of bytes"]);
    assert_tidy(dir.path());
}

/// The processes below one, by what /proc says.
fn children(parent: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("readable").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default();
        if after.split_whitespace().nth(1) == Some(&parent.to_string()) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

#[test]
fn a_worker_that_is_killed_changes_nothing_of_the_result() {
    let dir = binary::directory();
    recorded(dir.path());
    let explore = "explore run.trace --model posix --budget 4000 --workers 2 --format json";
    let lines = |output: &Output| -> Vec<String> {
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(binary::without_elapsed).collect()
    };
    let undisturbed = lines(&unplug(dir.path(), explore).output().expect("started"));
    let mut command = unplug(dir.path(), explore);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let (mut killed, start) = (0, Instant::now());
    while killed < 3 && start.elapsed() < Duration::from_secs(60) {
        let workers = children(child.id());
        if let Some((pid, _)) = workers.iter().find(|(_, line)| line.contains("__worker")) {
            killed += i32::from(
                Command::new("kill").args(["-9", &pid.to_string()]).status().is_ok_and(|s| s.success()),
            );
            std::thread::sleep(Duration::from_millis(30));
        }
        if fs::read_to_string(format!("/proc/{}/stat", child.id())).map_or(true, |s| s.contains(") Z ")) {
            break;
        }
    }
    let output = child.wait_with_output().expect("reaped");
    assert!(killed > 0, "no worker was seen");
    assert_eq!(lines(&output), undisturbed, "after {killed} kills");
    assert_tidy(dir.path());
}

#[test]
fn a_full_disk_under_the_images_is_not_measured() {
    let dir = binary::directory();
    recorded(dir.path());
    // A file system of its own that goes with its namespace, whatever becomes of this test.
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).expect("writable");
    let line = format!(
        "mount -t tmpfs -o size=600k none {0} && UNPLUG_TMP={0} exec {1} explore run.trace --model prefix \
         --budget 50 --repro-dir r",
        disk.display(),
        env!("CARGO_BIN_EXE_unplug")
    );
    let namespace = |options: &'static str| {
        let mut command = Command::new("unshare");
        command.args([options, "sh", "-c"]).current_dir(dir.path()).env("NO_COLOR", "1");
        command
    };
    let may = |options| {
        namespace(options).arg("mount -t tmpfs none /mnt").output().is_ok_and(|o| o.status.success())
    };
    let Some(options) = ["-m", "-rm"].into_iter().find(|o| may(o)) else {
        eprintln!("not measured: no mount namespaces here");
        return;
    };
    let told = said(namespace(options).arg(&line), 3);
    assert_says(&told, &["No space left", "not measured", "UNPLUG_TMP"]);
    assert!(!told.contains("VIOLATED"), "{told}");
}

#[test]
fn scratch_that_cannot_be_written_is_named() {
    let dir = binary::directory();
    let mut command = unplug(dir.path(), "check --policy always --model prefix --budget 10");
    // /proc refuses even root.
    let told = said(command.env("UNPLUG_TMP", "/proc/self"), 3);
    assert_says(&told, &["no directory to record in", "/proc/", "UNPLUG_TMP"]);
}

const HELLO: &str = "#include <stdio.h>\n#include <unistd.h>\nint main(int n, char **v) {\n\
                     if (n > 1 && v[1][2] == 'v') { puts(\"Redis server v=7.9.9\"); return 0; }\n\
                     sleep(30); return 0; }\n";

#[test]
fn a_static_server_is_refused_before_it_is_run() {
    let dir = binary::directory();
    let Some(server) = compiled(dir.path(), "static-server", &["-static"], HELLO) else { return };
    let words = format!("check redis --server {} --policy always --model prefix", server.display());
    let start = Instant::now();
    let told = said(&mut unplug(dir.path(), &words), 3);
    assert_says(&told, &["static-server", "static", "link it dynamically"]);
    assert!(start.elapsed() < Duration::from_secs(25), "nothing was waited for");
    assert_tidy(dir.path());
}

#[test]
fn a_server_that_gains_privileges_is_refused_before_it_is_run() {
    let dir = binary::directory();
    let Some(server) = compiled(dir.path(), "privileged-server", &[], HELLO) else { return };
    if std::os::unix::fs::chown(&server, Some(65_534), None).is_err() {
        eprintln!("not measured: only root can make a program of another user");
        return;
    }
    fs::set_permissions(&server, fs::Permissions::from_mode(0o4755)).expect("ours");
    let words = format!("check redis --server {} --policy always --model prefix", server.display());
    let told = said(&mut unplug(dir.path(), &words), 3);
    assert_says(&told, &["privileged-server", "set-user-id", "run it as that user"]);
}

#[test]
fn where_memory_files_cannot_be_executed_the_shim_travels_in_another() {
    let dir = binary::directory();
    for (value, code) in [("1", 0), ("2", 0)] {
        let line = format!(
            "echo {value} > /proc/sys/vm/memfd_noexec || exit 77; UNPLUG_TMP={} exec {} record --ops 5 -o run.trace",
            dir.path().display(),
            env!("CARGO_BIN_EXE_unplug")
        );
        let mut command = Command::new("unshare");
        let output =
            command.args(["-pf", "--mount-proc", "sh", "-c", &line]).current_dir(dir.path()).output();
        let Ok(output) = output else { return eprintln!("not measured: no unshare") };
        let told = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(77) || told.contains("unshare failed") {
            return eprintln!("not measured: vm.memfd_noexec cannot be set here: {told}");
        }
        assert_eq!(output.status.code(), Some(code), "vm.memfd_noexec={value}: {told}");
    }
}

#[test]
fn a_launcher_that_clears_the_environment_is_followed() {
    let dir = binary::directory();
    if real::redis_version().is_none() {
        return;
    }
    let server = dir.path().join("server");
    // The recorder came in by a variable of the environment that is dropped here.
    script(&server, "#!/bin/sh\nexec env -i PATH=/usr/bin:/bin redis-server \"$@\"\n");
    let words = format!("record redis --server {} --policy always --ops 5 -o run.trace", server.display());
    said(&mut unplug(dir.path(), &words), 0);
    let shown = said(&mut unplug(dir.path(), "show run.trace"), 0);
    assert_says(&shown, &["incr.aof", "fdatasync"]);
    assert_tidy(dir.path());
}

#[test]
fn a_server_that_crashes_in_recovery_convicts_itself() {
    let dir = binary::directory();
    if real::redis_version().is_none() {
        return;
    }
    let server = dir.path().join("server");
    // Under the recorder it serves; on an image it dies of a signal.
    script(
        &server,
        "#!/bin/sh\ncase \"$1\" in --version) exec redis-server --version;; esac\n\
         if [ -n \"$LD_PRELOAD\" ]; then exec redis-server \"$@\"; fi\n\
         echo 'reading the log' >&2\nkill -SEGV $$\n",
    );
    let check =
        format!("check redis --server {} --policy always --model prefix --budget 2", server.display());
    let told = said(&mut unplug(dir.path(), &format!("{check} --ops 4")), 1);
    assert_says(&told, &["recovery-crash", "SIGSEGV"]);
    assert_tidy(dir.path());
}

#[test]
fn torn_foreign_and_cut_repros_get_one_clear_sentence() {
    let dir = binary::directory();
    recorded(dir.path());
    let explore =
        "explore run.trace --model prefix --budget 200 --drop-sync fdatasync:*incr* --repro-dir found";
    said(&mut unplug(dir.path(), explore), 1);
    let repro =
        fs::read_dir(dir.path().join("found")).expect("there").next().expect("one").expect("readable");
    let bytes = fs::read(repro.path()).expect("readable");
    let mut torn = bytes.clone();
    torn[bytes.len() / 2] ^= 1;
    let trace = fs::read(dir.path().join("run.trace")).expect("readable");
    let cases: [(&str, &[u8], &str); 5] = [
        ("torn.repro", &torn, "checksum"),
        ("cut.repro", &bytes[..bytes.len() - 7], "truncated"),
        ("empty.repro", b"", "truncated"),
        ("foreign.repro", b"SQLite format 3\0", "not an Unplug file"),
        ("run.repro", &trace, "an Unplug trace, not a repro"),
    ];
    for (name, bytes, word) in cases {
        fs::write(dir.path().join(name), bytes).expect("writable");
        for words in [format!("replay {name}"), format!("image {name} disk")] {
            let told = said(&mut unplug(dir.path(), &words), 2);
            assert_says(&told, &[name, word]);
            // What is wrong, and what to do.
            assert_eq!(told.trim_end().lines().count(), 2, "{told}");
        }
    }
    assert_says(&said(&mut unplug(dir.path(), "replay no-such.repro"), 2), &["no-such.repro"]);
}

#[test]
fn unknown_options_are_named_and_nothing_is_run() {
    let dir = binary::directory();
    for words in
        ["check --no-such-option", "check mysql", "frobnicate", "record", "explore", "replay a b", "show"]
    {
        let output = unplug(dir.path(), words).output().expect("started");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words}: {told}");
        assert!(output.stdout.is_empty() && told.contains("--help"), "{words}: {told}");
    }
    assert_says(
        &said(&mut unplug(dir.path(), "record --ops 3 -o /proc/self/run.trace"), 2),
        &["/proc/self/run.trace", "-o FILE"],
    );
}
