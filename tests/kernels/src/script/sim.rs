//! Scripts become traces: a small simulation of names, descriptors and contents.

use super::{Script, Step};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use unplug_faults::event::{AllocateMode, Clock, Event, FileId, Name, NodeKind, Op, SyncKind, Task};
use unplug_faults::trace::{BaseNode, Trace};

/// A script as a trace, and which crash points belong to which step.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The trace.
    pub trace: Trace,
    /// For every step: the crash point while it runs, and the one when it has returned.
    pub clocks: Vec<(Clock, Clock)>,
    /// For every step: the regular files that have a name behind it, helpers left out.
    pub files: Vec<Vec<String>>,
}

impl Lowered {
    /// The last crash point.
    pub fn end(&self) -> Clock {
        self.clocks.last().map_or(0, |(_, end)| *end)
    }
}

/// Makes a trace of a script.
///
/// # Errors
/// A step that a kernel would refuse (a name that is not there, or there already).
pub fn lower(script: &Script) -> Result<Lowered> {
    let mut sim = Sim::default();
    for step in &script.setup {
        if let Some(op) = sim.step(step).map_err(|what| refused(script, step, &what))? {
            sim.hold_content(&op);
        }
    }
    if !sim.handles.is_empty() {
        return Err(Error::Other(format!("{}: the setup leaves a descriptor open", script.name)));
    }
    let mut trace = Trace { base: sim.base(), ..Trace::default() };
    trace.meta.target = script.name.clone();
    let (mut clocks, mut files) = (Vec::new(), Vec::new());
    for step in &script.steps {
        let now = trace.events.len() as Clock * 2;
        match sim.step(step).map_err(|what| refused(script, step, &what))? {
            Some(op) => {
                sim.hold_content(&op);
                let (begin, end) = (now + 1, now + 2);
                let task = Task::default();
                trace.events.push(Event { begin, end, at: 0, task, site: None, errno: 0, op });
                clocks.push((begin, end));
            }
            None => clocks.push((now, now)),
        }
        files.push(sim.regular());
    }
    Ok(Lowered { trace, clocks, files })
}

fn refused(script: &Script, step: &Step, what: &str) -> Error {
    Error::Other(format!("{}: {step}: {what}", script.name))
}

type Answer<T> = std::result::Result<T, String>;

#[derive(Default)]
struct Sim {
    next: u32,
    names: BTreeMap<String, FileId>,
    kinds: BTreeMap<FileId, NodeKind>,
    data: BTreeMap<FileId, Vec<u8>>,
    handles: BTreeMap<String, FileId>,
    /// Files of O_TMPFILE without a name so far.
    unnamed: BTreeSet<FileId>,
}

impl Sim {
    fn regular(&self) -> Vec<String> {
        let is_file = |(path, file): &(&String, &FileId)| {
            self.kinds.get(file) == Some(&NodeKind::File) && !path.starts_with('z')
        };
        self.names.iter().filter(is_file).map(|(path, _)| path.clone()).collect()
    }

    fn is_dir(&self, file: FileId) -> bool {
        self.kinds.get(&file) == Some(&NodeKind::Dir)
    }

    fn fresh(&mut self, kind: NodeKind) -> FileId {
        self.next += 1;
        let file = FileId(self.next);
        self.kinds.insert(file, kind);
        self.data.insert(file, Vec::new());
        file
    }

    fn place(&self, path: &str) -> Answer<(FileId, Name)> {
        match path.rsplit_once('/') {
            Some((dir, name)) => Ok((self.named(dir)?, name.into())),
            None => Ok((FileId::ROOT, path.into())),
        }
    }

    fn named(&self, path: &str) -> Answer<FileId> {
        if path == "." {
            return Ok(FileId::ROOT);
        }
        let found = if path.starts_with('@') { self.handles.get(path) } else { self.names.get(path) };
        found.copied().ok_or_else(|| format!("no {path}"))
    }

    fn free(&self, path: &str) -> Answer<()> {
        if self.names.contains_key(path) { Err(format!("{path} is there already")) } else { Ok(()) }
    }

    fn create(&mut self, path: &str, kind: NodeKind) -> Answer<Op> {
        self.free(path)?;
        let (dir, name) = self.place(path)?;
        let file = self.fresh(kind.clone());
        self.names.insert(path.into(), file);
        Ok(Op::Create { dir, name, file, kind })
    }

    /// The event of a step; `None` for what changes nothing and promises nothing.
    fn step(&mut self, step: &Step) -> Answer<Option<Op>> {
        Ok(Some(match step {
            Step::Create(path) => self.create(path, NodeKind::File)?,
            Step::Mkdir(path) => self.create(path, NodeKind::Dir)?,
            Step::Symlink(target, path) => {
                self.create(path, NodeKind::Symlink(target.as_bytes().to_vec()))?
            }
            Step::Remove { path, dir: is_dir } => {
                let ((dir, name), file) = (self.place(path)?, self.named(path)?);
                let below = format!("{path}/");
                if self.is_dir(file) != *is_dir || self.names.keys().any(|k| k.starts_with(&below)) {
                    return Err(format!("{path} cannot be removed so"));
                }
                self.names.remove(path);
                Op::Unlink { dir, name, file }
            }
            Step::Link(from, to) => {
                self.free(to)?;
                let (file, (dir, name)) = (self.named(from)?, self.place(to)?);
                // A file that has lost its last name gets none again; one that never had any does, once.
                if !self.names.values().any(|other| *other == file) && !self.unnamed.remove(&file) {
                    return Err(format!("{from} has no name left"));
                }
                self.names.insert(to.clone(), file);
                Op::Link { file, dir, name }
            }
            Step::Rename(from, to) => self.rename(from, to)?,
            Step::Exchange(a, b) => self.exchange(a, b)?,
            Step::Open { handle, path, truncate } => {
                let file = self.named(path)?;
                self.handles.insert(handle.clone(), file);
                if !truncate {
                    return Ok(None);
                }
                Op::Truncate { file, size: 0 }
            }
            Step::Tmpfile { handle, dir } => {
                self.named(dir)?;
                let file = self.fresh(NodeKind::File);
                self.handles.insert(handle.clone(), file);
                self.unnamed.insert(file);
                Op::Tmpfile { file }
            }
            Step::Close(handle) => {
                self.handles.remove(handle).ok_or_else(|| format!("no {handle}"))?;
                return Ok(None);
            }
            Step::Write { file, offset, letter, len, sync } => {
                let file = self.named(file)?;
                let offset = offset.unwrap_or_else(|| self.data.get(&file).map_or(0, Vec::len) as u64);
                Op::Write { file, offset, data: vec![*letter as u8; *len as usize], sync: *sync }
            }
            Step::Truncate(file, size) => Op::Truncate { file: self.named(file)?, size: *size },
            Step::Allocate { file, mode, offset, len } => {
                Op::Allocate { file: self.named(file)?, mode: *mode, offset: *offset, len: *len }
            }
            Step::Fsync(path) => Op::Sync { file: self.named(path)?, kind: SyncKind::Fsync },
            Step::Fdatasync(path) => Op::Sync { file: self.named(path)?, kind: SyncKind::Fdatasync },
            Step::Syncfs => Op::SyncAll,
            Step::WriteBack { file, offset, len, .. } => {
                let kind = SyncKind::Range { offset: *offset, len: *len };
                Op::Sync { file: self.named(file)?, kind }
            }
            Step::BackgroundSync | Step::Commit | Step::Sleep(_) => return Ok(None),
            Step::Hold(..) | Step::Release | Step::Jitter(_) => return Ok(None),
        }))
    }

    fn rename(&mut self, from: &str, to: &str) -> Answer<Op> {
        let file = self.named(from)?;
        let ((from_dir, from_name), (to_dir, to_name)) = (self.place(from)?, self.place(to)?);
        if let Some(old) = self.names.get(to)
            && (*old == file || self.is_dir(file) || self.is_dir(*old))
        {
            return Err(format!("{to} cannot be replaced"));
        }
        if to.starts_with(&format!("{from}/")) {
            return Err(format!("{to} is below {from}"));
        }
        self.names.remove(from);
        self.move_below(from, to);
        let replaced = self.names.insert(to.into(), file);
        Ok(Op::Rename { from_dir, from_name, to_dir, to_name, file, replaced })
    }

    fn exchange(&mut self, a: &str, b: &str) -> Answer<Op> {
        let (a_file, b_file) = (self.named(a)?, self.named(b)?);
        let ((a_dir, a_name), (b_dir, b_name)) = (self.place(a)?, self.place(b)?);
        let between = "\u{0}";
        self.move_below(a, between);
        self.move_below(b, a);
        self.move_below(between, b);
        self.names.insert(a.into(), b_file);
        self.names.insert(b.into(), a_file);
        Ok(Op::Exchange { a_dir, a_name, a: a_file, b_dir, b_name, b: b_file })
    }

    fn move_below(&mut self, from: &str, to: &str) {
        let prefix = format!("{from}/");
        let below: Vec<String> = self.names.keys().filter(|k| k.starts_with(&prefix)).cloned().collect();
        for old in below {
            if let Some(file) = self.names.remove(&old) {
                self.names.insert(format!("{to}/{}", &old[prefix.len()..]), file);
            }
        }
    }

    /// What the files hold now, for the base image and for appends.
    fn hold_content(&mut self, op: &Op) {
        match op {
            Op::Write { file, offset, data, .. } => {
                let content = self.data.entry(*file).or_default();
                let end = *offset as usize + data.len();
                content.resize(content.len().max(end), 0);
                content[*offset as usize..end].copy_from_slice(data);
            }
            Op::Truncate { file, size } => self.data.entry(*file).or_default().resize(*size as usize, 0),
            Op::Allocate { file, mode, offset, len } => {
                let content = self.data.entry(*file).or_default();
                let (from, end) = (*offset as usize, (*offset + *len) as usize);
                match mode {
                    AllocateMode::KeepSize => {}
                    AllocateMode::Extend => content.resize(content.len().max(end), 0),
                    AllocateMode::Punch | AllocateMode::Zero { .. } => {
                        if *mode == (AllocateMode::Zero { keep_size: false }) {
                            content.resize(content.len().max(end), 0);
                        }
                        let stop = end.min(content.len());
                        content[from.min(stop)..stop].fill(0);
                    }
                    AllocateMode::Collapse => drop(content.drain(from..end)),
                    AllocateMode::Insert => {
                        drop(content.splice(from..from, std::iter::repeat_n(0, *len as usize)));
                    }
                }
            }
            _ => {}
        }
    }

    fn base(&self) -> Vec<BaseNode> {
        // In byte order parents stand before children.
        let node = |(path, file): (&String, &FileId)| {
            let (dir, name) = self.place(path).ok()?;
            let kind = self.kinds.get(file)?.clone();
            let data = if kind == NodeKind::File { self.data.get(file)?.clone() } else { Vec::new() };
            Some(BaseNode { file: *file, dir, name, kind, data })
        };
        self.names.iter().filter_map(node).collect()
    }
}
