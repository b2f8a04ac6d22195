//! The recorded directory as it stands on the real file system: before the run and after it.

use crate::abi;
use crate::event::NodeKind;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// One name in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) ino: u64,
    pub(crate) kind: NodeKind,
    pub(crate) data: Vec<u8>,
}

/// Everything below `root` that is not ignored, by relative path; parents stand before children. Sockets,
/// pipes and devices hold nothing and are left out. `Err` carries the path.
pub(crate) fn scan(root: &Path, ignore: &[String]) -> Result<BTreeMap<Vec<u8>, Found>, (Vec<u8>, io::Error)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![Vec::new()];
    let dev = std::fs::metadata(root).map_err(|e| (Vec::new(), e))?.dev();
    while let Some(dir) = waiting.pop() {
        let path = if dir.is_empty() { root.to_path_buf() } else { root.join(os(&dir)) };
        for entry in std::fs::read_dir(&path).map_err(|e| (dir.clone(), e))? {
            let entry = entry.map_err(|e| (dir.clone(), e))?;
            let mut relative = dir.clone();
            if !relative.is_empty() {
                relative.push(b'/');
            }
            relative.extend_from_slice(entry.file_name().as_bytes());
            if ignore.iter().any(|g| abi::glob_matches(g.as_bytes(), &relative)) {
                continue;
            }
            let node = read(&entry.path(), dev).map_err(|e| (relative.clone(), e))?;
            if let Some(node) = node {
                if node.kind == NodeKind::Dir {
                    waiting.push(relative.clone());
                }
                found.insert(relative, node);
            }
        }
    }
    Ok(found)
}

/// As [`scan`], with the path told by the error.
pub(crate) fn scan_dir(root: &Path, ignore: &[String]) -> io::Result<BTreeMap<Vec<u8>, Found>> {
    scan(root, ignore).map_err(|(path, error)| {
        io::Error::new(error.kind(), format!("{}: {error}", String::from_utf8_lossy(&path)))
    })
}

fn os(bytes: &[u8]) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(bytes)
}

fn read(path: &Path, dev: u64) -> io::Result<Option<Found>> {
    let meta = std::fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    if kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device() {
        return Ok(None);
    }
    if meta.dev() != dev {
        return Err(io::Error::other("another file system is mounted here"));
    }
    let (kind, data) = if kind.is_dir() {
        (NodeKind::Dir, Vec::new())
    } else if kind.is_symlink() {
        (NodeKind::Symlink(std::fs::read_link(path)?.as_os_str().as_bytes().to_vec()), Vec::new())
    } else {
        (NodeKind::File, std::fs::read(path)?)
    };
    Ok(Some(Found { ino: meta.ino(), kind, data }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_paths_and_what_is_below_them() {
        let matches = |glob: &str, path: &str| abi::glob_matches(glob.as_bytes(), path.as_bytes());
        assert!(matches("*.log", "redis.log"));
        assert!(matches("*.log", "a/b/redis.log"));
        assert!(matches("run?", "run1/pid"), "a directory's match covers what is below it");
        assert!(matches("a*c*e", "abcde"));
        assert!(!matches("*.log", "redis.log.1"));
        assert!(!matches("log", "a/log"), "globs begin at the root");
        assert!(!matches("run?", "run"));
    }

    #[test]
    fn a_scan_leaves_out_what_is_ignored_or_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), "x").unwrap();
        std::fs::write(dir.path().join("d/f.log"), "x").unwrap();
        std::fs::hard_link(dir.path().join("d/f"), dir.path().join("again")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let found = scan(dir.path(), &["*.log".to_string()]).unwrap();
        let names: Vec<&[u8]> = found.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [&b"again"[..], b"d", b"d/f"]);
        assert_eq!(found[&b"again"[..]].ino, found[&b"d/f"[..]].ino);
    }
}
