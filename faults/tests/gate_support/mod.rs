//! A small recorder for the gate's own tests: sets the shared memory up, starts a program under the shim, reads
//! the raw records back.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

#[allow(unused)]
#[path = "../../shim/abi.rs"]
mod abi;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use unplug_faults::gate::{Area, Clock, ClockPolicy, Gate, GateOptions, Step};
use unplug_faults::record::Recorder;

/// The shim, as the build script left it.
const SHIM: &str = concat!(env!("OUT_DIR"), "/libunplug_shim.so");
/// Room for records.
const SIZE: u64 = 16 << 20;
/// Set in every program that a test starts: this test binary then plays the target.
pub const ROLE: &str = "UNPLUG_GATE_ROLE";
/// The virtual wall clock of every test: 2023-11-14.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// One run's shared memory and directory.
pub struct Run {
    memory: File,
    pub area: Arc<Area>,
    pub clock: Clock,
    pub dir: tempfile::TempDir,
}

impl Run {
    /// `gated`: calls wait for grants; time is virtual in any case.
    pub fn new(gated: bool) -> Run {
        let name = c"unplug-gate-test";
        let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
        let memory = File::from(nix::sys::memfd::memfd_create(name, flags).unwrap());
        memory.set_len(SIZE).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let root = root.as_os_str().as_encoded_bytes();
        let flags = abi::FLAG_VIRTUAL | if gated { abi::FLAG_GATED } else { 0 };
        let dev = std::fs::metadata(dir.path()).unwrap().dev();
        for (at, word) in [(0, abi::MAGIC), (8, SIZE), (16, dev), (24, 0)] {
            memory.write_all_at(&word.to_ne_bytes(), at).unwrap();
        }
        memory.write_all_at(&flags.to_ne_bytes(), 32).unwrap();
        memory.write_all_at(&(root.len() as u32).to_ne_bytes(), 36).unwrap();
        memory.write_all_at(root, abi::CONFIG_AT as u64).unwrap();
        let area = Arc::new(Area::map(memory.as_fd(), abi::GATE_AT as u64).unwrap());
        let clock = Clock::start(Arc::clone(&area), EPOCH_MS, 0);
        Run { memory, area, clock, dir }
    }

    pub fn gate(&self, options: GateOptions) -> Gate {
        Gate::new(Arc::clone(&self.area), self.clock.clone(), options).unwrap()
    }

    /// Starts `program` in the run's directory.
    pub fn spawn(&self, program: &Path, args: &[&str]) -> Started {
        let ring = format!("/proc/{}/fd/{}", std::process::id(), self.memory.as_raw_fd());
        let child = Command::new(program)
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LD_PRELOAD", SHIM)
            .env("UNPLUG_RING", ring)
            .env(ROLE, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Started(child)
    }

    /// The records, one line each, in the order of their begin clocks: task, call, path, payload.
    pub fn lines(&self) -> Vec<String> {
        self.records().iter().map(|r| r.line.clone()).collect()
    }

    /// What the shim could not follow.
    pub fn blind(&self) -> Vec<String> {
        let gate = unplug_faults::gate::blind(&self.area).into_iter().map(|b| b.what);
        gate.chain(self.raw().into_iter().filter(|r| r.kind == abi::KIND_BLIND).map(|r| text(&r.name1)))
            .collect()
    }

    pub fn records(&self) -> Vec<Record> {
        let mut tasks: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        let mut names: BTreeMap<u64, String> = BTreeMap::new();
        let mut out = Vec::new();
        let mut raw = self.raw();
        raw.sort_by_key(|r| r.begin);
        for r in raw {
            let n = tasks.len();
            let task = *tasks.entry((r.pid, r.tid)).or_insert(n);
            let number = names.len();
            let name = match r.kind {
                abi::KIND_OPEN | abi::KIND_WRITE | abi::KIND_SYNC | abi::KIND_TRUNCATE => {
                    names.entry(r.ino).or_insert_with(|| format!("file{number}")).clone()
                }
                _ => text(&r.name1),
            };
            let data = if r.kind == abi::KIND_PROCESS { String::new() } else { text(&r.data) };
            let line = format!("t{task} kind {} nr {} {name} ret {} {data:?}", r.kind, r.nr, r.shown_ret());
            out.push(Record { line, kind: r.kind, at: r.at, begin: r.begin, end: r.end });
        }
        out
    }

    fn raw(&self) -> Vec<Raw> {
        let mut bytes = vec![0; SIZE as usize];
        self.memory.read_exact_at(&mut bytes, 0).unwrap();
        let u32_at = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        let head = u64_at(std::mem::offset_of!(abi::Header, head)) as usize;
        let mut at = abi::RECORDS_AT;
        let mut out = Vec::new();
        while at < abi::RECORDS_AT + head {
            let field = |offset: usize| at + offset;
            let len = u32_at(field(std::mem::offset_of!(abi::Record, len))) as usize;
            if len == 0 {
                break;
            }
            if u32_at(at) != abi::STATE_VOID {
                let half = |offset: usize| u32_at(field(offset)) as u16;
                let frames = bytes[field(std::mem::offset_of!(abi::Record, frames))] as usize;
                let name1 = u32_at(field(std::mem::offset_of!(abi::Record, name1_len))) as usize;
                let name2 = u32_at(field(std::mem::offset_of!(abi::Record, name2_len))) as usize;
                let data = u64_at(field(std::mem::offset_of!(abi::Record, data_len))) as usize;
                let names = at + std::mem::size_of::<abi::Record>() + frames * 8;
                out.push(Raw {
                    pid: u32_at(field(std::mem::offset_of!(abi::Record, pid))),
                    tid: u32_at(field(std::mem::offset_of!(abi::Record, tid))),
                    kind: half(std::mem::offset_of!(abi::Record, kind)),
                    nr: half(std::mem::offset_of!(abi::Record, nr)),
                    begin: u64_at(field(std::mem::offset_of!(abi::Record, begin))),
                    end: u64_at(field(std::mem::offset_of!(abi::Record, end))),
                    at: u64_at(field(std::mem::offset_of!(abi::Record, at))),
                    ret: u64_at(field(std::mem::offset_of!(abi::Record, ret))).cast_signed(),
                    ino: u64_at(field(std::mem::offset_of!(abi::Record, ino))),
                    name1: bytes[names..names + name1].to_vec(),
                    data: bytes[names + name1 + name2..names + name1 + name2 + data].to_vec(),
                });
            }
            at += len;
        }
        out
    }
}

struct Raw {
    pid: u32,
    tid: u32,
    kind: u16,
    nr: u16,
    begin: u64,
    end: u64,
    at: u64,
    ret: i64,
    ino: u64,
    name1: Vec<u8>,
    data: Vec<u8>,
}

impl Raw {
    /// Descriptors and byte counts; a process record has none.
    fn shown_ret(&self) -> i64 {
        self.ret
    }
}

/// One record as tests see it.
pub struct Record {
    pub line: String,
    pub kind: u16,
    pub at: u64,
    pub begin: u64,
    pub end: u64,
}

impl Record {
    pub fn is_sync(&self) -> bool {
        self.kind == abi::KIND_SYNC
    }
    pub fn is_write(&self) -> bool {
        self.kind == abi::KIND_WRITE
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A started program; killed and reaped when the test is done with it.
pub struct Started(pub Child);

impl Started {
    pub fn code(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Compiles a C program; one binary per test process and source.
pub fn cc(name: &str, source: &str, into: &Path) -> PathBuf {
    let file = into.join(format!("{name}.c"));
    std::fs::write(&file, source).unwrap();
    let program = into.join(name);
    let status = Command::new("cc")
        .args(["-O1", "-pthread", "-o"])
        .arg(&program)
        .arg(&file)
        .status()
        .expect("a C compiler");
    assert!(status.success());
    program
}

/// Runs the command under a recorder that was asked for a gated run, to its end.
pub fn run_gated(recorder: &Recorder, command: &mut Command, seed: u64) -> ExitStatus {
    recorder.arm(command);
    let mut gate = recorder.gate(GateOptions { seed, ..GateOptions::default() }).unwrap().unwrap();
    let mut child = Started(command.spawn().unwrap());
    gate.started(child.0.id());
    let ran = gate.run_until_idle(ClockPolicy::Until(1 << 60), 1_000_000).unwrap();
    assert_eq!(ran.end, Step::Exited);
    child.0.wait().unwrap()
}
