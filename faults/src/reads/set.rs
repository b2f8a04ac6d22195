//! What was read, as data.

use crate::effect::PAGE;
use crate::image::{Content, Entry, SharedImage};
use serde::{Deserialize, Serialize};
use std::hash::Hasher;
use xxhash_rust::xxh3::Xxh3;

/// What was read of one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Part {
    /// Its size, and of its bytes those on these pages: runs, the first page and the one behind the last.
    Pages(Vec<(u64, u64)>),
    /// All of it.
    Whole,
}

/// What was read of an image. Names, kinds and links always count as read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReadSet {
    /// By the file's place among the image's files, in the order of their first names; what is not here was not
    /// looked at.
    pub files: Vec<(u32, Part)>,
}

/// What may be left out of the comparison of two images. Only tests leave out more than was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heed {
    /// Sizes that were seen are compared.
    pub sizes: bool,
    /// Pages that were read are compared.
    pub pages: bool,
}

impl Heed {
    /// All that was read.
    pub const ALL: Heed = Heed { sizes: true, pages: true };
}

impl SharedImage {
    /// The files in the order of their first names, with these.
    pub(crate) fn files_in_order(&self) -> impl Iterator<Item = (&[u8], Option<&Content>)> {
        self.walk().filter_map(|(path, entry, first)| match (entry, first) {
            (Entry::File(file), None) => Some((path, self.files.get(file).map(|content| &**content))),
            _ => None,
        })
    }

    /// The identity of the names, what they stand for, and which of them are one file's.
    pub fn skeleton(&self) -> u128 {
        let mut hasher = Xxh3::new();
        let mut tell = |tag: u8, bytes: &[u8]| {
            hasher.write_u8(tag);
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        };
        for (path, entry, first) in self.walk() {
            tell(b'n', path);
            match (entry, first) {
                (Entry::Dir, _) => tell(b'd', &[]),
                (Entry::Symlink(target), _) => tell(b's', target),
                (Entry::File(_), Some(first)) => tell(b'l', first),
                (Entry::File(_), None) => tell(b'f', &[]),
            }
        }
        hasher.digest128()
    }

    /// The identity of what a recovery has read, were it started on this image: equal for two images of one
    /// [`skeleton`](SharedImage::skeleton), it would read the same of both.
    pub fn told(&self, read: &ReadSet, heed: Heed) -> u128 {
        let mut hasher = Xxh3::new();
        let nothing = Content::default();
        let mut wanted = read.files.iter().peekable();
        for (index, (_, content)) in self.files_in_order().enumerate() {
            let Some((_, part)) = wanted.next_if(|(file, _)| *file as usize == index) else { continue };
            let content = content.unwrap_or(&nothing);
            if heed.sizes {
                hasher.write_u64(content.size);
            }
            if !heed.pages {
                continue;
            }
            match part {
                Part::Whole => content.tell(0, u64::MAX, &mut hasher),
                Part::Pages(runs) => runs.iter().for_each(|(from, to)| content.tell(*from, *to, &mut hasher)),
            }
        }
        hasher.digest128()
    }
}

impl Content {
    /// The bytes of these pages, as far as the file goes; zeros are told by leaving them out.
    fn tell(&self, from: u64, to: u64, hasher: &mut Xxh3) {
        let to = to.min(self.size.div_ceil(PAGE));
        if from >= to {
            return;
        }
        for (page, bytes) in self.pages.range(from..to) {
            let inside = (self.size - page * PAGE).min(PAGE) as usize;
            let len = bytes[..inside].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if len > 0 {
                hasher.write_u64(*page);
                hasher.write_usize(len);
                hasher.write(&bytes[..len]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NodeKind;
    use crate::image::{Image, ImageNode};

    fn image(files: &[(&str, &[u8])]) -> SharedImage {
        let node = |data: &[u8]| ImageNode { kind: NodeKind::File, data: data.to_vec(), link_to: None };
        let nodes = files.iter().map(|(path, data)| (path.as_bytes().to_vec(), node(data))).collect();
        SharedImage::from(&Image { nodes })
    }

    fn read(files: &[(u32, Part)]) -> ReadSet {
        ReadSet { files: files.to_vec() }
    }

    fn pages(first: u8, second: u8, tail: usize) -> Vec<u8> {
        [[first; 4096].as_slice(), &[second; 4096], &vec![9; tail]].concat()
    }

    #[test]
    fn only_what_was_read_is_told() {
        let (a, b) = (pages(1, 2, 5), pages(1, 3, 5));
        let (a, b) = (image(&[("x", &a), ("y", b"1")]), image(&[("x", &b), ("y", b"22")]));
        assert_eq!(a.skeleton(), b.skeleton());
        let same = |set: &ReadSet| a.told(set, Heed::ALL) == b.told(set, Heed::ALL);
        assert!(same(&read(&[])) && same(&read(&[(0, Part::Pages(vec![]))])));
        assert!(same(&read(&[(0, Part::Pages(vec![(0, 1), (2, 9)]))])));
        assert!(!same(&read(&[(0, Part::Pages(vec![(0, 2)]))])) && !same(&read(&[(0, Part::Whole)])));
        // The other file's size was seen, if nothing of it: it differs.
        assert!(!same(&read(&[(1, Part::Pages(vec![]))])));
        let blind = Heed { sizes: false, ..Heed::ALL };
        let size = read(&[(1, Part::Pages(vec![]))]);
        assert_eq!(a.told(&size, blind), b.told(&size, blind));
    }

    #[test]
    fn zeros_are_zeros_whether_they_are_a_hole_or_not() {
        let (zeros, whole) = (pages(0, 2, 0), read(&[(0, Part::Whole)]));
        let dense = image(&[("x", &zeros)]);
        let mut sparse = dense.clone();
        for content in sparse.files.values_mut() {
            std::sync::Arc::make_mut(content).pages.remove(&0);
        }
        assert_eq!(dense.told(&whole, Heed::ALL), sparse.told(&whole, Heed::ALL));
        let other = image(&[("x", &pages(2, 0, 0))]);
        assert_ne!(dense.told(&whole, Heed::ALL), other.told(&whole, Heed::ALL));
    }

    #[test]
    fn names_kinds_and_links_are_the_skeleton() {
        let one = image(&[("a", b""), ("b", b"")]);
        let mut linked = one.image();
        linked.nodes.get_mut(b"b".as_slice()).unwrap().link_to = Some(b"a".to_vec());
        let mut symbolic = one.image();
        symbolic.nodes.get_mut(b"b".as_slice()).unwrap().kind = NodeKind::Symlink(b"a".to_vec());
        let all = [one, (&linked).into(), (&symbolic).into(), image(&[("a", b"")]), image(&[("ab", b"")])];
        let skeletons: std::collections::BTreeSet<u128> = all.iter().map(|i| i.skeleton()).collect();
        assert_eq!(skeletons.len(), all.len());
    }
}
