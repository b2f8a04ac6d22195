//! Which images a power loss may leave: at any moment, everything that a flush has covered, and any subset of the
//! rest that the disk had been told.

use super::log::{BLOCK, Entry, Log};
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use unplug_faults::event::Clock;

/// One image, as blocks over the base, and when a power loss may leave it.
#[derive(Clone, Debug)]
pub struct CrashImage {
    /// Blocks by number.
    pub blocks: BTreeMap<usize, Vec<u8>>,
    /// First and last crash point, for every stretch of the recording that allows it.
    pub during: Vec<(Clock, Clock)>,
}

/// All subsets are tried up to this many writes that no flush covers.
const ALL_SUBSETS: usize = 7;

/// A stretch between two flushes.
struct Stretch {
    /// Writes that the disk has been told and no flush covers, as indexes of entries.
    open: Vec<usize>,
    /// The clock where it begins, and where it ends.
    clocks: (Clock, Clock),
}

/// The images of a log over `base`, each once, at most about `limit`; the choice among more is seeded.
pub fn crash_images(base: &[u8], log: &Log, limit: usize, seed: u64) -> Vec<CrashImage> {
    let count = 1 + log.entries.iter().filter(|entry| matches!(entry, Entry::Flush { .. })).count();
    let mut random = Pcg64Mcg::new(u128::from(seed) | 1);
    let mut images: Vec<CrashImage> = Vec::new();
    let mut known: BTreeMap<u64, usize> = BTreeMap::new();
    // What flushes have covered so far, as blocks.
    let mut sure: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let mut open: Vec<usize> = Vec::new();
    let mut clocks = (0, 0);
    let mut add = |stretch: &Stretch, sure: &BTreeMap<usize, Vec<u8>>, room: usize| {
        for subset in subsets(stretch.open.len(), room, &mut random) {
            let mut blocks = sure.clone();
            let mut first = stretch.clocks.0;
            for n in &subset {
                if let Entry::Write { offset, data, clock, .. } = &log.entries[stretch.open[*n]] {
                    put(&mut blocks, base, *offset, data);
                    first = first.max(*clock);
                }
            }
            blocks.retain(|block, data| base[block * BLOCK..block * BLOCK + data.len()] != data[..]);
            let mut hasher = DefaultHasher::new();
            blocks.hash(&mut hasher);
            let at = *known.entry(hasher.finish()).or_insert_with(|| {
                images.push(CrashImage { blocks, during: Vec::new() });
                images.len() - 1
            });
            images[at].during.push((first, stretch.clocks.1));
        }
    };
    let room = (limit / count).max(6);
    for (index, entry) in log.entries.iter().enumerate() {
        match entry {
            Entry::Write { clock, .. } => {
                open.push(index);
                clocks.1 = clocks.1.max(*clock);
            }
            Entry::Clock(clock) => clocks.1 = *clock,
            Entry::Flush { clock } => {
                clocks.1 = *clock;
                add(&Stretch { open: open.clone(), clocks }, &sure, room);
                open.retain(|n| match &log.entries[*n] {
                    Entry::Write { offset, data, done, .. } if done.is_some_and(|done| done <= index) => {
                        put(&mut sure, base, *offset, data);
                        false
                    }
                    _ => true,
                });
                clocks.0 = *clock;
            }
        }
    }
    add(&Stretch { open, clocks }, &sure, room);
    images
}

fn put(blocks: &mut BTreeMap<usize, Vec<u8>>, base: &[u8], offset: usize, data: &[u8]) {
    let block = offset / BLOCK;
    let start = block * BLOCK;
    let end = (start + BLOCK).min(base.len());
    let content = blocks.entry(block).or_insert_with(|| base[start..end].to_vec());
    content[offset - start..offset - start + data.len()].copy_from_slice(data);
}

/// Subsets of `n` writes: all of few. Of many: every prefix, every one lost, every one alone, every tail, then
/// random ones; if there is not `room` for those, a random choice of them. None and all come always.
fn subsets(n: usize, room: usize, random: &mut Pcg64Mcg) -> Vec<Vec<usize>> {
    let mut found: Vec<Vec<usize>> = Vec::new();
    if n <= ALL_SUBSETS && 1 << n <= room.max(16) {
        for bits in 0..1usize << n {
            found.push((0..n).filter(|k| bits >> k & 1 == 1).collect());
        }
        return found;
    }
    for k in 0..n {
        found.push((0..k).collect());
        found.push((0..n).filter(|i| *i != k).collect());
        found.push(vec![k]);
        found.push((k..n).collect());
    }
    for _ in 0..2 * n {
        let (a, b) = (random.next_u64(), random.next_u64());
        let mask = if random.next_u32() & 1 == 0 { a } else { a | b };
        found.push((0..n).filter(|k| mask >> (k % 64) & 1 == 1).collect());
    }
    while found.len() > room.saturating_sub(2) {
        let gone = random.next_u64() as usize % found.len();
        found.swap_remove(gone);
    }
    found.push(Vec::new());
    found.push((0..n).collect());
    found.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::log::Disk;
    use super::*;

    fn letters(image: &CrashImage) -> String {
        let letter = |n: &usize| image.blocks.get(n).map_or('0', |block| char::from(block[0]));
        (0..3).map(|n| letter(&n)).collect()
    }

    #[test]
    fn what_a_flush_covers_stays_and_the_rest_comes_in_every_subset() {
        let base = vec![b'0'; 3 * BLOCK];
        let mut disk = Disk::new(base.clone(), 1);
        disk.record();
        let write = |disk: &mut Disk, block: usize, letter: u8| {
            let entries = disk.told(block * BLOCK, &[letter; BLOCK]);
            disk.done(block * BLOCK, &[letter; BLOCK], entries);
        };
        disk.tick(1);
        write(&mut disk, 0, b'A');
        disk.flush();
        disk.tick(2);
        write(&mut disk, 1, b'B');
        disk.tick(3);
        write(&mut disk, 2, b'C');
        let images = crash_images(&base, &disk.stop(), 100, 1);
        let mut found: Vec<_> = images.iter().map(|image| (letters(image), image.during.clone())).collect();
        found.sort();
        let wanted = [
            ("000", vec![(0, 1)]),
            ("A00", vec![(1, 1), (1, 3)]),
            ("A0C", vec![(3, 3)]),
            ("AB0", vec![(2, 3)]),
            ("ABC", vec![(3, 3)]),
        ];
        assert_eq!(found, wanted.map(|(letters, during)| (letters.to_owned(), during)));
    }

    #[test]
    fn a_write_under_way_is_not_covered() {
        let base = vec![b'0'; 3 * BLOCK];
        let mut disk = Disk::new(base.clone(), 1);
        disk.record();
        let entries = disk.told(0, &[b'A'; BLOCK]);
        disk.flush();
        disk.done(0, &[b'A'; BLOCK], entries);
        let images = crash_images(&base, &disk.stop(), 100, 1);
        let lost = images.iter().find(|image| letters(image) == "000");
        assert_eq!(lost.map(|image| image.during.len()), Some(2), "before the flush and behind it");
    }

    #[test]
    fn many_writes_are_sampled_within_the_room() {
        let mut random = Pcg64Mcg::new(1);
        let found = subsets(40, 60, &mut random);
        assert!(found.len() <= 60 && found.contains(&Vec::new()) && found.contains(&(0..40).collect()));
        assert_eq!(subsets(3, 100, &mut random).len(), 8);
    }
}
