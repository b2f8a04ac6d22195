//! Images: a crash state as a tree of files, hashed, laid out in a directory.

use crate::effect::SECTOR;
use crate::event::NodeKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

/// Identity of an image: equal trees have equal hashes, on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageHash(pub u128);

/// A tree of files: paths relative to the recorded directory, `/` between names, parents before children.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Every object but the root.
    pub nodes: BTreeMap<Vec<u8>, ImageNode>,
}

/// One object of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageNode {
    /// What it is.
    pub kind: NodeKind,
    /// A file's bytes.
    #[serde(with = "crate::bytes")]
    pub data: Vec<u8>,
    /// The path of the first name of this file, where this one is a further hard link.
    pub link_to: Option<Vec<u8>>,
}

impl Image {
    /// The image's identity: a sum over its nodes, so that a neighbour's hash follows from what differs.
    pub fn hash(&self) -> ImageHash {
        let mut sum = 0u128;
        for (path, node) in &self.nodes {
            let part = match (&node.link_to, &node.kind) {
                (Some(first), _) => hash_link(path, first),
                (None, NodeKind::Dir) => hash_dir(path),
                (None, NodeKind::Symlink(target)) => hash_symlink(path, target),
                (None, NodeKind::File) => hash_file(path, node.data.len() as u64, hash_content(&node.data)),
            };
            sum = sum.wrapping_add(part);
        }
        ImageHash(sum)
    }

    /// Lays the image out in `dir`, which must exist; what else stands there is removed.
    ///
    /// # Errors
    /// Any I/O error, with the path; ENOSPC leaves nothing half-named behind.
    pub fn lay_out(&self, dir: &Path) -> std::io::Result<()> {
        super::LayOut::new(dir).lay(&self.into()).map_err(std::io::Error::from)
    }
}

fn hash_node(tag: u8, path: &[u8], more: &[u8]) -> u128 {
    let mut bytes = Vec::with_capacity(path.len() + more.len() + 9);
    bytes.push(tag);
    bytes.extend_from_slice(&(path.len() as u64).to_le_bytes());
    bytes.extend_from_slice(path);
    bytes.extend_from_slice(more);
    xxh3_128(&bytes)
}

pub(crate) fn hash_link(path: &[u8], first: &[u8]) -> u128 {
    hash_node(b'l', path, first)
}

pub(crate) fn hash_dir(path: &[u8]) -> u128 {
    hash_node(b'd', path, &[])
}

pub(crate) fn hash_symlink(path: &[u8], target: &[u8]) -> u128 {
    hash_node(b's', path, target)
}

/// A file by its first path, its size and the sum over its sectors: a rename costs no look at its content.
pub(crate) fn hash_file(path: &[u8], size: u64, content: u128) -> u128 {
    let mut more = [0u8; 24];
    more[..8].copy_from_slice(&size.to_le_bytes());
    more[8..].copy_from_slice(&content.to_le_bytes());
    hash_node(b'f', path, &more)
}

/// The sum over the sectors of a file's bytes.
pub(crate) fn hash_content(data: &[u8]) -> u128 {
    let sectors = data.chunks(SECTOR as usize).enumerate();
    sectors.fold(0u128, |sum, (index, bytes)| sum.wrapping_add(hash_sector(index as u64, bytes)))
}

/// One sector's part. Zeros at its end do not count (the size is hashed by itself), so that a hole is nothing.
pub(crate) fn hash_sector(index: u64, bytes: &[u8]) -> u128 {
    let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if len == 0 { 0 } else { xxh3_128_with_seed(&bytes[..len], index.wrapping_add(1)) }
}
