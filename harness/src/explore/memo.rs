//! What each image recovered to: shared by all models of one trace, so that no image is recovered twice.

use super::alike::Alike;
use super::dumps::Dumps;
use super::tree::{Recorded, worth_keeping};
use crate::dump::{Digest, Dump};
use crate::judge::{First, Judge, Lens, Seen};
use crate::recovery::{Aside, Lives, Outcome};
use std::collections::{BTreeMap, HashMap, HashSet};
use unplug_faults::image::{ImageHash, SharedImage};

/// What the images of one trace, or of many, recovered to.
///
/// What an image comes to depends on how it is looked at: on the instant of the recovery, and on the deadlines that the
/// history leaves open. So there is a book for each [`Lens`], and every exploration opens that of its judge.
#[derive(Debug, Default)]
pub struct Memo {
    open: Book,
    /// Whose book is open. `None` before the first exploration.
    lens: Option<Lens>,
    closed: BTreeMap<Lens, Book>,
}

/// What images recovered to, looked at in one way. It is looked up, never iterated: its order cannot show.
#[derive(Debug, Default)]
struct Book {
    seen: HashMap<ImageHash, Seen>,
    /// Contents that were no prefix of their history.
    strange: Dumps,
    /// The others: what one history of many has as a prefix is strange in the next.
    prefixes: Dumps,
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
    /// The content with its identity, and whether it is a prefix of the history it was recovered for.
    content: Option<(Digest, Dump, bool)>,
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
        let seen = judge.sum_up(&mut lives);
        let content = match (&seen.first, lives.first) {
            (First::Holds(digest), Outcome::Recovered(dump)) => {
                Some((*digest, dump, judge.is_prefix(*digest)))
            }
            _ => None,
        };
        Noted { image, seen, content, aside, laid }
    }
}

impl Memo {
    /// Nothing recovered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the book of those that look at images as this judge does. What was known before the first judge came is his.
    pub(super) fn open(&mut self, judge: &Judge) {
        let lens = judge.lens();
        match self.lens.take() {
            Some(last) if last != lens => {
                let book = self.closed.remove(&lens).unwrap_or_default();
                self.closed.insert(last, std::mem::replace(&mut self.open, book));
            }
            _ => {}
        }
        self.lens = Some(lens);
    }

    /// How many images were recovered, and not only known to come to what another one comes to.
    pub(super) fn recovered(&self) -> usize {
        self.open.seen.len() - self.open.unread
    }

    /// Of how many images it is known what they come to.
    pub fn len(&self) -> usize {
        self.open.seen.len()
    }

    /// Whether nothing is known yet.
    pub fn is_empty(&self) -> bool {
        self.open.seen.is_empty()
    }

    pub(super) fn get(&self, image: ImageHash) -> Option<&Seen> {
        self.open.seen.get(&image)
    }

    pub(super) fn shape(&self, image: ImageHash) -> u64 {
        self.open.shapes.get(&image).copied().unwrap_or(0)
    }

    pub(super) fn note_shape(&mut self, image: ImageHash, shape: u64) {
        self.open.shapes.insert(image, shape);
    }

    pub(super) fn recovery(&self, image: ImageHash) -> Option<&Recorded> {
        self.open.recoveries.get(&image)
    }

    pub(super) fn recoveries(&self) -> usize {
        self.open.recoveries.len()
    }

    pub(super) fn note_recovery(&mut self, image: ImageHash, recorded: Recorded) {
        if worth_keeping(self, &recorded) {
            self.open.recoveries.insert(image, recorded);
        }
    }

    /// The whole content, where there was room for it.
    pub(crate) fn dump(&self, digest: Digest) -> Option<&Dump> {
        self.open.strange.get(digest).or_else(|| self.open.prefixes.get(digest))
    }

    /// The whole content of what came back, where there was room for it.
    pub(super) fn dump_of(&self, seen: &Seen) -> Option<&Dump> {
        match &seen.first {
            First::Holds(digest) => self.dump(*digest),
            First::Broke(..) => None,
        }
    }

    /// The images of a list that were not recovered yet, each once, in the list's order.
    pub(super) fn unknown(&self, images: &[ImageHash]) -> Vec<usize> {
        let mut asked = HashSet::new();
        let new = |i: &usize| !self.open.seen.contains_key(&images[*i]) && asked.insert(images[*i]);
        (0..images.len()).filter(new).collect()
    }

    /// Keeps what an image came to. To be called in the order of the states: which dumps find room depends on
    /// it, and must not depend on which worker was quicker.
    pub(super) fn note(&mut self, noted: Noted) {
        if let Some((digest, dump, is_prefix)) = noted.content {
            let dumps = if is_prefix { &mut self.open.prefixes } else { &mut self.open.strange };
            dumps.keep(digest, dump);
        }
        if noted.aside.merged {
            self.open.spared.insert(noted.image, Spared::Start);
        }
        if let (Some(read), Some(laid)) = (noted.aside.read, &noted.laid) {
            self.open.alike.note(laid, read, noted.image);
        }
        self.open.seen.insert(noted.image, noted.seen);
    }

    /// Whether an image differs from a recovered one only in what that one's recovery has not read: then it is known
    /// what it recovers to.
    pub(super) fn knows_alike(&mut self, hash: ImageHash, image: &SharedImage) -> bool {
        let Some(seen) = self.open.alike.find(image).and_then(|known| self.open.seen.get(&known)).cloned()
        else {
            return false;
        };
        self.open.seen.insert(hash, seen);
        self.open.spared.insert(hash, Spared::Recovery);
        self.open.unread += 1;
        true
    }

    /// What an image was spared, if anything.
    pub(super) fn spared(&self, image: ImageHash) -> Option<Spared> {
        self.open.spared.get(&image).copied()
    }

    /// How many of the images that both know recovered to the same, and how many did not. For tests: two explorations
    /// of one trace in which none did not have found the same violations in the same states.
    #[doc(hidden)]
    pub fn agreement(&self, other: &Memo) -> (usize, usize) {
        let both =
            self.open.seen.iter().filter_map(|(image, seen)| Some((seen, other.open.seen.get(image)?)));
        both.fold((0, 0), |(same, not), (a, b)| if a == b { (same + 1, not) } else { (same, not + 1) })
    }

    /// Compares less than was read. For tests: that is wrong, and must be found to be.
    #[cfg(test)]
    pub(super) fn heeding(heed: unplug_faults::reads::Heed) -> Memo {
        Memo { open: Book { alike: Alike::heeding(heed), ..Book::default() }, ..Memo::default() }
    }
}
