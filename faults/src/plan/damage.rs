//! Damage to files at rest: what a disk does to them between a clean stop and the next start.

use crate::event::NodeKind;
use crate::image::{Image, ImageNode};
use crate::record::{Found, scan_dir};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

/// One thing that a disk did to a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Damage {
    /// One bit is another.
    Flip {
        /// The file.
        path: Vec<u8>,
        /// The byte.
        at: u64,
        /// The bit in it.
        bit: u8,
    },
    /// A block reads as zeros.
    Zero {
        /// The file.
        path: Vec<u8>,
        /// Its first byte.
        at: u64,
        /// Its length.
        len: u64,
    },
    /// What was written to one block went to another one: that holds it, and the first one what it held before,
    /// which was nothing.
    Misdirected {
        /// The file whose block was written.
        path: Vec<u8>,
        /// The block's first byte.
        at: u64,
        /// The file whose block got it.
        other: Vec<u8>,
        /// That block's first byte.
        to: u64,
        /// The block's length.
        len: u64,
    },
}

impl Damage {
    /// The image with the damage; `None` where that changes nothing, or there is no such place.
    pub fn apply(&self, image: &Image) -> Option<Image> {
        let mut damaged = image.clone();
        match self {
            Damage::Flip { path, at, bit } => {
                let byte = damaged.nodes.get_mut(path)?.data.get_mut(usize::try_from(*at).ok()?)?;
                *byte ^= 1 << (bit & 7);
            }
            Damage::Zero { path, at, len } => range(&mut damaged, path, *at, *len)?.fill(0),
            Damage::Misdirected { path, at, other, to, len } => {
                let block = range(&mut damaged, path, *at, *len)?.to_vec();
                range(&mut damaged, path, *at, *len)?.fill(0);
                let there = range(&mut damaged, other, *to, *len)?;
                let fits = there.len().min(block.len());
                there[..fits].copy_from_slice(&block[..fits]);
            }
        }
        (damaged != *image).then_some(damaged)
    }

    /// The places that it changes: file, first byte, length.
    pub fn places(&self) -> Vec<(&[u8], u64, u64)> {
        match self {
            Damage::Flip { path, at, .. } => vec![(path, *at, 1)],
            Damage::Zero { path, at, len } => vec![(path, *at, *len)],
            Damage::Misdirected { path, at, other, to, len } => vec![(path, *at, *len), (other, *to, *len)],
        }
    }

    /// Damage to the files of an image: `each` flipped bits in every file, spread by the seed; every block of 512
    /// and of 4096 bytes zeroed, `each` of them at the most; as many blocks misdirected within the file, and one
    /// into each other file.
    pub fn of(image: &Image, seed: u64, each: u64) -> Vec<Damage> {
        let is_file = |(_, n): &(&Vec<u8>, &ImageNode)| {
            n.kind == NodeKind::File && n.link_to.is_none() && !n.data.is_empty()
        };
        let files: Vec<(&Vec<u8>, u64)> =
            image.nodes.iter().filter(is_file).map(|(p, n)| (p, n.data.len() as u64)).collect();
        let mut out = Vec::new();
        for (index, (path, len)) in files.iter().enumerate() {
            for place in spread(*len, each, seed.wrapping_add(index as u64)) {
                let bit = (mix(seed ^ place) % 8) as u8;
                out.push(Damage::Flip { path: (*path).clone(), at: place, bit });
            }
            for block in [512, 4096] {
                let blocks = len.div_ceil(block);
                for n in spread(blocks, each, seed ^ block) {
                    out.push(Damage::Zero { path: (*path).clone(), at: n * block, len: block });
                    let to = (n + 1 + mix(seed ^ n) % blocks.max(2).saturating_sub(1)) % blocks;
                    let (at, to, other) = (n * block, to * block, (*path).clone());
                    if at != to {
                        out.push(Damage::Misdirected { path: (*path).clone(), at, other, to, len: block });
                    }
                }
            }
            for (other, _) in files.iter().filter(|(other, _)| other != path) {
                let other = (*other).clone();
                out.push(Damage::Misdirected { path: (*path).clone(), at: 0, other, to: 0, len: 512 });
            }
        }
        out.sort();
        out.dedup();
        out
    }
}

/// At the most `each` of the numbers below `len`: the first, the last, and others between them.
fn spread(len: u64, each: u64, seed: u64) -> Vec<u64> {
    if len <= each {
        return (0..len).collect();
    }
    let step = len / each.max(1);
    let mut out: Vec<u64> = (0..each).map(|n| n * step + mix(seed.wrapping_mul(31) ^ n) % step).collect();
    if let (Some(first), true) = (out.first_mut(), each > 1) {
        *first = 0;
    }
    if let Some(last) = out.last_mut() {
        *last = len - 1;
    }
    out
}

/// A number that looks like none of its neighbours' (the finaliser of splitmix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ n >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ n >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ n >> 31
}

/// The bytes of a block, up to the end of its file.
fn range<'i>(image: &'i mut Image, path: &[u8], at: u64, len: u64) -> Option<&'i mut [u8]> {
    let data = &mut image.nodes.get_mut(path)?.data;
    let from = usize::try_from(at).ok().filter(|from| *from < data.len())?;
    let to = from.saturating_add(usize::try_from(len).ok()?).min(data.len());
    data.get_mut(from..to)
}

/// A directory as an image, less what the globs ignore.
///
/// # Errors
/// Something in it cannot be read.
pub fn image_of(dir: &Path, ignore: &[String]) -> io::Result<Image> {
    let found = scan_dir(dir, ignore)?;
    let mut first_name: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut image = Image::default();
    for (path, Found { ino, kind, data }) in found {
        let link_to = match kind {
            NodeKind::File => first_name.get(&ino).cloned(),
            _ => None,
        };
        first_name.entry(ino).or_insert_with(|| path.clone());
        let data = if link_to.is_some() { Vec::new() } else { data };
        image.nodes.insert(path, ImageNode { kind, data, link_to });
    }
    Ok(image)
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |p: &[u8]| crate::paths::printable(p);
        match self {
            Damage::Flip { path, at, bit } => write!(f, "bit {bit} of byte {at} of {} flipped", text(path)),
            Damage::Zero { path, at, len } => {
                write!(f, "bytes {at}..{} of {} zeroed", at + len, text(path))
            }
            Damage::Misdirected { path, at, other, to, len } => write!(
                f,
                "bytes {at}..{} of {} written to byte {to} of {} instead",
                at + len,
                text(path),
                text(other)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let file = |data: &[u8]| ImageNode { kind: NodeKind::File, data: data.to_vec(), link_to: None };
        let nodes =
            [(b"a".to_vec(), file(&[1; 1300])), (b"b".to_vec(), file(&[2; 600])), (b"c".to_vec(), file(&[]))];
        Image { nodes: nodes.into_iter().collect() }
    }

    #[test]
    fn each_kind_of_damage_changes_what_it_says() {
        let image = image();
        let flip = Damage::Flip { path: b"a".to_vec(), at: 3, bit: 1 }.apply(&image).unwrap();
        assert_eq!(flip.nodes[&b"a"[..]].data[..5], [1, 1, 1, 3, 1]);
        let zero = Damage::Zero { path: b"a".to_vec(), at: 1024, len: 512 }.apply(&image).unwrap();
        assert_eq!(zero.nodes[&b"a"[..]].data[1023..1026], [1, 0, 0]);
        assert_eq!(zero.nodes[&b"a"[..]].data.len(), 1300);
        let (path, other) = (b"a".to_vec(), b"b".to_vec());
        let mis = Damage::Misdirected { path, at: 0, other, to: 0, len: 512 }.apply(&image).unwrap();
        assert_eq!((mis.nodes[&b"a"[..]].data[0], mis.nodes[&b"b"[..]].data[0]), (0, 1));
        assert_eq!(mis.nodes[&b"b"[..]].data[512], 2);
        assert!(Damage::Flip { path: b"c".to_vec(), at: 0, bit: 0 }.apply(&image).is_none());
        assert!(Damage::Zero { path: b"x".to_vec(), at: 0, len: 1 }.apply(&image).is_none());
    }

    #[test]
    fn all_files_are_damaged_at_both_ends_and_always_in_the_same_way() {
        let image = image();
        let all = Damage::of(&image, 7, 10);
        assert_eq!(all, Damage::of(&image, 7, 10));
        assert_ne!(all, Damage::of(&image, 8, 10));
        for (path, last) in [(&b"a"[..], 1299), (b"b", 599)] {
            let flips = |at: u64| {
                all.iter().any(|d| matches!(d, Damage::Flip { path: p, at: a, .. } if p == path && *a == at))
            };
            assert!(flips(0) && flips(last));
        }
        assert!(all.iter().all(|d| d.apply(&image).is_some()), "nothing is damaged in vain");
    }

    #[test]
    fn a_directory_becomes_an_image() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), "x").unwrap();
        std::fs::hard_link(dir.path().join("d/f"), dir.path().join("again")).unwrap();
        let image = image_of(dir.path(), &[]).unwrap();
        let names: Vec<&[u8]> = image.nodes.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [&b"again"[..], b"d", b"d/f"]);
        assert_eq!(image.nodes[&b"d/f"[..]].link_to.as_deref(), Some(&b"again"[..]));
    }
}
