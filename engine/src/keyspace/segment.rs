//! A part of a database: the keys whose hashes begin with the same bits.

use hashbrown::HashTable;

use super::{Entry, Key, hash};

/// More keys than this and it splits: few enough that a split or a growth is over in microseconds.
pub(super) const MOST: usize = 448;

/// A key and what stands under it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) entry: Entry,
}

/// Some keys. The records lie densely, in the order in which they came (the last one takes the place of one that
/// goes); the table knows where.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// How many bits of their hashes its keys have in common.
    pub(super) depth: u32,
    places: HashTable<u32>,
    records: Vec<Record>,
}

/// The table looks at the lowest bits and the highest; those that chose the segment are the same for all its
/// keys.
fn spread(hash: u64) -> u64 {
    hash.rotate_left(32)
}

impl Segment {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn record_mut(&mut self, place: u32) -> &mut Record {
        &mut self.records[place as usize]
    }

    /// Where the record of `key` is.
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.places.find(spread(hash), |place| *self.records[*place as usize].key == *key).copied()
    }

    /// Adds a record whose key is not there yet.
    pub(super) fn push(&mut self, hash: u64, record: Record) {
        let len = self.records.len();
        if len == self.records.capacity() {
            // Little by little, so that a million keys do not stand in room for two.
            self.records.reserve_exact((len / 8).max(4));
        }
        let place = len as u32;
        self.records.push(record);
        let records = &self.records;
        self.places
            .insert_unique(spread(hash), place, |place| spread(self::hash(&records[*place as usize].key)));
    }

    /// Takes the record at `place`, which is that of a key of this hash.
    pub(super) fn remove(&mut self, hash: u64, place: u32) -> Record {
        if let Ok(found) = self.places.find_entry(spread(hash), |p| *p == place) {
            found.remove();
        }
        let record = self.records.swap_remove(place as usize);
        if let Some(moved) = self.records.get(place as usize) {
            let last = self.records.len() as u32;
            if let Some(p) = self.places.find_mut(spread(self::hash(&moved.key)), |p| *p == last) {
                *p = place;
            }
        }
        let records = &mut self.records;
        if records.len() < records.capacity() / 4 {
            records.shrink_to(records.len() + records.len() / 8 + 4);
            let records = &*records;
            self.places.shrink_to(records.len(), |place| spread(self::hash(&records[*place as usize].key)));
        }
        record
    }

    /// Splits by the next bit: keeps the keys that have 0 there, and gives those that have 1.
    pub(super) fn split(&mut self) -> Segment {
        let bit = 1u64 << (63 - self.depth);
        self.depth += 1;
        let ones = self.records.iter().filter(|record| self::hash(&record.key) & bit != 0).count();
        let mut other = Segment::with_room(self.depth, ones);
        let rest = Segment::with_room(self.depth, self.len() - ones);
        for record in std::mem::replace(self, rest).records {
            let hash = self::hash(&record.key);
            if hash & bit == 0 { self.push(hash, record) } else { other.push(hash, record) }
        }
        other
    }

    /// An empty one with room for `count` records and some.
    pub(super) fn with_room(depth: u32, count: usize) -> Segment {
        let count = count + count / 16 + 4;
        Segment { depth, places: HashTable::with_capacity(count), records: Vec::with_capacity(count) }
    }
}
