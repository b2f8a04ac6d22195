//! What each image recovered to: shared by all models of one trace, so that no image is recovered twice.

use super::alike::Alike;
use super::tree::{Recorded, worth_keeping};
use crate::dump::{Digest, Dump};
use crate::judge::{First, Judge, Seen};
use crate::recovery::{Aside, Lives, Outcome};
use std::collections::{HashMap, HashSet};
use unplug_faults::image::{ImageHash, SharedImage};

/// How many contents that are no prefix of the history are kept whole, for classification and stories.
const MOST_DUMPS: usize = 4096;
/// How many bytes they may take together.
const MOST_DUMP_BYTES: usize = 128 << 20;

/// What the images of one trace recovered to. It is looked up, never iterated: its order cannot show.
#[derive(Debug, Default)]
pub struct Memo {
    seen: HashMap<ImageHash, Seen>,
    dumps: HashMap<Digest, Dump>,
    /// About how many bytes the dumps take.
    dump_bytes: usize,
    /// What names each image has, but for their numbers.
    shapes: HashMap<ImageHash, u64>,
    /// Recoveries that were recorded.
    recoveries: HashMap<ImageHash, Recorded>,
    /// What recoveries have read.
    alike: Alike,
    /// Images of which it is known without a recovery, or after one start less, what they recover to.
    spared: HashMap<ImageHash, Spared>,
    /// How many of them were spared their recovery.
    unread: usize,
}

/// What an image was spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spared {
    /// Its recovery: it differs from a recovered one only in what that one's recovery has not read.
    Recovery,
    /// Its second start: the first has changed nothing.
    Start,
}

/// What is kept of one image's recovery.
pub(super) struct Noted {
    image: ImageHash,
    seen: Seen,
    /// The content with its identity, where it is no prefix.
    strange: Option<(Digest, Dump)>,
    /// What is known besides, and the image, if it is to be compared with others.
    aside: Aside,
    laid: Option<SharedImage>,
}

impl Noted {
    /// Sums up an image's lives.
    pub(super) fn of(
        (image, laid): (ImageHash, Option<SharedImage>),
        (mut lives, aside): (Lives, Aside),
        judge: &Judge,
    ) -> Noted {
        judge.settle(&mut lives);
        let seen = Seen::of(&lives, judge.now_ms());
        let strange = match (&seen.first, lives.first) {
            (First::Holds(digest), Outcome::Recovered(dump)) if !judge.is_prefix(*digest) => {
                Some((*digest, dump))
            }
            _ => None,
        };
        Noted { image, seen, strange, aside, laid }
    }
}

/// About how many bytes a dump takes.
fn size(dump: &Dump) -> usize {
    dump.0.iter().map(|(key, entry)| key.len() + entry.value.len() + 128).sum()
}

impl Memo {
    /// Nothing recovered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many images were recovered, and not only known to come to what another one comes to.
    pub(super) fn recovered(&self) -> usize {
        self.seen.len() - self.unread
    }

    /// Of how many images it is known what they come to.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing is known yet.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    pub(super) fn get(&self, image: ImageHash) -> Option<&Seen> {
        self.seen.get(&image)
    }

    pub(super) fn shape(&self, image: ImageHash) -> u64 {
        self.shapes.get(&image).copied().unwrap_or(0)
    }

    pub(super) fn note_shape(&mut self, image: ImageHash, shape: u64) {
        self.shapes.insert(image, shape);
    }

    pub(super) fn recovery(&self, image: ImageHash) -> Option<&Recorded> {
        self.recoveries.get(&image)
    }

    pub(super) fn recoveries(&self) -> usize {
        self.recoveries.len()
    }

    pub(super) fn note_recovery(&mut self, image: ImageHash, recorded: Recorded) {
        if worth_keeping(self, &recorded) {
            self.recoveries.insert(image, recorded);
        }
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

    /// Keeps what an image came to. To be called in the order of the states: which dumps find room depends on
    /// it, and must not depend on which worker was quicker.
    pub(super) fn note(&mut self, noted: Noted) {
        if let Some((digest, dump)) = noted.strange
            && self.dumps.len() < MOST_DUMPS
            && !self.dumps.contains_key(&digest)
        {
            let bytes = size(&dump);
            if self.dump_bytes + bytes <= MOST_DUMP_BYTES {
                self.dump_bytes += bytes;
                self.dumps.insert(digest, dump);
            }
        }
        if noted.aside.merged {
            self.spared.insert(noted.image, Spared::Start);
        }
        if let (Some(read), Some(laid)) = (noted.aside.read, &noted.laid) {
            self.alike.note(laid, read, noted.image);
        }
        self.seen.insert(noted.image, noted.seen);
    }

    /// Whether an image differs from a recovered one only in what that one's recovery has not read: then it is known
    /// what it recovers to.
    pub(super) fn knows_alike(&mut self, hash: ImageHash, image: &SharedImage) -> bool {
        let Some(seen) = self.alike.find(image).and_then(|known| self.seen.get(&known)).cloned() else {
            return false;
        };
        self.seen.insert(hash, seen);
        self.spared.insert(hash, Spared::Recovery);
        self.unread += 1;
        true
    }

    /// What an image was spared, if anything.
    pub(super) fn spared(&self, image: ImageHash) -> Option<Spared> {
        self.spared.get(&image).copied()
    }

    /// How many of the images that both know recovered to the same, and how many did not. For tests: two explorations
    /// of one trace in which none did not have found the same violations in the same states.
    #[doc(hidden)]
    pub fn agreement(&self, other: &Memo) -> (usize, usize) {
        let both = self.seen.iter().filter_map(|(image, seen)| Some((seen, other.seen.get(image)?)));
        both.fold((0, 0), |(same, not), (a, b)| if a == b { (same + 1, not) } else { (same, not + 1) })
    }

    /// Compares less than was read. For tests: that is wrong, and must be found to be.
    #[cfg(test)]
    pub(super) fn heeding(heed: unplug_faults::reads::Heed) -> Memo {
        Memo { alike: Alike::heeding(heed), ..Memo::default() }
    }
}
