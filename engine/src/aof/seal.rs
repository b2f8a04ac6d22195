//! What a stop in order says of a single file.

use crc64fast::Digest;

/// A single file that was whole and synced when the server stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Its length then.
    pub len: u64,
    /// Its generation.
    pub seq: u64,
    /// `crc` of its first batch: of which file it speaks.
    pub key: u64,
}

const MARK: &str = "#unplug:1 ";

fn sum(line: &str) -> String {
    let mut digest = Digest::new();
    digest.write(line.as_bytes());
    format!("{MARK}crc64 {:016x}\n", digest.sum64())
}

impl Seal {
    /// The text.
    pub fn encode(&self) -> String {
        let line = format!("{MARK}seal {} {} {:016x}\n", self.len, self.seq, self.key);
        let sum = sum(&line);
        line + &sum
    }

    /// Reads the text; `None` if it is damaged.
    pub fn parse(bytes: &[u8]) -> Option<Seal> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (line, _) = text.split_once('\n')?;
        let mut words = line.strip_prefix(MARK)?.strip_prefix("seal ")?.split(' ');
        let len = words.next()?.parse().ok()?;
        let seq = words.next()?.parse().ok()?;
        let key = u64::from_str_radix(words.next()?, 16).ok()?;
        let seal = Seal { len, seq, key };
        (seal.encode() == text).then_some(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damaged_byte_is_seen() {
        let seal = Seal { len: 12_345, seq: 7, key: 0xab };
        let text = seal.encode();
        assert_eq!(Seal::parse(text.as_bytes()), Some(seal));
        for at in 0..text.len() {
            assert_eq!(Seal::parse(&text.as_bytes()[..at]), None);
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                assert_eq!(Seal::parse(&bytes), None, "byte {at} bit {bit}");
            }
        }
    }
}
