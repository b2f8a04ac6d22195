//! LZF, as Redis compresses strings.

/// Decompresses `input` to exactly `len` bytes; `None` if it is not such a stream.
pub(super) fn decompress(input: &[u8], len: usize) -> Option<Vec<u8>> {
    // Three bytes make 264 at the most, so a greater claim is a lie, and no memory is given to it.
    if len > input.len().checked_mul(LONGEST)? {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut at = 0;
    while let Some(&control) = input.get(at) {
        at += 1;
        let control = usize::from(control);
        if control < 32 {
            let run = input.get(at..at + control + 1)?;
            if run.len() > len - out.len() {
                return None;
            }
            out.extend_from_slice(run);
            at += control + 1;
        } else {
            let mut run = (control >> 5) + 2;
            if run == 9 {
                run += usize::from(*input.get(at)?);
                at += 1;
            }
            let back = ((control & 0x1f) << 8) + usize::from(*input.get(at)?) + 1;
            at += 1;
            let from = out.len().checked_sub(back)?;
            if run > len - out.len() {
                return None;
            }
            if back >= run {
                out.extend_from_within(from..from + run);
            } else {
                // What is copied goes on with what the copy makes.
                (from..from + run).for_each(|n| out.push(out[n]));
            }
        }
    }
    (out.len() == len).then_some(out)
}

/// No reference is longer.
const LONGEST: usize = 264;
/// No reference reaches further back.
const FURTHEST: usize = 1 << 13;
/// A run of literals is no longer.
const LITERALS: usize = 32;
const TABLE_BITS: u32 = 14;

/// Compresses strings one after the other. The result depends on the string alone.
pub(super) struct Compressor {
    /// Where three bytes were seen last, by their hash: `base` and the offset in the string.
    table: Vec<u32>,
    /// Everything below was noted for another string.
    base: u32,
    out: Vec<u8>,
}

impl Compressor {
    pub(super) fn new() -> Compressor {
        Compressor { table: vec![0; 1 << TABLE_BITS], base: 1, out: Vec::new() }
    }

    /// Compresses `input`; `None` if that would save fewer than four bytes, as in Redis.
    pub(super) fn compress(&mut self, input: &[u8]) -> Option<&[u8]> {
        let room = input.len().checked_sub(4).filter(|room| *room > 0)?;
        let len = u32::try_from(input.len()).ok().filter(|len| *len < 1 << 31)?;
        if self.base.checked_add(len).is_none() {
            self.table.fill(0);
            self.base = 1;
        }
        let base = self.base;
        self.base += len;
        self.out.clear();
        let (mut at, mut literals) = (0, 0);
        while at + 2 < input.len() {
            let Some(from) = self.look_up(input, base, at) else {
                at += 1;
                continue;
            };
            let most = (input.len() - at).min(LONGEST);
            let same =
                input[from + 3..].iter().zip(&input[at + 3..at + most]).take_while(|(a, b)| a == b).count();
            let (run, back) = (3 + same, at - from - 1);
            self.literals(&input[literals..at]);
            match run - 2 {
                short @ ..=6 => self.out.push((short << 5 | back >> 8) as u8),
                long => self.out.extend([(7 << 5 | back >> 8) as u8, (long - 7) as u8]),
            }
            self.out.push(back as u8);
            if self.out.len() > room {
                return None;
            }
            // The last place of the run is where the next one is most likely to be found from.
            at += run;
            literals = at;
            if at + 1 < input.len() {
                self.look_up(input, base, at - 1);
            }
        }
        self.literals(&input[literals..]);
        (self.out.len() <= room).then_some(&self.out)
    }

    /// Where the three bytes at `at` stood before, if near enough; notes that they stand here.
    fn look_up(&mut self, input: &[u8], base: u32, at: usize) -> Option<usize> {
        let three = &input[at..at + 3];
        let word = u32::from(three[0]) | u32::from(three[1]) << 8 | u32::from(three[2]) << 16;
        let slot = &mut self.table[(word.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize];
        let seen = std::mem::replace(slot, base + at as u32);
        let from = seen.checked_sub(base)? as usize;
        (at - from <= FURTHEST && from < at && input[from..from + 3] == *three).then_some(from)
    }

    fn literals(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(LITERALS) {
            self.out.push(run.len() as u8 - 1);
            self.out.extend_from_slice(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Compressor, decompress};

    #[test]
    fn a_back_reference_may_overlap_what_it_makes() {
        // One literal `a`, then 9 bytes from 1 back: length code 7 with 0 more, offset 0.
        assert_eq!(decompress(&[0, b'a', 0xe0, 0, 0], 10).as_deref(), Some(b"aaaaaaaaaa".as_slice()));
    }

    #[test]
    fn lies_are_refused() {
        assert_eq!(decompress(&[0, b'a', 0xe0, 0, 0], 11), None);
        assert_eq!(decompress(&[0, b'a', 0xe0, 0, 0], 9), None);
        assert_eq!(decompress(&[0, b'a', 0xe0, 0, 9], 10), None);
        assert_eq!(decompress(&[5, b'a'], 6), None);
        assert_eq!(decompress(&[0, b'a'], usize::MAX), None);
    }

    /// Bytes of a fixed sequence, `of` different ones.
    fn noise(len: usize, of: u64, mut seed: u64) -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % of
        };
        (0..len).map(|_| next() as u8).collect()
    }

    #[test]
    fn what_is_compressed_comes_back_and_depends_on_the_string_alone() {
        let mut one = Compressor::new();
        let mut strings =
            vec![b"abcabcabcabcabcabcabcabc".to_vec(), vec![0; 100_000], b"aaaa".to_vec(), Vec::new()];
        for len in [5, 21, 33, 264, 265, 300, 8191, 8192, 8200, 70_000] {
            strings.extend([2, 4, 40].map(|of| noise(len, of, len as u64)));
            // The same again, as far back as can be reached, and one further.
            strings.push(
                [noise(len, 256, 7), noise(8192usize.saturating_sub(len), 256, 8), noise(len, 256, 7)]
                    .concat(),
            );
            strings.push(
                [noise(len, 256, 7), noise(8193usize.saturating_sub(len), 256, 8), noise(len, 256, 7)]
                    .concat(),
            );
        }
        let mut smaller = 0;
        for string in &strings {
            let packed = one.compress(string).map(<[u8]>::to_vec);
            assert_eq!(packed.as_deref(), Compressor::new().compress(string), "{} bytes", string.len());
            if let Some(packed) = packed {
                assert!(packed.len() + 4 <= string.len());
                assert_eq!(decompress(&packed, string.len()).as_deref(), Some(string.as_slice()));
                smaller += 1;
            }
        }
        assert!(smaller > strings.len() / 3, "{smaller} of {}", strings.len());
        assert_eq!(one.compress(&noise(5000, 256, 1)), None, "noise has nothing to save");
    }

    #[test]
    fn the_table_is_emptied_before_its_numbers_run_out() {
        let mut one = Compressor { base: u32::MAX - 10, ..Compressor::new() };
        assert!(one.compress(&[b'x'; 50]).is_some() && one.base < 100);
        assert_eq!(one.compress(&noise(50, 256, 3)), None);
    }
}
