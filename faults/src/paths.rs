//! Names of files at a moment of a trace: a [`FileId`] is an identity, a person wants a path.

use crate::event::{Event, FileId, Name, Op};
use crate::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};

/// The names of the recorded tree, moved forward event by event.
///
/// This follows the *running* target's view (the page cache), not what is durable.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    names: BTreeMap<FileId, BTreeSet<(FileId, Name)>>,
    /// The last name that a file without one had.
    last: BTreeMap<FileId, (FileId, Name)>,
}

impl Paths {
    /// The names with which the trace began.
    pub fn at_start(trace: &Trace) -> Paths {
        let mut paths = Paths::default();
        for node in &trace.base {
            paths.add(node.dir, &node.name, node.file);
        }
        paths
    }

    /// Moves over one event. Calls that failed change nothing.
    pub fn apply(&mut self, event: &Event) {
        if event.errno != 0 {
            return;
        }
        match &event.op {
            Op::Create { dir, name, file, .. } | Op::Link { file, dir, name } => self.add(*dir, name, *file),
            Op::Unlink { dir, name, file } => self.remove(*dir, name, *file),
            Op::Rename { from_dir, from_name, to_dir, to_name, file, replaced } => {
                if let Some(old) = replaced {
                    self.remove(*to_dir, to_name, *old);
                }
                self.remove(*from_dir, from_name, *file);
                self.add(*to_dir, to_name, *file);
            }
            Op::Exchange { a_dir, a_name, a, b_dir, b_name, b } => {
                self.remove(*a_dir, a_name, *a);
                self.remove(*b_dir, b_name, *b);
                self.add(*a_dir, a_name, *b);
                self.add(*b_dir, b_name, *a);
            }
            _ => {}
        }
    }

    /// The file's path below the recorded directory, `.` for the directory itself. Of several names the
    /// first in byte order; a file whose last name is gone has that name and ` (deleted)`; one that never had
    /// a name is `#` and its number.
    pub fn of(&self, file: FileId) -> String {
        if file == FileId::ROOT {
            return ".".into();
        }
        if let Some((dir, name)) = self.names.get(&file).and_then(|n| n.first()) {
            return self.join(*dir, name);
        }
        match self.last.get(&file) {
            Some((dir, name)) => format!("{} (deleted)", self.join(*dir, name)),
            None => format!("#{}", file.0),
        }
    }

    /// The path of a name in a directory.
    pub fn join(&self, dir: FileId, name: &[u8]) -> String {
        let shown: String = printable(name);
        if dir == FileId::ROOT { shown } else { format!("{}/{shown}", self.of(dir)) }
    }

    fn add(&mut self, dir: FileId, name: &[u8], file: FileId) {
        self.names.entry(file).or_default().insert((dir, name.to_vec()));
    }

    fn remove(&mut self, dir: FileId, name: &[u8], file: FileId) {
        let key = (dir, name.to_vec());
        if let Some(names) = self.names.get_mut(&file) {
            names.remove(&key);
        }
        self.last.insert(file, key);
    }
}

/// Bytes for a person: UTF-8 as it is, all else and control characters escaped.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if c.is_ascii_control() => out.push_str(&[c as u8].escape_ascii().to_string()),
                c if c.is_control() => out.extend(c.escape_unicode()),
                c => out.push(c),
            }
        }
        out.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{NodeKind, Task};

    fn event(errno: i32, op: Op) -> Event {
        Event { begin: 0, end: 1, at: 0, task: Task::default(), site: None, errno, op }
    }

    fn create(dir: u32, name: &[u8], file: u32, kind: NodeKind) -> Event {
        event(0, Op::Create { dir: FileId(dir), name: name.to_vec(), file: FileId(file), kind })
    }

    #[test]
    fn a_file_is_followed_through_its_names() {
        let mut paths = Paths::default();
        paths.apply(&create(0, b"d", 1, NodeKind::Dir));
        paths.apply(&create(1, b"temp-1", 2, NodeKind::File));
        paths.apply(&create(1, b"base", 3, NodeKind::File));
        assert_eq!(paths.of(FileId(2)), "d/temp-1");
        let rename = Op::Rename {
            from_dir: FileId(1),
            from_name: b"temp-1".to_vec(),
            to_dir: FileId(1),
            to_name: b"base".to_vec(),
            file: FileId(2),
            replaced: Some(FileId(3)),
        };
        paths.apply(&event(libc::EIO, rename.clone()));
        assert_eq!(paths.of(FileId(2)), "d/temp-1", "a failed rename renames nothing");
        paths.apply(&event(0, rename));
        assert_eq!(paths.of(FileId(2)), "d/base");
        assert_eq!(paths.of(FileId(3)), "d/base (deleted)");
        assert_eq!(paths.of(FileId(9)), "#9");
        assert_eq!(paths.of(FileId::ROOT), ".");
    }

    #[test]
    fn a_renamed_directory_takes_its_children_along() {
        let mut paths = Paths::default();
        paths.apply(&create(0, b"old", 1, NodeKind::Dir));
        paths.apply(&create(1, b"f", 2, NodeKind::File));
        paths.apply(&event(
            0,
            Op::Rename {
                from_dir: FileId::ROOT,
                from_name: b"old".to_vec(),
                to_dir: FileId::ROOT,
                to_name: b"new".to_vec(),
                file: FileId(1),
                replaced: None,
            },
        ));
        assert_eq!(paths.of(FileId(2)), "new/f");
    }

    #[test]
    fn exchanged_names_change_places() {
        let mut paths = Paths::default();
        paths.apply(&create(0, b"a", 1, NodeKind::File));
        paths.apply(&create(0, b"b", 2, NodeKind::File));
        paths.apply(&event(
            0,
            Op::Exchange {
                a_dir: FileId::ROOT,
                a_name: b"a".to_vec(),
                a: FileId(1),
                b_dir: FileId::ROOT,
                b_name: b"b".to_vec(),
                b: FileId(2),
            },
        ));
        assert_eq!((paths.of(FileId(1)), paths.of(FileId(2))), ("b".into(), "a".into()));
    }

    #[test]
    fn names_that_are_not_text_are_escaped() {
        assert_eq!(printable(b"a\xff\n\\\xc3\xa9"), "a\\xff\\n\\\\\u{e9}");
    }
}
