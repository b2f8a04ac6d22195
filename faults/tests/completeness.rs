//! Completeness: `strace -f -i` of the *same* recorded run shows no file-changing call outside the shim's
//! gadget, and call by call the trace equals what strace saw.
//!
//! A call that the filter traps appears twice in strace's list: once where the program made it, followed by
//! SIGSYS (it was not executed), and once from the gadget.
#![allow(clippy::unwrap_used)]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;
#[path = "common/redis.rs"]
mod redis;
mod roles;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use unplug_faults::event::{FileId, Op};
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::{Meta, Trace};

/// Plays a role when this binary was started for it.
#[test]
fn play() {
    if let Ok(role) = std::env::var(common::ROLE) {
        roles::play(&role);
        std::process::exit(0);
    }
    assert!(roles::ROLES.iter().any(|(name, _)| *name == "rustix"));
}

const GADGET: &str = "[0000200000000002]";
const TRACED: &str = "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,truncate,ftruncate,fallocate,\
fsync,fdatasync,sync_file_range,sync,syncfs,msync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,\
unlinkat,mkdir,mkdirat,rmdir,copy_file_range,sendfile,splice,mmap";

/// Puts strace in front of an armed command. The shim's variables are for the program, not for strace.
fn under_strace(command: &Command, out: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-ff", "-i", "-y", "-s", "0", "-e"]).arg(format!("trace={TRACED}"));
    strace.arg("-o").arg(out.join("strace"));
    for (name, value) in command.get_envs() {
        let mut pair = name.to_os_string();
        pair.push("=");
        pair.push(value.unwrap_or_default());
        strace.arg("-E").arg(pair);
    }
    strace.arg("--").arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        strace.current_dir(dir);
    }
    strace.stdout(std::process::Stdio::null());
    strace
}

fn strace_is_here() -> bool {
    let here = Command::new("strace").arg("-V").output().is_ok();
    if !here {
        eprintln!("not measured: strace is not installed");
        assert!(std::env::var("UNPLUG_REQUIRE_STRACE").is_err(), "strace is required, and not installed");
    }
    here
}

/// What strace saw of one thread: successful file-changing calls on recorded files, normalised.
fn seen(text: &str, root: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut calls = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Some((ip, call)) = line.split_once(' ').filter(|(ip, _)| ip.starts_with('[')) else { continue };
        let Some(normal) = normalise(call, root) else { continue };
        if ip == GADGET {
            calls.push(normal);
            continue;
        }
        let trapped = lines.get(i + 1).is_some_and(|next| next.contains("--- SIGSYS"));
        assert!(trapped, "a file-changing call from outside the gadget: {line}");
    }
    calls
}

fn normalise(call: &str, root: &str) -> Option<String> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let result: i64 = result.split(|c: char| c != '-' && !c.is_ascii_digit()).next()?.parse().ok()?;
    if result < 0 {
        return None;
    }
    // The descriptor's path, as -y shows it: the first for most calls.
    let path_of = |n: usize| {
        let path = arguments.split('<').nth(n + 1)?.split('>').next()?;
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        (path == root || path.starts_with(&format!("{root}/"))).then(|| base(path))
    };
    let quoted = |n: usize| arguments.split('"').nth(2 * n + 1).map(base);
    Some(match name {
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" => {
            format!("write {} {result}", path_of(0)?)
        }
        "fsync" | "fdatasync" => format!("{name} {}", path_of(0)?),
        "ftruncate" | "fallocate" => format!("{name} {}", path_of(0)?),
        "open" | "openat" | "openat2" | "creat" => {
            let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|f| call.contains(f));
            let opened = call.rsplit_once('<')?.1.strip_suffix('>')?;
            let opened = opened.strip_suffix(" (deleted)").unwrap_or(opened);
            if !writes || !opened.starts_with(&format!("{root}/")) {
                return None;
            }
            format!("open {}", base(opened))
        }
        "rename" | "renameat" | "renameat2" => format!("rename {} {}", quoted(0)?, quoted(1)?),
        "link" | "linkat" => format!("link {}", quoted(1)?),
        "symlink" | "symlinkat" => format!("symlink {}", quoted(1)?),
        "unlink" | "unlinkat" | "rmdir" => {
            let absolute = arguments.split('"').nth(1)?;
            if absolute.starts_with('/') && !absolute.starts_with(root) {
                return None;
            }
            format!("unlink {}", quoted(0)?)
        }
        "mkdir" | "mkdirat" => format!("mkdir {}", quoted(0)?),
        "mmap" => {
            let shared = arguments.contains("MAP_SHARED") && arguments.contains("PROT_WRITE");
            if !shared || !arguments.contains('<') {
                return None;
            }
            format!("mmap {}", path_of(0)?)
        }
        "copy_file_range" | "splice" => format!("write {} {result}", path_of(1)?),
        "sendfile" => format!("write {} {result}", path_of(0)?),
        other => format!("{other} {}", path_of(0)?),
    })
}

fn base(path: &str) -> String {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_string()
}

/// The trace's calls by task, in the same form; failed calls left out.
fn recorded(trace: &Trace, root: &str) -> BTreeMap<(u16, u16), Vec<String>> {
    let mut names = BTreeMap::from([(FileId::ROOT, base(root))]);
    for node in &trace.base {
        names.insert(node.file, String::from_utf8_lossy(&node.name).into_owned());
    }
    let mut tasks: BTreeMap<(u16, u16), Vec<String>> = BTreeMap::new();
    let mut last_open = None;
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    for event in trace.events.iter().filter(|e| e.errno == 0) {
        let line = match &event.op {
            Op::Create { name, file, kind, .. } => {
                names.insert(*file, text(name));
                match kind {
                    unplug_faults::event::NodeKind::File => format!("open {}", text(name)),
                    unplug_faults::event::NodeKind::Dir => format!("mkdir {}", text(name)),
                    unplug_faults::event::NodeKind::Symlink(_) => format!("symlink {}", text(name)),
                }
            }
            Op::Open { file, .. } => {
                last_open = Some(event.begin);
                format!("open {}", names[file])
            }
            Op::Truncate { .. } if last_open == Some(event.begin) => continue,
            Op::Truncate { file, .. } => format!("ftruncate {}", names[file]),
            Op::Write { file, data, .. } => format!("write {} {}", names[file], data.len()),
            Op::Allocate { file, .. } => format!("fallocate {}", names[file]),
            Op::Sync { file, kind } => match kind {
                unplug_faults::event::SyncKind::Fsync => format!("fsync {}", names[file]),
                unplug_faults::event::SyncKind::Fdatasync => format!("fdatasync {}", names[file]),
                unplug_faults::event::SyncKind::Range { .. } => format!("sync_file_range {}", names[file]),
                unplug_faults::event::SyncKind::Msync => "msync".to_string(),
            },
            Op::Rename { from_name, to_name, file, .. } => {
                names.insert(*file, text(to_name));
                format!("rename {} {}", text(from_name), text(to_name))
            }
            Op::Exchange { a_name, b_name, .. } => format!("rename {} {}", text(a_name), text(b_name)),
            Op::Link { name, .. } => format!("link {}", text(name)),
            Op::Unlink { name, .. } => format!("unlink {}", text(name)),
            _ => continue,
        };
        tasks.entry((event.task.process, event.task.thread)).or_default().push(line);
    }
    tasks
}

fn compare(trace: &Trace, out: &Path, root: &Path) -> usize {
    let root = root.canonicalize().unwrap().display().to_string();
    let mut by_strace = Vec::new();
    for entry in std::fs::read_dir(out).unwrap() {
        let calls = seen(&std::fs::read_to_string(entry.unwrap().path()).unwrap(), &root);
        if !calls.is_empty() {
            by_strace.push(calls);
        }
    }
    let mut by_trace: Vec<Vec<String>> = recorded(trace, &root).into_values().collect();
    by_strace.sort();
    by_trace.sort();
    let threads = (by_trace.len(), by_strace.len());
    assert_eq!(threads.0, threads.1, "threads: {by_trace:#?} by the trace, {by_strace:#?} by strace");
    for (mine, theirs) in by_trace.iter().zip(&by_strace) {
        assert_eq!(mine, theirs);
    }
    by_strace.iter().map(Vec::len).sum()
}

#[test]
fn redis_has_no_call_outside_the_gadget() {
    let Some(server) = redis::server().filter(|_| strace_is_here()) else { return };
    for policy in ["always", "everysec"] {
        let (dir, beside, out) = (common::directory(), common::directory(), common::directory());
        let socket = beside.path().join("socket");
        let mut command = redis::command(&server, dir.path(), &socket, policy);
        let recorder = Recorder::start(Options::new(dir.path())).unwrap();
        recorder.arm(&mut command);
        let mut child = under_strace(&command, out.path()).spawn().unwrap();
        redis::tour(&recorder, &socket, &mut child);
        let trace = recorder.finish(Meta::default()).unwrap();
        assert_eq!(trace.blind, [], "{policy}");
        let calls = compare(&trace, out.path(), dir.path());
        eprintln!("{policy}: {calls} calls, each recorded");
        let least = if policy == "always" { 80 } else { 50 };
        assert!(calls > least, "{policy}: only {calls} calls seen");
    }
}

#[test]
fn raw_system_calls_are_all_recorded() {
    if !strace_is_here() {
        return;
    }
    for role in ["rustix", "writes", "names", "threads", "fork"] {
        let (dir, out) = (common::directory(), common::directory());
        let recorder = Recorder::start(Options::new(dir.path())).unwrap();
        let mut command = common::role(role, dir.path());
        recorder.arm(&mut command);
        let status = common::wait(&mut under_strace(&command, out.path()));
        assert!(status.success(), "{role}");
        let trace = recorder.finish(Meta::default()).unwrap();
        assert_eq!(trace.blind, [], "{role}");
        let calls = compare(&trace, out.path(), dir.path());
        assert!(calls > 5, "{role}: only {calls} calls seen");
    }
}

/// SQLite from its own C source, the library's calls and those of its rollback journal.
#[test]
fn sqlite_has_no_call_outside_the_gadget() {
    if !strace_is_here() {
        return;
    }
    let (dir, out) = (common::directory(), common::directory());
    let recorder = Recorder::start(Options::new(dir.path())).unwrap();
    let mut command = common::role("sqlite", dir.path());
    recorder.arm(&mut command);
    let status = common::wait(&mut under_strace(&command, out.path()));
    assert!(status.success());
    let trace = recorder.finish(Meta::default()).unwrap();
    assert_eq!(trace.blind, []);
    let calls = compare(&trace, out.path(), dir.path());
    eprintln!("sqlite: {calls} calls, each recorded");
    assert!(calls > 60, "only {calls} calls seen");
}

/// The test has teeth: a call that strace shows from elsewhere, without a trap, fails it.
#[test]
#[should_panic(expected = "outside the gadget")]
fn a_call_outside_the_gadget_is_found() {
    seen("[00007f0000000001] write(3</r/f>, \"\"..., 4) = 4\n", "/r");
}
