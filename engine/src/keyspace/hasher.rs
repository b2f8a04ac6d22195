//! Hashes with a fixed seed.

use std::hash::Hasher;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The hash of a key: XXH3, which is the same on every machine and in every version.
pub fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// XXH3 with a fixed seed, so that iteration order, and with it every file that is written, depends on nothing
/// but the operations.
#[derive(Clone, Copy, Default)]
pub struct FixedHasher(u64);

impl FixedHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

impl Hasher for FixedHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
    // Lengths in front of byte strings come this way: a round of XXH3 for each would cost as much as the string.
    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }
    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }
}
