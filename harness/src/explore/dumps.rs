//! Whole contents that came back, for classification and stories: as many as there is room for.

use crate::dump::{Digest, Dump};
use std::collections::HashMap;

/// How many contents are kept whole.
const MOST: usize = 4096;
/// How many bytes they may take together.
const MOST_BYTES: usize = 128 << 20;

/// Contents by their identity. It is looked up, never iterated: its order cannot show.
#[derive(Debug, Default)]
pub(super) struct Dumps {
    kept: HashMap<Digest, Dump>,
    /// About how many bytes they take.
    bytes: usize,
}

impl Dumps {
    /// Keeps a content if there is room.
    pub(super) fn keep(&mut self, digest: Digest, dump: Dump) {
        if self.kept.len() >= MOST || self.kept.contains_key(&digest) {
            return;
        }
        let bytes = size(&dump);
        if self.bytes + bytes <= MOST_BYTES {
            self.bytes += bytes;
            self.kept.insert(digest, dump);
        }
    }

    pub(super) fn get(&self, digest: Digest) -> Option<&Dump> {
        self.kept.get(&digest)
    }
}

/// About how many bytes a dump takes.
fn size(dump: &Dump) -> usize {
    dump.0.iter().map(|(key, entry)| key.len() + entry.value.len() + 128).sum()
}
