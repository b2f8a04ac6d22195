//! Short byte strings one behind the other in one allocation: what small values are made of.

/// No string in it is longer: its length is one byte.
pub(super) const LONGEST: usize = 64;

/// Byte strings of at most [`LONGEST`] bytes, each behind its length. There is no room for more: whoever holds many small
/// values wants them small, and an allocator has a little room behind each anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packed(Box<[u8]>);

impl Packed {
    /// Strings, one behind the other.
    pub(super) fn of<'a>(items: impl Iterator<Item = &'a [u8]> + Clone) -> Packed {
        let mut bytes = Vec::with_capacity(items.clone().map(|item| 1 + item.len()).sum());
        for item in items {
            debug_assert!(item.len() <= LONGEST, "longer strings are stored elsewhere");
            bytes.push(item.len() as u8);
            bytes.extend_from_slice(item);
        }
        Packed(bytes.into_boxed_slice())
    }

    /// The strings with the offsets at which they begin.
    pub(super) fn iter(&self) -> Items<'_> {
        Items { bytes: &self.0, at: 0 }
    }

    /// Where the strings end.
    pub(super) fn end(&self) -> usize {
        self.0.len()
    }

    /// Puts strings at an offset at which one begins, or at the end.
    pub(super) fn insert<const N: usize>(&mut self, offset: usize, items: [&[u8]; N]) {
        let added: usize = items.iter().map(|item| 1 + item.len()).sum();
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        let old = bytes.len();
        bytes.reserve_exact(added);
        bytes.resize(old + added, 0);
        bytes.copy_within(offset..old, offset + added);
        let mut at = offset;
        for item in items {
            debug_assert!(item.len() <= LONGEST, "longer strings are stored elsewhere");
            bytes[at] = item.len() as u8;
            bytes[at + 1..at + 1 + item.len()].copy_from_slice(item);
            at += 1 + item.len();
        }
        self.0 = bytes.into_boxed_slice();
    }

    /// Takes away the `count` strings that begin at an offset.
    pub(super) fn remove(&mut self, offset: usize, count: usize) {
        let mut rest = Items { bytes: &self.0, at: offset };
        rest.by_ref().take(count).for_each(drop);
        let end = rest.at;
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        bytes.drain(offset..end);
        self.0 = bytes.into_boxed_slice();
    }
}

/// The strings of a [`Packed`] with their offsets.
#[derive(Clone, Debug)]
pub(super) struct Items<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let len = usize::from(*self.bytes.get(at)?);
        self.at = at + 1 + len;
        Some((at, self.bytes.get(at + 1..self.at)?))
    }
}

/// An iterator that is known to give so many more items.
#[derive(Clone, Debug)]
pub(super) struct Counted<I>(pub(super) I, pub(super) usize);

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<Self::Item> {
        self.1 = self.1.saturating_sub(1);
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.1, Some(self.1))
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}

/// A walk over what is stored by place, where things are added behind the last place, and the last one moves to the
/// place of what is taken away. It goes from the last place to the first: what moves has been seen, or moves to where
/// the walk has not been, so that nothing that is there throughout is left out, without any state but the cursor.
///
/// Gives the places of one page, and the cursor of the next page; 0 is the first page's, and the end's.
pub(super) fn scan_page(cursor: u64, count: usize, len: usize) -> (std::ops::Range<usize>, u64) {
    let end = match usize::try_from(cursor) {
        Ok(0) | Err(_) => len,
        Ok(cursor) => cursor.min(len),
    };
    let start = end.saturating_sub(count.max(1));
    (start..end, start as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(packed: &Packed) -> Vec<String> {
        packed.iter().map(|(_, item)| String::from_utf8_lossy(item).into_owned()).collect()
    }

    #[test]
    fn strings_are_put_in_and_taken_out_anywhere() {
        let mut packed = Packed::default();
        packed.insert(0, [b"bb".as_slice(), b""]);
        packed.insert(packed.end(), [&[b'x'; LONGEST]]);
        packed.insert(0, [b"a".as_slice()]);
        packed.insert(2, [b"1".as_slice(), b"22"]);
        assert_eq!(all(&packed), ["a", "1", "22", "bb", "", &"x".repeat(LONGEST)]);
        packed.remove(2, 3);
        assert_eq!(all(&packed), ["a", "", &"x".repeat(LONGEST)]);
        packed.remove(0, 3);
        assert_eq!(packed, Packed::default());
    }

    #[test]
    fn a_walk_gives_everything_that_stays() {
        // Between pages a member goes, whose place the last one takes, and another one comes.
        let mut members: Vec<u32> = (0..100).collect();
        let (mut seen, mut cursor, mut step) = (Vec::new(), 0, 0);
        loop {
            let (page, next) = scan_page(cursor, 7, members.len());
            seen.extend_from_slice(&members[page]);
            if next == 0 {
                break;
            }
            cursor = next;
            members.swap_remove((step * 37) % members.len());
            members.push(1000 + step as u32);
            step += 1;
        }
        for member in members.iter().filter(|m| **m < 100) {
            assert!(seen.contains(member), "{member}");
        }
        assert!(step > 10);
    }
}
