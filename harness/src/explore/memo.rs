//! What each image recovered to: shared by all models of one trace, so that no image is recovered twice.

use crate::dump::{Digest, Dump};
use crate::judge::{First, Judge, Seen};
use crate::recovery::{Lives, Outcome};
use std::collections::{HashMap, HashSet};
use unplug_faults::image::ImageHash;

/// How many contents that are no prefix of the history are kept whole, for classification and stories.
const MOST_DUMPS: usize = 4096;

/// What the images of one trace recovered to. It is looked up, never iterated: its order cannot show.
#[derive(Debug, Default)]
pub struct Memo {
    seen: HashMap<ImageHash, Seen>,
    dumps: HashMap<Digest, Dump>,
}

impl Memo {
    /// Nothing recovered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many images were recovered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing was recovered yet.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    pub(super) fn get(&self, image: ImageHash) -> Option<&Seen> {
        self.seen.get(&image)
    }

    /// The whole content, where it is no prefix and was kept.
    pub(crate) fn dump(&self, digest: Digest) -> Option<&Dump> {
        self.dumps.get(&digest)
    }

    /// The whole content of what came back, where it is no prefix and was kept.
    pub(super) fn dump_of(&self, seen: &Seen) -> Option<&Dump> {
        match &seen.first {
            First::Holds(digest) => self.dump(*digest),
            First::Broke(..) => None,
        }
    }

    /// The images of a list that were not recovered yet, each once, in the list's order.
    pub(super) fn unknown(&self, images: &[ImageHash]) -> Vec<usize> {
        let mut asked = HashSet::new();
        let new = |i: &usize| !self.seen.contains_key(&images[*i]) && asked.insert(images[*i]);
        (0..images.len()).filter(new).collect()
    }

    pub(super) fn note(&mut self, image: ImageHash, lives: Lives, judge: &Judge) {
        let seen = Seen::of(&lives, judge.now_ms());
        if let (First::Holds(digest), Outcome::Recovered(dump)) = (&seen.first, lives.first)
            && !judge.is_prefix(*digest)
            && self.dumps.len() < MOST_DUMPS
        {
            self.dumps.insert(*digest, dump);
        }
        self.seen.insert(image, seen);
    }
}
