//! Where the records of a segment are: open addressing, with a part of each record's hash beside its place, so
//! that a look-up reads one line of memory before it reads the record.

/// Fewest slots.
const FEWEST: usize = 8;

/// A multimap from marks (32 bits of a hash) to places.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// The mark in the upper half, the place and one in the lower; 0 is empty. Their number is a power of two,
    /// and a quarter of them at least is empty, so that a search comes to an end soon. An entry stands at the slot
    /// of its mark or behind it with nothing empty between.
    slots: Box<[u64]>,
    len: usize,
}

fn entry(mark: u32, place: u32) -> u64 {
    u64::from(mark) << 32 | (u64::from(place) + 1)
}

fn mark_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

impl Places {
    pub(super) fn with_capacity(count: usize) -> Places {
        let slots = (count * 4).div_ceil(3).next_power_of_two().max(FEWEST);
        Places { slots: vec![0; slots].into(), len: 0 }
    }

    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    /// The place with this mark for which `is` says so.
    pub(super) fn find(&self, mark: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.search(mark, is).map(|(_, place)| place)
    }

    /// The slot, and the place in it.
    fn search(&self, mark: u32, is: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.mask();
        let mut at = mark as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if mark_of(slot) == mark {
                let place = (slot as u32).wrapping_sub(1);
                if is(place) {
                    return Some((at, place));
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds an entry.
    pub(super) fn insert(&mut self, mark: u32, place: u32) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize(self.len + 1);
        }
        self.put(entry(mark, place));
        self.len += 1;
    }

    fn put(&mut self, entry: u64) {
        let mask = self.mask();
        let mut at = mark_of(entry) as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = entry;
    }

    /// Makes it as large as `count` entries need.
    pub(super) fn resize(&mut self, count: usize) {
        let new = Places::with_capacity(count.max(self.len));
        let old = std::mem::replace(&mut self.slots, new.slots);
        old.iter().filter(|slot| **slot != 0).for_each(|slot| self.put(*slot));
    }

    /// Takes an entry away that is there.
    pub(super) fn remove(&mut self, mark: u32, place: u32) {
        let Some((mut hole, _)) = self.search(mark, |p| p == place) else { return };
        let mask = self.mask();
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            // What would not be found any more behind an empty slot moves into it.
            let home = mark_of(slot) as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = 0;
        self.len -= 1;
    }

    /// A record has moved.
    pub(super) fn moved(&mut self, mark: u32, from: u32, to: u32) {
        if let Some((at, _)) = self.search(mark, |p| p == from) {
            self.slots[at] = entry(mark, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_does_what_a_set_of_pairs_does(steps in prop::collection::vec((0..3u8, 0..12u32, 0..6u32), 1..400)) {
            let (mut places, mut set) = (Places::default(), BTreeSet::new());
            for (step, mark, place) in steps {
                // Marks that meet at the end of the table and go on at its beginning, and equal ones.
                let mark = mark.wrapping_sub(4);
                match step {
                    0 if set.insert((mark, place)) => places.insert(mark, place),
                    1 if set.remove(&(mark, place)) => places.remove(mark, place),
                    2 if set.contains(&(mark, place)) && set.insert((mark, place + 100)) => {
                        set.remove(&(mark, place));
                        places.moved(mark, place, place + 100);
                    }
                    _ => {}
                }
                places.resize(if step == 2 { set.len() } else { set.len() * 2 });
                prop_assert_eq!(places.len, set.len());
                for mark in (0..12u32).map(|m| m.wrapping_sub(4)) {
                    for place in (0..6).chain(100..106) {
                        let found = places.find(mark, |p| p == place);
                        prop_assert_eq!(found.is_some(), set.contains(&(mark, place)));
                    }
                }
            }
        }
    }
}
