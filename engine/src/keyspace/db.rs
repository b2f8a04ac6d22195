//! The table of keys.
//!
//! Extendible hashing: a directory, indexed by the first bits of a key's hash, of segments that hold a few
//! hundred keys each and split when they have too many. So nothing ever waits for a whole table to grow, the
//! directory is walked in the order of hashes, which is what SCAN needs, and what is left unused is a small
//! part of each segment instead of half of one large table.

use super::segment::{MOST, Record, Segment};
use super::{DATABASES, Entry, Key, Value, hash};

/// Freeing fewer keys than this is over before a thread could have been started.
const FREED_ASIDE: usize = 50_000;

/// One database: keys and their entries. Its order depends on nothing but the operations on it.
#[derive(Clone, Debug)]
pub struct Db {
    /// The directory is indexed by so many bits of a hash.
    depth: u32,
    /// Numbers of segments. One whose depth is less than this one's stands here several times in a row.
    directory: Vec<u32>,
    segments: Vec<Segment>,
    len: usize,
    expiring: usize,
}

impl Default for Db {
    fn default() -> Db {
        Db { depth: 0, directory: vec![0], segments: vec![Segment::default()], len: 0, expiring: 0 }
    }
}

impl Db {
    fn slot(&self, hash: u64) -> usize {
        // In two steps, as a shift by 64 is none.
        (hash >> 1 >> (63 - self.depth)) as usize
    }

    fn segment(&self, hash: u64) -> &Segment {
        &self.segments[self.directory[self.slot(hash)] as usize]
    }

    fn segment_mut(&mut self, hash: u64) -> &mut Segment {
        let slot = self.slot(hash);
        &mut self.segments[self.directory[slot] as usize]
    }

    /// The entry of `key`.
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        let hash = hash(key);
        let segment = self.segment(hash);
        segment.find(hash, key).map(|place| &segment.records()[place as usize].entry)
    }

    /// The entry of `key`; its value may be changed.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let hash = hash(key);
        let segment = self.segment_mut(hash);
        segment.find(hash, key).map(|place| &mut segment.record_mut(place).entry)
    }

    /// Whether `key` is there.
    pub fn contains_key(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Puts an entry; gives the one that was there.
    pub fn insert(&mut self, key: &[u8], entry: Entry) -> Option<Entry> {
        let hash = hash(key);
        let expires = entry.expires();
        let segment = self.segment_mut(hash);
        if let Some(place) = segment.find(hash, key) {
            let old = std::mem::replace(&mut segment.record_mut(place).entry, entry);
            self.expiring = self.expiring + usize::from(expires) - usize::from(old.expires());
            return Some(old);
        }
        if segment.len() >= MOST {
            self.make_room(hash);
        }
        self.segment_mut(hash).push(hash, Record { key: Key::from(key), entry });
        self.len += 1;
        self.expiring += usize::from(expires);
        None
    }

    /// Puts a string without an expiry; what was there goes.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        let hash = hash(key);
        let segment = self.segment_mut(hash);
        if let Some(place) = segment.find(hash, key) {
            let entry = &mut segment.record_mut(place).entry;
            let expired = entry.expires();
            *entry = Entry::new(Value::from(value), None);
            self.expiring -= usize::from(expired);
            return;
        }
        if segment.len() >= MOST {
            self.make_room(hash);
        }
        let entry = Entry::new(Value::from(value), None);
        self.segment_mut(hash).push(hash, Record { key: Key::from(key), entry });
        self.len += 1;
    }

    /// Takes a key away; gives its entry.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let hash = hash(key);
        let segment = self.segment_mut(hash);
        let place = segment.find(hash, key)?;
        let entry = segment.remove(hash, place).entry;
        self.len -= 1;
        self.expiring -= usize::from(entry.expires());
        if self.len == 0 {
            *self = Db::default();
        }
        Some(entry)
    }

    /// Gives a key that is there an expiry, or takes it away.
    pub fn set_expiry(&mut self, key: &[u8], at_ms: Option<u64>) {
        let Some(entry) = self.get_mut(key) else { return };
        let before = entry.expires();
        entry.set_expiry(at_ms);
        self.expiring = self.expiring + usize::from(at_ms.is_some()) - usize::from(before);
    }

    /// Splits the segment of `hash`, unless that would not help: keys that were chosen to have equal hashes
    /// stay together, and the directory stays of the size of what is in it.
    fn make_room(&mut self, hash: u64) {
        let slot = self.slot(hash);
        let number = self.directory[slot] as usize;
        if self.segments[number].depth == self.depth {
            if self.directory.len() > 64 + self.segments.len() * 8 || self.depth >= 48 {
                return;
            }
            self.directory = self.directory.iter().flat_map(|number| [*number, *number]).collect();
            self.depth += 1;
        }
        let other = self.segments[number].split();
        let depth = other.depth;
        let new = self.segments.len() as u32;
        self.segments.push(other);
        // The slots of the old segment are those that begin with its bits; the upper half is the new one's.
        let width = 1usize << (self.depth - depth);
        let first = (self.slot(hash) / (2 * width)) * 2 * width;
        self.directory[first + width..first + 2 * width].fill(new);
    }

    /// Makes room for so many keys at once, in a database that has none.
    pub fn reserve(&mut self, keys: usize) {
        let depth = (keys / MOST + keys / MOST / 8).checked_ilog2().map_or(0, |bits| (bits + 1).min(24));
        if self.len > 0 || depth == 0 {
            return;
        }
        let segments = 1usize << depth;
        self.depth = depth;
        self.directory = (0..segments as u32).collect();
        self.segments = (0..segments).map(|_| Segment::with_room(depth, keys / segments)).collect();
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many keys have an expiry.
    pub fn expiring(&self) -> usize {
        self.expiring
    }

    /// The segments from the slot on, each once, in the order of hashes.
    fn segments_from(&self, mut slot: usize) -> impl Iterator<Item = &Segment> {
        std::iter::from_fn(move || {
            let segment = &self.segments[*self.directory.get(slot)? as usize];
            let width = 1usize << (self.depth - segment.depth);
            slot = (slot / width + 1) * width;
            Some(segment)
        })
    }

    /// All keys and entries.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.segments_from(0).flat_map(Segment::records).map(|record| (&*record.key, &record.entry))
    }

    /// Keys in the order of their hashes, from the hash `cursor` on, `count` of them or a few more (keys of one
    /// hash come together), and the cursor to go on with; 0 is the beginning and the end. A key that is there
    /// throughout a walk is in it, whatever is added or taken away in between, and nothing is remembered of one.
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<(&[u8], &Entry)>) {
        let mut found = Vec::new();
        for segment in self.segments_from(self.slot(cursor)) {
            let mut part: Vec<_> = segment
                .records()
                .iter()
                // 0 is kept for the end.
                .map(|record| (hash(&record.key).max(1), record))
                .filter(|(hash, _)| *hash >= cursor)
                .collect();
            part.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.key.cmp(&y.key)));
            for (hash, record) in part {
                let last = found.last().map(|(hash, _)| *hash);
                if found.len() >= count && last != Some(hash) {
                    return (hash, found.into_iter().map(|(_, pair)| pair).collect());
                }
                found.push((hash, (&*record.key, &record.entry)));
            }
        }
        (0, found.into_iter().map(|(_, pair)| pair).collect())
    }

    /// A key, as `seed` chooses; `None` if there is none. Keys in sparser segments are a little more likely.
    pub fn pick(&self, seed: u64) -> Option<(&[u8], &Entry)> {
        let mixed = hash(&seed.to_le_bytes());
        let begin = self.slot(mixed);
        let mut found = self.segments_from(begin).chain(self.segments_from(0));
        let segment = found.find(|segment| segment.len() > 0)?;
        let record = &segment.records()[(mixed & 0xffff_ffff) as usize % segment.len()];
        Some((&*record.key, &record.entry))
    }

    /// Frees it: if it is large in a thread of its own, so that nobody waits.
    pub fn discard(self) {
        if self.len < FREED_ASIDE {
            return;
        }
        // Where there is no thread to be had it is freed here.
        let _ = std::thread::Builder::new().name("free".into()).spawn(move || drop(self));
    }
}

impl PartialEq for Db {
    fn eq(&self, other: &Db) -> bool {
        self.len == other.len && self.iter().all(|(key, entry)| other.get(key) == Some(entry))
    }
}

impl Eq for Db {}

/// All databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    /// The databases, by number.
    pub dbs: Vec<Db>,
}

impl Keyspace {
    /// So many empty databases.
    pub fn new(databases: usize) -> Keyspace {
        Keyspace { dbs: vec![Db::default(); databases] }
    }

    /// The number of a database, if there is one of that number.
    pub fn number(&self, number: i64) -> Option<usize> {
        usize::try_from(number).ok().filter(|number| *number < self.dbs.len())
    }
}

impl Default for Keyspace {
    fn default() -> Self {
        Keyspace::new(DATABASES)
    }
}

#[cfg(test)]
#[path = "db_tests.rs"]
mod tests;
