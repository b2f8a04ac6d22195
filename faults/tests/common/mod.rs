//! Helpers of the recorder's tests: the test binary runs itself again in a role, under the shim.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use unplug_faults::event::{Event, FileId, Op};
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::{Meta, Trace};

/// The environment variable that gives a child its role.
pub const ROLE: &str = "UNPLUG_TEST_ROLE";

/// A fresh directory in memory, so that the tests do not wait for a disk.
pub fn directory() -> tempfile::TempDir {
    let base = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    tempfile::Builder::new().prefix("unplug-record-").tempdir_in(base).unwrap()
}

/// This test binary as a child that plays `role` in `dir`.
pub fn role(role: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "play", "--nocapture", "--quiet"]).env(ROLE, role).current_dir(dir);
    command.stdout(std::process::Stdio::null());
    command
}

/// Waits, but not for ever.
pub fn wait(command: &mut Command) -> ExitStatus {
    let mut child = command.spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Records one role in a fresh directory.
pub fn record(name: &str) -> Trace {
    record_in(name, &directory(), &[])
}

/// Records one role in a directory.
pub fn record_in(name: &str, dir: &tempfile::TempDir, ignore: &[&str]) -> Trace {
    let mut options = Options::new(dir.path());
    options.ignore = ignore.iter().map(|s| s.to_string()).collect();
    let recorder = Recorder::start(options).unwrap();
    let mut command = role(name, dir.path());
    recorder.arm(&mut command);
    let status = wait(&mut command);
    assert!(status.success(), "role {name}: {status}");
    recorder.finish(Meta::default()).unwrap()
}

/// The trace's changes and syncs as short lines; files by the name that they were first given.
pub fn lines(trace: &Trace) -> Vec<String> {
    let mut names = std::collections::BTreeMap::from([(FileId::ROOT, ".".to_string())]);
    for node in &trace.base {
        names.insert(node.file, String::from_utf8_lossy(&node.name).into_owned());
    }
    trace.events.iter().filter_map(|e| line(e, &mut names)).collect()
}

fn line(event: &Event, names: &mut std::collections::BTreeMap<FileId, String>) -> Option<String> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    if let Op::Create { file, name, .. } = &event.op {
        names.insert(*file, text(name));
    }
    if let Op::Tmpfile { file } = &event.op {
        names.insert(*file, "tmpfile".to_string());
    }
    let n = |f: &FileId| names[f].clone();
    let what = match &event.op {
        Op::Create { dir, name, kind, .. } => format!("create {}/{} {kind:?}", n(dir), text(name)),
        Op::Tmpfile { .. } => "tmpfile".to_string(),
        Op::Open { file, .. } => format!("open {}", n(file)),
        Op::Link { file, dir, name } => format!("link {} {}/{}", n(file), n(dir), text(name)),
        Op::Unlink { dir, name, file } => format!("unlink {}/{} {}", n(dir), text(name), n(file)),
        Op::Rename { from_dir, from_name, to_dir, to_name, replaced, .. } => format!(
            "rename {}/{} {}/{} {}",
            n(from_dir),
            text(from_name),
            n(to_dir),
            text(to_name),
            replaced.map_or("-".to_string(), |f| n(&f))
        ),
        Op::Exchange { a_dir, a_name, b_dir, b_name, .. } => {
            format!("exchange {}/{} {}/{}", n(a_dir), text(a_name), n(b_dir), text(b_name))
        }
        Op::Write { file, offset, data, sync } => {
            format!("write {} {offset} {:?} {sync:?}", n(file), text(data))
        }
        Op::Truncate { file, size } => format!("truncate {} {size}", n(file)),
        Op::Allocate { file, mode, offset, len } => format!("allocate {} {mode:?} {offset} {len}", n(file)),
        Op::Sync { file, kind } => format!("sync {} {kind:?}", n(file)),
        Op::ToldAgain { file, kind } => format!("told {} {kind:?}", n(file)),
        Op::SyncAll => "sync all".to_string(),
        _ => return None,
    };
    Some(if event.errno == 0 { what } else { format!("{what} errno {}", event.errno) })
}
