//! Images: a crash state as a tree of files, hashed, laid out in a directory.

use crate::event::NodeKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

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
    pub data: Vec<u8>,
    /// The path of the first name of this file, where this one is a further hard link.
    pub link_to: Option<Vec<u8>>,
}

impl Image {
    /// The image's identity.
    pub fn hash(&self) -> ImageHash {
        unimplemented!()
    }

    /// Lays the image out in `dir`, which must exist; what else stands there is removed.
    ///
    /// # Errors
    /// Any I/O error, with the path; ENOSPC leaves nothing half-named behind.
    pub fn lay_out(&self, dir: &Path) -> std::io::Result<()> {
        let _ = dir;
        unimplemented!()
    }
}
