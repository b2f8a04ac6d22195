//! However a run ends, nothing of it stays: no mount, no loop device, no process, no directory.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use unplug_kernels::kernel::{PREFIX, kind, missing, sweep};
use unplug_kernels::suite::home;

/// What there is of the run with this process id.
fn traces(pid: u32) -> Vec<String> {
    let mark = format!("{PREFIX}{pid}-");
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").expect("sysfs").flatten() {
        let file = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if file.contains(&mark) {
            found.push(format!("{} on {file}", entry.path().display()));
        }
    }
    for entry in fs::read_dir("/proc").expect("procfs").flatten() {
        let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if line.contains(&mark) {
            found.push(format!("process {}", entry.path().display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    found.extend(mounts.lines().filter(|line| line.contains(&mark)).map(str::to_owned));
    found
}

fn directories(pid: u32) -> usize {
    let mark = format!("{PREFIX}{pid}-");
    let entries = fs::read_dir(std::env::temp_dir()).expect("a temporary directory").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&mark)).count()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_killed_run_leaves_nothing() {
    let mut measured = false;
    for (name, delay) in [("ext4-ordered", 0), ("ext4-ordered", 150), ("xfs", 300), ("btrfs", 100)] {
        let kind = kind(name).expect("a kind");
        let missing = missing(kind);
        if !missing.is_empty() {
            eprintln!("*not measured*: {name}: missing {}", missing.join(", "));
            continue;
        }
        measured = true;
        let script = home().join("workloads/redis-rewrite.txt");
        let mut run = Command::new(env!("CARGO_BIN_EXE_unplug-kernels"))
            .args([Path::new("run"), &script, Path::new(name), Path::new("slow")])
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        let pid = run.id();
        wait("a loop device comes", || traces(pid).iter().any(|trace| trace.contains("loop")));
        std::thread::sleep(Duration::from_millis(delay));
        run.kill().expect("killed");
        run.wait().expect("ended");
        wait("everything goes", || traces(pid).is_empty());
        assert!(directories(pid) <= 1, "an empty directory may stay until the next run");
        sweep();
        assert_eq!(directories(pid), 0);
    }
    if measured {
        println!("killed, and nothing is left");
    }
}
