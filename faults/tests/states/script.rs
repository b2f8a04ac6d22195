//! Short traces written by hand. Content is in pages: `append("f", 'B', 2)` appends two pages of B.

use std::collections::{BTreeMap, BTreeSet};
use unplug_faults::effect::PAGE;
use unplug_faults::event::*;
use unplug_faults::image::Image;
use unplug_faults::model;
use unplug_faults::state::{Assumption, Plan, Space};
use unplug_faults::trace::{BaseNode, Trace};

/// Builds a trace: files by name in the root, or `dir/name`.
#[derive(Clone, Default)]
pub struct Script {
    pub trace: Trace,
    names: BTreeMap<String, FileId>,
    size: BTreeMap<FileId, u64>,
    next: u32,
}

impl std::fmt::Debug for Script {
    /// The calls, payloads left out: what a shrunk failure is read from.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for event in &self.trace.events {
            let what = match &event.op {
                Op::Write { file, offset, data, sync } => {
                    format!("Write {file:?} {offset}+{} {sync:?}", data.len())
                }
                op => format!("{op:?}"),
            };
            writeln!(f, "{}..{} {what}", event.begin, event.end)?;
        }
        Ok(())
    }
}

pub fn pages(what: char, n: u64) -> Vec<u8> {
    vec![what as u8; (n * PAGE) as usize]
}

impl Script {
    pub fn new() -> Self {
        Script { next: 1, ..Script::default() }
    }

    fn split(&self, path: &str) -> (FileId, Name) {
        match path.rsplit_once('/') {
            Some((dir, name)) => (self.names[dir], name.into()),
            None => (FileId::ROOT, path.into()),
        }
    }

    pub fn id(&self, path: &str) -> FileId {
        if path == "." { FileId::ROOT } else { self.names[path] }
    }

    fn fresh(&mut self, path: &str) -> FileId {
        let file = FileId(self.next);
        self.next += 1;
        self.names.insert(path.into(), file);
        file
    }

    pub fn base(mut self, path: &str, what: char, n: u64) -> Self {
        let (dir, name) = self.split(path);
        let file = self.fresh(path);
        self.size.insert(file, n * PAGE);
        self.trace.base.push(BaseNode { file, dir, name, kind: NodeKind::File, data: pages(what, n) });
        self
    }

    pub fn base_dir(mut self, path: &str) -> Self {
        let (dir, name) = self.split(path);
        let file = self.fresh(path);
        self.trace.base.push(BaseNode { file, dir, name, kind: NodeKind::Dir, data: Vec::new() });
        self
    }

    pub fn op(mut self, op: Op) -> Self {
        let begin = 1 + self.trace.events.len() as Clock * 2;
        self.trace.events.push(Event {
            begin,
            end: begin + 1,
            at: 0,
            task: Task::default(),
            site: None,
            errno: 0,
            op,
        });
        self
    }

    pub fn create(mut self, path: &str) -> Self {
        let (dir, name) = self.split(path);
        let file = self.fresh(path);
        self.op(Op::Create { dir, name, file, kind: NodeKind::File })
    }

    pub fn mkdir(mut self, path: &str) -> Self {
        let (dir, name) = self.split(path);
        let file = self.fresh(path);
        self.op(Op::Create { dir, name, file, kind: NodeKind::Dir })
    }

    /// A file without a name; `link` gives it one.
    pub fn tmpfile(mut self, path: &str) -> Self {
        let file = self.fresh(path);
        self.op(Op::Tmpfile { file })
    }

    pub fn bytes(mut self, path: &str, offset: u64, data: Vec<u8>, sync: WriteSync) -> Self {
        let file = self.id(path);
        let size = self.size.entry(file).or_default();
        *size = (*size).max(offset + data.len() as u64);
        self.op(Op::Write { file, offset, data, sync })
    }

    pub fn write(self, path: &str, page: u64, what: char, n: u64) -> Self {
        self.bytes(path, page * PAGE, pages(what, n), WriteSync::None)
    }

    pub fn append(self, path: &str, what: char, n: u64) -> Self {
        let at = self.size.get(&self.id(path)).copied().unwrap_or(0);
        self.bytes(path, at, pages(what, n), WriteSync::None)
    }

    pub fn append_bytes(self, path: &str, data: &[u8]) -> Self {
        let at = self.size.get(&self.id(path)).copied().unwrap_or(0);
        self.bytes(path, at, data.to_vec(), WriteSync::None)
    }

    pub fn truncate(mut self, path: &str, size: u64) -> Self {
        let file = self.id(path);
        self.size.insert(file, size);
        self.op(Op::Truncate { file, size })
    }

    pub fn allocate(self, path: &str, mode: AllocateMode, offset: u64, len: u64) -> Self {
        let file = self.id(path);
        self.op(Op::Allocate { file, mode, offset, len })
    }

    pub fn rename(mut self, from: &str, to: &str) -> Self {
        let ((from_dir, from_name), (to_dir, to_name)) = (self.split(from), self.split(to));
        let Some(file) = self.names.remove(from) else { panic!("no {from}") };
        let below: Vec<String> =
            self.names.keys().filter(|k| k.starts_with(&format!("{from}/"))).cloned().collect();
        for old in below {
            if let Some(moved) = self.names.remove(&old) {
                self.names.insert(format!("{to}{}", &old[from.len()..]), moved);
            }
        }
        let replaced = self.names.insert(to.into(), file);
        self.op(Op::Rename { from_dir, from_name, to_dir, to_name, file, replaced })
    }

    pub fn link(mut self, from: &str, to: &str) -> Self {
        let (dir, name) = self.split(to);
        let file = self.id(from);
        self.names.insert(to.into(), file);
        self.op(Op::Link { file, dir, name })
    }

    pub fn unlink(mut self, path: &str) -> Self {
        let (dir, name) = self.split(path);
        let Some(file) = self.names.remove(path) else { panic!("no {path}") };
        self.op(Op::Unlink { dir, name, file })
    }

    pub fn fsync(self, path: &str) -> Self {
        let file = self.id(path);
        self.op(Op::Sync { file, kind: SyncKind::Fsync })
    }

    pub fn fdatasync(self, path: &str) -> Self {
        let file = self.id(path);
        self.op(Op::Sync { file, kind: SyncKind::Fdatasync })
    }

    pub fn sync_all(self) -> Self {
        self.op(Op::SyncAll)
    }

    /// The last event never returned.
    pub fn killed(mut self) -> Self {
        if let Some(event) = self.trace.events.last_mut() {
            event.end = Event::NEVER;
        }
        self
    }

    /// Every process of the target is killed.
    pub fn kill(self) -> Self {
        self.op(Op::Kill)
    }

    /// The last event failed.
    pub fn failed(mut self, errno: i32) -> Self {
        if let Some(event) = self.trace.events.last_mut() {
            event.errno = errno;
        }
        self
    }

    /// The last event begins before the one before it has ended.
    pub fn overlapping(mut self) -> Self {
        let n = self.trace.events.len();
        let begin = self.trace.events[n - 1].begin;
        self.trace.events[n - 1].begin = begin - 1;
        self.trace.events[n - 2].end = begin;
        self
    }

    /// When the last event began and ended.
    pub fn within(mut self, begin: Clock, end: Clock) -> Self {
        if let Some(event) = self.trace.events.last_mut() {
            (event.begin, event.end) = (begin, end);
        }
        self
    }

    pub fn end(&self) -> Clock {
        self.trace.events.len() as Clock * 2
    }

    /// Every image that the model allows after the last event, pages as letters: `f=AB0`. What stood in a block before
    /// is always `?`: it may be anything.
    pub fn at_end(&self, model: &str, assume: &[Assumption]) -> BTreeSet<String> {
        self.during(model, assume, self.end(), self.end())
    }

    pub fn during(&self, model: &str, assume: &[Assumption], first: Clock, last: Clock) -> BTreeSet<String> {
        let model = model::by_name(model).expect("model");
        let effects = model.effects(&self.trace);
        let assume = [assume, &[Assumption::NoOldPages]].concat();
        let space = Space::new(&self.trace, &effects, model, &assume).within(first..=last);
        let plan = Plan { bound: 255, budget: 200_000, seed: 1 };
        let mut states = space.states(&plan);
        let images: BTreeSet<String> = states.by_ref().map(|state| draw(&space.image(&state))).collect();
        assert!(states.is_exhaustive(), "{} of {:?}", states.emitted(), space.count());
        images
    }
}

/// An image by letters: a page is the letter of all its bytes, `0` for zeros, `?` for a mixture.
pub fn draw(image: &Image) -> String {
    let mut parts = Vec::new();
    for (path, node) in &image.nodes {
        let path = String::from_utf8_lossy(path);
        match (&node.kind, &node.link_to) {
            (_, Some(first)) => parts.push(format!("{path}->{}", String::from_utf8_lossy(first))),
            (NodeKind::Dir, _) => parts.push(format!("{path}/")),
            (NodeKind::Symlink(_), _) => parts.push(format!("{path}@")),
            (NodeKind::File, _) => {
                let letter = |page: &[u8]| match page.iter().all(|b| *b == page[0]) {
                    true if page[0] == 0 => '0',
                    true => char::from(page[0]),
                    false => '?',
                };
                parts.push(format!(
                    "{path}={}",
                    node.data.chunks(PAGE as usize).map(letter).collect::<String>()
                ));
            }
        }
    }
    parts.join(" ")
}

pub fn set(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}
