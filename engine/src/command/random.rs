//! Drawing members at random, in a way that a repeated run repeats.

use std::collections::BTreeSet;

/// SplitMix64. Its seed is fixed: which members are drawn follows from the operations alone, and so does every file.
#[derive(Clone, Debug, Default)]
pub struct Random(u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0. (Multiplied rather than divided; the bias is below 2^-30 for any set
    /// that fits in memory.)
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.bits()) * limit as u128) >> 64) as usize
    }

    /// `count` different places of `len`, all of them if there are no more.
    pub fn places(&mut self, count: usize, len: usize) -> Vec<usize> {
        if count >= len {
            return (0..len).collect();
        }
        // Floyd's way: every choice is equally likely, and nothing is as long as `len`.
        let mut chosen = BTreeSet::new();
        for last in len - count..len {
            let place = self.below(last + 1);
            if !chosen.insert(place) {
                chosen.insert(last);
            }
        }
        chosen.into_iter().collect()
    }

    /// What a count means in SRANDMEMBER, HRANDFIELD and ZRANDMEMBER: so many different places, or, if it is negative,
    /// so many that may be equal. Also how many that are. `len` is not 0.
    pub fn draw(&mut self, count: i64, len: usize) -> (impl Iterator<Item = usize>, usize) {
        let most = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        let (different, repeated) = if count >= 0 { (self.places(most, len), 0) } else { (Vec::new(), most) };
        let total = different.len() + repeated;
        (different.into_iter().chain((0..repeated).map(move |_| self.below(len))), total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_comes_up_and_none_twice() {
        let mut random = Random::default();
        let mut seen = BTreeSet::new();
        for _ in 0..400 {
            let places = random.places(3, 6);
            assert!(places.len() == 3 && places.windows(2).all(|w| w[0] < w[1]) && places[2] < 6);
            seen.insert(places);
        }
        assert_eq!(seen.len(), 20, "6 over 3");
        assert_eq!(random.places(9, 4), [0, 1, 2, 3]);
        let drawn: Vec<usize> = random.draw(-40, 2).0.collect();
        assert!(drawn.len() == 40 && drawn.contains(&0) && drawn.contains(&1));
    }
}
