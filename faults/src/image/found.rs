//! The identity of what stands in a directory, whoever has put it there.

use crate::effect::SECTOR;
use crate::image::ImageHash;
use crate::image::tree::{hash_dir, hash_file, hash_link, hash_sector, hash_symlink};
use std::collections::BTreeMap;
use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Read at once: whole sectors.
const CHUNK: usize = 256 * SECTOR as usize;

impl ImageHash {
    /// The identity of the tree that stands in `dir`: that of an image which, laid out, is this tree. Every byte is
    /// read. `None` where something stands there that no image holds, such as a socket.
    ///
    /// # Errors
    /// What stands there cannot be read.
    pub fn of_directory(dir: &Path) -> io::Result<Option<ImageHash>> {
        let mut found = BTreeMap::new();
        walk(dir, &mut Vec::new(), &mut found)?;
        let mut firsts: BTreeMap<(u64, u64), &[u8]> = BTreeMap::new();
        let (mut sum, mut buffer) = (0u128, Vec::new());
        for (path, (at, kind)) in &found {
            let part = if kind.is_dir() {
                hash_dir(path)
            } else if kind.is_symlink() {
                hash_symlink(path, fs::read_link(at)?.as_os_str().as_bytes())
            } else if kind.is_file() {
                let file = File::open(at)?;
                let meta = file.metadata()?;
                // Names in order: the first of a file's is the smallest.
                match firsts.get(&(meta.dev(), meta.ino())) {
                    Some(first) => hash_link(path, first),
                    None => {
                        firsts.insert((meta.dev(), meta.ino()), path);
                        let (len, content) = content(file, &mut buffer)?;
                        hash_file(path, len, content)
                    }
                }
            } else {
                return Ok(None);
            };
            sum = sum.wrapping_add(part);
        }
        Ok(Some(ImageHash(sum)))
    }
}

/// Every name below `dir`, with where it stands and what for.
fn walk(
    dir: &Path,
    prefix: &mut Vec<u8>,
    found: &mut BTreeMap<Vec<u8>, (PathBuf, FileType)>,
) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let before = prefix.len();
        if before > 0 {
            prefix.push(b'/');
        }
        prefix.extend_from_slice(entry.file_name().as_bytes());
        let (at, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            walk(&at, prefix, found)?;
        }
        found.insert(prefix.clone(), (at, kind));
        prefix.truncate(before);
    }
    Ok(())
}

/// A file's length, and the sum over its sectors.
fn content(mut file: File, buffer: &mut Vec<u8>) -> io::Result<(u64, u128)> {
    let (mut len, mut sum) = (0u64, 0u128);
    loop {
        buffer.clear();
        let read = (&mut file).take(CHUNK as u64).read_to_end(buffer)?;
        for (at, sector) in buffer.chunks(SECTOR as usize).enumerate() {
            sum = sum.wrapping_add(hash_sector(len / SECTOR + at as u64, sector));
        }
        len += read as u64;
        if read < CHUNK {
            return Ok((len, sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NodeKind;
    use crate::image::{Image, ImageNode};

    fn image(nodes: &[(&str, NodeKind, Vec<u8>, Option<&str>)]) -> Image {
        let node = |(path, kind, data, link): &(&str, NodeKind, Vec<u8>, Option<&str>)| {
            let link_to = link.map(|first| first.as_bytes().to_vec());
            (path.as_bytes().to_vec(), ImageNode { kind: kind.clone(), data: data.clone(), link_to })
        };
        Image { nodes: nodes.iter().map(node).collect() }
    }

    fn found(image: &Image) -> Option<ImageHash> {
        let dir = tempfile::tempdir().unwrap();
        image.lay_out(dir.path()).unwrap();
        ImageHash::of_directory(dir.path()).unwrap()
    }

    /// What is laid out is found again, and nothing else is taken for it.
    #[test]
    fn a_directory_has_the_identity_of_the_image_that_was_laid_out_there() {
        let mut long = vec![7; CHUNK + 700];
        long[CHUNK - 3] = 0;
        let holes = [vec![0; 9000], vec![1], vec![0; 300]].concat();
        let images = [
            image(&[]),
            image(&[("a", NodeKind::File, vec![], None)]),
            image(&[("a", NodeKind::File, vec![0], None)]),
            image(&[("a", NodeKind::Dir, vec![], None), ("a/b", NodeKind::File, long.clone(), None)]),
            image(&[("a", NodeKind::Dir, vec![], None), ("a.b", NodeKind::File, long.clone(), None)]),
            image(&[("a", NodeKind::File, long[..CHUNK].to_vec(), None)]),
            image(&[("a", NodeKind::File, holes.clone(), None), ("b", NodeKind::File, vec![], Some("a"))]),
            image(&[("a", NodeKind::File, holes.clone(), None), ("b", NodeKind::File, holes, None)]),
            image(&[("l", NodeKind::Symlink(b"nowhere/at all".to_vec()), vec![], None)]),
        ];
        for (n, image) in images.iter().enumerate() {
            assert_eq!(found(image), Some(image.hash()), "{n}");
            assert!(images[..n].iter().all(|other| other.hash() != image.hash()), "{n}");
        }
    }

    #[test]
    fn what_no_image_holds_has_no_identity() {
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        assert_eq!(ImageHash::of_directory(dir.path()).unwrap(), None);
        assert!(ImageHash::of_directory(&dir.path().join("missing")).is_err());
    }
}
