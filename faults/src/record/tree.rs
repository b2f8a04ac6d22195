//! The recorded tree, replayed from the records: names, kinds and contents at every moment.

use super::disk::Found;
use crate::event::{AllocateMode, FileId, Name, NodeKind};
use crate::trace::BaseNode;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
struct Node {
    kind: NodeKind,
    data: Vec<u8>,
    children: BTreeMap<Name, FileId>,
}

/// The tree. File ids index it.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    by_ino: BTreeMap<u64, FileId>,
}

/// A name that should be there is not, or the reverse; or an inode is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict(pub(crate) String);

fn conflict<T>(what: &str, name: &[u8]) -> Result<T, Conflict> {
    Err(Conflict(format!("{what} `{}`", String::from_utf8_lossy(name))))
}

impl Tree {
    /// The tree before the run, and the base image that says the same.
    pub(crate) fn new(root_ino: u64, found: &BTreeMap<Vec<u8>, Found>) -> (Tree, Vec<BaseNode>) {
        let root = Node { kind: NodeKind::Dir, data: Vec::new(), children: BTreeMap::new() };
        let mut tree = Tree { nodes: vec![root], by_ino: BTreeMap::from([(root_ino, FileId::ROOT)]) };
        let mut base = Vec::new();
        let mut dirs = BTreeMap::from([(Vec::new(), FileId::ROOT)]);
        for (path, node) in found {
            let (parent, name) = match path.iter().rposition(|&b| b == b'/') {
                Some(at) => (&path[..at], &path[at + 1..]),
                None => (&path[..0], &path[..]),
            };
            let Some(&dir) = dirs.get(parent) else { continue };
            let file = match tree.by_ino.get(&node.ino) {
                Some(&file) => file,
                None => tree.add(node.ino, node.kind.clone()),
            };
            tree.nodes[file.0 as usize].data.clone_from(&node.data);
            tree.nodes[dir.0 as usize].children.insert(name.to_vec(), file);
            if node.kind == NodeKind::Dir {
                dirs.insert(path.clone(), file);
            }
            base.push(BaseNode {
                file,
                dir,
                name: name.to_vec(),
                kind: node.kind.clone(),
                data: node.data.clone(),
            });
        }
        (tree, base)
    }

    /// A new object. Its inode number, if another object had it, is that object's no more.
    pub(crate) fn add(&mut self, ino: u64, kind: NodeKind) -> FileId {
        let id = FileId(self.nodes.len() as u32);
        self.nodes.push(Node { kind, data: Vec::new(), children: BTreeMap::new() });
        self.by_ino.insert(ino, id);
        id
    }

    pub(crate) fn by_ino(&self, ino: u64) -> Result<FileId, Conflict> {
        match self.by_ino.get(&ino) {
            Some(&file) => Ok(file),
            None => conflict("unknown file, inode", ino.to_string().as_bytes()),
        }
    }

    pub(crate) fn dir(&self, ino: u64) -> Result<FileId, Conflict> {
        let file = self.by_ino(ino)?;
        match self.nodes[file.0 as usize].kind {
            NodeKind::Dir => Ok(file),
            _ => conflict("not a directory, inode", ino.to_string().as_bytes()),
        }
    }

    pub(crate) fn child(&self, dir: FileId, name: &[u8]) -> Option<FileId> {
        self.nodes[dir.0 as usize].children.get(name).copied()
    }

    /// Checks that a name stands for the object that the record says.
    pub(crate) fn expect(&self, dir: FileId, name: &[u8], ino: u64) -> Result<FileId, Conflict> {
        match self.child(dir, name) {
            None => conflict("no such name", name),
            Some(file) if self.by_ino.get(&ino) == Some(&file) => Ok(file),
            Some(_) => conflict("another file than recorded under the name", name),
        }
    }

    /// Gives a free name to an object.
    pub(crate) fn link(&mut self, dir: FileId, name: &[u8], file: FileId) -> Result<(), Conflict> {
        if self.child(dir, name).is_some() {
            return conflict("the name is taken", name);
        }
        self.nodes[dir.0 as usize].children.insert(name.to_vec(), file);
        Ok(())
    }

    pub(crate) fn unlink(&mut self, dir: FileId, name: &[u8]) {
        self.nodes[dir.0 as usize].children.remove(name);
    }

    pub(crate) fn set_name(&mut self, dir: FileId, name: &[u8], file: FileId) {
        self.nodes[dir.0 as usize].children.insert(name.to_vec(), file);
    }

    pub(crate) fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) {
        let data = &mut self.nodes[file.0 as usize].data;
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        if data.len() < to {
            data.resize(to, 0);
        }
        data[from..to].copy_from_slice(bytes);
    }

    /// A file's size.
    pub(crate) fn size(&self, file: FileId) -> u64 {
        self.nodes.get(file.0 as usize).map_or(0, |n| n.data.len() as u64)
    }

    pub(crate) fn truncate(&mut self, file: FileId, size: u64) {
        self.nodes[file.0 as usize].data.resize(size as usize, 0);
    }

    pub(crate) fn allocate(&mut self, file: FileId, mode: AllocateMode, offset: u64, len: u64) {
        let data = &mut self.nodes[file.0 as usize].data;
        let (from, to) = (offset as usize, (offset + len) as usize);
        match mode {
            AllocateMode::KeepSize => {}
            AllocateMode::Extend => data.resize(data.len().max(to), 0),
            AllocateMode::Punch | AllocateMode::Zero { keep_size: true } => zero(data, from, to),
            AllocateMode::Zero { keep_size: false } => {
                data.resize(data.len().max(to), 0);
                zero(data, from, to);
            }
            AllocateMode::Collapse => {
                let end = to.min(data.len());
                data.drain(from.min(end)..end);
            }
            AllocateMode::Insert => {
                let from = from.min(data.len());
                data.splice(from..from, std::iter::repeat_n(0, len as usize));
            }
        }
    }

    /// Compares with the real directory; gives what differs.
    pub(crate) fn differences(&self, real: &BTreeMap<Vec<u8>, Found>) -> Vec<(String, String)> {
        let mut differences = Vec::new();
        let mut mine = BTreeMap::new();
        let mut waiting = vec![(Vec::new(), FileId::ROOT)];
        while let Some((path, dir)) = waiting.pop() {
            for (name, &file) in &self.nodes[dir.0 as usize].children {
                let mut path: Vec<u8> = path.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                if self.nodes[file.0 as usize].kind == NodeKind::Dir {
                    waiting.push((path.clone(), file));
                }
                mine.insert(path, file);
            }
        }
        for (path, file) in &mine {
            let text = String::from_utf8_lossy(path).into_owned();
            let node = &self.nodes[file.0 as usize];
            match real.get(path) {
                None => differences.push((text, "it is not there".to_string())),
                Some(found) if found.kind != node.kind => {
                    differences.push((text, "it is of another kind".to_string()));
                }
                Some(found) if found.data != node.data => {
                    differences.push((text, first_difference(&node.data, &found.data)));
                }
                Some(_) => {}
            }
        }
        for path in real.keys().filter(|p| !mine.contains_key(*p)) {
            differences.push((String::from_utf8_lossy(path).into_owned(), "nothing made it".to_string()));
        }
        differences
    }
}

fn zero(data: &mut [u8], from: usize, to: usize) {
    let end = to.min(data.len());
    data[from.min(end)..end].fill(0);
}

fn first_difference(mine: &[u8], real: &[u8]) -> String {
    let at = mine.iter().zip(real).position(|(a, b)| a != b).unwrap_or(mine.len().min(real.len()));
    format!("content differs from byte {at} on: {} bytes by the trace, {} on disk", mine.len(), real.len())
}
