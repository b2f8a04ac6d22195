//! Trees as one line of text: `d/ d/x=A f=AB0 g->f t=(B2048+A2048)`.
//!
//! A page of one letter is that letter, `0` is zeros, a page of several is its runs in brackets, and `?` is what no
//! script has written there (the letter X counts as such: it is what setups leave on the disk as rubbish).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use unplug_faults::event::NodeKind;
use unplug_faults::image::Image;

const PAGE: usize = 4096;
/// A page with more runs than this was written by no script.
const RUNS: usize = 6;

/// Whether a path belongs to a script's helpers.
pub fn is_helper(path: &[u8]) -> bool {
    path.starts_with(b"z") || path == b"lost+found"
}

fn letter(byte: u8) -> char {
    match byte {
        0 => '0',
        b'X' | b'0' => '?',
        byte if byte.is_ascii_alphanumeric() => char::from(byte),
        _ => '?',
    }
}

fn page(bytes: &[u8], out: &mut String) {
    let mut runs: Vec<(char, usize)> = Vec::new();
    for byte in bytes {
        let letter = letter(*byte);
        match runs.last_mut() {
            Some((last, n)) if *last == letter => *n += 1,
            _ => runs.push((letter, 1)),
        }
    }
    match runs.as_slice() {
        [(letter, PAGE)] => out.push(*letter),
        runs if runs.len() > RUNS || runs.iter().any(|(letter, _)| *letter == '?') => match bytes.len() {
            PAGE => out.push('?'),
            len => out.push_str(&format!("(?{len})")),
        },
        runs => {
            let runs: Vec<String> = runs.iter().map(|(letter, n)| format!("{letter}{n}")).collect();
            out.push('(');
            out.push_str(&runs.join("+"));
            out.push(')');
        }
    }
}

fn content(bytes: &[u8]) -> String {
    let mut out = String::new();
    bytes.chunks(PAGE).for_each(|chunk| page(chunk, &mut out));
    out
}

/// The line of a model's image.
pub fn image(image: &Image) -> String {
    let mut parts = Vec::new();
    for (path, node) in image.nodes.iter().filter(|(path, _)| !is_helper(path)) {
        let path = String::from_utf8_lossy(path);
        parts.push(match (&node.kind, &node.link_to) {
            (_, Some(first)) => format!("{path}->{}", String::from_utf8_lossy(first)),
            (NodeKind::Dir, _) => format!("{path}/"),
            (NodeKind::Symlink(target), _) => format!("{path}@{}", String::from_utf8_lossy(target)),
            (NodeKind::File, _) => format!("{path}={}", content(&node.data)),
        });
    }
    parts.join(" ")
}

/// The line of a real directory. What cannot be read says so: it equals no tree of any model.
pub fn directory(root: &Path) -> String {
    let mut found: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut firsts: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    walk(root, b"", &mut found);
    let mut parts = Vec::new();
    for (path, what) in &found {
        let name = String::from_utf8_lossy(path);
        let at = root.join(std::ffi::OsStr::from_bytes(path));
        let link = fs::symlink_metadata(&at).ok().filter(|meta| meta.is_file() && meta.nlink() > 1);
        let first = link.map(|meta| firsts.entry(meta.ino()).or_insert_with(|| path.clone()).clone());
        match first {
            Some(first) if first != *path => {
                parts.push(format!("{name}->{}", String::from_utf8_lossy(&first)));
            }
            _ => parts.push(format!("{name}{what}")),
        }
    }
    parts.join(" ")
}

fn errno(error: &io::Error) -> String {
    format!("!{}", error.raw_os_error().unwrap_or(0))
}

fn walk(dir: &Path, prefix: &[u8], found: &mut BTreeMap<Vec<u8>, String>) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => {
            found.insert([prefix, b"."].concat(), errno(&e));
            return;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                found.insert([prefix, b"?"].concat(), errno(&e));
                continue;
            }
        };
        let path = [prefix, entry.file_name().as_bytes()].concat();
        if is_helper(&path) {
            continue;
        }
        let what = match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                walk(&entry.path(), &[&path[..], b"/"].concat(), found);
                "/".into()
            }
            Ok(kind) if kind.is_symlink() => match fs::read_link(entry.path()) {
                Ok(target) => format!("@{}", target.display()),
                Err(e) => errno(&e),
            },
            Ok(_) => match fs::read(entry.path()) {
                Ok(bytes) => format!("={}", content(&bytes)),
                Err(e) => errno(&e),
            },
            Err(e) => errno(&e),
        };
        found.insert(path, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unplug_faults::image::ImageNode;

    #[test]
    fn a_model_and_a_directory_are_drawn_alike() {
        let dir = tempfile::tempdir().unwrap();
        let file = |data: Vec<u8>| ImageNode { kind: NodeKind::File, data, link_to: None };
        let mut tree = Image::default();
        let mixed = [vec![b'B'; 5000], vec![0; 3192], vec![b'C'; 10]].concat();
        tree.nodes.insert(b"a".to_vec(), file(mixed));
        tree.nodes.insert(b"d".to_vec(), ImageNode { kind: NodeKind::Dir, data: vec![], link_to: None });
        tree.nodes.insert(b"d-".to_vec(), file(vec![]));
        tree.nodes.insert(b"d/x".to_vec(), file(vec![b'A'; PAGE]));
        tree.nodes.insert(
            b"e".to_vec(),
            ImageNode { kind: NodeKind::File, data: vec![], link_to: Some(b"a".to_vec()) },
        );
        tree.nodes.insert(
            b"l".to_vec(),
            ImageNode { kind: NodeKind::Symlink(b"a".to_vec()), data: vec![], link_to: None },
        );
        tree.nodes.insert(b"rubbish".to_vec(), file(vec![b'X'; PAGE]));
        tree.nodes.insert(b"short".to_vec(), file(vec![b'X'; 100]));
        tree.nodes.insert(b"z".to_vec(), file(vec![b'Z'; PAGE]));
        tree.lay_out(dir.path()).unwrap();
        let line = image(&tree);
        assert_eq!(line, "a=B(B904+03192)(C10) d/ d-= d/x=A e->a l@a rubbish=? short=(?100)");
        assert_eq!(directory(dir.path()), line);
    }
}
