//! From records to events: descriptors and inode numbers become files of our own, step by step along a
//! replayed tree. What does not fit is told as blind, never guessed.

use super::client::Peer;
use super::modules::Sites;
use super::raw::Raw;
use super::tasks::Tasks;
use super::tree::{Conflict, Tree};
use crate::abi;
use crate::event::{AllocateMode, Event, NodeKind, Op, ProcessEvent, SyncKind, WriteSync};
use crate::trace::Blind;
use std::collections::{BTreeMap, BTreeSet};

/// A connection: the client's number and how many times it had connected before.
pub(crate) type Connection = (u32, u32);

/// One send that reached a client, or may have.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// How many bytes of the connection were sent when it returned; `None` where the target was killed inside it:
    /// the bytes may have left, but the shim could not write down how many.
    pub(crate) stream_end: Option<u64>,
    pub(crate) begin: u64,
    pub(crate) at: u64,
    pub(crate) event: Event,
}

/// What the records came to.
pub(crate) struct Resolved {
    pub(crate) events: Vec<Event>,
    pub(crate) sends: BTreeMap<Connection, Vec<Sent>>,
    pub(crate) blind: BTreeSet<Blind>,
    pub(crate) tree: Tree,
    pub(crate) tasks: Tasks,
    /// Marks of the target: kind, client, id, and their event's frame.
    pub(crate) marks: Vec<Event>,
}

pub(crate) struct Resolver<'s> {
    out: Resolved,
    sites: &'s mut Sites,
    peers: &'s BTreeMap<Peer, Connection>,
    sockets: BTreeMap<u64, Connection>,
    /// Calls that do not fit yet: they may have taken effect after a call that began later.
    waiting: Vec<(Raw<'s>, Conflict)>,
}

impl<'s> Resolver<'s> {
    pub(crate) fn new(tree: Tree, sites: &'s mut Sites, peers: &'s BTreeMap<Peer, Connection>) -> Self {
        let out = Resolved {
            events: Vec::new(),
            sends: BTreeMap::new(),
            blind: BTreeSet::new(),
            tree,
            tasks: Tasks::default(),
            marks: Vec::new(),
        };
        Resolver { out, sites, peers, sockets: BTreeMap::new(), waiting: Vec::new() }
    }

    /// Takes the records in the order of their begins.
    pub(crate) fn run(mut self, records: &[Raw<'s>]) -> Resolved {
        for raw in records {
            self.give_up_before(raw.begin);
            self.attempt(raw.clone(), raw.begin);
        }
        self.give_up_before(u64::MAX);
        self.out
    }

    /// Waiting calls that had returned before `clock` can no more be explained.
    fn give_up_before(&mut self, clock: u64) {
        let (late, still) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(raw, _)| raw.end < clock || clock == u64::MAX);
        self.waiting = still;
        let late: Vec<(Raw, Conflict)> = late;
        for (raw, Conflict(why)) in late {
            self.blind("a call that the trace cannot explain", format!("{}: {why}", describe(&raw)));
        }
    }

    fn blind(&mut self, what: &str, detail: String) {
        self.out.blind.insert(Blind { what: what.to_string(), detail });
    }

    /// Applies a call, or lets it wait; a success may make waiting calls fit, which then took effect after
    /// this one's begin.
    fn attempt(&mut self, raw: Raw<'s>, begin: u64) {
        match self.step(&raw, begin) {
            Err(conflict) => self.waiting.push((raw, conflict)),
            Ok(()) => {
                let waiting = std::mem::take(&mut self.waiting);
                for (raw, _) in waiting {
                    let begin = begin.max(raw.begin);
                    if let Err(conflict) = self.step(&raw, begin) {
                        self.waiting.push((raw, conflict));
                    }
                }
            }
        }
    }

    fn event(&mut self, raw: &Raw, begin: u64, op: Op) -> Event {
        let task = self.out.tasks.task(raw.pid, raw.tid);
        let site = self.sites.site(raw.pid, &raw.frames);
        let errno = if raw.ret < 0 && !raw.is_killed() { (-raw.ret) as i32 } else { 0 };
        Event { begin, end: raw.end, at: raw.at, task, site, errno, op }
    }

    fn push(&mut self, raw: &Raw, begin: u64, op: Op) {
        let event = self.event(raw, begin, op);
        self.out.events.push(event);
    }

    fn step(&mut self, raw: &Raw, begin: u64) -> Result<(), Conflict> {
        let failed = raw.ret < 0 && !raw.is_killed();
        match raw.kind {
            abi::KIND_PROCESS => self.process(raw, begin),
            abi::KIND_SOCKET => {
                if let Some(&connection) = self.peers.get(&Peer::parse(raw.name2)) {
                    self.sockets.insert(raw.ino, connection);
                }
            }
            abi::KIND_SEND => self.send(raw, begin),
            abi::KIND_BLIND => {
                let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                self.blind(&text(raw.name1), text(raw.name2));
            }
            abi::KIND_MARK => self.mark(raw, begin),
            abi::KIND_FAULT => {
                if let Some(op) = crate::plan::told(raw.flags, [raw.a, raw.b, raw.c], raw.name1) {
                    self.push(raw, begin, op);
                }
            }
            abi::KIND_SYNC_ALL => self.push(raw, begin, Op::SyncAll),
            abi::KIND_SYNC => self.sync(raw, begin)?,
            abi::KIND_WRITE => self.write(raw, begin)?,
            abi::KIND_TRUNCATE => {
                let file = self.out.tree.by_ino(raw.ino)?;
                if !failed {
                    self.out.tree.truncate(file, raw.a);
                }
                self.push(raw, begin, Op::Truncate { file, size: raw.a });
            }
            abi::KIND_ALLOCATE => self.allocate(raw, begin, failed)?,
            _ if failed => {}
            abi::KIND_OPEN => self.open(raw, begin)?,
            abi::KIND_RENAME => self.rename(raw, begin)?,
            abi::KIND_LINK => {
                let (file, dir) = (self.out.tree.by_ino(raw.ino)?, self.out.tree.dir(raw.b)?);
                self.out.tree.link(dir, raw.name2, file)?;
                self.push(raw, begin, Op::Link { file, dir, name: raw.name2.to_vec() });
            }
            abi::KIND_SYMLINK => self.create(raw, begin, NodeKind::Symlink(raw.data.to_vec()), raw.a)?,
            abi::KIND_MKDIR => self.create(raw, begin, NodeKind::Dir, raw.a)?,
            abi::KIND_UNLINK => {
                let dir = self.out.tree.dir(raw.a)?;
                let file = self.out.tree.expect(dir, raw.name1, raw.ino)?;
                self.out.tree.unlink(dir, raw.name1);
                self.push(raw, begin, Op::Unlink { dir, name: raw.name1.to_vec(), file });
            }
            kind => self.blind("a record of an unknown kind", kind.to_string()),
        }
        Ok(())
    }

    fn process(&mut self, raw: &Raw, begin: u64) {
        match raw.flags {
            abi::PROCESS_START => {
                self.sites.program(raw.pid, raw.data.get(..raw.a as usize).unwrap_or(&[]));
                let parent = raw.b as u32;
                if !self.out.tasks.knows(raw.pid) {
                    self.fork(raw, begin, parent);
                }
                self.push(raw, begin, Op::Process(ProcessEvent::Exec));
            }
            abi::PROCESS_FORKED => {
                self.sites.forked(raw.a as u32, raw.pid);
                self.fork(raw, begin, raw.a as u32);
            }
            _ => self.push(raw, begin, Op::Process(ProcessEvent::Exit { status: raw.a as i32 })),
        }
    }

    fn fork(&mut self, raw: &Raw, begin: u64, parent: u32) {
        let known = self.out.tasks.knows(parent);
        let child = self.out.tasks.new_process(raw.pid);
        if known {
            let task = self.out.tasks.task(parent, parent);
            let mut event = self.event(raw, begin, Op::Process(ProcessEvent::Forked { child }));
            event.task = task;
            self.out.events.push(event);
        }
    }

    fn send(&mut self, raw: &Raw, begin: u64) {
        let Some(&connection) = self.sockets.get(&raw.ino) else { return };
        if raw.ret < 0 && !raw.is_killed() {
            return;
        }
        let before = self.out.sends.get(&connection).map_or(&[][..], Vec::as_slice);
        let sent = before.iter().rev().find_map(|s| s.stream_end).unwrap_or(0);
        let len = if raw.is_killed() { 0 } else { raw.a };
        let op = Op::Send { client: connection.0, stream_offset: sent, len };
        let event = self.event(raw, begin, op);
        let stream_end = (!raw.is_killed()).then_some(sent + len);
        let sent = Sent { stream_end, begin, at: raw.at, event };
        self.out.sends.entry(connection).or_default().push(sent);
    }

    fn mark(&mut self, raw: &Raw, begin: u64) {
        let (client, id, bytes) = (raw.a as u32, raw.b as u32, raw.data.to_vec());
        let op = match raw.flags {
            abi::MARK_INVOKE => Op::Invoke { client, id, op: bytes },
            abi::MARK_REPLY => Op::Reply { client, id, reply: bytes },
            abi::MARK_PHASE => Op::Phase(String::from_utf8_lossy(&bytes).into_owned()),
            other => return self.blind("a mark of an unknown kind", other.to_string()),
        };
        let event = self.event(raw, begin, op);
        self.out.marks.push(event);
    }

    fn sync(&mut self, raw: &Raw, begin: u64) -> Result<(), Conflict> {
        let file = self.out.tree.by_ino(raw.ino)?;
        let kind = match raw.flags & !abi::SYNC_TOLD {
            0 => SyncKind::Fsync,
            1 => SyncKind::Fdatasync,
            2 => SyncKind::Range { offset: raw.b, len: raw.c },
            _ => SyncKind::Msync,
        };
        let told = raw.flags & abi::SYNC_TOLD != 0;
        self.push(raw, begin, if told { Op::ToldAgain { file, kind } } else { Op::Sync { file, kind } });
        Ok(())
    }

    fn write(&mut self, raw: &Raw, begin: u64) -> Result<(), Conflict> {
        let file = self.out.tree.by_ino(raw.ino)?;
        let killed = raw.is_killed();
        // Of one that failed, what is in the page cache all the same.
        let wrote = if raw.ret < 0 { raw.b } else { raw.ret as u64 };
        let len = if killed { raw.data.len() } else { wrote as usize };
        // A call that was killed inside has not told its offset: appending is the one place it can have.
        let untold = raw.a == abi::NEVER && (killed || len == 0);
        let offset = if untold { self.out.tree.size(file) } else { raw.a };
        let Some(data) = raw.data.get(..len).filter(|_| offset < 1 << 60) else {
            self.blind("a write at an unknown offset", describe(raw));
            return Ok(());
        };
        if killed && raw.c == abi::NEVER {
            self.blind("killed inside a copy between files", describe(raw));
        }
        if raw.ret >= 0 || len > 0 {
            self.out.tree.write(file, offset, data);
        }
        let sync = match raw.flags & !abi::SYNC_TOLD {
            abi::SYNC_DATA => WriteSync::Data,
            abi::SYNC_FULL => WriteSync::Full,
            _ => WriteSync::None,
        };
        let data = data.to_vec();
        if raw.flags & abi::SYNC_TOLD == 0 {
            self.push(raw, begin, Op::Write { file, offset, data, sync });
            return Ok(());
        }
        // Its bytes are written as any others are.
        let written = Op::Write { file, offset, data, sync: WriteSync::None };
        let written = Event { errno: 0, ..self.event(raw, begin, written) };
        self.out.events.push(written);
        let kind = if sync == WriteSync::Full { SyncKind::Fsync } else { SyncKind::Fdatasync };
        self.push(raw, begin, Op::ToldAgain { file, kind });
        Ok(())
    }

    fn allocate(&mut self, raw: &Raw, begin: u64, failed: bool) -> Result<(), Conflict> {
        let file = self.out.tree.by_ino(raw.ino)?;
        let mode = match raw.a {
            0 => AllocateMode::Extend,
            1 => AllocateMode::KeepSize,
            2 | 3 => AllocateMode::Punch,
            8 => AllocateMode::Collapse,
            0x10 => AllocateMode::Zero { keep_size: false },
            0x11 => AllocateMode::Zero { keep_size: true },
            0x20 => AllocateMode::Insert,
            mode => {
                if !failed {
                    self.blind("fallocate with an unknown mode", format!("mode {mode:#x}"));
                }
                return Ok(());
            }
        };
        if !failed {
            self.out.tree.allocate(file, mode, raw.b, raw.c);
        }
        self.push(raw, begin, Op::Allocate { file, mode, offset: raw.b, len: raw.c });
        Ok(())
    }

    fn create(&mut self, raw: &Raw, begin: u64, kind: NodeKind, parent: u64) -> Result<(), Conflict> {
        let dir = self.out.tree.dir(parent)?;
        if self.out.tree.child(dir, raw.name1).is_some() {
            return Err(Conflict(format!("`{}` is there already", String::from_utf8_lossy(raw.name1))));
        }
        if raw.ino == 0 && !raw.is_killed() {
            self.blind("a file that vanished while it was made", describe(raw));
        }
        let file = self.out.tree.add(raw.ino, kind.clone());
        self.out.tree.link(dir, raw.name1, file)?;
        self.push(raw, begin, Op::Create { dir, name: raw.name1.to_vec(), file, kind });
        Ok(())
    }

    fn open(&mut self, raw: &Raw, begin: u64) -> Result<(), Conflict> {
        if raw.is_killed() {
            self.blind("killed inside open", describe(raw));
            return Ok(());
        }
        match raw.b {
            abi::OPEN_CREATED => self.create(raw, begin, NodeKind::File, raw.c)?,
            abi::OPEN_TMPFILE => {
                let file = self.out.tree.add(raw.ino, NodeKind::File);
                self.push(raw, begin, Op::Tmpfile { file });
            }
            what => {
                let file = self.out.tree.by_ino(raw.ino)?;
                self.push(raw, begin, Op::Open { file, flags: raw.a as i32 });
                if what == abi::OPEN_TRUNCATED {
                    self.out.tree.truncate(file, 0);
                    self.push(raw, begin, Op::Truncate { file, size: 0 });
                }
            }
        }
        Ok(())
    }

    fn rename(&mut self, raw: &Raw, begin: u64) -> Result<(), Conflict> {
        const EXCHANGE: u64 = 2;
        let (from_dir, to_dir) = (self.out.tree.dir(raw.a)?, self.out.tree.dir(raw.b)?);
        let (from_name, to_name) = (raw.name1.to_vec(), raw.name2.to_vec());
        let file = self.out.tree.expect(from_dir, &from_name, raw.ino)?;
        let other = self.out.tree.child(to_dir, &to_name);
        if raw.c & EXCHANGE != 0 {
            let Some(b) = other else { return Err(Conflict("nothing to exchange with".to_string())) };
            self.out.tree.set_name(from_dir, &from_name, b);
            self.out.tree.set_name(to_dir, &to_name, file);
            let op = Op::Exchange {
                a_dir: from_dir,
                a_name: from_name,
                a: file,
                b_dir: to_dir,
                b_name: to_name,
                b,
            };
            self.push(raw, begin, op);
            return Ok(());
        }
        if other == Some(file) {
            return Ok(()); // rename(2): two names of one file: nothing happens
        }
        self.out.tree.unlink(from_dir, &from_name);
        self.out.tree.set_name(to_dir, &to_name, file);
        let op = Op::Rename { from_dir, from_name, to_dir, to_name, file, replaced: other };
        self.push(raw, begin, op);
        Ok(())
    }
}

fn describe(raw: &Raw) -> String {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    format!(
        "system call {} (inode {}, `{}` `{}`, clock {}..{})",
        raw.nr,
        raw.ino,
        text(raw.name1),
        text(raw.name2),
        raw.begin,
        if raw.is_killed() { "killed".to_string() } else { raw.end.to_string() }
    )
}
