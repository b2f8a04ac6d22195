//! Images that a recovery cannot tell apart: they agree in all that it has read.
//!
//! What a deterministic target does follows from what it reads. A recovery of one image has read this much of it, in
//! all its lives: so that another image with the same names, which agrees with it in that, would be recovered by the
//! very same calls with the very same results, whatever else it holds.

use std::collections::HashMap;
use unplug_faults::image::{ImageHash, SharedImage};
use unplug_faults::reads::{Heed, ReadSet};

/// How many ways of reading are kept for images of the same names; those that served last are kept.
const MOST_WAYS: usize = 48;

/// What recoveries have read. It is looked up, never iterated in an order that could show.
#[derive(Debug)]
pub(super) struct Alike {
    /// By the names of the images.
    kinds: HashMap<u128, Vec<Way>>,
    /// What is compared of what was read; all but in tests.
    heed: Heed,
}

/// Recoveries that have read the same parts of images of the same names.
#[derive(Debug)]
struct Way {
    read: ReadSet,
    /// What they have found there, and in which image.
    found: HashMap<u128, ImageHash>,
}

impl Default for Alike {
    fn default() -> Self {
        Alike::heeding(Heed::ALL)
    }
}

impl Alike {
    /// Nothing is known yet.
    pub(super) fn heeding(heed: Heed) -> Alike {
        Alike { kinds: HashMap::new(), heed }
    }

    /// A recovered image that this one cannot be told apart from.
    pub(super) fn find(&mut self, image: &SharedImage) -> Option<ImageHash> {
        let heed = self.heed;
        let ways = self.kinds.get_mut(&image.skeleton())?;
        let look = |way: &Way| way.found.get(&image.told(&way.read, heed)).copied();
        let (at, known) = ways.iter().enumerate().find_map(|(at, way)| Some((at, look(way)?)))?;
        ways[..=at].rotate_right(1);
        Some(known)
    }

    /// An image was recovered, and this was read of it.
    pub(super) fn note(&mut self, image: &SharedImage, read: ReadSet, hash: ImageHash) {
        let told = image.told(&read, self.heed);
        let ways = self.kinds.entry(image.skeleton()).or_default();
        match ways.iter_mut().find(|way| way.read == read) {
            Some(way) => drop(way.found.entry(told).or_insert(hash)),
            None => {
                ways.truncate(MOST_WAYS - 1);
                ways.insert(0, Way { read, found: HashMap::from([(told, hash)]) });
            }
        }
    }
}
