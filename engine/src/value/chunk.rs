//! A part of a list: a few byte strings one behind the other in one allocation.

use std::ops::Range;

/// Strings in a chunk at most: few enough to walk.
const MOST: usize = 64;
/// Bytes in a chunk of more than one string at most: few enough to move.
const BYTES: usize = 2048;
/// A first byte that says that the length, of eight bytes, follows; every other one is the length.
const LONG: u8 = 0xff;

/// Byte strings, each behind its length.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    len: usize,
}

/// How many bytes a string of that length takes.
fn size(len: usize) -> usize {
    if len < usize::from(LONG) { 1 + len } else { 9 + len }
}

impl Chunk {
    /// How many strings there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The offset at which they end.
    pub(super) fn end(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a string of that length may come to those that are there.
    pub(super) fn takes(&self, len: usize) -> bool {
        self.len == 0 || (self.len < MOST && self.bytes.len() + size(len) <= BYTES)
    }

    /// Whether all strings of another one may.
    pub(super) fn takes_all(&self, other: &Chunk) -> bool {
        self.len + other.len <= MOST && self.bytes.len() + other.bytes.len() <= BYTES
    }

    /// Whether it holds more than it should.
    pub(super) fn too_large(&self) -> bool {
        self.len > MOST || (self.len > 1 && self.bytes.len() > BYTES)
    }

    /// The strings, with the offsets at which they begin.
    pub(super) fn items(&self) -> Items<'_> {
        Items { bytes: &self.bytes, at: 0 }
    }

    /// The offset of the string at a place, or the end.
    pub(super) fn offset(&self, place: usize) -> usize {
        let mut items = self.items();
        items.by_ref().take(place).for_each(drop);
        items.at
    }

    /// Puts a string at an offset at which one begins, or at the end.
    pub(super) fn insert(&mut self, offset: usize, item: &[u8]) {
        let added = size(item.len());
        if self.bytes.capacity() - self.bytes.len() < added {
            // An eighth more than is needed: small, and yet not copied each time.
            self.bytes.reserve_exact(added + self.bytes.len() / 8);
        }
        let old = self.bytes.len();
        self.bytes.resize(old + added, 0);
        self.bytes.copy_within(offset..old, offset + added);
        let (head, body) = self.bytes[offset..offset + added].split_at_mut(added - item.len());
        match head {
            [short] => *short = item.len() as u8,
            _ => {
                head[0] = LONG;
                head[1..].copy_from_slice(&(item.len() as u64).to_le_bytes());
            }
        }
        body.copy_from_slice(item);
        self.len += 1;
    }

    /// Takes the string that begins at an offset.
    pub(super) fn remove(&mut self, offset: usize) -> Vec<u8> {
        let mut items = Items { bytes: &self.bytes, at: offset };
        let item = items.next().map_or_else(Vec::new, |(_, item)| item.to_vec());
        let end = items.at;
        self.bytes.drain(offset..end);
        self.len -= 1;
        self.give_back();
        item
    }

    /// Keeps the strings at a range of places.
    pub(super) fn keep(&mut self, range: Range<usize>) {
        let (begin, end) = (self.offset(range.start), self.offset(range.end));
        self.bytes.truncate(end);
        self.bytes.drain(..begin);
        self.len = range.len();
        self.give_back();
    }

    /// Keeps the strings for which `keep` says so.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let (mut from, mut to) = (0, 0);
        while let Some((_, item)) = (Items { bytes: &self.bytes, at: from }).next() {
            let (item_size, kept) = (size(item.len()), keep(item));
            if kept {
                self.bytes.copy_within(from..from + item_size, to);
                to += item_size;
            } else {
                self.len -= 1;
            }
            from += item_size;
        }
        self.bytes.truncate(to);
        self.give_back();
    }

    /// Puts the strings of another one behind its own.
    pub(super) fn append(&mut self, other: &Chunk) {
        self.bytes.extend_from_slice(&other.bytes);
        self.len += other.len;
    }

    /// Gives the second half away: half of the bytes as nearly as can be, and one string at least stays and goes.
    pub(super) fn split(&mut self) -> Chunk {
        let half = self.bytes.len() / 2;
        let at = self.items().position(|(offset, _)| offset >= half).unwrap_or(self.len);
        let at = at.clamp(1, self.len - 1);
        let rest = Chunk { bytes: self.bytes.split_off(self.offset(at)), len: self.len - at };
        self.len = at;
        self.give_back();
        rest
    }

    /// Memory that is mostly unused goes.
    fn give_back(&mut self) {
        if self.bytes.capacity() > 64 && self.bytes.len() < self.bytes.capacity() / 4 {
            self.bytes.shrink_to(self.bytes.len() * 2);
        }
    }
}

/// The strings of a [`Chunk`] with their offsets.
#[derive(Clone, Debug)]
pub(super) struct Items<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let (begin, len) = match *self.bytes.get(at)? {
            LONG => {
                let len = self.bytes.get(at + 1..at + 9)?.try_into().ok()?;
                (at + 9, u64::from_le_bytes(len) as usize)
            }
            short => (at + 1, usize::from(short)),
        };
        self.at = begin + len;
        Some((at, self.bytes.get(begin..self.at)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(items: &[usize]) -> Chunk {
        let mut chunk = Chunk::default();
        items.iter().for_each(|len| chunk.insert(chunk.end(), &vec![b'x'; *len]));
        chunk
    }

    #[test]
    fn it_takes_what_its_bounds_allow_and_no_more() {
        assert!(chunk(&[1; MOST - 1]).takes(1) && !chunk(&[1; MOST]).takes(1));
        // A byte of length each; nine where the length is 255 or more.
        let half = chunk(&[200; 5]);
        assert_eq!(half.end(), 1005);
        assert!(half.takes(BYTES - 1005 - 9) && !half.takes(BYTES - 1005 - 8));
        let full = chunk(&[200; 9]);
        assert_eq!(full.end(), 1809);
        assert!(full.takes(BYTES - 1809 - 1) && !full.takes(BYTES - 1809));
        assert!(Chunk::default().takes(BYTES * 2), "one alone may be as long as it likes");
    }

    #[test]
    fn two_become_one_where_the_bounds_allow_it() {
        assert!(chunk(&[1; 32]).takes_all(&chunk(&[1; 32])) && !chunk(&[1; 32]).takes_all(&chunk(&[1; 33])));
        let rest = |len: usize| chunk(&[len]);
        let full = chunk(&[200; 9]);
        assert!(full.takes_all(&rest(BYTES - 1809 - 1)) && !full.takes_all(&rest(BYTES - 1809)));
    }

    #[test]
    fn it_is_too_large_beyond_its_bounds() {
        assert!(!chunk(&[1; MOST]).too_large() && chunk(&[1; MOST + 1]).too_large());
        let mut full = chunk(&[200; 9]);
        full.insert(full.end(), &[b'x'; BYTES - 1809 - 1]);
        assert!(!full.too_large());
        full.insert(full.end(), b"");
        assert!(full.too_large() && !chunk(&[BYTES * 2]).too_large());
    }
}
