//! A part of a database: the keys whose hashes begin with the same bits.

use super::places::Places;
use super::{Entry, Key, hash};

/// More keys than this and it splits: few enough that a split or a growth is over in microseconds.
pub(super) const MOST: usize = 384;

/// Records that room is made for at once: each time all of them may have to move.
const STEP: usize = 64;

/// A key and what stands under it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) entry: Entry,
}

/// Some keys. The records lie densely, in the order in which they came (the last one takes the place of one that
/// goes); a table knows where.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// How many bits of their hashes its keys have in common.
    pub(super) depth: u32,
    places: Places,
    records: Vec<Record>,
}

/// What the table sees of a hash: the other end than the one that chose the segment.
fn mark(hash: u64) -> u32 {
    hash as u32
}

/// Room for `count` records: a little more than they need, so that a million keys do not stand in room for two; and
/// of few different sizes, so that what one segment gives back fits another.
fn room(count: usize) -> usize {
    if count <= STEP { count.next_power_of_two().max(4) } else { count.next_multiple_of(STEP) }
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
        self.places.find(mark(hash), |place| *self.records[place as usize].key == *key)
    }

    /// Adds a record whose key is not there yet.
    pub(super) fn push(&mut self, hash: u64, record: Record) {
        let len = self.records.len();
        if len == self.records.capacity() {
            self.records.reserve_exact(room(len + 1) - len);
        }
        self.records.push(record);
        self.places.insert(mark(hash), len as u32);
    }

    /// Takes the record at `place`, which is that of a key of this hash.
    pub(super) fn remove(&mut self, hash: u64, place: u32) -> Record {
        self.places.remove(mark(hash), place);
        let record = self.records.swap_remove(place as usize);
        if let Some(moved) = self.records.get(place as usize) {
            let last = self.records.len() as u32;
            self.places.moved(mark(self::hash(&moved.key)), last, place);
        }
        let records = &mut self.records;
        if records.len() < records.capacity() / 4 {
            records.shrink_to(room(records.len()));
            self.places.resize(records.len());
        }
        record
    }

    /// Splits by the next bit: keeps the keys that have 0 there, and gives those that have 1.
    pub(super) fn split(&mut self) -> Segment {
        let bit = 1u64 << (63 - self.depth);
        self.depth += 1;
        let hashes: Vec<u64> = self.records.iter().map(|record| self::hash(&record.key)).collect();
        let ones = hashes.iter().filter(|hash| *hash & bit != 0).count();
        let mut other = Segment::with_room(self.depth, ones);
        let rest = Segment::with_room(self.depth, self.len() - ones);
        for (hash, record) in hashes.iter().zip(std::mem::replace(self, rest).records) {
            if hash & bit == 0 { self.push(*hash, record) } else { other.push(*hash, record) }
        }
        other
    }

    /// An empty one with room for `count` records and some.
    pub(super) fn with_room(depth: u32, count: usize) -> Segment {
        let records = Vec::with_capacity(room(count));
        Segment { depth, places: Places::with_capacity(count), records }
    }
}
