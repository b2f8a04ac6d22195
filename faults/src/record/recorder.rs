//! The recorder: starts a recording, takes the history, and turns it all into a trace.

use super::client::{Peer, SocketName};
use super::disk::{self, Found};
use super::mapping::{Memory, Setup};
use super::modules::Sites;
use super::raw::{self, Raw};
use super::resolve::{Connection, Resolved, Resolver};
use super::tree::Tree;
use super::weave::{Entry, weave};
use crate::abi;
use crate::embed;
use crate::event::{Clock, Nanos};
use crate::gate::{self, Area, Clock as VirtualClock, Gate, GateError, GateOptions};
use crate::plan::Plan;
use crate::trace::{BaseNode, Blind, Meta, Trace};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is recorded, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The directory whose files count. It must exist.
    pub root: PathBuf,
    /// Globs on paths relative to the root (`*` any bytes, `?` one byte; a directory's match covers all below
    /// it) of what does not count: logs, pid files, sockets.
    pub ignore: Vec<String>,
    /// Size of the shared memory. It is sparse: what is not used costs nothing.
    pub ring_bytes: usize,
    /// Virtual duration of a sync, where time is virtual.
    pub sync_nanos: u64,
    /// The target's wall clock at the start, in milliseconds since 1970: its time is then virtual, and moved by
    /// [`Recorder::clock`].
    pub virtual_epoch_ms: Option<u64>,
    /// The target's tasks run one at a time, as a [`Gate`] says: see [`Recorder::gate`]. Its time is virtual then,
    /// from 2020-01-01 if nothing else is said.
    pub gated: bool,
    /// What is done to the target's calls.
    pub faults: Plan,
}

/// The wall clock of a gated run that does not say another.
const GATED_EPOCH_MS: u64 = 1_577_836_800_000;

impl Options {
    /// Everything below `root` is recorded, in 1 GiB of sparse memory.
    pub fn new(root: impl Into<PathBuf>) -> Options {
        Options {
            root: root.into(),
            ignore: Vec::new(),
            ring_bytes: 1 << 30,
            sync_nanos: 0,
            virtual_epoch_ms: None,
            gated: false,
            faults: Plan::default(),
        }
    }

    /// The virtual wall clock at the start, where time is virtual.
    fn epoch_ms(&self) -> Option<u64> {
        self.virtual_epoch_ms.or(self.gated.then_some(GATED_EPOCH_MS))
    }

    fn flags(&self) -> u32 {
        let gated = if self.gated { abi::FLAG_GATED } else { 0 };
        gated | self.epoch_ms().map_or(0, |_| abi::FLAG_VIRTUAL) | self.faults.flags()
    }
}

/// Why a run could not be recorded. What the recorder saw but could not follow is no error: it stands in
/// [`Trace::blind`].
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is no shim for this platform.
    #[error("recording needs Linux on x86-64: there is no shim for this platform")]
    Unsupported,
    /// The recorded directory cannot be read.
    #[error("cannot read `{path}` in the recorded directory: {error}")]
    Directory {
        /// Which file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The shared memory cannot be made.
    #[error("cannot make the shared memory of the recording: {0}")]
    Memory(#[source] io::Error),
    /// No process loaded the shim.
    #[error(
        "the target never loaded the shim: is it a static or set-user-id program, or did it not start, or clear its environment?"
    )]
    NotLoaded,
    /// The gate's part of the shared memory cannot be used.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The shim could not install itself.
    #[error("the shim could not install its handler and filter in the target")]
    NotInstalled,
}

#[derive(Default)]
struct History {
    entries: Vec<(Clock, Nanos, Entry)>,
    generations: BTreeMap<u32, u32>,
    peers: BTreeMap<Peer, Connection>,
}

/// A recording under way. All methods may be called from any thread.
pub struct Recorder {
    memory: Arc<Memory>,
    _populator: Populator,
    shim: OwnedFd,
    options: Options,
    number: u64,
    start_mono: u64,
    epoch_ms: u64,
    /// The gate's and the virtual clock's part of the shared memory, where time is virtual.
    time: Option<(Arc<Area>, VirtualClock)>,
    tree: Tree,
    base: Vec<BaseNode>,
    history: Mutex<History>,
}

impl Recorder {
    /// Reads the directory as it is now, and makes the shared memory.
    ///
    /// # Errors
    /// No shim for this platform, a directory that cannot be read, no memory.
    pub fn start(options: Options) -> Result<Recorder, RecordError> {
        static RECORDERS: AtomicU64 = AtomicU64::new(0);
        let shim =
            embed::Library::Shim.file().map_err(RecordError::Memory)?.ok_or(RecordError::Unsupported)?;
        let directory =
            |path: &Path, error| RecordError::Directory { path: path.display().to_string(), error };
        let root = options.root.canonicalize().map_err(|e| directory(&options.root, e))?;
        let meta = std::fs::metadata(&root).map_err(|e| directory(&root, e))?;
        let options = Options { root, ..options };
        let found = scan(&options)?;
        let (tree, base) = Tree::new(meta.ino(), &found);
        let start_mono = monotonic();
        let setup = Setup {
            root: options.root.as_os_str().as_bytes(),
            ignore: &options.ignore,
            root_dev: meta.dev(),
            start_mono,
            flags: options.flags(),
        };
        let memory = Memory::new(options.ring_bytes, &setup).map_err(RecordError::Memory)?;
        memory.remember(meta.ino());
        memory.set_plan(&options.faults);
        for node in found.values() {
            memory.remember(node.ino);
        }
        let epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let time = match options.epoch_ms() {
            Some(epoch_ms) => {
                let area = Arc::new(Area::map(memory.fd().as_fd(), abi::GATE_AT as u64)?);
                let clock = VirtualClock::start(Arc::clone(&area), epoch_ms, options.sync_nanos);
                Some((area, clock))
            }
            None => None,
        };
        let real_ms = || epoch.map_or(0, |d| d.as_millis() as u64);
        let epoch_ms = options.epoch_ms().unwrap_or_else(real_ms);
        let memory = Arc::new(memory);
        Ok(Recorder {
            _populator: Populator::start(memory.clone()).map_err(RecordError::Memory)?,
            memory,
            shim,
            options,
            number: RECORDERS.fetch_add(1, Ordering::Relaxed),
            start_mono,
            epoch_ms,
            time,
            tree,
            base,
            history: Mutex::default(),
        })
    }

    /// Makes a command run under the shim. Several may be armed, one life of the target after the other.
    pub fn arm(&self, command: &mut Command) {
        embed::preload(command, &self.shim, self.memory.fd());
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, entry: Entry) -> Clock {
        let mut history = self.history();
        let clock = self.tick();
        history.entries.push((clock, self.now(), entry));
        clock
    }

    /// Draws a tick of the run's clock.
    pub fn tick(&self) -> Clock {
        self.memory.tick()
    }

    /// The target's clock, where it is virtual.
    pub fn clock(&self) -> Option<&VirtualClock> {
        self.time.as_ref().map(|(_, clock)| clock)
    }

    /// The supervisor of a gated run; `None` where [`Options::gated`] was not set. Call it once, before the target
    /// is started, and tell it the number of the process that was ([`Gate::started`]).
    ///
    /// # Errors
    /// A rule that names an unknown call.
    pub fn gate(&self, options: GateOptions) -> Result<Option<Gate>, GateError> {
        match &self.time {
            Some((area, clock)) if self.options.gated => {
                Gate::new(Arc::clone(area), clock.clone(), options).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn now(&self) -> Nanos {
        if let Some(clock) = self.clock() {
            return clock.now();
        }
        monotonic().saturating_sub(self.start_mono)
    }

    /// A client is about to send an operation.
    pub fn invoke(&self, client: u32, id: u32, op: &[u8]) {
        self.enter(Entry::Invoke { client, id, op: op.to_vec() });
    }

    /// A client has received the whole reply to an operation. `stream_end` is the number of bytes that it had
    /// received on this connection then, the reply's own included: it finds the send that acknowledged.
    pub fn reply(&self, client: u32, id: u32, reply: &[u8], stream_end: u64) {
        let generation = self.history().generations.get(&client).copied().unwrap_or(0);
        let connection = (client, generation);
        self.enter(Entry::Reply { connection, id, reply: reply.to_vec(), stream_end });
    }

    /// A new phase of the workload begins.
    pub fn phase(&self, name: &str) {
        self.enter(Entry::Phase(name.to_string()));
    }

    /// Every process of the target has been killed.
    pub fn kill_mark(&self) {
        self.enter(Entry::Kill);
    }

    /// The target's clock was moved just now. Without these marks it would show only at the next call, which may
    /// come after the end of one that was under way.
    pub fn advanced(&self) {
        self.enter(Entry::Advance);
    }

    fn connection(&self, client: u32, peer: impl FnOnce(u32) -> Peer) -> u32 {
        let mut history = self.history();
        let generation = history.generations.get(&client).map_or(0, |g| g + 1);
        history.generations.insert(client, generation);
        history.peers.insert(peer(generation), (client, generation));
        generation
    }

    /// The name for a unix client's *next* connection; its `stream_end`s count from 0 again.
    pub fn client_name(&self, client: u32) -> SocketName {
        let name = |generation| SocketName::new(self.number, client, generation);
        name(self.connection(client, |g| Peer::Abstract(name(g).abstract_name().to_vec())))
    }

    /// Registers the local port of a TCP client's *next* connection.
    pub fn client_port(&self, client: u32, port: u16) {
        self.connection(client, |_| Peer::Port(port));
    }

    /// Whether the shared memory is used up: what follows is not recorded, and the trace will be blind.
    pub fn is_full(&self) -> bool {
        self.memory.header().full.load(Ordering::Acquire) != 0
    }

    /// Turns the recording into a trace. Every process of the target must have ended.
    ///
    /// # Errors
    /// The target never loaded the shim, or the directory cannot be read.
    pub fn finish(self, meta: Meta) -> Result<Trace, RecordError> {
        let header = self.memory.header();
        if header.broken.load(Ordering::Acquire) != 0 {
            return Err(RecordError::NotInstalled);
        }
        if header.attached.load(Ordering::Acquire) == 0 {
            return Err(RecordError::NotLoaded);
        }
        let real = scan(&self.options)?;
        let history = self.history.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut records = raw::parse(self.memory.records());
        raw::settle_times(&mut records, history.entries.iter().map(|(clock, now, _)| (*clock, *now)));
        let mut sites = Sites::default();
        let (mut resolved, differences) = explain(&records, &real, |records| {
            Resolver::new(self.tree.clone(), &mut sites, &history.peers).run(records)
        });
        if header.full.load(Ordering::Acquire) != 0 {
            resolved.blind.insert(Blind {
                what: "ring full".to_string(),
                detail: format!(
                    "{} bytes were not enough: raise ring_bytes (UNPLUG_RING_BYTES)",
                    self.options.ring_bytes
                ),
            });
        }
        if let Some((one, other)) = self.memory.conflict() {
            resolved.blind.insert(self.options.faults.contradiction(one, other));
        }
        for (path, why) in differences {
            resolved
                .blind
                .insert(Blind { what: format!("the trace does not explain `{path}`"), detail: why });
        }
        if let Some((area, _)) = &self.time {
            resolved.blind.extend(gate::blind(area));
        }
        let (events, blind) = weave(resolved, history.entries, &history.generations);
        let (gated, virtual_time) = (self.options.gated, self.time.is_some());
        let meta = Meta { epoch_ms: self.epoch_ms, gated, virtual_time, ..meta };
        Ok(Trace { meta, base: self.base, sites: sites.list, events, blind })
    }
}

/// A thread that provides the shared memory's pages ahead of their use; it ends with the recorder.
struct Populator {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Populator {
    fn start(memory: Arc<Memory>) -> io::Result<Populator> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("unplug-ring".to_string()).spawn(move || {
            let mut from = abi::RECORDS_AT;
            while !stopped.load(Ordering::Acquire) {
                from = memory.populate_ahead(from);
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
        })?;
        Ok(Populator { stop, thread: Some(thread) })
    }
}

impl Drop for Populator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread cannot panic; if it did, the pages are the target's to provide.
            let _ = thread.join();
        }
    }
}

/// The most calls inside which the target may have been killed, for all choices to be tried.
const KILLED: usize = 6;

/// Resolves the records. Whether a call inside which the target was killed took effect is not recorded: the
/// first choice that explains the directory's final content is taken.
fn explain<'r>(
    records: &[Raw<'r>],
    real: &BTreeMap<Vec<u8>, Found>,
    mut resolve: impl FnMut(&[Raw<'r>]) -> Resolved,
) -> (Resolved, Vec<(String, String)>) {
    let open: Vec<usize> = records
        .iter()
        .enumerate()
        .filter(|(_, r)| {
            let changes = !matches!(
                r.kind,
                abi::KIND_SYNC | abi::KIND_SYNC_ALL | abi::KIND_SEND | abi::KIND_PROCESS | abi::KIND_MARK
            );
            r.is_killed() && changes
        })
        .map(|(i, _)| i)
        .collect();
    let all = resolve(records);
    let differences = all.tree.differences(real);
    if open.is_empty() || open.len() > KILLED || (differences.is_empty() && all.blind.is_empty()) {
        return (all, differences);
    }
    for skipped in 1..1usize << open.len() {
        let kept: Vec<Raw> = records
            .iter()
            .enumerate()
            .filter(|(i, _)| open.iter().position(|o| o == i).is_none_or(|bit| skipped >> bit & 1 == 0))
            .map(|(_, r)| r.clone())
            .collect();
        let attempt = resolve(&kept);
        if attempt.tree.differences(real).is_empty() && attempt.blind.is_empty() {
            return (attempt, Vec::new());
        }
    }
    (all, differences)
}

fn scan(options: &Options) -> Result<BTreeMap<Vec<u8>, Found>, RecordError> {
    disk::scan(&options.root, &options.ignore).map_err(|(path, error)| RecordError::Directory {
        path: options.root.join(std::ffi::OsStr::from_bytes(&path)).display().to_string(),
        error,
    })
}

fn monotonic() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}
