//! A list of byte strings, in chunks.

use std::collections::VecDeque;
use std::ops::Range;

use super::chunk::Chunk;
use super::packed::Counted;

/// A list of byte strings.
///
/// A short one of short strings is one chunk, which is one allocation. A longer one is a deque of chunks: both ends are
/// reached at once, and a place in the middle by counting chunks.
#[derive(Clone, Debug)]
pub struct List(Repr);

#[derive(Clone, Debug)]
enum Repr {
    One(Chunk),
    /// Two chunks or more, none of them empty. In a box, so that a short list is not as large as this.
    Many(Box<Many>),
}

#[derive(Clone, Debug)]
struct Many {
    chunks: VecDeque<Chunk>,
    len: usize,
}

impl Default for List {
    fn default() -> List {
        List(Repr::One(Chunk::default()))
    }
}

impl PartialEq for List {
    fn eq(&self, other: &List) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for List {}

impl List {
    /// How many strings there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::One(chunk) => chunk.len(),
            Repr::Many(many) => many.len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chunks, in two parts.
    fn chunks(&self) -> (&[Chunk], &[Chunk]) {
        match &self.0 {
            Repr::One(chunk) => (std::slice::from_ref(chunk), &[]),
            Repr::Many(many) => many.chunks.as_slices(),
        }
    }

    fn chunk_mut(&mut self, at: usize) -> Option<&mut Chunk> {
        match &mut self.0 {
            Repr::One(chunk) => (at == 0).then_some(chunk),
            Repr::Many(many) => many.chunks.get_mut(at),
        }
    }

    fn chunk(&self, at: usize) -> Option<&Chunk> {
        match &self.0 {
            Repr::One(chunk) => (at == 0).then_some(chunk),
            Repr::Many(many) => many.chunks.get(at),
        }
    }

    /// The number of the chunk in which a place lies, and the place in it.
    fn locate(&self, place: usize) -> Option<(usize, usize)> {
        let (len, (front, back)) = (self.len(), self.chunks());
        if place >= len {
            return None;
        }
        let count = front.len() + back.len();
        let chunks = front.iter().chain(back).map(Chunk::len).enumerate();
        if place <= len / 2 {
            let mut begin = 0;
            for (at, chunk) in chunks {
                if place < begin + chunk {
                    return Some((at, place - begin));
                }
                begin += chunk;
            }
        } else {
            let mut begin = len;
            for (at, chunk) in (0..count).rev().zip(front.iter().chain(back).rev()) {
                begin -= chunk.len();
                if place >= begin {
                    return Some((at, place - begin));
                }
            }
        }
        None
    }

    /// The string at a place.
    pub fn get(&self, place: usize) -> Option<&[u8]> {
        let (at, inner) = self.locate(place)?;
        self.chunk(at)?.items().nth(inner).map(|(_, item)| item)
    }

    /// Adds a string at the end.
    pub fn push_back(&mut self, item: &[u8]) {
        match &mut self.0 {
            Repr::One(chunk) if chunk.takes(item.len()) => chunk.insert(chunk.end(), item),
            Repr::One(_) => {
                self.many().chunks.push_back(Chunk::default());
                self.push_back(item);
            }
            Repr::Many(many) => {
                if !many.chunks.back().is_some_and(|chunk| chunk.takes(item.len())) {
                    many.chunks.push_back(Chunk::default());
                }
                if let Some(chunk) = many.chunks.back_mut() {
                    chunk.insert(chunk.end(), item);
                    many.len += 1;
                }
            }
        }
    }

    /// Adds a string at the beginning.
    pub fn push_front(&mut self, item: &[u8]) {
        match &mut self.0 {
            Repr::One(chunk) if chunk.takes(item.len()) => chunk.insert(0, item),
            Repr::One(_) => {
                self.many().chunks.push_front(Chunk::default());
                self.push_front(item);
            }
            Repr::Many(many) => {
                if !many.chunks.front().is_some_and(|chunk| chunk.takes(item.len())) {
                    many.chunks.push_front(Chunk::default());
                }
                if let Some(chunk) = many.chunks.front_mut() {
                    chunk.insert(0, item);
                    many.len += 1;
                }
            }
        }
    }

    /// Takes the first string.
    pub fn pop_front(&mut self) -> Option<Vec<u8>> {
        self.pop(0, |_| 0)
    }

    /// Takes the last string.
    pub fn pop_back(&mut self) -> Option<Vec<u8>> {
        let last = match &self.0 {
            Repr::One(_) => 0,
            Repr::Many(many) => many.chunks.len() - 1,
        };
        self.pop(last, |chunk| chunk.len() - 1)
    }

    fn pop(&mut self, at: usize, place: fn(&Chunk) -> usize) -> Option<Vec<u8>> {
        let chunk = self.chunk_mut(at).filter(|chunk| chunk.len() > 0)?;
        let item = chunk.remove(chunk.offset(place(chunk)));
        let empty = chunk.len() == 0;
        if let Repr::Many(many) = &mut self.0 {
            many.len -= 1;
            if empty {
                many.chunks.remove(at);
                self.settle();
            }
        }
        Some(item)
    }

    /// Puts a string in the place of another; says whether there is such a place.
    pub fn set(&mut self, place: usize, item: &[u8]) -> bool {
        let Some((at, inner)) = self.locate(place) else { return false };
        if let Some(chunk) = self.chunk_mut(at) {
            let offset = chunk.offset(inner);
            chunk.remove(offset);
            chunk.insert(offset, item);
        }
        self.divide(at);
        true
    }

    /// Puts a string in front of the one at a place, or at the end.
    pub fn insert(&mut self, place: usize, item: &[u8]) {
        let Some((at, inner)) = self.locate(place) else { return self.push_back(item) };
        if let Some(chunk) = self.chunk_mut(at) {
            chunk.insert(chunk.offset(inner), item);
        }
        if let Repr::Many(many) = &mut self.0 {
            many.len += 1;
        }
        self.divide(at);
    }

    /// Keeps what is in a range of places, which must be within the list.
    pub fn keep(&mut self, range: Range<usize>) {
        let len = self.len();
        let (mut from_front, mut from_back) = (range.start.min(len), len - range.end.min(len));
        if range.is_empty() {
            *self = List::default();
            return;
        }
        let many = self.many();
        many.len = range.len();
        while let Some(first) = many.chunks.front_mut() {
            if first.len() > from_front {
                first.keep(from_front..first.len());
                break;
            }
            from_front -= first.len();
            many.chunks.pop_front();
        }
        while let Some(last) = many.chunks.back_mut() {
            if last.len() > from_back {
                last.keep(0..last.len() - from_back);
                break;
            }
            from_back -= last.len();
            many.chunks.pop_back();
        }
        self.settle();
    }

    /// Keeps the strings for which `keep`, given place and string, says so.
    pub fn retain(&mut self, mut keep: impl FnMut(usize, &[u8]) -> bool) {
        let many = self.many();
        let mut place = 0;
        let mut kept: VecDeque<Chunk> = VecDeque::with_capacity(many.chunks.len());
        for mut chunk in many.chunks.drain(..) {
            chunk.retain(|item| {
                place += 1;
                keep(place - 1, item)
            });
            // What has become small joins its neighbour, lest many removals leave many small chunks.
            match kept.back_mut() {
                Some(last) if last.takes_all(&chunk) => last.append(&chunk),
                _ if chunk.len() == 0 => {}
                _ => kept.push_back(chunk),
            }
        }
        many.len = kept.iter().map(Chunk::len).sum();
        many.chunks = kept;
        self.settle();
    }

    /// The strings, from the first to the last.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.range(0..self.len())
    }

    /// The strings at a range of places, which must be within the list.
    pub fn range(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = &[u8]> {
        let (at, inner) = self.locate(range.start).unwrap_or((usize::MAX, 0));
        let (front, back) = self.chunks();
        let chunks = front.iter().chain(back).skip(at);
        let items = chunks.flat_map(Chunk::items).map(|(_, item)| item);
        Counted(items.skip(inner).take(range.len()), range.len())
    }

    /// Takes the form of many chunks, were it for a moment.
    fn many(&mut self) -> &mut Many {
        if let Repr::One(chunk) = &mut self.0 {
            let (len, chunk) = (chunk.len(), std::mem::take(chunk));
            self.0 = Repr::Many(Box::new(Many { chunks: VecDeque::from([chunk]), len }));
        }
        match &mut self.0 {
            Repr::Many(many) => many,
            Repr::One(_) => unreachable!("it was made many a moment ago"),
        }
    }

    /// Takes the form of one chunk where no more are left.
    fn settle(&mut self) {
        if let Repr::Many(many) = &mut self.0
            && many.chunks.len() < 2
        {
            self.0 = Repr::One(many.chunks.pop_front().unwrap_or_default());
        }
    }

    /// Divides a chunk that has become too large.
    fn divide(&mut self, at: usize) {
        if self.chunk(at).is_none_or(|chunk| !chunk.too_large()) {
            return;
        }
        let many = self.many();
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            let Some(chunk) = many.chunks.get_mut(at).filter(|chunk| chunk.too_large()) else { continue };
            let rest = chunk.split();
            many.chunks.insert(at + 1, rest);
            // The one behind first: it is looked at last, when what is in front of it may have moved it.
            open.extend([at, at + 1]);
        }
        self.settle();
    }
}

impl<'a> FromIterator<&'a [u8]> for List {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(items: I) -> List {
        let mut list = List::default();
        items.into_iter().for_each(|item| list.push_back(item));
        list
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
